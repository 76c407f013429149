"""What a whole step adds to its simulated operations.

In:  the step's seconds, the job.
Out: overhead in seconds.
Left out: failures, checkpoints, links that flap (rackmodel.assess knows those).
"""

from __future__ import annotations

from rackmodel.kernels.kernel_constants import KernelConstants, kernel_constants
from rackmodel.software import software_of
from rackmodel.workload import Job


def expected_maximum(count: int) -> float:
    """Return the expected maximum of `count` standard normal draws.

    Blom's approximation, within 5% of the exact value. Source: Blom, "Statistical Estimates and
    Transformed Beta-Variables", 1958.

    >>> [round(expected_maximum(n), 2) for n in (1, 2, 1000)]
    [0.0, 0.59, 3.23]
    """
    from statistics import NormalDist

    if count <= 1:
        return 0.0
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


def overhead_s(job: Job, step_s: float, constants: KernelConstants | None = None) -> float:
    """Return the seconds that a step loses outside its simulated operations.

    A fixed part, and the wait for the slowest accelerator: speeds of nominally equal parts differ
    by `spread`, and a synchronous step goes at the pace of the slowest of all.
    """
    if software_of(job.stack).composed:
        return 0.0
    step = (constants or kernel_constants())["step"]
    return float(step["fixed_s"] + step["spread"] * expected_maximum(job.gpus) * step_s)
