"""Flows under way as arrays, for tables of thousands: who shares which link now, who ends next.

In:  flows as sparse rows (links, fractions) with their bytes; the instants at which they start.
Out: after every change, the rates that max-min fairness gives and the instant of the next end.
Left out: the clock; `flow_table` turns it. The same as `fluid`, compiled by numba (extra `fast`):
     import this module only where it is installed.

A change re-solves only what it reaches: the flows that share a full link with a changed flow, and
so on. Links outside that set keep their flows and rates, so the union is the max-min solution
again: each flow outside keeps its full link, each flow inside has one in the part that was solved,
and a link that becomes full only now is pulled in and solved again.
"""

import heapq
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np

from rackmodel.network.arrays import Ints
from rackmodel.network.flow_state import SAME_TIME, State

FULL = 1e-9  # a link counts as full when this part or less of it is spare
Work = TypeVar("Work", bound=Callable[..., Any])
Numbers: TypeAlias = list[np.int64]  # of flows or links


def jit(work: Work) -> Work:
    """Compile a function of arrays on first use; the result is kept on disk."""
    return cast(Work, numba.njit(cache=True, nogil=True)(work))


@jit
def _end(s: State, now: float, ended: Ints, reach: Numbers) -> int:
    """Take out the flows that are due; their full links have to be solved again."""
    done = 0
    k = 0
    while k < s.counts[0]:
        f = s.active[k]
        if s.finish[f] > now + SAME_TIME * abs(now):
            k += 1
            continue
        ended[done] = f
        done += 1
        s.counts[0] -= 1
        s.active[k] = s.active[s.counts[0]]
        s.left[f] = 0.0
        for e in range(s.indptr[f], s.indptr[f + 1]):
            link = s.links[e]
            if s.before[e] >= 0:
                s.after[s.before[e]] = s.after[e]
            else:
                s.first[link] = s.after[e]
            if s.after[e] >= 0:
                s.before[s.after[e]] = s.before[e]
            if s.full[link]:
                reach.append(link)
    return done


@jit
def _start(s: State, now: float, starts: Ints, flows: Numbers) -> None:
    """Put the flows that start on their links."""
    for f in starts:
        s.active[s.counts[0]] = f
        s.counts[0] += 1
        s.since[f] = now
        s.flow_mark[f] = s.counts[1]
        flows.append(f)
        for e in range(s.indptr[f], s.indptr[f + 1]):
            link = s.links[e]
            s.before[e] = -1
            s.after[e] = s.first[link]
            if s.first[link] >= 0:
                s.before[s.first[link]] = e
            s.first[link] = e


@jit
def _add_users(s: State, link: np.int64, flows: Numbers) -> None:
    """Add the flows on a link to those that are solved."""
    e = s.first[link]
    while e >= 0:
        f = s.owner[e]
        if s.flow_mark[f] != s.counts[1]:
            s.flow_mark[f] = s.counts[1]
            flows.append(f)
        e = s.after[e]


@jit
def _gather(s: State, flows: Numbers, grown: int, touched: Numbers) -> int:
    """Add the links of flows from number `grown` on, and who shares a full one with them."""
    while grown < len(flows):
        f = flows[grown]
        grown += 1
        for e in range(s.indptr[f], s.indptr[f + 1]):
            link = s.links[e]
            if s.link_mark[link] != s.counts[1] and s.fractions[e] > 0:
                s.link_mark[link] = s.counts[1]
                touched.append(link)
                if s.full[link]:
                    _add_users(s, link, flows)
    return grown


@jit
def _measure(s: State, link: np.int64) -> None:
    """Tell what is spare on a link beside flows outside the solve, and what those inside ask."""
    demand, outside, growing = 0.0, 0.0, 0
    e = s.first[link]
    while e >= 0:
        f = s.owner[e]
        if s.flow_mark[f] != s.counts[1]:
            outside += s.fractions[e] * s.rate[f]
        elif s.fractions[e] > 0:
            demand += s.fractions[e]
            growing += 1
        e = s.after[e]
    s.demand[link] = demand
    s.outside[link] = outside
    s.growing[link] = growing
    s.spare[link] = max(0.0, s.capacity[link] - outside)


@jit
def _hold(s: State, f: np.int64, rate: float) -> None:
    """Give a flow its rate and take it off its links."""
    s.new_rate[f] = rate
    for e in range(s.indptr[f], s.indptr[f + 1]):
        if s.fractions[e] > 0:
            link = s.links[e]
            s.growing[link] -= 1
            if s.growing[link] > 0:
                s.demand[link] = max(s.demand[link] - s.fractions[e], 1e-300)
            s.spare[link] = max(0.0, s.spare[link] - rate * s.fractions[e])


@jit
def _fill(s: State, flows: Numbers, touched: Numbers) -> None:
    """Fill the tightest link first; one whose level has grown since it was noted is put back."""
    heap = [(0.0, np.int64(0)) for _ in range(0)]
    for link in touched:
        _measure(s, link)
        if s.growing[link] > 0:
            heap.append((s.spare[link] / s.demand[link], link))
    for f in flows:
        s.new_rate[f] = -1.0
    heapq.heapify(heap)
    while len(heap) > 0:
        level, link = heapq.heappop(heap)
        if s.growing[link] == 0:
            continue
        current = s.spare[link] / s.demand[link]
        if current > level * (1 + 1e-12):
            heapq.heappush(heap, (current, link))
            continue
        e = s.first[link]
        while e >= 0:
            f = s.owner[e]
            if s.flow_mark[f] == s.counts[1] and s.new_rate[f] < 0 and s.fractions[e] > 0:
                s.bottleneck[f] = link
                _hold(s, f, current)
            e = s.after[e]


@jit
def advance(s: State, now: float, starts: Ints, ended: Ints) -> tuple[int, float]:
    """End what is due at `now`, start `starts`, share anew.

    Writes the flows that ended to `ended`; returns their number and the instant of the next end.
    """
    reach = [np.int64(0) for _ in range(0)]  # links whose flows must be solved again
    flows = [np.int64(0) for _ in range(0)]
    touched = [np.int64(0) for _ in range(0)]
    done = _end(s, now, ended, reach)
    s.counts[1] += 1
    _start(s, now, starts, flows)
    for link in reach:
        if s.first[link] < 0:
            s.full[link] = False
    grown = 0
    while True:
        while len(reach) > 0:
            _add_users(s, reach.pop(), flows)
        grown = _gather(s, flows, grown, touched)
        _fill(s, flows, touched)
        # A link that is full only now drags in those of its flows that were left out.
        for link in touched:
            s.full[link] = s.spare[link] <= FULL * s.capacity[link]
            if s.full[link] and s.outside[link] > 0:
                reach.append(link)
        if len(reach) == 0:
            break
    for f in flows:
        rate = s.new_rate[f] if s.new_rate[f] >= 0 else np.inf
        if rate != s.rate[f] or s.since[f] == now:
            s.left[f] = max(0.0, s.left[f] - s.rate[f] * (now - s.since[f]))
            s.since[f] = now
            s.rate[f] = rate
            s.finish[f] = now + s.left[f] / rate
    soonest = np.inf
    for k in range(s.counts[0]):
        soonest = min(soonest, s.finish[s.active[k]])
    return done, soonest
