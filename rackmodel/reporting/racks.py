"""Pictures of a rack: its elevation painted by heat, and its power over time.

In:  trays from top to bottom with watts and degrees; power samples of a step.
Out: axes.
Left out: reckoning heat (`rackmodel.assess`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rackmodel.reporting.style import (
    AIR,
    COLOURS,
    INK,
    QUIET,
    WARN,
    Axes,
    Rows,
    dress,
    legend_outside,
    look,
    own_axes,
)

AIR_ENDS_KW = (30.0, 50.0)  # air alone, in ordinary and in the best halls


def rack_elevation(trays: Rows, ax: Axes | None = None, *, title: str = "Rack") -> Axes:
    """Draw a rack from top to bottom, each tray coloured by its heat, with W and degC.

    trays : from the top; each with name and heat_w, where known units (height in U, 1 if missing),
    coolant_c (liquid leaving the tray, else exhaust_c, air) and junction_c (its hottest part).
    """
    heights = [float(tray.get("units") or 1) for tray in trays]
    ax = own_axes(ax, 6.6, min(14.0, 1.8 + 0.27 * sum(heights)))
    heats = [float(tray.get("heat_w") or 0) for tray in trays]
    hottest = max(heats, default=1.0) or 1.0
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    with look():
        paint = mpl.colormaps["YlOrRd"].resampled(256)
        scale = Normalize(0, hottest / 1e3)
        below = sum(heights)
        for tray, height, heat in zip(trays, heights, heats, strict=True):
            below -= height
            _tray(ax, tray, below, height, paint(0.85 * scale(heat / 1e3)))
        ax.set_xlim(
            -0.02, 1.9 if any("coolant_c" in t or "junction_c" in t for t in trays) else 1.02
        )
        ax.set_ylim(-0.15, sum(heights) + 0.15)
        dress(ax, title=f"{title}: {sum(heats) / 1e3:,.1f} kW of heat", grid="")
        ax.set_xticks([])
        ax.set_yticks([])
        for side in ("left", "bottom"):
            ax.spines[side].set_visible(False)
        ruler = ScalarMappable(Normalize(0, hottest / 1e3 / 0.85), paint)
        bar = ax.figure.colorbar(ruler, ax=ax, shrink=0.45, aspect=18, pad=0.01)
        bar.ax.set_ylim(0, hottest / 1e3)
        bar.set_label("heat of a tray [kW]", fontsize=9)
        bar.outline.set_visible(False)
        return ax


def _tray(
    ax: Axes,
    tray: Mapping[str, Any],
    below: float,
    height: float,
    colour: tuple[float, float, float, float],
) -> None:
    """Draw one tray from `below` upwards, its name and heat on it, temperatures beside it."""
    from matplotlib.patches import Rectangle

    ax.add_patch(
        Rectangle((0, below + 0.04), 1, height - 0.08, facecolor=colour, edgecolor=QUIET, lw=0.6)
    )
    red, green, blue, _ = colour
    ink = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.45 else INK
    middle, heat = below + height / 2, float(tray.get("heat_w") or 0)
    ax.text(0.02, middle, str(tray.get("name", "")), va="center", fontsize=8.5, color=ink)
    watts = f"{heat / 1e3:.2f} kW" if heat >= 1000 else f"{heat:.0f} W"
    ax.text(0.98, middle, watts, va="center", ha="right", fontsize=8.5, color=ink)
    wet = tray.get("coolant_c") is not None
    parts = (
        ("coolant_c", "coolant out") if wet else ("exhaust_c", "air out"),
        ("junction_c", "die"),
    )
    degrees = [f"{name} {tray[key]:.0f} °C" for key, name in parts if tray.get(key) is not None]
    if degrees:
        limit = tray.get("limit_c")
        over = limit is not None and (tray.get("junction_c") or 0) > limit
        colour_of_text = WARN if over else INK
        ax.text(1.03, middle, "   ".join(degrees), va="center", fontsize=8.5, color=colour_of_text)


def power_over_time(
    time_s: Sequence[float],
    power_w: Mapping[str, Sequence[float]],
    ax: Axes | None = None,
    *,
    limit_w: float | None = None,
    title: str = "Power over one step",
) -> Axes:
    """Stack the power of parts over time; the limit of the rack is drawn where it is known.

    time_s : samples, length n [s]. power_w : {part: samples of length n} [W].
    """
    ax = own_axes(ax, 9.0, 4.2)
    ordered = sorted(power_w.items(), key=lambda item: -sum(item[1]))
    with look():
        colours = [COLOURS[index % len(COLOURS)] for index in range(len(ordered))]
        ax.stackplot(
            list(time_s),
            [[value / 1e3 for value in values] for _, values in ordered],
            labels=[name.replace("_", " ") for name, _ in ordered],
            colors=colours,
            edgecolor="white",
            linewidth=0.3,
            step="post",
        )
        if limit_w is not None:
            ax.axhline(limit_w / 1e3, color=WARN, linestyle="--", linewidth=1.2, label="limit")
        ax.set_xlim(min(time_s), max(time_s))
        ax.set_ylim(bottom=0)
        legend_outside(ax)
        return dress(ax, title=title, x="time in the step [s]", y="power of the rack [kW]")


def heat_by_domain(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw heat per rack against the size of its scale-up domain, with the limit of air cooling.

    rows : each with domain (accelerators), heat_w, and where known `label`, `liquid_share` (an
    open mark is a rack that air cools) and the band heat_w_low, heat_w_high. Racks are no
    series, so no line joins them.
    """
    ax = own_axes(ax)
    ordered = sorted(rows, key=lambda row: (row["domain"], row["heat_w"]))
    sizes = sorted({row["domain"] for row in ordered})
    with look():
        low, high = AIR_ENDS_KW
        ax.axhspan(low, high, color=AIR, alpha=0.35, linewidth=0)
        ax.annotate(
            f"air alone ends here, {low:.0f}-{high:.0f} kW",
            (1, high),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=8.5,
            color=QUIET,
        )
        places = {size: index for index, size in enumerate(sizes)}
        top = max([*(row.get("heat_w_high") or row["heat_w"] for row in ordered), high * 1e3]) / 1e3
        for size in sizes:
            group = [row for row in ordered if row["domain"] == size]
            _heat_marks(ax, group, float(places[size]), 1.15 * top)
        ax.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])
        ax.set_xlim(-0.35, len(sizes) - 0.15)
        ax.set_ylim(0, 1.15 * top)
        marks = [
            ax.plot([], [], "o", color=COLOURS[0], label="liquid carries most of it"),
            ax.plot([], [], "o", mfc="white", mec=COLOURS[0], label="air carries most of it"),
        ]
        handles = [mark[0] for mark in marks]
        ax.legend(handles=handles, loc="upper left", frameon=False)
        return dress(
            ax,
            title="Heat of a rack against the size of its domain",
            x="accelerators in one scale-up domain",
            y="heat of one rack in training [kW]",
        )


def _heat_marks(ax: Axes, rows: Rows, x: float, top: float) -> None:
    """Mark racks of one domain size above each other, their names beside them, none on another."""
    gap = 0.055 * top
    level = -gap
    for row in rows:
        heat = row["heat_w"] / 1e3
        wet = (row.get("liquid_share") or 0.0) >= 0.5
        ends = row.get("heat_w_low"), row.get("heat_w_high")
        if all(ends):
            ax.plot([x, x], [end / 1e3 for end in ends if end], color=COLOURS[0], linewidth=1)
        ax.plot(x, heat, "o", mec=COLOURS[0], mfc=COLOURS[0] if wet else "white", ms=7, zorder=3)
        level = max(heat, level + gap)
        name = f"{row['label']}, " if row.get("label") else ""
        ax.annotate(
            f"{name}{heat:.3g} kW",
            (x, heat),
            xytext=(x + 0.1, level),
            textcoords="data",
            va="center",
            fontsize=8.5,
            zorder=4,
            arrowprops={"arrowstyle": "-", "color": QUIET, "lw": 0.5} if level > heat else None,
        )
