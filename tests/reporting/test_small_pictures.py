"""Pictures of small things: one size, one accelerator, one domain, a stage that waits."""

import pandas as pd
import pytest

from rackmodel.reporting.compared import moved
from rackmodel.reporting.network import busbw_plot
from rackmodel.reporting.step_figure import stages
from rackmodel.reporting.style import own_axes


def test_a_single_message_has_its_bound_and_no_size_from_which_on():
    row = {"op": "all-reduce", "gpus": 2, "bytes": 1000.0, "busbw_bytes_per_s": 128e6}
    ax = busbw_plot([row | {"time_s": 1e-5, "bound_s": 5e-9}])
    assert ax.get_title(loc="left") == "128 MB/s at 1 kB"
    assert [line.get_marker() for line in ax.lines] == ["o", "_"]
    low, high = ax.get_xlim()
    assert low * high == pytest.approx(1000.0**2)


def test_a_stage_that_waits_for_others_does_nothing():
    """The norm of gradients waits for the first stage: that is no work of the optimizer."""
    kinds, ends = ["compute", "wait", "compute"], [0.0, 1.0, 9.0, 10.0]
    phases = ["backward", "optimizer", "optimizer"]
    events = pd.DataFrame({"kind": kinds, "phase": phases, "start_s": ends[:-1], "end_s": ends[1:]})
    ax = stages(events.assign(stage=0, rank_class=0, stream="compute"), 10.0, own_axes(None))
    spans = [path.get_extents() for one in ax.collections for path in one.get_paths()]
    assert sorted((box.x0, box.x1) for box in spans) == [(0.0, 1.0), (9.0, 10.0)]


def test_a_difference_is_told_by_its_first_and_its_largest_change():
    fields = {"step_s": -0.0001, "mfu": 0.005, "hbm.capacity_bytes": 0.77}
    rows = [{"part": "result", "field": name, "change": by} for name, by in fields.items()]
    ax = moved(rows)
    assert ax.get_title(loc="left") == "step_s under 0.1%, hbm.capacity_bytes +77.0%"
    assert moved(rows[1:2]).get_title(loc="left") == "mfu +0.5%"
