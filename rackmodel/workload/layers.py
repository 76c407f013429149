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
    activation,
    attention,
    attention_heads,
    elementwise,
    kept_activation_input,
    linear,
    norm,
)
from rackmodel.workload.models import Block
from rackmodel.workload.operations import Kernel
from rackmodel.workload.steps import Comm, Step


@lru_cache(maxsize=256)
def block_steps(local: Local, block: Block) -> tuple[Step, ...]:
    """All steps of one layer, in forward order."""
    steps: list[Step] = []
    parallel = local.model.parallel_blocks and block.mixer != "none"
    if block.mixer == "attention":
        steps += (
            latent_attention(local, block) if local.model.mla else grouped_attention(local, block)
        )
    elif block.mixer == "mamba":
        steps += mamba(local)
    if block.feed == "dense":
        steps += dense_feed(local, with_norm=not parallel)
    elif block.feed == "moe":
        steps += moe_steps(local, norm_step(local, "mlp_norm"))
    return tuple(steps)


def norm_step(local: Local, name: str) -> Step:
    """A norm over the hidden width; its input (the residual stream) and output are kept."""
    forward, backward = norm(local, local.tokens_sp, local.model.hidden)
    return Step(
        name=name,
        module="norm",
        forward=forward,
        backward=backward,
        saved_bytes=local.tokens_sp * local.model.hidden * _kept(local),
        parameters=local.model.norm_parameters,
    )


def _kept(local: Local) -> float:
    """Bytes of an element of a linear layer's input, as it is kept for the weight gradient."""
    return local.precision.stored_bytes if local.precision.casts else ELEMENT


def column_comm(local: Local, name: str, width: int | None = None) -> Comm | None:
    """What tensor parallelism does before a column-parallel linear layer."""
    if local.tp == 1:
        return None
    size = local.tokens * (local.model.hidden if width is None else width) * ELEMENT
    if local.job.plan.sequence_parallel:
        return Comm(
            name=name, axis="tp", forward="all-gather", backward="reduce-scatter", bytes=size
        )
    return Comm(name=name, axis="tp", forward=None, backward="all-reduce", bytes=size)


def row_comm(local: Local, name: str) -> Comm | None:
    """What tensor parallelism does after a row-parallel linear layer."""
    if local.tp == 1:
        return None
    size = local.tokens * local.model.hidden * ELEMENT
    if local.job.plan.sequence_parallel:
        return Comm(
            name=name, axis="tp", forward="reduce-scatter", backward="all-gather", bytes=size
        )
    return Comm(name=name, axis="tp", forward="all-reduce", backward=None, bytes=size)


def column(
    local: Local,
    name: str,
    n: float,
    k: float,
    *,
    module: str = "",
    saved: float = 0.0,
    parameters: float = 0.0,
    bias: bool = False,
) -> Step:
    """A linear layer whose output columns are split over tp."""
    part = linear(local, name, local.tokens, n, k, bias=bias)
    return Step(
        name=name,
        kind="column",
        module=module,
        forward=part.forward,
        backward=part.backward,
        weight=part.weight,
        comm=column_comm(local, name),
        saved_bytes=saved,
        parameters=parameters,
    )


def row(local: Local, name: str, k: float, *, module: str = "", parameters: float = 0.0) -> Step:
    """A linear layer whose input columns are split over tp; its bias is added with the residual."""
    part = linear(local, name, local.tokens, local.model.hidden, k)
    return Step(
        name=name,
        kind="row",
        module=module,
        forward=part.forward,
        backward=part.backward,
        weight=part.weight,
        comm=row_comm(local, name),
        parameters=parameters,
    )


def residual(local: Local, name: str) -> Step:
    """Bias, dropout and the residual sum; the sum is the next norm's input and is kept."""
    model, size = local.model, local.tokens_sp * local.model.hidden
    mask = size if model.dropout else 0.0
    kernel = "bias_dropout_add" if model.dropout else "residual_add"
    return Step(
        name=name,
        forward=(elementwise(kernel, 2 * ELEMENT * size, ELEMENT * size + mask),),
        # Without dropout the gradient passes the sum unchanged; it is added where branches meet.
        backward=(elementwise(f"{kernel}_backward", 2 * ELEMENT * size + mask, ELEMENT * size),),
        saved_bytes=ELEMENT * size + mask,
    )


def rope(local: Local, width: float) -> Step:
    """Rotary positions on queries and keys of that width, in place."""
    size = local.tokens * width * ELEMENT
    return Step(
        name="rope",
        forward=(elementwise("rope", size, size, launches=2.0),),
        backward=(elementwise("rope_backward", size, size, launches=2.0),),
    )


def core_steps(local: Local, block: Block) -> list[Step]:
    """The attention core with what context parallelism adds around it."""
    forward, backward = attention(local, block)
    heads, kv_heads = attention_heads(local)
    model, plan = local.model, local.job.plan
    saved = 0.0
    if not local.job.fused_attention:
        scores = float(local.batch * heads * local.job.seq_len**2)
        saved = scores * (5.0 if model.dropout else 2.0)
    core = Step(
        name="attention", module="core_attn", forward=forward, backward=backward, saved_bytes=saved
    )
    out_bytes = local.tokens * heads * model.v_dim * ELEMENT
    statistics = 4.0 * local.tokens * heads if local.job.fused_attention else 0.0
    kept = Step(
        name="attention_output", saved_bytes=out_bytes / ELEMENT * _kept(local) + statistics
    )
    if local.cp == 1:
        return [core, kept]
    key_value = local.tokens * kv_heads * (model.qk_dim + model.v_dim) * ELEMENT
    if plan.cp_method == "all-to-all":
        # Each rank trades tokens for heads: queries, keys, values in, outputs back (Ulysses).
        per_rank = local.cp * local.tokens * ELEMENT  # heads here are already 1/cp
        qkv = per_rank * (heads * model.qk_dim + kv_heads * (model.qk_dim + model.v_dim))
        into = _exchange("cp_heads", qkv)
        back = _exchange("cp_tokens", per_rank * heads * model.v_dim)
        return [
            Step(name="cp_heads", comm=into),
            core,
            Step(name="cp_tokens", comm=back),
            replace(kept, saved_bytes=kept.saved_bytes * local.cp),
        ]
    comm = Comm(
        name="cp_key_value",
        axis="cp",
        forward="all-gather",
        backward="reduce-scatter",
        bytes=local.cp * key_value,
    )
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


def _exchange(name: str, size: float) -> Comm:
    return Comm(name=name, axis="cp", forward="all-to-all", backward="all-to-all", bytes=size)


def grouped_attention(local: Local, block: Block) -> list[Step]:
    """Norm, fused query-key-value projection, rotary, core, output projection, residual."""
    model, tp = local.model, local.tp
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
        forward, backward = norm(local, local.tokens, round(size))
        steps.append(
            Step(
                name="qk_norm",
                module="norm",
                forward=forward,
                backward=backward,
                saved_bytes=local.tokens * size * ELEMENT,
            )
        )
    if model.rotary:
        steps.append(rope(local, (heads + kv_heads) * model.head_dim))
    steps += core_steps(local, block)
    steps.append(row(local, "proj", heads * model.head_dim, parameters=out))
    steps.append(residual(local, "attention_residual"))
    return steps


def latent_attention(local: Local, block: Block) -> list[Step]:
    """Latent attention: down-projections on every tp rank, up-projections split by heads."""
    model, a = local.model, local.model.mla
    assert a is not None
    h, heads, tokens = model.hidden, model.heads / local.tp, local.tokens
    steps = [norm_step(local, "attention_norm")]
    compressed = a.q_lora + a.kv_lora + a.qk_rope
    for name, width in (("q_down", a.q_lora), ("kv_down", a.kv_lora + a.qk_rope)):
        if width:
            part = linear(
                local, name, local.tokens_sp, width, h, cast_input=name == "q_down" or not a.q_lora
            )
            steps.append(
                Step(
                    name=name,
                    forward=part.forward,
                    backward=part.backward,
                    weight=part.weight,
                    parameters=float(width * h),
                )
            )
    lora_norm = norm(local, local.tokens_sp, a.q_lora + a.kv_lora)
    comm = column_comm(local, "latent", compressed)
    steps.append(
        Step(
            name="latent_norm",
            module="norm",
            forward=lora_norm[0],
            backward=lora_norm[1],
            saved_bytes=2 * local.tokens_sp * compressed * ELEMENT,
            parameters=float(a.q_lora + a.kv_lora),
        )
    )
    if comm is not None:
        steps.append(Step(name="latent", comm=comm))
    q_width, kv_width = heads * model.qk_dim, heads * (a.qk_nope + a.v_dim)
    for name, wide, k in (("q_up", q_width, a.q_lora or h), ("kv_up", kv_width, a.kv_lora)):
        part = linear(local, name, tokens, wide, k)
        steps.append(
            Step(
                name=name,
                module="mla_up_proj",
                forward=part.forward,
                backward=part.backward,
                weight=part.weight,
                saved_bytes=tokens * wide * ELEMENT,
                parameters=wide * k,
            )
        )
    # Rotary on the rope part, written next to the rest of each head's query and key.
    size = tokens * 2 * heads * model.qk_dim * ELEMENT
    steps.append(
        Step(
            name="rope",
            module="mla_up_proj",
            forward=(elementwise("mla_rope", size, size, launches=2.0),),
            backward=(elementwise("mla_rope_backward", size, size, launches=2.0),),
            saved_bytes=tokens * heads * a.qk_rope * ELEMENT,
        )
    )
    steps += core_steps(local, block)
    steps.append(row(local, "proj", heads * a.v_dim, parameters=heads * a.v_dim * h))
    steps.append(residual(local, "attention_residual"))
    return steps


def dense_part(local: Local, *, width: int = 0, name: str = "fc") -> list[Step]:
    """The two linear layers and the activation of a feed-forward part of that width."""
    model, tp = local.model, local.tp
    width = width or model.ffn
    if not width:
        return []
    inner, sides = width / tp, 2 if model.gated_ffn else 1
    act = activation(local, local.tokens, inner)
    return [
        column(
            local,
            f"{name}1",
            sides * inner,
            model.hidden,
            module="mlp",
            saved=local.tokens * sides * inner * kept_activation_input(local),
            parameters=sides * inner * model.hidden,
            bias=model.bias,
        ),
        Step(
            name=f"{name}_act",
            module="act",
            forward=act[0],
            backward=act[1],
            saved_bytes=local.tokens * inner * _kept(local),
        ),
        row(local, f"{name}2", inner, module="mlp", parameters=inner * model.hidden),
    ]


def dense_feed(local: Local, *, with_norm: bool) -> list[Step]:
    """A dense feed-forward part with its norm and residual."""
    start = [norm_step(local, "mlp_norm")] if with_norm else []
    return [*start, *dense_part(local), residual(local, "mlp_residual")]


def mamba(local: Local) -> list[Step]:
    """A Mamba-2 mixer: projection in, convolution, scan, gated norm, projection out."""
    model, m = local.model, local.model.mamba
    assert m is not None
    inner = m.heads * m.head_dim / local.tp
    states = m.groups * m.state / local.tp
    width = 2 * inner + 2 * states + m.heads / local.tp
    tokens = local.tokens
    mixed = tokens * (inner + 2 * states) * ELEMENT
    scan_flops = tokens * model.scan_flops() / local.tp
    out = tokens * inner * ELEMENT

    def scan(name: str, times: float) -> Kernel:
        return Kernel(
            family="scan",
            name=name,
            flops=times * scan_flops,
            read_bytes=times * (mixed + out),
            write_bytes=times * out,
            precision=local.base,
            launches=5.0 * times,
            shape=(
                local.batch,
                round(m.heads / local.tp),
                local.job.seq_len // local.cp,
                m.head_dim,
                m.state,
            ),
        )

    gated = norm(local, tokens, round(inner))
    return [
        norm_step(local, "mamba_norm"),
        column(
            local,
            "mamba_in",
            width,
            model.hidden,
            saved=tokens * width * ELEMENT,
            parameters=width * model.hidden,
        ),
        Step(
            name="conv",
            forward=(elementwise("conv", mixed, mixed),),
            backward=(elementwise("conv_backward", 2 * mixed, mixed, launches=2.0),),
            saved_bytes=mixed,
        ),
        Step(
            name="scan",
            module="core_attn",
            forward=(scan("scan", 1.0),),
            backward=(scan("scan_backward", 2.5),),
            saved_bytes=out,
        ),
        Step(
            name="gated_norm",
            module="norm",
            forward=gated[0],
            backward=gated[1],
            saved_bytes=out / ELEMENT * _kept(local),
        ),
        row(local, "mamba_out", inner, parameters=inner * model.hidden),
        residual(local, "mamba_residual"),
    ]
