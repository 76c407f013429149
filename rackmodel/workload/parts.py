"""Parts that layers are put together from: norms, linear layers over tp, residuals, feed-forward.

In:  local sizes.
Out: `Step`s with the collectives of tensor parallelism around them.
Left out: which parts a layer has (`layers`, `experts`, `ends`).
"""

from __future__ import annotations

from rackmodel.software import software_of
from rackmodel.workload.kernels import (
    ELEMENT,
    Local,
    activation,
    kept_activation_input,
    kept_input,
    linear,
    moving,
    norm,
)
from rackmodel.workload.steps import Comm, Step


def norm_step(local: Local, name: str) -> Step:
    """A norm over the hidden width; its input (the residual stream) and output are kept."""
    return Step(
        name=name,
        module="norm",
        work=norm(local, local.tokens_sp, local.model.hidden),
        saved_bytes=local.tokens_sp * local.model.hidden * kept_input(local),
        parameters=local.model.norm_parameters,
    )


def column_comm(
    local: Local, name: str, width: int | None = None, *, element: float = ELEMENT
) -> Comm | None:
    """What tensor parallelism does before a column-parallel linear layer.

    width : of its input, where that is not the hidden one. element : bytes of one of its elements.
    """
    if local.plan.tp == 1:
        return None
    elements = local.tokens * (local.model.hidden if width is None else width)
    size = elements * ELEMENT
    if local.plan.sequence_parallel:
        comm = _shared_out(local, Comm.mirrored(name, "tp", "all-gather", elements * element))
        return comm if element == ELEMENT else comm._replace(bytes_back=size)
    return Comm(name=name, axis="tp", forward=None, backward="all-reduce", bytes=size)


def row_comm(local: Local, name: str, *, element: float = ELEMENT) -> Comm | None:
    """What tensor parallelism does after a row-parallel linear layer.

    element : bytes of an element of its output's gradient.
    """
    if local.plan.tp == 1:
        return None
    elements = local.tokens * local.model.hidden
    size = elements * ELEMENT
    if local.plan.sequence_parallel:
        comm = _shared_out(local, Comm.mirrored(name, "tp", "reduce-scatter", size))
        return comm if element == ELEMENT else comm._replace(bytes_back=elements * element)
    return Comm(name=name, axis="tp", forward="all-reduce", backward=None, bytes=size)


def _shared_out(local: Local, comm: Comm) -> Comm:
    """A collective over shares of sequences, as the software has it around its products."""
    return comm._replace(separate=software_of(local.job.stack).separate_products)


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
    return Step(
        name=name,
        kind="column",
        module=module,
        work=linear(local, name, (local.tokens, n, k), bias=bias, gathered="input"),
        comm=column_comm(local, name, element=local.gathered_bytes),
        saved_bytes=saved,
        parameters=parameters,
    )


def row(local: Local, name: str, k: float, *, module: str = "", parameters: float = 0.0) -> Step:
    """A linear layer whose input columns are split over tp; its bias is added with the residual."""
    return Step(
        name=name,
        kind="row",
        module=module,
        work=linear(local, name, (local.tokens, local.model.hidden, k), gathered="gradient"),
        comm=row_comm(local, name, element=local.gathered_bytes),
        parameters=parameters,
    )


def residual(local: Local, name: str) -> Step:
    """Bias, dropout and the sum into every residual stream; it is the next norm's input, kept."""
    model, size = local.model, local.tokens_sp * local.model.hidden
    mask, every = size if model.dropout else 0.0, model.streams * size
    return Step(
        name=name,
        # Without dropout the gradient passes the sum unchanged; it is added where branches meet.
        work=moving(
            "bias_dropout_add" if model.dropout else "residual_add",
            (ELEMENT * (every + size), ELEMENT * every + mask),
            (ELEMENT * (every + size) + mask, ELEMENT * every),
        ),
        saved_bytes=ELEMENT * every + mask,
    )


def dense_part(local: Local, *, width: int = 0, name: str = "fc") -> list[Step]:
    """The two linear layers and the activation of a feed-forward part of that width."""
    model, tp = local.model, local.plan.tp
    width = width or model.ffn
    if not width:
        return []
    inner, sides = width / tp, 2 if model.gated_ffn else 1
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
            work=activation(local, local.tokens, inner),
            saved_bytes=local.tokens * inner * kept_input(local),
        ),
        row(local, f"{name}2", inner, module="mlp", parameters=inner * model.hidden),
    ]


def rope(local: Local, width: float) -> Step:
    """Rotary positions on queries and keys of that width, in place."""
    size = local.tokens * width * ELEMENT
    return Step(name="rope", work=moving("rope", (size, size), (size, size), launches=(2.0, 2.0)))
