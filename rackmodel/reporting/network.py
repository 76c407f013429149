"""Pictures of the network and of rooflines: bus bandwidth, ceilings, bandwidth tiers.

In:  rows as `collective --json` prints them, dicts of ceilings and tiers.
Out: axes.
Left out: simulating.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rackmodel.reporting.style import (
    COLOURS,
    HALO,
    INK,
    LINES,
    MARKERS,
    Axes,
    Rows,
    compact,
    dress,
    look,
    own_axes,
    plain_ticks,
)
from rackmodel.reporting.words import scaled

_SIZES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def size_label(size: float) -> str:
    """Return a message size, in KiB (as nccl-tests counts) where it is whole in these alone.

    >>> size_label(8), size_label(2**20), size_label(64e6)
    ('8 B', '1 MiB', '64 MB')
    """
    if size % 1024 or size % 1000 == 0:
        return scaled(size, "B")
    return next(f"{size / unit:.3g} {name}" for unit, name in _SIZES if size >= unit)


def busbw_plot(rows: Rows, ax: Axes | None = None, *, label: str = "") -> Axes:
    """Draw bus bandwidth against message size, one line per operation and number of accelerators.

    rows : each with bytes, busbw_bytes_per_s, and op, gpus, topology where they differ; `bound_s`
    draws the physical bound.
    """
    ax = own_axes(ax)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_line_name(row, rows), []).append(row)
    bounded = False
    with look():
        for index, (name, members) in enumerate(groups.items()):
            members = sorted(members, key=lambda row: row["bytes"])
            sizes = [row["bytes"] for row in members]
            speeds = [row["busbw_bytes_per_s"] / 1e9 for row in members]
            colour = COLOURS[index % len(COLOURS)]
            ax.plot(
                sizes,
                speeds,
                color=colour,
                linestyle=LINES[index % 4],
                marker=MARKERS[index % 8],
                label=name or label or "simulated",
            )
            if all(row.get("bound_s") and row.get("time_s") for row in members):
                bound = [
                    s * r["time_s"] / r["bound_s"] for s, r in zip(speeds, members, strict=True)
                ]
                ax.plot(
                    sizes,
                    bound,
                    color=colour,
                    linewidth=1.2,
                    linestyle=":",
                    marker="_" if len(members) == 1 else "",
                    markersize=16,
                    label="" if bounded else "physical bound (same colour)",
                )
                bounded = True
        _size_axis(ax, [row["bytes"] for row in rows])
        ax.set_yscale("log")
        low, top = ax.get_ylim()
        ax.set_ylim(low, top * 1.3)
        plain_ticks(ax, "y")
        handles, labels = ax.get_legend_handles_labels()
        last = [i for i, label in enumerate(labels) if label.startswith("physical")]
        order = [i for i in range(len(labels)) if i not in last] + last
        ax.legend(
            [handles[i] for i in order],
            [labels[i] for i in order],
            loc="best",
            frameon=False,
        )
        return dress(
            ax, title=_most_busbw(rows), x="message size", y="bus bandwidth [GB/s]", grid="both"
        )


def _line_name(row: Mapping[str, Any], rows: Rows) -> str:
    """Return what tells a row's line from the others."""
    units = {"topology": "", "op": "", "gpus": " accelerators"}
    differ = [key for key in units if len({other.get(key) for other in rows}) > 1]
    return ", ".join(f"{row.get(key)}{units[key]}" for key in differ)


def _most_busbw(rows: Rows) -> str:
    """Say how much is reached, and from which size on nearly that."""
    most = max(row["busbw_bytes_per_s"] for row in rows)
    if len({row["bytes"] for row in rows}) == 1:
        return f"{scaled(most, 'B/s')} at {size_label(rows[0]['bytes'])}"
    near = min(row["bytes"] for row in rows if row["busbw_bytes_per_s"] >= 0.9 * most)
    return f"Up to {scaled(most, 'B/s')}, 90% of it from {size_label(near)} on"


def _size_axis(ax: Axes, sizes: Sequence[float]) -> None:
    ax.set_xscale("log", base=2)
    known = sorted(set(sizes))
    ticks = known[:: math.ceil(len(known) / 9)]
    ax.set_xticks(ticks, [size_label(tick) for tick in ticks])
    if len(known) == 1:
        ax.set_xlim(known[0] / 4, known[0] * 4)
    ax.minorticks_off()


def roofline(
    points: Rows,
    ceilings: Mapping[str, float],
    peak_flops_per_s: float,
    ax: Axes | None = None,
    *,
    title: str = "Roofline",
) -> Axes:
    """Draw FLOP/s against FLOPs per byte under the ceilings of compute, HBM, scale-up, scale-out.

    points : each with name, flops, bytes, seconds, and `ceiling` where its bytes move under one of
    the ceilings: it takes that colour, and a dotted line shows the room above it.
    ceilings : {name: bytes/s of one accelerator}.
    """
    ax = own_axes(ax)
    peak = peak_flops_per_s / 1e12
    intensity = [row["flops"] / row["bytes"] for row in points if row["bytes"]]
    ridge = [peak_flops_per_s / rate for rate in ceilings.values()]
    low = min([*intensity, min(ridge) / 20]) / 2
    high = max([*intensity, max(ridge) * 2]) * 2
    with look():
        ax.plot([min(ridge), high], [peak, peak], color=INK, linewidth=2)
        ax.annotate(
            f"peak {peak:,.0f} TFLOP/s dense",
            (high, peak),
            xytext=(-2, 4),
            textcoords="offset points",
            ha="right",
            fontsize=9,
        )
        fastest = max(ceilings.values())
        bottom = low * fastest / 1e12
        for index, (name, rate) in enumerate(ceilings.items()):
            colour = COLOURS[index % len(COLOURS)]
            end = peak_flops_per_s / rate
            start = max(low, bottom * 1e12 / rate)
            ax.plot(
                [start, end],
                [start * rate / 1e12, peak],
                color=colour,
                linestyle=LINES[index % 4],
                label=f"{name}: {_rate(rate)}",
            )
        _points(ax, points, ceilings, peak)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(low, high)
        ax.set_ylim(bottom, peak * 2.6)
        plain_ticks(ax, "x", "y")
        ax.legend(loc="lower right", frameon=False)
        return dress(
            ax, title=title, x="FLOPs per byte moved", y="TFLOP/s of one accelerator", grid="both"
        )


def _points(ax: Axes, points: Rows, ceilings: Mapping[str, float], peak: float) -> None:
    """Mark points with their names, and the room up to the ceiling of each; peak : [TFLOP/s]."""
    names = list(ceilings)
    for index, row in enumerate(points):
        if not row["bytes"] or not row["seconds"]:
            continue
        x, y = row["flops"] / row["bytes"], row["flops"] / row["seconds"] / 1e12
        own = row.get("ceiling") in ceilings
        colour = COLOURS[names.index(row["ceiling"]) % len(COLOURS)] if own else INK
        if own:
            roof = min(peak, x * ceilings[row["ceiling"]] / 1e12)
            ax.plot([x, x], [y, roof], color=colour, linestyle=":", linewidth=1.4)
        ax.plot(x, y, MARKERS[index % 8], color=colour, mec=INK, mew=0.6, markersize=8)
        below = own and index % 2  # names of neighbours at one height
        ax.annotate(
            str(row["name"]),
            (x, y),
            xytext=(0, -10) if own else (7, -3),
            textcoords="offset points",
            fontsize=8.5,
            bbox=HALO,
            ha="center" if own else "left",
            va="top" if own else "baseline",
        ).set_y(-24 if below else -10 if own else -3)


def _rate(bytes_per_s: float) -> str:
    if bytes_per_s >= 1e12:
        return f"{bytes_per_s / 1e12:.3g} TB/s"
    return f"{bytes_per_s / 1e9:.3g} GB/s"


#: What a tier is measured by: column, factor, label of the axis, title.
TIER_FIGURES: dict[str, tuple[float, str, str]] = {
    "bytes_per_s": (1e-9, "GB/s of one accelerator, one way", "Bandwidth falls with distance"),
    "j_per_bit": (1e12, "energy of a bit [pJ/bit]", "A bit costs more energy over distance"),
    "usd_per_gb_per_s": (1.0, "price of a GB/s [$]", "Bandwidth costs more over distance"),
}


def bandwidth_tiers(tiers: Rows, ax: Axes | None = None, *, value: str = "bytes_per_s") -> Axes:
    """Draw one figure of merit of every tier against its distance, one line a machine.

    tiers : each with name, reach_m and `value` (left out where it is not known), and `machine`
    where there are several. value : bytes_per_s (one direction of one accelerator), j_per_bit or
    usd_per_gb_per_s. The tiers' names stand beside the first machine's marks.
    """
    ax = own_axes(ax)
    factor, label, title = TIER_FIGURES[value]
    machines = list(dict.fromkeys(str(tier.get("machine", "")) for tier in tiers))
    rising = False
    with look():
        for index, machine in enumerate(machines):
            line = sorted(
                (t for t in tiers if str(t.get("machine", "")) == machine and t.get(value)),
                key=lambda tier: tier["reach_m"],
            )
            reach = [tier["reach_m"] for tier in line]
            heights = [factor * tier[value] for tier in line]
            ax.plot(
                reach,
                heights,
                color=COLOURS[index % len(COLOURS)],
                linestyle=LINES[index % 4],
                marker=MARKERS[index % 8],
                ms=7,
                label=machine,
            )
            rising = len(heights) > 1 and heights[-1] > heights[0]
            for place, tier in enumerate(line if index == 0 else ()):
                if rising and 0 < place < len(line) - 1:  # the free side of a line that climbs
                    offset, across, up = (-9, 3), "right", "bottom"
                elif place == 1 and heights[0] > heights[1]:  # and of one that falls
                    offset, across, up = (9, 3), "left", "bottom"
                elif place % 2 and not rising:  # far tiers stand close together
                    offset, across, up = (0, -11), "center", "top"
                else:
                    offset, across, up = (0, 11), "center", "bottom"
                ax.annotate(
                    f"{tier['name']} {compact(heights[place])}",
                    (reach[place], heights[place]),
                    xytext=offset,
                    textcoords="offset points",
                    ha=across,
                    va=up,
                    fontsize=8.5,
                    bbox=HALO,
                )
        ax.set_xscale("log")
        ax.set_yscale("log")
        found = [factor * tier[value] for tier in tiers if tier.get(value)]
        reaches = [tier["reach_m"] for tier in tiers]
        ax.set_ylim(min(found, default=1.0) / 4, max(found, default=1.0) * 8)
        ax.set_xlim(min(reaches) / 5, max(reaches) * 5)
        plain_ticks(ax, "x", "y")
        if len(machines) > 1:
            ax.legend(loc="lower right" if rising else "upper right", frameon=False)
        return dress(ax, title=title, x="distance that is reached [m]", y=label, grid="both")
