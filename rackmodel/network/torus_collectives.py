"""Collectives on tori: all dimensions at once, both ways around.

In:  a group that fills a box of a torus or mesh.
Out: one round of flows between neighbours.
Left out: boxes that are not full; those run as rings over routed paths.

The buffer is cut into as many parts as dimensions; part d reduce-scatters along dimension d first,
then d + 1 and so on, and gathers back in the reverse order, so that every link works all the time.
Source: Jouppi et al., "TPU v4", ISCA 2023; Sack and Gropp, "Collective algorithms for multiported
torus networks", 2015.
"""

import numpy as np

from rackmodel.network.algorithms import PASSES
from rackmodel.network.graph import Network
from rackmodel.network.groups import Group
from rackmodel.network.patterns import Flows, flows_between


def box_of(network: Network, group: Group) -> list[list[int]] | None:
    """Return the coordinates along each dimension if the group fills a box, else None."""
    if network.position is None or group.true_size != len(group.members):
        return None
    places = np.array([network.position[i] for i in group.members.tolist()])
    lines = [np.unique(places[:, d]).tolist() for d in range(places.shape[1])]
    full = int(np.prod([len(line) for line in lines])) == len(places)
    contiguous = all(line[-1] - line[0] + 1 == len(line) for line in lines)
    return lines if full and contiguous else None


def torus(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round over the box; call only where `box_of` finds one."""
    lines = box_of(network, group)
    assert lines is not None, "the caller has checked the box"
    assert network.position is not None
    used = [d for d, line in enumerate(lines) if len(line) > 1]
    loads = _loads([len(lines[d]) for d in used], PASSES[op])
    node_at = {
        network.position[i]: int(network.accelerator_nodes[i]) for i in group.members.tolist()
    }
    source, target, share = [], [], []
    for d, load in zip(used, loads, strict=True):
        line = lines[d]
        for place, node in node_at.items():
            k = place[d] - line[0]
            ahead = node_at[(*place[:d], line[(k + 1) % len(line)], *place[d + 1 :])]
            source += [node, ahead]
            target += [ahead, node]
            share += [load / 2] * 2
    flows = flows_between(network, np.array(source), np.array(target), np.array(share))
    return (flows,)


def _loads(sizes: list[int], passes: float) -> list[float]:
    """Return what one member sends along each dimension, over all parts of the buffer."""
    loads = [0.0] * len(sizes)
    for first in range(len(sizes)):
        left = passes / len(sizes)
        for step in range(len(sizes)):
            d = (first + step) % len(sizes)
            loads[d] += left * (sizes[d] - 1) / sizes[d]
            left /= sizes[d]
    return loads
