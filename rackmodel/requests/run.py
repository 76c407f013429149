"""A served job whose requests are events: its workers, their steps, its arrivals, one run.

In:  a job whose plan is complete, the simulated steps of its machine, how requests come.
Out: `Run`: what was seen, and the capacity of the workers.
Left out: power (`outcome`), the search for a plan or a rate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from rackmodel.engine.options import EngineOptions
from rackmodel.errors import CannotRun, DoesNotFit
from rackmodel.requests.arrivals import Request, Trace, lengths_of, renewals
from rackmodel.requests.blocks import blocks_of
from rackmodel.requests.cluster import Balance, Cluster, Kind, Objective, Seen
from rackmodel.requests.drafts import BLOCK_TOKENS, Drafts
from rackmodel.requests.rules import Rules
from rackmodel.requests.step_times import StepTimes
from rackmodel.requests.transfers import Transfers
from rackmodel.serving.run import check_formats, check_users, habits_of, settle
from rackmodel.serving.steps import Steps
from rackmodel.serving.words import planned
from rackmodel.topology import Topology
from rackmodel.workload.serving.job import ServingJob, Worker, check_serving
from rackmodel.workload.serving.load import Load
from rackmodel.workload.serving.memory import cache_room_bytes, most_sequences, sequence_bytes

LEAST_REQUESTS = 2000  # that are measured where nobody says how many, and the most
TOGETHER = 10  # requests of each of them, where users set out at once and nobody says how many
ROUNDS = 12  # of the requests in flight at a rate
MOST_REQUESTS = 50_000
GROWTH = 0.02  # of the requests that came: a queue that grows more has no steady state


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """How requests come: of `job.users` in a closed loop unless a rate or a trace is given.

    rate : requests per second. cv : of the gaps, standard deviation over mean. lengths : see
    `arrivals.lengths_of`. requests : that are measured; None for some thousands, or the trace.
    spread : half width of uniform lengths over their mean. together : users set out at once, and
    all requests count.
    """

    rate: float | None = None
    cv: float = 1.0
    lengths: str = "fixed"
    trace: Trace | None = None
    requests: int | None = None
    seed: int = 0
    balance: Balance = "least"
    spread: float = 0.8
    together: bool = False


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run has left. alike : workers that the simulated ones stand for, each for so many."""

    job: ServingJob
    arrivals: Arrivals
    objective: Objective
    cluster: Cluster
    alike: int
    steps: Steps

    @cached_property
    def capacity(self) -> float:
        """Requests per second that the workers can answer."""
        return capacity_of(self.job, self.steps)

    @property
    def isl(self) -> float:
        """Mean tokens of a prompt."""
        return self.cluster.seen.prompt_tokens / self.cluster.seen.answered

    @property
    def osl(self) -> float:
        """Mean tokens of an answer."""
        return self.cluster.seen.tokens / self.cluster.seen.answered

    @property
    def times(self) -> list[StepTimes]:
        """The tables of step times of the kinds of workers."""
        ends = (self.cluster.front[0].times, self.cluster.back[0].times)
        return [
            one
            for n, one in enumerate(ends)
            if isinstance(one, StepTimes) and (n == 0 or one is not ends[0])
        ]

    @property
    def rates(self) -> tuple[float, float]:
        """Requests and tokens of answers per second, between the first and the last that count."""
        marks = self.cluster.seen.marks
        first, last = marks[min(marks)], marks[max(marks)]
        if self.arrivals.trace is not None:
            last = self.cluster.mark()
        length = last.time_s - first.time_s
        if length <= 0.0:
            return 0.0, 0.0
        return (
            self.alike * (last.answered - first.answered) / length,
            self.alike * (last.tokens - first.tokens) / length,
        )


def simulate_requests(
    job: ServingJob, steps: Steps, arrivals: Arrivals, objective: Objective
) -> Run:
    """Simulate requests, one by one.

    Raises
    ------
    CannotRun
        If more requests come than the workers can answer: there is no steady state.
    DoesNotFit
        If a request is longer than the cache of a worker.
    """
    prompts, answers = kinds(job, steps)
    largest = arrivals.trace.largest if arrivals.trace else job.isl + job.osl
    _check_cache(min(prompts.blocks, answers.blocks), largest)
    rate = arrivals.trace.rate if arrivals.trace else arrivals.rate
    if rate is not None and rate > (capacity := capacity_of(job, steps)):
        raise no_steady_state(rate, capacity)
    alike = job.workers if workers_alike(job, arrivals) else 1
    if alike > 1:
        prompts = answers = replace(answers, number=1)
    rngs = [np.random.default_rng([arrivals.seed, part]) for part in range(2)]
    in_flight = job.users / alike if rate is None else _in_flight(job, steps, rate)
    skipped, requests = _counts(arrivals, in_flight)
    cluster = Cluster(
        prompts=prompts,
        answers=answers,
        drafts=Drafts(job.mtp, job.acceptance, rngs[0]),
        seen=Seen(skipped=skipped, requests=requests),
        objective=objective,
        request_s=habits_of(job.stack).request_s,
        balance=arrivals.balance,
    )
    if job.prefill is not None:
        cluster.move = Transfers(job, steps, cluster.env).move
    drawn = lengths_of(arrivals.lengths, job.isl, job.osl, rngs[1], arrivals.spread)
    if arrivals.trace is not None:
        cluster.open_loop(arrivals.trace)
    elif arrivals.rate is not None:
        cluster.open_loop(renewals(arrivals.rate, arrivals.cv, drawn, rngs[1]))
    else:
        many = renewals(1.0, 0.0, drawn, rngs[1])
        first = _first(many, job, steps, alike, together=arrivals.together)
        cluster.closed_loop(first, partial(next, many))
    run = Run(
        job=job,
        arrivals=arrivals,
        objective=objective,
        cluster=cluster,
        alike=alike,
        steps=steps,
    )
    if rate is not None:
        _check_queue(run, rate)
    return run


def job_at(
    machine: Topology, words: Mapping[str, Any], rate: float, options: EngineOptions
) -> tuple[ServingJob, Steps]:
    """Return the job that words describe, its plan complete, and the steps of its machine.

    What the plan leaves open is searched at ever more users, until the best plan answers `rate`
    requests per second.
    """
    users, steps = 1, None
    job, steps = planned(machine, {**words, "users": users}, options=options)
    while rate > settle(job, steps, 1e9).requests_per_s:
        users *= 4
        try:
            job, steps = planned(machine, {**words, "users": users}, options=options, steps=steps)
        except DoesNotFit:
            break
        if most_sequences(job, job.worker, steps.part.hbm_bytes, job.isl + job.osl) < users:
            break
    return job.replace(users=max(1, math.ceil(_in_flight(job, steps, rate)))), steps


def checked_job(machine: Topology, job: ServingJob, steps: Steps) -> None:
    """Refuse a job that can't be served, as `serving.run.serve_job` does."""
    check_serving(job)
    machine.units(job.gpus)
    check_formats(job, steps.part)
    check_users(job.replace(users=1), steps)


def kinds(job: ServingJob, steps: Steps) -> tuple[Kind, Kind]:
    """Return the workers that run prompts and those that answer; one where both are the same."""
    habits = habits_of(job.stack)
    limit = job.max_sequences or habits.sequences

    def kind(worker: Worker, gpus: int, rules: Rules) -> Kind:
        return Kind(
            number=gpus // worker.gpus,
            blocks=cache_blocks(job, worker, steps.part.hbm_bytes),
            rules=rules,
            times=step_times(job, worker, gpus, steps, habits.host_s),
        )

    def rules(worker: Worker) -> Rules:
        ranks = worker.tp if worker.dp_attention else 1
        return Rules(
            chunk=job.chunk,
            budget=job.chunk * ranks,
            cached=job.cached,
            rate=job.tokens_a_step,
            alternates=habits.alternates,
            sequences=limit * ranks * worker.pp,
            reserves=habits.reserves,
            every=job.admit_every,
            ranks=ranks,
            counts=habits.counts and not worker.dp_attention,
            stages=worker.pp,
        )

    answers = rules(job.worker)
    if job.prefill is None:
        both = kind(job.worker, job.gpus, answers)
        return both, both
    prompts = replace(rules(job.prefill), hands_over=True, reserves=False)
    return (
        kind(job.prefill, job.prefill_gpus, prompts),
        kind(
            job.worker,
            job.decode_gpus,
            replace(answers, fetches=True, every=1, asks=habits.asks, repeats=habits.repeats),
        ),
    )


def step_times(
    job: ServingJob, worker: Worker, gpus: int, steps: Steps, host_s: float
) -> StepTimes:
    """Return the seconds of a worker's steps; of pipeline stages, all batches one step on."""

    def simulated(load: Load) -> float:
        each = replace(load, sequences=load.sequences / worker.pp, prompts=load.prompts / worker.pp)
        return steps.seconds(job, worker, gpus, each) + host_s

    return StepTimes(simulated, drafted=1 + job.mtp)


def cache_blocks(job: ServingJob, worker: Worker, hbm_bytes: float) -> int:
    """Return the KV blocks of a worker.

    What does not grow with every token (states, windows) is spread over a whole sequence.
    """
    tokens = job.isl + job.osl
    each = sequence_bytes(job, worker, tokens) / blocks_of(tokens)
    ranks = worker.tp if worker.dp_attention else 1
    return math.floor(max(0.0, cache_room_bytes(job, worker, hbm_bytes)) / each) * ranks


def capacity_of(job: ServingJob, steps: Steps) -> float:
    """Return the most requests per second, over all numbers of users that fit. [1/s]"""
    each = most_sequences(job, job.worker, steps.part.hbm_bytes, job.isl + job.osl)
    most = max(1, each * job.workers)
    powers = (2**power for power in range(most.bit_length()))
    return max(
        settle(job.replace(users=users), steps, most / job.workers).requests_per_s
        for users in [*(n for n in powers if n >= job.workers), most]
    )


def no_steady_state(rate: float, capacity: float) -> CannotRun:
    """Return what is said of more requests than can be answered."""
    return CannotRun(
        f"no steady state: {rate:.4g} requests/s come, {capacity:.4g} can be answered;"
        " the queue would grow without end"
    )


def _check_cache(blocks: int, tokens: int) -> None:
    if blocks_of(tokens + BLOCK_TOKENS) > blocks:
        raise DoesNotFit(
            f"a request of {tokens:,} tokens does not fit into the KV cache of a worker,"
            f" {blocks * BLOCK_TOKENS:,} tokens; try a larger tp or a narrower kv format",
            users=0,
        )


def _check_queue(run: Run, rate: float) -> None:
    """Refuse a queue that grew steadily while requests came."""
    marks = run.cluster.seen.marks
    requests = run.cluster.seen.requests
    if requests < 4:
        return
    middle, last = marks[requests // 2], marks[requests - 1]
    came = requests - requests // 2
    if last.queue - middle.queue > max(GROWTH * came, 3.0 * math.sqrt(came)):
        answered = (last.answered - middle.answered) / (last.time_s - middle.time_s)
        raise no_steady_state(rate, min(run.capacity, answered))


def workers_alike(job: ServingJob, arrivals: Arrivals) -> bool:
    """Return whether all workers do the same at all times: then one is simulated."""
    closed = arrivals.rate is None and arrivals.trace is None
    fixed = arrivals.lengths == "fixed" and not job.mtp
    return closed and fixed and job.prefill is None and job.users % job.workers == 0


def _in_flight(job: ServingJob, steps: Steps, rate: float) -> float:
    """Return about how many requests are in flight at a rate, by Little's law."""
    users, before = 1.0, 0.0
    for _ in range(ROUNDS):
        if abs(users - before) <= 0.02 * users:
            break
        state = settle(job.replace(users=max(1, math.ceil(users))), steps, 1e9)
        before, users = users, min(1e5, rate * (state.ttft_s + job.osl * state.tpot_s))
    return users


def _counts(arrivals: Arrivals, in_flight: float) -> tuple[int, int]:
    """Return how many requests are left out, until all is in motion, and how many measured."""
    if arrivals.trace is not None:
        return 0, arrivals.trace.requests
    first = math.ceil(in_flight)
    if arrivals.together:
        return 0, arrivals.requests or TOGETHER * first
    if arrivals.rate is None:  # the users set out together: some rounds until they have spread
        first *= 2
    return first, arrivals.requests or max(LEAST_REQUESTS, min(4 * first, MOST_REQUESTS))


def _first(
    many: Iterator[Request], job: ServingJob, steps: Steps, alike: int, *, together: bool
) -> Iterator[Request]:
    """Yield the first request of each user: at once, or over the time that one request takes."""
    workers = job.workers // alike
    users = job.users // alike
    state = settle(job.replace(users=job.users), steps, 1e9)
    each = -(-users // workers)
    length = 0.0 if together else state.ttft_s + job.osl * state.tpot_s
    for user, request in enumerate(itertools.islice(many, users)):
        request.user = user
        request.arrival_s = user // workers / each * length
        yield request
