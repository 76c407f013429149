"""When prompts come in: every so many decode steps, or once all data-parallel ranks have one."""

import itertools

import pytest

import rackmodel
from rackmodel.errors import InvalidInput
from rackmodel.requests.rules import Gate
from rackmodel.serving.pareto import SETTLED, at_speed, best, front_points, rate
from rackmodel.serving.plans import plan_key, search_plans
from rackmodel.serving.run import habits_of, settle, steps_of
from rackmodel.serving.steady import admission, admitted_every, admitted_share
from rackmodel.serving.words import job_of_words
from rackmodel.validation.recipes import recipe_of
from rackmodel.workload.serving.job import Worker

RANKS = Worker(tp=8, ep=8, dp_attention=True)


@pytest.fixture(scope="module")
def node():
    return rackmodel.load_topology("dgx-b200")


def job(node, worker, **words):
    model = {"model": "deepseek-v3", "isl": 8192, "osl": 1024, "users": 64, "gpus": 8, **words}
    return job_of_words(node, model)[0].replace(worker=worker)


def test_few_prompts_wait_out_the_steps_and_many_do_not(node):
    one = job(node, RANKS, admit_every=60)
    waits = [admitted_every(one, arriving) for arriving in (1e-4, 0.05, 0.5, 5.0, 500.0)]
    assert waits[0] == pytest.approx(60, rel=1e-3)
    assert all(a > b for a, b in itertools.pairwise(waits))
    assert waits[-1] == 1.0
    # many: the longest of eight exponential times, the sum of 1/n over the mean of each rank
    mean = sum(1 / n for n in range(1, 9)) * 8 / 5.0
    assert waits[3] == pytest.approx(mean, rel=0.02)


def test_without_ranks_of_their_own_prompts_wait_for_nobody(node):
    cut = job(node, Worker(tp=8, ep=8), admit_every=30)
    assert [admitted_every(cut, arriving) for arriving in (0.01, 10.0)] == [30.0, 30.0]
    assert admitted_every(cut.replace(admit_every=1), 0.3) == 1.0


def test_a_step_holds_no_more_prompts_than_its_tokens(node):
    for worker, most in ((Worker(tp=8, ep=8), 1.0), (RANKS, 8.0)):
        one = job(node, worker, admit_every=1000)
        for arriving in (0.02, 0.5, 0.9):
            admits = admission(one, habits_of("vllm"), arriving)
            share = admitted_share(one, admits, 0.0, 8192.0)
            assert arriving / share <= most * (1 + 1e-9)


def test_ranks_that_run_prompts_together_decode_sooner_and_answer_later(node):
    """One rank's prompt of 8,192 holds seven others up; eight at once take little longer."""
    steps = steps_of(node)
    alone, together = (settle(job(node, RANKS, admit_every=n), steps, 1e3) for n in (1, 60))
    assert together.prompt.prompts > 2.5 * alone.prompt.prompts
    assert together.tpot_s < 0.7 * alone.tpot_s
    assert together.decode_s == pytest.approx(alone.decode_s, rel=0.05)


def test_a_gate_opens_at_its_turns_or_when_all_ranks_wait():
    gate = Gate(every=10, ranks=4)
    gate.comes(13, alone=True)
    assert [gate.is_open(turn) for turn in (13, 19, 20, 25)] == [False, False, True, True]
    for _ in range(40):
        gate.comes(14, alone=False)
    assert gate.is_open(14)
    gate.comes(20, alone=True)
    assert not gate.is_open(29)
    assert Gate().is_open(0)


@pytest.mark.parametrize("arriving", [1e-6, 0.01, 0.1])
def test_steps_that_are_counted_from_who_waits_are_waited_for_whole(node, arriving):
    one = job(node, Worker(tp=8, ep=8), isl=1024, admit_every=20)
    turns, counted = (admission(one, habits_of(x), arriving) for x in ("vllm", "tensorrt-llm"))
    assert turns.waited == 10.0
    # simulated: the first of a bunch waits 20 steps, those that come meanwhile what is left of them
    left = 20.0 * arriving
    assert counted.waited == pytest.approx(0.5 + (20.0 + 10.0 * left) / (1.0 + left))
    assert counted.share == pytest.approx(1.0 / (20.0 + 1.0 / arriving))
    ranks = job(node, RANKS, admit_every=20)
    assert admission(ranks, habits_of("tensorrt-llm"), arriving).waited <= 10.0


def test_a_gate_that_counts_opens_its_steps_after_the_first():
    gate = Gate(every=20, counts=True)
    gate.comes(13, alone=True)
    gate.comes(25, alone=False)
    assert [gate.is_open(turn) for turn in (20, 32, 33)] == [False, False, True]


def test_first_tokens_wait_for_the_steps_that_are_counted(node):
    words = {"model": "llama3.1-70b", "isl": 1024, "users": 4, "gpus": 4, "stack": "tensorrt-llm"}
    steps = steps_of(node)
    plain, waits = (
        settle(job(node, Worker(tp=4), **{**words, "admit_every": n}), steps, 1e3) for n in (1, 20)
    )
    assert waits.ttft_s - plain.ttft_s == pytest.approx(20.0 * plain.decode_s, rel=0.06)
    assert waits.tpot_s <= plain.tpot_s


def test_prompts_are_admitted_at_least_once_in_a_step():
    words = {"model": "llama3.1-70b", "users": 8, "isl": 512, "osl": 64, "tp": 8}
    with pytest.raises(InvalidInput, match="admit_every"):
        rackmodel.serve("dgx-h100", admit_every=0, **words)


def test_recipes_hold_for_their_own_runs_only():
    run = {"source": "InferenceX issue", "software": "sglang", "model": "deepseek-r1"}
    here = {**run, "system": "dgx-b200", "weights_precision": "fp4"}
    assert recipe_of(here, 8) == {"chunk": 16384, "admit_every": 10, "kv": "fp8", "drafts": 2}
    assert recipe_of(here, 64)["admit_every"] == 30
    assert recipe_of({**here, "system": "gb200-nvl72"}, 64) == {"chunk": 32768, "drafts": 2}
    assert recipe_of({**here, "source": "MLPerf"}, 64) == {}


def test_points_near_a_speed_only_raise_a_front(node):
    one, fixed = job_of_words(
        node, {"model": "gpt-oss-120b", "isl": 1024, "osl": 256, "users": 1, "gpus": 8, "tp": 8}
    )
    steps, grid = steps_of(node), (1, 16, 256)
    speed = 250.0
    coarse = front_points(node, one, fixed, users=grid, steps=steps)
    fine = front_points(node, one, fixed, users=grid, steps=steps, speeds=(speed,))
    assert len(fine) > len(coarse)
    exact = front_points(node, one, fixed, users=tuple(range(1, 257, 5)), steps=steps)
    errors = [abs(at_speed(some, speed) / at_speed(exact, speed) - 1) for some in (coarse, fine)]
    assert errors[1] < 0.03
    assert errors[1] < errors[0]


def test_plans_whose_users_wait_hide_none_whose_users_do_not(node):
    words = {"model": "gpt-oss-120b", "isl": 8192, "osl": 512, "users": 1, "gpus": 8}
    one, fixed = job_of_words(node, words)
    steps, grid = steps_of(node), (32, 128, 512)
    how = {"users": grid, "steps": steps, "disaggregated": True, "queued": False}
    points = front_points(node, one, fixed, **how)
    tried = [
        plan
        for users in grid
        for plan in search_plans(
            node, one.replace(users=users), fixed, steps=steps, disaggregated=True
        )
    ]
    at_once = [plan for plan in tried if not plan.state.queued]
    assert rate(points[-1]) == max(map(rate, at_once))
    assert rate(points[-1]) > max(rate(one) for one in best(tried) if not one.state.queued)
    few = {**how, "users": (32, 128)}
    points, more = (front_points(node, one, fixed, speeds=near, **few) for near in ((), (1.0,)))
    assert not any(one.state.queued for one in more)
    assert rate(more[-1]) > rate(points[-1])


@pytest.mark.parametrize("queued", [True, False])
def test_plans_that_are_left_out_of_a_front_would_not_be_on_it(node, queued):
    """With more users a plan is no quicker, and users who wait do so still: beaten plans stay."""
    words = {"model": "gpt-oss-120b", "isl": 4096, "osl": 256, "users": 1, "gpus": 8}
    one, fixed = job_of_words(node, words)
    steps, grid = steps_of(node), (1, 4, 16, 64, 256, 1024, 4096)
    how = {"steps": steps, "disaggregated": True}
    points = front_points(node, one, fixed, users=grid, queued=queued, **how)
    every = [search_plans(node, one.replace(users=users), fixed, **how) for users in grid]
    tried = [plan for plans in every for plan in plans if queued or not plan.state.queued]
    assert points == best(tried)
    for fewer, more in itertools.pairwise(every):
        before = {plan_key(plan.job): plan.state for plan in fewer}
        for plan in more:
            then = before[plan_key(plan.job)]
            assert plan.state.queued or plan.state.tpot_s >= then.tpot_s * SETTLED
            assert plan.state.queued or not then.queued
