"""Pictures of the network and of rooflines: bus bandwidth, ceilings, bandwidth tiers.

In:  rows as `collective --json` prints them, dicts of ceilings and tiers.
Out: axes.
Left out: simulating.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rackmodel.report.style import (
    COLOURS,
    HALO,
    INK,
    LINES,
    MARKERS,
    QUIET,
    dress,
    look,
    own_axes,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]
_SIZES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))


def size_label(size: float) -> str:
    """Return a message size with a binary prefix, as nccl-tests counts.

    >>> size_label(8), size_label(2**20), size_label(1e9)
    ('8 B', '1 MiB', '954 MiB')
    """
    for unit, name in _SIZES:
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size:.3g} B"


def busbw_plot(rows: Rows, ax: Axes | None = None, *, label: str = "", measured: Rows = ()) -> Axes:
    """Draw bus bandwidth against message size, one line per operation and number of accelerators.

    rows : each with bytes, busbw_bytes_per_s, and op, gpus, topology where they differ; `bound_s`
    draws the physical bound. measured : rows with bytes and busbw_bytes_per_s, drawn as crosses.
    """
    ax = own_axes(ax)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(_line_name(row, rows), []).append(row)
    with look():
        for index, (name, members) in enumerate(groups.items()):
            members = sorted(members, key=lambda row: row["bytes"])
            sizes = [row["bytes"] for row in members]
            speeds = [row["busbw_bytes_per_s"] / 1e9 for row in members]
            colour = COLOURS[index % len(COLOURS)]
            ax.plot(
                sizes, speeds, color=colour, linestyle=LINES[index % 4], marker=MARKERS[index % 8],
                label=name or label or "simulated",
            )  # fmt: skip
            if all(row.get("bound_s") and row.get("time_s") for row in members):
                bound = [
                    s * r["time_s"] / r["bound_s"] for s, r in zip(speeds, members, strict=True)
                ]
                ax.plot(sizes, bound, color=colour, linewidth=0.9, linestyle=":", alpha=0.9)
                ax.annotate(
                    "bound", (sizes[-1], bound[-1]), xytext=(-2, 3), textcoords="offset points",
                    ha="right", fontsize=8, color=colour,
                )  # fmt: skip
        if measured:
            ax.plot(
                [row["bytes"] for row in measured],
                [row["busbw_bytes_per_s"] / 1e9 for row in measured],
                "x", color=INK, label="measured",
            )  # fmt: skip
        _size_axis(ax, [row["bytes"] for row in [*rows, *measured]])
        ax.set_ylim(0, ax.get_ylim()[1] * (1.02 + 0.07 * len(groups)))
        ax.legend(loc="upper left", frameon=False)
        return dress(
            ax, title="Bus bandwidth against size", x="message size", y="busbw [GB/s]", grid="both"
        )


def _line_name(row: Mapping[str, Any], rows: Rows) -> str:
    """Return what tells a row's line from the others."""
    words = []
    for key, unit in (("topology", ""), ("op", ""), ("gpus", " accelerators")):
        if len({other.get(key) for other in rows}) > 1:
            words.append(f"{row.get(key)}{unit}")
    return ", ".join(words)


def _size_axis(ax: Axes, sizes: Sequence[float]) -> None:
    ax.set_xscale("log", base=2)
    low, high = math.log2(min(sizes)), math.log2(max(sizes))
    stride = max(1, math.ceil((high - low) / 8))
    ticks = [2.0**power for power in range(math.ceil(low), math.floor(high) + 1, stride)]
    if len(ticks) < 2:
        ticks = sorted(set(sizes))
    ax.set_xticks(ticks, [size_label(tick) for tick in ticks])
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

    points : each with name, flops, bytes, seconds. ceilings : {name: bytes/s of one accelerator}.
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
            f"peak {peak:,.0f} TFLOP/s dense", (high, peak), xytext=(-2, 4),
            textcoords="offset points", ha="right", fontsize=9,
        )  # fmt: skip
        fastest = max(ceilings.values())
        bottom = low * fastest / 1e12
        for index, (name, rate) in enumerate(ceilings.items()):
            colour = COLOURS[index % len(COLOURS)]
            end = peak_flops_per_s / rate
            start = max(low, bottom * 1e12 / rate)
            ax.plot(
                [start, end], [start * rate / 1e12, peak], color=colour,
                linestyle=LINES[index % 4], label=f"{name}: {_rate(rate)}",
            )  # fmt: skip
        for index, row in enumerate(points):
            if not row["bytes"] or not row["seconds"]:
                continue
            x, y = row["flops"] / row["bytes"], row["flops"] / row["seconds"] / 1e12
            ax.plot(x, y, MARKERS[index % 8], color=INK, markersize=7)
            ax.annotate(
                str(row["name"]), (x, y), xytext=(7, -3), textcoords="offset points",
                fontsize=8.5, bbox=HALO,
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(low, high)
        ax.set_ylim(bottom, peak * 2.2)
        ax.legend(loc="lower right", frameon=False)
        return dress(
            ax, title=title, x="FLOPs per byte moved", y="TFLOP/s of one accelerator", grid="both"
        )


def _rate(bytes_per_s: float) -> str:
    if bytes_per_s >= 1e12:
        return f"{bytes_per_s / 1e12:.3g} TB/s"
    return f"{bytes_per_s / 1e9:.3g} GB/s"


def bandwidth_tiers(tiers: Rows, ax: Axes | None = None) -> Axes:
    """Draw what a byte per second is worth at every distance: GB/s, and the price of a bit.

    tiers : each with name, reach_m, bytes_per_s (one direction of one accelerator), and where they
    are known j_per_bit and usd_per_gb_per_s, which are written beside the point.
    """
    ax = own_axes(ax)
    tiers = sorted(tiers, key=lambda tier: tier["reach_m"])
    with look():
        reach = [tier["reach_m"] for tier in tiers]
        speed = [tier["bytes_per_s"] / 1e9 for tier in tiers]
        ax.plot(reach, speed, color=QUIET, linewidth=1, linestyle=":", zorder=1)
        for index, tier in enumerate(tiers):
            ax.plot(reach[index], speed[index], MARKERS[index % 8], color=COLOURS[index % 8], ms=9)
            lines = [str(tier["name"])]
            prices = []
            if tier.get("j_per_bit"):
                prices.append(f"{tier['j_per_bit'] * 1e12:.2g} pJ/bit")
            if tier.get("usd_per_gb_per_s"):
                prices.append(f"${tier['usd_per_gb_per_s']:.3g} per GB/s")
            right = index < len(tiers) - 1  # the last one is written below, to the left
            ax.annotate(
                "\n".join([*lines, ", ".join(prices)]).strip(), (reach[index], speed[index]),
                xytext=(9 if right else -9, 7 if right else -7), textcoords="offset points",
                ha="left" if right else "right", va="bottom" if right else "top", fontsize=8.5,
                bbox=HALO,
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(min(speed) / 5, max(speed) * 5)
        ax.set_xlim(min(reach) / 2, max(reach) * 2.5)
        return dress(
            ax, title="Bandwidth falls with distance", x="reach [m]",
            y="GB/s per accelerator, one direction", grid="both",
        )  # fmt: skip
