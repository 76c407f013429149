"""What each kind of layer does under one way to cut it, and its seconds, kept for other machines.

In:  a job with a cut and no pipeline, kernel times of an accelerator.
Out: `work_of`: operations and bytes of every kind of unit; `CutTimes`: seconds of its kernels, and
     of a pass with collectives of any machine.
Left out: what collectives take (`comm_times`), several cuts at once (`profiles`).

Nothing here hangs on the machine but for what its accelerator and its job say, by value: domains,
NICs and prices that change between two searches leave it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.engine.script import Piece, pieces_of, play
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.software.constant_files import kept
from rackmodel.workload import Collective, Compute, Job, Operation, Plan, Segment
from rackmodel.workload.activations import unit_bytes
from rackmodel.workload.choices import RECOMPUTES
from rackmodel.workload.muon import orthogonal_kernels
from rackmodel.workload.passes import Passes, merged
from rackmodel.workload.placement import axis_true_size
from rackmodel.workload.stages import Chunk, Unit, chunks_of

Operations: TypeAlias = Sequence[Operation]
Call: TypeAlias = tuple[str, str, float]  # axis, operation, bytes
MOST_CUTS = 512  # kept, each 0.3 to 0.6 MB; a search has 30 to 200
MOST_TIMES = 4  # of each, on accelerators or with other launches


@dataclass(slots=True, eq=False)
class CutWork:
    """The kinds of units of a model under one cut, in order of appearance; K of them.

    order : kinds along the model, int[U]. passes : by (recompute, kind); one object where recompute
    changes nothing.
    """

    job: Job
    units: list[Unit]
    order: Ints
    passes: dict[tuple[int, int], Passes] = field(default_factory=dict)
    times: dict[KernelTimes, CutTimes] = field(default_factory=dict)
    _bytes: dict[int, Floats] = field(default_factory=dict)

    def bytes_of(self, which: int) -> Floats:
        """Bytes of each unit, [4, K]: kept, working, waited for in a forward, a backward pass."""
        if which not in self._bytes:
            found = np.empty((4, len(self.units)))
            own = self._recomputing(which)
            for column, unit in enumerate(self.units):
                passes = self._passes(own, which, column)
                before = RECOMPUTES.index(passes.job.plan.recompute)
                if before != which:
                    found[:, column] = self.bytes_of(before)[:, column]
                    continue
                full = own.plan.recompute == "full" and unit.is_layer
                part = unit_bytes(own, unit, recomputed=full)
                ahead, back = (passes.segment(kind, False).operations for kind in "FB")
                found[:, column] = (
                    part.kept_bytes,
                    part.working_bytes,
                    least_bytes(self.job.plan, ahead),
                    least_bytes(self.job.plan, back),
                )
            self._bytes[which] = found
        return self._bytes[which]

    def times_on(self, kernels: KernelTimes) -> CutTimes:
        """Return the seconds of these units with these kernel times."""
        if (found := self.times.pop(kernels, None)) is None:
            found = CutTimes(self, kernels.compute_s)
            while len(self.times) >= MOST_TIMES:
                self.times.pop(next(iter(self.times)))
        self.times[kernels] = found
        return found

    def _recomputing(self, which: int) -> Job:
        plan = self.job.plan
        modules = plan.recompute_modules if RECOMPUTES[which] == "selective" else ()
        return self.job.replace(
            recompute=RECOMPUTES[which], recompute_modules=modules, recompute_layers=None
        )

    def _passes(self, own: Job, which: int, column: int) -> Passes:
        """Return the passes of a unit: those of another recompute where this changes nothing.

        Forward passes do not depend on recompute, nor does a unit that recompute leaves alone.
        """
        if (known := self.passes.get((which, column))) is not None:
            return known
        unit = self.units[column]
        one = self.passes[which, column] = Passes(own, Chunk(0, 1, 0, 0, (unit,)), "search")
        others = [self.passes.get((other, column)) for other in range(which)]
        before = next((other for other in others if other is not None), None)
        if before is None or "activations" in own.plan.offload:
            return one
        again = own.modules | before.job.modules
        modules = {step.module for step in unit.steps}
        if unit.is_layer or "alternate" in again or again & modules:
            one.kept["F", False] = before.segment("F", False)
            return one
        self.passes[which, column] = before
        return before


@dataclass(slots=True, eq=False)
class CutTimes:
    """Seconds of the units of a cut. compute_s : of a piece of work."""

    work: CutWork
    compute_s: Callable[[Compute], float]
    _kernels: dict[int, Floats] = field(default_factory=dict)
    _pieces: dict[tuple[int, ...], tuple[tuple[Piece, ...], tuple[Call, ...]]] = field(
        default_factory=dict
    )

    def kernels_s(self, which: int) -> Floats:
        """Kernels of forward passes, of backward passes, of both without copies, [3, K]."""
        if which not in self._kernels:
            self.work.bytes_of(which)
            columns = range(len(self.work.units))
            self._kernels[which] = np.array(
                [self._kernels_of(self.work.passes[which, column]) for column in columns]
            ).T
        return self._kernels[which]

    def _kernels_of(self, passes: Passes) -> tuple[float, float, float]:
        ahead, back = (
            [op for op in passes.segment(kind, False).operations if isinstance(op, Compute)]
            for kind in "FB"
        )
        forward, backward = (sum(map(self.compute_s, part)) for part in (ahead, back))
        both = forward + backward
        if passes.job.plan.offload:
            both = sum(self.compute_s(_without_copies(op)) for op in (*ahead, *back))
        return forward, backward, both

    def orthogonal_s(self, expert: bool) -> list[float]:
        """Seconds for all matrices of each unit under Muon, outside experts or of its experts."""
        whole = self.work.job.replace(sharding="none")
        every = (orthogonal_kernels(whole, [unit], [expert]) for unit in self.work.units)
        works = (
            Compute(name="orthogonal", phase="optimizer", kernels=k) if k else None for k in every
        )
        return [0.0 if work is None else self.compute_s(work) for work in works]

    def alone_s(
        self, segment: Segment, collective_s: Callable[[Call], tuple[float, float]]
    ) -> float:
        """Seconds of a segment on the compute stream, as if nobody else were there.

        collective_s : seconds of a collective, and the share of compute throughput that it takes.
        """
        return self._played((segment.id,), lambda: segment.operations, collective_s)

    def mixed_s(
        self,
        ahead: Segment,
        back: Segment,
        units: int,
        collective_s: Callable[[Call], tuple[float, float]],
    ) -> float:
        """Seconds of a forward pass over so many such units, beside a backward pass of another."""
        key = ahead.id, back.id, units
        return self._played(key, lambda: _mixed(ahead, back, units), collective_s)

    def _played(
        self,
        key: tuple[int, ...],
        operations: Callable[[], Operations],
        collective_s: Callable[[Call], tuple[float, float]],
    ) -> float:
        if key not in self._pieces:
            calls: dict[Call, int] = {}

            def channel_of(call: Operation) -> int:
                assert isinstance(call, Collective), "a pass sends nothing"
                return calls.setdefault((call.axis, call.op, call.bytes), len(calls))

            cut = pieces_of(operations(), self.compute_s, channel_of, set(), set())
            self._pieces[key] = cut.pieces, tuple(calls)
        pieces, every = self._pieces[key]
        exchanges = [collective_s(call) for call in every]
        return play(pieces, exchanges.__getitem__).end_s


@partial(kept, most=MOST_CUTS)
def work_of(probe: Job) -> CutWork:
    """Return what the units of a job without a pipeline do."""
    units = chunks_of(probe)[0][0].units
    found: dict[Unit, int] = {}
    order = [found.setdefault(unit, len(found)) for unit in units]
    return CutWork(probe, list(found), np.array(order, dtype=np.int64))


def least_bytes(plan: Plan, operations: Operations) -> float:
    """Bytes that a rank has to send or receive while its kernels wait, whatever the algorithm.

    A member of n sends or receives at least (n - 1)/n of what a collective counts; an all-reduce
    without reduction in the switches twice that.
    """
    total = 0.0
    for call in operations:
        if isinstance(call, Collective) and call.token is None:
            n = axis_true_size(plan, call.axis)
            total += call.bytes * (n - 1) / n
    return total


def _without_copies(work: Compute) -> Compute:
    return replace(work, kernels=tuple(k for k in work.kernels if k.family != "copy"))


def _mixed(ahead: Segment, back: Segment, units: int) -> Operations:
    """A forward pass over so many such units and a backward pass of another micro-batch."""
    front, rear = (replace(part, operations=part.operations * units) for part in (ahead, back))
    return merged(front, rear, overlap=True).operations
