"""Seconds of a step from its kernels and from exchanges that were simulated at a few sizes.

In:  the steps of a machine.
Out: `QuickSteps`, the same to a few parts in a thousand, in a tenth of the time: for searches and
validation.
Left out: halves of a batch under each other, unlike accelerators: these are simulated.

Ranks of workers that are alike do the same at the same time, so that a step is its kernels and its
exchanges one after another. Exchanges are simulated on the graph, all workers at once, at four
sizes from a power of two to the next; between them time is linear in bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from rackmodel.engine.networks import network_of
from rackmodel.network import pattern
from rackmodel.network.collectives.flows import join, pace_s
from rackmodel.serving.steps import Steps
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Program,
    Recv,
    Role,
    Send,
    counted,
)
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import Load

PARTS = 4  # sizes from a power of two to the next
# worker, accelerators, software, operation, axis
_Kind: TypeAlias = "tuple[Worker, int, str, str, str]"


@dataclass(slots=True)
class QuickSteps(Steps):
    """Steps whose exchanges are looked up between sizes that the engine has simulated."""

    _exchanges: dict[_Kind, dict[int, float]] = field(default_factory=dict)
    _sends: dict[tuple[Worker, int], tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, steps: Steps) -> QuickSteps:
        """Return quick steps of the same machine; themselves if they are quick already."""
        if isinstance(steps, cls):
            return steps
        return cls(steps.machine, steps.kernels, steps.options, steps.slower)

    def _step_s(self, job: ServingJob, worker: Worker, gpus: int, load: Load, rounds: int) -> float:
        how = self.options
        if job.two_batch or how.slow or how.broken or how.mixed:
            return Steps._step_s(self, job, worker, gpus, load, rounds)
        # a round of as many batches as stages takes each of them through the slowest stage
        stages = self.programs(job, worker, load, 1)
        return rounds * max(self._sum_s(job, worker, gpus, stage) for stage in stages)

    def _sum_s(self, job: ServingJob, worker: Worker, gpus: int, program: Program) -> float:
        work = list(counted(program))
        self._simulate(job, worker, gpus, [one for one, _ in work if isinstance(one, Collective)])
        seconds = 0.0
        for one, times in work:
            if isinstance(one, Compute):
                seconds += times * self.kernels.compute_s(one)
            elif isinstance(one, Collective):
                known = self._exchanges[worker, gpus, job.stack, one.op, one.axis]
                seconds += times * _between(known, one.bytes)
            elif isinstance(one, Send | Recv):
                seconds += times * self._sent_s(worker, gpus, one.bytes)
        return seconds

    def _sent_s(self, worker: Worker, gpus: int, size: float) -> float:
        """Return the time of what a stage of a pipeline sends to the next one. [s]"""
        if (worker, gpus) not in self._sends:
            network = network_of(self.machine, gpus)
            sent = pattern(network, "send", [0, worker.tp], 1e6)
            self._sends[worker, gpus] = sum(sent.latency_s), pace_s(network, join(*sent.rounds))
        fixed_s, byte_s = self._sends[worker, gpus]
        return fixed_s + byte_s * size

    def _simulate(
        self, job: ServingJob, worker: Worker, gpus: int, exchanges: Iterable[Collective]
    ) -> None:
        """Simulate exchanges at the sizes around theirs that are not known yet."""
        new: list[tuple[dict[int, float], int, Collective]] = []
        for one in exchanges:
            known = self._exchanges.setdefault((worker, gpus, job.stack, one.op, one.axis), {})
            low = _below(one.bytes)
            for place in (low, low + 1):
                if place not in known:
                    known[place] = 0.0
                    new.append((known, place, _exchange(one, _size(place))))
        if not new:
            return
        items = tuple(one for _, _, one in new)
        programs = tuple(
            Program(pipeline_rank=stage, items=items, micro_batches=(0,) * len(items))
            for stage in range(worker.pp)
        )
        step = self.run(job, worker, gpus, lambda _: programs)
        ends = [0.0] * len(items)
        for log in step.logs:
            for entry in log:
                ends[entry.item] = max(ends[entry.item], entry.end_s)
        before = 0.0
        for (known, place, _), end in zip(new, ends, strict=True):
            known[place], before = max(0.0, end - before), max(before, end)


def _exchange(like: Collective, size: float) -> Collective:
    return Collective(
        name=f"{like.op} {size:g}",
        op=like.op,
        axis=like.axis,
        bytes=size,
        phase="forward",
        role=Role.FORWARD,
    )


def _below(size: float) -> int:
    """Return the place of the largest size that is simulated and not above this one.

    >>> [_below(size) for size in (1024.0, 1100.0, 2047.0)]
    [40, 40, 43]
    """
    return math.floor(PARTS * math.log2(size) + 1e-9)


def _size(place: int) -> float:
    return float(2.0 ** (place / PARTS))


def _between(known: dict[int, float], size: float) -> float:
    low = _below(size)
    share = (size - _size(low)) / (_size(low + 1) - _size(low))
    return known[low] + share * (known[low + 1] - known[low])
