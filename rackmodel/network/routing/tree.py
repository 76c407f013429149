"""Routes on a tree of bundles, for any number of pairs at once.

In:  a compiled network in which every node has one way up into the scale-up domain and one into the
     fabric.
Out: the links of many pairs, by their lowest common switch; None where the network is no such tree.
Left out: tori, meshes, graphs with several equal ways: the general search finds those.

In a tree there is one shortest way between two accelerators: up to the lowest switch above both,
and down. Inside a scale-up domain it leads through the domain's switch, otherwise through NICs and
the fabric.
"""

from typing import NamedTuple

import numpy as np

from rackmodel.columns import Bools, Ints, each_once
from rackmodel.network.arrays import Arrays, remembered
from rackmodel.topology.kinds import Kind

IN_TREES = set(map(str, Kind)) - {Kind.CPU, Kind.OCS}
TOP = 6


class Chain(NamedTuple):
    """The way up from each accelerator: node[n, h], its links up and down; -1 beyond."""

    node: Ints
    up: Ints
    down: Ints


class Tree(NamedTuple):
    """A network as a tree, or rather two: the scale-up domains and the fabric."""

    place: Ints  # int[N], index of each accelerator node, -1 for the others
    chains: tuple[Chain, Chain]  # scale-up, fabric

    def links(self, sources: Ints, targets: Ints, region: int) -> tuple[Ints, Ints] | None:
        """Return (counts[F], links) of F pairs of accelerator nodes in one region.

        region : 0 for the scale-up domain, 1 for the fabric. None if some pair isn't joined there.
        """
        a, b = self.place[sources], self.place[targets]
        if (a < 0).any() or (b < 0).any():
            return None
        chain = self.chains[region]
        height = chain.node.shape[1]
        if not height:
            return None
        top = np.full(len(a), -1)  # steps below the common switch are 0 .. top
        for step in reversed(range(height)):
            node = chain.node[a, step]
            top[(node == chain.node[b, step]) & (node >= 0)] = step
        if (top < 0).any():
            return None
        counts = 2 * (top + 1)
        ends = np.cumsum(counts)
        links = np.empty(int(counts.sum()), dtype=np.int64)
        for step in range(height):
            some = np.flatnonzero(top >= step)
            links[(ends - counts)[some] + step] = chain.up[a[some], step]
            links[ends[some] - 1 - step] = chain.down[b[some], step]
        return counts, links


def tree_of(network: Arrays) -> Tree | None:
    """Return the network as a tree, None if it isn't one."""
    if not set(network.node_kinds) <= IN_TREES:
        return None
    level, tail, head = levels(network), network.tail, network.head
    if (level[tail] == level[head]).any():
        return None
    place = np.full(len(level), -1, dtype=np.int64)
    place[network.accelerator_nodes] = np.arange(len(network.accelerator_nodes))
    switch = network.of_kind(Kind.SCALE_UP_SWITCH)
    chains = []
    for inner in (True, False):
        wanted = (switch[tail] | switch[head]) == inner
        chain = _chain(network, level, wanted)
        if chain is None:
            return None
        chains.append(chain)
    return Tree(place, (chains[0], chains[1]))


@remembered
def levels(network: Arrays) -> Ints:
    """Return how far up each node stands, int[N]; scale-up switches by their tier."""
    level = np.full(len(network.nodes), TOP, dtype=np.int64)
    for kind in Kind:
        level[network.of_kind(kind)] = kind.level
    inner = network.of_kind(Kind.SCALE_UP_SWITCH)
    near = level == 0
    while (tier := each_once(network.head[near[network.tail] & inner[network.head]])).size:
        inner[tier] = False  # each stands in the first tier that reaches it from below
        near = np.zeros(len(level), dtype=bool)
        near[tier] = True
        above = each_once(network.head[near[network.tail] & inner[network.head]])
        level[above] = level[tier].max() + 1
    return level


def _chain(network: Arrays, level: Ints, wanted: Bools) -> Chain | None:
    count = len(level)
    up_link = np.full(count, -1, dtype=np.int64)
    down_link = np.full(count, -1, dtype=np.int64)
    rising = np.flatnonzero(wanted & (level[network.tail] < level[network.head]))
    falling = np.flatnonzero(wanted & (level[network.tail] > level[network.head]))
    for links, lower, table in (
        (rising, network.tail, up_link),
        (falling, network.head, down_link),
    ):
        if len(each_once(lower[links])) < len(links):
            return None  # two ways up
        table[lower[links]] = links
    both = (up_link >= 0) & (down_link >= 0)
    if (network.head[up_link[both]] != network.tail[down_link[both]]).any():
        return None
    nodes, ups, downs = [], [], []
    at = network.accelerator_nodes.astype(np.int64)
    while True:
        here = np.maximum(at, 0)
        ok = (at >= 0) & (up_link[here] >= 0) & (down_link[here] >= 0)
        if not ok.any():
            break
        ups.append(np.where(ok, up_link[here], -1))
        downs.append(np.where(ok, down_link[here], -1))
        at = np.where(ok, network.head[up_link[here]], -1)
        nodes.append(at)
    empty = np.zeros((len(network.accelerator_nodes), 0), dtype=np.int64)
    if not nodes:
        return Chain(empty, empty, empty)
    return Chain(np.stack(nodes, 1), np.stack(ups, 1), np.stack(downs, 1))
