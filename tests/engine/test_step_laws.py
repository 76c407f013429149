"""Laws that every simulated step obeys: bytes and time are conserved, links are not overfilled."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from test_folding import FlatKernels, TreeMachine, small_model

import rackmodel
from rackmodel.columns import frame_of
from rackmodel.engine import locking
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.rank_logs import expanded
from rackmodel.engine.step import simulate_step
from rackmodel.engine.stretches import Stretch
from rackmodel.errors import CannotRun
from rackmodel.hardware import accelerator
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.result.breakdown import breakdown
from rackmodel.result.link_usage import exchange_counts, link_bytes, link_rows
from rackmodel.result.timeline import stretches
from rackmodel.workload import Job, Plan

TRAFFIC = KernelTimes(accelerator("h100")).traffic
MACHINES = ["dgx-h100", "gb200-nvl72", "dgx-a100-40", "tpu-v5p-pod", "mi355x-platform"]
FEW = {"max_examples": 12, "deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def events(step):
    return frame_of(stretches(step, TRAFFIC))


def job(tp, pp, dp, batches=4, **plan):
    return Job(
        model=small_model(),
        plan=Plan(tp=tp, pp=pp, dp=dp, **plan),
        seq_len=1024,
        global_batch=dp * batches,
    )


@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.integers(1, 4), st.booleans())
@settings(**FEW)
def test_no_link_carries_more_than_it_can(tp, pp, dp, thin):
    step = simulate_step(TreeMachine(6, up=0.25 if thin else 1.0), job(tp, pp, dp), FlatKernels())
    own, _ = link_bytes(step)
    assert (own <= step.machine.network.capacity * step.step_s * (1 + 1e-9)).all()


@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.integers(1, 4))
@settings(**FEW)
def test_the_breakdown_adds_up_to_the_step(tp, pp, dp):
    step = simulate_step(TreeMachine(8), job(tp, pp, dp), FlatKernels())
    parts = breakdown(events(step), step.rank_count.astype(float), step.step_s)
    assert sum(parts.values()) == pytest.approx(step.step_s, rel=1e-9)
    assert min(parts.values()) >= -1e-12


@pytest.mark.parametrize(("tp", "pp", "dp"), [(2, 2, 3), (4, 1, 2), (1, 4, 2)])
def test_bytes_that_ranks_send_are_the_bytes_that_leave_them(tp, pp, dp):
    step = simulate_step(TreeMachine(8), job(tp, pp, dp), FlatKernels())
    table = events(step)
    told = (table["wire_bytes"] * step.rank_count[table["rank_class"]]).sum()
    counts = exchange_counts(step)
    carried = 0.0
    for number, channel in enumerate(step.machine.system.channels):
        kinds = step.machine.partition.group[number]
        times = np.array([counts.get((number, int(kind)), 0) for kind in kinds])
        paths = channel.paths
        carried += float((paths.share * times[paths.owner]).sum()) * channel.key.bytes
    assert told == pytest.approx(carried, rel=1e-9)


def test_tensor_parallel_bytes_are_those_of_a_ring():
    wide = small_model(hidden=4096, ffn=16384, heads=32, kv_heads=32, head_dim=128)
    one = Job(model=wide, plan=Plan(tp=4, dp=1), seq_len=8192, global_batch=1)
    step = simulate_step(TreeMachine(8), one, FlatKernels())
    inside = sum(row["bytes"] for row in link_rows(step) if row["tier"] == "scale-up")
    # a hop of the ring crosses two links; each rank sends (n-1)/n of what is gathered
    expected = 0.0
    for channel, count in exchange_counts(step).items():
        key = step.machine.system.channels[channel[0]].key
        factor = 2.0 if key.op == "all-reduce" else 1.0
        expected += count * factor * 3 * key.bytes * 2
    assert inside == pytest.approx(expected, rel=0.01)  # a few small messages carry flags


@pytest.mark.parametrize("machine", MACHINES)
def test_mfu_stays_below_one(machine):
    try:
        result = rackmodel.simulate(
            machine,
            model="gpt3-6.7b",
            gpus=8,
            global_batch=32,
            seq_len=2048,
            plan={"tp": 2, "pp": 1, "micro_batch": 1, "recompute": "full"},
            default_plan=True,
        )
    except CannotRun as reason:
        pytest.fail(str(reason))
    assert 0 < result.mfu <= result.hfu < 1
    assert 0 < result.hbm_bandwidth_utilisation < 1
    assert result.step_s_low < result.step_s < result.step_s_high


@pytest.mark.parametrize("plan", [(4, 2, 2), (2, 1, 4), (1, 2, 8)])
def test_more_bandwidth_is_never_slower(plan):
    class Wider(TreeMachine):
        factor = 1.0

        def graph(self, accelerators, *, bundled=False):
            graph = super().graph(accelerators, bundled=bundled)
            for _, _, facts in graph.edges(data=True):
                facts["bytes_per_s"] *= self.factor
            return graph

    seconds = []
    for factor in (0.5, 1.0, 2.0, 4.0):
        machine = Wider(8)
        machine.factor = factor
        seconds.append(simulate_step(machine, job(*plan), FlatKernels()).step_s)
    assert seconds == sorted(seconds, reverse=True)


def test_weak_scaling_is_flat_where_nothing_is_exchanged():
    few = simulate_step(TreeMachine(8), job(2, 2, 2, sharding="none"), FlatKernels())
    many = simulate_step(TreeMachine(8), job(2, 2, 16, sharding="none"), FlatKernels())
    only_dp = {"dp", "world", "model"}

    def without_dp(step):
        parts = breakdown(events(step), step.rank_count.astype(float), step.step_s)
        return sum(value for name, value in parts.items() if name not in only_dp)

    assert without_dp(many) == pytest.approx(without_dp(few), rel=0.02)


def test_a_graph_made_by_hand_runs():
    node = nx.DiGraph(accelerator="h100")
    node.add_node("switch", kind="scale_up_switch")
    for i in range(8):
        node.add_node(f"gpu {i}", kind="accelerator")
        for edge in [(f"gpu {i}", "switch"), ("switch", f"gpu {i}")]:
            node.add_edge(*edge, bytes_per_s=450e9, latency_s=5e-7)
    result = rackmodel.simulate(node, model="gpt3-6.7b", gpus=8, global_batch=32, seq_len=2048)
    assert 0.1 < result.mfu < 0.8
    assert result.to_dict()["racks"][0]["heat_w"] > 1000


def test_a_slow_accelerator_slows_the_step():
    machine = TreeMachine(8)
    plain = simulate_step(machine, job(2, 2, 2), FlatKernels())
    slowed = simulate_step(machine, job(2, 2, 2), FlatKernels(), EngineOptions(slow={3: 1.5}))
    assert plain.step_s < slowed.step_s <= 1.5 * plain.step_s


def test_a_million_micro_batches_are_skipped_and_refused_one_by_one():
    words = {"topology": "dgx-h100", "model": "gpt3-125m", "gpus": 4, "seq_len": 512}
    words |= {"plan": {"tp": 2, "pp": 1, "micro_batch": 1}, "slow": {1: 1.2}}
    with pytest.raises(CannotRun, match="repeat 'estimate'"):
        rackmodel.simulate(**words, global_batch=10**9, repeat="all")
    exact = rackmodel.simulate(**words, global_batch=10**6).step_s
    fewer = rackmodel.simulate(**words, global_batch=10**6 - 2000).step_s
    last = rackmodel.simulate(**words, global_batch=2000).step_s
    assert exact - fewer == pytest.approx(last, rel=0.05)
    estimate = rackmodel.simulate(**words, global_batch=10**6, repeat="estimate").step_s
    assert estimate == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("batches", [48, 60, 72])
@pytest.mark.parametrize("schedule", ["1f1b", "interleaved", "zb-h1", "zb-2p", "zb-v", "dualpipe"])
def test_a_mean_that_stands_for_the_rest_is_of_ranks_that_all_repeat(schedule, batches):
    """In zb-2p the last rank does no weight gradients for as long as the first one begins."""
    vpp = 2 if schedule in ("interleaved", "zb-v") else 1
    model = replace(small_model(), layers=24)
    work = job(1, 12, 1, batches, schedule=schedule, vpp=vpp).replace(model=model)
    every, mean = (
        simulate_step(TreeMachine(3), work, FlatKernels(), EngineOptions(repeat=how)).step_s
        for how in ("all", "estimate")
    )
    assert mean == pytest.approx(every, rel=0.003)


V = {"tp": 2, "pp": 16, "vpp": 2, "ep": 8, "tp_overlap": True}  # passes in the form of a V
NODES, DENSE = ("dgx-b200", "deepseek-v3"), ("gb200-nvl72", "llama3.1-405b")


@pytest.mark.parametrize(
    ("of", "gpus", "plan"),
    [
        (NODES, 4608, V | {"schedule": "zb-v"}),  # was 0.8% too short, as some ranks are ahead
        (NODES, 4608, V | {"schedule": "dualpipev", "ep_overlap": True}),
        (NODES, 512, V | {"schedule": "dualpipev", "dispatcher": "deepep"}),
        (NODES, 256, {"pp": 16, "ep": 16, "schedule": "dualpipe"}),
        (NODES, 256, {"pp": 8, "vpp": 4, "ep": 16}),
        (DENSE, 128, {"tp": 4, "pp": 16, "vpp": 2, "schedule": "zb-v"}),
        (DENSE, 128, {"tp": 4, "pp": 8, "vpp": 2, "schedule": "dualpipev"}),
    ],
)
def test_a_mean_stands_for_the_rest_only_where_ranks_agree_on_it(of, gpus, plan):
    """Ranks that the others' NICs do not hold up yet are ahead in the first micro-batches."""
    machine, model = of
    words = {"topology": machine, "model": model, "gpus": gpus, "global_batch": 2 * gpus}
    words |= {"seq_len": 4096, "precision": "fp8-mx", "check_memory": False, "engine": "compiled"}
    plan = {"dispatcher": "all-to-all", **plan}
    plan |= {"cp": 1, "micro_batch": 1, "sharding": "zero1", "recompute": "none"}
    every, mean = (
        rackmodel.simulate(**words, stack="megatron-recipes", plan=plan, repeat=how).step_s
        for how in ("all", "estimate")
    )
    assert mean == pytest.approx(every, rel=0.003)


@pytest.mark.parametrize("sharding", ["none", "zero1"])
def test_a_lockstep_is_what_its_pieces_do(monkeypatch, sharding):
    work = job(4, 2, 2, batches=8, sharding=sharding)

    def taken(*_):
        return 0.1

    def run():
        each = EngineOptions(fold=False)
        return simulate_step(TreeMachine(8), work, FlatKernels(), each, taken=taken)

    locked = run()
    monkeypatch.setattr(locking, "meeting_points", lambda pieces: iter(()))
    monkeypatch.setattr(Stretch, "of", lambda *_: None)
    walked = run()
    assert locked.events < walked.events / 2
    last = [sum(one.lockstep is not None for one in log) for log in locked.logs[-8:]]
    assert min(last) > 8, "backward passes too, which begin with a gather beside other kernels"
    assert not any(entry.lockstep for log in walked.logs for entry in log)
    assert locked.step_s == pytest.approx(walked.step_s, rel=1e-12)
    for one, other in zip(locked.logs, walked.logs, strict=True):
        rows, pieces = expanded(one), expanded(other)
        assert [row[:3] for row in rows] == [row[:3] for row in pieces]
        times, piecewise = (np.array([row[3:] for row in x]) for x in (rows, pieces))
        np.testing.assert_allclose(times, piecewise, rtol=1e-12, atol=1e-15)
