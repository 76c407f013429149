"""The steps of what newer models put around mixers.

In:  local sizes, the kind of layer.
Out: `Step`s: keys summed into one, outputs through few columns, residual streams, shared blocks.
Left out: attention itself (`layers`), the iterations that balance the streams, a few numbers a
token.
"""

from __future__ import annotations

from dataclasses import replace

from rackmodel.workload.blocks import Block
from rackmodel.workload.kernels import ELEMENT, Local, linear, moving, norm
from rackmodel.workload.parts import (
    column,
    column_comm,
    dense_part,
    norm_step,
    residual,
    rope,
    row,
)
from rackmodel.workload.steps import Step
from rackmodel.workload.variants import SharedBlock, joined_parameters


def compression_steps(local: Local, block: Block) -> list[Step]:
    """Keys and gates of all tokens on every tp rank, summed into one key a window."""
    model, tokens = local.model, local.tokens
    kept, width = model.compression, model.compressed_columns(block)
    if kept is None or not width:
        return []
    read, written = tokens * width * ELEMENT, tokens / block.rate * model.head_dim * ELEMENT
    vectors = kept.vectors(model.head_dim, chosen=bool(block.index))
    return [
        Step(
            name="compressed_kv",
            work=linear(local, "compressed_kv", (tokens, width, model.hidden), cast_input=False),
            saved_bytes=read,
            parameters=float(width * model.hidden + vectors),
        ),
        Step(
            name="compress",
            work=moving("compress", (read, written), (read + written, read), launches=(2.0, 3.0)),
            saved_bytes=written,
        ),
    ]


def output_steps(local: Local, block: Block) -> list[Step]:
    """The output projection of one tp rank: at once, or each group of heads through few columns."""
    heads, tp, hidden = local.model.heads_of(block), local.plan.tp, local.model.hidden
    inner = heads.heads / tp * heads.value_dim
    if not heads.out_rank:
        return [row(local, "proj", inner, parameters=inner * hidden)]
    groups = heads.out_groups / tp
    narrow, rows = groups * heads.out_rank, local.tokens * groups
    shape = rows, float(heads.out_rank), inner / groups
    return [
        Step(
            name="out_down",
            work=linear(local, "out_down", shape, groups=round(groups)),
            saved_bytes=local.tokens * narrow * ELEMENT,
            parameters=heads.out_rank * inner,
        ),
        row(local, "proj", narrow, parameters=narrow * hidden),
    ]


def stream_steps(local: Local, name: str) -> list[Step]:
    """Weights of the residual streams, and one stream out of them for a sub-layer to work on."""
    model, tokens = local.model, local.tokens_sp
    if model.streams == 1:
        return []
    size = tokens * model.hidden * ELEMENT
    every, columns = model.streams * size, model.streams * (model.streams + 2)
    mixing = linear(
        local, name, (tokens, float(columns), float(model.streams * model.hidden)), wide=True
    )
    moved = moving(name, (2 * every, every + size), (2 * every + size, every), launches=(2.0, 3.0))
    work = mixing._replace(
        forward=(*mixing.forward, *moved.forward),
        backward=(*moved.backward, *mixing.backward),
    )
    return [Step(name=name, work=work, parameters=float(model.stream_parameters))]


def joining_steps(local: Local) -> list[Step]:
    """One residual out of several before the head."""
    model = local.model
    if model.streams == 1:
        return []
    size = local.tokens_sp * model.hidden * ELEMENT
    every = model.streams * size
    return [
        Step(
            name="join_streams",
            work=moving("join_streams", (every, size), (every + size, every), launches=(2.0, 3.0)),
            saved_bytes=every,
            parameters=float(joined_parameters(model.streams, model.hidden)),
        )
    ]


def shared_block_steps(
    local: Local, block: Block, shared: SharedBlock
) -> tuple[list[Step], list[Step]]:
    """What stands before and after the attention core of a block that layers share.

    It works on the hidden state beside the embedding. Weights that were used before are not held
    again; what a use has of its own is.
    """
    model, tp, hidden = local.model, local.plan.tp, local.model.hidden
    heads, both = model.heads_of(block), 2 * hidden
    width = (heads.query_width + heads.kv_width) / tp
    size = local.tokens_sp * both * ELEMENT
    held = [
        Step(
            name="shared_norm",
            module="norm",
            work=norm(local, local.tokens_sp, both),
            saved_bytes=2 * size,
            parameters=2.0 * model.norm_parameters,
        ),
        replace(
            column(
                local,
                "shared_qkv",
                width,
                both,
                saved=local.tokens * width * ELEMENT,
                parameters=width * both,
            ),
            comm=column_comm(local, "shared_qkv", both, element=local.gathered_bytes),
        ),
        *([rope(local, width)] if model.rotary else []),
    ]
    after = [
        *output_steps(local, block),
        norm_step(local, "shared_mlp_norm"),
        *dense_part(local, name="shared_fc"),
    ]
    if block.use == "again":
        held, after = ([replace(one, parameters=0.0) for one in part] for part in (held, after))
    first, second, *rest = after[-3:]
    if shared.attention_adapters:
        held += _adapter(local, "qkv_adapter", 3.0, both, width, shared.adapter_rank)
    return held, [
        *after[:-3],
        first,
        *_adapter(local, "mlp_adapter", 1.0, hidden, 2 * model.ffn / tp, shared.adapter_rank),
        second,
        *rest,
        Step(
            name="shared_out",
            work=linear(local, "shared_out", (local.tokens_sp, hidden, hidden)),
            saved_bytes=local.tokens_sp * hidden * ELEMENT,
            parameters=float(hidden * hidden),
        ),
        residual(local, "shared_residual"),
    ]


def _adapter(
    local: Local, name: str, times: float, hidden: float, width: float, rank: int
) -> list[Step]:
    """A product of low rank beside others, `times` down and to all columns up."""
    down, up = times * rank, width / times
    return [
        Step(
            name=f"{name}_down",
            work=linear(local, f"{name}_down", (local.tokens, down, hidden), cast_input=False),
            saved_bytes=local.tokens * down * ELEMENT,
            parameters=down * hidden,
        ),
        Step(
            name=f"{name}_up",
            work=linear(local, f"{name}_up", (local.tokens * times, up, rank)),
            parameters=width * rank,
        ),
    ]
