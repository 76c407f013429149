"""The steps of one layer: attention (plain, grouped, latent, sparse) and dense feed-forward.

In:  local sizes and the kind of layer.
Out: a tuple of `Step`s, from which forward, backward, recompute and memory follow.
Left out: experts (`experts`), layers with a state (`recurrent`), embedding and head (`ends`),
pipeline and data parallelism.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from rackmodel.workload.attention_kinds import Indexer, Mla
from rackmodel.workload.blocks import Block
from rackmodel.workload.experts import moe_steps
from rackmodel.workload.kernels import (
    ELEMENT,
    Local,
    Work,
    attention,
    attention_heads,
    gemm,
    kept_input,
    linear,
    moving,
    norm,
)
from rackmodel.workload.parts import (
    column,
    column_comm,
    dense_part,
    norm_step,
    residual,
    rope,
    row,
)
from rackmodel.workload.recurrent import recurrent_steps
from rackmodel.workload.steps import Comm, Step
from rackmodel.workload.variant_steps import (
    compression_steps,
    output_steps,
    shared_block_steps,
    stream_steps,
)
from rackmodel.workload.variants import SharedBlock


@lru_cache(maxsize=256)
def block_steps(local: Local, block: Block) -> tuple[Step, ...]:
    """All steps of one layer, in forward order."""
    steps: list[Step] = []
    model = local.model
    parallel = model.parallel_blocks and block.mixer != "none"
    if block.mixer != "none":
        steps += stream_steps(local, "attention_streams")
    if model.shared_block is not None and block.use:
        steps += _shared_attention(local, block, model.shared_block)
    elif block.attends and model.mla is not None:
        steps += latent_attention(local, block, model.mla)
    elif block.attends:
        steps += grouped_attention(local, block)
    if (kind := model.recurrent(block)) is not None:
        steps += recurrent_steps(local, kind, beside=block.mixer == "both")
    if block.mixer != "none":
        steps += _post_norm(local, "attention_post_norm")
    if block.feed != "none":
        steps += stream_steps(local, "mlp_streams")
    if block.feed == "dense":
        steps += dense_feed(local, with_norm=not parallel)
    elif block.feed == "moe":
        steps += moe_steps(local, norm_step(local, "mlp_norm"))
    if block.feed != "none":
        steps += _post_norm(local, "mlp_post_norm")
    return tuple(steps)


def _post_norm(local: Local, name: str) -> list[Step]:
    return [norm_step(local, name)] if local.model.post_norms else []


def _shared_attention(local: Local, block: Block, shared: SharedBlock) -> list[Step]:
    """A shared block, its attention core between what comes before and after it."""
    before, after = shared_block_steps(local, block, shared)
    return [*before, *core_steps(local, block), *after]


def core_steps(local: Local, block: Block) -> list[Step]:
    """The attention core with what context parallelism adds around it."""
    heads, kv_heads = attention_heads(local, block)
    wide, plan = local.model.heads_of(block), local.plan
    saved = 0.0
    if not local.job.fused_attention:
        scores = float(local.plan.micro_batch * heads * local.job.seq_len**2)
        saved = scores * (5.0 if local.model.dropout else 2.0)
    core = Step(
        name="attention", module="core_attn", work=attention(local, block), saved_bytes=saved
    )
    out_bytes = local.tokens * heads * wide.value_dim * ELEMENT
    statistics = 4.0 * local.tokens * heads if local.job.fused_attention else 0.0
    kept = Step(
        name="attention_output", saved_bytes=out_bytes / ELEMENT * kept_input(local) + statistics
    )
    if local.plan.cp == 1:
        return [core, kept]
    key_value = local.tokens * kv_heads * (wide.head_dim + wide.value_dim) * ELEMENT
    if plan.cp_method == "all-to-all":
        # Each rank trades tokens for heads: queries, keys, values in, outputs back (Ulysses).
        per_rank = local.plan.cp * local.tokens * ELEMENT  # heads here are already 1/cp
        qkv = per_rank * (heads * wide.head_dim + kv_heads * (wide.head_dim + wide.value_dim))
        out = per_rank * heads * wide.value_dim
        return [
            Step(name="cp_heads", comm=Comm.mirrored("cp_heads", "cp", "all-to-all", qkv)),
            core,
            Step(name="cp_tokens", comm=Comm.mirrored("cp_tokens", "cp", "all-to-all", out)),
            replace(kept, saved_bytes=kept.saved_bytes * local.plan.cp),
        ]
    comm = Comm.mirrored("cp_key_value", "cp", "all-gather", local.plan.cp * key_value)
    if plan.cp_method == "ring":
        return [replace(core, kind="ring", comm=comm), kept]
    # Gathered before the core; kept only as each rank's own part, so gathered again for backward.
    again = comm._replace(name="cp_regather", forward=None, backward="all-gather")
    return [
        Step(name="cp_key_value", comm=comm),
        core,
        Step(name="cp_regather", comm=again),
        kept,
    ]


def grouped_attention(local: Local, block: Block) -> list[Step]:
    """Norm, fused query-key-value projection, rotary, core, output projection, residual.

    A gate on the output is part of the query projection; a query of low rank goes through two.
    """
    model, tp, wide = local.model, local.plan.tp, local.model.heads_of(block)
    heads, kv_heads = wide.heads / tp, max(1.0, wide.kv_heads / tp)
    query = wide.query_width / tp
    width = (wide.q_rank or query) + kv_heads * wide.kv_width / wide.kv_heads
    own = model.index if block.index == "own" else None
    parameters = model.mixer_parameters(block) - model.norm_parameters * (1 + model.post_norms)
    parameters -= model.stream_parameters
    if own is not None:
        parameters -= own.matrices(model.hidden, model.index_query) + own.vectors
    beside = compression_steps(local, block)
    parameters -= sum(round(step.parameters) for step in beside)
    if (kind := model.recurrent(block)) is not None:
        parameters -= kind.matrices(model.hidden) + kind.vectors
    out = wide.out_matrices(model.hidden) / tp
    steps = [
        norm_step(local, "attention_norm"),
        column(
            local,
            "qkv",
            width,
            model.hidden,
            saved=local.tokens * width * ELEMENT,
            parameters=parameters / tp - out - query * wide.q_rank,
            bias=model.bias or model.qkv_bias,
        ),
    ]
    if wide.q_rank:
        steps.append(_query_up(local, wide.q_rank, query))
    if model.qk_norm:
        size = (heads + kv_heads) * wide.head_dim
        steps.append(
            Step(
                name="qk_norm",
                module="norm",
                work=norm(local, local.tokens, round(size)),
                saved_bytes=local.tokens * size * ELEMENT,
            )
        )
    if model.rotary:
        steps.append(rope(local, (heads + kv_heads) * wide.head_dim))
    steps += beside
    steps += index_steps(local, own) if own is not None else []
    steps += core_steps(local, block)
    if wide.gate:
        size = local.tokens * heads * wide.value_dim * ELEMENT
        gating = moving("attention_gate", (2 * size, size), (3 * size, 2 * size))
        steps.append(Step(name="attention_gate", work=gating, saved_bytes=size))
    steps += output_steps(local, block)
    steps.append(residual(local, "attention_residual"))
    return steps


def _query_up(local: Local, rank: int, width: float) -> Step:
    """From the low rank of the query to the heads of one tp rank."""
    return Step(
        name="q_up",
        work=linear(local, "q_up", (local.tokens, width, rank)),
        saved_bytes=local.tokens * width * ELEMENT,
        parameters=width * rank,
    )


def index_steps(local: Local, index: Indexer) -> list[Step]:
    """An indexer, the same on every tp rank: its projections, scores of all keys, the best `topk`.

    Scores and their choice are written once, in fp32, a query and key (half of them masked). The
    gradient runs over the chosen keys alone, as in DeepSeek's sparse stage of training.
    Source: DeepSeek-V3.2, arXiv:2512.02556, section 2.1. Left out: the target of the indexer's own
    loss, the sum of the attention's probabilities.
    """
    model, tokens = local.model, local.tokens
    hidden, query, columns = model.hidden, model.index_query, index.key_columns + index.heads
    wide, span = index.heads * index.head_dim, (local.job.attended + 1) / 2 / max(1, index.rate)
    chosen = min(float(index.topk), span)
    form = local.precision.gemm_format
    scores = gemm(
        "index_scores",
        (tokens * index.heads, span, index.head_dim),
        form=form,
        read=0.0,
        written=0.0,
    )
    scores = scores._replace(read_bytes=tokens * (wide + index.head_dim) * ELEMENT)
    backward = scores._replace(
        name="index_scores_backward", flops=2.0 * scores.flops * chosen / span
    )
    logits = 4.0 * tokens * span
    return [
        Step(
            name="index_query",
            work=linear(local, "index_query", (tokens, wide, query)),
            saved_bytes=tokens * wide * ELEMENT,
            parameters=float(query * wide),
        ),
        Step(
            name="index_key",
            work=linear(local, "index_key", (tokens, columns, hidden)),
            saved_bytes=tokens * columns * ELEMENT,
            parameters=float(hidden * columns + index.vectors),
        ),
        Step(name="index_scores", work=Work((scores,), (backward,))),
        Step(
            name="index_topk",
            work=moving("index_topk", (logits, logits), (0.0, 0.0), launches=(2.0, 0.0)),
            saved_bytes=4.0 * tokens * index.topk,
        ),
    ]


def latent_attention(local: Local, block: Block, a: Mla) -> list[Step]:
    """Latent attention: down-projections on every tp rank, up-projections split by heads.

    Sparse, the query is brought to the latent key's width and the output back from the latent
    value's; that is the work of expanding key and value, so the same projections stand for it.
    """
    model, heads = local.model, local.model.heads / local.plan.tp
    own = model.index if block.index == "own" else None
    # Rotary on the rope part, written next to the rest of each head's query and key.
    size = local.tokens * 2 * heads * a.qk_dim * ELEMENT
    return [
        norm_step(local, "attention_norm"),
        *_compressed(local, a),
        *(index_steps(local, own) if own is not None else ()),
        *_expanded(local, a),
        Step(
            name="rope",
            module="mla_up_proj",
            work=moving("mla_rope", (size, size), (size, size), launches=(2.0, 2.0)),
            saved_bytes=local.tokens * heads * a.qk_rope * ELEMENT,
        ),
        *core_steps(local, block),
        row(local, "proj", heads * a.v_dim, parameters=heads * a.v_dim * model.hidden),
        residual(local, "attention_residual"),
    ]


def _compressed(local: Local, a: Mla) -> list[Step]:
    """Down to the latent query and key-value, their norm, and both gathered over tp."""
    h, steps = local.model.hidden, []
    for name, width in (("q_down", a.q_lora), ("kv_down", a.kv_lora + a.qk_rope)):
        if width:
            # The input is cast once for both.
            first = name == "q_down" or not a.q_lora
            part = linear(local, name, (local.tokens_sp, width, h), cast_input=first)
            steps.append(Step(name=name, work=part, parameters=float(width * h)))
    compressed = a.q_lora + a.kv_lora + a.qk_rope
    steps.append(
        Step(
            name="latent_norm",
            module="norm",
            work=norm(local, local.tokens_sp, a.q_lora + a.kv_lora),
            saved_bytes=2 * local.tokens_sp * compressed * ELEMENT,
            parameters=float(a.q_lora + a.kv_lora),
        )
    )
    comm = column_comm(local, "latent", compressed)
    if comm is not None:
        steps.append(Step(name="latent", comm=comm))
    return steps


def _expanded(local: Local, a: Mla) -> list[Step]:
    """Up to the heads of one tp rank."""
    model, heads = local.model, local.model.heads / local.plan.tp
    widths = {
        "q_up": (heads * a.qk_dim, a.q_lora or model.hidden),
        "kv_up": (heads * (a.qk_nope + a.v_dim), a.kv_lora),
    }
    return [
        Step(
            name=name,
            module="mla_up_proj",
            work=linear(local, name, (local.tokens, wide, k)),
            saved_bytes=local.tokens * wide * ELEMENT,
            parameters=wide * k,
        )
        for name, (wide, k) in widths.items()
    ]


def dense_feed(local: Local, *, with_norm: bool) -> list[Step]:
    """A dense feed-forward part with its norm and residual."""
    start = [norm_step(local, "mlp_norm")] if with_norm else []
    return [*start, *dense_part(local), residual(local, "mlp_residual")]
