"""The steady state of a closed loop: how many sequences run, time per token, time to the first.

In:  a job, the seconds of steps.
Out: `Steady`.
Left out: single requests; bursts.

Each user sends a prompt when the last answer has come. By Little's law users = rate x (time to the
first token + time of the answer). Prompts run between decode steps, in the same steps (chunks), or
on workers of their own, from where the cache moves to those that decode.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import Load

StepSeconds: TypeAlias = Callable[[Worker, int, Load], float]
ROUNDS = 8  # of the fixed point of sequences that run
CLOSE = 0.01


class Moves(Protocol):
    """Moves of prompts' caches between workers; see `rackmodel.serving.cache_moves`."""

    def seconds(self, requests_per_s: float) -> float:
        """Return the time of one; infinite where links do not carry so many. [s]"""

    def together_s(self, number: int) -> float:
        """Return the time of one of so many that start together. [s]"""

    @property
    def most_per_s(self) -> float:
        """Most in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """What a user sees, and what the workers run.

    sequences : that decode at once in one worker. mixed : share of decode steps with a piece of a
    prompt; decode, prompt : loads of these steps; prompt_s : of a whole prompt.
    """

    tpot_s: float
    ttft_s: float
    sequences: float
    requests_per_s: float  # of all workers
    decode: Load
    decode_s: float
    prompt: Load
    prompt_s: float
    mixed: float
    mixed_s: float
    queued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What the software does.

    host_s : between two steps. request_s : with a request before its first step. polls : decode
    steps between looks for new requests. alternates : a prompt has the worker to itself.
    """

    host_s: float = 0.0
    request_s: float = 0.0
    polls: float = 1.0
    alternates: bool = False

    def first_token_s(self, decode_s: float, mixed_s: float, mixed: float, pieces: int) -> float:
        """Return the time to the first token where prompts run beside decode. [s]

        A request waits for the next look, then for prompts that came before it, then runs piece by
        piece.
        """
        alone_s, mean_s = pieces * mixed_s, decode_s * (1.0 - mixed) + mixed_s * mixed
        busy = min(0.95, mixed * (mixed_s - decode_s) / max(mean_s, 1e-12))
        waited_s = alone_s * busy / (2.0 * (1.0 - busy))
        return self.request_s + alone_s + self.polls * decode_s / 2.0 + waited_s


def steady_state(
    job: ServingJob,
    step_s: StepSeconds,
    habits: Habits,
    *,
    most: float,
    transfers: Moves | None = None,
) -> Steady:
    """Return the steady state of a job.

    Parameters
    ----------
    most : sequences that the KV cache of one worker holds.
    transfers : of prompts' caches from prefill to decode workers, where these are apart.
    """
    users = job.users / job.workers
    running = min(users, most)
    state = _state(job, step_s, habits, running, users, transfers)
    for _ in range(ROUNDS):
        answer_s = job.osl * state.tpot_s
        wanted = min(users * answer_s / (answer_s + state.ttft_s), most)
        if abs(wanted - running) <= CLOSE * running:
            break
        running = wanted if abs(wanted - running) > 0.3 * running else (wanted + running) / 2
        state = _state(job, step_s, habits, running, users, transfers)
    return state


def _state(
    job: ServingJob,
    step_s: StepSeconds,
    habits: Habits,
    running: float,
    users: float,
    transfers: Moves | None,
) -> Steady:
    worker, gpus = job.worker, job.decode_gpus
    each = running / worker.pp  # of the batches that fill a pipeline
    decode = Load(sequences=each, context=job.context, drafted=1 + job.mtp)

    def timed(where: Worker, size: int, load: Load) -> float:
        return step_s(where, size, load) + habits.host_s

    decode_s = timed(worker, gpus, decode)
    steps = job.osl / job.tokens_a_step
    pieces = max(1, math.ceil(job.prompt_tokens / job.chunk))
    piece = job.prompt_tokens / pieces
    before = job.isl * job.cached + piece * (pieces - 1) / 2.0
    if job.prefill is not None:
        assert transfers is not None
        state = _apart(job, timed, running, users, decode, decode_s, transfers)
        return replace(state, ttft_s=state.ttft_s + habits.request_s)
    arriving = each * pieces / steps  # pieces of prompts in the time of one decode step
    mixed = min(1.0, arriving)
    prompt = Load(prompts=max(1.0, arriving), piece=piece, before=before)
    if habits.alternates:
        mixed_s = decode_s + timed(worker, gpus, prompt)
    else:
        both = Load(
            sequences=each,
            context=job.context,
            drafted=1 + job.mtp,
            prompts=prompt.prompts,
            piece=piece,
            before=before,
        )
        mixed_s = timed(worker, gpus, both)
    tpot_s = (decode_s * (1.0 - mixed) + mixed_s * mixed) / job.tokens_a_step
    ttft_s = habits.first_token_s(decode_s, mixed_s, mixed, pieces)
    rate = running / (job.osl * tpot_s)
    queued = running < users and users / rate - job.osl * tpot_s > ttft_s
    if queued:
        ttft_s = users / rate - job.osl * tpot_s
    return Steady(
        tpot_s=tpot_s,
        ttft_s=ttft_s,
        sequences=running,
        requests_per_s=rate * job.workers,
        decode=decode,
        decode_s=decode_s,
        prompt=prompt,
        prompt_s=pieces * mixed_s,
        mixed=mixed,
        mixed_s=mixed_s,
        queued=queued,
    )


def _apart(
    job: ServingJob,
    timed: StepSeconds,
    running: float,
    users: float,
    decode: Load,
    decode_s: float,
    transfers: Moves,
) -> Steady:
    """Prompts on workers of their own: as many prompts in a step as their tokens allow."""
    assert job.prefill is not None
    worker, gpus = job.prefill, job.prefill_gpus
    workers = gpus // worker.gpus
    tpot_s = decode_s / job.tokens_a_step
    rate = running * job.workers / (job.osl * tpot_s)
    pieces = max(1, math.ceil(job.prompt_tokens / job.chunk))
    piece = job.prompt_tokens / pieces
    ranks = worker.tp if worker.dp_attention else 1
    fullest = max(1.0, ranks * job.chunk / piece) if pieces == 1 else float(ranks)
    before = job.isl * job.cached + piece * (pieces - 1) / 2.0

    def prompt_s(prompts: float) -> tuple[Load, float]:
        load = Load(prompts=prompts, piece=piece, before=before)
        return load, pieces * timed(worker, gpus, load)

    one_s = prompt_s(1.0)[1]
    full_s = prompt_s(fullest)[1]
    most_rate = workers * fullest / full_s
    busy = min(0.95, rate / most_rate)
    # Prompts that came while a step ran share the next one.
    together = max(1.0, min(fullest, rate / workers * one_s))
    load, alone_s = prompt_s(together)
    moved_s = transfers.seconds(min(rate, most_rate))
    if math.isinf(moved_s):
        most_rate, moved_s = transfers.most_per_s, transfers.together_s(1)
    ttft_s = alone_s * (1.0 + busy / (2.0 * (1.0 - busy))) + moved_s
    queued = rate > most_rate
    if queued:
        rate = most_rate
        ttft_s = max(ttft_s, users * job.workers / rate - job.osl * tpot_s)
    return Steady(
        tpot_s=tpot_s,
        ttft_s=ttft_s,
        sequences=running,
        requests_per_s=rate,
        decode=decode,
        decode_s=decode_s,
        prompt=load,
        prompt_s=alone_s,
        mixed=0.0,
        mixed_s=decode_s,
        queued=queued,
    )
