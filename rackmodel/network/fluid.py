"""Bytes in motion while the clock runs: max-min fair flows between SimPy events.

In:  flow classes (the links each one loads, with the load per unit of rate), link capacities;
     transfers that start at any time.
Out: a callback when the last byte of a transfer has arrived.
Left out: routes, collectives, who waits for what. Tables of thousands of flows without a step
     around them run compiled; see `compiled`.

One flow class stands for any number of equal flows of the whole machine: `loads[f]` says what all
of them together put on one representative link of each link class. Only the component of active
flows that a start or an end reaches is solved again, and sets of flows seen before are looked up.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import numpy as np

from rackmodel.annotations import Environment, Event
from rackmodel.columns import Floats, Ints
from rackmodel.network.reference import TIE
from rackmodel.network.sharing import fill_rows, last_end_s
from rackmodel.network.simpy_private import trigger

RESIDUE = 1e-13  # relative to the clock: below its last bits a flow has ended
REMEMBERED = 100_000  # sets of flows whose rates are kept


Row: TypeAlias = Sequence[tuple[int, float]]
Shared: TypeAlias = tuple[list[float], list[int]]  # rates, and the links that hold back


@dataclass(slots=True, eq=False)
class Transfer:
    """Flows that start together; `done` is called when the last has arrived."""

    pending: int
    done: Callable[[], None]


@dataclass(slots=True, eq=False)
class Moving:
    """One flow under way; `held` is the link class that holds it back, -1 before it is shared."""

    flow: int
    transfer: Transfer
    left_bytes: float
    since_s: float
    rate: float = 0.0
    held: int = -1
    version: int = 0


@dataclass(slots=True, eq=False)
class FluidNetwork:
    """The fluid network of one simulation.

    Parameters
    ----------
    env : the SimPy clock.
    loads : per flow class, [(link class, load per unit of rate), ...].
    capacity : bytes/s of each link class.
    cap : bytes/s that each flow class can't exceed by itself; infinity where it has no such limit.
    """

    env: Environment
    loads: Sequence[Row] | Mapping[int, Row]
    capacity: Sequence[float]
    cap: Sequence[float]
    _on_link: dict[int, dict[Moving, None]] = field(default_factory=dict)
    _dirty: dict[Moving, None] = field(default_factory=dict)
    _ends: list[tuple[float, int, int, Moving]] = field(default_factory=list)
    _known: dict[tuple[int, ...], Shared] = field(default_factory=dict)
    _order: int = 0
    _woken: bool = False
    _alarm_s: float = math.inf

    def start(self, flows: Sequence[tuple[int, float]], done: Callable[[], None]) -> list[Moving]:
        """Send `flows`, each (flow class, bytes); call `done` when all have arrived."""
        started = []
        transfer = Transfer(pending=len(flows), done=done)
        now = self.env.now
        for flow, size in flows:
            moving = Moving(flow, transfer, size, now)
            started.append(moving)
            alone = True
            for link, _ in self.loads[flow]:
                here = self._on_link.get(link)
                if here is None:
                    here = self._on_link[link] = {}
                elif here:
                    alone = False
                here[moving] = None
            if alone:  # nobody to share with: if others come, all are solved together
                rates, held = self._rates((flow,))
                moving.held = held[0]
                self._announce(moving, rates[0], now)
                self._set_alarm()
            else:
                self._dirty[moving] = None
        if self._dirty:
            self._wake()
        return started

    def _announce(self, moving: Moving, rate: float, now: float) -> None:
        """Note a new rate, and when the flow ends if it stays."""
        moving.rate = rate
        moving.version += 1
        self._order += 1
        end = now + max(0.0, moving.left_bytes) / rate
        heapq.heappush(self._ends, (end, self._order, moving.version, moving))

    def alone(self, flows: Sequence[tuple[int, float]]) -> float:
        """Seconds that these flows take when nothing else moves."""
        ordered = sorted(flows)

        def rates_of(left: Ints) -> Floats:
            return np.array(self._rates(tuple(ordered[i][0] for i in left.tolist()))[0])

        return last_end_s(np.array([size for _, size in ordered]), rates_of, tie=TIE)

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            event = self.env.event()
            event.callbacks.append(self._solve)
            trigger(self.env, event, late=True)

    def _solve(self, _: Event) -> None:
        self._woken = False
        now = self.env.now
        while self._dirty:
            component = self._component(next(iter(self._dirty)))
            for moving in component:
                self._dirty.pop(moving, None)
            component.sort(key=lambda m: m.flow)
            rates, held = self._rates(tuple(m.flow for m in component))
            for moving, rate, link in zip(component, rates, held, strict=True):
                moving.held = link
                moving.left_bytes -= moving.rate * (now - moving.since_s)
                moving.since_s = now
                if rate != moving.rate:  # else the end that was announced still holds
                    self._announce(moving, rate, now)
        self._set_alarm()

    def _component(self, first: Moving) -> list[Moving]:
        """Return all active flows that share a link with `first`, directly or through others."""
        seen, queue, links = {first: None}, [first], set[int]()
        while queue:
            for link, _ in self.loads[queue.pop().flow]:
                if link in links:
                    continue
                links.add(link)
                for other in self._on_link[link]:
                    if other not in seen:
                        seen[other] = None
                        queue.append(other)
        return list(seen)

    def _rates(self, flows: tuple[int, ...]) -> Shared:
        shared = self._known.get(flows)
        if shared is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            shared = self._known[flows] = self._fill(flows)
        return shared

    def _fill(self, flows: tuple[int, ...]) -> Shared:
        caps = [self.cap[flow] for flow in flows]
        if self._fit(flows, caps):
            return caps, [-1] * len(caps)
        return fill_rows([self.loads[flow] for flow in flows], self.capacity, caps)

    def _fit(self, flows: tuple[int, ...], rates: list[float]) -> bool:
        """Return whether all flows can run as fast as each can by itself."""
        demand: dict[int, float] = {}
        for flow, rate in zip(flows, rates, strict=True):
            if rate == math.inf:
                return False
            for link, weight in self.loads[flow]:
                demand[link] = demand.get(link, 0.0) + weight * rate
        return all(load <= self.capacity[link] for link, load in demand.items())

    def _set_alarm(self) -> None:
        while self._ends and self._ends[0][2] != self._ends[0][3].version:
            heapq.heappop(self._ends)
        if not self._ends:
            return
        end = max(self._ends[0][0], self.env.now)
        if end >= self._alarm_s:
            return  # an earlier alarm is set and will look again
        self._alarm_s = end
        alarm = self.env.timeout(end - self.env.now, value=end)
        alarm.callbacks.append(self._ring)

    def _ring(self, alarm: Event) -> None:
        now, meant = self.env.now, cast(float, alarm.value)
        if meant == self._alarm_s:  # the clock itself may be a last bit short of it
            self._alarm_s = math.inf
        limit = max(now, meant) * (1 + RESIDUE)
        ended = []
        while self._ends and (self._ends[0][0] <= limit or self._stale()):
            _, _, version, moving = heapq.heappop(self._ends)
            if version == moving.version:
                ended.append(moving)
        for moving in ended:
            moving.version = -1
            self._dirty.pop(moving, None)
            for link, _load in self.loads[moving.flow]:
                del self._on_link[link][moving]
        for moving in ended:
            for link, _load in self.loads[moving.flow]:
                self._dirty.update(self._on_link[link])
            transfer = moving.transfer
            transfer.pending -= 1
            if transfer.pending == 0:
                transfer.done()
        if self._dirty:
            self._wake()
        else:
            self._set_alarm()

    def _stale(self) -> bool:
        return self._ends[0][2] != self._ends[0][3].version
