"""The steps of layers that keep a state: Mamba, gated delta rule, short convolution.

In:  local sizes and the kind of layer.
Out: `Step`s: projection in, convolution, scan, gated norm, projection out.
Left out: attention (`layers`); the context parallelism of a scan, which is refused (`validity`).
"""

from __future__ import annotations

from rackmodel.workload.kernels import (
    ELEMENT,
    Local,
    Work,
    elementwise,
    kept_input,
    linear,
    moving,
    norm,
)
from rackmodel.workload.mixers import Mamba, Recurrent, Selective
from rackmodel.workload.operations import Kernel
from rackmodel.workload.parts import column, norm_step, residual, row
from rackmodel.workload.steps import Step


def recurrent_steps(local: Local, kind: Recurrent, *, beside: bool = False) -> list[Step]:
    """A mixer with a state: projection in, convolution, scan, gated norm, projection out.

    beside : attention stands beside it in the layer: the norm before and the sum after are its own.
    """
    hidden, tokens, tp = local.model.hidden, local.tokens, local.plan.tp
    name = type(kind).__name__.lower()
    inner, width = kind.inner / tp, kind.in_width / tp
    mixed, out = tokens * (kind.mixed / tp) * ELEMENT, tokens * inner * ELEMENT
    steps = [
        *(() if beside else (norm_step(local, f"{name}_norm"),)),
        column(
            local,
            f"{name}_in",
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
        *_step_sizes(local, kind),
    ]
    if kind.scan_shape[0]:
        work = Work(
            (_scan(local, kind, "scan", 1.0, mixed, out),),
            (_scan(local, kind, "scan_backward", 2.5, mixed, out),),
        )
        steps.append(Step(name="scan", module="core_attn", work=work, saved_bytes=out))
    return [
        *steps,
        _gated(local, kind, inner, out),
        row(local, f"{name}_out", inner, parameters=inner * hidden),
        *(() if beside else (residual(local, f"{name}_residual"),)),
    ]


def _step_sizes(local: Local, kind: Recurrent) -> list[Step]:
    """What comes out of low ranks.

    Mamba-1: B, C and the step of each channel from the convolved input, in two products. Delta rule
    with a decay a channel: decays and gate.
    """
    if not isinstance(kind, Selective):
        return [_up(local, kind, name, width) for name, width in kind.up_widths.items()]
    tokens, width = local.tokens, kind.width / local.plan.tp
    narrow = kind.rank + 2 * kind.state
    return [
        Step(
            name="step_down",
            work=linear(local, "step_down", (tokens, narrow, width)),
            saved_bytes=tokens * narrow * ELEMENT,
            parameters=width * narrow,
        ),
        Step(
            name="step_up",
            work=linear(local, "step_up", (tokens, width, kind.rank)),
            saved_bytes=tokens * width * ELEMENT,
            parameters=width * kind.rank,
        ),
    ]


def _up(local: Local, kind: Recurrent, name: str, width: int) -> Step:
    """From a low rank to all channels of one tp rank."""
    tokens, wide = local.tokens, width / local.plan.tp
    return Step(
        name=name,
        work=linear(local, name, (tokens, wide, kind.up_rank)),
        saved_bytes=tokens * wide * ELEMENT,
        parameters=wide * kind.up_rank,
    )


def _gated(local: Local, kind: Recurrent, inner: float, out: float) -> Step:
    """The gated norm (a norm a token), or the gate alone where the kind has no norm."""
    if isinstance(kind, Mamba) or kind.scan_shape[1] > 1:
        work = norm(local, local.tokens, round(inner))
    else:
        work = moving("gate", (2 * out, out), (3 * out, 2 * out))
    return Step(
        name="gated_norm",
        module="norm",
        work=work,
        saved_bytes=out / ELEMENT * kept_input(local),
    )


def _scan(
    local: Local, kind: Recurrent, name: str, times: float, mixed: float, out: float
) -> Kernel:
    """The scan of `mixed` bytes to `out` bytes, or its gradient: `times` the work.

    Mamba-1's scan is no matrix product: it moves bytes, with the step of each channel beside the
    input, as its fused kernel does (arXiv:2312.00752, section 3.3.2).
    """
    heads, wide, state = kind.scan_shape
    tp, length = local.plan.tp, local.job.seq_len // local.plan.cp
    flops = times * (local.tokens * kind.flops() / tp)
    if isinstance(kind, Selective):
        moved = elementwise(name, times * (2 * mixed + out), times * out, launches=times)
        return moved._replace(flops=flops)
    return Kernel(
        family="scan",
        name=name,
        flops=flops,
        read_bytes=times * (mixed + out),
        write_bytes=times * out,
        precision=local.precision.base_format,
        launches=5.0 * times,
        shape=(local.plan.micro_batch, round(heads / tp), length, wide, state),
    )
