"""Flows that start and end at any time, under SimPy.

In:  a network; flows with bytes and start times (a frame), or asked for while a simulation runs.
Out: when each ends: a frame with `finish_s`, or a SimPy event.
Left out: packets, queues, congestion control; rates are max-min fair at every instant.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Hashable
from functools import partial

import numpy as np

from rackmodel.annotations import DataFrame, Environment, Event
from rackmodel.columns import Bools, Floats, Ints
from rackmodel.errors import InvalidInput
from rackmodel.network.flow_state import ACTIVE, SAME_TIME, State, make_state
from rackmodel.network.fluid import FluidNetwork, Moving, Row
from rackmodel.network.graph import Network
from rackmodel.network.routing import RouteTable
from rackmodel.network.sharing import NUMBA, fair_rates

Progress = Callable[[int, int], None]

COLUMNS = ("source", "target", "bytes", "start_s")
LARGE_TABLE = 200  # flows from which on arrays beat events, and compiled code repays its loading
REPORT_EVERY_S = 0.2
AT_ONCE = 10_000  # changes of compiled code before progress is told
WINDOW = 20_000  # flows that are routed and held at a time, besides those under way


def simulate_flows(
    network: Network, frame: DataFrame, *, progress: Progress | None = None
) -> DataFrame:
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


def _checked(network: Network, frame: DataFrame) -> tuple[Ints, Ints, Floats, Floats]:
    if missing := [c for c in COLUMNS[:3] if c not in frame.columns]:
        raise InvalidInput(
            f"flows: column {missing[0]!r} is missing; give it (expected: {', '.join(COLUMNS)})"
        )
    ends = [_nodes(network, frame[column].tolist()) for column in ("source", "target")]
    size = _numbers(frame, "bytes")
    start = _numbers(frame, "start_s") if "start_s" in frame.columns else np.zeros(len(frame))
    return ends[0], ends[1], size, start


def _nodes(network: Network, names: list[Hashable]) -> Ints:
    known = {name: network.node(name) for name in dict.fromkeys(names)}
    return np.array([known[name] for name in names], dtype=np.int64)


def _numbers(frame: DataFrame, column: str) -> Floats:
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


def _routes(network: Network, source: Ints, target: Ints) -> RouteTable:
    """Route each distinct pair once, then repeat rows."""
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


def _row(links: Ints, fractions: Floats) -> Row:
    entries = zip(links.tolist(), fractions.tolist(), strict=True)
    return [(link, part) for link, part in entries if part > 0]


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
        self.progress: Progress | None = None

    def all(self, progress: Progress | None) -> None:
        """Send everything."""
        self.progress = progress
        begins = self.start[self.order]
        carry_on = self._by_arrays if len(begins) >= LARGE_TABLE else self._by_events
        carry_on(begins)
        if progress is not None:
            progress(len(begins), len(begins))

    def _end(self, flows: Ints, now: float | Floats) -> None:
        self.finish[flows] = now
        self.done += len(flows)
        if self.progress is not None and time.monotonic() - self.reported_s > REPORT_EVERY_S:
            self.progress(self.done, len(self.order))
            self.reported_s = time.monotonic()

    def _window(self, ids: Ints) -> tuple[RouteTable, Bools]:
        """Return the routes of some flows, and which of them move at all."""
        table = _routes(self.network, self.source[ids], self.target[ids])
        self.latency_s[ids], self.hops[ids] = table.latency_s, table.hops
        moves = (self.left[ids] > 0) & (np.diff(table.indptr) > 0)
        self.done += int((~moves).sum())
        return table, moves

    def _by_events(self, begins: Floats) -> None:
        """Let flows start one after another under SimPy."""
        import simpy

        if not len(begins):
            return
        env = simpy.Environment(initial_time=float(begins[0]))
        rows: dict[int, Row] = {}
        no_cap = [math.inf] * len(begins)
        fluid = FluidNetwork(env, rows, self.network.capacity.tolist(), no_cap)
        moving: dict[int, Moving] = {}

        def arrived(flow: int) -> None:
            self.bottleneck[flow] = moving.pop(flow).held
            del rows[flow]
            self._end(np.array([flow]), env.now)

        def send() -> Generator[Event, object, None]:
            for at in range(0, len(begins), WINDOW):
                ids = self.order[at : at + WINDOW]
                table, moves = self._window(ids)
                for k in np.flatnonzero(moves).tolist():
                    flow, row = int(ids[k]), slice(table.indptr[k], table.indptr[k + 1])
                    if self.start[flow] > env.now:
                        yield env.timeout(self.start[flow] - env.now)
                    rows[flow] = _row(table.links[row], table.fractions[row])
                    size = float(self.left[flow])
                    (moving[flow],) = fluid.start([(flow, size)], partial(arrived, flow))

        env.process(send())
        env.run()

    def _by_arrays(self, begins: Floats) -> None:
        """Let flows start window by window, all under way in arrays."""
        carried = np.zeros(0, dtype=np.int64)
        at, clock_s = 0, -math.inf
        while at < len(begins):
            stop = min(at + WINDOW, len(begins))
            stop = int(np.searchsorted(begins, begins[stop - 1] * (1 + SAME_TIME), side="right"))
            ids = np.concatenate([carried, self.order[at:stop]])
            table, moves = self._window(ids)
            state = make_state(
                table.indptr, table.links, table.fractions, self.network.capacity, self.left[ids]
            )
            until = float(begins[stop]) if stop < len(begins) else math.inf
            moving = np.flatnonzero(moves)
            starts = np.maximum(self.start[ids], clock_s)[moving]
            order = np.argsort(starts, kind="stable")
            ends = _ends if NUMBA else _ends_whole
            for now, ended in ends(state, moving[order], starts[order], until):
                self._end(ids[ended], now)
            self.bottleneck[ids] = np.where(moves, state.bottleneck, self.bottleneck[ids])
            under_way = state.active[: state.counts[ACTIVE]]
            carried = ids[under_way]
            spent = until - state.since[under_way]
            self.left[carried] = np.maximum(
                0.0, state.left[under_way] - state.rate[under_way] * spent
            )
            at, clock_s = stop, until


def _ends(
    state: State, flows: Ints, begins: Floats, until: float
) -> Generator[tuple[Floats, Ints], None, None]:
    """Start flows in order, share anew at each change, yield those that end, up to `until`."""
    from rackmodel.network.compiled import MOST, NEXT, SOONEST, carry

    ended, ended_s = np.zeros(len(flows), dtype=np.int64), np.zeros(len(flows))
    places, clock = np.zeros(2, dtype=np.int64), np.array([math.inf, until])
    going = carry.on(state, flows, begins, places, clock, ended, ended_s)
    while places[MOST] == 0 and (places[NEXT] < len(flows) or clock[SOONEST] < math.inf):
        places[MOST] = AT_ONCE
        count = going()
        yield ended_s[:count], ended[:count]


def _ends_whole(
    state: State, flows: Ints, begins: Floats, until: float
) -> Generator[tuple[float, Ints], None, None]:
    """Do what `_ends` does, by a whole new solution in numpy at each change."""
    ended, none = np.zeros(max(1, len(flows)), dtype=np.int64), np.zeros(0, dtype=np.int64)
    next_start, next_end = 0, math.inf
    while next_start < len(flows) or next_end < math.inf:
        arrival = float(begins[next_start]) if next_start < len(flows) else math.inf
        now = min(arrival, next_end)
        if now > until * (1 + SAME_TIME):
            break
        starting = none
        if arrival <= now * (1 + SAME_TIME):
            upto = int(np.searchsorted(begins, now * (1 + SAME_TIME), side="right"))
            starting, next_start = flows[next_start:upto], upto
        count, next_end = advance_whole(state, now, starting, ended)
        yield now, ended[:count]


def advance_whole(s: State, now: float, starts: Ints, ended: Ints) -> tuple[int, float]:
    """End what is due at `now`, start `starts`, share anew; how many ended, the next end."""
    active = s.active[: s.counts[ACTIVE]]
    s.left[active] = np.maximum(0.0, s.left[active] - s.rate[active] * (now - s.since[active]))
    s.since[active] = now
    due = s.finish[active] <= now + SAME_TIME * abs(now)
    gone = active[due]
    ended[: len(gone)] = gone
    s.left[gone] = 0.0
    active = np.concatenate([active[~due], starts])
    s.since[starts] = now
    s.counts[ACTIVE] = len(active)
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

    def __init__(self, env: Environment, network: Network) -> None:
        """Carry nothing yet."""
        self.env, self.network = env, network
        self._rows: list[Row] = []
        self._caps: list[float] = []
        self._class_of: dict[tuple[int, int], int] = {}  # pair of nodes: its flow class
        self._fluid = FluidNetwork(env, self._rows, network.capacity.tolist(), self._caps)

    def carry(self, source: Hashable, target: Hashable, byte_count: float) -> Event:
        """Send bytes from node to node; the event fires when the last one has arrived.

        Raises
        ------
        UnknownName, InvalidInput, NoRoute
            For nodes or sizes that are not sensible, and pairs that no links join.
        """
        if not math.isfinite(byte_count) or byte_count < 0:
            raise InvalidInput(f"bytes must be finite and not negative, got {byte_count!r}")
        pair = self.network.node(source), self.network.node(target)
        route = self.network.route(*pair)
        arrived = self.env.event()
        if byte_count == 0 or not len(route.links):
            arrived.succeed()
            return arrived
        flow = self._class_of.setdefault(pair, len(self._rows))
        if flow == len(self._rows):
            self._rows.append(_row(route.links, route.fractions))
            self._caps.append(math.inf)

        def arrive(_: object = None) -> None:
            arrived.succeed()

        def deliver() -> None:
            if route.latency_s > 0:
                self.env.timeout(route.latency_s).callbacks.append(arrive)
            else:
                arrive()

        self._fluid.start([(flow, float(byte_count))], deliver)
        return arrived
