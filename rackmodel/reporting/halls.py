"""The picture of a hall.

In:  the payload that `rackmodel hall --json` prints.
Out: a matplotlib figure.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rackmodel.reporting.style import COLOURS, Axes, Figure, dress, look, new_figure


def hall_figure(found: Mapping[str, Any]) -> Figure:
    """Draw how much longer each job's steps take beside the others, and the power of each job."""
    figure, (slow, power) = new_figure(9.0, 6.5, rows=2)
    slowdowns(found, slow)
    times = found["over_time"]["time_s"]
    with look():
        for row, lines in _lines(found):
            racks = [one["power_w"] for one in found["racks"] if one["job"] == row["job"]]
            watts = [sum(bin_) / 1e3 for bin_ in zip(*racks, strict=True)]
            power.plot(times, watts, **lines)
        power.set_ylim(bottom=0.0)
        dress(
            power, title="Power of the racks of each job", x="time [s]", y="power [kW]", grid="both"
        )
    return figure


def slowdowns(found: Mapping[str, Any], ax: Axes) -> Axes:
    """Draw how much longer each job's steps take beside the others."""
    with look():
        for row, lines in _lines(found):
            ends = [step["end_s"] for step in row["steps"]]
            factors = [step["slowdown"] for step in row["steps"]]
            ax.step([0.0, *ends], [factors[0], *factors], **lines)
        ax.legend()
        ax.set_ylim(bottom=0.95)
        worst = max(found["rows"], key=lambda row: max(one["slowdown"] for one in row["steps"]))
        most = max(step["slowdown"] for step in worst["steps"])
        told = f"{worst['job']} takes up to {most:.2f} times as long as alone"
        title = told if most > 1.005 else "No job slows another"
        return dress(ax, title=title, x="time [s]", y="time over time alone", grid="both")


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """Each job and how its lines look; equal jobs lie on one another: those below are wider."""
    for number, row in enumerate(found["rows"]):
        width = 1.4 + 2.0 * min(len(found["rows"]) - 1 - number, 2)
        colour = COLOURS[number % len(COLOURS)]
        yield row, {"color": colour, "linewidth": width, "label": row["job"]}
