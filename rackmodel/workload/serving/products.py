"""Products of activations with weights of a format.

In:  a shape, a format.
Out: `product`, `grouped`: kernels; `WIDE`, what no format makes narrower.
Left out: which experts are hit (`load`), seconds.
"""

from __future__ import annotations

from rackmodel.workload.kernels import ELEMENT
from rackmodel.workload.operations import Kernel
from rackmodel.workload.serving.formats import WEIGHT_FORMATS, Stored

# Experts in fp8 beside data-parallel attention run in DeepGEMM's kernels: SGLang with DeepEP
# (LMSYS, 2025-06-16), TensorRT-LLM in InferenceX's scripts (DP_ATTENTION: DEEPGEMM, else TRTLLM).
DEEP_GEMM = "fp8-deepgemm"
MXFP4, NVFP4 = (WEIGHT_FORMATS[name].experts.arithmetic for name in ("mxfp4", "nvfp4"))
WIDE = Stored(bytes=ELEMENT, arithmetic="bf16")


def product(name: str, shape: tuple[float, float, float], form: Stored, batch: float = 1) -> Kernel:
    """Y[m,n] = X[m,k] W[k,n] with weights of a format, `batch` times side by side."""
    m, n, k = shape
    return Kernel(
        family="gemm",
        name=name,
        flops=2.0 * m * n * k * batch,
        read_bytes=(k * n * form.bytes + m * k * min(form.bytes, ELEMENT)) * batch,
        write_bytes=m * n * ELEMENT * batch,
        shape=(max(1, round(m)), max(1, round(n)), max(1, round(k)), round(batch)),
        precision=form.arithmetic,
    )


def grouped(
    name: str, shape: tuple[float, float, float, float], form: Stored, precision: str
) -> Kernel:
    """Y[m,n] = X[m,k] W[e,k,n], each row with the weights of one of e experts."""
    m, n, k, experts = shape
    return Kernel(
        family="grouped_gemm",
        name=name,
        flops=2.0 * m * n * k,
        read_bytes=experts * n * k * form.bytes + m * k * min(form.bytes, ELEMENT),
        write_bytes=m * n * ELEMENT,
        shape=(max(1, round(m)), round(n), round(k), max(1, round(experts))),
        precision=precision,
    )
