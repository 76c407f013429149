"""Data-parallel traffic of one axis as straight lines: seconds at no bytes, seconds per byte.

In:  a plan, an axis, what is sharded.
Out: lines of the gradients that go out and of the weights that come back.
Left out: what hides under passes (`closed_form`).
"""

from __future__ import annotations

from rackmodel.planning.comm_times import CommTimes
from rackmodel.workload import Plan


def moved_by(
    comm: CommTimes, plan: Plan, axis: str, *, sharded: bool
) -> tuple[float, float, float, float]:
    """Return seconds at no bytes and per byte of reducing gradients, then of gathering weights.

    sharded : the axis holds shards of one copy, so that weights come back.
    """
    if not sharded or axis.endswith("_replica"):
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
