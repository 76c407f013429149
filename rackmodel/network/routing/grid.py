"""Routes on a regular torus or mesh: found once for each offset, moved to every other place.

In:  a network whose accelerators fill a box and are joined to their neighbours, all alike.
Out: `Grid`, which moves the links of one route to any pair with the same offset.
Left out: how the one route is found; see `router`.

Shortest ways between two places of a torus depend only on the offset between them, and so do the
equal parts that go over each. So 65,280 pairs of 256 chips need 255 searches.
"""

from typing import NamedTuple

import numpy as np

from rackmodel.columns import Bools, Ints
from rackmodel.network.arrays import Arrays, lattice_steps, node_places


class Grid(NamedTuple):
    """A box of accelerators.

    sizes, wraps : per dimension. place : int[N, D], coordinates of each node. node_at : int[n], the
    node of each flat index. link : int[N, 2 D], the link out of each node upwards and downwards
    along each dimension, -1 for none. direction : int[L], column of `link` that holds each link.
    """

    sizes: Ints
    wraps: Bools
    place: Ints
    node_at: Ints
    link: Ints
    direction: Ints
    tail_of: Ints  # int[L]

    def offsets(self, sources: Ints, targets: Ints) -> Ints:
        """Return one number for each pair, equal for pairs with the same offset."""
        step = self.place[targets] - self.place[sources]
        step = np.where(self.wraps, step % self.sizes, step + self.sizes)
        return np.asarray(np.ravel_multi_index(tuple(step.T), tuple(2 * self.sizes)), np.int64)

    def moved(self, links: Ints, source: int, sources: Ints) -> Ints:
        """Return the links of a route from `source`, moved to each of `sources`: int[P, E]."""
        tails = self.place[self.tail_of[links]] - self.place[source]
        places = (self.place[sources][:, None, :] + tails) % self.sizes
        flat = np.ravel_multi_index(tuple(np.moveaxis(places, -1, 0)), tuple(self.sizes))
        moved: Ints = self.link[self.node_at[flat], self.direction[links]]
        return moved


def grid_of(network: Arrays) -> Grid | None:
    """Return the network as a regular grid, None if it isn't one."""
    nodes = network.accelerator_nodes
    if network.position is None or len(nodes) < 2:
        return None
    places = np.array(network.position, dtype=np.int64)
    sizes = places.max(axis=0) + 1
    if places.min() < 0 or int(np.prod(sizes)) != len(nodes):
        return None
    flat = np.ravel_multi_index(tuple(places.T), tuple(sizes))
    if len(np.unique(flat)) < len(flat):
        return None
    count, dimensions = len(network.nodes), len(sizes)
    place = node_places(network)
    node_at = np.empty(len(nodes), dtype=np.int64)
    node_at[flat] = nodes
    inner = network.scale_up
    tail, head = network.tail[inner], network.head[inner]
    steps = lattice_steps(place[tail], place[head], sizes)
    if steps is None:
        return None
    step, axis, down = steps
    link = np.full((count, 2 * dimensions), -1, dtype=np.int64)
    ids = np.flatnonzero(inner)
    link[tail, 2 * axis + down] = ids
    direction = np.full(len(network.tail), -1, dtype=np.int64)
    direction[ids] = 2 * axis + down
    wraps = np.zeros(dimensions, dtype=bool)
    for d in range(dimensions):
        mine = axis == d
        wraps[d] = bool((np.abs(step[mine, d]) > 1).any()) or sizes[d] == 2
        lines = len(nodes) // sizes[d]
        expected = lines * (sizes[d] if wraps[d] and sizes[d] > 2 else sizes[d] - 1) * 2
        alike = len(np.unique(network.count[ids][mine])) <= 1
        if mine.sum() != expected or not alike:
            return None
    return Grid(sizes, wraps, place, node_at, link, direction, network.tail)
