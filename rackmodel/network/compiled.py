"""Flows under way as arrays, for tables of thousands: who shares which link now, who ends next.

In:  flows as sparse rows (links, fractions) with their bytes; the instants at which they start.
Out: when each ends; after every change, the rates that max-min fairness gives.
Left out: routes, windows (`flow_table`). The same as `fluid`, compiled by numba (extra `fast`).

A change re-solves only what it reaches: the flows that share a full link with a changed flow, and
so on. Links outside that set keep their flows and rates, so the union is the max-min solution
again: each flow outside keeps its full link, each flow inside has one in the part that was solved,
and a link that becomes full only now is pulled in and solved again.
"""

import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.network.flow_state import (
    ACTIVE,
    FLOWS,
    HEAP,
    REACH,
    SAME_TIME,
    SOLVES,
    TOUCHED,
    State,
)
from rackmodel.network.machine_code import Whole, part

FULL = 1e-9  # a link counts as full when this part or less of it is spare
NEXT, MOST = range(2)  # of `places`: the flow that starts next, changes to go through
SOONEST, UNTIL = range(2)  # of `clock`: the next end, where to stop


@part
def _end(s: State, now: float, done: int, ended: Ints, ended_s: Floats) -> int:
    """Take out the flows that are due; their full links have to be solved again."""
    k = 0
    while k < s.counts[ACTIVE]:
        f = s.active[k]
        if s.finish[f] > now + SAME_TIME * abs(now):
            k += 1
            continue
        ended[done], ended_s[done] = f, now
        done += 1
        s.counts[ACTIVE] -= 1
        s.active[k] = s.active[s.counts[ACTIVE]]
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
                s.reach[s.counts[REACH]] = link
                s.counts[REACH] += 1
    return done


@part
def _solve_for(s: State, f: np.int64) -> None:
    """Add a flow to those that are solved."""
    s.flow_mark[f] = s.counts[SOLVES]
    s.flows[s.counts[FLOWS]] = f
    s.counts[FLOWS] += 1


@part
def _start(s: State, now: float, starts: Ints) -> None:
    """Put the flows that start on their links."""
    for f in starts:
        s.active[s.counts[ACTIVE]] = f
        s.counts[ACTIVE] += 1
        s.since[f] = now
        _solve_for(s, f)
        for e in range(s.indptr[f], s.indptr[f + 1]):
            link = s.links[e]
            s.before[e] = -1
            s.after[e] = s.first[link]
            if s.first[link] >= 0:
                s.before[s.first[link]] = e
            s.first[link] = e


@part
def _add_users(s: State, link: np.int64) -> None:
    """Add the flows on a link to those that are solved."""
    e = s.first[link]
    while e >= 0:
        f = s.owner[e]
        if s.flow_mark[f] != s.counts[SOLVES]:
            _solve_for(s, f)
        e = s.after[e]


@part
def _gather(s: State, grown: int) -> int:
    """Add the links of flows from number `grown` on, and who shares a full one with them."""
    while grown < s.counts[FLOWS]:
        f = s.flows[grown]
        grown += 1
        for e in range(s.indptr[f], s.indptr[f + 1]):
            link = s.links[e]
            if s.link_mark[link] != s.counts[SOLVES] and s.fractions[e] > 0:
                s.link_mark[link] = s.counts[SOLVES]
                s.touched[s.counts[TOUCHED]] = link
                s.counts[TOUCHED] += 1
                if s.full[link]:
                    _add_users(s, link)
    return grown


@part
def _measure(s: State, link: np.int64) -> None:
    """Tell what is spare on a link beside flows outside the solve, and what those inside ask."""
    demand, outside, growing = 0.0, 0.0, 0
    e = s.first[link]
    while e >= 0:
        f = s.owner[e]
        if s.flow_mark[f] != s.counts[SOLVES]:
            outside += s.fractions[e] * s.rate[f]
        elif s.fractions[e] > 0:
            demand += s.fractions[e]
            growing += 1
        e = s.after[e]
    s.demand[link] = demand
    s.outside[link] = outside
    s.growing[link] = growing
    s.spare[link] = max(0.0, s.capacity[link] - outside)


@part
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


@part
def _before(s: State, level: float, link: np.int64, at: np.int64) -> bool:
    """Whether a link is filled before the one at a place of the heap."""
    other = s.levels[at]
    return bool(level < other or (level == other and link < s.heap[at]))


@part
def _push(s: State, level: float, link: np.int64) -> None:
    """Put a link onto the heap, by level, then by number."""
    at = s.counts[HEAP]
    s.counts[HEAP] += 1
    while at > 0:
        up = (at - 1) >> 1
        if not _before(s, level, link, up):
            break
        s.levels[at], s.heap[at] = s.levels[up], s.heap[up]
        at = up
    s.levels[at], s.heap[at] = level, link


@part
def _drop_first(s: State) -> None:
    """Take the first link off the heap."""
    last = s.counts[HEAP] - 1
    s.counts[HEAP] = last
    level, link = s.levels[last], s.heap[last]
    at = np.int64(0)
    while True:
        down = 2 * at + 1
        if down >= last:
            break
        if down + 1 < last and _before(s, s.levels[down + 1], s.heap[down + 1], down):
            down += 1
        if _before(s, level, link, down):
            break
        s.levels[at], s.heap[at] = s.levels[down], s.heap[down]
        at = down
    s.levels[at], s.heap[at] = level, link


@part
def _fill(s: State) -> None:
    """Fill the tightest link first; one whose level has grown since it was noted is put back."""
    s.counts[HEAP] = 0
    for k in range(s.counts[TOUCHED]):
        link = s.touched[k]
        _measure(s, link)
        if s.growing[link] > 0:
            _push(s, s.spare[link] / s.demand[link], link)
    for k in range(s.counts[FLOWS]):
        s.new_rate[s.flows[k]] = -1.0
    while s.counts[HEAP] > 0:
        level, link = s.levels[0], s.heap[0]
        _drop_first(s)
        if s.growing[link] == 0:
            continue
        current = s.spare[link] / s.demand[link]
        if current > level * (1 + 1e-12):
            _push(s, current, link)
            continue
        e = s.first[link]
        while e >= 0:
            f = s.owner[e]
            if s.flow_mark[f] == s.counts[SOLVES] and s.new_rate[f] < 0 and s.fractions[e] > 0:
                s.bottleneck[f] = link
                _hold(s, f, current)
            e = s.after[e]


@part
def _share(s: State) -> None:
    """Share anew what the flows of this solve and all that they reach cross."""
    for k in range(s.counts[REACH]):
        if s.first[s.reach[k]] < 0:
            s.full[s.reach[k]] = False
    grown = 0
    while True:
        while s.counts[REACH] > 0:
            s.counts[REACH] -= 1
            _add_users(s, s.reach[s.counts[REACH]])
        grown = _gather(s, grown)
        _fill(s)
        # A link that is full only now drags in those of its flows that were left out.
        for k in range(s.counts[TOUCHED]):
            link = s.touched[k]
            s.full[link] = s.spare[link] <= FULL * s.capacity[link]
            if s.full[link] and s.outside[link] > 0:
                s.reach[s.counts[REACH]] = link
                s.counts[REACH] += 1
        if s.counts[REACH] == 0:
            return


@part
def _change(
    s: State, now: float, starts: Ints, done: int, ended: Ints, ended_s: Floats
) -> tuple[int, float]:
    """End what is due at `now`, start `starts`, share anew.

    Returns how many have ended with those before, and the instant of the next end.
    """
    s.counts[REACH] = s.counts[FLOWS] = s.counts[TOUCHED] = 0
    done = _end(s, now, done, ended, ended_s)
    s.counts[SOLVES] += 1
    _start(s, now, starts)
    _share(s)
    for k in range(s.counts[FLOWS]):
        f = s.flows[k]
        rate = s.new_rate[f] if s.new_rate[f] >= 0 else np.inf
        if rate != s.rate[f] or s.since[f] == now:
            s.left[f] = max(0.0, s.left[f] - s.rate[f] * (now - s.since[f]))
            s.since[f] = now
            s.rate[f] = rate
            s.finish[f] = now + s.left[f] / rate
    soonest = np.inf
    for k in range(s.counts[ACTIVE]):
        soonest = min(soonest, s.finish[s.active[k]])
    return done, soonest


def carried(
    s: State,
    flows: Ints,
    begins: Floats,
    places: Ints,
    clock: Floats,
    ended: Ints,
    ended_s: Floats,
) -> int:
    """Start flows in order, share anew at each change, until no more may come or so many have been.

    Writes the flows that ended, and when; returns their number. What is left to do stands in
    `places` and `clock`.
    """
    done, late = 0, 1 + SAME_TIME
    while places[MOST] > 0:
        begin = places[NEXT]
        arrival = begins[begin] if begin < len(flows) else np.inf
        now = min(arrival, clock[SOONEST])
        if now == np.inf or now > clock[UNTIL] * late:
            break
        end = begin
        while end < len(flows) and begins[end] <= now * late:
            end += 1
        places[NEXT] = end
        places[MOST] -= 1
        done, clock[SOONEST] = _change(s, now, flows[begin:end], done, ended, ended_s)
    return done


OWN = ("compiled", "flow_state")
carry = Whole(carried, [f"rackmodel.network.{name}" for name in OWN])
