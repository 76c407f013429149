"""The host as a stream: the time it takes to launch the kernels that the accelerator then runs.

In:  kernels and how often they are launched; the software.
Out: host seconds of a piece of work, and its combination with the device's seconds.
Left out: queues between host and device beyond one piece of work (they are what the smooth maximum
    stands for).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rackmodel.kernels.gemm_time import smooth_max
from rackmodel.software import Software
from rackmodel.workload.operations import Kernel


def launch_s(
    kernels: Iterable[Kernel], software: Software, constants: Mapping[str, Any], cuda_graphs: bool
) -> float:
    """Return the host time to launch `kernels`. [s]

    Each launch costs the software's `launch_s`; in layers with experts each expert of a grouped
    product `expert_s` more (split sizes, scales, pointers). Kernels captured in a graph cost
    `graph_s`.
    """
    work = list(kernels)
    launches = sum(kernel.count * kernel.launches for kernel in work)
    if cuda_graphs:
        return float(launches * min(software.launch_s, constants["graph_s"]))
    if not has_experts(work):
        return float(launches * software.launch_s)
    groups = sum(
        kernel.count * kernel.shape[3]
        for kernel in work
        if kernel.family == "grouped_gemm" and len(kernel.shape) > 3
    )
    factor = software.factors["expert_host"]
    return float(factor * (launches * software.launch_s + groups * constants["expert_s"]))


def has_experts(kernels: Iterable[Kernel]) -> bool:
    """Return whether kernels belong to a layer with experts."""
    return any(kernel.family in ("grouped_gemm", "permute") for kernel in kernels)


def together_s(
    device_s: float, host_s: float, has_experts: bool, constants: Mapping[str, Any]
) -> float:
    """Return the time of work that the host launches while the device runs: a smooth maximum. [s]

    Where experts are dispatched the host waits for counts from the device, so that the two add up
    more.
    """
    power = constants["smooth_moe"] if has_experts else constants["smooth"]
    return smooth_max(device_s, host_s, power)
