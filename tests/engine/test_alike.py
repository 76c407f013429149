"""What is worked out once for groups that lie alike is what each of them would give."""

import numpy as np
import pytest
from test_folding import FlatKernels, small_model

from rackmodel.engine import alike
from rackmodel.engine.networks import clear_caches
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.step import simulate_step
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan


@pytest.mark.parametrize(
    ("name", "plan", "fold"),
    [
        ("dgx-h100", Plan(tp=8, pp=2, dp=12), True),
        ("dgx-h100", Plan(tp=2, pp=2, dp=32, ep=32), True),
        ("dgx-h100", Plan(tp=2, pp=2, dp=16, ep=16), False),
        ("gb200-nvl72", Plan(tp=4, pp=4, dp=18, ep=24), True),
    ],
)
def test_one_of_each_kind_is_enough(monkeypatch, name, plan, fold):
    more = {"experts": 96, "topk": 2, "moe_ffn": 512, "kv_heads": 4} if plan.ep > 1 else {}
    model = small_model(gated_ffn=plan.ep > 1, **more)
    job = Job(model=model, plan=plan, seq_len=1024, global_batch=4 * plan.dp)
    machine, found, sets = load_topology(name), [], []

    class Counted(alike.Alike):
        def __new__(cls, **fields):
            sets.append(len(fields["links"]))
            return super().__new__(cls, **fields)

    monkeypatch.setattr(alike, "Alike", Counted)
    for fewest in (0, 10**9):
        clear_caches()  # a network keeps what was folded on it
        sets.clear()
        monkeypatch.setattr(alike, "FEWEST_CROSSINGS", fewest)
        found.append(simulate_step(machine, job, FlatKernels(), EngineOptions(fold=fold)))
        assert (max(sets) > 1) == (fewest == 0)
    few, every = found
    assert few.step_s == pytest.approx(every.step_s, rel=1e-12)
    assert (few.rank_class == every.rank_class).all()
    assert few.events == every.events
    one, other = few.machine.system, every.machine.system
    assert one.orbits.order == other.orbits.order
    assert one.conflicts == other.conflicts
    np.testing.assert_array_equal(one.capacity, other.capacity)
    for mine, own in zip(one.channels, other.channels, strict=True):
        np.testing.assert_array_equal(mine.private, own.private)
        for column in ("owner", "round_", "indptr", "links"):
            np.testing.assert_array_equal(
                getattr(mine.streams, column), getattr(own.streams, column)
            )
        np.testing.assert_allclose(mine.streams.loads, own.streams.loads, rtol=1e-12)
        np.testing.assert_allclose(mine.streams.alone, own.streams.alone, rtol=1e-12)
