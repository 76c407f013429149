"""Dispatch and combine of few tokens: every copy goes to its expert by itself, at once.

In:  a group on a network; bytes are all copies that one member sends.
Out: one round of flows, as a direct exchange has.
Left out: exchanges of many tokens, where copies share the way to a domain.

The accelerator posts its messages itself, a few KB each. Floors and rates of the kernels belong to
the generation (data/library.toml), what messages of that size reach outside to the transport. The
kernels of DeepEP's first release sent by RDMA to members of their own host too (deepseek-ai/DeepEP,
README of February 2025): "low-latency-nic".
"""

import math

from rackmodel.hardware import Transport
from rackmodel.network.collectives.constants import Generation, nccl
from rackmodel.network.collectives.costs import send_limits
from rackmodel.network.collectives.direct import direct
from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.registry import Reach, Rounds, Steps, algorithm
from rackmodel.network.graph import Network


def _steps_s(steps: Steps) -> float:
    more = float(nccl("exchange_doubling_s")) * math.log2(max(1.0, steps.members / 4))
    wires_s = steps.message_s + steps.far_s if steps.domains > 1 else steps.near_s
    return max(0.0, steps.exchange_s + more + wires_s)


def _reach(facts: Generation, transport: Transport, op: str) -> Reach:
    if op == "combine":  # adds what it receives
        most = facts.combine_bytes_per_s
        return Reach(inside=facts.combine, outside=transport.scattered, most=most)
    return Reach(inside=facts.dispatch, outside=transport.scattered)


@algorithm(
    "low-latency",
    ("dispatch", "combine"),
    steps_s=_steps_s,
    passes_on=False,
    copies=True,
    reach=_reach,
)
def low_latency(network: Network, group: Group, op: str) -> Rounds:
    """One round: every member sends an equal part of its copies to every other one."""
    return direct(network, group, op)


def _nic_steps_s(steps: Steps) -> float:
    far_s = steps.far_s or steps.near_s  # in a graph of one domain all wires are near
    return _steps_s(steps._replace(domains=max(2, steps.domains), far_s=far_s))


@algorithm(
    "low-latency-nic",
    ("dispatch", "combine"),
    steps_s=_nic_steps_s,
    passes_on=False,
    copies=True,
    reach=lambda facts, transport, op: Reach(inside=0.0, outside=transport.scattered, by_nic=True),
)
def low_latency_nic(network: Network, group: Group, op: str) -> Rounds:
    """One round, every copy by RDMA: members of one's own host are no nearer than others.

    Raises
    ------
    InvalidInput
        If a member has no network port.
    """
    send_limits(network, group, "low-latency-nic", op)
    return direct(network, group, op)
