"""The inner loops, compiled by numba where it is installed (extra `fast`).

In:  arrays only.
Out: the same numbers as the numpy and list versions beside which they stand.
Left out: any choice; the callers decide by size alone, so that equal inputs give equal outputs.
"""

import heapq
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from rackmodel.network.arrays import Floats, Ints


@cache
def available() -> bool:
    """Say whether numba can be imported."""
    return importlib.util.find_spec("numba") is not None


@cache
def compiled(name: str) -> Callable[..., Any]:
    """Return "fill" or "advance" (of `fluid`), compiled once and kept on disk.

    Raises
    ------
    ImportError
        If numba is not installed; ask `available` first.
    """
    import numba

    from rackmodel.network import fluid

    plain = {"fill": fill, "advance": fluid.advance}[name]
    wrap: Any = numba.njit(cache=True, nogil=True)
    made: Callable[..., Any] = wrap(plain)
    return made


def fill(
    indptr: Ints, links: Ints, fractions: Floats, capacity: Floats, cap: Floats, weight: Floats
) -> Floats:
    """Progressive filling with a heap of link levels; see `fair_share.fair_rates`.

    A link's level only rises while others fill, so a popped level that has grown is put back.
    """
    flows, link_count = indptr.size - 1, capacity.size
    demand = np.zeros(link_count)
    users = np.zeros(link_count + 1, dtype=np.int64)
    for f in range(flows):
        for e in range(indptr[f], indptr[f + 1]):
            if fractions[e] > 0:
                demand[links[e]] += fractions[e] * weight[f]
                users[links[e] + 1] += 1
    for k in range(link_count):
        users[k + 1] += users[k]
    place = users[:-1].copy()
    user = np.empty(users[-1], dtype=np.int64)
    for f in range(flows):
        for e in range(indptr[f], indptr[f + 1]):
            if fractions[e] > 0:
                user[place[links[e]]] = f
                place[links[e]] += 1
    rates = np.full(flows, -1.0)
    growing = np.zeros(link_count, dtype=np.int64)
    heap = [(0.0, np.int64(0)) for _ in range(0)]
    for k in range(link_count):
        growing[k] = users[k + 1] - users[k]
        if growing[k] > 0:
            heap.append((capacity[k] / demand[k], np.int64(k)))
    for f in range(flows):
        if cap[f] < np.inf:
            heap.append((cap[f] / weight[f], np.int64(link_count + f)))
    heapq.heapify(heap)
    spare = capacity.copy()
    while len(heap) > 0:
        level, who = heapq.heappop(heap)
        if who >= link_count:
            begin, stop = users[0], users[0] + 1  # one pass
            if rates[who - link_count] >= 0:
                continue
        else:
            if growing[who] == 0:
                continue
            now = spare[who] / demand[who]
            if now > level * (1 + 1e-12):
                heapq.heappush(heap, (now, who))
                continue
            level = max(level, now)
            begin, stop = users[who], users[who + 1]
        for u in range(begin, stop):
            one = user[u] if who < link_count else who - link_count
            if rates[one] >= 0:
                continue
            rates[one] = min(level * weight[one], cap[one])
            for e in range(indptr[one], indptr[one + 1]):
                k = links[e]
                if fractions[e] > 0:
                    growing[k] -= 1
                    if growing[k] == 0:
                        demand[k] = 0.0
                    else:
                        demand[k] = max(demand[k] - fractions[e] * weight[one], 1e-300)
                    spare[k] = max(0.0, spare[k] - rates[one] * fractions[e])
    for f in range(flows):
        if rates[f] < 0:
            rates[f] = np.inf
    return rates
