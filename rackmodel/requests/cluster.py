"""The workers of a served job together: who gets which request, where caches move, what is seen.

In:  workers' rules and times, a stream of requests, users of a closed loop.
Out: `Cluster`: percentiles, counts and levels over time of one run.
Left out: power; what the figures mean for a machine (`outcome`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import simpy

from rackmodel.requests.arrivals import Request
from rackmodel.requests.blocks import Pool
from rackmodel.requests.drafts import Drafts
from rackmodel.requests.measures import Levels, Quantiles
from rackmodel.requests.replica import Replica
from rackmodel.requests.rules import Rules
from rackmodel.requests.sequence import Sequence
from rackmodel.requests.step_times import Times
from rackmodel.stages import tell

Balance: TypeAlias = Literal["least", "round-robin", "prefix"]
BALANCES: tuple[Balance, ...] = get_args(Balance)
Move: TypeAlias = Callable[[int, int, int, Callable[[], None]], None]
WAITING, RUNNING, CACHE, SHOWN = 0, 1, 2, 3  # levels over time; then two of each worker
TOLD = 50  # requests from one telling to the next
AHEAD = 1.5  # requests of the worker that knows a prefix over the mean, before another takes it


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Workers that are alike: how many, with how many blocks, how they work."""

    number: int
    blocks: int
    rules: Rules
    times: Times


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a request has to keep: longest times; infinity for what does not matter. [s]"""

    ttft_s: float = float("inf")
    tpot_s: float = float("inf")
    e2e_s: float = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How things stood at an instant."""

    time_s: float
    answered: int
    tokens: int
    queue: int


@dataclass(slots=True, kw_only=True)
class Seen:
    """What is counted of a run: the times of `requests` that come after the first `skipped`.

    all_answered, all_tokens : of all requests. marks : how things stood when the first, the middle
    and the last of them came.
    """

    skipped: int
    requests: int
    ttft: Quantiles = field(default_factory=Quantiles)
    tpot: Quantiles = field(default_factory=Quantiles)
    e2e: Quantiles = field(default_factory=Quantiles)
    answered: int = 0
    good: int = 0
    tokens: int = 0  # of answers
    prompt_tokens: int = 0
    all_answered: int = 0
    all_tokens: int = 0
    marks: dict[int, Mark] = field(default_factory=dict)


class Cluster:
    """Workers and their requests under one clock.

    Parameters
    ----------
    prompts, answers : workers; the same where both run in the same ones.
    request_s : that a request takes before it reaches a worker.
    move : of (worker, other worker, tokens, what is called then): brings a cache.
    """

    def __init__(
        self,
        *,
        prompts: Kind,
        answers: Kind,
        drafts: Drafts,
        seen: Seen,
        objective: Objective,
        request_s: float = 0.0,
        balance: Balance = "least",
        env: simpy.Environment | None = None,
    ) -> None:
        self.env = env or simpy.Environment()
        self.seen, self.objective = seen, objective
        self.request_s, self.balance = request_s, balance
        self.move: Move = lambda worker, other, tokens, done: done()
        apart = prompts is not answers
        self.front = [self._replica(n, prompts, drafts) for n in range(prompts.number)]
        self.back = self.front
        if apart:
            first = prompts.number
            self.back = [self._replica(first + n, answers, drafts) for n in range(answers.number)]
        self.workers = [*self.front, *(self.back if apart else ())]
        self.levels = Levels(SHOWN + 2 * len(self.workers), 1e-3)
        self.held: dict[Sequence, tuple[Replica, Sequence]] = {}
        self._turn = 0
        self._again: Callable[[int], None] | None = None

    def _replica(self, number: int, kind: Kind, drafts: Drafts) -> Replica:
        pool = Pool(kind.blocks)
        return Replica(number, self.env, kind.times, pool, kind.rules, drafts, self)

    # Requests come.

    def open_loop(self, requests: Iterable[Request]) -> None:
        """Let requests come when they come, until those that count are answered."""
        self.env.process(self.arrivals(requests))
        self._until_answered()

    def closed_loop(self, first: Iterable[Request], again: Callable[[], Request]) -> None:
        """Let each user send a request when the last one is answered.

        first : one request of each user. again : draws another one.
        """

        def send(user: int) -> None:
            new = again()
            new.user, new.arrival_s = user, self.env.now
            pause = self.env.timeout(self.request_s)
            pause.callbacks.append(lambda _: self._take(new))

        self._again = send
        self.env.process(self.arrivals(first))
        self._until_answered()

    def _until_answered(self) -> None:
        env, seen = self.env, self.seen
        while seen.answered < seen.requests:
            env.step()

    def arrivals(self, requests: Iterable[Request]) -> Any:
        """Be the process of requests that come."""
        for request in requests:
            wait = request.arrival_s + self.request_s - self.env.now
            if wait > 0.0:
                yield self.env.timeout(wait)
            self._take(request)

    def _take(self, request: Request) -> None:
        seen = self.seen
        place = request.number - seen.skipped
        if request.number % TOLD == 0:
            tell(f"requests answered {seen.answered:,} of {seen.requests:,}")
        if place in (0, seen.requests // 2, seen.requests - 1):
            seen.marks[place] = self.mark()
        self._front(request).enter(Sequence(request, 0))

    def mark(self) -> Mark:
        """Return how things stand."""
        seen = self.seen
        return Mark(
            time_s=self.env.now,
            answered=seen.all_answered,
            tokens=seen.all_tokens,
            queue=sum(worker.queue for worker in self.workers),
        )

    def _front(self, request: Request) -> Replica:
        workers = self.front
        if self._again is not None and request.user >= 0:
            return workers[request.user % len(workers)]  # users stay with their worker
        if self.balance == "round-robin":
            self._turn += 1
            return workers[(self._turn - 1) % len(workers)]
        if self.balance == "prefix" and request.prefix_tokens:
            knows = [one for one in workers if one.pool.known(request.prefix)]
            if knows:
                one = min(knows, key=_load)
                mean = sum(one.in_flight for one in workers) / len(workers)
                if one.in_flight <= AHEAD * mean + 1.0:
                    return one
        return min(workers, key=_load)

    # What workers report.

    def began(self, sequence: Sequence) -> None:
        """A sequence is worked on that has waited."""
        self.levels.add(WAITING, sequence.since_s, self.env.now, 1.0)
        sequence.since_s = -1.0

    def prompt_done(self, sequence: Sequence, replica: Replica) -> None:
        """A prompt has run: its cache goes where it decodes, or stays."""
        if replica.rules.hands_over and sequence.made < sequence.request.osl:
            made = sequence.made - self.back[0].rules.repeats
            moved = Sequence(sequence.request, 0, made=made, first_s=sequence.first_s)
            self.held[moved] = (replica, sequence)
            min(self.back, key=_load).enter(moved)
        elif sequence.first_s < 0.0:
            sequence.first_s = self.env.now

    def fetch(self, sequence: Sequence, replica: Replica) -> None:
        """Bring a cache to where there is room for it."""
        origin, held = self.held.pop(sequence)

        def here() -> None:
            origin.let_go(held)
            replica.join(sequence)

        self.move(origin.number, replica.number, sequence.context, here)

    def preempted(self, sequence: Sequence, replica: Replica) -> None:
        """Run the prompt, and the tokens made, again where prompts run."""
        again = Sequence(sequence.request, 0, made=sequence.made, first_s=sequence.first_s)
        self._front(sequence.request).enter(again)

    def answered(self, sequence: Sequence, replica: Replica) -> None:
        """Note an answer; in a closed loop its user sends another request."""
        request, seen, now = sequence.request, self.seen, self.env.now
        seen.all_answered += 1
        seen.all_tokens += request.osl
        if 0 <= request.number - seen.skipped < seen.requests:
            first, each = sequence.first_s - request.arrival_s, 0.0
            seen.answered += 1
            seen.tokens += request.osl
            seen.prompt_tokens += request.isl
            seen.ttft.add(first)
            seen.e2e.add(now - request.arrival_s)
            if request.osl > 1:
                each = (now - sequence.first_s) / (request.osl - 1)
                seen.tpot.add(each)
            limit = self.objective
            whole = now - request.arrival_s
            seen.good += first <= limit.ttft_s and each <= limit.tpot_s and whole <= limit.e2e_s
        if self._again is not None:
            self._again(request.user)

    def ran(self, replica: Replica, begin_s: float, prompts: float) -> None:
        """Note what a worker was busy with."""
        now, levels = self.env.now, self.levels
        levels.add(RUNNING, begin_s, now, len(replica.running))
        levels.add(CACHE, begin_s, now, replica.pool.used)
        place = SHOWN + 2 * replica.number
        if prompts < 1.0:
            levels.add(place, begin_s, now, 1.0 - prompts)
        if prompts > 0.0:
            levels.add(place + 1, begin_s, now, prompts)


def _load(replica: Replica) -> tuple[int, int]:
    return replica.in_flight, replica.number
