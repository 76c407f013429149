"""Pictures of steps: where the time goes, tokens per second, heat per rack.

In:  results as `simulate --json` prints them, one a machine (or any dicts with the same keys).
Out: axes, or a figure for a comparison.
Left out: simulating; words for a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rackmodel.reporting.power import powers_over_steps
from rackmodel.reporting.style import (
    AIR,
    COLOURS,
    HALO,
    INK,
    LIQUID,
    QUIET,
    STEP_PARTS,
    WARN,
    Axes,
    Figure,
    Rows,
    dress,
    legend_outside,
    look,
    new_figure,
    own_axes,
    part_look,
)
from rackmodel.reporting.summary import per_rack
from rackmodel.reporting.words import counted

Powers = Sequence[tuple[str, Mapping[str, Any]]]
AIR_LIMIT_W = 40e3  # a rack cooled by room air alone; ASHRAE TC9.9 puts the practical end near it


def names_of(rows: Rows) -> list[str]:
    """Return a label for every row: `label`, else the topology, made unique by number."""
    plain = [
        str(row.get("label") or row.get("topology") or index) for index, row in enumerate(rows)
    ]
    seen: dict[str, int] = {}
    labels = []
    for name in plain:
        seen[name] = seen.get(name, 0) + 1
        labels.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return labels


def _tick_names(ax: Axes, labels: Sequence[str]) -> None:
    """Write names under bars, broken at hyphens so that they stay level."""
    room = max(8, 30 // max(1, len(labels)))
    ax.set_xticks(range(len(labels)), [_broken(label, room) for label in labels])
    ax.tick_params(axis="x", length=0, labelcolor=INK)
    ax.margins(x=0.08)


def _broken(label: str, room: int) -> str:
    lines = [""]
    for index, word in enumerate(label.replace(" ", "- ").split("-")):
        piece = word if index == 0 else ("-" + word).replace("- ", " ")
        if lines[-1] and len(lines[-1]) + len(piece) > room:
            lines[-1] += "-" if piece.startswith("-") else ""
            lines.append(piece.lstrip("- "))
        else:
            lines[-1] += piece
    return "\n".join(lines)


def step_breakdown(rows: Rows, ax: Axes | None = None, *, title: str = "Where a step goes") -> Axes:
    """Stack the parts of each machine's step: compute, exposed traffic, bubble, optimizer.

    rows : each with `breakdown_s` {part: seconds}; `step_s_low`, `step_s_high` draw the band.
    """
    ax = own_axes(ax)
    labels = names_of(rows)
    parts = [key for key in STEP_PARTS if any(key in row["breakdown_s"] for row in rows)]
    parts += sorted({key for row in rows for key in row["breakdown_s"]} - set(parts))
    floor = [0.0] * len(rows)
    tallest = max((sum(row["breakdown_s"].values()) for row in rows), default=0.0)
    with look():
        for number, key in enumerate(parts):
            heights = [max(0.0, float(row["breakdown_s"].get(key) or 0.0)) for row in rows]
            if not any(height > 0.001 * tallest for height in heights):
                continue
            label, colour, hatch = part_look(key, number)
            ax.bar(
                range(len(rows)),
                heights,
                0.62,
                bottom=floor,
                label=label,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.6,
            )
            floor = [low + height for low, height in zip(floor, heights, strict=True)]
        top, banded = max(floor, default=1.0), False
        for index, row in enumerate(rows):
            seconds = row.get("step_s", floor[index])
            low, high = row.get("step_s_low"), row.get("step_s_high")
            band = None if low is None or high is None else (low, high)
            name = "" if banded else "80% of real runs"
            _figure(ax, index, max(floor[index], 0), f"{seconds:.3g} s", band, name=name)
            if band is not None:
                banded, top = True, max(top, band[1])
        ax.set_ylim(0, top * 1.1)
        _tick_names(ax, labels)
        legend_outside(ax)
        return dress(ax, title=title, y="time of one step [s]")


def throughput_bars(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw tokens per second of one accelerator with its band, and MFU written on the bar."""
    ax = own_axes(ax)
    values = [float(row["tokens_per_s_per_gpu"]) for row in rows]
    bands = []
    for row, value in zip(rows, values, strict=True):
        low, high = row.get("step_s_low"), row.get("step_s_high")
        work = value * float(row.get("step_s") or 0.0)
        bands.append((work / high, work / low) if low and high and work else None)
    value_bars(values, bands, ax)
    with look():
        for index, row in enumerate(rows):
            if row.get("mfu") is not None:
                ax.annotate(
                    f"MFU\n{row['mfu']:.0%}",
                    (index, values[index] / 2),
                    ha="center",
                    va="center",
                    color="white",
                    fontsize=9,
                )
        _tick_names(ax, names_of(rows))
        return dress(ax, title="Throughput", y="tokens/s per accelerator")


def cost_bars(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw dollars per million tokens, with the band that prices leave.

    rows : each with `cost` {usd_per_mtoken, usd_per_mtoken_low, usd_per_mtoken_high}.
    """
    ax = own_axes(ax)
    costs = [row["cost"] for row in rows]
    values = [float(cost["usd_per_mtoken"]) for cost in costs]
    ends = [(cost.get("usd_per_mtoken_low"), cost.get("usd_per_mtoken_high")) for cost in costs]
    value_bars(values, [end if all(end) else None for end in ends], ax, colour=COLOURS[2])
    with look():
        _tick_names(ax, names_of(rows))
        return dress(ax, title="Cost", y="$ per million tokens")


def site_bars(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw tokens per second for each megawatt that the site has to provide.

    rows : each with `power` {tokens_per_s_per_mw}.
    """
    ax = own_axes(ax)
    values = [float(row["power"]["tokens_per_s_per_mw"]) / 1e3 for row in rows]
    value_bars(values, [None] * len(rows), ax, colour=COLOURS[5])
    with look():
        _tick_names(ax, names_of(rows))
        label = "thousand tokens/s per provisioned MW, with cooling"
        return dress(ax, title="Throughput per MW", y=label)


def value_bars(
    values: Sequence[float],
    bands: Sequence[tuple[float, float] | None],
    ax: Axes,
    *,
    colour: str = COLOURS[0],
) -> Axes:
    """Draw bars with their figures on top, and a band beside each that has one."""
    top = max([*values, *(band[1] for band in bands if band)], default=1.0)
    with look():
        ax.bar(range(len(values)), values, 0.62, color=colour)
        for index, (value, band) in enumerate(zip(values, bands, strict=True)):
            text = f"{value:,.0f}" if value >= 10 else f"{value:.3g}"
            _figure(ax, index, value, text, band)
        ax.set_ylim(0, top * 1.14 or 1.0)
        return ax


def _figure(
    ax: Axes,
    index: int,
    top: float,
    text: str,
    band: tuple[float, float] | None,
    *,
    name: str = "",
) -> None:
    """Write a figure on top of bar `index`, ending with the bar where its band stands beside it."""
    ax.annotate(
        text,
        (index if band is None else index + 0.31, top),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center" if band is None else "right",
        va="bottom",
        fontweight="bold",
        bbox=HALO,
    )
    if band is not None:
        where = [index + 0.36] * 2
        ax.plot(where, band, "_-", color=INK, linewidth=1.4, ms=6, label=name)


def heat_bars(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw the heat of a rack, liquid below and air above, with the limit of air cooling.

    rows : each with `racks` [{count, liquid_w, air_w}], where known with heat_w_low, heat_w_high:
    the band. The mean over a machine's racks is drawn.
    """
    ax = own_axes(ax)
    liquid, air = (
        [(per_rack(row, name) or 0.0) / 1e3 for row in rows] for name in ("liquid_w", "air_w")
    )
    with look():
        where = range(len(rows))
        ax.bar(where, liquid, 0.62, color=LIQUID, label="into liquid")
        ax.bar(
            where,
            air,
            0.62,
            bottom=liquid,
            color=AIR,
            hatch="//",
            edgecolor="white",
            label="into air",
        )
        for index in where:
            total = liquid[index] + air[index]
            low, high = (per_rack(rows[index], f"heat_w_{end}") for end in ("low", "high"))
            band = (low / 1e3, high / 1e3) if low and high else None
            _figure(ax, index, total, f"{total:.3g} kW", band)
        limit = AIR_LIMIT_W / 1e3
        top = max([*(a + b for a, b in zip(liquid, air, strict=True)), limit])
        ax.axhline(
            limit,
            color=WARN,
            linewidth=1.2,
            linestyle="--",
            zorder=1.5,
            label=f"air alone ends near {limit:.0f} kW",
        )
        ax.set_ylim(0, top * 1.4)
        ax.legend(loc="upper left", fontsize=9, frameon=False, borderaxespad=0.2)
        _tick_names(ax, names_of(rows))
        return dress(ax, title="Heat per rack", y="heat of one rack, mean over a step [kW]")


def hbm_bars(rows: Rows, ax: Axes | None = None) -> Axes:
    """Stack what fills the HBM of the fullest rank; a frame shows the capacity.

    rows : each with `hbm` {capacity_bytes, used_bytes {kind: bytes}}.
    """
    ax = own_axes(ax)
    fills = [(row.get("hbm") or {}).get("used_bytes") or {} for row in rows]
    limits = [((row.get("hbm") or {}).get("capacity_bytes") or 0.0) / 1e9 for row in rows]
    kinds = list(dict.fromkeys(kind for fill in fills for kind in fill))
    kinds = [kind for kind in kinds if any((fill.get(kind) or 0) > 0 for fill in fills)]
    floor = [0.0] * len(rows)
    hatches = ("", "//", "", "..", "", "xx", "", "++")
    with look():
        for number, kind in enumerate(kinds):
            heights = [(fill.get(kind) or 0.0) / 1e9 for fill in fills]
            ax.bar(
                range(len(rows)),
                heights,
                0.56,
                bottom=floor,
                color=COLOURS[number % len(COLOURS)],
                hatch=hatches[number % 8],
                edgecolor="white",
                linewidth=0.5,
                label=kind.replace("_", " "),
            )
            floor = [low + height for low, height in zip(floor, heights, strict=True)]
        ax.bar(
            range(len(rows)),
            limits,
            0.66,
            facecolor="none",
            edgecolor=INK,
            linewidth=1.2,
            label="capacity",
        )
        for index, used in enumerate(floor):
            ax.annotate(
                f"{used:.0f} of\n{limits[index]:.0f} GB",
                (index, max(limits[index], used)),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                fontweight="bold",
            )
        ax.set_ylim(0, max([*limits, *floor, 1e-9]) * 1.16)
        _tick_names(ax, names_of(rows))
        legend_outside(ax)
        return dress(ax, title="HBM of the fullest rank", y="HBM [GB]")


def _finding(rows: Rows) -> str:
    """Say which machine is the quickest, and how many times as fast as each of the others."""
    speeds = [float(row.get("tokens_per_s_per_gpu") or 0.0) for row in rows]
    if len(rows) < 2 or not all(speeds):
        return ""
    (best, name), *others = sorted(zip(speeds, names_of(rows), strict=True), reverse=True)
    times = [f"{best / speed:.2f} times as fast as one of {other}" for speed, other in others[:3]]
    return f"An accelerator of {name} is {', '.join(times)}\n"


def compare_figure(rows: Rows, powers: Powers = ()) -> Figure:
    """Return where the step goes, throughput, heat per rack; HBM, cost, tokens/s of a megawatt; the
    power of the hottest racks over two steps.

    powers : (name, `assess.series.rack_over_step`) of each machine. Rows below the first are left
    out where nothing was assessed.
    """
    width = max(13.0, 4.4 + 3.0 * len(rows))
    whole = all(row.get("racks") and row.get("cost") for row in rows)
    high = 1 + whole + bool(powers)
    figure, axes = new_figure(width, 4.6 * high, columns=3, rows=high, widths=(1.5, 1, 1))
    if powers:
        below: Any = axes[-1].get_gridspec()
        for ax in axes[-3:]:
            ax.remove()
        powers_over_steps(powers, figure.add_subplot(below[-1, :]))
    step_breakdown(rows, axes[0])
    throughput_bars(rows, axes[1])
    if whole:
        heat_bars(rows, axes[2])
        hbm_bars(rows, axes[3])
        cost_bars(rows, axes[4])
        site_bars(rows, axes[5])
    else:
        axes[2].axis("off")
        axes[2].text(0.5, 0.5, "no heat assessed", ha="center", color=QUIET)
    first = rows[0]
    with look():
        figure.suptitle(
            f"{_finding(rows)}{first.get('model', '')}, "
            f"{counted(first.get('gpus', 0), 'accelerator')}, "
            f"{first.get('global_batch', 0):,} x {first.get('seq_len', 0):,} tokens a step, "
            f"{first.get('precision', '')}",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
    return figure
