"""How long a matrix product takes: tiles over units, pipeline depth, operands through HBM.

In:  shape, peak of the accelerator, constants of its family.
Out: seconds of one launch.
Left out: choice of library and autotuning beyond two tile sizes; split-k is what `partial_wave` < 1
    stands for.
"""

from __future__ import annotations

import math

from rackmodel.kernels.kernel_constants import GemmConstants
from rackmodel.workload.operations import Kernel, Role

Shape = tuple[float, float, float, float]  # m, n, k, batch


def smooth_max(a: float, b: float, power: float) -> float:
    """Return (a^p + b^p)^(1/p): the larger one, rounded up where both are alike.

    >>> round(smooth_max(3.0, 4.0, 2.0), 6), smooth_max(0.0, 2.0, 4.0)
    (5.0, 2.0)
    """
    high, low = (a, b) if a >= b else (b, a)
    if low <= 0.0 or high <= 0.0:
        return max(high, 0.0)
    return float(high * (1.0 + (low / high) ** power) ** (1.0 / power))


def row_elements(kernel: Kernel) -> int:
    """Return how many elements the rows of all operands are multiples of: 8, 4, 2 or 1.

    Rows of a linear layer's operands are as long as its sides, in all three of its products; how
    many tokens there are aligns nothing.

    >>> head = Kernel(family="gemm", name="head", flops=1.0, shape=(1023, 50257, 2048, 1))
    >>> row_elements(head), row_elements(head._replace(shape=(1023, 50264, 2048, 1)))
    (1, 8)
    """
    m, n, k = kernel.shape[:3]
    return math.gcd(8, n, m if kernel.role == Role.WGRAD else k)


def product_shape(kernel: Kernel) -> Shape:
    """Return m, n, k of the product(s) of a kernel and how many there are.

    Groups share the rows; the weight gradient of an expert is n x k and reduces over its rows.

    >>> product_shape(Kernel(family="grouped_gemm", name="experts", shape=(4096, 512, 1024, 8)))
    (512.0, 512.0, 1024.0, 8.0)
    """
    m, n, k, batch = (float(x) for x in (*kernel.shape, 1, 1, 1, 1)[:4])
    if kernel.family == "grouped_gemm":
        rows = m / max(batch, 1.0)
        m, n, k = (n, k, rows) if kernel.role == Role.WGRAD else (rows, n, k)
    return m, n, k, batch


def tiled_flops(shape: Shape, units: int, gemm: GemmConstants, small_tile: float) -> float:
    """Return the FLOPs that the machine has the time for while it does this product.

    Edges are padded to whole tiles, tiles to waves over the compute units, k by the fill of the
    pipeline.

    Parameters
    ----------
    shape : (m, n, k, batch) of the product(s).
    units : compute units.
    small_tile : speed of a half-sized tile against the full one; the faster of both is used.
    """
    m, n, k, batch = shape
    best = math.inf
    large, other = gemm.tile
    for rows, columns, speed in (
        (large, other, 1.0),
        (other, large, 1.0),
        (min(large, other), min(large, other) // (2 if large == other else 1), small_tile),
        (min(large, other) // 2, min(large, other) // 2, small_tile**3),
    ):
        tiles = math.ceil(m / rows) * math.ceil(n / columns) * batch
        waves = tiles / units
        # gemm.partial_wave = 0: one queue over all units, no waves at all.
        whole = waves + gemm.partial_wave * (math.ceil(waves) - waves)
        best = min(best, whole * units * rows * columns / speed)
    return 2.0 * best * (k + gemm.fill_k)


def gemm_s(
    shape: Shape,
    *,
    peak_flops_per_s: float,
    hbm_s: float,
    units: int,
    gemm: GemmConstants,
    small_tile: float,
    smooth: float,
) -> float:
    """Return the time of one product of `batch` (m x k) by (k x n). [s]

    shape : (m, n, k, batch). peak_flops_per_s : sustained, all efficiencies in. hbm_s : time that
    HBM needs for the operands.
    """
    arithmetic_s = tiled_flops(shape, units, gemm, small_tile) / peak_flops_per_s
    return smooth_max(arithmetic_s, hbm_s, smooth) + gemm.start_s
