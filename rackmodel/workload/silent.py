"""What the machine and the software decide where a job is silent.

In:  a job, its accelerator, how many of these a scale-up domain has.
Out: the job with nothing left open that an accelerator or a habit settles; the share of tokens by
fused kernels, where that stays a matter of odds.
Left out: recompute and offload, which follow from memory (`recompute_choices`); what each way of
tokens moves (`experts`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from rackmodel.software import dated, software_of
from rackmodel.workload.choices import AcceleratorLike
from rackmodel.workload.job import Job
from rackmodel.workload.plan import Plan
from rackmodel.workload.schedules.schedule import schedule_of


def settled(job: Job, part: AcceleratorLike, domain: int = 0) -> Job:
    """Return the job with what its machine and software decide where it is silent.

    The software's date (`dated`); layers that run again; a second copy of fp8 weights, read in
    one orientation (Transformer Engine 2.2, is_non_tn_fp8_gemm_supported); unfused attention;
    overlaps of tp and ep; how tokens reach experts, to whom of a domain (0: not known)
    deepseek-ai/DeepEP sends once.

    Parameters
    ----------
    domain : accelerators of a scale-up domain; 0: not known, and what hangs on it stays open.
    """
    job = replace(job, stack=dated(job.stack, part.year))
    if "layers" in job.modules:  # every second one
        half = (-(-job.model.layers // job.plan.chunks) + 1) // 2
        job = job.replace(recompute="full", recompute_layers=half)
    if job.transposes is None:
        job = replace(job, transposes=not part.fp8_either_orientation)
    if part.fused_attention is False and not job.attention:
        job = replace(job, attention="unfused")
    job = job.replace(**overlaps(job, domain))
    if job.plan.ep > 1 and not job.plan.dispatcher:
        job = job.replace(**_dispatch(job, part))
    plan = job.plan
    if not domain or plan.dispatch_domain or not fused(plan):
        return job
    # The most ranks of a group that domains hold in equal parts: 32 of 64 where 36 fit.
    most = max(1, min(plan.ep, domain // plan.etp))
    inside = max(d for d in range(1, most + 1) if plan.ep % d == 0)
    return job.replace(dispatch_domain=inside if inside < plan.ep else 1)


def _dispatch(job: Job, part: AcceleratorLike) -> dict[str, Any]:
    """Return the dispatcher of a plan that states none, or odds where neither is certain."""
    odds = job.plan.fused_odds
    if odds is None:
        odds = software_of(job.stack).fused_odds(part.family)
    if 0.0 < odds < 1.0:
        return {"fused_odds": odds}
    return {"fused_odds": None, "dispatcher": "deepep" if odds else "all-to-all"}


def as_chosen(job: Job, part: AcceleratorLike, domain: int) -> Job:
    """Return a settled job without where its ranks stand, where the same machine says it again."""
    plain = job.replace(dispatch_domain=0)
    return plain if settled(plain, part, domain) == job else job


def needs_machine(job: Job) -> list[str]:
    """Return the fields that a plan leaves open and that its software decides by the machine."""
    plan, software = job.plan, software_of(job.stack)
    silent = plan.ep > 1 and not plan.dispatcher and plan.fused_odds is None
    found = (
        ["dispatcher"] if silent and (software.fused_dispatch or software.fused_by_family) else []
    )
    near, far = (overlaps(job, domain) for domain in (1, plan.ep))
    return found + [name for name, on in near.items() if on != far[name]]


def overlaps(job: Job, domain: int) -> dict[str, bool]:
    """Return the overlaps that a plan leaves open, as recipes of its software set them.

    domain : accelerators of a scale-up domain; 0 leaves those of ep open.
    """
    plan = job.plan
    found = {"tp_overlap": hides_tp(plan, job.stack)} if plan.tp_overlap is None else {}
    if plan.ep_overlap is None and domain:
        found["ep_overlap"] = plan.ep > hides_ep_above(plan, job.stack, domain)
    return found


def hides_tp(plan: Plan, stack: str) -> bool:
    """Return whether a plan hides collectives of tp in products, by itself or by its recipes."""
    if plan.tp_overlap is not None:
        return plan.tp_overlap
    return software_of(stack).recipes_hide_tp(plan.tp, plan.sequence_parallel)


def hides_ep_above(plan: Plan, stack: str, domain: int) -> float:
    """Return the ep above which recipes hide a silent plan's all-to-alls; inf: at no ep.

    They are hidden where an interleaved pipeline has two passes to run side by side (Megatron-Core
    asks for one).
    """
    passes = plan.pp > 1 and plan.vpp > 1 and schedule_of(plan.order).hides_exchanges
    if not passes or plan.dispatcher == "all-gather":
        return math.inf
    return software_of(stack).recipes_hide_ep_above(domain)


def fused(plan: Plan) -> float:
    """Return the share of tokens that reach experts by fused kernels: 1, 0, or the odds of it.

    Where nobody knows, traffic and kernels are what is to be expected of both ways.
    """
    return float(plan.dispatcher == "deepep" or plan.fused_odds or 0.0)


def by_library(plan: Plan) -> bool:
    """Return whether tokens may go by the collective library's all-to-all, which holds buffers."""
    return plan.dispatcher == "all-to-all" or 0.0 < fused(plan) < 1.0
