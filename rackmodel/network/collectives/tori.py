"""What a whole torus carries, by its symmetry: no route is looked for.

In:  a network whose scale-up domains are tori, all alike and closed along every dimension.
Out: the load on the links of each dimension when every member sends to every other.
Left out: meshes and parts of a torus, whose links are not all alike; those are routed.

A shortest way takes as many hops along a dimension as the ring there asks for, whatever the order
of the hops. All links of a dimension are images of one another under translation, and upwards is
the image of downwards under reflection, so where ways are spread evenly each carries its equal part
of all hops. In dimension order a half-way tie goes upwards, so the links upwards carry more.
"""

import math
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Floats
from rackmodel.network.arrays import lattice_steps, node_places, remembered
from rackmodel.network.graph import Network

ROUTINGS = ("spray", "paths", "dimension-order")  # alike in all places


class Tori(NamedTuple):
    """Scale-up domains that are closed tori of one shape."""

    lengths: tuple[int, ...]  # of the dimensions of more than 1
    slowest: tuple[float, ...]  # payload bytes/s of the slowest link along each

    def exchange(self, *, ordered: bool) -> Floats:
        """Return float[D], what the busiest link along each dimension carries.

        In units of what one member sends to one other. `ordered` says dimension order.

        >>> Tori((4,), (1.0,)).exchange(ordered=False).tolist()
        [2.0]
        >>> Tori((4, 2), (1.0, 1.0)).exchange(ordered=True).tolist()
        [6.0, 4.0]
        """
        loads = []
        for length in self.lengths:
            steps = np.arange(1, length)
            hops = np.minimum(steps, length - steps)
            up = hops[steps <= length // 2].sum() if ordered or length == 2 else hops.sum() / 2
            loads.append(float(up) * math.prod(self.lengths) / length)
        return np.array(loads)


@remembered
def tori(network: Network) -> Tori | None:
    """Return the tori that all scale-up domains are, None if some domain is no such."""
    nodes, domain = network.accelerator_nodes, network.domain_of
    if network.position is None or len(nodes) < 2 or network.routing not in ROUTINGS:
        return None
    places = np.array(network.position, dtype=np.int64)
    first = places[domain == 0]
    sides = [d for d in range(places.shape[1]) if first[:, d].max() > first[:, d].min()]
    places = places[:, sides]
    lengths = places.max(axis=0) + 1
    size = int(np.prod(lengths))
    if not sides or places.min() < 0 or (np.bincount(domain) != size).any():
        return None
    flat = np.ravel_multi_index(tuple(places.T), tuple(lengths))
    code = domain * size + flat
    if len(np.unique(code)) < len(code):
        return None
    inner, home = network.scale_up, network.home
    tail, head = network.tail[inner], network.head[inner]
    if (home[tail] < 0).any() or (home[tail] != home[head]).any():
        return None
    place = node_places(network)[:, sides]
    steps = lattice_steps(place[tail], place[head], lengths)
    if steps is None:
        return None
    _, axis, down = steps
    ways = tail * np.int64(2 * len(sides)) + 2 * axis + down
    wanted = len(nodes) * int(np.where(lengths > 2, 2, 1).sum())
    if len(ways) != wanted or len(np.unique(ways)) < wanted:
        return None  # a mesh, or parallel links
    cables, rates = network.count[inner], network.capacity[inner]
    if any(len(np.unique(cables[axis == d])) > 1 for d in range(len(sides))):
        return None
    slowest = tuple(float(rates[axis == d].min()) for d in range(len(sides)))
    return Tori(tuple(lengths.tolist()), slowest)
