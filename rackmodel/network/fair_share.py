"""Max-min fair rates for many flows at once.

In:  flows as rows of a sparse matrix (links and fractions), capacities, own caps, weights.
Out: one rate per flow. The same numbers as `reference.max_min_rates`, to rounding.
Left out: time. Who starts and ends when is `traffic`'s business.
"""

import math
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from itertools import pairwise

import numpy as np

from rackmodel.network import kernels
from rackmodel.network.arrays import Floats, Ints

TIE = 1e-12  # links whose levels differ by less fill together
SMALL_ENTRIES = 2_000  # below this, plain lists beat numpy's call overhead
LARGE_ENTRIES = 20_000  # above this, compiled code repays its loading


def fair_rates(
    indptr: Ints,
    links: Ints,
    fractions: Floats,
    capacity: Floats,
    cap: Floats | None = None,
    weight: Floats | None = None,
) -> Floats:
    """Share links so that no flow can speed up without slowing one that is no faster.

    Parameters
    ----------
    indptr, links, fractions : int[F + 1], int[E], float[E]
        Flow f crosses `links[indptr[f]:indptr[f + 1]]` with those fractions of its rate.
    capacity : float[L]. [bytes/s]
    cap : float[F], each flow's own limit, infinite if left out. [bytes/s]
    weight : float[F], 1 if left out; flows on one link share it by weight.

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
    weight = np.ones(flows) if weight is None else np.asarray(weight, dtype=np.float64)
    cap = np.full(flows, np.inf) if cap is None else np.asarray(cap, dtype=np.float64)
    if len(links) <= SMALL_ENTRIES:
        return _fill_lists(indptr, links, fractions, capacity, cap, weight)
    if len(links) >= LARGE_ENTRIES and kernels.available():
        fill = kernels.compiled("fill")
        return np.asarray(
            fill(
                np.ascontiguousarray(indptr, dtype=np.int64),
                np.ascontiguousarray(links, dtype=np.int64),
                np.ascontiguousarray(fractions, dtype=np.float64),
                np.ascontiguousarray(capacity, dtype=np.float64),
                cap,
                weight,
            )
        )
    return _fill_arrays(indptr, links, fractions, capacity, cap, weight)


def fair_rates_rows(
    rows: Sequence[Sequence[tuple[int, float]]],
    capacity: Sequence[float] | Mapping[int, float],
    cap: Sequence[float],
) -> list[float]:
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
    F rates, of every flow of the class. [bytes/s]

    Notes
    -----
    The tightest link fills first. A link's level only rises while others fill, so one that has
    grown since it was put on the heap is put back.

    Examples
    --------
    >>> fair_rates_rows([[(0, 2.0)], [(0, 1.0), (1, 1.0)]], [9.0, 2.0], [math.inf, math.inf])
    [3.5, 2.0]
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
    heap = [(s / d, at) for at, (s, d) in enumerate(zip(spare, demand, strict=True))]
    heapify(heap)
    level_of = list(cap)
    capped = sorted((limit, flow) for flow, limit in enumerate(level_of) if limit < math.inf)
    next_cap, waiting = 0, [bool(row) for row in rows]
    left = sum(waiting)
    while left:
        level, at = heap[0]
        if not growing[at]:
            heappop(heap)
            continue
        room = spare[at]
        now = room / demand[at] if room > 0 else 0.0  # rounding can dip below 0
        if now > level:
            heapreplace(heap, (now, at))
            continue
        held = users[at]
        while next_cap < len(capped) and not waiting[capped[next_cap][1]]:
            next_cap += 1
        if next_cap < len(capped) and capped[next_cap][0] <= level:
            level, flow = capped[next_cap]
            held = [flow]
        for flow in held:
            if waiting[flow]:
                left -= 1
                waiting[flow] = False
                level_of[flow] = level
                for link, load in rows[flow]:
                    at = place[link]
                    growing[at] -= 1
                    spare[at] -= load * level
                    rest = demand[at] - load
                    if rest <= 0 and growing[at]:  # lost in rounding beside a much larger load
                        rest = _still(rows, link, users[at], waiting)
                    demand[at] = rest
    return level_of


def _still(
    rows: Sequence[Sequence[tuple[int, float]]],
    link: int,
    flows: Sequence[int],
    waiting: Sequence[bool],
) -> float:
    """Return the load on a link of those flows that still grow, added up anew."""
    return sum(load for f in flows if waiting[f] for k, load in rows[f] if k == link)


def _fill_arrays(
    indptr: Ints, links: Ints, fractions: Floats, capacity: Floats, cap: Floats, weight: Floats
) -> Floats:
    flows, link_count = len(indptr) - 1, len(capacity)
    own = cap / weight
    level_of = own.copy()  # flows without links keep this
    lengths = np.diff(indptr)
    ids = np.flatnonzero(lengths > 0)  # flows that still grow, and their entries:
    flow_of = np.repeat(np.arange(flows), lengths)
    keep = fractions > 0
    flow_of, link_of, part = flow_of[keep], links[keep], fractions[keep]
    per_level = part * weight[flow_of]
    spare = np.asarray(capacity, dtype=np.float64).copy()
    tightest = np.empty(flows)
    while len(flow_of):
        demand = np.bincount(link_of, per_level, minlength=link_count)
        levels = np.divide(spare, demand, out=np.full(link_count, np.inf), where=demand > 0)
        tightest[ids] = own[ids]
        starts = np.flatnonzero(np.diff(flow_of, prepend=-1))
        crossing = flow_of[starts]
        tightest[crossing] = np.minimum(own[crossing], np.minimum.reduceat(levels[link_of], starts))
        # A link fills now if none of its flows has a tighter link elsewhere.
        floor = np.full(link_count, np.inf)
        np.minimum.at(floor, link_of, tightest[flow_of])
        full = levels <= floor * (1 + TIE)
        held = np.zeros(flows, dtype=bool)
        held[flow_of[full[link_of]]] = True
        held[crossing] |= own[crossing] <= tightest[crossing]
        level_of[held] = tightest[held]
        gone = held[flow_of]
        spare -= np.bincount(
            link_of[gone], per_level[gone] * level_of[flow_of[gone]], minlength=link_count
        )
        np.maximum(spare, 0.0, out=spare)  # rounding can dip below 0
        stay = ~gone
        flow_of, link_of, per_level = flow_of[stay], link_of[stay], per_level[stay]
        ids = ids[~held[ids]]
    return level_of * weight


def _fill_lists(
    indptr: Ints, links: Ints, fractions: Floats, capacity: Floats, cap: Floats, weight: Floats
) -> Floats:
    loads = (fractions * np.repeat(weight, np.diff(indptr))).tolist()
    entries = list(zip(links.tolist(), loads, strict=True))
    if min(loads, default=1.0) <= 0:
        rows = [[e for e in entries[a:b] if e[1] > 0] for a, b in pairwise(indptr.tolist())]
    else:
        rows = [entries[a:b] for a, b in pairwise(indptr.tolist())]
    used = {link: float(capacity[link]) for link in set(links.tolist())}
    return np.array(fair_rates_rows(rows, used, (cap / weight).tolist())) * weight
