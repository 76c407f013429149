"""Data-parallel traffic of one axis as straight lines: seconds at no bytes, seconds per byte.

In:  a plan, an axis, what is sharded.
Out: lines of the gradients that go out and of the weights that come back.
Left out: what hides under passes (`closed_form`).
"""

from __future__ import annotations

from rackmodel.planning.comm_times import CommTimes
from rackmodel.workload import Job, Plan
from rackmodel.workload.copies import expert_shards
from rackmodel.workload.data_parallel import by_tensors, owners


def moved_by(
    comm: CommTimes, job: Job, plan: Plan, axis: str, sharding: str
) -> tuple[float, float, float, float]:
    """Return seconds at no bytes and per byte of reducing gradients, then of gathering weights.

    plan : tells which ranks meet. sharding : in place of the plan's.
    """
    if by_tensors(job, sharding):
        if axis.endswith("_replica"):  # gradients were summed over all at once
            return 0.0, 0.0, 0.0, 0.0
        ranks = expert_shards(plan) if axis.startswith("edp") else plan.shards
        units = -(-(job.model.layers + 2) // plan.pp)
        fixed, slope = linear(comm, plan, axis, "broadcast")
        whole = "edp" if axis.startswith("edp") else "dp_cp"
        return *linear(comm, plan, whole, "all-reduce"), owners(ranks, units) * fixed, slope
    if sharding == "none" or axis.endswith("_replica"):
        return *linear(comm, plan, axis, "all-reduce"), 0.0, 0.0
    return *linear(comm, plan, axis, "reduce-scatter"), *linear(comm, plan, axis, "all-gather")


def linear(comm: CommTimes, plan: Plan, axis: str, op: str) -> tuple[float, float]:
    """Return seconds of a collective at no bytes, and per byte: two are timed, others lie between.

    Both in s and s/byte.
    """
    low, high = 64e6, 1024e6
    one, two = comm.collective(plan, axis, op, low)[0], comm.collective(plan, axis, op, high)[0]
    slope = (two - one) / (high - low)
    return max(0.0, one - slope * low), slope
