"""The simulation of one folded system: scripts of all rank classes, and the clock they run on.

In:  programs, seconds of their kernels, a system and its quotient.
Out: `Simulation`: the log of every rank class.
Left out: which micro-batches are simulated (`step`), what a rank does (`ranks`, and in compiled
     code `compiled`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import simpy

from rackmodel.engine.engines import compiling_repays, expected_events
from rackmodel.engine.exchanges import key_of
from rackmodel.engine.locking import Locking
from rackmodel.engine.quotient import Quotient
from rackmodel.engine.rank_logs import RankLog
from rackmodel.engine.ranks import Late, Rank, World
from rackmodel.engine.script import Cut, Hold, Pass, pieces_of
from rackmodel.engine.stretches import Items, Lock, Walker
from rackmodel.engine.system import System
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.network import FluidNetwork
from rackmodel.network.sharing import NUMBA
from rackmodel.network.simpy_private import events_so_far
from rackmodel.workload.operations import (
    Collective,
    Operation,
    Program,
    Segment,
    Send,
    Transfer,
    Wait,
    operations_of,
)


class Hands(NamedTuple):
    """Who runs the kernels: kinds of (time over the usual, part), and the kind of each rank."""

    kinds: tuple[tuple[float, str], ...]
    kind: npt.NDArray[np.int64]

    @property
    def plain(self) -> bool:
        """Whether every accelerator is as the machine's file says."""
        return self.kinds == ((1.0, ""),)

    def parts(self, kinds: npt.NDArray[np.int64]) -> tuple[str, ...]:
        """Return the accelerators of such kinds, "" for the usual; empty where none differs."""
        found = tuple(self.kinds[kind][1] for kind in kinds.tolist())
        return found if any(found) else ()

    def columns(self) -> list[npt.NDArray[np.float64]]:
        """Return what tells ranks apart, as numbers: their time over the usual, their part."""
        told = [np.array([slower for slower, _ in self.kinds])[self.kind]]
        parts = sorted({part for _, part in self.kinds})
        if len(parts) > 1:
            told.append(np.array([float(parts.index(p)) for _, p in self.kinds])[self.kind])
        return told


def hands_of(speed: npt.NDArray[np.float64], parts: Sequence[str] = ()) -> Hands:
    """Number the kinds of accelerators; speed, parts : of each rank, no parts where none differs.

    >>> hands_of(np.array([1.0, 1.5, 1.0])).kinds
    ((1.0, ''), (1.5, ''))
    """
    if not parts:
        slower, kind = np.unique(speed, return_inverse=True)
        return Hands(tuple((one, "") for one in slower.tolist()), kind.reshape(-1))
    every = list(zip(speed.tolist(), parts, strict=True))
    kinds = sorted(set(every))
    number = {kind: i for i, kind in enumerate(kinds)}
    return Hands(tuple(kinds), np.array([number[one] for one in every], dtype=np.int64))


class TooSlow(CannotRun):
    """The step takes longer than the caller cares for."""


@dataclass(slots=True, eq=False)
class Simulation:
    """One folded system whose rank classes walk through their programs.

    seconds : of each `Compute`, by its id, for each kind of accelerator. kind : that of each
    simulated rank. overlap_share : per channel, of the compute units. slower : time of a transfer's
    bytes over that of an idle network. silent : ids of operations that leave no trace. engine :
    "simpy", "compiled", or "auto" for what is quicker; they differ in nothing else. late : who
    begins later. end_s, events, logs : when the last rank class ended, after how many
    events, and what each did; once it ran.
    """

    programs: tuple[Program, ...]
    seconds: tuple[dict[int, float], ...]
    system: System
    quotient: Quotient
    kind: npt.NDArray[np.int64]
    overlap_share: tuple[float, ...]
    slower: float = 1.0
    engine: str = "auto"
    late: Late | None = None
    silent: set[int] = field(default_factory=set)
    clock: simpy.Environment = field(default_factory=simpy.Environment)
    world: World = field(init=False)
    end_s: float = field(init=False)
    events: int = field(init=False)
    logs: Sequence[RankLog] = field(init=False)
    _cuts: dict[tuple[int, int, frozenset[int]], tuple[int, Items]] = field(default_factory=dict)
    _segments: dict[tuple[int, int, frozenset[int]], tuple[Cut, set[str]]] = field(
        default_factory=dict
    )
    _locking: Locking = field(init=False)

    def __post_init__(self) -> None:
        """Work out what every exchange takes by itself, write the scripts of all rank classes."""
        q = self.quotient
        capacity = [rate / self.slower for rate in q.capacity]
        traffic = FluidNetwork(
            self.clock, q.loads, capacity, [rate / self.slower for rate in q.cap]
        )
        alone = {
            (kind.channel, kind.index): sum(
                traffic.alone(flows) + latency
                for flows, latency in zip(kind.rounds, kind.round_latency_s, strict=True)
            )
            for meetings in q.meetings
            for kind in meetings
        }
        conflicts = self.system.conflicts
        shares = self.overlap_share
        self.world = World(self.clock, q, traffic, alone, conflicts, shares, self.late)
        kinds = self.kind[q.first_rank]
        self._locking = Locking(q, kinds, self.world.alone_of, conflicts, shares)

    @property
    def stages(self) -> list[int]:
        """The pipeline rank of each rank class."""
        stages: list[int] = self.system.stage[self.quotient.first_rank].tolist()
        return stages

    def simulate(self, limit_s: float = math.inf) -> float:
        """Let all rank classes walk their programs; return when the last one ends. [s]

        Raises
        ------
        TooSlow
            If that is later than `limit_s`.
        """
        classes = []
        for number, stage in enumerate(self.stages):
            key, items = self._items(number, stage)
            classes.append(Walker(number, key, items, self._locks(number, stage, items)))
        if self.engine == "auto":
            events = expected_events(classes, self.quotient)
            self.engine = "compiled" if NUMBA and compiling_repays(events) else "simpy"
        if self.engine == "compiled":
            if not NUMBA:
                raise InvalidInput(
                    "engine compiled needs numba, which is not installed: pip install "
                    "'rackmodel[fast]', or leave engine out"
                )
            self._by_arrays(classes, limit_s)
        else:
            self._by_simpy(classes, limit_s)
        return self.end_s

    def _by_simpy(self, classes: Sequence[Walker], limit_s: float) -> None:
        self.world.ranks += [Rank(self.world, walks) for walks in classes]
        waiting = [self.clock.process(rank.process()) for rank in self.world.ranks]
        if limit_s < math.inf:
            while self.clock.peek() <= limit_s:
                self.clock.step()
            if self.clock.peek() < math.inf:
                raise _too_slow(limit_s)
        else:
            self.clock.run()
        stuck = [n for n, process in enumerate(waiting) if process.is_alive]
        if stuck:
            raise _stuck(stuck, len(self.world.open))
        self.end_s, self.events = float(self.clock.now), events_so_far(self.clock)
        self.logs = [RankLog.of(rank.log) for rank in self.world.ranks]
        self.world.ranks.clear()  # ranks and their world name each other: free them now

    def _by_arrays(self, classes: Sequence[Walker], limit_s: float) -> None:
        from rackmodel.engine.array_run import run_arrays  # loads numba
        from rackmodel.engine.instructions import Writer

        q, conflicts = self.quotient, self.system.conflicts
        writer = Writer(q, self.late)
        for _, key, items, locks in classes:
            writer.rank(items, locks, key)
        quick = [
            kind.private and conflicts[kind.channel] <= {kind.channel}
            for kinds in q.meetings
            for kind in kinds
        ]
        tables = writer.tables(self.world.alone_s, quick, self.overlap_share)
        ran = run_arrays(writer, tables, self.world.traffic, limit_s)
        if ran is None:
            raise _too_slow(limit_s)
        if ran.stuck:
            raise _stuck(ran.stuck, ran.open)
        self.end_s, self.events, self.logs = ran.end_s, ran.events, ran.logs

    def _items(self, number: int, stage: int) -> tuple[int, Items]:
        """Cut the program of one rank class; what recurs is cut once, also for other classes.

        Returns a number for the classes with the same items, and the items that leave a trace.
        """
        kind = int(self.kind[self.quotient.first_rank[number]])
        member_of = [c for c, joined in enumerate(self.quotient.joined) if number in joined]
        key = (stage, kind, frozenset(member_of))
        if key not in self._cuts:
            self._cuts[key] = len(self._cuts), self._cut(number, stage, kind)
        return self._cuts[key]

    def _locks(self, number: int, stage: int, items: Items) -> dict[int, Lock]:
        """Return the lockstep of each segment that a rank class goes through, by its cut."""
        program, locks = self.programs[stage].items, dict[int, Lock]()
        for place, cut in {cut.id: (place, cut) for place, cut in items}.values():
            if isinstance(program[place], Segment):
                locks[cut.id] = self._locking.of(cut, number)
        return locks

    def _cut(self, number: int, stage: int, kind: int) -> list[tuple[int, Cut]]:
        """Return (place, cut) of every item that leaves a trace.

        Segments without sends are cut once for all pipeline ranks that run them.
        """
        cuts: dict[int, Cut] = {}
        gone: set[str] = set()
        joined, seconds = self.quotient.joined, self.seconds[kind]
        mine = frozenset(
            c
            for c, channel in enumerate(self.system.channels)
            if channel.key.stages is None and number in joined[c]
        )

        def channel_of(operation: Operation) -> int | None:
            key = key_of(operation, stage)
            channel = self.system.index.get(key) if key is not None else None
            if channel is None or not isinstance(operation, Collective):
                return channel
            return channel if number in joined[channel] else None

        passing: dict[tuple[bool, int, float], int | None] = {}  # channels of sends and receipts

        def cut(item: Operation | Segment) -> Cut:
            if isinstance(item, Transfer):  # most items: one at either end of every pass
                way = isinstance(item, Send), item.peer, item.bytes
                if way not in passing:
                    passing[way] = channel_of(item)
                channel = passing[way]
                assert channel is not None, "two pipeline ranks always have a channel"
                one = Pass(0, channel, item.name, item.peer, way[0], item.token)
                return Cut(pieces=(one,), passes=True)
            if isinstance(item, Wait) and item.token not in gone:
                return Cut(pieces=(Hold(0, item.token),))
            return pieces_of(
                operations_of(item),
                lambda compute: seconds[compute.id],
                channel_of,
                gone,
                self.silent,
            )

        items = self.programs[stage].items
        for item in items:
            if item.id in cuts:
                continue
            key = (item.id, kind, mine)
            known = self._segments.get(key)
            if known is not None:
                cuts[item.id] = known[0]
                gone |= known[1]
                continue
            before = set(gone)
            cuts[item.id] = made = cut(item)
            if isinstance(item, Segment) and not made.passes:
                self._segments[key] = made, gone - before
        return [(n, cuts[item.id]) for n, item in enumerate(items) if cuts[item.id].pieces]


def _too_slow(limit_s: float) -> TooSlow:
    return TooSlow(f"the step takes longer than {limit_s:.6g} s")


def _stuck(classes: Sequence[int], exchanges: int) -> RuntimeError:
    return RuntimeError(
        f"rank classes {list(classes[:8])} wait for each other for ever in {exchanges} exchanges"
    )
