"""Max-min fair rates for many flows at once.

In:  flows as rows of a sparse matrix (links and fractions), capacities, own caps, weights.
Out: one rate per flow, the same to rounding by each of four ways: "reference" as the textbook tells
     it, "rows" in plain Python for small systems, "numpy", and "numba" for large ones.
Left out: time. Who starts and ends when is `fluid`'s business.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from importlib.util import find_spec
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.network.reference import TIE, max_min_rates

SMALL_ENTRIES = 2_000  # below this, plain lists beat numpy's call overhead
LARGE_ENTRIES = 20_000  # above this, compiled code repays its loading
Rows: TypeAlias = Sequence[Sequence[tuple[int, float]]]
Capacity: TypeAlias = Sequence[float] | Mapping[int, float]
NUMBA = find_spec("numba") is not None  # extra `fast`


def fair_rates(
    indptr: Ints,
    links: Ints,
    fractions: Floats,
    capacity: Floats,
    cap: Floats | None = None,
    weight: Floats | None = None,
    *,
    backend: str | None = None,
) -> Floats:
    """Share links so that no flow can speed up without slowing one that is no faster.

    Parameters
    ----------
    indptr, links, fractions : int[F + 1], int[E], float[E]
        Flow f crosses `links[indptr[f]:indptr[f + 1]]` with those fractions of its rate.
    capacity : float[L]. [bytes/s]
    cap : float[F], each flow's own limit, infinite if left out. [bytes/s]
    weight : float[F], 1 if left out; flows on one link share it by weight.
    backend : one of `BACKENDS`; by size alone if left out, so that equal inputs give equal outputs.

    Returns
    -------
    float[F] rates; infinite for a flow that crosses nothing and has no cap. [bytes/s]

    Notes
    -----
    Progressive filling (Bertsekas and Gallager, "Data Networks", 1992, sec. 6.5.2). The numpy form
    fills, in one round, every link that is the tightest of all links that its flows cross, so the
    rounds count the depth of the bottleneck structure and not the links.

    Examples
    --------
    >>> fair_rates(np.array([0, 1, 3, 4]), np.array([0, 0, 1, 1]), np.ones(4), np.array([10.0, 4]))
    array([8., 2., 2.])
    """
    flows = len(indptr) - 1
    loads, limit = np.asarray(fractions, dtype=np.float64), np.full(flows, np.inf)
    if cap is not None:
        limit = np.asarray(cap, dtype=np.float64)
    if weight is not None:  # all is reckoned per weight
        loads, limit = loads * np.repeat(weight, np.diff(indptr)), limit / weight
    if backend is None:
        large = "numba" if NUMBA and len(links) >= LARGE_ENTRIES else "numpy"
        backend = "rows" if len(links) <= SMALL_ENTRIES else large
    rates = BACKENDS[backend](indptr, links, loads, capacity, limit)
    return rates if weight is None else rates * weight


def fair_rates_rows(rows: Rows, capacity: Capacity, cap: Sequence[float]) -> list[float]:
    """Return the rates of `fill_rows`.

    Examples
    --------
    >>> fair_rates_rows([[(0, 2.0)], [(0, 1.0), (1, 1.0)]], [9.0, 2.0], [math.inf, math.inf])
    [3.5, 2.0]
    """
    return fill_rows(rows, capacity, cap)[0]


def fill_rows(
    rows: Rows, capacity: Capacity, cap: Sequence[float]
) -> tuple[list[float], list[int]]:
    """Share link classes among flow classes, in plain Python: the quickest for small systems.

    Parameters
    ----------
    rows : for each of F flow classes, (link class, load): what one representative link of the class
        carries, above 0, when every flow of the class runs at rate 1 (fractions summed over its
        flows, so it knows multiplicities).
    capacity : of one link of each class. [bytes/s]
    cap : own limit of each flow of the class. [bytes/s]

    Returns
    -------
    F rates, of every flow of the class [bytes/s], and the link class that holds each back, -1 for
    its own cap.

    Notes
    -----
    The tightest link fills first. A link's level only rises while others fill, so one that has
    grown since it was put on the heap is put back.
    """
    place: dict[int, int] = {}
    users: list[list[int]] = []
    demand: list[float] = []
    spare: list[float] = []
    for flow, row in enumerate(rows):
        for link, load in row:
            if link in place:
                at = place[link]
                users[at].append(flow)
                demand[at] += load
            else:
                place[link] = len(users)
                users.append([flow])
                demand.append(load)
                spare.append(capacity[link])
    growing = [len(flows) for flows in users]
    heap = [(spare[at] / demand[at], link, at) for link, at in place.items()]  # ties by number
    heapify(heap)
    level_of, held_by = list(cap), [-1] * len(rows)
    capped = sorted((limit, flow) for flow, limit in enumerate(level_of) if limit < math.inf)
    next_cap, waiting = 0, [bool(row) for row in rows]
    left = sum(waiting)
    while left:
        level, by, at = heap[0]
        if not growing[at]:
            heappop(heap)
            continue
        room = spare[at]
        now = room / demand[at] if room > 0 else 0.0  # rounding can dip below 0
        if now > level:
            heapreplace(heap, (now, by, at))
            continue
        held = users[at]
        while next_cap < len(capped) and not waiting[capped[next_cap][1]]:
            next_cap += 1
        if next_cap < len(capped) and capped[next_cap][0] <= level:
            level, flow = capped[next_cap]
            held, by = [flow], -1
        for flow in held:
            if waiting[flow]:
                left -= 1
                waiting[flow] = False
                level_of[flow], held_by[flow] = level, by
                for link, load in rows[flow]:
                    at = place[link]
                    growing[at] -= 1
                    spare[at] -= load * level
                    rest = demand[at] - load
                    if rest <= 0 and growing[at]:  # lost in rounding beside a much larger load
                        rest = _still(rows, link, users[at], waiting)
                    demand[at] = rest
    return level_of, held_by


def _still(rows: Rows, link: int, flows: Sequence[int], waiting: Sequence[bool]) -> float:
    """Return the load on a link of those flows that still grow, added up anew."""
    return sum(load for f in flows if waiting[f] for k, load in rows[f] if k == link)


def _by_numpy(indptr: Ints, links: Ints, loads: Floats, capacity: Floats, cap: Floats) -> Floats:
    """Fill, in one round, every link that is the tightest of all links that its flows cross.

    The rounds count the depth of the bottleneck structure and not the links.
    """
    flows, link_count = len(indptr) - 1, len(capacity)
    level_of = cap.copy()  # flows without links keep this
    lengths = np.diff(indptr)
    ids = np.flatnonzero(lengths > 0)  # flows that still grow, and their entries:
    flow_of = np.repeat(np.arange(flows), lengths)
    keep = loads > 0
    flow_of, link_of, per_level = flow_of[keep], links[keep], loads[keep]
    spare = np.asarray(capacity, dtype=np.float64).copy()
    tightest = np.empty(flows)
    while len(flow_of):
        demand = np.bincount(link_of, per_level, minlength=link_count)
        levels = np.divide(spare, demand, out=np.full(link_count, np.inf), where=demand > 0)
        tightest[ids] = cap[ids]
        starts = np.flatnonzero(np.diff(flow_of, prepend=-1))
        crossing = flow_of[starts]
        tightest[crossing] = np.minimum(cap[crossing], np.minimum.reduceat(levels[link_of], starts))
        # A link fills now if none of its flows has a tighter link elsewhere.
        floor = np.full(link_count, np.inf)
        np.minimum.at(floor, link_of, tightest[flow_of])
        full = levels <= floor * (1 + TIE)
        held = np.zeros(flows, dtype=bool)
        held[flow_of[full[link_of]]] = True
        held[crossing] |= cap[crossing] <= tightest[crossing]
        level_of[held] = tightest[held]
        gone = held[flow_of]
        spare -= np.bincount(
            link_of[gone], per_level[gone] * level_of[flow_of[gone]], minlength=link_count
        )
        np.maximum(spare, 0.0, out=spare)  # rounding can dip below 0
        stay = ~gone
        flow_of, link_of, per_level = flow_of[stay], link_of[stay], per_level[stay]
        ids = ids[~held[ids]]
    return level_of


def _by_rows(indptr: Ints, links: Ints, loads: Floats, capacity: Floats, cap: Floats) -> Floats:
    entries = list(zip(links.tolist(), loads.tolist(), strict=True))
    rows = [[e for e in entries[a:b] if e[1] > 0] for a, b in pairwise(indptr.tolist())]
    used = {link: float(capacity[link]) for link in set(links.tolist())}
    return np.array(fair_rates_rows(rows, used, cap.tolist()))


def _by_textbook(indptr: Ints, links: Ints, loads: Floats, capacity: Floats, cap: Floats) -> Floats:
    entries = list(zip(links.tolist(), loads.tolist(), strict=True))
    rows = {f: dict(entries[a:b]) for f, (a, b) in enumerate(pairwise(indptr.tolist()))}
    own = dict(enumerate(cap.tolist()))
    rates = max_min_rates(rows, dict(enumerate(capacity.tolist())), cap=own)
    return np.array([rates[f] for f in rows])


def _by_numba(indptr: Ints, links: Ints, loads: Floats, capacity: Floats, cap: Floats) -> Floats:
    """Let all flows start at once in `compiled`; a cap is one more link, of the flow's own."""
    from rackmodel.network.compiled import carry
    from rackmodel.network.flow_state import make_state

    capped = np.flatnonzero(cap < np.inf)
    ends = indptr[1:][capped]
    if len(capped):
        links = np.insert(links, ends, len(capacity) + np.arange(len(capped)))
        loads = np.insert(loads, ends, 1.0)
        indptr = indptr + np.concatenate([[0], np.cumsum(cap < np.inf)])
    flows = np.arange(len(cap))
    state = make_state(indptr, links, loads, np.append(capacity, cap[capped]), np.zeros(len(cap)))
    none, at_start, one_change = np.zeros(len(cap)), np.array([np.inf, 0.0]), np.array([0, 1])
    carry(state, flows, none, one_change, at_start, flows.copy(), none.copy())
    return state.rate


Fill: TypeAlias = Callable[[Ints, Ints, Floats, Floats, Floats], Floats]
BACKENDS: dict[str, Fill] = {
    "reference": _by_textbook,
    "rows": _by_rows,
    "numpy": _by_numpy,
    "numba": _by_numba,
}


def last_end_s(left: Floats, rates_of: Callable[[Ints], Floats], *, tie: float = 1e-9) -> float:
    """Return when the last of flows ends that start together and share anew at each end. [s]

    Parameters
    ----------
    left : float[F]. [bytes]
    rates_of : the rates of those that are left, given by number. [bytes/s]
    tie : ends that are closer than this part of a span are one.
    """
    left, ids, now = left.copy(), np.flatnonzero(left > 0), 0.0
    while len(ids):
        rates = rates_of(ids)
        needs = left[ids] / rates
        step = float(needs.min())
        now += step
        ended = needs <= step * (1 + tie)
        ids, rates = ids[~ended], rates[~ended]
        left[ids] -= rates * step
        ids = ids[left[ids] > 0]
    return now
