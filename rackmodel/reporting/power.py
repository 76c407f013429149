"""Power of a rack over time, as drawn and as the hall sees it.

In:  series over a step that repeats; trays of the rack.
Out: axes, a figure.
Left out: smoothing them (`rackmodel.assess.smoothing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rackmodel.reporting.racks import rack_elevation
from rackmodel.reporting.style import (
    COLOURS,
    GRID,
    WARN,
    Axes,
    Figure,
    dress,
    look,
    new_figure,
    own_axes,
)
from rackmodel.reporting.words import seconds

STEPS = 2  # drawn one after the other: a step repeats
NEAR = 1.4  # a limit that is further above the highest power is not drawn


def heat_figure(
    trays: Sequence[Mapping[str, Any]],
    ax: Axes | None = None,
    *,
    series: Mapping[str, Any],
    power: Mapping[str, Any],
    title: str = "Rack",
) -> Figure | Axes:
    """Return a rack by tray beside its power over two steps, before and after smoothing.

    ax : of the power alone.
    """
    if ax is not None:
        limits = limits_w(power)
        return power_over_steps(series, ax, ceiling_w=power["ceiling_w"], limits=limits)
    figure, (left, right) = new_figure(15.0, 8.0, columns=2, widths=(1, 1.25))
    rack_elevation(trays, left, title=title)
    power_over_steps(series, right, ceiling_w=power["ceiling_w"], limits=limits_w(power))
    return figure


def limits_w(power: Mapping[str, Any]) -> dict[str, float]:
    """Return the limits of a rack in watts at its plug: of its breaker, of its power supplies."""
    wanted = ("breaker", "power shelf", "power supplies")
    return {row["part"]: row["limit"] for row in power["margins"] if row["part"] in wanted}


def power_over_steps(
    series: Mapping[str, Any],
    ax: Axes | None = None,
    *,
    ceiling_w: float | None = None,
    limits: Mapping[str, float] | None = None,
) -> Axes:
    """Draw power over two steps as it is drawn and as the hall sees it, with its ceiling.

    series : step_s, drawn_w [N], seen_w [N]. [s, W] limits : {part: W}, drawn where they are near.
    """
    ax = own_axes(ax)
    drawn, seen = (np.tile(series[key], STEPS) / 1e3 for key in ("drawn_w", "seen_w"))
    edges = np.linspace(0.0, STEPS * series["step_s"], len(drawn) + 1)
    with look():
        smooth = not np.array_equal(drawn, seen)
        thin: Any = {"linewidth": 0.8, "baseline": None}
        ax.stairs(drawn, edges, color=COLOURS[4] if smooth else COLOURS[0], label="drawn", **thin)
        if smooth:
            ax.stairs(seen, edges, color=COLOURS[0], label="smoothed", **thin | {"linewidth": 2.4})
            if ceiling_w is not None:
                limit: Any = {"color": WARN, "linestyle": "--", "linewidth": 1.2}
                ax.axhline(ceiling_w / 1e3, label=f"ceiling {ceiling_w / 1e3:.0f} kW", **limit)
        top = float(max(drawn.max(), seen.max()))
        near = {part: w / 1e3 for part, w in (limits or {}).items() if w / 1e3 <= NEAR * top}
        for part, kilowatts in near.items():
            dotted: Any = {"color": WARN, "linestyle": ":", "linewidth": 1.2}
            ax.axhline(kilowatts, label=f"{part} {kilowatts:.0f} kW", **dotted)
        ax.axvline(series["step_s"], color=GRID, linewidth=1.2)
        ax.set_xlim(0, edges[-1])
        ax.set_ylim(0, max(top, *near.values(), 0.0) * 1.18)
        if smooth or near:
            ax.legend(loc="upper center", ncols=3, fontsize=9)
        ends = [f"{end / 1e3:.0f}" for end in (series["seen_w"].min(), series["seen_w"].max())]
        title = f"The hall sees {' to '.join(dict.fromkeys(ends))} kW of one rack"
        return dress(ax, title=title, x="time, two steps [s]", y="power at the plug [kW]")


def powers_over_steps(powers: Sequence[tuple[str, Mapping[str, Any]]], ax: Axes) -> Axes:
    """Draw the power of the hottest rack of several machines over two steps of each.

    powers : (name, series) as `power_over_steps` takes one. Where smoothing changes a rack, what it
    draws stands pale behind what the hall gives for it.
    """
    thin: Any = {"linewidth": 1.0, "baseline": None}
    smooth = False
    with look():
        for number, (name, series) in enumerate(powers):
            colour = COLOURS[number % len(COLOURS)]
            drawn, seen = (np.tile(series[key], STEPS) / 1e3 for key in ("drawn_w", "seen_w"))
            at = np.linspace(0.0, STEPS, len(seen) + 1)
            if not np.array_equal(drawn, seen):
                smooth = True
                ax.stairs(drawn, at, color=colour, alpha=0.35, **thin)
            step = f"{name}, a step {seconds(series['step_s'])}"
            ax.stairs(seen, at, color=colour, label=step, **thin)
        ax.set_xlim(0, STEPS)
        ax.set_ylim(0, None)
        ax.legend(fontsize=9, ncols=min(4, len(powers)), loc="upper center")
        ax.set_ylim(0, ax.get_ylim()[1] * 1.15)
        words = "; pale: what it draws before smoothing" if smooth else ""
        title = f"Power of the hottest rack{words}"
        return dress(ax, title=title, x="steps", y="power from the hall [kW]")


def caps_figure(
    rows: Sequence[Mapping[str, Any]], *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw the speed of a job and its tokens/s per megawatt against the cap of its accelerators."""
    ax = own_axes(ax)
    ran = [row for row in rows if not row["reason"]]
    caps = [row["cap_w"] for row in ran]
    per_mw = np.array([row["tokens_per_s_per_mw"] for row in ran])
    with look():
        ax.plot(caps, [row["speed"] for row in ran], "o-", color=COLOURS[4], label="speed")
        ax.plot(caps, per_mw / per_mw[-1], "o-", color=COLOURS[0], label="tokens/s per MW")
        ax.axhline(1.0, color=GRID, linewidth=1.2)
        rough = [row["cap_w"] for row in ran if not row["fitted"]]
        if rough:
            ax.axvspan(min(caps), max(rough), color=GRID, alpha=0.5, label="not measured")
        ax.legend(fontsize=9)
        best = ran[int(per_mw.argmax())]["cap_w"]
        words = f"{title}: most tokens/s per MW at {best:,.0f} W"
        return dress(ax, title=words, x="cap of an accelerator [W]", y="against the highest cap")
