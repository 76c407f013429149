"""Flows under way as arrays.

In:  flows as sparse rows (links, fractions) with their bytes.
Out: `State`, before anything has started.
Left out: who starts and ends when (`flow_table`), rates (`compiled`, `sharing`).
"""

from typing import NamedTuple

import numpy as np

from rackmodel.columns import Bools, Floats, Ints

# of `State.counts`: flows under way, solves so far; used of `flows`, `touched`, `reach`, `heap`
ACTIVE, SOLVES, FLOWS, TOUCHED, REACH, HEAP = range(6)
SAME_TIME = 1e-12  # ends that are closer than this part of the clock are one event


class State(NamedTuple):
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
    active: Ints  # int[F], the first `counts[ACTIVE]` are flows under way
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
    flows: Ints  # int[F], those that are solved
    touched: Ints  # int[L], their links
    reach: Ints  # int[E + L], links whose flows must be solved again
    levels: Floats  # float[L], heap of links by level
    heap: Ints  # int[L]
    counts: Ints  # int[6]


def make_state(
    indptr: Ints, links: Ints, fractions: Floats, capacity: Floats, left: Floats
) -> State:
    """Return the state before anything has started; `left` holds the bytes of each flow."""
    flows, entries, link_count = len(left), len(links), len(capacity)

    def ints(size: int, value: int = 0) -> Ints:
        return np.full(size, value, dtype=np.int64)

    return State(
        indptr=np.ascontiguousarray(indptr, dtype=np.int64),
        links=np.ascontiguousarray(links, dtype=np.int64),
        fractions=np.ascontiguousarray(fractions, dtype=np.float64),
        capacity=np.ascontiguousarray(capacity, dtype=np.float64),
        left=np.array(left, dtype=np.float64),
        rate=np.zeros(flows),
        since=np.zeros(flows),
        finish=np.full(flows, np.inf),
        bottleneck=ints(flows, -1),
        active=ints(flows),
        first=ints(link_count, -1),
        after=ints(entries, -1),
        before=ints(entries, -1),
        owner=np.repeat(np.arange(flows, dtype=np.int64), np.diff(indptr)),
        full=np.zeros(link_count, dtype=bool),
        flow_mark=ints(flows),
        link_mark=ints(link_count),
        demand=np.zeros(link_count),
        spare=np.zeros(link_count),
        growing=ints(link_count),
        outside=np.zeros(link_count),
        new_rate=np.zeros(flows),
        flows=ints(flows),
        touched=ints(link_count),
        reach=ints(entries + link_count),
        levels=np.zeros(link_count),
        heap=ints(link_count),
        counts=ints(6),
    )
