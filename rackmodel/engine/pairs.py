"""Pairs of accelerators that stand alike, told by their routes.

In:  a compiled network, pairs of accelerators.
Out: which pairs have routes of the same kinds of links; where others have the links of the first.
Left out: larger groups; those that stand alike in a tree are told by it (`groups`).

Where several ways lead up (hashed paths) or links join switches of one tier (dragonflies), nodes
above two accelerators do not tell over which links they talk. Their routes there and back do, and a
collective of two crosses no others.
"""

from __future__ import annotations

import numpy as np

from rackmodel.columns import Ints, kinds_of
from rackmodel.network import Network
from rackmodel.network.collectives.costs import outer_ports
from rackmodel.network.collectives.groups import port_rates
from rackmodel.network.routing.router import RouteTable
from rackmodel.network.symmetry import label, mix


def _ways(network: Network, pairs: Ints) -> RouteTable:
    """Return the routes of all pairs there, then of all back."""
    one, other = network.accelerator_nodes[pairs].T
    return network.routes(np.concatenate([one, other]), np.concatenate([other, one]))


def kinds_of_pairs(network: Network, pairs: Ints) -> Ints:
    """Return one number per pair, equal for those whose routes are alike, link by link.

    pairs : int[P, 2], accelerator indices.
    """
    ways = _ways(network, pairs)
    indptr, links = ways.indptr, ways.links
    place = np.arange(len(links)) - np.repeat(indptr[:-1], np.diff(indptr))
    facts = network.capacity[links], network.latency_s[links], network.scale_up[links]
    told = mix(label(*facts, np.round(ways.fractions, 12))) * (
        mix(place.astype(np.uint64)) | np.uint64(1)
    )
    until = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(told, dtype=np.uint64)])
    rows = mix(np.diff(until[indptr])) + np.diff(indptr).astype(np.uint64)
    there, back = rows.reshape(2, -1)
    ports = (*port_rates(network), outer_ports(network))
    ends = label(*(port[node] for port in ports for node in network.accelerator_nodes[pairs].T))
    return kinds_of(mix(mix(there * np.uint64(3) + mix(back)) + ends))[1]


def moved_with_pairs(network: Network, pairs: Ints, used: Ints) -> Ints | None:
    """Return where pairs that stand alike have these links of the first one, int[P, L].

    None if its routes do not cross them, or one of them more than once.
    """
    ways, count = _ways(network, pairs), len(pairs)
    halves = np.split(ways.links, ways.indptr[count : count + 1])
    rows = np.concatenate([half.reshape(count, -1) for half in halves], axis=1)
    order = np.argsort(rows[0], kind="stable")
    ranked = rows[0][order]
    at = np.minimum(np.searchsorted(ranked, used), len(ranked) - 1)
    if (ranked[at] != used).any() or (np.diff(ranked) == 0).any():
        return None
    return np.asarray(rows[:, order[at]], dtype=np.int64)
