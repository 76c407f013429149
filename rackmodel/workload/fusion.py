"""What a stack without fused elementwise kernels launches in their place.

In:  a fused elementwise kernel by its name.
Out: the same work as several kernels: more bytes, more launches.
Left out: attention (a job's `attention` says whether it is fused), which release fuses what
(kernel times).
"""

from __future__ import annotations

from dataclasses import replace

from rackmodel.workload.operations import Kernel

# Name -> (bytes against the fused kernel, kernels), counted on the eager PyTorch expressions:
# RMSNorm as float, pow, mean, rsqrt, mul, to, mul; SwiGLU as silu, mul; GELU's bias apart; rotary
# as neg, cat, two mul, add for queries and keys; residual as bias, dropout, add; loss as float,
# max, sub, exp, sum, log, gather.
UNFUSED: dict[str, tuple[float, int]] = {
    "rmsnorm": (5.0, 7),
    "rmsnorm_backward": (5.0, 14),
    "layernorm": (1.0, 1),
    "swiglu": (5.0 / 3.0, 2),
    "swiglu_backward": (2.0, 5),
    "weighted_swiglu": (8.0 / 3.0, 3),
    "weighted_swiglu_backward": (3.0, 7),
    "bias_gelu": (2.0, 2),
    "bias_gelu_backward": (5.0 / 3.0, 2),
    "rope": (5.0, 10),
    "rope_backward": (5.0, 10),
    "bias_dropout_add": (7.0 / 3.0, 3),
    "bias_dropout_add_backward": (7.0 / 3.0, 3),
    "softmax": (3.0, 3),  # scale, mask, softmax
    "softmax_backward": (5.0 / 3.0, 3),
    "cross_entropy": (2.0, 10),
    "cross_entropy_backward": (2.0, 5),
}


def unfused(kernel: Kernel) -> Kernel:
    """Return the kernel as an unfused stack runs it; kernels that nobody fuses come back unchanged.

    Examples
    --------
    >>> gelu = Kernel(family="elementwise", name="bias_gelu", read_bytes=4.0, write_bytes=4.0)
    >>> unfused(gelu).launches, unfused(gelu).read_bytes
    (2.0, 8.0)
    """
    if kernel.name not in UNFUSED:
        return kernel
    more, launches = UNFUSED[kernel.name]
    return replace(
        kernel,
        read_bytes=kernel.read_bytes * more,
        write_bytes=kernel.write_bytes * more,
        launches=max(kernel.launches, float(launches)),
    )
