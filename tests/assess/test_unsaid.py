"""The band's terms for what neither job nor software says: near what simulating both ends gives."""

import math

import pytest

import rackmodel

PLAN = {"tp": 1, "pp": 1, "ep": 8, "micro_batch": 2, "recompute": "none", "sharding": "zero1"}
UNKNOWN = "unknown-2026-06"
GRAPHS, WAY = "launches may be captured", "dispatcher not stated"


def simulated(stack=UNKNOWN, machine="dgx-b200", model="qwen3-30b-a3b", plan=(), **words):
    plan = PLAN | dict(plan)
    words = {"gpus": 8, "global_batch": 64, "seq_len": 4096, "check_memory": False} | words
    return rackmodel.simulate(machine, model=model, plan=plan, stack=stack, **words)


def widths(**words):
    result = simulated(**words)
    return dict(result.unsaid(result))


def test_both_ends_are_near_what_they_take_when_they_are_stated():
    step_s, found = simulated().step_s, widths()
    quick = math.log(step_s / simulated(plan={"dispatcher": "deepep"}).step_s)
    slow = math.log(simulated(plan={"dispatcher": "all-to-all"}).step_s / step_s)
    captured = math.log(step_s / simulated(cuda_graphs=True).step_s)
    assert min(quick, slow, captured) > 0.03
    assert found[WAY] == pytest.approx((quick, slow), rel=0.25)
    assert found[GRAPHS] == pytest.approx((captured, 0.0), rel=0.1)


def test_a_name_left_out_is_as_open_to_what_is_quicker():
    found, told = widths(stack="default"), simulated(stack="default")
    assert found[WAY][0] > 0.03
    assert found[WAY][1] == 0.0  # all-to-all is assumed, and nothing is slower
    assert "dispatcher not stated" in told.band_reason
    known = simulated(stack="megatron-core")
    assert known.step_s == told.step_s
    assert known.step_s_low > told.step_s_low
    assert known.step_s_high == told.step_s_high


@pytest.mark.parametrize("stack", [UNKNOWN, "default"])
def test_what_is_stated_widens_nothing(stack):
    for way in ("deepep", "all-to-all"):
        assert not widths(stack=stack, plan={"dispatcher": way}, cuda_graphs=False)
    assert set(widths(stack=stack, plan={"dispatcher": "deepep"})) == {GRAPHS}
    assert set(widths(stack=stack, cuda_graphs=False)) == {WAY}


def test_nothing_is_open_that_nobody_did_then_or_there():
    assert not widths(stack="megatron-bridge")
    assert not widths(stack="unknown-2023-06")
    assert set(widths(stack="unknown-2024-12")) == {GRAPHS}  # before DeepEP
    dense = {"model": "gpt3-125m", "plan": {"ep": 1, "micro_batch": 1}, "seq_len": 2048}
    assert set(widths(**dense)) == {GRAPHS}
    assert not widths(stack="unknown-xla-2026-06", machine="tpu-v5p-pod", plan={"ep": 8})
