"""An all-reduce in one kernel that reads its partners' memory, as serving runs it.

In:  a group inside a scale-up domain.
Out: one round of flows.
Left out: the library's own algorithms, which take several times as long below some 100 KB.

A kernel of this kind is replayed from a captured graph: its floor holds no launch by the host.
"""

import numpy as np

from rackmodel.errors import InvalidInput
from rackmodel.hardware import Transport
from rackmodel.network.collectives.constants import Generation
from rackmodel.network.collectives.flows import flows_between
from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.hops import pairs
from rackmodel.network.collectives.registry import Reach, Rounds, algorithm
from rackmodel.network.graph import Network


def _reach(facts: Generation, transport: Transport, op: str) -> Reach:
    return Reach(inside=facts.one_kernel, outside=1.0)


@algorithm(
    "one-shot",
    ("all-reduce",),
    steps_s=lambda steps: steps.kernel_s,
    passes_on=False,
    reach=_reach,
)
def one_shot(network: Network, group: Group, op: str) -> Rounds:
    """One round: every member reads the whole buffer of every other one and adds.

    Without flags: values say by themselves that they have come (TensorRT-LLM, FlashInfer).

    Raises
    ------
    InvalidInput
        If the group spans scale-up domains, whose members can't read each other.
    """
    return _reads(network, group, 1.0)


@algorithm(
    "two-shot",
    ("all-reduce",),
    steps_s=lambda steps: steps.sync_s,
    passes_on=False,
    reach=lambda facts, transport, op: Reach(inside=facts.sync, outside=1.0),
)
def two_shot(network: Network, group: Group, op: str) -> Rounds:
    """One round: each member adds its part, waits for all, then reads the others' sums.

    Raises
    ------
    InvalidInput
        If the group spans scale-up domains, whose members can't read each other.
    """
    return _reads(network, group, 2.0 / group.true_size)


@algorithm(
    "two-shot-multicast",
    ("all-reduce",),
    steps_s=lambda steps: steps.kernel_s,
    passes_on=False,
    reach=_reach,
)
def two_shot_multicast(network: Network, group: Group, op: str) -> Rounds:
    """One round without flags: switches copy each member's sums to all others.

    TensorRT-LLM's MNNVL all-reduce, between hosts of a domain.

    Raises
    ------
    InvalidInput
        If the group spans scale-up domains, whose members can't read each other.
    """
    return _reads(network, group, 2.0 / group.true_size)


def _reads(network: Network, group: Group, share: float) -> Rounds:
    if len(group.parts) > 1 or group.true_size > len(group.members):
        raise InvalidInput("the group spans scale-up domains; try algorithm 'ring'")
    a, b = pairs(len(group.nodes))
    flows = flows_between(network, group.nodes[a], group.nodes[b], np.full(len(a), share))
    return (flows,)
