"""Folded equals unfolded: every operation of every rank, on machines with uneven racks and shared
links."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from rackmodel.columns import frame_of
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.rank_logs import expanded
from rackmodel.engine.step import simulate_step
from rackmodel.hardware import accelerator
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.network.sharing import NUMBA
from rackmodel.network.symmetry import label, refine
from rackmodel.result.link_usage import link_bytes
from rackmodel.result.timeline import stretches
from rackmodel.workload import Job, Model, Plan
from rackmodel.workload.operations import Compute, Segment


class TreeMachine:
    """Domains of accelerators, a NIC for each (or shared), leaves with uplinks that may be too
    thin."""

    def __init__(self, domain, *, nic_of=1, pod=2, up=1.0, weak=None, rail=True):
        self.domain, self.nic_of, self.pod, self.up = domain, nic_of, pod, up
        self.weak, self.rail = weak, rail

    @property
    def domain_accelerators(self):
        return self.domain

    max_accelerators = None

    def period(self, accelerators):
        return self.domain * self.pod

    def graph(self, accelerators, *, bundled=False):
        graph = nx.DiGraph(name="tree", accelerator="h100")
        domains = -(-accelerators // self.domain)

        def join(a, b, rate, latency=1e-6):
            graph.add_edge(a, b, bytes_per_s=rate, latency_s=latency, kind="infiniband")
            graph.add_edge(b, a, bytes_per_s=rate, latency_s=latency, kind="infiniband")

        graph.add_node("core", kind="core")
        for d in range(domains):
            graph.add_node(f"switch {d}", kind="scale_up_switch")
            for i in range(self.domain):
                a = d * self.domain + i
                graph.add_node(f"gpu {a}", kind="accelerator", index=a, rack=d)
                join(f"gpu {a}", f"switch {d}", 450e9, 3e-7)
                nic = f"nic {a // self.nic_of}"
                if nic not in graph:
                    graph.add_node(nic, kind="nic")
                    leaf = f"leaf {d // self.pod} {i // self.nic_of if self.rail else 0}"
                    if leaf not in graph:
                        graph.add_node(leaf, kind="leaf")
                        per_leaf = self.pod * (1 if self.rail else self.domain // self.nic_of)
                        join(leaf, "core", 50e9 * per_leaf * self.up)
                    rate = 25e9 if self.weak == a else 50e9
                    join(nic, leaf, rate)
                join(f"gpu {a}", nic, 63e9)
        graph.graph["accelerators"] = accelerators
        return graph


class FlatKernels:
    """One second per petaFLOP, and a millisecond for everything."""

    def compute_s(self, compute: Compute) -> float:
        flops = sum(k.flops * k.count for k in compute.kernels)
        moved = sum((k.read_bytes + k.write_bytes) * k.count for k in compute.kernels)
        return 1e-6 + flops / 5e14 + moved / 3e12


def small_model(**changes):
    fields = {
        "name": "small",
        "layers": 8,
        "hidden": 1024,
        "ffn": 4096,
        "heads": 16,
        "kv_heads": 16,
        "head_dim": 64,
        "vocab": 32000,
        "source": "assumed",
    }
    return Model(**{**fields, **changes})


def compare(machine, job, *, taken=lambda *_: 0.0, **options):
    """Assert that both simulations agree on every operation; return them."""
    folded, whole = (
        simulate_step(
            machine,
            job,
            FlatKernels(),
            EngineOptions(fold=fold, **options),
            taken=taken,
            periods=10**6,
        )
        for fold in (True, False)
    )
    assert folded.step_s == pytest.approx(whole.step_s, rel=1e-9)
    if len(folded.rank_weight) == len(whole.rank_weight):
        rank_class = folded.rank_class
    else:
        pytest.fail("the stand-in is compared elsewhere")
    for rank, number in enumerate(rank_class):
        one, other = expanded(folded.logs[number]), expanded(whole.logs[rank])
        assert [row[:3] for row in one] == [row[:3] for row in other]
        times = np.array([row[3:] for row in one])
        expected = np.array([row[3:] for row in other])
        np.testing.assert_allclose(times, expected, rtol=1e-9, atol=1e-12)
    return folded, whole


TRAFFIC = KernelTimes(accelerator("h100")).traffic
PLANS = st.builds(
    dict,
    tp=st.sampled_from([1, 2, 4, 8]),
    pp=st.sampled_from([1, 2, 4]),
    dp=st.integers(1, 6),
    micro_batch=st.sampled_from([1, 2]),
    sharding=st.sampled_from(["none", "zero1"]),
)
MACHINES = st.builds(
    TreeMachine,
    st.sampled_from([4, 6, 8, 12, 18]),
    pod=st.integers(1, 3),
    up=st.sampled_from([1.0, 0.5, 0.25]),
    nic_of=st.sampled_from([1, 2]),
    rail=st.booleans(),
    weak=st.sampled_from([None, None, 0, 3]),
)


@given(MACHINES, PLANS, st.integers(1, 4), st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_folded_equals_unfolded_for_every_operation_of_every_rank(machine, plan, batches, slow):
    plan = Plan(**plan)
    job = Job(
        model=small_model(),
        plan=plan,
        seq_len=1024,
        global_batch=plan.dp * plan.micro_batch * batches,
    )
    compare(machine, job, slow={1: 1.3} if slow and plan.gpus > 1 else {})


@pytest.mark.parametrize("order", ["tp-cp-ep-dp-pp", "tp-cp-ep-pp-dp"])
def test_a_stand_in_has_the_logs_of_the_whole_machine(order):
    machine = TreeMachine(6, pod=2, up=0.5)
    plan = Plan(tp=2, pp=2, dp=79, rank_order=order)
    job = Job(model=small_model(), plan=plan, seq_len=1024, global_batch=79 * 2)
    small = simulate_step(machine, job, FlatKernels())
    whole = simulate_step(machine, job, FlatKernels(), EngineOptions(fold=False))
    assert len(small.rank_weight) < len(whole.rank_weight)
    assert small.step_s == pytest.approx(whole.step_s, rel=1e-9)
    assert small.rank_count.sum() == plan.gpus

    def ends(step):
        return {
            tuple(np.round([row[4] for row in expanded(log)], 11).tolist()) for log in step.logs
        }

    assert ends(small) == ends(whole)


def test_a_star_of_equal_ranks_is_one_class():
    machine = TreeMachine(8, pod=1)
    plan = Plan(tp=8, dp=2)
    job = Job(model=small_model(), plan=plan, seq_len=1024, global_batch=8)
    step = simulate_step(machine, job, FlatKernels())
    assert len(step.rank_count) == 1


def test_refinement_tells_apart_what_differs():
    ranks = label(np.array([0.0, 0.0, 1.0]))
    partition = refine(ranks, label(np.array([5.0, 5.0])), [])
    assert partition.rank.tolist() == [0, 0, 1]
    assert partition.link.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("schedule", "pp", "vpp", "batches"),
    [
        ("1f1b", 4, 1, 101),
        ("1f1b", 1, 1, 40),
        ("interleaved", 4, 2, 96),
        ("zb-h1", 4, 1, 90),
        ("dualpipe", 4, 1, 96),
        ("zb-2p", 4, 1, 90),
        ("v-half", 4, 2, 90),
        ("dualpipev", 2, 2, 70),
    ],
)
@pytest.mark.parametrize("machine", [TreeMachine(12, up=0.5), TreeMachine(4, nic_of=2)])
def test_skipped_micro_batches_leave_every_event_where_it_is(machine, schedule, pp, vpp, batches):
    plan = Plan(tp=2, pp=pp, vpp=vpp, dp=3, schedule=schedule)
    job = Job(model=small_model(layers=16), plan=plan, seq_len=1024, global_batch=3 * batches)
    same_as_walked(machine, job)


@pytest.mark.parametrize(
    ("schedule", "pp", "vpp", "batches"), [("1f1b", 1, 1, 40), ("1f1b", 2, 1, 120)]
)
@pytest.mark.parametrize("sharding", ["none", "zero1"])
def test_replicas_that_drift_apart_are_skipped_each_by_itself(schedule, pp, vpp, batches, sharding):
    plan = Plan(tp=2, pp=pp, vpp=vpp, dp=3, schedule=schedule, sharding=sharding)
    job = Job(model=small_model(layers=8), plan=plan, seq_len=1024, global_batch=3 * batches)
    machine, slow = TreeMachine(12), {6 * pp - 3: 1.5}
    short = same_as_walked(machine, job, slow=slow, engine="simpy")
    assert len(set(short.splices)) == 2
    assert short.events < 30_000
    if NUMBA:
        how = EngineOptions(slow=slow, engine="compiled")
        compiled = simulate_step(machine, job, FlatKernels(), how)
        assert (compiled.step_s, compiled.events) == (short.step_s, short.events)
        assert compiled.splices == short.splices


def same_as_walked(machine, job, **options):
    """Skipped micro-batches leave every event where it is; return the short step."""
    short = simulate_step(machine, job, FlatKernels(), EngineOptions(**options))
    whole = simulate_step(machine, job, FlatKernels(), EngineOptions(repeat="all", **options))
    assert short.splices
    assert not whole.splices
    assert short.step_s == pytest.approx(whole.step_s, rel=1e-9)
    one, other = events_of(short), events_of(whole)
    columns = ["rank_class", "kind", "phase", "axis", "stream"]
    assert one[columns].astype(str).equals(other[columns].astype(str))
    for name in ("start_s", "end_s", "flops", "hbm_bytes", "wire_bytes"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-9, atol=1e-10)
    own, other_own = link_bytes(short), link_bytes(whole)
    np.testing.assert_allclose(own[0], other_own[0], rtol=1e-9)
    np.testing.assert_allclose(own[1], other_own[1], rtol=1e-9)
    assert passes(short) == passes(whole)
    return short


def passes(step):
    """Return how many segments the ranks of each pipeline rank run."""
    return [
        sum(n for n, item in zip(times, program.items, strict=True) if isinstance(item, Segment))
        for times, program in zip(step.stage_visits().values(), step.programs, strict=True)
    ]


def events_of(step):
    table = frame_of(stretches(step, TRAFFIC))
    table["at"] = table["start_s"].round(9)
    keys = ["rank_class", "at", "stream", "kind", "phase", "axis", "flops"]
    return table.sort_values(keys, ignore_index=True)
