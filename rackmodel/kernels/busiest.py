"""Seconds of kernels on the busiest rank of a pipeline: a step's floor, and what moves it.

In:  a settled job, the times of its kernels.
Out: `busiest_s`.
Left out: bytes between ranks, waits.
"""

from __future__ import annotations

from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.workload import Job, programs
from rackmodel.workload.operations import Compute, operations_of


def busiest_s(job: Job, kernels: KernelTimes) -> float:
    """Return the seconds that the kernels of the busiest pipeline rank take in a step."""
    known: dict[int, float] = {}
    longest = 0.0
    for program in programs(job):
        total = 0.0
        for item in program.items:
            if item.id not in known:
                computes = [one for one in operations_of(item) if isinstance(one, Compute)]
                known[item.id] = sum(kernels.compute_s(one) for one in computes)
            total += known[item.id]
        longest = max(longest, total)
    return longest
