"""Rings over all members, and the chain of a broadcast.

In:  a group on a network and an operation.
Out: one round of flows.
Left out: fixed times and protocols; see `costs`.

Source: Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH",
2005.
"""

from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.hops import around, flows_of
from rackmodel.network.collectives.registry import (
    PASSES,
    REDUCING,
    SIMPLE,
    Rounds,
    algorithm,
)
from rackmodel.network.graph import Network


@algorithm("ring", REDUCING, protocols=(0, 1, SIMPLE))
def ring(network: Network, group: Group, op: str) -> Rounds:
    """One round: rings over all members, as many as there are network ports in a domain.

    In a mesh the rings take different orders and so use all its links: see `hops`.
    """
    share = PASSES[op] * (group.true_size - 1) / group.true_size
    return (flows_of(network, around(network, group, share, close=True)),)


@algorithm("bidirectional-ring", REDUCING, protocols=(0, 1, SIMPLE))
def bidirectional_ring(network: Network, group: Group, op: str) -> Rounds:
    """One round: the rings of `ring`, half of the bytes each way around.

    Worth it where neighbours are joined by links of their own; a switch port is as full either way.
    """
    share = PASSES[op] * (group.true_size - 1) / group.true_size / 2
    hops = around(network, group, share, close=True)
    return (flows_of(network, hops + [(after, before, part) for before, after, part in hops]),)


@algorithm("chain", ("broadcast",), copies=True)
def chain(network: Network, group: Group, op: str) -> Rounds:
    """One round: a pipelined chain over all members, domain by domain."""
    return (flows_of(network, around(network, group, 1.0, close=False)),)
