"""Kernels of a transformer layer on one rank: FLOPs, HBM bytes and shapes.

In:  local sizes (`Local`) of a job.
Out: `Kernel`s, forward and backward.
Left out: how long they take; which of them a software release fuses.

Bytes count each operand once; what is read again is the accelerator's (kernels.operand_bytes).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from rackmodel.software import software_of
from rackmodel.workload.blocks import Block
from rackmodel.workload.job import Job
from rackmodel.workload.models import Model
from rackmodel.workload.operations import Family, Kernel, Role
from rackmodel.workload.plan import Plan
from rackmodel.workload.precision import Precision, precision_of

Kernels = tuple[Kernel, ...]
Shape = tuple[float, float, float]
ELEMENT = 2.0  # bytes of an activation between layers (bf16 or fp16)


class Local(NamedTuple):
    """What one rank holds of one micro-batch."""

    job: Job
    plan: Plan
    model: Model
    precision: Precision
    tokens: float  # of the micro-batch on this cp rank
    tokens_sp: float  # of those, outside the tensor-parallel parts

    @classmethod
    def of(cls, job: Job) -> Local:
        """Local sizes of a job."""
        plan = job.plan
        tokens = plan.micro_batch * job.seq_len / plan.cp
        return cls(
            job=job,
            plan=plan,
            model=job.model,
            precision=precision_of(job.precision),
            tokens=tokens,
            tokens_sp=tokens / plan.sp,
        )

    @property
    def gathered_bytes(self) -> float:
        """Bytes of an element of a linear layer's operand on its way between tp ranks.

        What is cast anyway is cast before it is gathered: Transformer Engine gathers inputs and
        gradients in FP8 ("cast, transpose for efficient gather", grad_output_preprocess in
        module/base.py), torchao's Float8ColwiseParallel inputs. Sums that leave a product are
        reduced in 16 bits.
        """
        narrow = self.precision.casts and self.precision.casts_first
        narrow = narrow and software_of(self.job.stack).narrow_gathers
        return self.precision.operand_bytes if narrow else ELEMENT


class Work(NamedTuple):
    """The kernels of one part of a layer."""

    forward: Kernels = ()
    backward: Kernels = ()  # gradient of the input
    weight: Kernels = ()  # gradient of the weights


def gemm(
    name: str,
    shape: Shape,
    *,
    form: str,
    read: float,
    written: float = ELEMENT,
    groups: int = 0,
    batch: int = 1,
    role: Role = Role.FORWARD,
) -> Kernel:
    """C[m,n] = A[m,k] B[k,n], `batch` times; with `groups`, m is spread over them.

    shape : (m, n, k). read : bytes of an element of A and B; written : of C.
    """
    m, n, k = shape
    weights = max(1, groups)
    return Kernel(
        family="grouped_gemm" if groups else "gemm",
        name=name,
        role=role,
        flops=2.0 * m * n * k * batch,
        read_bytes=(m * k + k * n * weights) * batch * read,
        write_bytes=m * n * batch * written,
        shape=(round(m), round(n), round(k), groups or batch),
        precision=form,
        turns=float(groups),
    )


def weight_gemm(
    name: str, shape: Shape, *, form: str, read: float, written: float, groups: int = 0
) -> Kernel:
    """The weight gradient [n,k] += dY[m,n]^T X[m,k], once per group with m rows in all."""
    m, n, k = shape
    weights = max(1, groups)
    out = n * k * weights
    rows, columns, depth = round(m), round(n), round(k)
    return Kernel(
        family="grouped_gemm" if groups else "gemm",
        name=name,
        role=Role.WGRAD,
        flops=2.0 * m * n * k,
        read_bytes=(m * n + m * k) * read + out * written,
        write_bytes=out * written,
        # A weight gradient reduces over rows: its m and n are the weight's sides.
        shape=(rows, columns, depth, groups) if groups else (columns, depth, rows, 1),
        precision=form,
        turns=float(groups),
    )


def elementwise(
    name: str,
    read: float,
    write: float,
    *,
    launches: float = 1.0,
    turns: float = 0.0,
    family: Family = "elementwise",
    role: Role = Role.FORWARD,
) -> Kernel:
    """A kernel that only moves bytes."""
    return Kernel(
        family=family,
        name=name,
        role=role,
        read_bytes=read,
        write_bytes=write,
        launches=launches,
        turns=turns,
    )


def moving(
    name: str,
    forward: tuple[float, float],
    backward: tuple[float, float],
    *,
    launches: tuple[float, float] = (1.0, 1.0),
    family: Family = "elementwise",
) -> Work:
    """A part that only moves bytes: (read, written) of its kernel and of that of its gradient."""
    return Work(
        (elementwise(name, *forward, launches=launches[0], family=family),),
        (elementwise(f"{name}_backward", *backward, launches=launches[1], family=family),),
    )


def cast(local: Local, elements: float, *, groups: int = 0, gathered: bool = False) -> Kernels:
    """Quantise a GEMM operand of that many elements; nothing where the recipe casts nothing.

    gathered : over tp, in what it is cast to: each rank casts its share of the sequence, and where
    the hardware needs a second orientation the gathered whole is transposed.
    """
    p, share, copies = local.precision, 1.0, local.precision.cast_copies
    if not p.casts:
        return ()
    whole: Kernels = ()
    if gathered and local.plan.sp > 1 and local.gathered_bytes < ELEMENT:
        share = 1.0 / local.plan.sp
        if p.transpose_bytes and local.job.transposes is not False:
            size, copies = elements * p.operand_bytes, copies - 1.0
            whole = (elementwise(f"transpose_{p.gemm_format}", size, size, role=Role.CAST),)
    return (
        elementwise(
            f"cast_{p.gemm_format}",
            read=p.cast_read_passes * share * elements * ELEMENT,
            write=copies * share * elements * p.operand_bytes,
            launches=p.cast_launches,
            turns=float(groups),
            role=Role.CAST,
        ),
        *whole,
    )


def linear(
    local: Local,
    name: str,
    shape: Shape,
    *,
    groups: int = 0,
    wide: bool = False,
    cast_input: bool = True,
    bias: bool = False,
    gathered: Literal["input", "gradient", ""] = "",
) -> Work:
    """Y[m,n] = X[m,k] W[k,n] and its gradients.

    shape : (m, n, k). wide : stay in the base format (head, router). cast_input : False where
    another linear layer has already cast the same input. bias : its gradient is one more kernel.
    gathered : over tp: X, or the gradient of Y.
    """
    m, n, k = shape
    p, grad = local.precision, float(local.job.gradient_bytes)
    form = p.base_format if wide else p.gemm_format
    read = ELEMENT if wide or not p.casts else p.operand_bytes
    casts_in = (
        ()
        if wide or not cast_input
        else cast(local, m * k, groups=groups, gathered=gathered == "input")
    )
    casts_out = () if wide else cast(local, m * n, groups=groups, gathered=gathered == "gradient")
    back = gemm(f"{name}_dgrad", (m, k, n), form=form, read=read, groups=groups, role=Role.BACKWARD)
    wgrad = weight_gemm(f"{name}_wgrad", shape, form=form, read=read, written=grad, groups=groups)
    bias_gradient = (elementwise("bias_gradient", m * n * ELEMENT, n * grad),) if bias else ()
    return Work(
        forward=(*casts_in, gemm(name, shape, form=form, read=read, groups=groups)),
        backward=(*casts_out, back),
        weight=(wgrad, *bias_gradient),
    )


def attention_heads(local: Local, block: Block) -> tuple[int, int]:
    """Query and key/value heads of one rank; cp by all-to-all (Ulysses) splits heads too."""
    heads, split = local.model.heads_of(block), local.plan.tp
    if local.plan.cp > 1 and local.plan.cp_method == "all-to-all":
        split *= local.plan.cp
    return heads.heads // split, max(1, heads.kv_heads // split)


def attention(local: Local, block: Block) -> Work:
    """The attention core of one layer, forward and backward kernels.

    Under ring cp the first kernel is the diagonal block (causal) and the second the others, which
    with causal balancing (zig-zag order) meet half of the keys each: exactly 1/cp of the work for
    every rank. Their results are merged.
    """
    job, model = local.job, local.model
    if not job.fused_attention:
        return _unfused_attention(local, block)
    s, cp = job.attended, local.plan.cp  # cp ranks share out each document
    method, software = local.plan.cp_method, software_of(job.stack)
    merged = Work()
    if cp == 1 or method == "all-to-all":
        parts = [_core(local, block, s, s, 1, 1)]
    elif method == "all-gather" and not software.cp_blocks:
        parts = [_core(local, block, s // cp, s, 1, 1)]
    else:
        merged = _merged_blocks(local, block, software.merge_bytes)
        own = s // cp
        parts = [_core(local, block, own, own, 1, 1)]
        parts.append(_core(local, block, own, max(1, own // 2), 0, cp - 1))
    total = sum(kernel.flops * kernel.count for kernel in parts)
    # Windows and the mask make the parts unequal; the layer's exact work is shared out by area.
    span, heads = model.kv_span(block, s, causal=True), model.heads_of(block)
    rows = local.plan.micro_batch * heads.heads / local.plan.tp * job.seq_len / cp
    exact = 2.0 * rows * span * (heads.head_dim + heads.value_dim)
    forward = tuple(kernel._replace(flops=kernel.flops * (exact / total)) for kernel in parts)
    backward = tuple(map(_backward_core, forward))
    if job.fp8_attention:
        own, kv_heads = attention_heads(local, block)
        out = local.tokens * own * heads.value_dim
        into = local.tokens * (own + kv_heads) * heads.head_dim + out / own * kv_heads
        forward, backward = (*cast(local, into), *forward), (*cast(local, out), *backward)
    return Work((*forward, *merged.forward), (*backward, *merged.backward))


def _merged_blocks(local: Local, block: Block, merge_bytes: float) -> Work:
    """Partial results of blocks of keys put together, once for each block after the first.

    Forward each output is scaled and added (`merge_bytes` an element). Backward the gradients of
    queries, keys and values are added in fp32: 2 bytes read, 4 read and written. Half of the blocks
    meet half of the queries, the other half of the keys (zig-zag order). Counted in
    transformer_engine's context_parallel.py and torch.distributed's _attention.py.
    """
    heads, kv_heads = attention_heads(local, block)
    wide, share = local.model.heads_of(block), 0.75 * (local.plan.cp - 1)
    out = share * local.tokens * heads * wide.value_dim
    back = (
        share * local.tokens * (heads * wide.head_dim + kv_heads * (wide.head_dim + wide.value_dim))
    )
    times = float(local.plan.cp - 1)
    read, write = 0.6 * merge_bytes * out, 0.4 * merge_bytes * out
    return moving(
        "merge_blocks", (read, write), (6.0 * back, 4.0 * back), launches=(2.0 * times, 3.0 * times)
    )


def _core(local: Local, block: Block, q_len: int, kv_len: int, causal: int, count: int) -> Kernel:
    """A block of queries against a block of keys.

    Sparse attention reads its keys and values once a query: no two queries choose alike, and what
    the cache saves of it is not counted.
    """
    model, job = local.model, local.job
    b = local.plan.micro_batch * job.seq_len // job.attended
    heads, kv_heads = attention_heads(local, block)
    wide, window = model.heads_of(block), model.kept_window(block)
    qk, v = wide.head_dim, wide.value_dim
    area = q_len * kv_len * (0.5 if causal else 1.0)
    span = model.kv_span(block, kv_len, causal=True)
    keys = q_len * span if block.index else float(kv_len)
    if block.rate:  # the window under which a query sees as many keys on average
        share = 2.0 * span / kv_len
        window = round(kv_len * (1.0 - math.sqrt(1.0 - share))) if share < 1.0 else 0
    # The latent key holds the value.
    width = qk if wide.one_kv or (block.index and model.mla) else qk + v
    return Kernel(
        family="attention",
        name="attention",
        flops=2.0 * b * heads * area * (qk + v),
        read_bytes=ELEMENT * b * (heads * q_len * qk + kv_heads * keys * width),
        write_bytes=ELEMENT * b * heads * q_len * v + 4.0 * b * heads * q_len,
        shape=(b, heads, kv_heads, q_len, kv_len, qk, v, causal, window),
        precision=local.precision.gemm_format if job.fp8_attention else local.precision.base_format,
        count=float(count),
    )


def _backward_core(forward: Kernel) -> Kernel:
    """Five products instead of two (scores again): 2.5 x the FLOPs. Source: arXiv:2307.08691."""
    return Kernel(
        family="attention",
        name="attention_backward",
        role=Role.BACKWARD,
        flops=2.5 * forward.flops,
        read_bytes=2.0 * forward.read_bytes + 2.0 * forward.write_bytes,
        write_bytes=forward.read_bytes,
        shape=forward.shape,
        precision=forward.precision,
        count=forward.count,
        launches=3.0,  # row sums of dO x O, main kernel, conversion of dQ
    )


def _unfused_attention(local: Local, block: Block) -> Work:
    """Scores written to HBM: two batched GEMMs around a masked softmax and its dropout."""
    model, s = local.model, local.job.seq_len
    batch, wide = local.plan.micro_batch * attention_heads(local, block)[0], model.heads_of(block)
    qk, v, form = wide.head_dim, wide.value_dim, local.precision.base_format
    scores = float(batch * s * s)

    def product(name: str, n: float, k: float) -> Kernel:
        return gemm(name, (s, n, k), form=form, read=ELEMENT, batch=batch, role=Role.SCORES)

    def sweep(name: str, read: float, write: float) -> Kernel:
        return elementwise(name, read * scores, write * scores, role=Role.SCORES)

    forward = [
        product("attention_scores", s, qk),
        sweep("softmax", ELEMENT, ELEMENT),
        product("attention_context", v, s),
    ]
    backward = [
        product("attention_context_dgrad", s, v),
        product("attention_context_wgrad", v, s),
        sweep("softmax_backward", 2 * ELEMENT, ELEMENT),
        product("attention_scores_dgrad", qk, s),
        product("attention_scores_wgrad", qk, s),
    ]
    if model.dropout:
        forward.insert(2, sweep("dropout", ELEMENT, ELEMENT + 1))
        backward.insert(2, sweep("dropout", ELEMENT + 1, ELEMENT))
    return Work(tuple(forward), tuple(backward))


def norm(local: Local, tokens: float, width: int) -> Work:
    """RMSNorm or LayerNorm over rows of that width."""
    size = tokens * width * ELEMENT
    return moving(local.model.norm, (size, size), (2 * size, size), launches=(1.0, 2.0))


def kept_input(local: Local) -> float:
    """Bytes of an element of a linear layer's input, as it is kept for the weight gradient."""
    return local.precision.stored_bytes if local.precision.casts else ELEMENT


def kept_activation_input(local: Local) -> float:
    """Bytes of an element of a GELU's or SwiGLU's input, as it is kept for the backward pass."""
    narrow = software_of(local.job.stack).narrow_activation_input and local.precision.casts
    return local.precision.stored_bytes if narrow else ELEMENT


def activation(local: Local, tokens: float, width: float, *, weighted: bool = False) -> Work:
    """GELU or SwiGLU between linear layers; `weighted` multiplies by the router's probability."""
    gated = local.model.gated_ffn
    name = "swiglu" if gated else ("bias_gelu" if local.model.bias else "gelu")
    out = tokens * width * ELEMENT
    inputs = out * (2 if gated else 1)
    return moving(f"weighted_{name}" if weighted else name, (inputs, out), (inputs + out, inputs))
