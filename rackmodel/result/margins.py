"""What a step would be quicker by if one of its limits were half: what binds it by its margin.

In:  the seconds of a step by part, the programs of all pipeline ranks, the times of their kernels.
Out: seconds by limit.
Left out: a step simulated anew on a machine with more of something (`study`).

Twice the matrix units take half of the time of a matrix product, but no more than until it waits
for HBM, and the reverse; a host that launches twice as fast helps as far as kernels wait for it.
What ranks wait for each other in a pipeline is made of the same kernels and shrinks with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.result.breakdown import Runs, over_ranks
from rackmodel.workload.operations import Compute

Floats = npt.NDArray[np.float64]

OF_KERNELS = ("matrix units", "HBM bandwidth", "host launch")
KERNELS = ("compute", "recompute", "optimizer")  # parts of a step in which kernels run


def margins_s(
    parts_s: Mapping[str, float], runs: Sequence[Runs], kernels: KernelTimes
) -> dict[str, float]:
    """Return the seconds that each limit of a step takes and half of it would not.

    parts_s : a result's `breakdown_s`; traffic that is waited for, and the bubble, count by half.
    runs : of the pipeline ranks.
    """
    saved = over_ranks(runs, lambda compute: _saved(compute, kernels))
    saved /= sum(one.ranks for one in runs)
    busy_s = sum(parts_s.get(name, 0.0) for name in KERNELS)
    saved *= 1.0 + parts_s.get("bubble", 0.0) / (busy_s or 1.0)
    waits = {
        name: seconds / 2.0
        for name, seconds in parts_s.items()
        if name not in (*KERNELS, "overhead")
    }
    return dict(zip(OF_KERNELS, saved.tolist(), strict=True)) | waits


def _saved(compute: Compute, kernels: KernelTimes) -> Floats:
    """Return what a piece of work gains by twice the matrix units, HBM bandwidth, launches. [s]"""
    device_s, host_s = kernels.device_s(compute), kernels.host_s(compute)
    gains = [0.0, 0.0]
    for kernel in compute.kernels:
        if kernel.family == "copy":
            continue
        moved = kernel.read_bytes + kernel.write_bytes
        hbm_s = moved / kernels.accelerator.hbm_bytes_per_s
        long_s = kernel.flops / kernels.sustained_flops_per_s(kernel.precision)
        took_s, other_s = kernels.kernel_s(kernel), min(hbm_s, long_s)
        gains[hbm_s > long_s] += kernel.count * max(0.0, took_s - max(took_s / 2.0, other_s))
    ways = [(device_s - gain, host_s) for gain in gains] + [(device_s, host_s / 2.0)]
    now_s = kernels.together_s(compute, device_s, host_s)
    return np.array([now_s - kernels.together_s(compute, *way) for way in ways])
