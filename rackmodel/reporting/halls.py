"""The picture of a hall.

In:  the payload that `rackmodel hall --json` prints.
Out: a matplotlib figure.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rackmodel.reporting.style import COLOURS, dress, look, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def hall_figure(found: Mapping[str, Any]) -> Figure:
    """Draw how much longer each job's steps take beside the others, and the power of each job."""
    figure, (slow, power) = new_figure(9.0, 6.5, rows=2)
    times = found["over_time"]["time_s"]
    with look():
        for number, row in enumerate(found["rows"]):
            colour = COLOURS[number % len(COLOURS)]
            ends = [step["end_s"] for step in row["steps"]]
            factors = [step["slowdown"] for step in row["steps"]]
            slow.step([0.0, *ends], [factors[0], *factors], color=colour, label=row["job"])
            racks = [one["power_w"] for one in found["racks"] if one["job"] == row["job"]]
            watts = [sum(bin_) / 1e3 for bin_ in zip(*racks, strict=True)]
            power.plot(times, watts, color=colour, label=row["job"])
        slow.legend()
        slow.set_ylim(bottom=0.95)
        dress(slow, title="Steps beside other jobs", y="time over time alone", grid="both")
        power.set_ylim(bottom=0.0)
        dress(power, title="Power of racks", x="time [s]", y="kW", grid="both")
    return figure
