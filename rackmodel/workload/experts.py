"""The steps of a mixture-of-experts layer on one rank.

In:  local sizes, the norm and the dense part that a shared expert reuses.
Out: steps: router, dispatch over ep (and etp), grouped GEMMs, combine, shared experts.
Left out: which token goes where one by one; balanced, capacity-limited or skewed load stands for
it.
"""

from __future__ import annotations

import random
from functools import lru_cache
from math import comb

from rackmodel.workload.kernels import (
    ELEMENT,
    Kernels,
    Local,
    activation,
    elementwise,
    kept_activation_input,
    linear,
)
from rackmodel.workload.operations import Role
from rackmodel.workload.steps import Comm, Step


@lru_cache(maxsize=64)
def load_imbalance(experts: int, ep: int, skew: float, seed: int) -> float:
    """Load of the busiest expert-parallel rank over the mean load.

    Popularity of experts follows Zipf's law with exponent `skew`, dealt to experts in a random
    order.

    >>> load_imbalance(64, 8, 0.0, 0)
    1.0
    """
    weights = [(rank + 1.0) ** -skew for rank in range(experts)]
    random.Random(seed).shuffle(weights)
    per_rank = experts // ep
    loads = [sum(weights[r * per_rank : (r + 1) * per_rank]) for r in range(ep)]
    return float(max(loads) * ep / sum(loads))


def distinct_ranks(experts: int, ep: int, topk: int) -> float:
    """Expected number of expert-parallel ranks that a token's `topk` distinct experts lie on.

    >>> distinct_ranks(256, 256, 8)
    8.0
    """
    here = experts // ep
    missed = comb(experts - here, topk) / comb(experts, topk)
    return float(ep * (1.0 - missed))


def expert_rows(local: Local) -> float:
    """Token copies that one rank's experts take in per micro-batch, before etp gathers them."""
    job, model = local.job, local.model
    rows = local.tokens_sp * model.topk
    if job.routing == "drop":
        return rows * job.capacity_factor
    if job.routing == "dropless-skewed":
        rows *= load_imbalance(model.experts, local.ep, job.routing_skew, job.routing_seed)
    return rows


def moe_steps(local: Local, norm_step: Step) -> list[Step]:
    """Norm, router, dispatch, experts, combine, shared experts, residual."""
    from rackmodel.workload.layers import dense_part, residual

    model = local.model
    steps = [norm_step, *_router(local)]
    if model.shared_expert_ffn:
        steps += dense_part(local, width=model.shared_expert_ffn, name="shared_fc")
    steps += _dispatch(local)
    steps += _experts(local)
    steps += _combine(local)
    steps.append(residual(local, "mlp_residual"))
    return steps


def _router(local: Local) -> list[Step]:
    """Scores in the base format, top-k in fp32, and the counts that dropless routing exchanges."""
    model, tokens = local.model, local.tokens_sp
    part = linear(local, "router", tokens, model.experts, model.hidden, wide=True)
    scores = tokens * model.experts * 4.0
    steps = [
        Step(
            name="router",
            forward=part.forward,
            backward=part.backward,
            weight=part.weight,
            saved_bytes=scores,
            parameters=float(model.hidden * model.experts),
        ),
        Step(
            name="topk",
            forward=(elementwise("router_topk", 3 * scores, 2 * scores, launches=8.0),),
            backward=(elementwise("router_topk_backward", 2 * scores, scores, launches=4.0),),
        ),
    ]
    if local.ep > 1 and local.job.routing != "drop":
        counts = Comm(
            name="expert_counts",
            axis="ep",
            forward="all-gather",
            backward=None,
            bytes=4.0 * model.experts * local.ep,
        )
        steps.append(Step(name="expert_counts", comm=counts))
    return steps


def _permute(local: Local, name: str, rows_in: float, rows_out: float) -> tuple[Kernels, Kernels]:
    width = local.model.hidden * ELEMENT
    return (
        (elementwise(name, rows_in * width, rows_out * width, family="permute"),),
        (elementwise(f"{name}_backward", rows_out * width, rows_in * width, family="permute"),),
    )


def sent_bytes(local: Local) -> float:
    """Bytes that one rank sends into the dispatch (and gets in the combine), itself included.

    DeepEP sends a token once to every rank that needs it, and over the fabric once to every domain
    (`Plan.dispatch_domain` ranks), where it is forwarded on faster links.
    """
    model, copies = local.model, float(local.model.topk)
    if local.job.routing == "drop":
        copies *= local.job.capacity_factor
    if local.job.plan.dispatcher == "deepep":
        places = local.ep // max(1, local.job.plan.dispatch_domain)
        copies *= distinct_ranks(model.experts, places, model.topk) / model.topk
    skewed = local.job.routing == "dropless-skewed"
    busiest = expert_rows(local) / (local.tokens_sp * model.topk) if skewed else 1.0
    return local.tokens_sp * copies * busiest * model.hidden * ELEMENT


def _dispatch(local: Local) -> list[Step]:
    plan, model, tokens = local.job.plan, local.model, local.tokens_sp
    rows = expert_rows(local)
    steps: list[Step] = []
    if local.ep > 1 and plan.dispatcher == "all-gather":
        gather = Comm(
            name="dispatch",
            role=Role.DISPATCH,
            axis="ep",
            forward="all-gather",
            backward="reduce-scatter",
            bytes=local.ep * tokens * model.hidden * ELEMENT,
        )
        steps.append(Step(name="dispatch", module="moe", comm=gather))
        forward, backward = _permute(local, "permute", rows, rows)
        steps.append(Step(name="permute", module="moe", forward=forward, backward=backward))
    else:
        # DeepEP sends before it permutes, so that a token goes to a rank once.
        forward, backward = _permute(local, "permute", tokens, rows)
        permute = Step(name="permute", module="moe", forward=forward, backward=backward)
        first = [] if plan.dispatcher == "deepep" else [permute]
        steps += first
        if local.ep > 1:
            exchange = Comm(
                name="dispatch",
                role=Role.DISPATCH,
                axis="ep",
                forward="all-to-all",
                backward="all-to-all",
                bytes=sent_bytes(local),
            )
            steps.append(Step(name="dispatch", module="moe", comm=exchange))
        steps += [permute] if not first else []
        if local.ep > 1 and model.experts > local.ep and first:
            # Arrivals are sorted by sender; grouped GEMMs want them by local expert.
            forward, backward = _permute(local, "sort_by_expert", rows, rows)
            steps.append(Step(name="sort", module="moe", forward=forward, backward=backward))
    if local.etp > 1:
        steps.append(Step(name="etp_gather", module="moe", comm=_etp(local, rows, "all-gather")))
    return steps


def _etp(local: Local, rows: float, forward: str) -> Comm:
    size = rows * local.etp * local.model.hidden * ELEMENT
    if forward == "all-gather":
        return Comm(
            name="etp_gather",
            axis="etp",
            forward="all-gather",
            backward="reduce-scatter",
            bytes=size,
        )
    return Comm(
        name="etp_scatter", axis="etp", forward="reduce-scatter", backward="all-gather", bytes=size
    )


def _experts(local: Local) -> list[Step]:
    model, kept = local.model, local.precision.stored_bytes if local.precision.casts else ELEMENT
    rows, groups = expert_rows(local) * local.etp, model.experts // local.ep
    inner, sides = model.moe_ffn / local.etp, 2 if model.gated_ffn else 1
    up = linear(
        local, "expert_fc1", rows, sides * inner, model.hidden, groups=groups, bias=model.bias
    )
    down = linear(local, "expert_fc2", rows, model.hidden, inner, groups=groups)
    act = activation(local, rows, inner, weighted=True)
    return [
        Step(name="expert_input", module="moe", saved_bytes=rows * model.hidden * kept),
        Step(
            name="expert_fc1",
            module="moe",
            forward=up.forward,
            backward=up.backward,
            weight=up.weight,
            saved_bytes=rows * sides * inner * kept_activation_input(local),
            parameters=groups * sides * inner * model.hidden,
            expert=True,
        ),
        Step(
            name="expert_act",
            module="moe_act",
            forward=act[0],
            backward=act[1],
            saved_bytes=rows * inner * kept,
        ),
        Step(
            name="expert_fc2",
            module="moe",
            forward=down.forward,
            backward=down.backward,
            weight=down.weight,
            parameters=groups * inner * model.hidden,
            expert=True,
        ),
    ]


def _combine(local: Local) -> list[Step]:
    plan, model, tokens = local.job.plan, local.model, local.tokens_sp
    rows = expert_rows(local)
    steps: list[Step] = []
    if local.etp > 1:
        steps.append(Step(name="etp_scatter", module="moe", comm=_etp(local, rows, "scatter")))
    if local.ep > 1 and plan.dispatcher == "all-gather":
        forward, backward = _permute(local, "unpermute", rows, rows)
        steps.append(Step(name="unpermute", module="moe", forward=forward, backward=backward))
        scatter = Comm(
            name="combine",
            role=Role.COMBINE,
            axis="ep",
            forward="reduce-scatter",
            backward="all-gather",
            bytes=local.ep * tokens * model.hidden * ELEMENT,
        )
        steps.append(Step(name="combine", module="moe", comm=scatter))
        return steps
    if local.ep > 1:
        if plan.dispatcher != "deepep" and model.experts > local.ep:
            forward, backward = _permute(local, "sort_by_sender", rows, rows)
            steps.append(Step(name="sort", module="moe", forward=forward, backward=backward))
        exchange = Comm(
            name="combine",
            role=Role.COMBINE,
            axis="ep",
            forward="all-to-all",
            backward="all-to-all",
            bytes=sent_bytes(local),
        )
        steps.append(Step(name="combine", module="moe", comm=exchange))
    forward, backward = _permute(local, "unpermute", rows, tokens)
    steps.append(Step(name="unpermute", module="moe", forward=forward, backward=backward))
    return steps
