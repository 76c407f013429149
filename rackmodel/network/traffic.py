"""Flows that start and end at any time, under SimPy.

In:  a network; flows with bytes and start times (a frame), or asked for while a simulation runs.
Out: when each ends: a frame with `finish_s`, or a SimPy event.
Left out: packets, queues, congestion control; rates are max-min fair at every instant.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from rackmodel.errors import InvalidInput, NoRoute
from rackmodel.network import kernels
from rackmodel.network.arrays import Bools, Floats, Ints
from rackmodel.network.fair_share import fair_rates
from rackmodel.network.fluid import SAME_TIME, Fluid, advance, make_fluid

if TYPE_CHECKING:
    import pandas as pd
    import simpy

    from rackmodel.network.graph import Network

Progress = Callable[[int, int], None]

COLUMNS = ("source", "target", "bytes", "start_s")
COMPILED_FLOWS = 200  # from here on, compiled code repays its loading
REPORT_EVERY_S = 0.2
WINDOW = 20_000  # flows that are routed and held at a time, besides those under way
LATE: Any = 2  # a priority after simpy's URGENT (0) and NORMAL (1)


def simulate_flows(
    network: Network, frame: pd.DataFrame, *, progress: Progress | None = None
) -> pd.DataFrame:
    """Send every flow of `frame` and say when it ends.

    Parameters
    ----------
    frame : one row a flow, columns `source`, `target` (names of nodes), `bytes`, `start_s` (0 if
        the column is missing). Other columns are kept.
    progress : called now and then with the flows ended and the flows in all.

    Returns
    -------
    The same rows in the same order, with `finish_s` (when the last byte has arrived: end of the
    fluid flow plus latency of the path), `mean_bytes_per_s`, `hops`, `bottleneck` (the link that
    held the flow back last).

    Raises
    ------
    UnknownName, InvalidInput, NoRoute
        For nodes, sizes or times that are not sensible, and pairs that no links join.
    """
    source, target, size, start = _checked(network, frame)
    run = _Run(network, source, target, size, start)
    run.all(progress)
    finish = np.where((size > 0) & (source != target), run.finish + run.latency_s, start)
    spent = finish - start
    mean = np.divide(size, spent, out=np.zeros(len(size)), where=spent > 0)
    names = network.link_names
    return frame.assign(
        finish_s=finish,
        mean_bytes_per_s=mean,
        hops=run.hops,
        bottleneck=[names[k] if k >= 0 else "" for k in run.bottleneck.tolist()],
    )


def _checked(network: Network, frame: pd.DataFrame) -> tuple[Ints, Ints, Floats, Floats]:
    if missing := [c for c in COLUMNS[:3] if c not in frame.columns]:
        raise InvalidInput(
            f"flows: column {missing[0]!r} is missing (wanted: {', '.join(COLUMNS)})"
        )
    ends = [_nodes(network, frame[column].tolist()) for column in ("source", "target")]
    size = _numbers(frame, "bytes")
    start = _numbers(frame, "start_s") if "start_s" in frame.columns else np.zeros(len(frame))
    return ends[0], ends[1], size, start


def _nodes(network: Network, names: list[Hashable]) -> Ints:
    known: dict[Hashable, int] = {}
    for name in names:
        if name not in known:
            known[name] = network.node(name)
    return np.array([known[name] for name in names], dtype=np.int64)


def _numbers(frame: pd.DataFrame, column: str) -> Floats:
    try:
        values = frame[column].to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"flows: {column} must be numbers in every row") from None
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0))
    if len(wrong):
        row, value = int(wrong[0]), values[wrong[0]]
        raise InvalidInput(
            f"flows: row {row + 1}: {column} must be finite and not negative, got {value}"
        )
    return values


def _routes(network: Network, source: Ints, target: Ints) -> Any:
    """Route each distinct pair once, then repeat rows."""
    from rackmodel.network.routing import RouteTable

    code = source * np.int64(len(network.nodes)) + target
    pairs, which = np.unique(code, return_inverse=True)
    one = network.routes(pairs // len(network.nodes), pairs % len(network.nodes))
    if len(pairs) == len(code) and (np.diff(code) > 0).all():
        return one
    sizes = np.diff(one.indptr)[which]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    place = np.repeat(one.indptr[which] - indptr[:-1], sizes) + np.arange(indptr[-1])
    return RouteTable(
        indptr, one.links[place], one.fractions[place], one.latency_s[which], one.hops[which]
    )


Step = Callable[[Fluid, float, Ints, Ints], tuple[int, float]]


def _stepper(flows: int) -> Step:
    if flows < COMPILED_FLOWS:
        return advance
    return kernels.compiled("advance") if kernels.available() else advance_whole


class _Run:
    """One table of flows on its way: routes and state for a window of them at a time.

    A window holds the flows that start next and those still under way, so a million rows need the
    memory of a few thousand. Rates are unique, so handing flows on changes nothing but last bits.
    """

    def __init__(
        self, network: Network, source: Ints, target: Ints, size: Floats, start: Floats
    ) -> None:
        count = len(size)
        self.network, self.source, self.target = network, source, target
        self.start, self.left = start, size.copy()
        self.finish = start.copy()  # when the last byte leaves
        self.bottleneck = np.full(count, -1, dtype=np.int64)
        self.latency_s, self.hops = np.zeros(count), np.zeros(count, dtype=np.int64)
        self.order = np.argsort(start, kind="stable")
        self.done, self.reported_s = 0, 0.0

    def all(self, progress: Progress | None) -> None:
        """Send everything."""
        import simpy

        first = float(self.start[self.order[0]]) if len(self.order) else 0.0
        env = simpy.Environment(initial_time=first)
        env.process(self._windows(env, progress))
        env.run()

    def _windows(
        self, env: simpy.Environment, progress: Progress | None
    ) -> Generator[simpy.Event, object, None]:
        step = _stepper(len(self.order))
        begins = self.start[self.order]
        carried = np.zeros(0, dtype=np.int64)
        at, clock_s = 0, -math.inf
        while at < len(begins):
            stop = min(at + WINDOW, len(begins))
            stop = int(np.searchsorted(begins, begins[stop - 1] * (1 + SAME_TIME), side="right"))
            ids = np.concatenate([carried, self.order[at:stop]])
            table = _routes(self.network, self.source[ids], self.target[ids])
            self.latency_s[ids], self.hops[ids] = table.latency_s, table.hops
            state = make_fluid(
                table.indptr, table.links, table.fractions, self.network.capacity, self.left[ids]
            )
            until = float(begins[stop]) if stop < len(begins) else math.inf
            moves = (self.left[ids] > 0) & (np.diff(table.indptr) > 0)
            self.done += int((~moves).sum())
            starts = np.maximum(self.start[ids], clock_s)
            yield from self._window(env, state, step, ids, starts, moves, until, progress)
            self.bottleneck[ids] = np.where(moves, state.bottleneck, self.bottleneck[ids])
            under_way = state.active[: state.counts[0]]
            carried = ids[under_way]
            spent = until - state.since[under_way]
            self.left[carried] = np.maximum(
                0.0, state.left[under_way] - state.rate[under_way] * spent
            )
            at, clock_s = stop, until
        if progress is not None:
            progress(len(begins), len(begins))

    def _window(
        self,
        env: simpy.Environment,
        state: Fluid,
        step: Step,
        ids: Ints,
        starts: Floats,
        moves: Bools,
        until: float,
        progress: Progress | None,
    ) -> Generator[simpy.Event, object, None]:
        """Start flows in order, let them end, and share anew at each change, up to `until`."""
        moving = np.flatnonzero(moves)
        order = moving[np.argsort(starts[moving], kind="stable")]
        begins = starts[order]
        ended = np.zeros(max(1, len(order)), dtype=np.int64)
        none = np.zeros(0, dtype=np.int64)
        next_start, next_end = 0, math.inf
        while next_start < len(order) or next_end < math.inf:
            arrival = float(begins[next_start]) if next_start < len(order) else math.inf
            moment = min(arrival, next_end)
            if moment > until * (1 + SAME_TIME):
                break
            if moment > env.now:
                yield env.timeout(moment - env.now)
            starting = none
            if arrival <= moment * (1 + SAME_TIME):
                upto = int(np.searchsorted(begins, moment * (1 + SAME_TIME), side="right"))
                starting, next_start = order[next_start:upto], upto
            count, next_end = step(state, moment, starting, ended)
            self.finish[ids[ended[:count]]] = moment
            self.done += count
            if progress is not None and time.monotonic() - self.reported_s > REPORT_EVERY_S:
                progress(self.done, len(self.order))
                self.reported_s = time.monotonic()


def advance_whole(state: Fluid, now: float, starts: Ints, ended: Ints) -> tuple[int, float]:
    """Like `fluid.advance`, by a whole new solution in numpy: for machines without numba."""
    s = state
    active = s.active[: s.counts[0]]
    s.left[active] = np.maximum(0.0, s.left[active] - s.rate[active] * (now - s.since[active]))
    s.since[active] = now
    due = s.finish[active] <= now + SAME_TIME * abs(now)
    gone = active[due]
    ended[: len(gone)] = gone
    s.left[gone] = 0.0
    active = np.concatenate([active[~due], starts])
    s.since[starts] = now
    s.counts[0] = len(active)
    s.active[: len(active)] = active
    if not len(active):
        return len(gone), math.inf
    sizes = s.indptr[active + 1] - s.indptr[active]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    entries = np.repeat(s.indptr[active] - indptr[:-1], sizes) + np.arange(indptr[-1])
    links, parts = s.links[entries], s.fractions[entries]
    rates = fair_rates(indptr, links, parts, s.capacity)
    load = np.bincount(links, parts * np.repeat(rates, sizes), minlength=len(s.capacity))
    # The link that holds a flow back is the relatively fullest of those that it crosses.
    use = np.where(parts > 0, (load / s.capacity)[links], -1.0)
    best = np.repeat(np.maximum.reduceat(use, indptr[:-1]), sizes)
    hit = np.flatnonzero(use >= best)
    flow = np.repeat(np.arange(len(active)), sizes)[hit]
    s.bottleneck[active[flow[::-1]]] = links[hit[::-1]]
    s.rate[active] = rates
    s.finish[active] = now + s.left[active] / rates
    return len(gone), float(s.finish[active].min())


class Traffic:
    """Flows that other SimPy processes ask for while they run.

    Examples
    --------
    >>> import networkx as nx, simpy
    >>> from rackmodel.network.graph import Network
    >>> graph = nx.Graph()
    >>> graph.add_edge("a", "b", bytes_per_s=2.0)
    >>> env = simpy.Environment()
    >>> env.run(until=Traffic(env, Network.from_graph(graph)).carry("a", "b", 6.0))
    >>> env.now
    3.0
    """

    def __init__(self, env: simpy.Environment, network: Network) -> None:
        self.env, self.network = env, network
        self._flows: dict[int, tuple[Any, float, float]] = {}  # id: event, bytes left, rate
        self._rows: dict[int, Any] = {}
        self._settled_s, self._version, self._dirty, self._next_id = float(env.now), 0, False, 0

    def carry(self, source: Hashable, target: Hashable, byte_count: float) -> simpy.Event:
        """Send bytes from node to node; the event fires when the last one has arrived.

        Raises
        ------
        UnknownName, InvalidInput, NoRoute
            For nodes or sizes that are not sensible, and pairs that no links join.
        """
        if not math.isfinite(byte_count) or byte_count < 0:
            raise InvalidInput(f"bytes must be finite and not negative, got {byte_count!r}")
        route = self.network.route(self.network.node(source), self.network.node(target))
        arrived = self.env.event()
        if byte_count == 0 or not len(route.links):
            arrived.succeed()
            return arrived
        self._settle()
        self._flows[self._next_id] = (arrived, float(byte_count), 0.0)
        self._rows[self._next_id] = route
        self._next_id += 1
        self._mark()
        return arrived

    def _mark(self) -> None:
        """Solve once at this instant, after everything else that happens in it."""
        if not self._dirty:
            self._dirty = True
            late = self.env.event()
            late._ok, late._value = True, None
            assert late.callbacks is not None
            late.callbacks.append(lambda _: self._solve())
            self.env.schedule(late, priority=LATE)

    def _settle(self) -> None:
        spent = self.env.now - self._settled_s
        if spent > 0:
            for k, (arrived, left, rate) in self._flows.items():
                self._flows[k] = (arrived, max(0.0, left - rate * spent), rate)
            self._settled_s = float(self.env.now)

    def _solve(self) -> None:
        self._dirty = False
        self._version += 1
        if not self._flows:
            return
        ids = list(self._flows)
        rows = [self._rows[k] for k in ids]
        indptr = np.concatenate([[0], np.cumsum([len(row.links) for row in rows])]).astype(np.int64)
        links = np.concatenate([row.links for row in rows])
        parts = np.concatenate([row.fractions for row in rows])
        rates = fair_rates(indptr, links, parts, self.network.capacity).tolist()
        soonest = math.inf
        for k, rate in zip(ids, rates, strict=True):
            arrived, left, _ = self._flows[k]
            self._flows[k] = (arrived, left, rate)
            soonest = min(soonest, left / rate)
        version = self._version
        timer = self.env.timeout(soonest)
        assert timer.callbacks is not None
        timer.callbacks.append(lambda _: self._end(version))

    def _deliver(
        self, arrived: simpy.Event, latency_s: float
    ) -> Generator[simpy.Event, object, None]:
        yield self.env.timeout(latency_s)
        arrived.succeed()

    def _end(self, version: int) -> None:
        if version != self._version:
            return  # a later solution has its own timer
        self._settle()
        for k, (arrived, left, rate) in list(self._flows.items()):
            if left <= rate * SAME_TIME * max(abs(self.env.now), 1e-12):
                del self._flows[k]
                latency = self._rows.pop(k).latency_s
                if latency > 0:
                    self.env.process(self._deliver(arrived, latency))
                else:
                    arrived.succeed()
        self._mark()


__all__ = ["NoRoute", "Traffic", "advance_whole", "simulate_flows"]
