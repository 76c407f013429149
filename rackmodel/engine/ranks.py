"""Rank classes under SimPy: each walks through its program, meets others, waits for bytes.

In:  programs cut into pieces, the folded system, SimPy's clock.
Out: a log of what every rank class did and when.
Left out: how fast kernels are, how bytes share links, what the log means.

A rank has a compute stream (its process) and any number of communication streams. A collective
begins when every member class has reached it; a send when both ends have. Collectives on one stream
go one after the other.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, cast

import simpy

from rackmodel.engine.quotient import MeetingKind, Quotient
from rackmodel.engine.script import Join, KernelRun, Lockstep, Pass, Turns, speed_beside
from rackmodel.engine.stretches import UNLOCKED, Gathering, Record, Stretch, Walker, gather
from rackmodel.network import FluidNetwork
from rackmodel.network.simpy_private import trigger

Process: TypeAlias = Generator[simpy.Event, Any, None]


@dataclass(slots=True, eq=False)
class Exchange:
    """One collective or send; `begin_s` is when its bytes set off."""

    done: simpy.Event
    waiting: int
    kind: MeetingKind | None = None
    begin_s: float = 0.0
    team_quiet: bool | None = None  # whether the team that meets here may go on in lockstep


class Logged(NamedTuple):
    """One piece of one rank class's time.

    kind : run, join, async, hold, pass, or lockstep (then `entries` are relative to start_s).
    begin_s : when the bytes waited for set off. `item` and `place` find the operation in the
        program.
    """

    kind: str
    item: int
    place: int
    start_s: float
    end_s: float
    begin_s: float = 0.0
    axis: str = ""
    lockstep: Lockstep | Record | None = None


class Late(NamedTuple):
    """Rank classes that begin later, all of a part by the same time, as if others did not exist.

    begin_s, part : of each rank class. until : its first item that does not belong to the beginning
    of its program; before, those of its part alone meet, and what they exchange crosses no links.
    """

    begin_s: tuple[float, ...]
    part: tuple[frozenset[int], ...]
    until: tuple[int, ...]


@dataclass(slots=True, eq=False)
class World:
    """What the rank classes of one simulation share."""

    env: simpy.Environment
    quotient: Quotient
    traffic: FluidNetwork
    alone_s: dict[tuple[int, int], float]
    conflicts: tuple[frozenset[int], ...]
    overlap_share: tuple[float, ...]  # per channel, of the compute units
    late: Late | None = None
    open: dict[tuple[Any, ...], Exchange] = field(default_factory=dict)
    ranks: list[Rank] = field(default_factory=list)
    gatherings: dict[Stretch, Gathering] = field(default_factory=dict)

    def alone_of(self, channel: int, number: int) -> float:
        """Return the seconds of a channel's exchange that a rank class joins, undisturbed."""
        return self.alone_s[channel, self.quotient.joined[channel][number]]

    def arrive(self, key: tuple[Any, ...], kind: MeetingKind, needed: int) -> Exchange:
        """Note that one more has reached an exchange; begin it when it was the last one missing.

        With fewer than its members it takes what it does alone.
        """
        exchange = self.open.get(key)
        if exchange is None:
            exchange = self.open[key] = Exchange(simpy.Event(self.env), needed, kind)
        exchange.waiting -= 1
        if exchange.waiting == 0:
            del self.open[key]
            exchange.begin_s = self.env.now
            if needed < len(kind.members):
                self._end(exchange, self.alone_s[kind.channel, kind.index])
            else:
                self._begin(exchange, 0)
        return exchange

    def _begin(self, exchange: Exchange, number: int) -> None:
        kind = exchange.kind
        assert kind is not None
        if number == 0 and kind.private and self.conflicts[kind.channel] <= {kind.channel}:
            self._end(exchange, self.alone_s[kind.channel, kind.index])
            return
        if number == len(kind.rounds):
            self._end(exchange, 0.0)
            return
        flows = kind.rounds[number]
        if flows:
            self.traffic.start(flows, lambda: self._arrived(exchange, number))
        else:
            self._arrived(exchange, number)

    def _arrived(self, exchange: Exchange, number: int) -> None:
        """The bytes of a round have arrived; what is fixed comes after them."""
        kind = exchange.kind
        assert kind is not None
        latency_s = kind.round_latency_s[number]
        if number + 1 == len(kind.rounds):
            self._end(exchange, latency_s)
        elif latency_s > 0:
            pause = self.env.timeout(latency_s)
            pause.callbacks.append(lambda _: self._begin(exchange, number + 1))
        else:
            self._begin(exchange, number + 1)

    def _end(self, exchange: Exchange, delay_s: float) -> None:
        """Let all who wait go on after a delay; one event for both."""
        trigger(self.env, exchange.done, delay_s=delay_s)


class Rank:
    """One class of ranks: its program, its streams, its log."""

    def __init__(self, world: World, walks: Walker) -> None:
        self.world, self.env = world, world.env
        self.number, self.items, self.locks = walks.number, walks.items, walks.locks
        self.log: list[Logged] = []
        self.counts: dict[tuple[str, str], int] = {}
        self.tokens: dict[str, Exchange | simpy.Event] = {}
        self.tails: dict[str, simpy.Event] = {}
        self.in_flight: dict[int, int] = {}  # channel -> asynchronous exchanges begun and not ended
        self.heard_s = 0.0  # when its last collective ended
        self.taken = 0.0  # share of the compute units that collectives in flight take
        self._kernels: tuple[simpy.Event, float, float] | None = None  # (end, work left, since)
        self._version = 0

    def quiet(self, channels: frozenset[int]) -> bool:
        """Return whether nothing in flight could disturb a lockstep that uses these channels."""
        share = self.world.overlap_share
        return not any(c in channels or share[c] > 0 for c in self.in_flight)

    def process(self) -> Process:
        """Walk through the program."""
        env, log = self.env, self.log
        if self.world.late is not None:
            yield env.timeout(self.world.late.begin_s[self.number])
        for item, cut in self.items:
            steady, stretch = self.locks.get(cut.id, UNLOCKED)
            begin = steady.begin if steady is not None else -1
            starts = stretch.starts if stretch is not None else ()
            record: Record | None = None  # of this visit, if it is the first
            agreed: bool | None = None
            for number, piece in enumerate(cut.pieces):
                if number == begin and steady is not None:
                    if agreed or (agreed is None and self.quiet(steady.channels)):
                        yield from self._lockstep(item, begin, steady, steady.total_s, steady.joins)
                        break
                elif record is None and stretch is not None and number in starts:
                    record = yield from self._kept(item, number, stretch)
                    if record is not None and record.known:
                        break
                start = env.now
                exchange: Exchange | None
                if isinstance(piece, KernelRun):
                    yield self._run(piece.work_s)
                    log.append(Logged("run", item, piece.first, start, env.now))
                    continue
                if isinstance(piece, Join):
                    exchange = self._join(item, piece)
                    if exchange is None:
                        continue
                    if steady is not None and number + 1 == begin:
                        agreed = yield from self._meet_team(exchange, steady)
                    else:
                        yield exchange.done
                    self.heard_s = env.now
                    kind, axis = "join", piece.axis
                elif isinstance(piece, Pass):
                    exchange = self._pass(item, piece)
                    if exchange is None:
                        continue
                    if not exchange.done.processed:
                        yield exchange.done
                    kind, axis = "pass", "pp"
                else:
                    waited = self.tokens.pop(piece.token)
                    over = waited.done if isinstance(waited, Exchange) else waited
                    if not over.processed:
                        yield over
                    exchange = (
                        waited if isinstance(waited, Exchange) else cast(Exchange, over.value)
                    )
                    axis = self._axis(exchange)
                    kind = "hold"
                log.append(Logged(kind, item, piece.place, start, env.now, exchange.begin_s, axis))
            else:
                if record is not None:
                    self._logged_lockstep(item, record.piece, record.start_s, record)
                    record.ends(self.number, env.now, self.heard_s)

    def _kept(
        self, item: int, number: int, stretch: Stretch
    ) -> Generator[simpy.Event, Any, Record | None]:
        """Go through the rest of a segment as an earlier visit did, or begin to keep this one."""
        if not self.quiet(stretch.channels):
            return None
        record = yield from gather(self.env, self.world.gatherings, stretch, number, item)
        if record is not None and record.known:
            total_s = record.total_s[self.number]
            yield from self._lockstep(item, number, record, total_s, record.turns)
        return record

    def _lockstep(
        self, item: int, begin: int, steady: Lockstep | Record, total_s: float, turns: Turns
    ) -> Process:
        """Go through the rest of a segment as a whole."""
        start = self.env.now
        for axis, stream, times in turns:
            turn = self.counts.get((axis, stream), 0)
            self.counts[axis, stream] = turn + times
        yield self.env.timeout(total_s)
        self._logged_lockstep(item, begin, start, steady)

    def _logged_lockstep(
        self, item: int, begin: int, start: float, steady: Lockstep | Record
    ) -> None:
        self.log.append(Logged("lockstep", item, begin, start, self.env.now, 0.0, "", steady))

    def _meet_team(self, exchange: Exchange, steady: Lockstep) -> Generator[simpy.Event, Any, bool]:
        """Wait for the collective that brings the team to one point; return whether all are quiet.

        The whole team has to decide alike, so the first to go on decides for all.
        """
        yield exchange.done
        if exchange.team_quiet is None:
            team = [self.world.ranks[number] for number in steady.team]
            exchange.team_quiet = all(rank.quiet(steady.channels) for rank in team)
        return exchange.team_quiet

    def _run(self, work_s: float) -> simpy.Event:
        if not self.in_flight:
            return self.env.timeout(work_s)
        end = simpy.Event(self.env)
        self._kernels = (end, work_s, self.env.now)
        self._retime()
        return end

    def _retime(self) -> None:
        """Announce anew when the running kernels end, as collectives take or free compute units."""
        if self._kernels is None:
            return
        end, work_s, _ = self._kernels
        self._kernels = (end, work_s, self.env.now)
        self._version += 1
        version = self._version
        speed = speed_beside(self.taken)
        alarm = self.env.timeout(work_s / speed)

        def ring(_: simpy.Event) -> None:
            if version == self._version:
                self._kernels = None
                end.succeed()

        alarm.callbacks.append(ring)

    def _take(self, share: float) -> None:
        """Change the share of the compute units that collectives take."""
        if share == 0:
            return
        if self._kernels is not None:
            end, work_s, since = self._kernels
            left = work_s - (self.env.now - since) * speed_beside(self.taken)
            self._kernels = (end, max(0.0, left), self.env.now)
        self.taken += share
        if abs(self.taken) < 1e-12:
            self.taken = 0.0
        self._retime()

    def _join(self, item: int, piece: Join) -> Exchange | None:
        """Reach a collective; return it if the rank has to wait for it."""
        world = self.world
        channel = piece.channel
        index = world.quotient.joined[channel][self.number]
        kind = world.quotient.meetings[channel][index]
        turn = self.counts.get((piece.axis, piece.stream), 0)
        self.counts[piece.axis, piece.stream] = turn + 1
        key: tuple[Any, ...] = (piece.axis, piece.stream, channel, index, turn)
        needed = len(kind.members)
        if world.late is not None and item < world.late.until[self.number]:
            part = world.late.part[self.number].intersection(kind.members)
            key, needed = (*key, part), len(part)
        if piece.token is None:
            return world.arrive(key, kind, needed)
        done = simpy.Event(self.env)
        self.tokens[piece.token] = done
        self._fly(channel, +1)
        share = world.overlap_share[channel]
        before = self.tails.get(piece.stream)
        self.tails[piece.stream] = done

        def launch(_: simpy.Event | None = None) -> None:
            self._take(share)
            exchange = world.arrive(key, kind, needed)
            launched = self.env.now
            assert exchange.done.callbacks is not None

            def landed(_: simpy.Event) -> None:
                self._take(-share)
                self._fly(channel, -1)
                self.heard_s = self.env.now
                self.log.append(
                    Logged(
                        "async",
                        item,
                        piece.place,
                        launched,
                        self.env.now,
                        exchange.begin_s,
                        piece.axis,
                    )
                )
                done.succeed(exchange)

            exchange.done.callbacks.append(landed)

        if before is None or before.processed or before.triggered:
            launch()
        else:
            assert before.callbacks is not None
            before.callbacks.append(launch)
        return None

    def _pass(self, item: int, piece: Pass) -> Exchange | None:
        """Reach one end of a send; return it if the rank has to wait for it."""
        world, channel = self.world, piece.channel
        table = world.quotient.joined if piece.sending else world.quotient.received
        index = table[channel][self.number]
        kind = world.quotient.meetings[channel][index]
        exchange = world.arrive(("send", piece.name, channel, index), kind, 2)
        if piece.token is None:
            return exchange
        self.tokens[piece.token] = exchange
        self._fly(channel, +1)
        posted = self.env.now

        def landed(_: simpy.Event) -> None:
            self._fly(channel, -1)
            if piece.sending:
                self.log.append(
                    Logged("async", item, piece.place, posted, self.env.now, exchange.begin_s, "pp")
                )

        assert exchange.done.callbacks is not None, "an exchange ends only after both have come"
        exchange.done.callbacks.append(landed)
        return None

    def _fly(self, channel: int, change: int) -> None:
        count = self.in_flight.get(channel, 0) + change
        if count:
            self.in_flight[channel] = count
        else:
            self.in_flight.pop(channel, None)

    def _axis(self, exchange: Exchange) -> str:
        assert exchange.kind is not None
        return self.world.quotient.axis[exchange.kind.channel]
