"""One worker under SimPy: admits by KV blocks, batches continuously, runs prompts in chunks.

In:  seconds of steps, a pool of KV blocks, sequences that come.
Out: calls to its `Desk` when a prompt or an answer is done; what it was busy with.
Left out: who sends which request where (`cluster`), what a step takes.

Steps in which nothing changes but the length of contexts are one event, so that the cost goes with
requests and not with tokens. A newcomer that fits cuts such a run at the end of the step under way.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import accumulate
from typing import Protocol

import simpy

from rackmodel.requests.blocks import Pool, blocks_of
from rackmodel.requests.drafts import BLOCK_TOKENS, Drafts
from rackmodel.requests.rules import Gate, Rules
from rackmodel.requests.sequence import Sequence
from rackmodel.requests.step_times import Times

WATERMARK = 0.01  # of the blocks, kept free for those who run: vLLM's default (block_manager.py)
STRETCH = 0.05  # most growth of the mean context in steps that are one event


class Desk(Protocol):
    """Who a worker reports to."""

    def prompt_done(self, sequence: Sequence, replica: Replica) -> None:
        """A prompt has run, its first token is made."""

    def answered(self, sequence: Sequence, replica: Replica) -> None:
        """The last token is made."""

    def fetch(self, sequence: Sequence, replica: Replica) -> None:
        """A place for a cache that lies elsewhere has been made; `replica.join` when it is here."""

    def preempted(self, sequence: Sequence, replica: Replica) -> None:
        """A sequence has lost its place and its cache."""

    def began(self, sequence: Sequence) -> None:
        """A sequence that waited since `since_s` is being worked on."""

    def ran(self, replica: Replica, begin_s: float, prompts: float) -> None:
        """A step, or several, ended now; prompts : the share of its time that they took."""


class Replica:
    """One worker: sequences that wait, whose prompts run, that decode."""

    def __init__(
        self,
        number: int,
        env: simpy.Environment,
        times: Times,
        pool: Pool,
        rules: Rules,
        drafts: Drafts,
        desk: Desk,
    ) -> None:
        self.number, self.env, self.times, self.pool = number, env, times, pool
        self.rules, self.drafts, self.desk = rules, drafts, desk
        self.waiting: deque[Sequence] = deque()
        self.prompting: dict[Sequence, None] = {}
        self.running: dict[Sequence, None] = {}
        self.in_flight = 0  # sequences that were sent here and have not left
        self.turn = 0  # decode steps so far
        self.busy = False
        self.preemptions = 0
        self._context = 0.0  # tokens in the caches of those that decode
        self._ends: list[tuple[int, int, Sequence]] = []
        self._order = 0
        self._growth: dict[int, int] = {}  # blocks that are needed after a turn
        self._begin_s = self._step_s = self._prompts = self._late_s = 0.0
        self._steps = self._version = 0
        self._gate = Gate(rules.every, rules.ranks, rules.counts)
        self._decoding = False
        self._joined: list[Sequence] = []  # whose first token is still to be told
        self._pieces: list[tuple[Sequence, int]] = []

    @property
    def queue(self) -> int:
        """Sequences that wait for a place, or whose prompts have not all run."""
        return len(self.waiting) + len(self.prompting)

    # What comes in.

    def enter(self, sequence: Sequence) -> None:
        """Let a sequence wait for its place."""
        sequence.since_s = self.env.now
        self._gate.comes(self.turn, alone=not self.waiting)
        self.waiting.append(sequence)
        self.in_flight += 1
        self._look()

    def join(self, sequence: Sequence) -> None:
        """Let a sequence decode from the next step on: its cache is here."""
        self._cut()
        self._start(sequence)
        self._joined.append(sequence)
        if not self.busy:
            self._tell_first()
        self._look()

    def _tell_first(self) -> None:
        """Note the first tokens of those who came in, or whose first step has ended."""
        repeats = self.rules.repeats
        told = [one for one in self._joined if one.begin + repeats <= self.turn]
        for sequence in told:
            self._joined.remove(sequence)
            if sequence.first_s < 0.0:
                sequence.first_s = self.env.now

    def _look(self) -> None:
        """Begin, or cut a run of steps at the end of the one under way if someone can come in."""
        if not self.busy:
            self._next()
        elif not self.waiting or self._fits(self.waiting[0]):
            self._cut()
            if self.rules.fetches and not self.rules.asks:
                self._admit()  # known since before its prompt ran: the cache comes by itself

    def _cut(self) -> None:
        if self.busy and self._steps > 1:
            done = max(1, -int((self._begin_s - self.env.now) / self._step_s // 1))
            if done < self._steps:
                self._run(self._begin_s, self._step_s, done)

    # Places.

    def _needed(self, sequence: Sequence) -> int:
        """Return the blocks of a sequence that have to be free before it begins."""
        request = sequence.request
        tokens = self._tokens(sequence)
        if not request.prefix_tokens or self.rules.fetches:
            return blocks_of(tokens)
        shared = request.prefix_tokens // BLOCK_TOKENS
        return blocks_of(tokens) - shared + self.pool.needed(request.prefix, request.prefix_tokens)

    def _tokens(self, sequence: Sequence) -> int:
        """Return the tokens whose blocks a sequence takes at once: all, or a block of new ones."""
        if self.rules.reserves:
            return sequence.request.isl + sequence.request.osl
        return sequence.context + BLOCK_TOKENS

    def _fits(self, sequence: Sequence) -> bool:
        places = self.in_flight - len(self.waiting)
        if self.rules.sequences is not None and places >= self.rules.sequences:
            return False
        spare = int(WATERMARK * self.pool.blocks) if self.running or self.prompting else 0
        if self.busy and self.rules.fetches:  # what the steps under way are to take
            ahead = range(self.turn + 1, self.turn + self._steps + 1)
            spare += sum(self._growth.get(turn, 0) for turn in ahead)
        return self._needed(sequence) + spare <= self.pool.room

    def _admit(self) -> None:
        if self.running and not self._gate.is_open(self.turn):
            return
        while self.waiting and self._fits(self.waiting[0]):
            sequence = self.waiting.popleft()
            request, blocks = sequence.request, blocks_of(self._tokens(sequence))
            if self.rules.fetches:
                sequence.blocks = blocks
                self.pool.take(blocks)
                self.desk.began(sequence)
                self.desk.fetch(sequence, self)
                continue
            known = int(request.isl * self.rules.cached)
            if request.prefix_tokens:
                known = max(known, self.pool.known(request.prefix))
                blocks -= self.pool.read(request.prefix, request.prefix_tokens)
            sequence.blocks = blocks
            self.pool.take(blocks)
            sequence.prompt = sequence.context
            sequence.left = max(1, sequence.prompt - known)
            self.prompting[sequence] = None

    def release(self, sequence: Sequence) -> None:
        """Give back the blocks of a sequence that leaves."""
        self.pool.give(sequence.blocks)
        sequence.blocks = 0
        if sequence.request.prefix_tokens and not self.rules.fetches:
            self.pool.leave(sequence.request.prefix)

    def let_go(self, sequence: Sequence) -> None:
        """Forget a prompt whose cache lies elsewhere now."""
        self.release(sequence)
        self.in_flight -= 1
        self._look()

    def _start(self, sequence: Sequence) -> None:
        """Begin to decode: the steps of all its tokens are drawn here."""
        sequence.steps = self.drafts.steps(sequence.request.osl - sequence.made)
        ahead = self._steps if self.busy and self._decoding else 0  # under way, not of this one
        sequence.begin = self.turn + ahead
        self._context += sequence.context - ahead * self.rules.rate
        for turn in self._growing(sequence):
            self._growth[turn] = self._growth.get(turn, 0) + 1
        self.running[sequence] = None
        self._order += 1
        sequence.entry = self._order
        end = sequence.begin + sum(sequence.steps)
        heapq.heappush(self._ends, (end, self._order, sequence))

    def _stop(self, sequence: Sequence) -> None:
        """End to decode, at the last token or before it."""
        del self.running[sequence]
        sequence.entry = -1
        self._context -= sequence.context + (self.turn - sequence.begin) * self.rules.rate
        for turn in self._growing(sequence):
            if turn > self.turn:
                self._growth[turn] -= 1
        if not self.running:
            self._context = 0.0  # no sum of roundings is left behind

    def _growing(self, sequence: Sequence) -> list[int]:
        """Return the turns at which a sequence takes another block."""
        steps = [] if self.rules.reserves else sequence.steps[:-1]
        return list(accumulate(steps, initial=sequence.begin))[1:]

    def grown(self, sequence: Sequence) -> int:
        """Return the blocks that a sequence has taken while it decoded."""
        return sum(turn <= self.turn for turn in self._growing(sequence))

    def _preempt(self) -> None:
        """Send away who came last; its prompt and tokens are run again."""
        self.preemptions += 1
        if self.prompting:
            sequence = next(reversed(self.prompting))
            del self.prompting[sequence]
        else:
            sequence = next(reversed(self.running))
            sequence.blocks += self.grown(sequence)
            made = sequence.made_at(self.turn)
            self._stop(sequence)
            sequence.made = made
        self.release(sequence)
        if self.rules.fetches:
            self.in_flight -= 1
            self.desk.preempted(sequence, self)
        else:
            if sequence.since_s < 0.0:
                sequence.since_s = self.env.now
            self.waiting.appendleft(sequence)

    # Steps.

    def _next(self) -> None:
        self._admit()
        steps = self._room()
        if not self.running and not self.prompting:
            self._admit()  # all were sent away
        self._pieces = self._cut_prompts() if self.prompting else []
        self._decoding = bool(self.running) and not (self.prompting and self.rules.alternates)
        self.busy = self._decoding or bool(self._pieces)
        if not self.busy:
            return
        sequences = len(self.running) if self._decoding else 0
        context = max(1.0, self._context / sequences) if sequences else 0.0
        if self._pieces:
            number = len(self._pieces)
            tokens = sum(size for _, size in self._pieces)
            before = sum(one.prompt - one.left for one, _ in self._pieces)
            step_s = self.times(sequences, context, number, tokens / number, before / number)
            decode_s = self.times(sequences, context, 0, 0.0, 0.0) if sequences else 0.0
            self._prompts = max(0.0, 1.0 - decode_s / step_s)
            # A step is the mean of a pipeline's batches; a prompt is whole, in one of them.
            whole = max(number, self.rules.stages)
            through_s = self.times(sequences, context, whole, tokens / number, before / number)
            self._late_s = through_s - step_s
            self._run(self.env.now, step_s, 1)
            return
        self._prompts = 0.0
        if self.prompting:
            steps = 1
        elif self.waiting and not self._gate.is_open(self.turn):
            steps = min(steps, self._gate.turn - self.turn)
        grown = context + (steps - 1) / 2.0 * self.rules.rate
        self._run(self.env.now, self.times(sequences, grown, 0, 0.0, 0.0), steps)

    def _room(self) -> int:
        """Return the decode steps to the next change, with blocks for all of them."""
        while self.running and self._growth.get(self.turn + 1, 0) > self.pool.room:
            self._preempt()
        if not self.running:
            return 0
        while self._ends[0][2].entry != self._ends[0][1]:
            heapq.heappop(self._ends)
        count = len(self.running)
        most = max(1, int(STRETCH * self._context / count / self.rules.rate))
        most = 1 if self._joined else min(most, self._ends[0][0] - self.turn)
        room = self.pool.room
        for ahead in range(1, most + 1):
            room -= self._growth.get(self.turn + ahead, 0)
            if room < 0:
                return max(1, ahead - 1)
        return most

    def _cut_prompts(self) -> list[tuple[Sequence, int]]:
        left, pieces = self.rules.budget, []
        for sequence in self.prompting:
            size = min(sequence.left, self.rules.chunk, left)
            if size <= 0:
                break
            if sequence.since_s >= 0.0:
                self.desk.began(sequence)
            pieces.append((sequence, size))
            left -= size
        return pieces

    def _run(self, begin_s: float, step_s: float, steps: int) -> None:
        self._begin_s, self._step_s, self._steps = begin_s, step_s, steps
        self._version += 1
        version = self._version
        alarm = self.env.timeout(max(0.0, begin_s + steps * step_s - self.env.now))
        alarm.callbacks.append(lambda _: self._ran() if version == self._version else None)

    def _ran(self) -> None:
        self.busy = False
        self.desk.ran(self, self._begin_s, self._prompts)
        if self._decoding:
            self._decoded(self._steps)
        for sequence, size in self._pieces:
            sequence.left -= size
            sequence.late_s += self._late_s
            if not sequence.left:
                self._prompt_ran(sequence)
        self._next()

    def _decoded(self, steps: int) -> None:
        self._context += len(self.running) * steps * self.rules.rate
        for _ in range(steps):
            self.turn += 1
            self.pool.take(self._growth.pop(self.turn, 0))
        self._tell_first()
        while self._ends and self._ends[0][0] <= self.turn:
            _, entry, sequence = heapq.heappop(self._ends)
            if sequence.entry != entry:
                continue
            sequence.blocks += len(self._growing(sequence))
            self._stop(sequence)
            sequence.made = sequence.request.osl
            self._leave(sequence)

    def _prompt_ran(self, sequence: Sequence) -> None:
        del self.prompting[sequence]
        request = sequence.request
        if request.prefix_tokens:
            self.pool.computed(request.prefix)
        if sequence.late_s > 0.0:
            wait = self.env.timeout(sequence.late_s)
            wait.callbacks.append(lambda _: self._came_through(sequence))
        else:
            self._first_token(sequence)

    def _came_through(self, sequence: Sequence) -> None:
        sequence.late_s = 0.0
        self._cut()
        self._first_token(sequence)
        self._look()

    def _first_token(self, sequence: Sequence) -> None:
        sequence.made += 1
        self.desk.prompt_done(sequence, self)
        if self.rules.hands_over and sequence.made < sequence.request.osl:
            return  # its blocks stay until the cache has moved
        if sequence.made == sequence.request.osl:
            self._leave(sequence)
        else:
            self._start(sequence)

    def _leave(self, sequence: Sequence) -> None:
        self.release(sequence)
        self.in_flight -= 1
        self.desk.answered(sequence, self)
