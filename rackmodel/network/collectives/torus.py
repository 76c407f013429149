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

from rackmodel.errors import InvalidInput
from rackmodel.network.collectives.flows import flows_between
from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.registry import PASSES, REDUCING, Rounds, Steps, algorithm
from rackmodel.network.graph import Network


def box_of(network: Network, group: Group) -> list[list[int]] | None:
    """Return the coordinates along each dimension if the group fills a box, else None."""
    if network.position is None or group.true_size != len(group.members):
        return None
    places = np.array([network.position[i] for i in group.members.tolist()])
    lines = [np.unique(places[:, d]).tolist() for d in range(places.shape[1])]
    full = int(np.prod([len(line) for line in lines])) == len(places)
    contiguous = all(line[-1] - line[0] + 1 == len(line) for line in lines)
    return lines if full and contiguous else None


def _steps_s(steps: Steps) -> float:
    """About half-way around each of three dimensions, both ways."""
    return steps.base_s + steps.passes * steps.inside_s * 1.5 * float(np.cbrt(steps.members))


@algorithm("torus", REDUCING, steps_s=_steps_s, passes_on=False)
def torus(network: Network, group: Group, op: str) -> Rounds:
    """One round over the box that the group fills."""
    lines = box_of(network, group)
    if lines is None:
        raise InvalidInput("the group does not fill a box of a torus; try algorithm 'ring'")
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
    return (flows_between(network, np.array(source), np.array(target), np.array(share)),)


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
