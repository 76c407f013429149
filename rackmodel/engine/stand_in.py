"""A small machine whose ranks do, operation for operation, what those of a huge one do.

In:  the number of data-parallel replicas, how far apart they stand, and the period of the machine.
Out: how many replicas to simulate, and how many real ones each of them stands for.
Left out: the formulas (2(n-1)/n, latency steps) that keep the true number of replicas; the
collectives know it.

A machine built of equal pods repeats along dp with a period that arithmetic gives. A few periods
keep both ends, the closing hop of every ring and the part-filled last rack, and every stage keeps
its offset within a pod.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.network.symmetry import PERIODS, STEP_DOMAINS


class StandIn(NamedTuple):
    """How many replicas are simulated and what each stands for.

    `weight[i]` is the number of replicas of the whole machine that simulated replica i stands for.
    """

    dp: int
    period: int
    weight: npt.NDArray[np.int64]


def stand_in(
    dp: int,
    *,
    stride: int,
    machine_period: int,
    block: int = 1,
    domain: int = 1,
    periods: int = PERIODS,
) -> StandIn:
    """Choose how many of `dp` replicas to simulate.

    Parameters
    ----------
    dp : replicas of the whole job.
    stride : ranks from one replica to the next.
    machine_period : accelerators after which the machine repeats.
    block : replicas that form one unit (an expert-parallel or shard group); the period is a
        multiple.
    domain : ranks in a scale-up domain. periods : whole periods to keep, beside the remainder; more
        where the members of a data-parallel group would not stand in `STEP_DOMAINS` of them.

    Examples
    --------
    >>> small = stand_in(1540, stride=8, machine_period=72, domain=72)
    >>> small.period, small.dp, int(small.weight.sum())
    (9, 217, 1540)
    >>> stand_in(20, stride=8, machine_period=72).dp
    20
    """
    period = math.lcm(math.lcm(machine_period, stride) // stride, block)
    spanned = max(1, period * min(stride, domain) // domain)  # domains with a member of a group
    periods = max(periods, math.ceil(STEP_DOMAINS / spanned))
    small = dp % period + periods * period
    if small >= dp:
        return StandIn(dp=dp, period=period, weight=np.ones(dp, dtype=np.int64))
    weight = np.ones(small, dtype=np.int64)
    middle = period * (periods // 2)
    weight[middle : middle + period] += (dp - small) // period
    return StandIn(dp=small, period=period, weight=weight)
