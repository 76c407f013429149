"""Which ranks form a group: Megatron's order of axes, and the mesh of experts folded onto it.

In:  a plan and a number of replicas (the true `dp`, or a stand-in for it).
Out: arrays of global ranks, one row a group.
Left out: accelerators, racks, links (rank i is the i-th accelerator used).

Ranks are numbered by axes, fastest first: tp, cp, dp, pp ("tp-cp-ep-dp-pp", Megatron's default:
pipeline ranks far apart), or tp, cp, the replicas that share experts, pp, the other replicas
("tp-cp-ep-pp-dp": a replica close together). Inside one pipeline rank, the tp x cp x dp ranks in
order are laid out again as etp x ep x edp.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, lcm, prod
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from rackmodel.errors import InvalidPlan, UnknownName
from rackmodel.workload.choices import RANK_ORDERS
from rackmodel.workload.copies import expert_shards
from rackmodel.workload.plan import Plan

Ranks = NDArray[np.int64]
AXES = (
    *("tp", "cp", "ep", "etp", "pp", "dp", "dp_cp", "edp", "dp_shard", "dp_replica"),
    *("edp_shard", "edp_replica"),
    *("embedding", "stage", "model", "world"),
)
# Order of the dimensions of the grid of ranks (pp, dp, cp, tp), and how many of the last a group
# spans. Groups of experts and of shards have grids of their own, see `axis_members`.
_GROUPS = {
    "tp": ((0, 1, 2, 3), 1),
    "cp": ((0, 1, 3, 2), 1),
    "dp": ((0, 2, 3, 1), 1),
    "pp": ((1, 2, 3, 0), 1),
    "dp_cp": ((0, 3, 1, 2), 2),
    "etp": ((0, 1, 2, 3), 1),
    "ep": ((0, 1, 3, 2), 1),
    "edp": ((0, 2, 3, 1), 1),
    "dp_shard": ((0, 1, 2, 3), 1),
    "dp_replica": ((0, 1, 3, 2), 1),
    "edp_shard": ((0, 1, 3, 2), 1),
    "edp_replica": ((0, 2, 3, 1), 1),
    "stage": ((0, 1, 2, 3), 3),
    "model": ((1, 0, 2, 3), 3),
    "world": ((0, 1, 2, 3), 4),
}
# Members of a group of each axis.
_SIZES: dict[str, Callable[[Plan], int]] = {
    **{name: attrgetter(name) for name in ("tp", "cp", "ep", "etp", "pp", "dp_cp", "edp")},
    "dp": attrgetter("replicas"),
    "dp_shard": attrgetter("shards"),
    "dp_replica": lambda plan: plan.dp_cp // plan.shards,
    "edp_shard": expert_shards,
    "edp_replica": lambda plan: plan.edp // expert_shards(plan),
    "embedding": lambda plan: min(2, plan.pp),
    "stage": lambda plan: plan.tp * plan.dp_cp,
    "model": lambda plan: plan.tp * plan.cp * plan.pp,
    "world": attrgetter("gpus"),
}


def dp_block(plan: Plan) -> int:
    """Replicas that belong together: a stand-in for `dp` must be a multiple of this.

    >>> dp_block(Plan(tp=2, ep=16, dp=32))
    8
    """
    experts, inner = plan.etp * plan.ep, plan.tp * plan.cp
    block = experts // gcd(experts, inner)
    if plan.shard_size:
        block = lcm(block, max(1, plan.shard_size // plan.cp))
    return block


def replica_stride(plan: Plan) -> int:
    """Ranks from one replica to the next (with pp inside, their average over a `dp_block`)."""
    inner = plan.tp * plan.cp
    return inner if plan.rank_order == RANK_ORDERS[0] else inner * plan.pp


def rank_grid(plan: Plan, dp: int) -> Ranks:
    """Global ranks by pipeline rank, replica, cp and tp: shape (pp, dp, cp, tp)."""
    inner = dp if plan.rank_order == RANK_ORDERS[0] else dp_block(plan)  # before the pipeline axis
    if dp < 1 or dp % dp_block(plan):
        raise InvalidPlan(
            f"dp {dp} is not a multiple of the {dp_block(plan)} replicas that share experts or"
            " shards"
        )
    outer = dp // inner
    ranks = np.arange(outer * plan.pp * inner * plan.cp * plan.tp, dtype=np.int64)
    grid = ranks.reshape(outer, plan.pp, inner, plan.cp, plan.tp)
    return grid.transpose(1, 0, 2, 3, 4).reshape(plan.pp, dp, plan.cp, plan.tp)


def axis_members(plan: Plan, axis: str, dp: int) -> Ranks:
    """Return the groups of an axis, members in ring order.

    Parameters
    ----------
    axis : "tp", "cp", "ep", "etp", "pp", "dp", "dp_cp" (replicas of attention weights), "edp"
        (replicas of experts), "dp_shard" and "dp_replica" (the two levels of shards of
        a stated size), "edp_shard" and "edp_replica" (of experts), "embedding"
        (first and last pipeline rank), "stage" (a whole pipeline rank: tp x cp x dp), "model" (a
        whole replica: tp x cp x pp), "world".
    dp : replicas of the machine that is simulated.

    Returns
    -------
    Global ranks, shape (groups, members).

    Examples
    --------
    >>> axis_members(Plan(tp=2, pp=2, dp=2), "dp", 2).tolist()
    [[0, 2], [1, 3], [4, 6], [5, 7]]
    """
    grid = rank_grid(plan, dp)
    if axis == "embedding":
        ends = grid[[0, -1]] if plan.pp > 1 else grid[:1]
        return ends.reshape(len(ends), -1).T.copy()
    if axis not in _GROUPS:
        raise UnknownName.among("axis", axis, AXES)
    order, spanned = _GROUPS[axis]
    if axis in ("ep", "etp", "edp"):
        grid = grid.reshape(plan.pp, -1, plan.ep, plan.etp)
    elif axis in ("dp_shard", "dp_replica"):
        shards = plan.shard_size or dp * plan.cp
        grid = grid.transpose(0, 3, 1, 2).reshape(plan.pp, plan.tp, -1, shards)
    elif axis in ("edp_shard", "edp_replica"):
        shards = (
            expert_shards(plan) if plan.shard_size else grid.size // plan.pp // (plan.ep * plan.etp)
        )
        grid = grid.reshape(plan.pp, -1, shards, plan.ep * plan.etp)
    grid = grid.transpose(order)
    return grid.reshape(-1, prod(grid.shape[-spanned:]))


def exchange_algorithm(plan: Plan, op: str, axis: str) -> str | None:
    """How a plan's software runs a collective where it does not leave that to the library.

    DeepEP's kernels post their messages to the NIC themselves; no host thread has to keep up.

    >>> exchange_algorithm(Plan(ep=64, dispatcher="deepep"), "all-to-all", "ep")
    'gpu-initiated'
    """
    own = plan.dispatcher == "deepep" and (op, axis) == ("all-to-all", "ep")
    return "gpu-initiated" if own else None


def axis_true_size(plan: Plan, axis: str) -> int:
    """Members of a group of this axis at the true `dp`, without building it.

    >>> axis_true_size(Plan(tp=8, pp=4, cp=2, dp=16), "dp_cp")
    32
    """
    if axis not in _SIZES:
        raise UnknownName.among("axis", axis, AXES)
    return _SIZES[axis](plan)
