"""The simulation of one folded system: scripts of all rank classes, and the clock they run on.

In:  programs, seconds of their kernels, a system and its quotient.
Out: `Simulation`: the log of every rank class.
Left out: which micro-batches are simulated (`step`), what a rank does (`ranks`).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import simpy

from rackmodel.engine.quotient import Quotient
from rackmodel.engine.ranks import Rank, World
from rackmodel.engine.script import Cut, Join, Lockstep, Pass, Played, Script, pieces_of, play
from rackmodel.engine.system import System, key_of
from rackmodel.errors import CannotRun
from rackmodel.network import FluidNetwork
from rackmodel.workload.operations import Collective, Operation, Program, Segment


class TooSlow(CannotRun):
    """The step takes longer than the caller cares for."""


@dataclass(slots=True, eq=False)
class Simulation:
    """One folded system whose rank classes walk through their programs.

    seconds : of each `Compute`, by its id. speed : per simulated rank, how much longer its kernels
    take. overlap_share : per channel, of the compute units. slower : time of a transfer's bytes
    over that of an idle network. silent : ids of operations that leave no trace.
    """

    programs: tuple[Program, ...]
    seconds: dict[int, float]
    system: System
    quotient: Quotient
    speed: npt.NDArray[np.float64]
    overlap_share: tuple[float, ...]
    slower: float = 1.0
    silent: set[int] = field(default_factory=set)
    clock: simpy.Environment = field(default_factory=simpy.Environment)
    world: World = field(init=False)
    _cuts: dict[tuple[int, float, frozenset[int]], list[tuple[int, Cut]]] = field(
        default_factory=dict
    )
    _segments: dict[tuple[int, float, frozenset[int]], tuple[Cut, set[str]]] = field(
        default_factory=dict
    )
    _played: dict[tuple[float, ...], Played] = field(default_factory=dict)

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
        self.world = World(self.clock, q, traffic, alone, conflicts, self.overlap_share)
        for number, first in enumerate(q.first_rank):
            stage = int(self.system.stage[first])
            rank = Rank(self.world, number, self._scripts(number, stage), stage)
            self.world.ranks.append(rank)

    def simulate(self, limit_s: float = math.inf) -> float:
        """Let all rank classes walk their programs; return when the last one ends. [s]

        Raises
        ------
        TooSlow
            If that is later than `limit_s`.
        """
        waiting = [self.clock.process(rank.process()) for rank in self.world.ranks]
        if limit_s < math.inf:
            while self.clock.peek() <= limit_s:
                self.clock.step()
            if self.clock.peek() < math.inf:
                raise TooSlow(f"the step takes longer than {limit_s:.6g} s")
        else:
            self.clock.run()
        stuck = [n for n, process in enumerate(waiting) if process.is_alive]
        if stuck:
            raise RuntimeError(
                f"rank classes {stuck[:8]} wait for each other for ever; open: "
                f"{list(self.world.open)[:4]}"
            )
        return float(self.clock.now)

    def _scripts(self, number: int, stage: int) -> list[Script]:
        """Cut the program of one rank class; what recurs is cut once, also for other classes."""
        factor = float(self.speed[self.quotient.first_rank[number]])
        member_of = [c for c, joined in enumerate(self.quotient.joined) if number in joined]
        key = (stage, factor, frozenset(member_of))
        if key not in self._cuts:
            self._cuts[key] = self._cut(number, stage, factor)
        locksteps: dict[int, Lockstep | None] = {}
        scripts = []
        for place, cut_up in self._cuts[key]:
            if cut_up.id not in locksteps:
                segment = isinstance(self.programs[stage].items[place], Segment)
                locksteps[cut_up.id] = self._lockstep(cut_up, number) if segment else None
            scripts.append(Script(place, cut_up.pieces, locksteps[cut_up.id]))
        return scripts

    def _cut(self, number: int, stage: int, factor: float) -> list[tuple[int, Cut]]:
        """Return (place, cut) of every item that leaves a trace.

        Segments without sends are cut once for all pipeline ranks that run them.
        """
        cuts: dict[int, Cut] = {}
        gone: set[str] = set()
        joined = self.quotient.joined
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

        def cut(item: Operation | Segment) -> Cut:
            whole = item.operations if isinstance(item, Segment) else (item,)
            return pieces_of(
                whole,
                lambda compute: self.seconds[compute.id] * factor,
                channel_of,
                gone,
                self.silent,
            )

        items = self.programs[stage].items
        for item in items:
            if item.id in cuts:
                continue
            key = (item.id, factor, mine)
            known = self._segments.get(key)
            if known is not None:
                cuts[item.id] = known[0]
                gone |= known[1]
                continue
            before = set(gone)
            cuts[item.id] = made = cut(item)
            if isinstance(item, Segment) and not any(isinstance(p, Pass) for p in made.pieces):
                self._segments[key] = made, gone - before
        return [(n, cuts[item.id]) for n, item in enumerate(items) if cuts[item.id].pieces]

    def _lockstep(self, cut_up: Cut, number: int) -> Lockstep | None:
        """Work out the longest tail of a segment that only its own team can disturb.

        None if the tail would be no longer than its pieces.
        """
        pieces, conflicts = cut_up.pieces, self.system.conflicts
        joins = [(i, piece) for i, piece in enumerate(pieces) if isinstance(piece, Join)]
        used = sorted({join.channel for _, join in joins})
        private = all(self.quotient.kind_of(channel, number).private for channel in used)
        if not private or any(isinstance(piece, Pass) for piece in pieces):
            return None
        team = self._team(number, used)
        if not self._alike(team, used):
            return None
        begin = 0
        if len(team) > 1:
            meets = [
                i
                for i, join in joins
                if join.token is None
                and self.quotient.kind_of(join.channel, number).members == team
            ]
            if not meets:
                return None
            begin = meets[0] + 1
        if begin >= len(pieces) - 1 or any(join.token for i, join in joins if i < begin):
            return None
        alone = {c: self.world.alone_of(c, number) for c in used}
        key = (cut_up.id, begin, *alone.values())
        if key not in self._played:
            self._played[key] = play(
                pieces[begin:],
                lambda channel: (alone[channel], self.overlap_share[channel]),
                conflicts.__getitem__,
            )
        played = self._played[key]
        if not played.closed:
            return None
        turns = Counter((join.axis, join.stream) for i, join in joins if i >= begin)
        return Lockstep(
            key=key,
            begin=begin,
            total_s=played.end_s,
            entries=played.entries,
            channels=frozenset(used).union(*(conflicts[c] for c in used)),
            joins=tuple((axis, stream, times) for (axis, stream), times in turns.items()),
            team=team,
        )

    def _team(self, number: int, channels: list[int]) -> tuple[int, ...]:
        """Return the rank classes that these channels tie together, this one included."""
        team, queue = {number}, [number]
        while queue:
            member = queue.pop()
            for channel in channels:
                new = set(self.quotient.kind_of(channel, member).members) - team
                team |= new
                queue += new
        return tuple(sorted(team))

    def _alike(self, team: tuple[int, ...], channels: list[int]) -> bool:
        """Return whether all of a team take the same time, and nobody outside slows them down."""
        speeds = self.speed[self.quotient.first_rank[list(team)]]
        return bool((speeds == speeds[0]).all()) and all(
            self.quotient.kind_of(channel, member).private
            and self.world.alone_of(channel, member) == self.world.alone_of(channel, team[0])
            for channel in channels
            for member in team
        )
