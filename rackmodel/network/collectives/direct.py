"""Each pair by itself: direct exchanges, from the host, from the accelerator, over rails; sends.

In:  a group on a network and an operation.
Out: one round of flows.
Left out: exchanges among more members than anyone would route pair by pair; see `wide_exchange`.
"""

import numpy as np

from rackmodel.network.collectives.flows import flows_between
from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.hops import flows_of, pairs
from rackmodel.network.collectives.registry import PASSES, REDUCING, Rounds, Steps, algorithm
from rackmodel.network.graph import Network, by_rail


def _steps_s(steps: Steps) -> float:
    one = steps.outside_s if steps.domains > 1 else steps.inside_s
    return steps.base_s + one + steps.peer_s * (steps.members - 1)


@algorithm("gpu-initiated", ("all-to-all",), steps_s=_steps_s, passes_on=False, copies=True)
@algorithm("direct", (*REDUCING, "all-to-all"), steps_s=_steps_s, passes_on=False, copies=True)
def direct(network: Network, group: Group, op: str) -> Rounds:
    """One round: every member exchanges its part with every other one.

    In a stand-in, pairs in different domains carry the parts of all that they stand for.
    """
    a, b = pairs(len(group.nodes))
    share = np.full(len(a), PASSES.get(op, 1.0) / group.true_size)
    if len(group.parts) > 1:
        share *= group.stands_for(a, b)
    return (flows_between(network, group.nodes[a], group.nodes[b], share),)


@algorithm(
    "rail",
    ("all-to-all",),
    steps_s=_steps_s,
    passes_on=False,
    copies=True,
    most_whole=1_500,
)
def rail(network: Network, group: Group, op: str) -> Rounds:
    """One round: as `direct`, through the accelerator of one's own domain on the target's rail."""
    return direct(by_rail(network), group, op)


@algorithm(
    "send",
    ("send",),
    steps_s=lambda steps: steps.base_s + (steps.outside_s if steps.domains > 1 else steps.inside_s),
    passes_on=False,
    copies=True,
)
def send(network: Network, group: Group, op: str) -> Rounds:
    """One round: the first member sends everything to the last."""
    return (flows_of(network, [(group.nodes[:1], group.nodes[-1:], np.ones(1))]),)
