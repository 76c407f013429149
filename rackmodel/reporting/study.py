"""Pictures of many simulations: plans, trade-offs, scaling.

In:  rows of searches and sweeps.
Out: axes.
Left out: simulating; sensitivities (`levers`), validations (`validation`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rackmodel.annotations import Rectangle
from rackmodel.reporting.style import (
    COLOURS,
    HALO,
    LINES,
    MARKERS,
    QUIET,
    WARN,
    Axes,
    Rows,
    compact,
    dress,
    look,
    own_axes,
)


def mfu_heat_map(
    cells: Rows,
    ax: Axes | None = None,
    *,
    x: str = "tp",
    y: str = "pp",
    value: str = "mfu",
    title: str = "",
) -> Axes:
    """Draw the best MFU for every pair of sizes; a pair that does not fit is hatched.

    cells : each with `x`, `y` and `value` (None where no plan of that pair can run). Where some say
    that they are simulated, the best of these is framed, and the others bear a "~".
    """
    from matplotlib.patches import Rectangle

    ax = own_axes(ax, 7.5, 5.0)
    across, up = (sorted({cell[key] for cell in cells}) for key in (x, y))
    best = _best_of_pairs(cells, x, y, value)
    ran = {pair: number for pair, number in best.items() if number is not None}
    low, high = (min(ran.values()), max(ran.values())) if ran else (0.0, 1.0)
    played = {(cell[x], cell[y]) for cell in cells if cell.get("simulated")}
    winner = max(played or ran, key=lambda pair: ran.get(pair, -math.inf), default=None)
    with look():
        for row, size_y in enumerate(up):
            for column, size_x in enumerate(across):
                pair = size_x, size_y
                if (here := best.get(pair)) is not None:
                    share = (here - low) / (high - low) if high > low else 1.0
                    text = f"{'~' * bool(played and pair not in played)}{100 * here:.1f}%"
                    _cell(ax, (column, row), text, share, top=pair == winner)
                else:
                    corner = (column - 0.5, row - 0.5)
                    ax.add_patch(_misfit(corner, "////" if pair in best else "", linewidth=0))
        ax.set_xlim(-0.5, len(across) - 0.5)
        ax.set_ylim(-0.5, len(up) - 0.5)
        ax.set_xticks(range(len(across)), [f"{size:g}" for size in across])
        ax.set_yticks(range(len(up)), [f"{size}" for size in up])
        all_ran = None not in best.values()
        marks = [Rectangle((0, 0), 1, 1, fill=False, edgecolor=WARN, linewidth=2), _misfit((0, 0))]
        ax.legend(
            marks[:1] if all_ran else marks,
            ["best" + ", simulated" * bool(played), "does not fit or divide"][: 2 - all_ran],
            loc="lower right",
            ncols=2,
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
        )
        if winner is not None and not title:
            shown = ", ".join(f"{key} {size}" for key, size in zip((x, y), winner, strict=True))
            title = f"Best: MFU {100 * ran[winner]:.1f}% at {shown}" + "; ~ is estimated" * bool(
                played
            )
        dress(ax, title="", x=f"{x} (ranks)", y=f"{y} (ranks)", grid="")
        ax.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=26)
        return ax


def _best_of_pairs(cells: Rows, x: str, y: str, value: str) -> dict[tuple[Any, Any], float | None]:
    """The largest value of each pair of sizes; None where no plan of the pair can run."""
    best: dict[tuple[Any, Any], float | None] = {}
    for cell in cells:
        pair, number = (cell[x], cell[y]), cell.get(value)
        old = best.setdefault(pair, None)
        if number is not None and not math.isnan(number) and (old is None or number > old):
            best[pair] = number
    return best


def _misfit(corner: tuple[float, float], hatch: str = "////", **more: Any) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, facecolor="white", edgecolor="#9aa3ad", hatch=hatch, **more)


def _cell(ax: Axes, at: tuple[int, int], text: str, share: float, *, top: bool) -> None:
    """Paint one pair of sizes by its share of the range, with its text; the best is framed."""
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    column, row = at
    paint = mpl.colormaps["cividis"](share)
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=paint, linewidth=0))
    ax.text(
        column,
        row,
        text,
        ha="center",
        va="center",
        fontsize=9,
        color="black" if share > 0.55 else "white",
        fontweight="bold" if top else "normal",
    )
    if top:
        corner = (column - 0.46, row - 0.46)
        ax.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, edgecolor=WARN, linewidth=2))


def pareto(
    rows: Rows,
    ax: Axes | None = None,
    *,
    x: str = "energy_j_per_token",
    y: str = "usd_per_mtoken",
    labels: tuple[str, str] = ("energy [J per token]", "cost [$ per million tokens]"),
    better: tuple[str, str] = ("low", "low"),
    group: str = "topology",
) -> Axes:
    """Draw two figures of merit against each other, the front joined by a line.

    rows : each with `x`, `y` and `group`; better : whether "low" or "high" is good on each axis.
    """
    ax = own_axes(ax)
    kept = [row for row in rows if row.get(x) is not None and row.get(y) is not None]
    signs = [1 if side == "low" else -1 for side in better]
    front, best = [], math.inf
    for row in sorted(kept, key=lambda row: (signs[0] * row[x], signs[1] * row[y])):
        if signs[1] * row[y] < best:
            best = signs[1] * row[y]
            front.append(row)
    with look():
        _groups_of_points(ax, kept, x, y, group)
        ax.plot(
            [row[x] for row in front],
            [row[y] for row in front],
            color=QUIET,
            linewidth=1.2,
            linestyle="--",
            zorder=1,
            label="Pareto front" if len(front) > 1 else None,
        )
        for limits, key in ((ax.set_xlim, x), (ax.set_ylim, y)):
            values = [row[key] for row in kept] or [1.0]
            wide = max(max(values) - min(values), 0.1 * max(values))
            limits(max(0.0, min(values) - 0.3 * wide), max(values) + 0.3 * wide)
        varied = group.removeprefix("set.") if group.startswith("set.") else None
        if ax.get_legend_handles_labels()[0]:  # one point of one group has no line to name
            ax.legend(loc="best", frameon=False, title=varied, title_fontsize=8.5)
        ax.annotate(
            BETTER[better],
            (1, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=QUIET,
        )
        return dress(ax, title="Cost against energy", x=labels[0], y=labels[1], grid="both")


BETTER = {
    ("low", "low"): "better: down and left",
    ("high", "low"): "better: down and right",
    ("high", "high"): "better: up and right",
    ("low", "high"): "better: up",
}


def _groups_of_points(ax: Axes, rows: Rows, x: str, y: str, group: str) -> None:
    """Mark the points of each group; single points are named where they stand."""
    names = list(dict.fromkeys(str(row.get(group, "")) for row in rows))
    alone = len(names) == len(rows) <= 10
    for index, name in enumerate(names):
        members = [row for row in rows if str(row.get(group, "")) == name]
        ax.plot(
            [row[x] for row in members],
            [row[y] for row in members],
            MARKERS[index % 8],
            color=COLOURS[index % len(COLOURS)],
            label=None if alone else name,
            ms=8,
        )
        if alone:
            left = _crowded(members[0], rows, x, y)
            place, off = (members[0][x], members[0][y]), (-7 if left else 7, 5)
            _note(ax, name, place, off, ha="right" if left else "left")


def _crowded(row: Mapping[str, Any], others: Rows, x: str, y: str) -> bool:
    """Whether another point stands where the name of this one would be written, to its right."""
    width, height = (
        1.6 * (max(o[key] for o in others) - min(o[key] for o in others)) or 1.0 for key in (x, y)
    )
    return any(
        0 <= (other[x] - row[x]) / width < 0.1 and abs(other[y] - row[y]) / height < 0.05
        for other in others
        if other is not row
    )


#: Column of a picture's x-axis -> its label, and what stands at the left end of a line.
ACROSS = {
    "gpus": ("accelerators", "the smallest machine"),
    "domain": ("accelerators in one scale-up domain", "the smallest domain"),
    "nic_gbps": ("scale-out rate of one accelerator [Gb/s, one way]", "the slowest"),
    "seq_len": ("tokens in a sequence", "the shortest"),
    "times": ("HBM bandwidth or capacity, times that of GB200", "GB200"),
    "tokens": ("tokens of an accelerator in a step", "the fewest"),
    "flop_per_nic_byte": ("peak FLOP for a byte that the NICs can send", "the fewest"),
    "km": ("fibre between pods beyond one hall [km]", "one hall"),
}
UP = {
    "tokens_per_s_per_gpu": "tokens/s per accelerator",
    "usd_per_mtoken": "dollars per token",
    "energy_j_per_token": "joules per token",
    "mfu_percent": "MFU [%]",
    "share": "tokens/s per accelerator, % of GB200",
    "gain": "tokens/s that the larger domain adds [%]",
    "rack_kw": "heat of the hottest rack [kW]",
    "hbm_percent": "HBM bandwidth in use over a step [%]",
}


def scaling(
    rows: Rows,
    ax: Axes | None = None,
    *,
    x: str = "gpus",
    y: str = "tokens_per_s_per_gpu",
    group: str = "topology",
    edges: Mapping[str, float] | None = None,
    relative: bool = True,
    title: str = "Scaling efficiency",
) -> Axes:
    """Draw throughput per accelerator against their number, with the edges of domains drawn.

    relative : as a share of each line's smallest machine. edges : {name: accelerators}, such as
    {"NVL72 rack": 72}. Rows with a `point` are named where they stand and not joined; those with
    `ends`, a low and a high `y`, have a bar from one to the other.
    """
    ax = own_axes(ax)
    names = list(dict.fromkeys(str(row.get(group, "")) for row in rows))
    with look():
        for index, name in enumerate(names):
            line = sorted(
                (row for row in rows if str(row.get(group, "")) == name and row.get(y) is not None),
                key=lambda row: row[x],
            )
            if not line:
                continue
            base = line[0][y] / 100 if relative else 1.0
            ax.plot(
                [row[x] for row in line],
                [row[y] / base for row in line],
                color=COLOURS[index % len(COLOURS)],
                linestyle="none" if "point" in line[0] else LINES[index % 4],
                marker=MARKERS[index % 8],
                label=name,
            )
            for row in line:
                _note(ax, row.get("point", ""), (row[x], row[y] / base), (5, 5))
                low, high = row.get("ends", (row[y], row[y]))
                if low < high:
                    own = COLOURS[index % len(COLOURS)]
                    ax.vlines(row[x], low / base, high / base, color=own, linewidth=5, alpha=0.35)
        sizes = sorted({row[x] for row in rows})
        if sizes[0] > 0:
            ax.set_xscale("log", base=2)
        else:  # none at all stands left of the smallest
            ax.set_xscale("symlog", base=2, linthresh=min(size for size in sizes if size > 0))
        stride = max(1, math.ceil(len(sizes) / 9))
        ax.set_xticks(sizes[::stride], [compact(size) for size in sizes[::stride]])
        ax.minorticks_off()
        ax.set_ylim(min(0.0, 1.2 * ax.dataLim.y0), ax.get_ylim()[1] * 1.12)
        for name, edge in (edges or {}).items():
            if sizes[0] <= edge <= sizes[-1]:
                ax.axvline(edge, color=WARN, linewidth=1, linestyle=":")
                words = {"xycoords": ("data", "axes fraction"), "va": "top", "color": WARN}
                _note(ax, name, (edge, 1), (3, -2), **words)
        if ax.get_legend_handles_labels()[0]:  # one series has no name
            ax.legend(loc="lower left" if relative else "best", frameon=False)
        across, least = ACROSS.get(x, (x.replace("_", " "), "the smallest"))
        share = f", % of {least}" if relative else ""
        return dress(ax, title=title, x=across, y=f"{UP[y]}{share}", grid="both")


def _note(
    ax: Axes, words: str, at: tuple[float, float], off: tuple[float, float], **more: Any
) -> None:
    """Write words beside a point, `off` points away from it."""
    if words:
        ax.annotate(
            words, at, xytext=off, textcoords="offset points", fontsize=8.5, bbox=HALO, **more
        )


def sweep_plot(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw tokens/s per accelerator over the axis of a sweep that has the most values."""
    done = [row for row in rows if row.get("status", "done") == "done"]
    outcomes = {"tokens_per_s_per_gpu", "mfu", "step_s"}
    inputs = [
        key
        for key in dict.fromkeys(key for row in done for key in row)
        if key not in outcomes
        and len({row.get(key) for row in done}) > 1
        and all(isinstance(row.get(key), int | float) for row in done)
    ]
    axis = next(
        (key for key in inputs if key in ("gpus", "domain", "seq_len", "tp", "pp")),
        inputs[0] if inputs else "gpus",
    )
    others = [
        key for key in ("topology", "model", "precision") if len({r.get(key) for r in done}) > 1
    ]
    best: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for row in done:  # where several jobs share a place, the fastest stands for it
        name = ", ".join(str(row.get(key)) for key in others) or "jobs"
        place = name, row[axis]
        speed = row.get("tokens_per_s_per_gpu") or 0.0
        if place not in best or speed > (best[place].get("tokens_per_s_per_gpu") or 0.0):
            best[place] = {**row, "line": name}
    lines = list(best.values())
    ranked = sorted(lines, key=lambda row: -(row.get("tokens_per_s_per_gpu") or 0.0))
    title = "tokens/s per accelerator: no job ran"
    if ranked:
        first = ranked[0]
        named = f"{first['line']}, " if others else ""
        title = f"Most at {named}{axis.replace('_', ' ')} {first[axis]:,}: "
        title += f"{first['tokens_per_s_per_gpu'] or 0.0:,.0f} tokens/s per accelerator"
    return scaling(lines, ax, x=axis, group="line", relative=False, title=title)
