"""The timeline of HBM peaks where and as high as the workload's memory says."""

import pytest

import rackmodel
from rackmodel.reporting.summary import hbm_text
from rackmodel.reporting.words import gigabytes
from rackmodel.result.hbm import passes
from rackmodel.workload import Job, Plan, rank_actions
from rackmodel.workload.models import Model

MODEL = Model(
    name="small", layers=16, hidden=512, ffn=2048, heads=8, kv_heads=8, head_dim=64, vocab=8192
)


def simulated(micro_batches=8, **plan):
    plan = Plan(**{"tp": 2, "dp": 2, **plan})
    job = Job(model=MODEL, plan=plan, seq_len=512, global_batch=micro_batches * plan.replicas)
    return rackmodel.simulate("dgx-h100", job)


@pytest.mark.parametrize(
    "plan",
    [
        {"pp": 1},
        {"pp": 4},
        {"pp": 4, "schedule": "gpipe"},
        {"pp": 2, "vpp": 4},
        {"pp": 4, "schedule": "zb-h1"},
        {"pp": 4, "schedule": "dualpipe"},
        {"pp": 4, "recompute": "full"},
        {"pp": 4, "stage_layers": (2, 3, 5, 6)},
        {"pp": 1, "sharding": "zero3"},
    ],
)
def test_the_peak_over_time_is_the_memory_of_each_stage(plan):
    result = simulated(**plan)
    peaks = result.memory.groupby("rank_class")["bytes"].sum()
    stages = result.memory.groupby("rank_class")["stage"].first()
    for rank_class, peak in peaks.items():
        assert peak == pytest.approx(sum(result.hbm_used[stages[rank_class]].values()), rel=1e-9)
    ends = result.memory_timeline.groupby("rank_class")["activations"].last()
    assert ends.to_numpy() == pytest.approx(0.0, abs=1.0)
    assert result.memory["peak_s"].between(0.0, result.step_s).all()


def test_bandwidth_over_time_adds_up_to_the_mean():
    result = simulated(pp=2)
    over = result.hbm_bandwidth
    assert over["utilisation"].between(0.0, 1.0).all()
    counts = result.step.rank_count
    moved = over["bytes_per_s"] * (over["end_s"] - over["start_s"])
    mean = (moved * counts[over["rank_class"]]).sum() / counts.sum() / result.step_s
    assert result.events["wire_bytes"].sum() > 0
    known = result.hbm_bandwidth_utilisation * result.accelerator.hbm_bytes_per_s
    assert mean == pytest.approx(known, rel=1e-6)


@pytest.mark.parametrize("plan", [{"pp": 4}, {"pp": 2, "vpp": 4}])
def test_skipped_micro_batches_are_in_the_timeline(plan):
    result = simulated(512, **plan)
    assert result.step.splices
    for number, stage in enumerate(result.step.rank_stage.tolist()):
        found = sorted(passes(result.step, number), key=lambda one: one[1])
        every = rank_actions(result.step.job, stage)
        assert [a.kind for a, *_ in found] == [a.kind for a in every]
    ends = result.memory_timeline.groupby("rank_class")["activations"].last()
    assert ends.to_numpy() == pytest.approx(0.0, abs=1.0)
    peak = result.memory_timeline["total"].max()
    assert peak == pytest.approx(max(sum(used.values()) for used in result.hbm_used), rel=1e-9)


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_what_recompute_saves_is_told(recompute):
    kept, again = simulated(pp=2), simulated(pp=2, recompute=recompute)
    without = again.to_dict()["hbm"]["without_recompute_bytes"]
    used = kept.to_dict()["hbm"]
    assert without == pytest.approx(sum(used["used_bytes"].values()), rel=1e-12)
    assert "without_recompute_bytes" not in used
    assert hbm_text(again.to_dict()).endswith(
        f"(recompute: {recompute}; without it {gigabytes(without)} GB)"
    )
