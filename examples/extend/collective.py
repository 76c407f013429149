"""A collective of your own: flows of one round, from arrays.

    rackmodel --extend examples/extend/collective.py collective dgx-h100 --op broadcast --gpus 8 \
        --bytes 64MB --algorithm star
"""

import numpy as np

from rackmodel import extend
from rackmodel.network.collectives.flows import Flows, flows_between
from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.registry import Steps
from rackmodel.network.graph import Network


def one_step_s(steps: Steps) -> float:
    """Return launch and one step to every partner. [s]"""
    farthest_s = steps.outside_s if steps.domains > 1 else steps.inside_s
    return steps.base_s + farthest_s + (steps.members - 2) * steps.peer_s


@extend.collective("star", ("broadcast",), steps_s=one_step_s, passes_on=False, copies=True)
def star(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """The root sends the whole buffer to each member by itself: one step, n - 1 times the bytes."""
    root, others = group.nodes[:1], group.nodes[1:]
    share = np.full(len(others), (group.true_size - 1) / len(others))
    return (flows_between(network, np.repeat(root, len(others)), others, share),)
