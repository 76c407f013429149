"""How tokens reach experts where a plan leaves it open: by odds of fused kernels and all-to-all.

In:  the dispatcher of a plan, or odds of one.
Out: the share of tokens by fused kernels; whether a library's all-to-all may take some.
Left out: where the odds come from (`silent.py`); what each way sends and moves (`experts.py`).
"""

from __future__ import annotations

from rackmodel.workload.plan import Plan


def fused(plan: Plan) -> float:
    """Return the share of tokens that reach experts by fused kernels: 1, 0, or the odds of it.

    Where nobody knows, traffic and kernels are what is to be expected of both ways.
    """
    return float(plan.dispatcher == "deepep" or plan.fused_odds or 0.0)


def by_library(plan: Plan) -> bool:
    """Return whether tokens may go by the collective library's all-to-all, which holds buffers."""
    return plan.dispatcher == "all-to-all" or 0.0 < fused(plan) < 1.0
