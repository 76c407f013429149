"""The hops of which rings and trees are made.

In:  a group split by scale-up domain.
Out: senders, receivers and the share of the bytes on each hop; the flows of such hops.
Left out: which hops make an algorithm; see its file.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeAlias

import numpy as np

from rackmodel.columns import Floats, Ints, each_once
from rackmodel.network.arrays import link_between
from rackmodel.network.collectives.flows import Flows, flows_between
from rackmodel.network.collectives.groups import Group
from rackmodel.network.graph import Network

Hops: TypeAlias = tuple[Ints, Ints, Floats]


@cache
def overlaps(left: int, right: int) -> Hops:
    """Spread one byte evenly over `left` senders and `right` receivers.

    Returns the sender, the receiver and the part of each of the left + right - gcd pairs.

    >>> [x.tolist() for x in overlaps(2, 1)]
    [[0, 1], [0, 0], [0.5, 0.5]]
    """
    cuts = each_once(np.concatenate([np.arange(left + 1) * right, np.arange(right + 1) * left]))
    start = cuts[:-1]
    found = start // right, start // left, np.diff(cuts) / (left * right)
    for column in found:
        column.flags.writeable = False  # shared by all who ask
    return found


def flows_of(network: Network, hops: Sequence[Hops]) -> Flows:
    """Route some hops."""
    nothing = np.zeros(0, dtype=np.int64)
    columns = zip((nothing, nothing, np.zeros(0)), *hops, strict=True)
    source, target, share = (np.concatenate(column) for column in columns)
    return flows_between(network, source, target, share)


def around(network: Network, group: Group, share: float, *, close: bool) -> list[Hops]:
    """Return the hops of rings (or, not closed, chains) over all members.

    Inside a switched domain any number of rings loads each port like one. Between domains the rings
    cross on all ports of the smaller side: each byte enters a domain at one member, visits the
    others and leaves, so an inner hop carries (g - 1) / g of it and the g outer hops share it.
    """
    if len(group.parts) == 1:
        return [inside(network, group, group.nodes, share, close=close)]
    hops = [
        inside(network, group, p, share * (len(p) - 1) / len(p)) for p in group.parts if len(p) > 1
    ]
    return hops + list(between(group, share, close=close))


def inside(network: Network, group: Group, part: Ints, share: float, *, close: bool = True) -> Hops:
    """Return the hops of rings (or chains) through a domain, each hop carrying `share`.

    Where all members are joined pairwise, as many rings run in different orders as there are
    members (the complete digraph falls into such ways), so each pair carries an equal part.
    """
    size = len(part)
    if not group.switched and _meshed(network, part):
        a, b = pairs(size)
        hops = size if close else size - 1
        return part[a], part[b], np.full(len(a), share * hops / len(a))
    if close:
        return part, np.roll(part, -1), np.full(size, share)
    return part[:-1], part[1:], np.full(size - 1, share)


def chains(network: Network, group: Group) -> Iterator[Hops]:
    """Yield the hops of a chain through every domain, up and down."""
    if group.switched and len({len(part) for part in group.parts}) == 1:  # all of them at once
        parts = np.stack(group.parts)
        both = np.stack([parts[:, :-1], parts[:, 1:]], axis=1)
        yield both.ravel(), both[:, ::-1].ravel(), np.ones(both.size)
        return
    for part in group.parts:
        if len(part) > 1:
            up, down, one = inside(network, group, part, 1.0, close=False)
            yield up, down, one
            yield down, up, one


def pairs(size: int) -> tuple[Ints, Ints]:
    """Return all ordered pairs of different numbers below `size`."""
    a, b = np.divmod(np.arange(size**2), size)
    return a[a != b], b[a != b]


def _meshed(network: Network, part: Ints) -> bool:
    joined, members = link_between(network), part.tolist()
    return len(members) > 2 and all((a, b) in joined for a in members for b in members if a != b)


def between(group: Group, share: float | Floats, *, close: bool) -> Iterator[Hops]:
    """Yield hops from each domain to the next, spread evenly over the members of both.

    share : what a hop carries, one for all or float[D], that of the hop out of each domain.
    """
    count = len(group.parts)
    shares = np.broadcast_to(share, (count,))
    if count > 1:
        for i in range(count if close else count - 1):
            here, after = group.parts[i], group.parts[(i + 1) % count]
            a, b, part = overlaps(len(here), len(after))
            yield here[a], after[b], float(shares[i]) * part
