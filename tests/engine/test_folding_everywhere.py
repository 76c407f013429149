"""Folded equals unfolded for random plans over every axis, on random machines, with defects."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_folding import FlatKernels, TreeMachine, compare, small_model

from rackmodel.engine.rank_logs import expanded
from rackmodel.engine.step import simulate_step
from rackmodel.errors import RackModelError
from rackmodel.result.link_usage import link_rows
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, check
from rackmodel.workload.schedules.schedule import schedule_of

NAMED = (
    *("gb200-nvl72", "dgx-h100", "hgx-a100-80-4x200g", "mi355x-platform", "tpu-v5p-pod"),
    *("gb200-nvl36", "vr200-nvl72", "dgx-h100-2to1", "dgx-h100-rail-only"),
)
MOST_RANKS = 96


def random_plan(rnd: random.Random, experts: bool) -> dict[str, Any]:
    """Return the fields of a plan that is mostly valid."""
    pick = rnd.choice
    plan = {
        "tp": pick([1, 1, 2, 4, 8, 16]),
        "pp": pick([1, 1, 2, 2, 4, 8]),
        "cp": pick([1, 1, 1, 2, 4]),
        "dp": pick([1, 2, 3, 4, 5, 8]),
    }
    while plan["tp"] * plan["pp"] * plan["cp"] * plan["dp"] > MOST_RANKS:
        axis = pick(list(plan))
        plan[axis] = max(1, plan[axis] // 2)
    plan["micro_batch"] = pick([1, 1, 2])
    plan["sharding"] = pick(["none", "zero1", "zero1", "zero2", "zero3"])
    plan["recompute"] = pick(["none", "selective", "full"])
    plan["rank_order"] = pick(["tp-cp-ep-dp-pp", "tp-cp-ep-dp-pp", "tp-cp-ep-pp-dp"])
    plan["dp_overlap"] = pick([True, True, False])
    plan["sequence_parallel"] = experts or pick([True, True, False])
    if plan["cp"] > 1:
        plan["cp_method"] = pick(["ring", "all-gather"])
    if plan["tp"] > 1 and plan["sequence_parallel"]:
        plan["tp_overlap"] = pick([False, True])
    if plan["pp"] > 1:
        if plan["sharding"] in ("zero2", "zero3"):
            plan["sharding"] = "zero1"
        names = ["1f1b", "1f1b", "gpipe", "zb-h1", "zb-2p", "dualpipe", "interleaved", "zb-v"]
        plan["schedule"] = pick([*names, "v-half", "dualpipev"])
        plan["vpp"] = max(1, schedule_of(plan["schedule"]).chunks[0])
    if experts:
        world = plan["tp"] * plan["cp"] * plan["dp"]
        plan["ep"] = pick([e for e in (1, 2, 4, 8, 16) if world % e == 0])
        inside = [e for e in (1, 2) if (world // plan["ep"]) % e == 0 and e <= plan["tp"]]
        plan["etp"] = pick(inside)
        plan["dispatcher"] = pick(["all-to-all", "deepep", "all-gather"])
        if plan.get("schedule") in ("interleaved", "dualpipe", "dualpipev"):
            plan["ep_overlap"] = plan["dispatcher"] != "all-gather" and pick([False, True])
    if plan["dp"] % 2 == 0 and rnd.random() < 0.1:
        sharding = pick(["hsdp", "zero1"]) if plan["pp"] == 1 else "zero1"
        plan |= {"sharding": sharding, "shard_size": 2 * plan["cp"]}
    return plan


def random_job(rnd: random.Random) -> Job:
    """Return a valid job; what the checks refuse is drawn again."""
    while True:
        experts = rnd.random() < 0.5
        fields = random_plan(rnd, experts)
        more = {"experts": 16, "topk": 2, "moe_ffn": 512, "kv_heads": 4} if experts else {}
        grouped = fields.get("schedule") in ("interleaved", "dualpipe", "dualpipev")
        unit = fields["pp"] if grouped else 1
        batches = unit * rnd.choice([2, 4] if unit > 1 else [1, 2, 3, 4, 6])
        plan = Plan(**fields)
        job = Job(
            model=small_model(layers=16, gated_ffn=experts, **more),
            plan=plan,
            seq_len=1024,
            global_batch=plan.replicas * plan.micro_batch * batches,
            precision=rnd.choice(["bf16", "fp8"]),
        )
        try:
            check(job)
        except RackModelError:
            continue
        return job


def random_machine(rnd: random.Random) -> Any:
    """Return a shipped machine, or a tree with shared NICs, thin uplinks or a weak NIC."""
    if rnd.random() < 0.3:
        return load_topology(rnd.choice(NAMED))
    return TreeMachine(
        rnd.choice([4, 6, 8, 12, 18, 64, 72]),
        pod=rnd.choice([1, 2, 3]),
        up=rnd.choice([1, 0.5, 0.25]),
        nic_of=rnd.choice([1, 1, 2]),
        rail=rnd.choice([True, False]),
        weak=rnd.choice([None, None, 0, 3]),
    )


@pytest.mark.parametrize("seed", range(24))
def test_folded_equals_unfolded_whatever_the_plan(seed):
    rnd = random.Random(seed)
    job, machine = random_job(rnd), random_machine(rnd)
    slow = {rnd.choice([0, 1]): 1.3} if rnd.random() < 0.2 and job.gpus > 1 else {}
    compare(
        machine,
        job,
        taken=lambda *_: 0.1,
        slow=slow,
        packed=rnd.random() < 0.2,
    )


def wide_job(rnd: random.Random) -> Job:
    """Return a job with so many replicas that a stand-in is smaller."""
    while True:
        job = random_job(rnd)
        plan = replace(job.plan, dp=rnd.choice([64, 90, 128, 257]), tp=min(8, job.plan.tp))
        if plan.sharding == "hsdp" or plan.pp > 4:
            continue
        batch = job.micro_batches * plan.replicas * plan.micro_batch
        wide = replace(job, plan=plan, global_batch=batch)
        try:
            check(wide)
        except RackModelError:
            continue
        return wide


def distinct_logs(step):
    """Return the ends of all operations, once for each rank class that differs."""
    return {tuple(np.round([row[4] for row in expanded(log)], 11).tolist()) for log in step.logs}


def same_links(told, counted):
    """Check tiers one by one; above the leaves a tree over fewer pods crosses other links."""
    assert told.keys() == counted.keys()
    for (tier, kind, name), value in told.items():
        close = 0.2 if tier in ("spine", "core") and name != "links" else 1e-9
        assert value == pytest.approx(counted[tier, kind, name], rel=close), (tier, kind, name)


def links_told(step):
    """Return links, bytes and both uses of every tier and kind."""
    return {
        (row["tier"], row["kind"], name): row[name]
        for row in link_rows(step)
        for name in ("links", "bytes", "utilisation_mean", "utilisation_peak")
    }


@pytest.mark.parametrize("seed", range(12))
def test_a_stand_in_does_what_the_whole_machine_does(seed):
    rnd = random.Random(seed)
    job, machine = wide_job(rnd), random_machine(rnd)
    if isinstance(machine, TreeMachine):
        machine.weak = None  # a defect is not repeated along dp
    small = simulate_step(machine, job, FlatKernels())
    whole = simulate_step(machine, job, FlatKernels(), periods=10**6)
    assert small.step_s == pytest.approx(whole.step_s, rel=1e-9)
    assert distinct_logs(small) == distinct_logs(whole)
    assert small.rank_count.sum() == whole.rank_count.sum() == job.gpus
    if not isinstance(machine, TreeMachine):  # one that tells its parts without being built
        same_links(links_told(small), links_told(whole))


@pytest.mark.parametrize("order", ["tp-cp-ep-pp-dp", "tp-cp-ep-dp-pp"])
@pytest.mark.parametrize("dp", [5, 40])
def test_a_stand_in_of_replicas_wider_than_a_domain(order, dp):
    """Few domains hold members of a data-parallel group; a tensor-parallel one lies in several."""
    machine = TreeMachine(4, nic_of=2, pod=2)
    plan = Plan(tp=16, pp=2, dp=dp, sequence_parallel=False, rank_order=order, micro_batch=2)
    job = Job(model=small_model(layers=16), plan=plan, seq_len=1024, global_batch=6 * dp)
    small = simulate_step(machine, job, FlatKernels())
    whole = simulate_step(machine, job, FlatKernels(), periods=10**6)
    assert small.step_s == pytest.approx(whole.step_s, rel=1e-9)
    assert distinct_logs(small) == distinct_logs(whole)


def test_classes_stay_few_however_many_replicas_there_are():
    machine = load_topology("gb200-nvl72")
    counts = set()
    for dp in (216, 1728, 72_000):
        plan = Plan(tp=8, pp=2, dp=dp)
        job = Job(model=small_model(), plan=plan, seq_len=1024, global_batch=4 * dp)
        step = simulate_step(machine, job, FlatKernels())
        assert step.rank_count.sum() == plan.gpus
        counts.add(len(step.rank_count))
    assert max(counts) <= 64


def class_counts(order: str, ep: int, dp: int) -> tuple[int, ...]:
    """Return how many classes of ranks, flows and links a job has, however large it is."""
    more = {"experts": 16, "topk": 2, "moe_ffn": 512, "kv_heads": 4} if ep > 1 else {}
    plan = Plan(tp=8, pp=2, dp=dp, ep=ep, rank_order=order)
    model = small_model(gated_ffn=ep > 1, **more)
    job = Job(model=model, plan=plan, seq_len=1024, global_batch=4 * dp)
    step = simulate_step(load_topology("gb200-nvl72"), job, FlatKernels())
    assert step.rank_count.sum() == plan.gpus
    return (
        len(step.rank_count),
        len(step.machine.quotient.loads),
        len(step.machine.quotient.capacity),
    )


@pytest.mark.parametrize("order", ["tp-cp-ep-pp-dp", "tp-cp-ep-dp-pp"])
@pytest.mark.parametrize("ep", [1, 8])
def test_class_counts_are_flat_up_to_a_million_ranks(order, ep):
    """All tp groups, all dp rails and all ep groups at once; 72 replicas are a few periods."""
    few = class_counts(order, ep, 72 * 6)
    assert few == class_counts(order, ep, 72 * 100) == class_counts(order, ep, 72_000)


@pytest.mark.parametrize(
    ("name", "routing"),
    [
        *[("dgx-h100", routing) for routing in ("paths", "ecmp", "single", "rail")],
        *[("gb200-nvl72", routing) for routing in ("ecmp", "rail")],
        *[("tpu-v5p-pod", routing) for routing in ("paths", "dimension-order")],
        ("dgx-h100-dragonfly", "spray"),
        ("dgx-h100-dragonfly", "ecmp"),
    ],
)
@pytest.mark.parametrize("order", ["tp-cp-ep-pp-dp", "tp-cp-ep-dp-pp"])
def test_folded_equals_unfolded_whatever_the_routing(name, routing, order):
    plan = Plan(tp=4, pp=2, dp=8, rank_order=order)
    job = Job(model=small_model(), plan=plan, seq_len=1024, global_batch=16)
    compare(load_topology(name), job, routing=routing)
