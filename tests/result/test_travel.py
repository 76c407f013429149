"""A result is plain data: it goes to another process and comes back with the same figures."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pandas as pd
import pytest

import rackmodel

JOB = {"model": "gpt3-1.3b", "gpus": 16, "global_batch": 64, "seq_len": 2048}
PLAN = {"tp": 2, "pp": 2, "micro_batch": 1}
EXPERTS = {"model": "mixtral-8x7b", "plan": {"ep": 8, "pp": 1, "tp": 1, "micro_batch": 1}}
JOB["default_plan"] = True
CASES = {
    "folded": {"plan": PLAN},
    "every rank": {"plan": PLAN, "fold": False},
    "capped": {"plan": PLAN, "power_cap_w": 450.0},
    "experts": {**EXPERTS, "check_memory": False},
}
FRAMES = ("events", "operations", "links", "racks", "rank_classes", "memory", "contention")


def simulated(case):
    return rackmodel.simulate("dgx-h100", **{**JOB, **CASES[case]})


def without_clock(figures):
    """Drop the clock, and which engine ran: what a process has run before decides, not the job."""
    return {**figures, "simulation": {**figures["simulation"], "wall_s": 0.0, "engine": ""}}


@pytest.mark.parametrize("case", CASES)
def test_a_result_that_travelled_tells_the_same(case):
    here = simulated(case)
    there = pickle.loads(pickle.dumps(here))
    assert there.to_dict() == here.to_dict()
    for frame in FRAMES:
        pd.testing.assert_frame_equal(getattr(there, frame), getattr(here, frame))


def test_a_machine_of_many_ranks_stays_behind():
    plan = rackmodel.Plan(tp=8, pp=8, dp=64)
    large = rackmodel.simulate(
        "dgx-h100", model="gpt3-175b", gpus=4096, global_batch=512, seq_len=2048, plan=plan
    )
    assert len(pickle.dumps(large)) < 3e6


def test_a_process_sends_back_what_it_simulated():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(simulated, "folded").result()
    assert without_clock(there.to_dict()) == without_clock(simulated("folded").to_dict())
