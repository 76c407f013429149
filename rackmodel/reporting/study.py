"""Pictures of many simulations: plans, sensitivities, trade-offs, scaling, errors.

In:  rows or frames of searches, sweeps, sensitivities, validations.
Out: axes, or a figure for a validation.
Left out: simulating.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rackmodel.reporting.style import (
    COLOURS,
    HALO,
    INK,
    LINES,
    MARKERS,
    QUIET,
    WARN,
    compact,
    dress,
    look,
    new_figure,
    own_axes,
)
from rackmodel.reporting.words import part_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]


def mfu_heat_map(
    cells: Rows,
    ax: Axes | None = None,
    *,
    x: str = "tp",
    y: str = "pp",
    value: str = "mfu",
    title: str = "MFU of the best plan for each tp and pp",
) -> Axes:
    """Draw the best MFU for every pair of sizes; a pair that does not fit is hatched.

    cells : each with `x`, `y` and `value` (None where no plan of that pair can run).
    """
    ax = own_axes(ax, 7.5, 5.0)
    across, up = (sorted({cell[key] for cell in cells}) for key in (x, y))
    best: dict[tuple[Any, Any], float | None] = {}
    for cell in cells:
        pair, number = (cell[x], cell[y]), cell.get(value)
        number = None if number is None or math.isnan(number) else number
        if number is not None and number > (best.get(pair) or -math.inf):
            best[pair] = number
        best.setdefault(pair, None)
    values = [v for v in best.values() if v is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    with look():
        import matplotlib as mpl
        from matplotlib.patches import Rectangle

        paint = mpl.colormaps["cividis"]
        for row, size_y in enumerate(up):
            for column, size_x in enumerate(across):
                here = best.get((size_x, size_y))
                if here is None:
                    hatch = "////" if (size_x, size_y) in best else ""
                    box = Rectangle(
                        (column - 0.5, row - 0.5),
                        1,
                        1,
                        facecolor="white",
                        edgecolor="#9aa3ad",
                        hatch=hatch,
                        linewidth=0,
                    )
                    ax.add_patch(box)
                    continue
                share = (here - low) / (high - low) if high > low else 1.0
                ax.add_patch(
                    Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=paint(share), linewidth=0)
                )
                top = here == high
                ax.text(
                    column,
                    row,
                    f"{100 * here:.1f}%",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="black" if share > 0.55 else "white",
                    fontweight="bold" if top else "normal",
                )
                if top:
                    ax.add_patch(
                        Rectangle(
                            (column - 0.46, row - 0.46),
                            0.92,
                            0.92,
                            fill=False,
                            edgecolor=WARN,
                            linewidth=2,
                        )
                    )
        ax.set_xlim(-0.5, len(across) - 0.5)
        ax.set_ylim(-0.5, len(up) - 0.5)
        ax.set_xticks(range(len(across)), [f"{size}" for size in across])
        ax.set_yticks(range(len(up)), [f"{size}" for size in up])
        misfit = Rectangle((0, 0), 1, 1, facecolor="white", edgecolor="#9aa3ad", hatch="////")
        winner = Rectangle((0, 0), 1, 1, fill=False, edgecolor=WARN, linewidth=2)
        ax.legend(
            [winner, misfit],
            ["best", "does not fit or divide"],
            loc="lower right",
            ncols=2,
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
        )
        dress(ax, title="", x=f"{x} (ranks)", y=f"{y} (ranks)", grid="")
        ax.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=26)
        return ax


def tornado(rows: Rows, ax: Axes | None = None, *, title: str = "What doubling gains") -> Axes:
    """Draw what doubling (and halving) each resource does to tokens/s, the largest on top.

    rows : each with `resource`, `gain` (relative, doubled) and where known `loss` (halved).
    """
    ordered = sorted(
        rows, key=lambda row: max(abs(row.get("gain") or 0), abs(row.get("loss") or 0))
    )
    ax = own_axes(ax, 8.0, 1.4 + 0.42 * max(1, len(ordered)))
    with look():
        for index, row in enumerate(ordered):
            for key, colour, hatch in (("gain", COLOURS[0], ""), ("loss", COLOURS[1], "//")):
                change = row.get(key)
                if change is None:
                    continue
                ax.barh(
                    index,
                    100 * change,
                    0.62,
                    color=colour,
                    hatch=hatch,
                    edgecolor="white",
                    label={"gain": "doubled", "loss": "halved"}[key],
                )
                ax.annotate(
                    f"{100 * change:+.1f}%",
                    (100 * change, index),
                    xytext=(4 if change >= 0 else -4, 0),
                    textcoords="offset points",
                    ha="left" if change >= 0 else "right",
                    va="center",
                    fontsize=8.5,
                )
        ax.axvline(0, color=INK, linewidth=0.9)
        ax.set_yticks(
            range(len(ordered)),
            [str(row.get("label") or part_name(str(row["resource"]))) for row in ordered],
        )
        ax.tick_params(axis="y", length=0)
        ax.margins(x=0.16)
        ax.spines["left"].set_visible(False)
        if any(row.get("loss") is not None for row in rows):
            handles, labels = ax.get_legend_handles_labels()
            unique = dict(zip(labels, handles, strict=True))
            ax.legend(unique.values(), unique.keys(), loc="lower right", frameon=False)
        return dress(ax, title=title, x="change of tokens/s [%]", grid="x")


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
        names = list(dict.fromkeys(str(row.get(group, "")) for row in kept))
        alone = len(names) == len(kept) <= 10  # one point each: named where it stands
        for index, name in enumerate(names):
            members = [row for row in kept if str(row.get(group, "")) == name]
            ax.plot(
                [row[x] for row in members],
                [row[y] for row in members],
                MARKERS[index % 8],
                color=COLOURS[index % len(COLOURS)],
                label=None if alone else name,
                ms=8,
            )
            if alone:
                left = _crowded(members[0], kept, x, y)
                ax.annotate(
                    name,
                    (members[0][x], members[0][y]),
                    xytext=(-7 if left else 7, 5),
                    ha="right" if left else "left",
                    textcoords="offset points",
                    fontsize=8.5,
                    bbox=HALO,
                )
        ax.plot(
            [row[x] for row in front],
            [row[y] for row in front],
            color=QUIET,
            linewidth=1.2,
            linestyle="--",
            zorder=1,
            label="Pareto front",
        )
        for limits, key in ((ax.set_xlim, x), (ax.set_ylim, y)):
            values = [row[key] for row in kept] or [1.0]
            wide = max(max(values) - min(values), 0.1 * max(values))
            limits(max(0.0, min(values) - 0.3 * wide), max(values) + 0.3 * wide)
        ax.legend(loc="best", frameon=False)
        arrows = {
            ("low", "low"): "better: down and left",
            ("high", "low"): "better: down and right",
        }
        hint = arrows.get(better, "better: up and right" if better[0] == "high" else "better: up")
        ax.annotate(
            hint,
            (1, 1),
            xytext=(0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            color=QUIET,
        )
        return dress(ax, title="Cost against energy", x=labels[0], y=labels[1], grid="both")


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
    {"NVL72 rack": 72}.
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
                linestyle=LINES[index % 4],
                marker=MARKERS[index % 8],
                label=name,
            )
        sizes = sorted({row[x] for row in rows})
        ax.set_xscale("log", base=2)
        stride = max(1, math.ceil(len(sizes) / 9))
        ax.set_xticks(sizes[::stride], [compact(size) for size in sizes[::stride]])
        ax.minorticks_off()
        ax.set_ylim(0, ax.get_ylim()[1] * 1.12)
        for name, edge in (edges or {}).items():
            if sizes[0] <= edge <= sizes[-1]:
                ax.axvline(edge, color=WARN, linewidth=1, linestyle=":")
                ax.annotate(
                    name,
                    (edge, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, -2),
                    textcoords="offset points",
                    va="top",
                    fontsize=8.5,
                    color=WARN,
                    bbox=HALO,
                )
        ax.legend(loc="lower left", frameon=False)
        unit = "tokens/s per accelerator"
        unit = f"{unit}, % of the smallest machine" if relative else unit
        return dress(ax, title=title, x="accelerators", y=unit, grid="both")


def domain_plot(rows: Rows, ax: Axes | None = None, *, group: str = "model") -> Axes:
    """Draw throughput per accelerator against the size of the scale-up domain.

    rows : each with `domain`, `tokens_per_s_per_gpu` and `group`; relative to the smallest domain.
    """
    ax = scaling(rows, ax, x="domain", group=group, title="What a larger scale-up domain is worth")
    ax.set_xlabel("accelerators in one scale-up domain")
    ax.set_ylabel("tokens/s per accelerator, % of the smallest domain")
    return ax


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
    labelled = list(best.values())
    ax = scaling(labelled, ax, x=axis, group="line", relative=False, title="Best of the sweep")
    ax.set_xlabel(axis.replace("_", " "))
    return ax


def validation_scatter(rows: Rows, ax: Axes | None = None, *, group: str = "") -> Axes:
    """Draw predicted against measured step times with the +-10% band, both axes logarithmic.

    rows : each with measured_step_s, predicted_step_s (None: not drawn) and `group`.
    """
    ax = own_axes(ax, 6.5, 6.0)
    good = [row for row in rows if row.get("predicted_step_s") and row.get("measured_step_s")]
    with look():
        values = [row[key] for row in good for key in ("measured_step_s", "predicted_step_s")]
        low, high = min(values, default=1.0) / 1.5, max(values, default=1.0) * 1.5
        ax.fill_between(
            [low, high],
            [0.9 * low, 0.9 * high],
            [1.1 * low, 1.1 * high],
            color=GRID_BAND,
            linewidth=0,
            label="within 10%",
        )
        ax.plot([low, high], [low, high], color=QUIET, linewidth=0.9)
        names = list(dict.fromkeys(str(row.get(group, "")) for row in good))
        for index, name in enumerate(names):
            members = [row for row in good if str(row.get(group, "")) == name]
            ax.plot(
                [row["measured_step_s"] for row in members],
                [row["predicted_step_s"] for row in members],
                MARKERS[index % 8],
                color=COLOURS[index % len(COLOURS)],
                markersize=4.5,
                alpha=0.75,
                label=name or "published runs",
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(low, high)
        ax.set_ylim(low, high)
        ax.set_aspect("equal")
        errors = [abs(row["predicted_step_s"] / row["measured_step_s"] - 1) for row in good]
        text = f"{len(good):,} runs"
        if errors:
            inside = sum(error <= 0.1 for error in errors) / len(errors)
            text += f", mean error {sum(errors) / len(errors):.1%}, {inside:.0%} in the band"
        ax.legend(loc="upper left", frameon=False, fontsize=8.5)
        return dress(
            ax,
            title=f"Predicted against measured\n{text}",
            x="measured step [s]",
            y="predicted step [s]",
            grid="both",
        )


GRID_BAND = "#dfe7ee"


def error_bars(rows: Rows, ax: Axes | None = None, *, group: str = "topology") -> Axes:
    """Draw the spread of signed errors for each group: middle half thick, middle 80% thin."""
    import numpy as np

    ax = own_axes(ax)
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row.get("predicted_step_s") and row.get("measured_step_s"):
            error = 100 * (row["predicted_step_s"] / row["measured_step_s"] - 1)
            groups.setdefault(str(row.get(group, "")), []).append(error)
    ordered = sorted(groups.items(), key=lambda item: len(item[1]))[-14:]
    with look():
        ax.axvspan(-10, 10, color=GRID_BAND, linewidth=0)
        ax.axvline(0, color=QUIET, linewidth=0.9)
        for index, (_, errors) in enumerate(ordered):
            p10, p25, p50, p75, p90 = np.percentile(errors, [10, 25, 50, 75, 90])
            ax.plot([p10, p90], [index, index], color=COLOURS[0], linewidth=1.2)
            ax.plot([p25, p75], [index, index], color=COLOURS[0], linewidth=6, alpha=0.75)
            ax.plot(p50, index, "|", color="white", markersize=9, markeredgewidth=2)
        ax.set_yticks(
            range(len(ordered)), [f"{name or 'all'} ({len(errors)})" for name, errors in ordered]
        )
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.7, len(ordered) - 0.3)
        return dress(ax, title=f"Error by {group}", x="predicted - measured [%]", grid="x")


def validation_figure(rows: Rows) -> Figure:
    """Return predicted against measured beside the errors by topology."""
    figure, (left, right) = new_figure(13.5, 6.2, columns=2, widths=(1, 1))
    validation_scatter(rows, left)
    error_bars(rows, right)
    return figure
