"""Reduction in switches: NVLS inside domains, trees over it, SHARP in the fabric.

In:  a group on a network and an operation.
Out: one round of flows.
Left out: fixed times and protocols; see `costs`.

Source: Klenk et al., "An in-network architecture for accelerating shared-memory multiprocessor
collectives", ISCA 2020.
"""

import math

import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.errors import InvalidInput
from rackmodel.network.arrays import remembered
from rackmodel.network.collectives.constants import nccl
from rackmodel.network.collectives.flows import Flows, flows_along, flows_over, join
from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.hops import flows_of, inside
from rackmodel.network.collectives.registry import REDUCING, Rounds, Steps, algorithm
from rackmodel.network.collectives.tree import tree_hops
from rackmodel.network.graph import Network
from rackmodel.topology.kinds import Kind


def _nvls_s(steps: Steps) -> float:
    return steps.base_s + max(0.0, float(nccl("nvls_inside_s")) + steps.near_s)


def _nvls_tree_s(steps: Steps) -> float:
    step = max(0.0, float(nccl("nvls_tree_outside_s")) + steps.post_s + steps.far_s)
    return _nvls_s(steps) + 2 * math.log2(max(2, steps.domains)) * step


def _sharp_s(steps: Steps) -> float:
    return _nvls_s(steps) + max(0.0, float(nccl("sharp_outside_s")) + steps.far_s)


@algorithm("nvls", REDUCING, steps_s=_nvls_s)
def nvls(network: Network, group: Group, op: str) -> Rounds:
    """One round: the scale-up switches add and multicast (one domain)."""
    if len(group.parts) > 1 or group.true_size > len(group.members):
        raise InvalidInput("the group spans scale-up domains; try algorithm 'nvls-tree'")
    return (_in_switch(network, group, op),)


@algorithm("nvls-tree", ("all-reduce",), steps_s=_nvls_tree_s, few_ports=True)
def nvls_tree(network: Network, group: Group, op: str) -> Rounds:
    """One round: in-switch reduction inside domains, double binary trees over the rails between."""
    between = flows_of(network, list(tree_hops(group)))
    return (join(_in_switch(network, group, op), between),)


@algorithm("sharp", ("all-reduce",), steps_s=_sharp_s)
def sharp(network: Network, group: Group, op: str) -> Rounds:
    """One round: reduction inside domains, then in the fabric's switches; each byte goes up once.

    Above the first switch a reduced stream is at most what enters it, so only the members' own
    links are charged.
    """
    if not network.fabric_reduction:
        raise InvalidInput("the fabric's switches do not reduce; try algorithm 'ring'")
    core = network.router.core("fabric")
    ends: list[tuple[int, int, float]] = []
    links: list[list[int]] = []
    parts: list[Floats] = []
    for part in group.parts:
        for node in part.tolist():
            host = core.host(node)
            outer = [
                i
                for i, (at, _, _) in enumerate(host.key)
                if network.node_kinds[at] != Kind.SCALE_UP_SWITCH
            ]
            if not outer:
                raise InvalidInput(f"{network.nodes[node]!r} has no link to the fabric; add one")
            cables = np.array([host.key[i][2] for i in outer], dtype=float)
            for chains in (host.out_chains, host.in_chains):
                links.append([k for i in outer for k in chains[i]])
                parts.append(np.repeat(cables / cables.sum(), [len(chains[i]) for i in outer]))
            at = host.key[outer[0]][0]
            ends += [(node, at, 1.0 / len(part)), (at, node, 1.0 / len(part))]
    outside = flows_over(network, ends, links, parts)
    if network.reduction and all(len(part) > 1 for part in group.parts):
        return (join(_in_switch(network, group, op), outside),)
    rings = [
        inside(network, group, part, 2.0 * (len(part) - 1) / len(part)) for part in group.parts
    ]
    return (join(flows_of(network, rings), outside),)


def _in_switch(network: Network, group: Group, op: str) -> Flows:
    """Flows between members and the scale-up switches that add or copy for them.

    All-reduce: each member's whole buffer is pulled once by the switches, the sum of its g-th part
    comes back to it and is multicast: (g + 1) / g up and down. Reduce-scatter: 1 up, 1 / g down;
    all-gather: the reverse.
    """
    if not network.reduction:
        raise InvalidInput("the scale-up switches do not reduce; try algorithm 'ring'")
    parts = [part for part in group.parts if len(part) > 1]
    node = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
    piece = 1.0 / np.repeat([len(part) for part in parts], [len(part) for part in parts])
    whole = np.ones(len(node))
    shares = {
        "all-reduce": (whole + piece, whole + piece),
        "reduce-scatter": (whole, piece),
        "all-gather": (piece, whole),
    }[op]
    (out, begin), (into, enter) = _links_to(network), _links_from(network)
    widths = np.stack([begin[node + 1] - begin[node], enter[node + 1] - enter[node]], axis=1)
    if not widths[:, 0].all():
        alone = network.nodes[node[widths[:, 0] == 0][0]]
        raise InvalidInput(f"{alone!r} has no link to a scale-up switch; add one")
    at = network.head[out[begin[node]]]
    ends = np.stack([node, at, at, node], axis=1).reshape(-1, 2)
    width = widths.ravel()
    indptr = np.concatenate([[0], np.cumsum(width)])
    first = np.stack([begin[node], len(out) + enter[node]], axis=1).ravel()
    place = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - first, width)
    links = np.concatenate([out, into])[place]
    rates, owner = network.nominal[links], np.repeat(np.arange(len(width)), width)
    rates = rates / np.bincount(owner, rates, minlength=len(width))[owner]
    return flows_along(network, ends, np.stack(shares, axis=1).ravel(), (indptr, links, rates))


@remembered
def _links_to(network: Network) -> tuple[Ints, Ints]:
    return _by_node(network, network.tail, network.head)


@remembered
def _links_from(network: Network) -> tuple[Ints, Ints]:
    return _by_node(network, network.head, network.tail)


def _by_node(network: Network, near: Ints, far: Ints) -> tuple[Ints, Ints]:
    """Return links between accelerators and switches by accelerator, and where each begins."""
    part, switch = network.of_kind(Kind.ACCELERATOR), network.of_kind(Kind.SCALE_UP_SWITCH)
    links = np.flatnonzero(part[near] & switch[far])
    order = links[np.argsort(near[links], kind="stable")]
    return order, np.searchsorted(near[order], np.arange(len(part) + 1))
