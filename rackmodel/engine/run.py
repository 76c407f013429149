"""The simulation of one folded system: programs cut into pieces, rank classes that walk them.

In:  programs, kernel times, a system and its quotient.
Out: `Run`: the log of every rank class, the seconds of every piece of work.
Left out: which micro-batches are simulated (`step`), what a rank does (`ranks`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rackmodel.engine.quotient import Quotient
from rackmodel.engine.ranks import Rank, World
from rackmodel.engine.script import Cut, Join, Pieces, cut, lockstep
from rackmodel.engine.system import Key, System
from rackmodel.errors import CannotRun
from rackmodel.network import FluidNetwork
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Operation,
    Program,
    Recv,
    Segment,
    Send,
    Wait,
)


class TooSlow(CannotRun):
    """The step takes longer than the caller cares for."""


class Kernels(Protocol):
    """What the simulation needs of a kernel-time model."""

    def compute_s(self, compute: Compute) -> float:
        """Return the seconds of a block of kernels on one accelerator."""
        ...


@dataclass(slots=True, eq=False)
class Run:
    """The simulation of one folded system."""

    programs: tuple[Program, ...]
    kernels: Kernels
    system: System
    quotient: Quotient
    speed: npt.NDArray[np.float64]
    overlap_share: tuple[float, ...]  # per channel, of the compute units
    limit_s: float = math.inf
    slower: float = 1.0  # time of a transfer's bytes over that of an idle network
    seconds: dict[int, float] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    env: Any = None
    world: Any = None
    _cuts: dict[tuple[int, float, frozenset[int]], list[tuple[int, Cut]]] = field(
        default_factory=dict
    )
    _worked: dict[Any, Any] = field(default_factory=dict)  # see `lockstep`
    _memberships: list[frozenset[int]] = field(default_factory=list)  # channels, per rank class

    def simulate(self) -> None:
        """Let all rank classes walk their programs; the time is `env.now` afterwards."""
        import simpy

        self.env = simpy.Environment()
        q = self.quotient
        capacity = [rate / self.slower for rate in q.capacity]
        cap = [rate / self.slower for rate in q.cap]
        traffic = FluidNetwork(self.env, q.loads, capacity, cap)
        alone = {
            (kind.channel, kind.index): sum(
                traffic.alone(flows) + latency
                for flows, latency in zip(kind.rounds, kind.round_latency_s, strict=True)
            )
            for meetings in q.meetings
            for kind in meetings
        }
        self.world = World(self.env, q, traffic, alone, self.system.conflicts, self.overlap_share)
        member: list[set[int]] = [set() for _ in q.first_rank]
        for channel, joined in enumerate(q.joined):
            for number in joined:
                member[number].add(channel)
        self._memberships = [frozenset(channels) for channels in member]
        for number, first in enumerate(q.first_rank):
            stage = int(self.system.stage[first])
            rank = Rank(self.world, number, self._items(number, stage), stage)
            self.world.ranks.append(rank)
        waiting = [self.env.process(rank.process()) for rank in self.world.ranks]
        if self.limit_s < math.inf:
            while self.env.peek() <= self.limit_s:
                self.env.step()
            if self.env.peek() < math.inf:
                raise TooSlow(f"the step takes longer than {self.limit_s:.6g} s")
        else:
            self.env.run()
        stuck = [n for n, process in enumerate(waiting) if process.is_alive]
        if stuck:
            raise RuntimeError(
                f"rank classes {stuck[:8]} wait for each other for ever; open: "
                f"{list(self.world.open)[:4]}"
            )

    def _items(self, number: int, stage: int) -> list[tuple[int, Pieces]]:
        """Cut the program of one rank class; what recurs is cut once, also for other classes."""
        factor = float(self.speed[self.quotient.first_rank[number]])
        key = (stage, factor, self._memberships[number])
        if key not in self._cuts:
            self._cuts[key] = self._cut(number, stage, factor)
        known: dict[int, Pieces] = {}
        items = []
        for place, cut_up in self._cuts[key]:
            pieces = known.get(cut_up.id)
            if pieces is None:
                segment = isinstance(self.programs[stage].items[place], Segment)
                steady = self._lockstep(cut_up, number) if segment else None
                pieces = known[cut_up.id] = Pieces(cut_up.pieces, steady)
            items.append((place, pieces))
        return items

    def _cut(self, number: int, stage: int, factor: float) -> list[tuple[int, Cut]]:
        """Return (place, cut) of every item that leaves a trace."""
        known: dict[int, Cut] = {}
        gone: set[str] = set()
        items = []
        for place, item in enumerate(self.programs[stage].items):
            if item.id not in known:
                operations = item.operations if isinstance(item, Segment) else (item,)
                known[item.id] = cut(
                    operations,
                    lambda compute: self._compute_s(compute) * factor,
                    lambda operation: self._channel(operation, stage, number),
                    gone,
                )
                for operation in operations:
                    if self._vanishes(operation, stage, number, gone):
                        self.silent.add(operation.id)
            if known[item.id].pieces:
                items.append((place, known[item.id]))
        return items

    def _vanishes(self, operation: Operation, stage: int, number: int, gone: set[str]) -> bool:
        match operation:
            case Collective():
                return self._channel(operation, stage, number) is None
            case Wait():
                return operation.token in gone
        return False

    def _compute_s(self, compute: Compute) -> float:
        known = self.seconds.get(compute.id)
        if known is None:
            known = self.seconds[compute.id] = self.kernels.compute_s(compute)
        return known

    def _channel(self, operation: Operation, stage: int, number: int) -> int | None:
        match operation:
            case Collective():
                key = Key(op=operation.op, axis=operation.axis, bytes=operation.bytes)
            case Send():
                key = _pipe(stage, operation.peer, operation.bytes)
            case Recv():
                key = _pipe(operation.peer, stage, operation.bytes)
            case _:
                raise TypeError(f"{operation} moves nothing")
        channel = self.system.index.get(key)
        if channel is None or isinstance(operation, Send | Recv):
            return channel
        return channel if number in self.quotient.joined[channel] else None

    def _lockstep(self, cut_up: Cut, number: int) -> Any:
        q = self.quotient

        def kind(channel: int) -> Any:
            return q.meetings[channel][q.joined[channel][number]]

        def team_of(channels: set[int]) -> tuple[int, ...]:
            team, queue = {number}, [number]
            while queue:
                member = queue.pop()
                for channel in channels:
                    for other in q.meetings[channel][q.joined[channel][member]].members:
                        if other not in team:
                            team.add(other)
                            queue.append(other)
            return tuple(sorted(team))

        steady = lockstep(
            cut_up,
            team_of=team_of,
            members_of=lambda channel: kind(channel).members,
            alone_s=lambda channel: self.world.alone_s[channel, kind(channel).index],
            private=lambda channel: kind(channel).private,
            conflicts=lambda channel: self.system.conflicts[channel],
            overlap_share=lambda channel: self.world.overlap_share[channel],
            memo=self._worked,
        )
        if steady is None or len(steady.team) == 1:
            return steady
        used = {piece.channel for piece in cut_up.pieces if isinstance(piece, Join)}
        return steady if self._alike(steady.team, used) else None

    def _alike(self, team: tuple[int, ...], channels: set[int]) -> bool:
        """Return whether all classes of a team take the same time for everything they do."""
        speeds = self.speed[self.quotient.first_rank[list(team)]]
        if not (speeds == speeds[0]).all():
            return False
        for channel in channels:
            kinds = [
                self.quotient.meetings[channel][self.quotient.joined[channel][member]]
                for member in team
            ]
            seconds = {self.world.alone_s[channel, kind.index] for kind in kinds}
            if len(seconds) > 1 or not all(kind.private for kind in kinds):
                return False
        return True


def _pipe(source: int, target: int, size: float) -> Key:
    return Key(op="send", axis="pp", bytes=size, stages=(source, target))
