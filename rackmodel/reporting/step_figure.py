"""One step in one picture: stages over time, HBM by kind, HBM bandwidth, power, heat per rack.

In:  a result as `simulate --json` prints it, and its frames.
Out: a figure.
Left out: several machines side by side (`steps.compare_figure`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rackmodel.annotations import DataFrame
from rackmodel.reporting.steps import heat_bars, step_breakdown
from rackmodel.reporting.style import (
    COLOURS,
    HALO,
    QUIET,
    WARN,
    Axes,
    Figure,
    compact,
    dress,
    legend_outside,
    look,
    new_figure,
)
from rackmodel.reporting.summary import per_rack
from rackmodel.reporting.words import scaled

MOST_STAGES = 16  # drawn; of more, evenly many
BINS = 240
PHASES = {
    "forward": ("forward", "#8fb8de"),
    "backward": ("backward", "#1f4e79"),
    "optimizer": ("optimizer", "#2a9d8f"),
    "exposed": ("waits for traffic", "#e69f00"),
}


def step_figure(
    row: Mapping[str, Any],
    *,
    events: DataFrame,
    memory: DataFrame,
    hbm: DataFrame,
    power: DataFrame,
) -> Figure:
    """Draw a step: where it goes, stages, power, HBM capacity and bandwidth, heat per rack.

    row : as `simulate --json` prints it. events, memory, hbm : `Result.events`,
    `.memory_timeline`, `.hbm_bandwidth`. power : of `power_over_time`.
    """
    figure, axes = new_figure(15.5, 9.2, columns=3, rows=2, widths=(1.15, 1, 1))
    step_breakdown([row], axes[0])
    stages(events, row["step_s"], axes[1])
    rack_power(power, row["step_s"], axes[2])
    hbm_over_time(memory, row["step_s"], row["hbm"]["capacity_bytes"], axes[3])
    hbm_busy(hbm, row["step_s"], row["hbm"]["bandwidth_utilisation"], axes[4])
    heat_bars([row], axes[5])
    heat_w = per_rack(row, "heat_w") or 0.0
    with look():
        figure.suptitle(
            f"{row['model']} on {compact(row['gpus'])} x {row['accelerator']} ({row['topology']}): "
            f"{row['step_s']:.3g} s a step, MFU {row['mfu']:.0%}, {scaled(heat_w, 'W')} a rack",
            x=0.01,
            ha="left",
            fontsize=12,
            fontweight="bold",
        )
    return figure


def stages(events: DataFrame, step_s: float, ax: Axes) -> Axes:
    """Draw what each pipeline stage does over the step, the first at the top."""
    names = np.unique(events["stage"])
    if len(names) > MOST_STAGES:
        names = names[np.linspace(0, len(names) - 1, MOST_STAGES).round().astype(int)]
    with look():
        for place, stage in enumerate(names):
            mine = events[events["stage"] == stage]
            mine = mine[mine["rank_class"] == mine["rank_class"].min()]
            for phase, spans in _spans(mine).items():
                label = PHASES[phase][0] if place == 0 else None
                colour = PHASES[phase][1]
                ax.broken_barh(
                    spans, (place - 0.4, 0.8), facecolor=colour, linewidth=0, label=label
                )
        ax.set_xlim(0, step_s)
        ax.set_ylim(len(names) - 0.4, -0.6)
        ax.set_yticks(range(len(names)), [str(stage) for stage in names])
        legend_below(ax)
        return dress(ax, title="Stages over time", x="time [s]", y="pipeline stage")


def _spans(mine: DataFrame) -> dict[str, list[tuple[float, float]]]:
    """Return what a rank's compute stream does: {phase: [(begin, length)]}, neighbours joined.

    While it waits for other ranks it does nothing.
    """
    own = mine[(mine["stream"] == "compute") & (mine["kind"] != "wait")].sort_values("start_s")
    found: dict[str, list[tuple[float, float]]] = {}
    waits = own["kind"].to_numpy() == "collective"
    columns = (own[name].to_numpy() for name in ("phase", "start_s", "end_s"))
    for wait, phase, begin, end in zip(waits, *columns, strict=True):
        kind = "exposed" if wait else phase if phase in PHASES else ""
        if not kind or end <= begin:
            continue
        spans = found.setdefault(kind, [])
        if spans and begin - (spans[-1][0] + spans[-1][1]) < 1e-9:
            spans[-1] = (spans[-1][0], end - spans[-1][0])
        else:
            spans.append((begin, end - begin))
    return found


def hbm_over_time(timeline: DataFrame, step_s: float, capacity_bytes: float, ax: Axes) -> Axes:
    """Stack what fills the HBM of the fullest rank over the step, under its capacity."""
    fullest = timeline["rank_class"].to_numpy()[int(timeline["total"].to_numpy().argmax())]
    mine = timeline[timeline["rank_class"] == fullest].sort_values("time_s")
    kinds = [
        name
        for name in mine.columns
        if name not in ("rank_class", "stage", "time_s", "total") and mine[name].max() > 0
    ]
    with look():
        ax.stackplot(
            [*mine["time_s"], step_s],
            *([*mine[kind] / 1e9, mine[kind].iloc[-1] / 1e9] for kind in kinds),
            labels=[kind.replace("_", " ") for kind in kinds],
            colors=COLOURS[: len(kinds)],
            step="post",
        )
        ax.axhline(capacity_bytes / 1e9, color=WARN, linestyle="--", linewidth=1.2)
        ax.annotate(
            f"capacity {capacity_bytes / 1e9:.0f} GB",
            (0.01, capacity_bytes / 1e9),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=9,
            color=WARN,
        )
        ax.set_xlim(0, step_s)
        ax.set_ylim(0, capacity_bytes / 1e9 * 1.15)
        legend_outside(ax)
        return dress(ax, title="HBM of the fullest rank", x="time [s]", y="HBM [GB]")


def hbm_busy(bandwidth: DataFrame, step_s: float, mean: float, ax: Axes) -> Axes:
    """Draw how busy HBM is over the step: means over short spans and all ranks."""
    edges = np.linspace(0.0, step_s, BINS + 1)
    begin, end = bandwidth["start_s"].to_numpy(), bandwidth["end_s"].to_numpy()
    ranks = bandwidth.groupby("rank_class")["count"].first().sum()
    share = (bandwidth["utilisation"] * bandwidth["count"]).to_numpy() / ranks
    knots = np.concatenate((begin, end))
    order = np.argsort(knots, kind="stable")
    slope = np.cumsum(np.concatenate((share, -share))[order])
    at = np.concatenate(([0.0], knots[order], [max(step_s, float(knots.max()))]))
    level = np.concatenate(([0.0], slope))
    moved = np.concatenate(([0.0], np.cumsum(level * np.diff(at))))
    busy = np.diff(np.interp(edges, at, moved)) / np.diff(edges)
    with look():
        ax.stairs(busy * 100, edges, fill=True, color=COLOURS[0])
        mean_line(ax, mean * 100, "%")
        ax.set_xlim(0, step_s)
        ax.set_ylim(0, max(5.0, float(busy.max()) * 115))
        return dress(ax, title="HBM bandwidth busy", x="time [s]", y="of the peak [%]")


def rack_power(power: DataFrame, step_s: float, ax: Axes) -> Axes:
    """Draw the power of the hottest rack over the step, with its mean."""
    racks = power[power["what"] != "hall"]
    hottest = racks.groupby("what")["power_w"].mean().idxmax()
    watts = racks.loc[racks["what"] == hottest, "power_w"].to_numpy() / 1e3
    with look():
        thin: Any = {"color": COLOURS[0], "linewidth": 0.9, "baseline": None}
        ax.stairs(watts, np.linspace(0.0, step_s, len(watts) + 1), **thin)
        mean_line(ax, float(watts.mean()), " kW")
        ax.set_xlim(0, step_s)
        ax.set_ylim(0, float(watts.max()) * 1.15)
        return dress(ax, title="Power of the hottest rack", x="time [s]", y="at the plug [kW]")


def mean_line(ax: Axes, mean: float, unit: str) -> None:
    """Draw a line at the mean, with its figure."""
    ax.axhline(mean, color=COLOURS[1], linewidth=1.6)
    ax.annotate(
        f"mean {compact(mean)}{unit}",
        (0.99, mean),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=9,
        fontweight="bold",
        bbox=HALO,
    )


def legend_below(ax: Axes) -> None:
    """Put the legend of a timeline under it, one entry a phase."""
    handles: Mapping[str, Any] = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    ax.legend(
        handles.values(),
        handles.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=4,
        fontsize=9,
        labelcolor=QUIET,
    )
