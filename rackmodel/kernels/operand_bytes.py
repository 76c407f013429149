"""HBM bytes of a matrix product: what waves of tiles read, what a cache keeps from wave to wave.

In:  a product, the accelerator's compute units and last cache level, tiles of its family.
Out: `Traffic`: bytes that one launch moves, and how long they take beside no arithmetic.
Left out: operands that the kernel before left in the cache; attention, whose keys and values of a
    head are small.

Units work on one tile each, side by side in a block of the output as square as the product lets it
be (threadblock swizzle). While k goes by, a panel of rows and one of columns pass through the
cache, each byte read from HBM once and by all tiles of its row or column. Blocks follow one another
in bands, along rows or along columns, whichever reads less: the panel of a band, as wide as the
cache keeps and at least a block, is asked for again after a wave, the other operand after a band.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from rackmodel.hardware.power_model import element_bytes, peak_flops_per_s
from rackmodel.kernels.gemm_time import product_shape
from rackmodel.kernels.kernel_constants import AcceleratorLike, GemmConstants
from rackmodel.workload.operations import PRODUCTS, Kernel

SUM_BYTES = 4.0  # of an element of the output while it is summed up


def kept_share(cache_bytes: float, between_bytes: float) -> float:
    """Return the share of bytes that a cache still holds when they are asked for again.

    between_bytes : asked for from one time to the next, themselves included, over and over. Lines
    are evicted at random: (1 - h) between bytes miss, and a line outlives each with 1 - 1 / lines,
    so that h = exp(-(1 - h) between / cache). The least recently used would keep nothing.

    >>> [round(kept_share(25e6, size), 2) for size in (20e6, 30e6, 40e6, 80e6)]
    [1.0, 0.69, 0.36, 0.05]
    """
    if between_bytes <= cache_bytes:
        return 1.0
    if cache_bytes <= 0.0:
        return 0.0
    ratio = between_bytes / cache_bytes
    share = math.exp(-ratio)
    for _ in range(60):  # Newton's steps from below, which never pass the answer
        held = math.exp(ratio * (share - 1.0))
        step = (held - share) / (1.0 - ratio * held)
        share += step
        if step < 1e-9:
            break
    return share


class Traffic(NamedTuple):
    """What kernels move through the HBM of an accelerator.

    elements : of a product's output that are worked on at once, a wave. cache_bytes : of operands
    that are kept for the next one.
    """

    part: AcceleratorLike
    elements: float
    cache_bytes: float

    @classmethod
    def of(cls, part: AcceleratorLike, gemm: GemmConstants) -> Traffic:
        """Return the traffic of an accelerator; one that names no cache keeps nothing.

        Where software fills a memory beside each unit, half of it holds sums and half operands.
        gemm : constants of its family.
        """
        units, cache_bytes = max(1, part.compute_units), part.l2_bytes or 0.0
        tile = float(gemm.tile[0] * gemm.tile[1])
        if gemm.scratchpad:
            half = 0.5 * cache_bytes / units
            return cls(part, max(tile, half / SUM_BYTES), half)
        return cls(part, tile * units, cache_bytes * gemm.cache_share)

    def moved_bytes(self, kernel: Kernel) -> float:
        """Return the bytes that one launch of a kernel reads from HBM and writes to it."""
        once = kernel.read_bytes + kernel.write_bytes
        if kernel.family not in PRODUCTS:
            return once
        return once + _again_bytes(self.elements, self.cache_bytes, kernel)

    def bare_s(self, kernel: Kernel) -> float:
        """Return for how long HBM is full while a kernel has nothing left for matrix units. [s]

        What a product moves beside its arithmetic keeps no unit from it.
        """
        full_s = self.moved_bytes(kernel) / self.part.hbm_bytes_per_s
        if not kernel.flops:
            return full_s
        peak, _ = peak_flops_per_s(self.part, kernel.precision)
        return max(0.0, full_s - kernel.flops / peak)


@lru_cache(maxsize=1 << 14)
def _again_bytes(elements: float, cache_bytes: float, kernel: Kernel) -> float:
    """Return the bytes of operands that a kernel's product(s) read from HBM a second time."""
    m, n, k, batch = product_shape(kernel)
    if not m * n * k * batch * kernel.read_bytes:
        return 0.0
    width = min(element_bytes(kernel.precision), kernel.read_bytes / ((m + n) * k * batch))
    along_n, along_m = (
        _in_bands(elements, cache_bytes, *sides, k * width) for sides in ((m, n), (n, m))
    )
    return batch * min(along_n, along_m)


def _in_bands(elements: float, cache_bytes: float, m: float, n: float, depth: float) -> float:
    """Return what is read again where bands run along n; depth : of k. [bytes]"""
    side = math.sqrt(elements)
    columns = min(n, side)
    wide = max(side, cache_bytes / depth - columns)
    band, other = (min(m, wide) + columns) * depth, (min(m, wide) + n) * depth
    again = m * depth * (n / min(n, max(side, elements / m)) - 1.0)
    again_other = n * depth * (m / min(m, max(wide, elements / n)) - 1.0)
    missed, missed_other = (1.0 - kept_share(cache_bytes, asked) for asked in (band, other))
    return again * missed + again_other * missed_other
