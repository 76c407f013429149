"""An all-to-all over more accelerators than anyone would route pair by pair.

In:  the network of a stand-in (a few periods of the machine) and the true number of accelerators.
Out: the load on the busiest link of every kind, as in the whole machine.
Left out: machines that do not repeat; those are routed pair by pair.

Equal shares end with the tightest link, so loads tell the time. Accelerators and links are coloured
first (see `symmetry`); one accelerator of each colour is routed to all others and its load is
spread over the links of each colour. Pairs in different periods stand for all such pairs of the
machine. Only links that lead away from a sender's side are counted: traffic and cables are the same
in both directions, so the others carry the mirror image.
"""

import math
from typing import TypeAlias

import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.network.collectives.groups import stood_for
from rackmodel.network.collectives.tori import Tori, tori
from rackmodel.network.graph import Network
from rackmodel.network.symmetry import colours

MOST_PAIRS = 150_000  # routed at a time

Loads: TypeAlias = tuple[Floats, Floats, float, float]


def levelled(network: Network) -> bool:
    """Say whether colours suffice: a torus, or links that all lead up or down.

    Links between all accelerators of a domain do not matter: each pair has its own.
    """
    if network.position is not None:
        return True
    rising = heights(network)
    flat = np.flatnonzero(rising[network.head] == rising[network.tail])
    if not len(flat):
        return True
    domain = network.home
    tail, head = network.tail[flat], network.head[flat]
    if (domain[tail] < 0).any() or (domain[tail] != domain[head]).any():
        return False
    pairs = np.unique(tail * np.int64(len(domain)) + head)
    sizes = np.bincount(network.domain_of)
    return len(pairs) == int((sizes * (sizes - 1)).sum())


def heights(network: Network) -> Ints:
    """Return each node's hops from the nearest accelerator."""
    far = np.iinfo(np.int64).max
    steps = np.full(len(network.nodes), far, dtype=np.int64)
    steps[network.accelerator_nodes] = 0
    while True:
        before = steps.copy()
        np.minimum.at(
            steps, network.head, np.where(before[network.tail] < far, before[network.tail] + 1, far)
        )
        if (steps == before).all():
            return steps


def all_to_all_loads(
    network: Network, members: Ints, true_size: int, period: int, *, coloured: bool = True
) -> Loads:
    """Return loads of one all-to-all with equal shares, per byte of a rank's send buffer.

    Parameters
    ----------
    members : accelerator indices in use, 0 ... n' - 1, n' being the true size less whole periods.
    true_size : accelerators in the group of the whole machine.
    period : accelerators after which the machine repeats.
    coloured : route one member of each colour; otherwise every member, for any network.

    Returns
    -------
    float[K] load of a link and float[K] its capacity, by colour; the largest parts that one member
    sends inside its scale-up domain and outside.
    """
    torus = tori(network) if coloured else None
    found = torus and _by_symmetry(network, members, true_size, period, torus)
    found = found or _routed(network, members, true_size, period, coloured=coloured)
    assert found is not None, "only pairs outside may have no answer"
    return found


def _by_symmetry(
    network: Network, members: Ints, true_size: int, period: int, torus: Tori
) -> Loads | None:
    """Return the loads where pairs inside a domain use its torus and others the fabric.

    A domain that is only partly in use carries a part of what a whole one does. None where no
    domain is wholly in use, or pairs in different domains pass through others.
    """
    size = math.prod(torus.lengths)
    used = np.bincount(network.domain_of[members])
    if used.max() < size:
        return None
    load = torus.exchange(ordered=network.routing == "dimension-order") / true_size
    rates = np.array(torus.slowest)
    inside, outside = (size - 1.0) / true_size, 0.0
    if (used > 0).sum() > 1:
        found = _routed(network, members, true_size, period, fabric=True)
        if found is None:
            return None
        load, rates = np.r_[load, found[0]], np.r_[rates, found[1]]
        outside = found[3]
    return load, rates, inside, outside


def _routed(
    network: Network,
    members: Ints,
    true_size: int,
    period: int,
    *,
    coloured: bool = True,
    fabric: bool = False,
) -> Loads | None:
    """Return the loads by routes from one member of each colour to all others.

    fabric : leave out pairs inside a domain; links of domains then carry nothing, and where some
        pair passes through one there is no answer.
    """
    nodes = network.accelerator_nodes[members]
    marked = np.zeros(len(network.nodes), dtype=bool)
    marked[nodes] = True
    own, link_colour = np.arange(len(nodes)), np.arange(len(network.capacity))
    if coloured:
        node_colour, link_colour = colours(network, marked, stars=fabric)
        own = node_colour[nodes]
    up = np.ones(len(network.capacity), dtype=bool)
    if true_size > len(members):  # only the senders' side has the right weights
        rising = heights(network)
        up = rising[network.head] >= rising[network.tail]
    _, first, many = np.unique(own, return_index=True, return_counts=True)
    kinds = int(link_colour.max()) + 1
    load = np.zeros(kinds)
    inside_most = outside_most = 0.0
    domain = network.domain_of[members]
    here = np.arange(len(nodes))
    for few in np.array_split(np.arange(len(first)), -(-len(first) * len(nodes) // MOST_PAIRS)):
        if not len(few):
            continue
        senders = np.repeat(first[few], len(nodes))
        others = np.tile(here, len(few))
        share = stood_for(senders, others, len(members), true_size, period) / true_size
        number = np.repeat(many[few], len(nodes))
        apart = senders != others
        if fabric:
            apart = domain[senders] != domain[others]
        senders, others, share, number = (x[apart] for x in (senders, others, share, number))
        table = network.routes(nodes[senders], nodes[others])
        if fabric and network.scale_up[table.links].any():
            return None
        amount = np.repeat(number * share, np.diff(table.indptr)) * table.fractions
        amount = np.where(up[table.links], amount, 0.0)
        load += np.bincount(link_colour[table.links], amount, minlength=kinds)
        near = domain[others] == domain[senders]
        inside = np.bincount(senders, np.where(near, share, 0.0))
        outside = np.bincount(senders, np.where(near, 0.0, share))
        inside_most = max(inside_most, float(inside.max(initial=0.0)))
        outside_most = max(outside_most, float(outside.max(initial=0.0)))
    capacity = np.zeros(kinds)
    capacity[link_colour] = network.capacity
    return load / np.bincount(link_colour, minlength=kinds), capacity, inside_most, outside_most
