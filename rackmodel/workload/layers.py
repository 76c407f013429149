"""The steps of one layer: attention (plain, grouped, latent), Mamba, dense feed-forward.

In:  local sizes and the kind of layer.
Out: a tuple of `Step`s, from which forward, backward, recompute and memory follow.
Left out: experts (`experts`), embedding and head (`ends`), pipeline and data parallelism.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from rackmodel.workload.experts import moe_steps
from rackmodel.workload.kernels import (
    ELEMENT,
    Local,
    Work,
    attention,
    attention_heads,
    kept_input,
    linear,
    moving,
    norm,
)
from rackmodel.workload.models import Block, Mamba, Mla
from rackmodel.workload.operations import Kernel
from rackmodel.workload.parts import (
    column,
    column_comm,
    dense_part,
    norm_step,
    residual,
    rope,
    row,
)
from rackmodel.workload.steps import Comm, Step


@lru_cache(maxsize=256)
def block_steps(local: Local, block: Block) -> tuple[Step, ...]:
    """All steps of one layer, in forward order."""
    steps: list[Step] = []
    model = local.model
    parallel = model.parallel_blocks and block.mixer != "none"
    if block.mixer == "attention" and model.mla is not None:
        steps += latent_attention(local, block, model.mla)
    elif block.mixer == "attention":
        steps += grouped_attention(local, block)
    elif block.mixer == "mamba" and model.mamba is not None:
        steps += mamba(local, model.mamba)
    if block.feed == "dense":
        steps += dense_feed(local, with_norm=not parallel)
    elif block.feed == "moe":
        steps += moe_steps(local, norm_step(local, "mlp_norm"))
    return tuple(steps)


def core_steps(local: Local, block: Block) -> list[Step]:
    """The attention core with what context parallelism adds around it."""
    heads, kv_heads = attention_heads(local)
    model, plan = local.model, local.plan
    saved = 0.0
    if not local.job.fused_attention:
        scores = float(local.plan.micro_batch * heads * local.job.seq_len**2)
        saved = scores * (5.0 if model.dropout else 2.0)
    core = Step(
        name="attention", module="core_attn", work=attention(local, block), saved_bytes=saved
    )
    out_bytes = local.tokens * heads * model.v_dim * ELEMENT
    statistics = 4.0 * local.tokens * heads if local.job.fused_attention else 0.0
    kept = Step(
        name="attention_output", saved_bytes=out_bytes / ELEMENT * kept_input(local) + statistics
    )
    if local.plan.cp == 1:
        return [core, kept]
    key_value = local.tokens * kv_heads * (model.qk_dim + model.v_dim) * ELEMENT
    if plan.cp_method == "all-to-all":
        # Each rank trades tokens for heads: queries, keys, values in, outputs back (Ulysses).
        per_rank = local.plan.cp * local.tokens * ELEMENT  # heads here are already 1/cp
        qkv = per_rank * (heads * model.qk_dim + kv_heads * (model.qk_dim + model.v_dim))
        out = per_rank * heads * model.v_dim
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
    again = replace(comm, name="cp_regather", forward=None, backward="all-gather")
    return [
        Step(name="cp_key_value", comm=comm),
        core,
        Step(name="cp_regather", comm=again),
        kept,
    ]


def grouped_attention(local: Local, block: Block) -> list[Step]:
    """Norm, fused query-key-value projection, rotary, core, output projection, residual."""
    model, tp = local.model, local.plan.tp
    heads, kv_heads = model.heads / tp, max(1.0, model.kv_heads / tp)
    width = (heads + 2 * kv_heads) * model.head_dim
    parameters = model.mixer_parameters(block) - model.norm_parameters
    out = heads * model.head_dim * model.hidden
    steps = [
        norm_step(local, "attention_norm"),
        column(
            local,
            "qkv",
            width,
            model.hidden,
            saved=local.tokens * width * ELEMENT,
            parameters=parameters / tp - out,
            bias=model.bias or model.qkv_bias,
        ),
    ]
    if model.qk_norm:
        size = (heads + kv_heads) * model.head_dim
        steps.append(
            Step(
                name="qk_norm",
                module="norm",
                work=norm(local, local.tokens, round(size)),
                saved_bytes=local.tokens * size * ELEMENT,
            )
        )
    if model.rotary:
        steps.append(rope(local, (heads + kv_heads) * model.head_dim))
    steps += core_steps(local, block)
    steps.append(row(local, "proj", heads * model.head_dim, parameters=out))
    steps.append(residual(local, "attention_residual"))
    return steps


def latent_attention(local: Local, block: Block, a: Mla) -> list[Step]:
    """Latent attention: down-projections on every tp rank, up-projections split by heads."""
    model, heads = local.model, local.model.heads / local.plan.tp
    # Rotary on the rope part, written next to the rest of each head's query and key.
    size = local.tokens * 2 * heads * model.qk_dim * ELEMENT
    return [
        norm_step(local, "attention_norm"),
        *_compressed(local, a),
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
        "q_up": (heads * model.qk_dim, a.q_lora or model.hidden),
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


def mamba(local: Local, m: Mamba) -> list[Step]:
    """A Mamba-2 mixer: projection in, convolution, scan, gated norm, projection out."""
    hidden, tokens = local.model.hidden, local.tokens
    inner = m.heads * m.head_dim / local.plan.tp
    states = m.groups * m.state / local.plan.tp
    width = 2 * inner + 2 * states + m.heads / local.plan.tp
    mixed, out = tokens * (inner + 2 * states) * ELEMENT, tokens * inner * ELEMENT
    return [
        norm_step(local, "mamba_norm"),
        column(
            local,
            "mamba_in",
            width,
            hidden,
            saved=tokens * width * ELEMENT,
            parameters=width * hidden,
        ),
        Step(
            name="conv",
            work=moving("conv", (mixed, mixed), (2 * mixed, mixed), launches=(1.0, 2.0)),
            saved_bytes=mixed,
        ),
        Step(
            name="scan",
            module="core_attn",
            work=Work(
                (_scan(local, m, "scan", 1.0, mixed, out),),
                (_scan(local, m, "scan_backward", 2.5, mixed, out),),
            ),
            saved_bytes=out,
        ),
        Step(
            name="gated_norm",
            module="norm",
            work=norm(local, tokens, round(inner)),
            saved_bytes=out / ELEMENT * kept_input(local),
        ),
        row(local, "mamba_out", inner, parameters=inner * hidden),
        residual(local, "mamba_residual"),
    ]


def _scan(local: Local, m: Mamba, name: str, times: float, mixed: float, out: float) -> Kernel:
    """The scan of `mixed` bytes to `out` bytes, or its gradient: `times` the work."""
    heads, length = round(m.heads / local.plan.tp), local.job.seq_len // local.plan.cp
    return Kernel(
        family="scan",
        name=name,
        flops=times * (local.tokens * local.model.scan_flops() / local.plan.tp),
        read_bytes=times * (mixed + out),
        write_bytes=times * out,
        precision=local.precision.base_format,
        launches=5.0 * times,
        shape=(local.plan.micro_batch, heads, length, m.head_dim, m.state),
    )
