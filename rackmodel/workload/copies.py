"""Copies of weights, or of optimizer states, and the ranks that hold one together.

In:  a plan.
Out: how many ranks hold one copy of experts, and the axes that copies are cut and summed over.
Left out: which ranks these are (`placement`).
"""

from __future__ import annotations

from rackmodel.workload.plan import Plan


def expert_shards(plan: Plan) -> int:
    """Ranks that hold one copy of experts (zero1: of their states) together.

    >>> expert_shards(Plan(ep=4, dp=16, sharding="zero1", shard_size=8))
    2

    At least one: the plans by which the closed form cuts a layer may have no whole copy.
    """
    return max(1, plan.edp // (plan.dp_cp // plan.shards))


def shard_axes(plan: Plan) -> tuple[str, str, str, str]:
    """Axes of those that hold one copy of dense weights together, and between copies; of experts.

    "" where there is one copy.

    >>> shard_axes(Plan(ep=4, dp=16, sharding="hsdp", shard_size=8))
    ('dp_shard', 'dp_replica', 'edp_shard', 'edp_replica')
    """
    dense = ("dp_shard", "dp_replica") if plan.shard_size else ("dp_cp", "")
    apart = expert_shards(plan) < plan.edp
    return *dense, *(("edp_shard", "edp_replica") if apart else ("edp", ""))
