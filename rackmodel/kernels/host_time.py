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
from rackmodel.workload.operations import Kernel, Role


def launch_s(
    kernels: Iterable[Kernel], software: Software, constants: Mapping[str, Any], cuda_graphs: bool
) -> float:
    """Return the host time to launch `kernels`. [s]

    Each launch costs the software's `launch_s`. A grouped product, and a cast of what it reads, is
    one launch too, within which the library goes round its local experts: each turn costs
    `expert_s` (a product handed to cuBLAS) or `expert_cast_s` (a tensor made, its scales and its
    quantised copies; more than a product's, as an FP8 module takes 3.6 times the host time of one
    in bf16). Kernels captured in a graph cost `graph_s`. Sources: transformer_engine's
    te_general_grouped_gemm and module/grouped_linear.py; TransformerEngine issues 445, 1499, 2053.
    """
    work = list(kernels)
    launches = sum(kernel.count * kernel.launches for kernel in work)
    if cuda_graphs:
        turns = sum(kernel.count * kernel.turns for kernel in work)
        return float((launches + turns) * min(software.launch_s, constants["graph_s"]))
    if not has_experts(work):
        return float(launches * software.launch_s)
    loops_s = sum(kernel.count * kernel.turns * _turn_s(kernel, constants) for kernel in work)
    return float(software.factors["expert_host"] * (launches * software.launch_s + loops_s))


def _turn_s(kernel: Kernel, constants: Mapping[str, Any]) -> float:
    return float(constants["expert_cast_s" if kernel.role == Role.CAST else "expert_s"])


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
