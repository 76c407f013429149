"""How much quicker or slower a step may be by what neither job nor software says.

In:  a result, the job as it was asked for.
Out: `unsaid`: by reason the widths below and above that a band gets for it, as logarithms.
Left out: the other terms of a band (`engine.certainty`).

Both ends are told to first order: by the seconds of kernels, and traffic to experts by its bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from rackmodel.columns import Words, floats, ints
from rackmodel.kernels.busiest import busiest_s
from rackmodel.kernels.kernel_time import kernel_times
from rackmodel.result.breakdown import over_ranks, runs_of
from rackmodel.result.result import Result
from rackmodel.software import UNKNOWN, software_of
from rackmodel.software.stack import month
from rackmodel.workload import Job, settled
from rackmodel.workload.experts import sent_bytes
from rackmodel.workload.kernels import Local
from rackmodel.workload.silent import fused

LEAST = 0.01  # what moves a step by less is not told
CAPTURES = "mlperf"  # software that captures whatever can be: what others may do at its date


def unsaid(result: Result, asked: Job) -> dict[str, tuple[float, float]]:
    """Return what nobody said that moves a step: reason -> (width below, above).

    Of software that no table knows, and of "default", which stands for a name left out.
    """
    job = result.step.job
    if software_of(job.stack).known and asked.stack != "default":
        return {}
    ends = {"launches may be captured": list(_captured(result, asked))}
    if job.plan.ep > 1 and not asked.plan.dispatcher:
        ends["dispatcher not stated"] = list(_dispatched(result, asked))
    widths = {
        why: (
            math.log(result.step_s / min([result.step_s, *steps])),
            math.log(max([result.step_s, *steps]) / result.step_s),
        )
        for why, steps in ends.items()
    }
    return {why: both for why, both in widths.items() if max(both) > LEAST}


def _captured(result: Result, asked: Job) -> Iterator[float]:
    """Yield the step with its launches captured, where software of its date does that."""
    job, part, now = result.step.job, result.accelerator, result.kernels
    other = software_of(f"{CAPTURES}-{month(software_of(job.stack).date)}")
    possible = other.captures_graphs(part.family, job.model.experts > 0)
    if asked.cuda_graphs is None and possible and not job.plan.sharded_parameters:
        then = kernel_times(part, job.stack, now.clock, True, now.host_speed)
        less_s = over_ranks(
            runs_of(result.step), lambda one: np.array([now.compute_s(one) - then.compute_s(one)])
        )
        yield result.step_s - float(less_s[0] / result.step.rank_count.sum())


def _dispatched(result: Result, asked: Job) -> Iterator[float]:
    """Yield the step with fused kernels, and where odds were taken for both with all-to-all."""
    job, part = result.step.job, result.accelerator
    ways = ["deepep", "all-to-all"] if 0.0 < fused(job.plan) < 1.0 else []
    usual = UNKNOWN if asked.stack == "default" else job.stack
    if asked.plan.fused_odds is None and software_of(usual).fused_odds(part.family) > fused(
        job.plan
    ):
        ways = ["deepep"]
    bytes_now, kernels_now = sent_bytes(Local.of(job)), busiest_s(job, result.kernels)
    exposed_s, hidden_s = result.breakdown_s["ep"], _beside_s(result) if ways else 0.0
    for way in ways:
        then = job.replace(dispatcher=way, fused_odds=None, dispatch_domain=0)
        then = settled(then, part, result.machine.domain_accelerators)
        more_s = (sent_bytes(Local.of(then)) / bytes_now - 1.0) * max(exposed_s, hidden_s)
        kernels_s = busiest_s(then, result.kernels) - kernels_now
        # Where traffic is hidden, what it gains or loses shows as far as it is exposed now.
        yield result.step_s + max(-exposed_s, min(exposed_s, more_s)) + kernels_s


def _beside_s(result: Result) -> float:
    """Return the seconds in which bytes go to experts and back beside kernels, as their mean."""
    events, ranks = result.stretches, result.step.rank_count.astype(float)
    seconds = floats(events, "end_s") - floats(events, "start_s")
    beside = ~Words.of(events["stream"]).among("compute") & Words.of(events["axis"]).among("ep")
    weights = ranks[ints(events, "rank_class")] / ranks.sum()
    return float((seconds * weights)[beside].sum())
