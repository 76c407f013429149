"""Pictures of a job on domains of every size: speed, waits, HBM, heat, cost, energy.

In:  what `rackmodel.domains` returned.
Out: a figure whose title states what was found.
Left out: finding it (`argument.api`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from rackmodel.reporting.style import (
    BOXED,
    COLOURS,
    GRID,
    HALO,
    INK,
    QUIET,
    WARN,
    Axes,
    Figure,
    Rows,
    compact,
    dress,
    look,
    new_figure,
    part_look,
)
from rackmodel.reporting.words import scaled

WAITS = ("tp", "cp", "ep", "pp", "dp", "bubble")


def domains_figure(found: Mapping[str, Any]) -> Figure:
    """Draw a panel each: tokens/s, waits, HBM, heat per rack, cost, energy and tokens/s/MW."""
    rows = [row for row in found["rows"] if "reason" not in row]
    figure, axes = new_figure(15.0, 8.4, columns=3, rows=2)
    panels = (_speed, _waits, _hbm, _heat, _cost, _energy)
    with look():
        for number, (panel, ax) in enumerate(zip(panels, axes, strict=True)):
            panel(rows, ax)
            _sizes(rows, found["copper_ends"], ax, told=number == 0)
        words = textwrap.fill(str(found["finding"]), 110)
        what = (
            f"{found['model']} on {found['gpus']:,} {found['accelerator']}, {found['precision']}, "
            f"{scaled(found['global_batch'] * found['seq_len'], ' tokens a step')}"
        )
        figure.suptitle(f"{words}\n{what}", x=0.01, ha="left", fontweight="bold", color=INK)
    return figure


def domains_picture(
    rows: Rows, ax: Axes | None = None, *, found: Mapping[str, Any]
) -> Figure | Axes:
    """Draw all panels, or the speed of each size alone on `ax`."""
    if ax is None:
        return domains_figure(found)
    rows = [row for row in rows if "reason" not in row]
    with look():
        _speed(rows, ax)
        _sizes(rows, found["copper_ends"], ax, told=True)
    return ax


def _sizes(rows: Rows, copper_ends: int | None, ax: Axes, *, told: bool) -> None:
    """Name the domains below the axis, and mark where copper ends."""
    sizes = [row["domain_accelerators"] for row in rows]
    ax.set_xticks(range(len(rows)), [str(size) for size in sizes])
    ax.set_xlim(-0.6, len(rows) - 0.4)
    ax.set_xlabel("accelerators of a scale-up domain", color=INK)
    if copper_ends in sizes and copper_ends != sizes[-1]:
        place = sizes.index(copper_ends) + 0.5
        ax.axvline(place, color=WARN, linewidth=1.2, linestyle="--")
        if told:
            ax.annotate(
                "copper ends here",
                (place, 0.97),
                (3, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                rotation=90,
                va="top",
                color=WARN,
                fontsize=9,
                bbox=HALO,
            )


def _banded(rows: Rows, name: str, ax: Axes, **more: Any) -> None:
    """Draw a line with its band, and each value."""
    places = range(len(rows))
    middle, low, high = ([row[f"{name}{end}"] for row in rows] for end in ("", "_low", "_high"))
    colour = more.get("color", COLOURS[0])
    one = len(rows) == 1
    band: Any = ax.vlines if one else ax.fill_between
    band(places, low, high, color=colour, alpha=0.15, linewidth=14 * one, label="80% band")
    ax.plot(places, middle, marker="o", **{"color": colour, **more})
    for place, value in zip(places, middle, strict=True):
        ax.annotate(
            compact(value),
            (place, value),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            bbox=HALO,
        )
    ax.set_ylim(0.0, max(high) * 1.12)


def _speed(rows: Rows, ax: Axes) -> None:
    _banded(rows, "tokens_per_s_per_gpu", ax)
    useful = [row["tokens_per_s_per_gpu"] * row["useful_share"] for row in rows]
    label = "by accelerators bought: less idle, failed, in repair"
    ax.plot(range(len(rows)), useful, color=COLOURS[1], linestyle="--", marker="s", label=label)
    ax.legend(loc="lower left", **BOXED)
    dress(ax, title="Speed", y="tokens/s per accelerator")


def _waits(rows: Rows, ax: Axes) -> None:
    floor = [0.0] * len(rows)
    for axis in WAITS:
        shares = [100 * row[f"{axis}_share"] for row in rows]
        if max(shares) < 0.05:
            continue
        label, colour, hatch = part_look(axis)
        ax.bar(
            range(len(rows)),
            shares,
            bottom=floor,
            label=label,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            width=0.7,
        )
        floor = [low + more for low, more in zip(floor, shares, strict=True)]
    ax.set_ylim(0.0, max([*floor, 10.0]) * 1.1)
    ax.legend(loc="upper right", reverse=True, **BOXED)
    dress(ax, title="Where a step waits", y="% of a step")


def _hbm(rows: Rows, ax: Axes) -> None:
    full = [100 * sum(r["hbm"]["used_bytes"].values()) / r["hbm"]["capacity_bytes"] for r in rows]
    busy = [100 * row["hbm"]["bandwidth_utilisation"] for row in rows]
    for shift, values, label, colour in (
        (-0.2, full, "capacity, fullest rank", COLOURS[4]),
        (0.2, busy, "bandwidth, mean", COLOURS[2]),
    ):
        places = [place + shift for place in range(len(rows))]
        bars = ax.bar(places, values, width=0.38, color=colour, label=label)
        ax.bar_label(bars, fmt="%.0f", fontsize=8, padding=2)
    ax.set_ylim(0.0, 125.0)
    ax.legend(loc="upper left", ncols=1, **BOXED)
    dress(ax, title="HBM in use", y="% of capacity, of bandwidth")


def _heat(rows: Rows, ax: Axes) -> None:
    heats = [row["heat_w_per_rack"] / 1e3 for row in rows]
    ends = [
        [abs(row[f"heat_w_per_rack_{end}"] - row["heat_w_per_rack"]) / 1e3 for row in rows]
        for end in ("low", "high")
    ]
    ax.bar(
        range(len(rows)),
        heats,
        yerr=ends,
        capsize=3,
        color=COLOURS[3],
        width=0.7,
        error_kw={"ecolor": QUIET},
    )
    for place, (row, heat) in enumerate(zip(rows, heats, strict=True)):
        ax.annotate(
            f"{compact(heat)}\n({row['rack_accelerators']})",
            (place, heat / 2),
            ha="center",
            va="center",
            fontsize=8,
            color="white",
        )
    dress(ax, title="Heat of the hottest rack (accelerators in it)", y="kW")


def _cost(rows: Rows, ax: Axes) -> None:
    _banded(rows, "usd_per_mtoken", ax, color=COLOURS[5])
    dress(ax, title="Cost", y="USD per million tokens")


def _energy(rows: Rows, ax: Axes) -> None:
    places = range(len(rows))
    for name, label, colour in (
        ("energy_j_per_token", "IT", COLOURS[2]),
        ("facility_j_per_token", "facility", COLOURS[0]),
    ):
        values = [row[name] for row in rows]
        ax.plot(places, values, marker="o", color=colour, label=label)
    ax.set_ylim(0.0, 1.35 * max(row["facility_j_per_token"] for row in rows))
    dress(ax, title="Energy (lines), throughput of a MW (bars)", y="J per token")
    ax.legend(loc="upper left")
    right = ax.twinx()
    right.bar(
        places, [row["tokens_per_s_per_mw"] / 1e6 for row in rows], color=GRID, width=0.5, zorder=0
    )
    right.set_ylabel("M tokens/s per provisioned MW", color=QUIET)
    ax.set_zorder(right.get_zorder() + 1)
    ax.patch.set_visible(False)
