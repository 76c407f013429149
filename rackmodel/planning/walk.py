"""How long a run of operations takes when nobody outside disturbs it.

In:  operations of one rank, seconds of each `Compute` and of each `Collective` by itself.
Out: seconds, and what of them kernels and exposed communication are.
Left out: other ranks, links shared with other groups.

The same rules as in the simulator: collectives with a token run beside compute, in order per
stream, and take a share of its throughput meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from rackmodel.engine.script import speed_beside
from rackmodel.workload.operations import Collective, Compute, Operation, Wait


def walk_s(
    operations: Iterable[Operation],
    compute_s: Callable[[Compute], float],
    collective_s: Callable[[Collective], tuple[float, float]],
) -> float:
    """Seconds from the first operation to the end of the last one on the compute stream.

    collective_s : seconds of a collective, and the share of compute throughput that it takes.

    Examples
    --------
    >>> from rackmodel.workload.operations import Kernel
    >>> gemm = Compute(name="gemm", phase="forward", kernels=())
    >>> total = Collective(
    ...     name="sum", op="all-reduce", axis="tp", bytes=8.0, token="t", stream="tp"
    ... )
    >>> walk_s([total, gemm, Wait(token="t")], lambda c: 1.0, lambda c: (3.0, 0.0))
    3.0
    """
    now = 0.0
    free: dict[str, float] = {}
    ends: dict[str, float] = {}
    busy: list[tuple[float, float]] = []  # (end, share)
    for operation in operations:
        match operation:
            case Compute():
                now = _end_of_run(now, compute_s(operation), busy)
            case Collective():
                seconds, share = collective_s(operation)
                if operation.token is None:
                    now += seconds
                else:
                    end = max(now, free.get(operation.stream, 0.0)) + seconds
                    free[operation.stream] = ends[operation.token] = end
                    if share and seconds:
                        busy.append((end, share))
            case Wait():
                now = max(now, ends.pop(operation.token, 0.0))
    return now


def _end_of_run(now: float, work_s: float, busy: list[tuple[float, float]]) -> float:
    while True:
        busy[:] = [entry for entry in busy if entry[0] > now]
        speed = speed_beside(sum(share for _, share in busy))
        until = min((end for end, _ in busy), default=math.inf)
        end = now + work_s / speed
        if end <= until:
            return end
        work_s -= (until - now) * speed
        now = until
