"""Two complementary binary trees over domains.

In:  a group on a network and an operation.
Out: one round of flows; the hops of the trees.
Left out: fixed times and protocols; see `costs`.

Source: Sanders, Speck, Traeff, "Two-tree algorithms for full bandwidth broadcast, reduction and
scan", 2009 (double binary tree).
"""

import math
from collections.abc import Iterator

import numpy as np

from rackmodel.columns import Ints
from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.hops import Hops, chains, flows_of, overlaps
from rackmodel.network.collectives.registry import SIMPLE, Rounds, Steps, algorithm
from rackmodel.network.graph import Network


def _steps_s(steps: Steps) -> float:
    near = max(0.0, steps.inner - 1) * steps.inside_s
    return steps.base_s + steps.passes * (near + math.log2(steps.domains) * steps.outside_s)


@algorithm(
    "tree",
    ("all-reduce",),
    steps_s=_steps_s,
    table="tree",
    protocols=(0, 1, SIMPLE),
    few_ports=True,
)
def tree(network: Network, group: Group, op: str) -> Rounds:
    """One round: two complementary binary trees over domains, chains inside; reduce and broadcast.

    Each tree carries half of the bytes up and down; a domain is a leaf in one and inner in the
    other.
    """
    return (flows_of(network, [*tree_hops(group), *chains(network, group)]),)


def tree_hops(group: Group) -> Iterator[Hops]:
    """Yield the hops of both trees, up and down, each spread evenly over the members."""
    count = len(group.parts)
    if count > 1 and len({len(part) for part in group.parts}) == 1:
        yield from _even_hops(np.stack(group.parts))
        return
    for second in (False, True):
        for child in range(1, count):
            a, b = child, _parent(child, count)
            if second and count % 2 == 0:  # mirrored: odd ranks, the leaves, become inner ones
                a, b = count - 1 - a, count - 1 - b
            elif second:  # shifted by one does the same for an odd number
                a, b = (a + 1) % count, (b + 1) % count
            i, j, part = overlaps(len(group.parts[a]), len(group.parts[b]))
            lower, upper = group.parts[a][i], group.parts[b][j]
            yield lower, upper, part / 2
            yield upper, lower, part / 2


def _even_hops(parts: Ints) -> Iterator[Hops]:
    """Yield the same hops where all domains have as many members, all of a tree at once.

    parts : int[D, n], the members of each domain.
    """
    count, each = parts.shape
    child = np.arange(1, count)
    parent = np.array([_parent(rank, count) for rank in range(1, count)])
    mirrored = (count - 1 - child, count - 1 - parent)
    shifted = ((child + 1) % count, (parent + 1) % count)
    half = overlaps(each, each)[2] / 2
    for a, b in ((child, parent), shifted if count % 2 else mirrored):
        both = np.stack([parts[a], parts[b]], axis=1)  # up and down in turn
        yield both.ravel(), both[:, ::-1].ravel(), np.tile(half, 2 * len(a))


def _parent(rank: int, count: int) -> int:
    """Return the parent in the in-order binary tree rooted at 0 (odd ranks are leaves)."""
    bit = rank & -rank
    up = (rank ^ bit) | (bit << 1)
    return rank ^ bit if up >= count else up
