"""The closed form knows every schedule, and racks that stages begin inside of."""

import random

import numpy as np
import pytest

from rackmodel.argument.sold_domains import sold
from rackmodel.planning.comm_times import CommTimes
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.planner import Planner
from rackmodel.planning.space import Choices
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Plan, load_model

QUICK = Choices(schedules="quick").schedule_names()


@pytest.mark.parametrize(
    ("schedule", "domain"), [*((name, 72) for name in QUICK), ("dualpipe", 8), ("zb-v", 8)]
)
def test_closed_form_knows_every_schedule(schedule, domain):
    """Of plans near the best, with stages of 48, 24 or 12."""
    job = Job(
        model=load_model("qwen3-30b-a3b"),
        plan=Plan(dispatcher="deepep"),
        seq_len=4096,
        global_batch=432,
        precision="fp8-mx",
    )
    planner = Planner(sold("gb200", domain), job, 144, None)
    choices = Choices(schedules=(schedule,), max_vpp=4, max_micro_batch=1, ep_overlap=True)
    space = enumerate_plans(planner.job, 144, domain=domain, choices=choices)
    space = space.take((space.pp % 3 == 0) & (space.column("ep") > 1))
    step_s = planner.estimate(space, near=1.5).step_s
    entry = random.Random(schedule).choice(np.flatnonzero(step_s < 1.5 * step_s.min()).tolist())
    simulated_s = planner.simulate(space.plan(entry)).step.step_s
    assert step_s[entry] == pytest.approx(simulated_s, rel=0.05), space.plan(entry)


def test_groups_that_a_rack_tears_apart_set_the_pace():
    """Stages of 48 on 64 of each rack: most begin inside a rack and leave it."""
    comm = CommTimes(load_topology("gb200-nvl72"), 576)
    torn, whole = (
        comm.collective(Plan(tp=2, pp=pp, ep=16, dp=288 // pp), "edp", "reduce-scatter", 1e9)[0]
        for pp in (12, 9)
    )
    assert torn > 3 * whole


def test_passes_that_run_in_pairs_are_whole():
    """Weight gradients that stand apart wait for tp once more; a pair of passes does not."""
    job = Job(model=load_model("llama3-8b"), plan=Plan(), seq_len=4096, global_batch=64)
    planner = Planner(load_topology("dgx-h100"), job, 16, None)
    fixed = {"tp": 4, "cp": 1, "pp": 2, "schedule": "dualpipe", "micro_batch": 1}
    fixed |= {"recompute": "none", "sharding": "zero1"}
    space = enumerate_plans(planner.job, 16, fixed=fixed)
    [step_s] = planner.estimate(space, near=np.inf).step_s
    simulated_s = planner.simulate(space.plan(0)).step.step_s
    assert step_s == pytest.approx(simulated_s, rel=0.012)
