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

from rackmodel.software import software_of
from rackmodel.workload.kernels import (
    ELEMENT,
    Kernels,
    Local,
    Work,
    activation,
    elementwise,
    gemm,
    kept_activation_input,
    kept_input,
    linear,
    moving,
)
from rackmodel.workload.operations import CollectiveOp, Kernel, Role
from rackmodel.workload.parts import dense_part, residual
from rackmodel.workload.silent import fused
from rackmodel.workload.steps import Comm, Step

# A number in fp8 and its share of the fp32 scale of 128. Source: DeepSeek-V3, arXiv:2412.19437,
# section 3.3.1: tokens and their gradients travel to experts in fp8, both combines are in bf16.
FP8_ELEMENT = 1.0 + 4.0 / 128.0


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


@lru_cache(maxsize=1024)
def distinct_ranks(experts: int, ep: int, topk: int, groups: int = 1, limit: int = 1) -> float:
    """Expected number of expert-parallel ranks that a token's `topk` distinct experts lie on.

    The experts come from `limit` of `groups` equal groups in order, each choice as likely.

    >>> distinct_ranks(256, 256, 8), distinct_ranks(256, 8, 8, groups=8, limit=4)
    (8.0, 3.62...)
    """
    each, size = experts // ep, experts // groups
    pool = limit * size
    reached = 0.0
    for rank in range(ep):
        first, last = rank * each, (rank + 1) * each
        inside = [
            min(last, (g + 1) * size) - max(first, g * size)
            for g in range(first // size, -(-last // size))
        ]
        # {(groups chosen that lie here, their experts here): ways}
        ways = {(0, 0): 1}
        for held in inside:
            more = {(n + 1, here + held): count for (n, here), count in ways.items()}
            for key, count in ways.items():
                more[key] = more.get(key, 0) + count
            ways = more
        for (chosen, here), count in ways.items():
            if chosen > limit:
                continue
            likely = count * comb(groups - len(inside), limit - chosen)
            missed = comb(pool - here, topk) / comb(pool, topk)
            reached += likely / comb(groups, limit) * (1.0 - missed)
    return reached


# Sides of experts that kernels from one grouped product to the next take are multiples of this.
# Source: TransformerEngine, fuse_forward_ops in ops/fused/forward_grouped_mlp.py: not GPT-OSS's.
FUSED_MULTIPLE = 256


def expert_rows(local: Local) -> float:
    """Token copies that one rank's experts take in per micro-batch, before etp gathers them."""
    job, model = local.job, local.model
    rows = local.tokens_sp * model.topk
    if job.token_routing == "drop":
        return rows * job.capacity_factor
    if job.token_routing == "dropless-skewed":
        rows *= load_imbalance(model.experts, local.plan.ep, job.routing_skew, job.routing_seed)
    return rows


def moe_steps(local: Local, norm_step: Step) -> list[Step]:
    """Norm, router, dispatch, experts, combine, shared experts, residual."""
    shared = local.model.shared_expert_ffn
    return [
        norm_step,
        *_router(local),
        *(dense_part(local, width=shared, name="shared_fc") if shared else ()),
        *_latent(local, "latent_down"),
        *_dispatch(local),
        *_experts(local),
        *_combine(local),
        *_latent(local, "latent_up"),
        residual(local, "mlp_residual"),
    ]


def expert_width(local: Local) -> int:
    """Columns that experts take in and give out: hidden, or those of their latent space."""
    return local.model.moe_latent or local.model.hidden


def _latent(local: Local, name: str) -> list[Step]:
    """Every token to the experts' latent space before it is sent, and back after it has returned.

    Source: NVIDIA Nemotron 3 white paper, arXiv:2512.20856, section 2.1 (LatentMoE).
    """
    latent, hidden, tokens = local.model.moe_latent, local.model.hidden, local.tokens_sp
    if not latent:
        return []
    wide, k = (latent, hidden) if name == "latent_down" else (hidden, latent)
    return [
        Step(
            name=name,
            module="moe",
            work=linear(local, name, (tokens, wide, k)),
            saved_bytes=tokens * wide * ELEMENT,
            parameters=float(latent * hidden),
        )
    ]


def _router(local: Local) -> list[Step]:
    """Scores in the base format, top-k in fp32, and the counts that dropless routing exchanges."""
    model, tokens = local.model, local.tokens_sp
    scores = tokens * model.experts * 4.0
    steps = [
        Step(
            name="router",
            module="router",
            work=linear(local, "router", (tokens, model.experts, model.hidden), wide=True),
            saved_bytes=scores,
            parameters=float(model.hidden * model.experts),
        ),
        Step(
            name="topk",
            work=moving(
                "router_topk", (3 * scores, 2 * scores), (2 * scores, scores), launches=(8.0, 4.0)
            ),
        ),
    ]
    if local.plan.ep > 1 and local.job.token_routing != "drop":
        counts = Comm(
            name="expert_counts",
            axis="ep",
            forward="all-gather",
            backward=None,
            bytes=4.0 * model.experts * local.plan.ep,
        )
        steps.append(Step(name="expert_counts", comm=counts))
    return steps


def _permute(local: Local, name: str, kernel: str, rows_in: float, rows_out: float) -> Step:
    """Gather or scatter rows as wide as experts take them."""
    width = expert_width(local) * ELEMENT
    into, out = rows_in * width, rows_out * width
    return Step(
        name=name, module="moe", work=moving(kernel, (into, out), (out, into), family="permute")
    )


def _sort(local: Local, name: str) -> list[Step]:
    """Rows that came by sender put in order of local experts, as grouped products want, or back.

    As copies of chunks, one for each sender and expert, or row by row, as the software has it. What
    fused kernels brought is in order.
    """
    plan, by_library = local.plan, local.plan.dispatcher in ("", "all-to-all")
    if plan.ep == 1 or not by_library or local.model.experts == plan.ep or fused(plan) == 1.0:
        return []
    rows, kernel = (1.0 - fused(plan)) * expert_rows(local), f"sort_by_{name}"
    if not software_of(local.job.stack).sorts_chunks:
        return [_permute(local, "sort", kernel, rows, rows)]
    size = rows * expert_width(local) * ELEMENT
    there, back = (
        (elementwise(kernel + way, size, size, role=Role.COPY),) for way in ("", "_backward")
    )
    return [Step(name="sort", module="moe", work=Work(there, back))]


def sent_bytes(local: Local, element: float = ELEMENT) -> float:
    """Bytes that one rank sends into the dispatch (and gets in the combine), itself included.

    element : bytes of a number on its way.

    DeepEP sends a token once to every rank that needs it, and over the fabric once to every domain
    (`Plan.dispatch_domain` ranks), where it is forwarded on faster links.
    """
    model, copies = local.model, float(local.model.topk)
    if local.job.token_routing == "drop":
        copies *= local.job.capacity_factor
    if share := fused(local.plan):
        places = local.plan.ep // max(1, local.plan.dispatch_domain)
        groups = model.routing_groups, model.routing_group_limit
        sent = distinct_ranks(model.experts, places, model.topk, *groups) / model.topk
        copies *= share * sent + (1.0 - share)
    skewed = local.job.token_routing == "dropless-skewed"
    busiest = expert_rows(local) / (local.tokens_sp * model.topk) if skewed else 1.0
    return local.tokens_sp * copies * busiest * expert_width(local) * element


def _by_masks(local: Local, name: str, masks: int) -> Step:
    """Rows of a sequence chosen by a product of a one-hot mask: [slots, tokens] x [tokens, width].

    masks : gradients of masks that the backward pass needs beside that of the rows.
    """
    sequences = max(1, round(local.plan.micro_batch))
    tokens, width = local.tokens_sp / sequences, local.model.hidden
    slots = expert_rows(local) / sequences
    form = local.precision.base_format

    def product(part: str, role: Role) -> Kernel:
        shape = (slots, float(width), tokens)
        return gemm(f"{name}{part}", shape, form=form, read=ELEMENT, batch=sequences, role=role)

    back = (product("_dgrad", Role.BACKWARD), *[product("_mask", Role.BACKWARD)] * masks)
    return Step(name=name, module="moe", work=Work((product("", Role.FORWARD),), back))


def _masked(local: Local) -> bool:
    routed = local.job.token_routing == "drop"
    return routed and software_of(local.job.stack).einsum_dispatch


def _dispatch(local: Local) -> list[Step]:
    """Permute and send; DeepEP sends before it permutes, so that a token goes to a rank once."""
    dispatcher, tokens, rows = local.plan.dispatcher, local.tokens_sp, expert_rows(local)
    exchange = _exchange(local, Role.DISPATCH)
    if _masked(local):
        return [_by_masks(local, "dispatch_mask", 0), *exchange]
    if dispatcher == "all-gather" and exchange:
        steps = [*exchange, _permute(local, "permute", "permute", rows, rows)]
    else:
        permute = _permute(local, "permute", "permute", tokens, rows)
        steps = [*exchange, permute] if dispatcher == "deepep" else [permute, *exchange]
        steps += _sort(local, "expert")
    return steps + _etp(local, rows, "etp_gather", "all-gather")


def _exchange(local: Local, role: Role) -> list[Step]:
    """Tokens to the ranks of their experts over ep, or back."""
    if local.plan.ep == 1:
        return []
    op: CollectiveOp = "all-to-all"
    size = sent_bytes(local)
    if local.plan.dispatcher == "all-gather":
        op = "all-gather" if role == Role.DISPATCH else "reduce-scatter"
        size = local.plan.ep * local.tokens_sp * expert_width(local) * ELEMENT
    comm = Comm.mirrored(role.value, "ep", op, size, role)
    if local.plan.dispatch_format == "fp8":  # also gradients on their way to the experts
        narrow = sent_bytes(local, FP8_ELEMENT)
        to_experts = role == Role.DISPATCH
        comm = comm._replace(bytes_back=comm.bytes if to_experts else narrow)
        comm = comm._replace(bytes=narrow) if to_experts else comm
    return [Step(name=role.value, module="moe", comm=comm)]


def _etp(local: Local, rows: float, name: str, op: CollectiveOp) -> list[Step]:
    if local.plan.etp == 1:
        return []
    size = rows * local.plan.etp * expert_width(local) * ELEMENT
    return [Step(name=name, module="moe", comm=Comm.mirrored(name, "etp", op, size))]


def _experts(local: Local) -> list[Step]:
    model, kept = local.model, kept_input(local)
    rows, groups = expert_rows(local) * local.plan.etp, model.experts // local.plan.ep
    inner, sides = model.moe_ffn / local.plan.etp, 2 if model.gated_ffn else 1
    width = expert_width(local)
    up = linear(local, "expert_fc1", (rows, sides * inner, width), groups=groups, bias=model.bias)
    act = activation(local, rows, inner, weighted=True)
    down = linear(local, "expert_fc2", (rows, width, inner), groups=groups)
    whole = not (width % FUSED_MULTIPLE or inner % FUSED_MULTIPLE)
    if local.job.fused_mxfp8 and model.gated_ffn and whole:
        up, act, down = _fused(local, rows * inner, up, down)
    return [
        Step(name="expert_input", module="moe", saved_bytes=rows * width * kept),
        Step(
            name="expert_fc1",
            module="moe",
            work=up,
            saved_bytes=rows * sides * inner * kept_activation_input(local),
            parameters=groups * sides * inner * width,
            expert=True,
        ),
        Step(name="expert_act", module="moe_act", work=act, saved_bytes=rows * inner * kept),
        Step(
            name="expert_fc2",
            module="moe",
            work=down,
            parameters=groups * inner * width,
            expert=True,
        ),
    ]


def _fused(local: Local, elements: float, up: Work, down: Work) -> tuple[Work, Work, Work]:
    """Return products that apply SwiGLU (or its gradient) as they end and write what is cast.

    elements : of the activation. What SwiGLU takes in is still written, for the backward pass.
    """
    narrow = local.precision.cast_copies * local.precision.operand_bytes * elements

    def wider(kernels: Kernels, read: float, write: float) -> Kernels:
        product = kernels[-1]._replace(
            read_bytes=kernels[-1].read_bytes + read,
            write_bytes=kernels[-1].write_bytes + write,
        )
        return (*kernels[:-1], product)

    def uncast(kernels: Kernels) -> Kernels:
        return tuple(kernel for kernel in kernels if kernel.role != Role.CAST)

    grows = (2 * elements * ELEMENT, 2 * narrow - elements * ELEMENT)
    return (
        up._replace(forward=wider(up.forward, 0.0, narrow), backward=uncast(up.backward)),
        Work(),
        down._replace(forward=uncast(down.forward), backward=wider(down.backward, *grows)),
    )


def _combine(local: Local) -> list[Step]:
    tokens, rows = local.tokens_sp, expert_rows(local)
    steps = _etp(local, rows, "etp_scatter", "reduce-scatter")
    exchange = _exchange(local, Role.COMBINE)
    if _masked(local):
        return [*steps, *exchange, _by_masks(local, "combine_mask", 1)]
    if local.plan.dispatcher == "all-gather" and exchange:
        return [*steps, _permute(local, "unpermute", "unpermute", rows, rows), *exchange]
    return [
        *steps,
        *_sort(local, "sender"),
        *exchange,
        _permute(local, "unpermute", "unpermute", rows, tokens),
    ]
