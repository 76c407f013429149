"""What is built once for all rails is what every rail would be."""

import numpy as np
import pytest
from test_folding import FlatKernels, small_model

from rackmodel.engine import orbits
from rackmodel.engine.networks import clear_caches
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.step import simulate_step
from rackmodel.result.link_usage import link_bytes
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan


def steps(monkeypatch, name, plan, **options):
    """Return the step with one group of each orbit, and with every group built."""
    more = {"experts": 16, "topk": 2, "moe_ffn": 512, "kv_heads": 4} if plan.ep > 1 else {}
    model = small_model(gated_ffn=plan.ep > 1, **more)
    job = Job(model=model, plan=plan, seq_len=1024, global_batch=4 * plan.dp)
    machine, found = load_topology(name), []
    for fewest in (0, 10**9):
        clear_caches()  # a network keeps what was folded on it
        monkeypatch.setattr(orbits, "FEWEST_RANKS", fewest)
        found.append(simulate_step(machine, job, FlatKernels(), EngineOptions(**options)))
    return found


@pytest.mark.parametrize(
    ("name", "plan", "order"),
    [
        ("dgx-h100", Plan(tp=8, pp=2, dp=12), 8),
        ("dgx-h100", Plan(tp=8, pp=2, dp=12, rank_order="tp-cp-ep-pp-dp"), 8),
        ("dgx-h100", Plan(tp=4, pp=2, dp=10), 4),
        ("dgx-h100", Plan(tp=2, cp=2, pp=2, dp=8, sharding="zero3"), 2),
        ("dgx-h100", Plan(dp=48, ep=8), 8),
        ("gb200-nvl72", Plan(tp=8, pp=2, dp=36), 2),
        ("gb300-nvl72", Plan(tp=8, pp=2, dp=18), 8),
        ("nvl576", Plan(tp=4, dp=24), 4),
    ],
)
def test_what_one_of_an_orbit_does_all_do(monkeypatch, name, plan, order):
    few, every = steps(monkeypatch, name, plan)
    assert few.machine.system.orbits.order == order
    assert every.machine.system.orbits.order == 1
    built = [sum(len(c.members) for c in step.machine.system.channels) for step in (few, every)]
    assert built[0] < built[1]
    assert few.step_s == pytest.approx(every.step_s, rel=1e-12)
    assert (few.rank_class == every.rank_class).all()
    assert few.events == every.events
    for fewer, more in zip(few.exchanges, every.exchanges, strict=True):
        assert fewer.sent_bytes == pytest.approx(more.sent_bytes, rel=1e-12)
    for mine, own in zip(link_bytes(few), link_bytes(every), strict=True):
        np.testing.assert_allclose(mine, own, rtol=1e-9, atol=1e-12 * own.max())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dgx-h100", {"slow": {"3": 2.0}}),
        ("dgx-h100", {"routing": "ecmp"}),
        ("dgx-h100", {"fold": False}),
        ("tpu-v5p-pod", {}),
        ("dgx-h100-dragonfly", {}),
    ],
)
def test_where_rails_differ_all_are_built(monkeypatch, name, options):
    few, every = steps(monkeypatch, name, Plan(tp=4, pp=2, dp=8), **options)
    assert few.machine.system.orbits.order == 1
    assert few.step_s == every.step_s
