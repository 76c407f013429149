"""Flows under way: who shares which link now, and who ends next.

In:  flows as sparse rows (links, fractions) with their bytes; the instants at which they start.
Out: after every change, the rates that max-min fairness gives and the instant of the next end.
Left out: the clock and its events; `traffic` turns it under SimPy.

A change re-solves only what it reaches: the flows that share a full link with a changed flow, and
so on. Links outside that set keep their flows and rates, so the union is the max-min solution
again: each flow outside keeps its full link, each flow inside has one in the part that was solved,
and a link that becomes full only now is pulled in and solved again.
"""

import heapq
from typing import NamedTuple

import numpy as np

from rackmodel.network.arrays import Bools, Floats, Ints

FULL = 1e-9  # a link counts as full when this part or less of it is spare
SAME_TIME = 1e-12  # ends that are closer than this part of the clock are one event


class Fluid(NamedTuple):
    """All state, as arrays: F flows, L links, E entries of the sparse rows."""

    indptr: Ints
    links: Ints
    fractions: Floats
    capacity: Floats
    left: Floats  # float[F], bytes left at `since`
    rate: Floats  # float[F]
    since: Floats  # float[F], when the rate last changed
    finish: Floats  # float[F], when it will end at this rate
    bottleneck: Ints  # int[F], the link that holds it back, or -1
    active: Ints  # int[F], the first `counts[0]` are flows under way
    place: Ints  # int[F], where in `active`, or -1
    first: Ints  # int[L], first entry in the link's list, or -1
    after: Ints  # int[E], next entry of the same link
    before: Ints  # int[E]
    owner: Ints  # int[E], flow of the entry
    full: Bools  # bool[L]
    flow_mark: Ints  # int[F], the last solve that the flow was part of
    link_mark: Ints  # int[L]
    demand: Floats  # float[L], scratch of one solve
    spare: Floats  # float[L]
    growing: Ints  # int[L]
    outside: Floats  # float[L], what flows outside the solve carry there
    new_rate: Floats  # float[F], -1 while it grows
    counts: Ints  # int[2]: flows under way, number of solves


def make_fluid(
    indptr: Ints, links: Ints, fractions: Floats, capacity: Floats, left: Floats
) -> Fluid:
    """Return the state before anything has started; `left` holds the bytes of each flow."""
    flows, entries, link_count = len(left), len(links), len(capacity)
    return Fluid(
        indptr=np.ascontiguousarray(indptr, dtype=np.int64),
        links=np.ascontiguousarray(links, dtype=np.int64),
        fractions=np.ascontiguousarray(fractions, dtype=np.float64),
        capacity=np.ascontiguousarray(capacity, dtype=np.float64),
        left=np.array(left, dtype=np.float64),
        rate=np.zeros(flows),
        since=np.zeros(flows),
        finish=np.full(flows, np.inf),
        bottleneck=np.full(flows, -1, dtype=np.int64),
        active=np.zeros(flows, dtype=np.int64),
        place=np.full(flows, -1, dtype=np.int64),
        first=np.full(link_count, -1, dtype=np.int64),
        after=np.full(entries, -1, dtype=np.int64),
        before=np.full(entries, -1, dtype=np.int64),
        owner=np.repeat(np.arange(flows, dtype=np.int64), np.diff(indptr)),
        full=np.zeros(link_count, dtype=bool),
        flow_mark=np.zeros(flows, dtype=np.int64),
        link_mark=np.zeros(link_count, dtype=np.int64),
        demand=np.zeros(link_count),
        spare=np.zeros(link_count),
        growing=np.zeros(link_count, dtype=np.int64),
        outside=np.zeros(link_count),
        new_rate=np.zeros(flows),
        counts=np.zeros(2, dtype=np.int64),
    )


def advance(state: Fluid, now: float, starts: Ints, ended: Ints) -> tuple[int, float]:
    """End what is due at `now`, start `starts`, share anew.

    Writes the flows that ended to `ended`; returns their number and the instant of the next end.
    """
    s = state
    reach = [np.int64(0) for _ in range(0)]  # links whose flows must be solved again
    done = 0
    k = 0
    while k < s.counts[0]:
        f = s.active[k]
        if s.finish[f] <= now + SAME_TIME * abs(now):
            ended[done] = f
            done += 1
            s.counts[0] -= 1
            last = s.active[s.counts[0]]
            s.active[k] = last
            s.place[last] = k
            s.place[f] = -1
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
        else:
            k += 1
    s.counts[1] += 1
    stamp = s.counts[1]
    flows = [np.int64(0) for _ in range(0)]
    touched = [np.int64(0) for _ in range(0)]
    for f in starts:
        s.place[f] = s.counts[0]
        s.active[s.counts[0]] = f
        s.counts[0] += 1
        s.since[f] = now
        s.flow_mark[f] = stamp
        flows.append(f)
        for e in range(s.indptr[f], s.indptr[f + 1]):
            link = s.links[e]
            s.before[e] = -1
            s.after[e] = s.first[link]
            if s.first[link] >= 0:
                s.before[s.first[link]] = e
            s.first[link] = e
    for link in reach:
        if s.first[link] < 0:
            s.full[link] = False
    grown = 0
    while True:
        # Gather the component: flows that share a full link with one that is in.
        while len(reach) > 0:
            link = reach.pop()
            e = s.first[link]
            while e >= 0:
                f = s.owner[e]
                if s.flow_mark[f] != stamp:
                    s.flow_mark[f] = stamp
                    flows.append(f)
                e = s.after[e]
        while grown < len(flows):
            f = flows[grown]
            grown += 1
            for e in range(s.indptr[f], s.indptr[f + 1]):
                link = s.links[e]
                if s.link_mark[link] == stamp or s.fractions[e] <= 0:
                    continue
                s.link_mark[link] = stamp
                touched.append(link)
                if s.full[link]:
                    e2 = s.first[link]
                    while e2 >= 0:
                        g = s.owner[e2]
                        if s.flow_mark[g] != stamp:
                            s.flow_mark[g] = stamp
                            flows.append(g)
                        e2 = s.after[e2]
        # Fill it, with what the others carry taken off the links.
        heap = [(0.0, np.int64(0)) for _ in range(0)]
        for link in touched:
            demand, outside, growing = 0.0, 0.0, 0
            e = s.first[link]
            while e >= 0:
                f = s.owner[e]
                if s.flow_mark[f] == stamp:
                    if s.fractions[e] > 0:
                        demand += s.fractions[e]
                        growing += 1
                else:
                    outside += s.fractions[e] * s.rate[f]
                e = s.after[e]
            s.demand[link] = demand
            s.outside[link] = outside
            s.growing[link] = growing
            s.spare[link] = max(0.0, s.capacity[link] - outside)
            if growing > 0:
                heap.append((s.spare[link] / demand, link))
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
                if s.flow_mark[f] == stamp and s.new_rate[f] < 0 and s.fractions[e] > 0:
                    s.new_rate[f] = current
                    s.bottleneck[f] = link
                    for e2 in range(s.indptr[f], s.indptr[f + 1]):
                        if s.fractions[e2] > 0:
                            other = s.links[e2]
                            s.growing[other] -= 1
                            if s.growing[other] > 0:
                                s.demand[other] = max(s.demand[other] - s.fractions[e2], 1e-300)
                            s.spare[other] = max(0.0, s.spare[other] - current * s.fractions[e2])
                e = s.after[e]
        # A link that is full only now drags in those of its flows that were left out.
        for link in touched:
            filled = s.spare[link] <= FULL * s.capacity[link]
            if filled and s.outside[link] > 0:
                reach.append(link)
            s.full[link] = filled
        if len(reach) == 0:
            break
    for f in flows:
        if s.new_rate[f] < 0:
            s.new_rate[f] = np.inf
        if s.new_rate[f] != s.rate[f] or s.since[f] == now:
            s.left[f] = max(0.0, s.left[f] - s.rate[f] * (now - s.since[f]))
            s.since[f] = now
            s.rate[f] = s.new_rate[f]
            s.finish[f] = now + s.left[f] / s.rate[f]
    soonest = np.inf
    for k in range(s.counts[0]):
        soonest = min(soonest, s.finish[s.active[k]])
    return done, soonest
