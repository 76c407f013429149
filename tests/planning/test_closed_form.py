"""The closed form gives what the simulation gives; its bound holds, its memory is the job's."""

import random

import numpy as np
import pytest

from rackmodel.columns import kinds_of
from rackmodel.planning.comm_times import CommTimes
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.planner import HBM_MARGIN, Planner
from rackmodel.planning.shapes import Shape, shapes
from rackmodel.planning.space import OFFLOADS, Choices
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, load_model, peak_memory
from rackmodel.workload.copies import expert_shards


def job_of(model="gpt3-13b", batch=64, seq_len=2048, **fields):
    return Job(model=load_model(model), plan=Plan(), seq_len=seq_len, global_batch=batch, **fields)


def random_plans(seed, wanted):
    """(machine, job, gpus, plans) with nothing that shares a link or waits for unlike stages.

    One NVLink domain, where every accelerator has its own port into a switch that holds back
    nobody; chunks of equal length; gradients exchanged after the last pass.
    """
    rng = random.Random(seed)
    machine = load_topology("gb200-nvl72")
    choices = Choices(
        shardings=("none", "zero1"),
        schedules=("1f1b", "interleaved", "gpipe"),
        offloads=OFFLOADS,
        least_cp_tokens=512,
        switches=True,
        max_micro_batch=8,
    )
    while wanted:
        model = rng.choice(["gpt3-6.7b", "gpt3-13b", "llama3-8b", "mixtral-8x7b"])
        gpus, batch = rng.choice([8, 16]), rng.choice([32, 64])
        job = job_of(model, batch, rng.choice([2048, 4096]))
        space = enumerate_plans(job, gpus, domain=72, choices=choices, fixed={"dp_overlap": False})
        some = space.take(np.array(rng.sample(range(len(space)), 1)))
        planner = Planner(machine, job, gpus, None)
        if planner.fits(job.replace(plan=some.plan(0)), planner.part.hbm_bytes):
            wanted -= 1
            yield planner, some


@pytest.mark.parametrize("seed", [7, 8, 9, 10])
def test_closed_form_and_simulation_agree_to_2_percent_without_contention(seed):
    for planner, some in random_plans(seed, 2):
        estimates = planner.estimate(some)
        simulated_s = planner.simulate(some.plan(0)).step.step_s
        assert estimates.step_s[0] == pytest.approx(simulated_s, rel=0.02), some.plan(0)
        assert estimates.bound_s[0] <= simulated_s, some.plan(0)


@pytest.mark.parametrize("fields", [{"sharding": "zero3", "tp": 2}, {"pp": 4, "vpp": 5}], ids=str)
def test_bounds_hold_where_links_are_shared(fields):
    """Two nodes whose NICs carry everything at once: slower than the closed form, never faster."""
    job = job_of(batch=32)
    planner = Planner(load_topology("dgx-h100"), job, 16, None)
    space = enumerate_plans(job, 16, fixed=fields | {"micro_batch": 1, "recompute": "none"})
    estimates = planner.estimate(space)
    for entry in np.flatnonzero(np.isfinite(estimates.step_s))[:3]:
        simulated_s = planner.simulate(space.plan(int(entry))).step.step_s
        assert estimates.bound_s[entry] <= simulated_s


def test_experts_with_sharded_weights_are_launched_by_the_host_in_closed_form_too():
    job = job_of("qwen3-30b-a3b", batch=16, seq_len=4096, stack="megatron-recipes")
    planner = Planner(load_topology("dgx-b200"), job, 8, None)
    fixed = {"tp": 1, "cp": 1, "ep": 8, "etp": 1, "pp": 1, "micro_batch": 1, "recompute": "none"}
    space = enumerate_plans(planner.job, 8, fixed=fixed, captures=planner.captures)
    assert planner.captures
    assert len(space) == 2
    for entry, estimate_s in enumerate(planner.estimate(space).step_s):
        simulated_s = planner.simulate(space.plan(entry)).step.step_s
        assert estimate_s == pytest.approx(simulated_s, rel=0.08), space.plan(entry).sharding


def test_estimates_do_not_depend_on_what_was_asked_before():
    job = job_of(batch=32)
    machine = load_topology("gb200-nvl72")
    choices = Choices(switches=True, recomputes=("full",), max_micro_batch=8)
    space = enumerate_plans(job, 16, domain=72, choices=choices)
    whole = Planner(machine, job, 16, None).estimate(space, near=np.inf)
    backwards = np.arange(len(space))[::-1]
    again = Planner(machine, job, 16, None).estimate(space.take(backwards), near=np.inf)
    assert np.array_equal(whole.step_s[backwards], again.step_s)


def test_estimates_are_those_of_each_plan_by_itself():
    job = job_of(batch=32)
    planner = Planner(load_topology("dgx-h100"), job, 16, None)
    choices = Choices(switches=True, recomputes=("full",), max_micro_batch=2, schedules="every")
    space = enumerate_plans(job, 16, choices=choices)
    few = space.take(np.arange(0, len(space), 1 + len(space) // 40))
    assert len({*few.schedule.tolist()}) > 2
    assert len({*few.p2p_overlap.tolist()}) > 1
    together = planner.estimate(few, near=np.inf)
    alone = [planner.estimate(few.take(np.array([entry]))) for entry in range(len(few))]
    for found, each in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_allclose(found, np.concatenate(each), rtol=1e-13, atol=1e-14)


def test_what_ranks_hold_is_worked_out_once_for_one_plan(monkeypatch):
    made = []
    init = Shape.__init__
    monkeypatch.setattr(Shape, "__init__", lambda self, *a: made.append(1) or init(self, *a))
    planner = Planner(load_topology("dgx-h100"), job_of(batch=32), 16, None)
    [*fixed] = ("tp", 2), ("pp", 4), ("vpp", 1), ("micro_batch", 1), ("recompute", "full")
    space = enumerate_plans(planner.job, 16, fixed=dict(fixed) | {"cp": 1, "sharding": "zero1"})
    assert len(space) == 1
    assert np.isfinite(planner.estimate(space).step_s[0])
    assert len(made) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_kinds_of_numbers_are_those_of_numpy(count):
    values = np.random.default_rng(count).integers(0, 9, count)
    _, first, which = np.unique(values, return_index=True, return_inverse=True)
    for ours, numpys in zip(kinds_of(values), (first, which), strict=True):
        assert np.array_equal(ours, numpys)


def test_collectives_are_timed_as_the_network_times_them():
    from rackmodel.network import alone_s, pattern

    comm = CommTimes(load_topology("dgx-h100"), 32)
    plan = Plan(tp=8, dp=4)
    site = comm.site(plan)
    for axis in ("tp", "dp_cp"):
        for size in (1e3, 1e5, 1e7, 1e9):
            for op in ("all-reduce", "all-gather", "reduce-scatter", "all-to-all"):
                members = comm.members(plan, axis, site)[0].groups[0]
                stand = [int(a) for a in site.stands[members]]
                found = pattern(site.network, op, stand, size)
                way = comm.fastest(site, op, stand, len(stand), size)
                assert way.seconds == pytest.approx(alone_s(site.network, found, size), rel=1e-6)
                assert way.algorithm == found.algorithm


def test_hbm_of_the_closed_form_is_the_workloads():
    job = job_of("llama3.1-70b", batch=128, seq_len=4096)
    planner = Planner(load_topology("dgx-h100"), job, 128, None)
    space = enumerate_plans(job, 128)
    estimates = planner.estimate(space)
    for entry in range(0, len(space), max(1, len(space) // 150)):
        exact = sum(peak_memory(job.replace(plan=space.plan(entry)))[1].values())
        assert estimates.hbm_bytes[entry] == pytest.approx(exact, rel=0.05)


def test_every_plan_of_a_large_space_is_ruled_out_or_timed():
    job = job_of("gpt3-175b", batch=4096)
    planner = Planner(load_topology("dgx-h100"), job, 1024, None)
    space = enumerate_plans(
        job, 1024, choices=Choices(shardings=("none", "zero1", "zero2", "zero3"), all_divisors=True)
    )
    estimates = planner.estimate(space, near=1.5)
    assert len(space) > 3000
    assert np.isfinite(estimates.hbm_bytes).all()
    roomy = estimates.hbm_bytes <= planner.part.hbm_bytes * HBM_MARGIN
    timed = np.isfinite(estimates.step_s)
    assert np.isfinite(estimates.bound_s[roomy]).all()
    assert timed[roomy].any()
    assert not timed[~roomy].any()
    # what was not timed can't be among the best
    best_s = estimates.step_s[timed].min()
    assert (estimates.bound_s[roomy & ~timed] > 1.5 * best_s).all()
    every = planner.estimate(space, near=np.inf)
    assert np.isfinite(every.step_s[roomy]).all()
    assert (every.bound_s[roomy] <= every.step_s[roomy] * (1 + 1e-9)).all()
    assert every.step_s[roomy].min() == best_s
    parts = (every.compute_s, every.exchange_s, every.bubble_s, every.reduce_s, every.gather_s)
    assert np.allclose((sum(parts) + every.optimizer_s)[roomy], every.step_s[roomy], rtol=0.02)


@pytest.mark.parametrize("size", [0, 8])
def test_closed_form_knows_owners_that_broadcast_their_tensors(size):
    plan = Plan(sharding="zero1", shard_size=size)
    job = Job(
        model=load_model("llama2-7b"), plan=plan, seq_len=2048, global_batch=256, stack="internevo"
    )
    planner = Planner(load_topology("hgx-a100-80-4x200g"), job, 64, None)
    fixed = {"tp": 1, "cp": 1, "pp": 1, "micro_batch": 2, "sharding": "zero1", "recompute": "none"}
    space = enumerate_plans(job, 64, fixed=fixed)
    found = planner.estimate(space, room_bytes=1e15)
    assert found.step_s[0] == pytest.approx(planner.simulate(space.plan(0)).step.step_s, rel=0.03)
    assert (found.gather_s[0] > 0.1) == (not size)  # across nodes


@pytest.mark.parametrize(("sharding", "size"), [("zero1", 0), ("zero1", 8), ("hsdp", 16)])
def test_arrays_of_plans_are_sharded_as_each_plan_is(sharding, size):
    job = job_of("deepseek-v3", batch=256)
    job = job.replace(sharding=sharding, shard_size=size)
    planner = Planner(load_topology("gb200-nvl72"), job, 128, None)
    space = enumerate_plans(job, 128, fixed={"sharding": sharding, "micro_batch": 1, "cp": 2})
    found = set()
    for entries, shape in shapes(planner.job, space, planner.profiles(space)):
        for place, entry in enumerate(entries.tolist()):
            plan = space.plan(entry)
            assert shape.shards[place] == plan.shards
            assert shape.expert_shards[place] == expert_shards(plan)
            found.add((plan.shards, expert_shards(plan)))
    assert len(found) > 2


@pytest.mark.parametrize("ep", [8, 32])
def test_closed_form_knows_all_to_alls_under_other_passes(ep):
    """Inside a domain of 8 and beyond it, where hiding them matters most."""
    machine = load_topology("dgx-h100")
    job = Job(
        model=load_model("qwen3-235b-a22b"),
        plan=Plan(dispatcher="deepep"),
        seq_len=4096,
        global_batch=1024,
    )
    for hide in (False, True):
        fixed = {
            "tp": 1,
            "cp": 1,
            "pp": 8,
            "vpp": 3,
            "ep": ep,
            "etp": 1,
            "micro_batch": 1,
            "ep_overlap": hide,
            "recompute": "full",
            "sharding": "zero1",
        }
        planner = Planner(machine, job, 256, None)
        space = enumerate_plans(job, 256, fixed=fixed)
        [guess_s] = planner.estimate(space, room_bytes=1e15).step_s
        step_s = planner.simulate(space.plan(0)).step.step_s
        assert guess_s == pytest.approx(step_s, rel=0.06)
