"""From the dense peak down to the MFU: what share of the peak each part of a step loses.

In:  the seconds of a step by part (`breakdown`), the programs of all pipeline ranks, their kernels.
Out: the waterfall; its losses and the MFU add up to 1.
Left out: what would be gained if a part were faster (`study`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rackmodel.columns import Floats
from rackmodel.hardware.power_model import peak_flops_per_s
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.result.breakdown import Runs, over_ranks
from rackmodel.result.records import WaterfallRecord
from rackmodel.workload.operations import Compute, Kernel

OF_KERNELS = (
    "arithmetic",
    "formats",
    "sustained_rate",
    "shapes_and_tiles",
    "hbm_kernels",
    "host",
    "contention",
)
"""Parts of the compute time beyond the model's FLOPs at the peak, in the order of the waterfall."""


def waterfall(
    parts_s: Mapping[str, float],
    model_s: float,
    runs: Sequence[Runs],
    kernels: KernelTimes,
    peak: float,
) -> list[WaterfallRecord]:
    """Return what share of the peak each part of a step loses, if it loses any.

    parts_s : a result's `breakdown_s`. model_s : seconds that the model's FLOPs take a rank at
    `peak`. [flops/s] runs : of the pipeline ranks.
    """
    found = over_ranks(runs, lambda compute: _parts(compute, kernels, peak))
    run_s, *losses = (found / sum(one.ranks for one in runs)).tolist()
    slower_s = parts_s["compute"] - run_s - sum(losses)
    seconds = dict(zip(OF_KERNELS, (run_s - model_s, *losses, slower_s), strict=True))
    waits = {name: value for name, value in parts_s.items() if name != "compute"}
    step_s = sum(parts_s.values())
    least_s = 1e-12 * step_s  # less is rounding
    return [
        {"part": name, "lost": value / step_s}
        for name, value in (seconds | waits).items()
        if abs(value) > least_s
    ]


def _parts(compute: Compute, kernels: KernelTimes, peak: float) -> Floats:
    """Return seconds of the FLOPs at the peak, then what formats to host add to them."""
    parts = np.zeros(6)
    if compute.phase in ("recompute", "optimizer"):  # parts of the step in their own right
        return parts
    for kernel in compute.kernels:
        if kernel.family != "copy":  # copies go beside kernels: what they add is the host's
            parts[:5] += kernel.count * _of_kernel(kernel, kernels, peak)
    parts[5] = kernels.compute_s(compute) - parts.sum()
    return parts


def _of_kernel(kernel: Kernel, kernels: KernelTimes, peak: float) -> Floats:
    took_s, ideal_s = kernels.kernel_s(kernel), kernel.flops / peak
    hbm_s = kernels.traffic.moved_bytes(kernel) / kernels.accelerator.hbm_bytes_per_s
    long_s = kernel.flops / kernels.sustained_flops_per_s(kernel.precision)
    if not kernel.flops or long_s < hbm_s:
        return np.array([ideal_s, 0.0, 0.0, 0.0, took_s - ideal_s])
    own_s = kernel.flops / peak_flops_per_s(kernels.accelerator, kernel.precision)[0]
    return np.array([ideal_s, own_s - ideal_s, long_s - own_s, took_s - long_s, 0.0])
