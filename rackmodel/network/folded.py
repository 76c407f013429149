"""An all-to-all over more accelerators than anyone would route pair by pair.

In:  the network of a stand-in (a few periods of the machine) and the true number of accelerators.
Out: the load on the busiest link of every kind, as in the whole machine.
Left out: machines that do not repeat; those are routed pair by pair.

Equal shares end with the tightest link, so loads tell the time. Accelerators and links are coloured
first (equal colours, equal surroundings); one accelerator of each colour is routed to all others
and its load is spread over the links of each colour. Pairs in different periods stand for all such
pairs of the machine. Only links that lead away from a sender's side are counted: traffic and cables
are the same in both directions, so the others carry the mirror image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rackmodel.network.graph import Network

MOST_PAIRS = 150_000  # routed at a time

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def colours(network: Network, marked: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Colour nodes and links so that equal ones have equal surroundings (1-WL refinement).

    `marked` tells members from other nodes. Returns int[N] and int[L], dense from 0.
    """
    rng = np.random.default_rng(20240919)
    size = len(network.nodes)
    _, kinds = np.unique(np.array(network.node_kinds), return_inverse=True)
    node = kinds.astype(np.int64) * 2 + marked
    facts = np.stack(
        [network.capacity, network.latency_s, network.scale_up, _axes(network)], axis=1
    )
    _, link = np.unique(facts, axis=0, return_inverse=True)
    salt = rng.integers(
        1, 2**63, size=int(link.max()) + 1 if len(link) else 1, dtype=np.uint64
    ) | np.uint64(1)
    label = salt[link.ravel()]
    count = len(np.unique(node))
    while True:
        mixed = _mix(node.astype(np.uint64))
        total = _mix(mixed) * np.uint64(3)
        np.add.at(total, network.tail, _mix(mixed[network.head] ^ label))
        np.add.at(total, network.head, _mix(mixed[network.tail] + label))
        _, node = np.unique(total, return_inverse=True)
        node = node.ravel()
        after = int(node.max()) + 1
        if after == count:
            break
        count = after
    pair = np.stack([node[network.tail], node[network.head], link.ravel()], axis=1)
    _, link_colour = np.unique(pair, axis=0, return_inverse=True)
    assert len(node) == size
    return node.astype(np.int64), link_colour.ravel().astype(np.int64)


def _axes(network: Network) -> Ints:
    """Return the dimension of a torus that each link runs along, -1 for other links."""
    axes = np.full(len(network.tail), -1, dtype=np.int64)
    if network.position is None:
        return axes
    place = np.full((len(network.nodes), len(network.position[0])), -1, dtype=np.int64)
    place[network.accelerator_nodes] = network.position
    differ = place[network.tail] != place[network.head]
    straight = differ.sum(axis=1) == 1
    axes[straight] = differ[straight].argmax(axis=1)
    return axes


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
    domain = np.full(len(network.nodes), -1, dtype=np.int64)
    domain[network.accelerator_nodes] = network.domain_of
    tail, head = network.tail[flat], network.head[flat]
    if (domain[tail] < 0).any() or (domain[tail] != domain[head]).any():
        return False
    pairs = np.unique(tail * np.int64(len(domain)) + head)
    sizes = np.bincount(network.domain_of)
    return len(pairs) == int((sizes * (sizes - 1)).sum())


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64-bit labels; sums of the results wrap around, so their order does not matter."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


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
) -> tuple[Floats, Floats, float, float]:
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
    nodes = network.accelerator_nodes[members]
    marked = np.zeros(len(network.nodes), dtype=bool)
    marked[nodes] = True
    own, link_colour = np.arange(len(nodes)), np.arange(len(network.capacity))
    if coloured:
        node_colour, link_colour = colours(network, marked)
        own = node_colour[nodes]
    up = np.ones(len(network.capacity), dtype=bool)
    if true_size > len(members):  # only the senders' side has the right weights
        rising = heights(network)
        up = rising[network.head] >= rising[network.tail]
    _, first, many = np.unique(own, return_index=True, return_counts=True)
    weights = _far_weights(members, true_size, period)
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
        share = np.concatenate([weights(i) for i in first[few].tolist()]) / true_size
        number = np.repeat(many[few], len(nodes))
        apart = senders != others
        senders, others, share, number = (x[apart] for x in (senders, others, share, number))
        table = network.routes(nodes[senders], nodes[others])
        amount = np.repeat(number * share, np.diff(table.indptr)) * table.fractions
        amount = np.where(up[table.links], amount, 0.0)
        load += np.bincount(link_colour[table.links], amount, minlength=kinds)
        near = domain[others] == domain[senders]
        inside = np.bincount(senders, np.where(near, share, 0.0))
        outside = np.bincount(senders, np.where(near, 0.0, share))
        inside_most = max(inside_most, float(inside.max()))
        outside_most = max(outside_most, float(outside.max()))
    capacity = np.zeros(kinds)
    capacity[link_colour] = network.capacity
    return load / np.bincount(link_colour, minlength=kinds), capacity, inside_most, outside_most


class _far_weights:
    """How many pairs of the whole machine one pair of the stand-in stands for, by sender."""

    def __init__(self, members: Ints, true_size: int, period: int) -> None:
        self.block = members // period
        self.whole = len(members) // period  # full periods here
        self.all = true_size // period  # and in the machine
        self.full = self.block < self.whole

    def __call__(self, sender: int) -> Floats:
        weight = np.ones(len(self.block))
        other = self.full & (self.block != self.block[sender])
        mine = bool(self.full[sender])
        if mine and self.whole > 1:
            weight[other] = (self.all - 1) / (self.whole - 1)
        elif not mine:
            weight[other] = self.all / self.whole
        return weight
