"""What communicators hold in HBM beside all tensors.

In:  the axes of a plan, numbers or arrays over plans; software.
Out: groups that a rank communicates in, its peers of an all-to-all, the bytes of their buffers.
Left out: buffers of NVSHMEM, of DeepEP, of registered user memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from rackmodel.software import Software

Amount: TypeAlias = Any  # a number, or an array over plans
PEERS = 8  # of a node, which NCCL connects one by one; those beyond share buffers of the network


def fixed_bytes(software: Software, groups: Amount, peers: Amount) -> Amount:
    """Bytes that no tensor holds: the driver's context, and buffers of every communicator."""
    buffers = software.communicator_bytes * groups + software.exchange_bytes * peers
    return software.fixed_bytes + buffers


def groups_of(
    axes: Mapping[str, Amount], *, tied: bool, all_to_all: Amount
) -> tuple[Amount, Amount]:
    """Return the groups that a rank communicates in, and its peers of an all-to-all by NCCL.

    A group each of the axes with more than one rank; one of all ranks (norm of gradients) where
    these are several; one of both ends of a pipeline that share an embedding.

    axes : ranks along tp, pp, cp, ep, dp_cp, edp. all_to_all : whether tokens go by one.

    >>> groups_of({"tp": 8, "pp": 4, "dp_cp": 16}, tied=False, all_to_all=False)[0]
    4
    """
    count: Amount = sum(axes[name] > 1 for name in axes if name != "edp")
    count = count + (count > 1) + tied * (axes["pp"] > 1)
    ep = axes.get("ep", 1)
    count = count + (ep > 1) * (axes.get("edp", 1) > 1)
    inside = ep * (ep <= PEERS) + PEERS * (ep > PEERS) - 1
    return count, inside * all_to_all
