"""Dimension-order routes on tori and meshes.

In:  a network whose accelerators have coordinates, and pairs of them.
Out: for each pair, the links of the path that settles one dimension after another.
Left out: adaptive choice; a half-way tie around a ring goes upwards.
"""

import numpy as np

from rackmodel.columns import Ints
from rackmodel.network.arrays import Arrays, link_between, torus_shape


def dimension_order(network: Arrays, sources: Ints, targets: Ints) -> tuple[Ints, Ints] | None:
    """Return the number of links of each path, and the links of all, one path after another.

    None if some step finds no link (not a torus or mesh after all): then shortest paths serve.
    """
    sizes = torus_shape(network)
    places = network.position
    if places is None or not len(sources):
        return None
    numbers = network.accelerator_nodes.tolist()
    place_of = dict(zip(numbers, places, strict=True))
    node_at = {place: node for node, place in place_of.items()}
    joined = link_between(network)
    paths: list[list[int]] = []
    for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
        at, goal, path = place_of[source], place_of[target], []
        for d, size in enumerate(sizes):
            while at[d] != goal[d]:
                ahead = (goal[d] - at[d]) % size
                wraps = _wraps(node_at, joined, at, d, size)
                up = ahead <= size - ahead if wraps else goal[d] > at[d]
                after = (*at[:d], (at[d] + (1 if up else -1)) % size, *at[d + 1 :])
                link = joined.get((node_at[at], node_at.get(after, -1)))
                if link is None:
                    return None
                path.append(link)
                at = after
        paths.append(path)
    counts = np.array([len(path) for path in paths], dtype=np.int64)
    return counts, np.array([link for path in paths for link in path], dtype=np.int64)


def _wraps(
    node_at: dict[tuple[int, ...], int],
    joined: dict[tuple[int, int], int],
    at: tuple[int, ...],
    d: int,
    size: int,
) -> bool:
    """Say whether the line through `at` along dimension d closes to a ring."""
    first, last = (*at[:d], 0, *at[d + 1 :]), (*at[:d], size - 1, *at[d + 1 :])
    if first not in node_at or last not in node_at:
        return False
    return (node_at[last], node_at[first]) in joined
