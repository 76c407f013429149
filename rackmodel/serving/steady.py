"""The steady state of a closed loop: how many sequences run, time per token, time to the first.

In:  a job, the seconds of steps.
Out: `Steady`; `Rounds`, of users who set out together.
Left out: single requests.

Each user sends a prompt when the last answer has come. By Little's law users = rate x (time to the
first token + time of the answer). Prompts run between decode steps, in the same steps (chunks), or
on workers of their own, from where the cache moves to those that decode.

Benchmarks let all users set out together. Their prompts then come in a bunch, again and again: only
answers of unequal length draw them apart. Half of the time that a bunch takes is before the first
token of its users, on average, the other half before their second one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from rackmodel.serving.habits import Habits
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import Load

StepSeconds: TypeAlias = Callable[[Worker, int, Load], float]
ROUNDS = 24  # of the fixed point of sequences that run, at most
SLOW = 4  # from this one on by the secant
CLOSE = 0.003
MOST_ARRIVING = 50.0  # prompts in a step from where on no step is without
INTERVALS = 64  # of the integral of a mean wait


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
    prompt, one's own too; decode, prompt : loads of these steps; prompt_s : of a whole prompt.
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
    beside: float  # share of a user's decode steps that carry prompts of others
    queued: bool

    def gathered(self, habits: Habits) -> float:
        """Return the decode steps whose users' next requests come in a step with prompts."""
        if self.queued or not self.mixed:
            return 0.0
        return max(0.0, min(habits.request_s, self.mixed_s - self.decode_s) / self.decode_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Users who all set out together and send `number` requests each.

    spread : half width of the lengths of answers, uniform about their mean, over the mean.
    """

    number: int = 10
    spread: float = 0.0

    def bunched(self, steps: float, answer_steps: float, stalls: bool) -> float:
        """Return the share of requests that come in a bunch.

        steps : that the prompts of all users take. answer_steps : of decode, that an answer takes.
        stalls : nobody decodes while there are prompts, so that who began together ends together,
        but for unequal answers: after j rounds they end over sqrt(j) times the spread of one (its
        variance adds up), and come in a bunch where more come in a decode step than run in one.
        Where answers go on, who was first is ahead, and only the first round is a bunch.
        """
        left = (
            max(0.0, 1.0 - 2.0 * self.spread * answer_steps * math.sqrt(done) / steps)
            for done in range(self.number if stalls else 1)
        )
        return sum(left) / self.number


def steady_state(
    job: ServingJob,
    step_s: StepSeconds,
    habits: Habits,
    *,
    most: float,
    transfers: Moves | None = None,
    rounds: Rounds | None = None,
) -> Steady:
    """Return the steady state of a job.

    Parameters
    ----------
    most : sequences that one worker runs at once: what its KV cache holds, or a limit.
    transfers : of prompts' caches from prefill to decode workers, where these are apart.
    rounds : the means over the rounds of users who set out together, in place of those who have
        spread.
    """
    state = _settled(job, step_s, habits, most, transfers)
    return state if rounds is None else _over(rounds, job, state, step_s, habits)


def _settled(
    job: ServingJob,
    step_s: StepSeconds,
    habits: Habits,
    most: float,
    transfers: Moves | None,
) -> Steady:
    users = job.users / job.workers
    running = min(users, most)
    state = _state(job, step_s, habits, running, users, transfers, 0.0, full=most <= users)
    low, high = 0.0, math.inf  # fewer want to run than do above the answer, more below it
    before: tuple[float, float] | None = None
    for number in range(ROUNDS):
        answer_s, gathered = job.decoded * state.tpot_s, state.gathered(habits)
        wanted = min(users * answer_s / (answer_s + state.ttft_s), most)
        coming = state.mixed * state.prompt.prompts
        mixed = admitted_share(job, admission(job, habits, coming), gathered, state.prompt.piece)
        if abs(wanted - running) <= CLOSE * running and abs(mixed - state.mixed) <= CLOSE:
            break
        low, high = (running, high) if wanted > running else (low, running)
        gap = wanted - running
        guess = wanted if abs(gap) > 0.3 * running else (wanted + running) / 2
        if number >= SLOW and before is not None:
            guess = _secant((running, gap), before, guess)
        before, running = (running, gap), guess
        if not low < running < high:
            running = (low + high) / 2
        full = running >= most * (1.0 - CLOSE)
        state = _state(job, step_s, habits, running, users, transfers, gathered, full=full)
    if job.prefill is None:
        return state
    # Where workers have just enough to do, or no room for more, who does not decode waits.
    waits_s = job.users / state.requests_per_s - job.decoded * state.tpot_s
    told = abs(waits_s - state.ttft_s) * state.requests_per_s <= 2.0 * CLOSE * job.users
    return state if told else replace(state, ttft_s=waits_s, queued=True)


def _secant(now: tuple[float, float], before: tuple[float, float], other: float) -> float:
    """Return where a line through two points (value, gap) has no gap; `other` if it rises."""
    slope = (now[1] - before[1]) / (now[0] - before[0])
    return max(now[0] / 2.0, now[0] - now[1] / slope) if slope < 0.0 else other


def mixed_share(arriving: float, gathered: float) -> float:
    """Return the share of decode steps that carry prompts.

    arriving : pieces of prompts in a step, mean. Users who are apart end at random (Poisson): in a
    step none, one or several. gathered : decode steps before a step with prompts whose users' next
    requests come while it runs. These run together in the step after it, and as many decode steps
    later nobody comes: the same requests share fewer steps. A run of steps with prompts is one, the
    one after it if somebody came, and so on; a run of decode steps that pause, and then as many as
    nobody comes in.
    """
    if arriving <= 0.0:
        return 0.0
    arriving = min(arriving, MOST_ARRIVING)
    somebody = -math.expm1(-arriving)
    with_prompts = 1.0 - math.expm1(-arriving * (1.0 + gathered)) * math.exp(arriving)
    without = gathered + 1.0 / somebody
    return with_prompts / (with_prompts + without)


def admitted_every(job: ServingJob, arriving: float) -> float:
    """Return the decode steps from one that admits prompts to the next, mean.

    Every `admit_every` steps, or as soon as each data-parallel rank has a prompt: then none would
    wait beside another one's. Users of a rank send at random, so that this is the longest of as
    many exponential times as there are ranks; the mean of the lesser of both is an integral of the
    chance that some rank has none yet.

    arriving : pieces of prompts in the time of a decode step.
    """
    if job.admit_every <= 1 or not job.worker.dp_attention or arriving <= 0.0:
        return float(job.admit_every)
    width = job.admit_every / INTERVALS
    times = (width * (number + 0.5) for number in range(INTERVALS))
    ranks = job.worker.tp
    waits = sum(1.0 - (-math.expm1(-arriving * time / ranks)) ** ranks for time in times) * width
    return max(1.0, waits)


@dataclass(frozen=True, slots=True)
class Admission:
    """When decode steps admit prompts. share : of them that do, at most. waited : for the next."""

    arriving: float
    share: float
    waited: float


def admission(job: ServingJob, habits: Habits, arriving: float) -> Admission:
    """Return when decode steps admit prompts; arriving : pieces of them in a step, mean.

    Steps at fixed turns are waited for by half of a turn, and admit some where somebody came. Where
    steps are counted from the first one who waits, nobody is admitted sooner than `admit_every`
    steps after that one, and those who come meanwhile wait for the rest of them.
    """
    every = admitted_every(job, arriving)
    if every <= 1.0 or arriving <= 0.0:
        return Admission(arriving, 1.0, every / 2.0)
    if habits.counts and not job.worker.dp_attention:
        others = arriving * every
        waited = every * (1.0 + others / 2.0) / (1.0 + others)
        return Admission(arriving, arriving / (1.0 + others), 0.5 + waited)
    return Admission(arriving, -math.expm1(-arriving * every) / every, every / 2.0)


def admitted_share(job: ServingJob, admits: Admission, gathered: float, piece: float) -> float:
    """Return the share of decode steps that carry prompts, of `piece` tokens each.

    Those that came since the last step that admitted some run together, as many as find room.
    """
    arriving = admits.arriving
    share = min(mixed_share(arriving, gathered), admits.share)
    return min(1.0, max(share, arriving / fullest(job, job.worker, piece)))


def _state(
    job: ServingJob,
    step_s: StepSeconds,
    habits: Habits,
    running: float,
    users: float,
    transfers: Moves | None,
    gathered: float,
    *,
    full: bool,
) -> Steady:
    """Return the state with so many sequences; full : as many as there is room for."""
    worker, gpus = job.worker, job.decode_gpus
    each = running / worker.pp  # of the batches that fill a pipeline
    decode = Load(sequences=each, context=job.context, drafted=1 + job.mtp)

    def timed(where: Worker, size: int, load: Load) -> float:
        return step_s(where, size, load) + habits.host_s

    decode_s = timed(worker, gpus, decode)
    pieces = max(1, math.ceil(job.prompt_tokens / job.chunk))
    piece = job.prompt_tokens / pieces
    before = job.isl * job.cached + piece * (pieces - 1) / 2.0
    if job.prefill is not None:
        assert transfers is not None
        state = _apart(job, timed, habits, running, users, decode, decode_s, transfers)
        return replace(state, ttft_s=state.ttft_s + habits.request_s)
    # pieces of prompts in the time of one decode step
    arriving = each * pieces / (job.decoded / job.tokens_a_step)
    admits = admission(job, habits, arriving)
    mixed = admitted_share(job, admits, gathered, piece)
    prompt = Load(prompts=arriving / mixed, piece=piece, before=before)
    if habits.alternates:
        mixed_s = decode_s + timed(worker, gpus, prompt)
    else:
        both = replace(decode, prompts=prompt.prompts, piece=piece, before=before)
        mixed_s = timed(worker, gpus, both)
    # Nobody waits for a prompt of one's own; but it takes a place, where all are taken.
    beside = mixed * (1.0 if full else max(0.0, 1.0 - 1.0 / users))
    tpot_s = (decode_s * (1.0 - beside) + mixed_s * beside) / job.tokens_a_step
    ttft_s = habits.first_token_s(decode_s, mixed_s, beside, pieces, admits.waited)
    # no cycle of users is shorter than the prompts of all of them take, a batch in every stage
    each_s = pieces * (mixed_s - decode_s) / (prompt.prompts * worker.pp)
    ttft_s = max(ttft_s, users * each_s - job.decoded * tpot_s)
    rate = running / (job.decoded * tpot_s)
    waits_s = users / rate - job.decoded * tpot_s
    queued = full and running < users and waits_s > ttft_s
    return Steady(
        tpot_s=tpot_s,
        ttft_s=waits_s if queued else ttft_s,
        sequences=running,
        requests_per_s=rate * job.workers,
        decode=decode,
        decode_s=decode_s,
        prompt=prompt,
        prompt_s=pieces * mixed_s,
        mixed=mixed,
        mixed_s=mixed_s,
        beside=beside,
        queued=queued,
    )


def _over(
    rounds: Rounds, job: ServingJob, state: Steady, step_s: StepSeconds, habits: Habits
) -> Steady:
    """Return the means over the rounds of users who set out together."""
    users = job.users / job.workers
    if state.queued:  # in the first round those who find a place do not wait
        began = 1.0 - (users - state.sequences) / (2.0 * users)
        return replace(state, ttft_s=state.ttft_s * (1.0 - began / rounds.number))
    pieces = max(1, math.ceil(job.prompt_tokens / job.chunk))
    together, full_s, decode_s = max(1.0, state.prompt.prompts), state.prompt_s, 0.0
    if job.prefill is not None:
        users = job.users / (job.prefill_gpus // job.prefill.gpus * job.prefill.pp)
    elif habits.alternates:
        together = min(users, fullest(job, job.worker, state.prompt.piece))
        load = replace(state.prompt, prompts=together)
        full_s = pieces * (step_s(job.worker, job.gpus, load) + habits.host_s)
        decode_s = state.decode_s / job.tokens_a_step
    steps = users / together * pieces
    stalls = decode_s > 0.0
    share = rounds.bunched(steps, job.decoded / job.tokens_a_step, stalls)
    first_s = share * max(0.0, users / together * full_s + full_s - 2.0 * state.prompt_s) / 2.0
    tpot_s = state.tpot_s
    if stalls:
        tpot_s -= share * (tpot_s - decode_s) / 2.0
    return replace(state, tpot_s=tpot_s, ttft_s=state.ttft_s + first_s)


def fullest(job: ServingJob, worker: Worker, piece: float) -> float:
    """Return the most pieces of prompts in a step of a worker."""
    ranks = worker.tp if worker.dp_attention else 1
    return max(1.0, ranks * job.chunk / piece) if job.prompt_tokens <= job.chunk else float(ranks)


def _apart(
    job: ServingJob,
    timed: StepSeconds,
    habits: Habits,
    running: float,
    users: float,
    decode: Load,
    decode_s: float,
    transfers: Moves,
) -> Steady:
    """Prompts on workers of their own: as many prompts in a step as their tokens allow."""
    assert job.prefill is not None
    worker, gpus = job.prefill, job.prefill_gpus
    batches = gpus // worker.gpus * worker.pp  # that are under way at once
    tpot_s = decode_s / job.tokens_a_step
    rate = running * job.workers / (job.decoded * tpot_s)
    pieces = max(1, math.ceil(job.prompt_tokens / job.chunk))
    piece = job.prompt_tokens / pieces
    most_prompts = fullest(job, worker, piece)
    before = job.isl * job.cached + piece * (pieces - 1) / 2.0

    def prompt_s(prompts: float) -> tuple[Load, float]:
        load = Load(prompts=prompts, piece=piece, before=before)
        return load, pieces * timed(worker, gpus, load)

    one_s = prompt_s(1.0)[1]
    full_s = prompt_s(most_prompts)[1]
    most_rate = batches * most_prompts / full_s
    busy = min(1.0, rate / most_rate)
    # Prompts that came while a step ran share the next one.
    together = max(1.0, min(most_prompts, rate / batches * one_s))
    load, alone_s = prompt_s(together)
    moved_s = transfers.seconds(min(rate, most_rate))
    if math.isinf(moved_s):
        most_rate, moved_s = transfers.most_per_s, transfers.together_s(1)
    # who comes finds what the others have left: mean value analysis, with steps of one length
    others = max(0.0, 1.0 - batches * together / (users * job.workers))
    seen = busy * others
    decoding = 1.0 - (1.0 - min(1.0, running / users)) ** max(0.0, users - 1.0)  # some other one
    ttft_s = alone_s * (1.0 + seen / (2.0 * (1.0 - seen)))
    ttft_s += habits.taken_up_s(moved_s, decode_s, decoding)
    queued = rate > most_rate
    if queued:
        rate = most_rate
        ttft_s = users * job.workers / rate - job.decoded * tpot_s
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
        beside=0.0,
        queued=queued,
    )
