"""Laws of training workloads, in whole simulated steps: bubbles, bytes of experts, weak scaling."""

from __future__ import annotations

import pytest
from test_folding import TreeMachine, small_model

import rackmodel
from rackmodel.engine.step import simulate_step
from rackmodel.workload import Compute, Job, Plan, load_model
from rackmodel.workload.models import Model
from rackmodel.workload.schedules.schedule import schedule_of

MOE = Model(
    name="moe",
    layers=4,
    hidden=1024,
    ffn=4096,
    heads=16,
    kv_heads=16,
    head_dim=64,
    vocab=8192,
    experts=16,
    topk=2,
    moe_ffn=1024,
)


class UnitKernels:
    """A second for each layer's forward, for its input gradients, for its weight gradients."""

    def compute_s(self, compute: Compute) -> float:
        ones = ("fc1", "fc1_dgrad", "fc1_wgrad")
        return sum(k.count for k in compute.kernels if k.name in ones) + 1e-9


@pytest.mark.parametrize(
    ("schedule", "p", "m", "v"),
    [
        ("gpipe", 4, 8, 1),
        ("1f1b", 4, 8, 1),
        ("1f1b", 8, 32, 1),
        ("interleaved", 4, 8, 2),
        ("interleaved", 4, 16, 4),
        ("zb-h1", 4, 16, 1),
        ("zb-h1", 8, 16, 1),
        ("dualpipe", 4, 8, 1),
        ("dualpipe", 8, 20, 1),
        ("zb-2p", 4, 16, 1),
        ("zb-v", 4, 16, 2),
        ("v-half", 4, 8, 2),
        ("v-min", 6, 24, 2),
        ("dualpipev", 4, 10, 2),
    ],
)
def test_a_simulated_schedule_has_its_published_bubble(schedule, p, m, v):
    plan = Plan(pp=p, vpp=v, dp=1, schedule=schedule, sharding="none", p2p_overlap=True)
    job = Job(model=small_model(layers=p * v), plan=plan, seq_len=32, global_batch=m)
    step = simulate_step(TreeMachine(8), job, UnitKernels())
    # Dualpipe holds two stages of a layer each on every rank, for half of the micro-batches each.
    assert step.step_s / (3 * m * v) - 1 == pytest.approx(
        schedule_of(schedule).bubble(p, m, v), abs=1e-4
    )


def test_without_a_pipeline_nothing_waits():
    job = Job(model=load_model("gpt3-1.3b"), plan=Plan(dp=1), seq_len=2048, global_batch=8)
    parts = rackmodel.simulate("dgx-h100", job).breakdown_s
    assert parts["bubble"] == pytest.approx(0.0, abs=1e-9)
    assert parts["pp"] == parts["tp"] == parts["ep"] == 0.0


@pytest.mark.parametrize("ep", [2, 4, 8])
def test_experts_exchange_all_but_their_own_share(ep):
    job = Job(model=MOE, plan=Plan(dp=8, ep=ep), seq_len=2048, global_batch=16)
    events = rackmodel.simulate("dgx-h100", job).operations
    mine = events[(events["axis"] == "ep") & (events["rank_class"] == 0)]
    exchanges = mine[mine["name"].isin(["dispatch", "combine"])]
    tokens = 2 * 2048  # of one rank in a step
    # Dispatch and combine, forward and backward, in bf16.
    once = tokens * MOE.topk * MOE.hidden * 2 * (1 - 1 / ep)
    assert exchanges["wire_bytes"].sum() == pytest.approx(4 * MOE.layers * once, rel=1e-9)


def test_weak_scaling_is_flat_but_for_the_gradients():
    """Ranks get the same work; only the ring of gradients grows, as (n-1)/n."""
    steps = []
    for dp in (2, 8, 32, 128):
        job = Job(
            model=load_model("gpt3-1.3b"),
            plan=Plan(tp=8, dp=dp),
            seq_len=2048,
            global_batch=8 * dp,
        )
        result = rackmodel.simulate("dgx-h100", job)
        parts = result.breakdown_s
        steps.append(parts["compute"] + parts["tp"] + parts["bubble"])
        assert parts["dp"] + parts["optimizer"] < 0.2 * result.step_s
    assert max(steps) / min(steps) < 1.05
