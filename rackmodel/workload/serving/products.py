"""Products of activations with weights of a format.

In:  a shape, a format.
Out: `product`, a kernel; `WIDE`, what no format makes narrower.
Left out: experts' grouped products (`layers`), seconds.
"""

from __future__ import annotations

from rackmodel.workload.kernels import ELEMENT
from rackmodel.workload.operations import Kernel
from rackmodel.workload.serving.formats import Stored

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
