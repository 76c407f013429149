"""HolisticTraceAnalysis reads our traces and finds the overlap and breakdown that we simulated.

It wants an older pandas than ours, so it runs in an environment of its own: RACKMODEL_HTA_PYTHON
names its interpreter (`.ci/run` makes one).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import rackmodel
from rackmodel.reporting.trace import write_rank_traces
from rackmodel.workload import Job, Plan
from rackmodel.workload.models import Model

PYTHON = os.environ.get("RACKMODEL_HTA_PYTHON") or (
    sys.executable if importlib.util.find_spec("hta") else ""
)
ASK = """
import json, sys
from hta.trace_analysis import TraceAnalysis
trace = TraceAnalysis(trace_dir=sys.argv[1])
frames = (trace.get_temporal_breakdown(visualize=False),
          trace.get_comm_comp_overlap(visualize=False))
print("ANSWER " + json.dumps([frame.to_dict("records") for frame in frames]))
"""
pytestmark = pytest.mark.skipif(
    not PYTHON,
    reason="HolisticTraceAnalysis is not installed; pip install it in an environment of its own"
    " and set RACKMODEL_HTA_PYTHON to its python",
)


def union(spans):
    """Return the parts of time that any of (start, end) covers, in order."""
    out = []
    for start, end in sorted(map(tuple, spans)):
        if out and start <= out[-1][1]:
            out[-1][1] = max(out[-1][1], end)
        else:
            out.append([start, end])
    return np.array(out).reshape(-1, 2)


def seconds(spans):
    return float((spans[:, 1] - spans[:, 0]).sum()) if len(spans) else 0.0


@pytest.mark.parametrize(
    ("changes", "overlaps"),
    [
        ({}, True),
        ({"dp_overlap": False, "p2p_overlap": False}, False),
        ({"ep_overlap": True, "vpp": 2}, True),
    ],
)
def test_overlap_and_breakdown_are_those_of_the_step(tmp_path, changes, overlaps):
    moe = Model(
        name="moe",
        layers=8,
        hidden=4096,
        ffn=8192,
        heads=32,
        kv_heads=8,
        head_dim=128,
        vocab=32000,
        experts=16,
        topk=2,
        moe_ffn=2048,
    )
    plan = Plan(pp=2, ep=4, dp=8)
    job = Job(model=moe, plan=plan, seq_len=8192, global_batch=32).replace(**changes)
    result = rackmodel.simulate("dgx-h100", job, check_memory=False)
    events = result.events
    write_rank_traces(events, tmp_path, world_size=16)
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", ASK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    answer = next(line for line in done.stdout.splitlines() if line.startswith("ANSWER "))
    breakdown, overlap = json.loads(answer.removeprefix("ANSWER "))
    assert len(breakdown) == events["rank_class"].nunique()
    for row, shared in zip(breakdown, overlap, strict=True):
        mine = events[events["rank_class"] == row["rank"]]
        kind = mine["kind"].astype(str)
        spans = mine[["start_s", "end_s"]].to_numpy()
        compute = union(spans[kind == "compute"])
        moving = union(spans[kind.isin(["collective", "send"])])
        both = union([*compute, *moving])
        beside = seconds(compute) + seconds(moving) - seconds(both)
        whole = 1e6 * (both[:, 1].max() - both[:, 0].min())
        # HTA rounds times to microseconds.
        assert row["compute_time(us)"] == pytest.approx(1e6 * seconds(compute), abs=0.005 * whole)
        assert row["non_compute_time(us)"] == pytest.approx(
            1e6 * (seconds(both) - seconds(compute)), abs=0.005 * whole
        )
        assert row["idle_time(us)"] == pytest.approx(whole - 1e6 * seconds(both), abs=0.005 * whole)
        share = 100.0 * beside / seconds(moving)
        assert shared["comp_comm_overlap_pctg"] == pytest.approx(share, abs=2.0)
        assert (share > 5.0) == overlaps
