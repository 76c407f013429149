"""Sends of many pairs at once, each a group of its own.

In:  a network and pairs of accelerators.
Out: `sends`, one flow and its fixed time for each pair, as `tuner.pattern` has them one by one.
Left out: any other operation; what sends share with each other, see `fluid` and the engine.
"""

from dataclasses import replace

import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.network.collectives.costs import beyond_s, fixed_s, leaving, limit
from rackmodel.network.collectives.flows import Flows, flows_between
from rackmodel.network.collectives.groups import make_group
from rackmodel.network.graph import Network


def sends(network: Network, pairs: Ints) -> tuple[Flows, Floats]:
    """Return the flow of each pair's send, one byte per byte, and its fixed times. [s]

    pairs : int[P, 2], accelerator indices, from the first to the second, another one. Returned are
    P flows in their order and float[P]. Neither depends on how many bytes are sent: the library
    has one protocol for sends.

    Raises
    ------
    NoRoute
        If some pair is not joined.
    """
    nodes = network.accelerator_nodes[pairs]
    flows = flows_between(network, nodes[:, 0], nodes[:, 1], np.ones(len(pairs)))
    if not len(pairs):
        return flows, np.zeros(0)
    group = make_group(network, pairs[0].tolist())  # any: a pair never spans hosts of a domain
    flows = limit(network, flows, "send", group, op="send", alone=True)
    domain = network.domain_of[pairs]
    # fixed times differ by what joins a pair and how far apart it stands: a few kinds
    far = domain[:, 0] != domain[:, 1], leaving(network, flows)
    kind = np.stack([*far, flows.latency_s], axis=1)
    _, first, which = np.unique(kind, axis=0, return_index=True, return_inverse=True)
    fixed = [_fixed_s(network, pairs[at].tolist(), _only(flows, at)) for at in first.tolist()]
    return flows, np.array(fixed)[which.reshape(-1)]


def _fixed_s(network: Network, pair: list[int], flow: Flows) -> float:
    group = make_group(network, pair)
    beyond = beyond_s(network, group, (flow,), "send")
    return fixed_s(network, group, "send", "send", beyond=beyond)


def _only(flows: Flows, at: int) -> Flows:
    """Return one of the flows."""
    one, crossings = slice(at, at + 1), slice(int(flows.indptr[at]), int(flows.indptr[at + 1]))
    return replace(
        flows,
        source=flows.source[one],
        target=flows.target[one],
        share=flows.share[one],
        indptr=flows.indptr[at : at + 2] - flows.indptr[at],
        links=flows.links[crossings],
        fractions=flows.fractions[crossings],
        latency_s=flows.latency_s[one],
        cap_bytes_per_s=flows.cap_bytes_per_s[one],
    )
