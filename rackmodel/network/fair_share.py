"""Max-min fair rates for many flows at once.

In:  flows as rows of a sparse matrix (links and fractions), capacities, own caps, weights.
Out: one rate per flow. The same numbers as `reference.max_min_rates`, to rounding.
Left out: time. Who starts and ends when is `traffic`'s business.
"""

from __future__ import annotations

import math
from itertools import count

import numpy as np
from numpy.typing import NDArray

from rackmodel.network import kernels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TIE = 1e-12  # links whose levels differ by less fill together
SMALL_CELLS = 8_000  # the same for a dense system
SMALL_ENTRIES = 96  # below this, plain lists beat numpy's call overhead
LARGE_ENTRIES = 20_000  # above this, compiled code repays its loading
MANY_SOLVES = 1_000  # of small dense systems, likewise

_solves = count(1)  # which form runs then does not show: both give the same bits


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


def fair_rates_dense(
    load: Floats, capacity: Floats, cap: Floats, weight: Floats | None = None
) -> Floats:
    """Share link classes among flow classes: a small dense system.

    Parameters
    ----------
    load : float[L, F], what one representative link of class l carries when every flow of class f
        runs at rate 1 (fractions summed over the flows of the class, so it knows multiplicities).
    capacity : float[L], of one link of the class. [bytes/s]
    cap : float[F], own limit of each flow of the class. [bytes/s]
    weight : float[F], 1 if left out.

    Returns
    -------
    float[F], the rate of every flow of the class. [bytes/s]

    Examples
    --------
    >>> load = np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> fair_rates_dense(load, np.array([9.0, 2.0]), np.full(2, np.inf))
    array([3.5, 2. ])
    """
    flows = load.shape[1]
    if flows == 0:
        return np.zeros(0)
    per_level = load if weight is None else load * weight
    own = cap if weight is None else cap / weight
    if load.size <= SMALL_CELLS:
        if next(_solves) > MANY_SOLVES and kernels.available():
            fill = kernels.compiled("fill_dense")
            filled = np.asarray(fill(*_plain(per_level, capacity, own)))
        else:
            filled = _fill_dense_lists(per_level, capacity, own)
        return filled if weight is None else filled * weight
    spare = capacity.astype(np.float64, copy=True)
    level_of = np.full(flows, np.inf)
    growing = np.ones(flows)
    crosses = load > 0
    capped = bool(np.isfinite(own).any())
    while True:
        demand = per_level @ growing
        levels = np.divide(spare, demand, out=np.full(len(spare), np.inf), where=demand > 0)
        level = levels.min() if len(levels) else np.inf
        if capped:
            level = min(level, np.where(growing > 0, own, np.inf).min())
        if level == np.inf:
            break
        held = crosses[levels <= level * (1 + TIE)].any(axis=0)
        if capped:
            held |= own <= level * (1 + TIE)
        held &= growing > 0
        level_of[held] = level if not capped else np.minimum(level, own[held])
        growing[held] = 0.0
        spare -= per_level @ np.where(held, level_of, 0.0)
        np.maximum(spare, 0.0, out=spare)  # rounding can dip below 0
        if not growing.any():
            break
    return level_of if weight is None else level_of * weight


def _plain(per_level: Floats, capacity: Floats, own: Floats) -> tuple[Floats, ...]:
    """Return load, demand, capacity and caps as the compiled form wants them."""
    load = np.ascontiguousarray(per_level, dtype=np.float64)
    return (
        load,
        per_level.sum(axis=1),
        np.ascontiguousarray(capacity, dtype=np.float64),
        np.ascontiguousarray(own, dtype=np.float64),
    )


def _fill_dense_lists(per_level: Floats, capacity: Floats, own: Floats) -> Floats:
    """Fill link by link; a link's level only rises while others fill."""
    level_of = own.tolist()
    at, crossing = (side.tolist() for side in per_level.nonzero())
    users: list[list[int]] = [[] for _ in range(len(capacity))]
    rows: list[list[tuple[int, float]]] = [[] for _ in level_of]
    for link, flow, load in zip(at, crossing, per_level[at, crossing].tolist(), strict=True):
        users[link].append(flow)
        rows[flow].append((link, load))
    growing = [len(flows) for flows in users]
    demand = per_level.sum(axis=1).tolist()
    spare = capacity.tolist()
    levels = [s / d if d > 0 else math.inf for s, d in zip(spare, demand, strict=True)]
    capped = sorted((c, flow) for flow, c in enumerate(level_of) if c < math.inf)
    done = [not row for row in rows]
    next_cap = 0
    while True:
        level = min(levels, default=math.inf)
        while next_cap < len(capped) and done[capped[next_cap][1]]:
            next_cap += 1
        if next_cap < len(capped) and capped[next_cap][0] <= level:
            level, flow = capped[next_cap]
            held = [flow]
        elif level < math.inf:
            held = [flow for flow in users[levels.index(level)] if not done[flow]]
        else:
            return np.array(level_of)
        for flow in held:
            done[flow] = True
            level_of[flow] = level
            for link, load in rows[flow]:
                left = growing[link] = growing[link] - 1
                wish = demand[link] = demand[link] - load
                room = spare[link] = spare[link] - load * level
                if left and wish > 0:
                    levels[link] = room / wish if room > 0 else 0.0  # rounding can dip below 0
                else:
                    levels[link] = math.inf


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
    ends, link_of, part = indptr.tolist(), links.tolist(), fractions.tolist()
    weights, own = weight.tolist(), (cap / weight).tolist()
    flows = len(ends) - 1
    spare: dict[int, float] = {link: float(capacity[link]) for link in link_of}
    level_of = own.copy()
    waiting = [f for f in range(flows) if ends[f + 1] > ends[f]]
    while waiting:
        demand = dict.fromkeys(spare, 0.0)
        for f in waiting:
            for e in range(ends[f], ends[f + 1]):
                demand[link_of[e]] += part[e] * weights[f]
        level = min(own[f] for f in waiting)
        levels = {link: spare[link] / load for link, load in demand.items() if load > 0}
        level = min([level, *levels.values()])
        bound = level * (1 + TIE)
        full = {link for link, value in levels.items() if value <= bound}
        still = []
        for f in waiting:
            path = range(ends[f], ends[f + 1])
            if own[f] <= bound or any(part[e] > 0 and link_of[e] in full for e in path):
                level_of[f] = min(level, own[f])
                for e in path:
                    left = spare[link_of[e]] - part[e] * weights[f] * level_of[f]
                    spare[link_of[e]] = max(0.0, left)
            else:
                still.append(f)
        waiting = still
    return np.array(level_of) * weight
