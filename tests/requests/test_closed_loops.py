"""Closed loops as events: what they have in common with the steady state, which knows no events."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import rackmodel
from rackmodel.requests.cluster import Objective
from rackmodel.requests.run import Arrivals, simulate_requests
from rackmodel.serving.cache_moves import CacheMoves
from rackmodel.serving.habits import Habits
from rackmodel.serving.run import check_users, habits_of, running, settle, steps_of
from rackmodel.serving.steady import Rounds, mixed_share
from rackmodel.serving.words import job_of_words
from rackmodel.workload.serving.job import Worker


def served(topology, **words):
    """A job with a complete plan, and the steps of its machine."""
    machine = rackmodel.load_topology(topology)
    job, fixed = job_of_words(machine, words)
    return job.replace(worker=Worker(**{"ep": 1, **fixed})), steps_of(machine)


DENSE = {"model": "llama3.1-70b", "isl": 1024, "osl": 512, "tp": 8, "gpus": 8}

SETTINGS = [
    ("dgx-h100", {**DENSE, "users": 8}),
    ("dgx-h100", {**DENSE, "users": 32, "stack": "sglang"}),
    ("dgx-h100", {**DENSE, "users": 16, "admit_every": 20}),
    ("dgx-h100", {**DENSE, "users": 32, "stack": "sglang", "admit_every": 30}),
    (  # ranks that wait for one another
        "dgx-b200",
        {
            **{"model": "deepseek-v3", "isl": 4096, "osl": 512, "users": 32, "tp": 8},
            **{"ep": 8, "dp_attention": True, "gpus": 8, "admit_every": 60},
        },
    ),
    ("gb200-nvl72", {**DENSE, "users": 16, "gpus": 16, "pp": 2}),
    (
        "gb200-nvl72",
        {
            "model": "deepseek-v3",
            "isl": 1024,
            "osl": 512,
            "users": 128,
            "tp": 16,
            "ep": 16,
            "dp_attention": True,
            "gpus": 16,
        },
    ),
    (
        "gb200-nvl72",
        {
            "model": "deepseek-v3",
            "isl": 1024,
            "osl": 512,
            "users": 256,
            "tp": 16,
            "ep": 16,
            "dp_attention": True,
            "gpus": 32,
            "prefill_gpus": 16,
            "prefill": {"tp": 16, "ep": 16, "dp_attention": True},
        },
    ),
    *(  # few, enough and too many for the worker that runs prompts
        (
            "dgx-h100",
            {
                **DENSE,
                "isl": 4096,
                "osl": 128,
                "users": users,
                "gpus": 16,
                "prefill_gpus": 8,
                "prefill": {"tp": 8},
            },
        )
        for users in (4, 16, 64)
    ),
]


@pytest.mark.parametrize(("topology", "words"), SETTINGS)
def test_a_closed_loop_comes_to_the_steady_state(topology, words):
    """Events know nothing of `steady`, which knows nothing of events."""
    job, steps = served(topology, **words)
    most = check_users(job, steps)
    state = settle(job, steps, most / job.workers)
    # equal answers would share steps for ever
    arrivals = Arrivals(lengths="uniform", spread=0.2, requests=500)
    run = simulate_requests(job, steps, arrivals, Objective())
    assert run.cluster.seen.tpot.mean == pytest.approx(state.tpot_s, rel=0.02)
    assert run.rates[1] / job.osl == pytest.approx(state.requests_per_s, rel=0.02)
    if state.queued:  # Little's law says how long who waits does
        assert run.cluster.seen.ttft.mean == pytest.approx(state.ttft_s, rel=0.05)


def test_who_joins_a_run_of_steps_makes_no_tokens_of_those_under_way():
    """Two users on two stages: prompts of one hold up the other, all tokens take their steps."""
    words = {**DENSE, "isl": 8000, "osl": 512, "users": 2, "tp": 4, "pp": 2}
    job, steps = served("dgx-h100", **words)
    state = settle(job, steps, 1e3)
    run = simulate_requests(job, steps, Arrivals(requests=100), Objective())
    alone_s = steps.seconds(job, job.worker, 8, replace(state.decode, sequences=0.5))
    assert run.cluster.seen.tpot.mean > 1.02 * alone_s
    assert run.cluster.seen.tpot.mean == pytest.approx(state.tpot_s, rel=0.01)


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_a_first_token_has_passed_all_stages(stages):
    """Of one user: a prompt is whole in one batch, and goes through every stage."""
    words = {**DENSE, "isl": 8192, "osl": 64, "users": 1, "tp": 8 // stages, "pp": stages}
    job, steps = served("dgx-h100", **words)
    state = settle(job, steps, 1e3)
    run = simulate_requests(job, steps, Arrivals(requests=20), Objective())
    assert run.cluster.seen.ttft.mean == pytest.approx(state.ttft_s, rel=0.02)
    assert run.rates[0] == pytest.approx(state.requests_per_s, rel=0.02)


@pytest.mark.parametrize("users", [1, 4])
@pytest.mark.parametrize(
    ("stack", "steps_later"),
    [("default", 0.5), ("sglang", 0.5), ("tensorrt-llm", 1.5), ("vllm", 2.5)],
)
def test_a_first_token_comes_when_the_worker_that_decodes_tells_it(stack, steps_later, users):
    """Between two of its steps; not sooner than a step later, if it asks for the cache then."""
    words = {**DENSE, "osl": 256, "gpus": 16, "prefill_gpus": 8, "prefill": {"tp": 8}}
    job, steps = served("dgx-h100", **{**words, "users": users, "stack": stack})
    state, habits = settle(job, steps, 1e3), habits_of(stack)
    arrivals = Arrivals(lengths="uniform", spread=0.2, requests=1000)
    ttft_s = simulate_requests(job, steps, arrivals, Objective()).cluster.seen.ttft.mean
    assert ttft_s == pytest.approx(state.ttft_s, abs=0.1 * state.decode_s)
    later_s = ttft_s - habits.request_s - state.prompt_s - CacheMoves(job, steps).together_s(1)
    own = steps_later if users > 1 else float(stack == "vllm")  # nobody waits for one's own steps
    assert later_s / state.decode_s == pytest.approx(own, abs=0.3)


def test_a_long_move_of_a_cache_is_looked_for_half_a_step_too_late():
    asking = Habits(asks=True)
    for moved_s in (1e-3, 0.02, 0.1):
        waits_s = [asking.taken_up_s(moved_s, 0.01, busy) - moved_s for busy in (0.0, 0.5, 1.0)]
        late_s = max(0.015 - moved_s, 0.01)
        assert waits_s == pytest.approx([0.0, late_s / 2.0, late_s])


def test_prompts_that_come_while_a_step_runs_share_the_next_one():
    """Of Poisson arrivals: none while steps are alike, fewer steps with prompts where some wait."""
    for arriving in (0.01, 0.3, 2.0):
        assert mixed_share(arriving, 0.0) == pytest.approx(1.0 - np.exp(-arriving))
        shares = [mixed_share(arriving, gathered) for gathered in (0.0, 1.0, 3.0, 10.0)]
        assert all(a > b for a, b in itertools.pairwise(shares))
        assert shares[-1] > 0.0
    assert mixed_share(0.0, 2.0) == 0.0


@pytest.mark.parametrize(("stack", "spread"), [("sglang", 0.0), ("sglang", 0.1), ("vllm", 0.1)])
def test_users_who_set_out_together_wait_as_the_rounds_say(stack, spread):
    """Where prompts stop decode and answers are alike, every round is a bunch; else the first."""
    words = {**DENSE, "isl": 512, "osl": 256, "users": 32, "stack": stack, "chunk": 512}
    job, steps = served("dgx-h100", **words)
    settled = settle(job, steps, 1e3)
    rounds = settle(job, steps, 1e3, Rounds(number=8, spread=spread))
    kind = "uniform" if spread else "fixed"
    arrivals = Arrivals(lengths=kind, spread=spread, together=True, requests=8 * 32)
    seen = simulate_requests(job, steps, arrivals, Objective()).cluster.seen
    assert seen.ttft.mean == pytest.approx(rounds.ttft_s, rel=0.3)
    assert seen.tpot.mean == pytest.approx(rounds.tpot_s, rel=0.04)
    assert (rounds.ttft_s > 2.0 * settled.ttft_s) == (stack == "sglang" and not spread)


@pytest.mark.parametrize("limit", [1, 4])
def test_a_limit_of_sequences_is_kept_and_users_wait(limit):
    """In a closed loop users / rate = first token + answer (Little), whatever the limit."""
    job, steps = served("dgx-h100", **{**DENSE, "osl": 64, "users": 8, "max_sequences": limit})
    state = settle(job, steps, running(job, steps.part))
    assert (state.sequences, state.queued) == (limit, True)
    run = simulate_requests(job, steps, Arrivals(requests=400), Objective())
    assert max(len(worker.running) for worker in run.cluster.workers) <= limit
    assert run.cluster.seen.ttft.mean == pytest.approx(state.ttft_s, rel=0.1)
    assert run.rates[0] == pytest.approx(state.requests_per_s, rel=0.05)
