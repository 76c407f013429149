"""Forward and backward passes of a chunk as `Segment`s.

In:  a job, a chunk, whether it is the first forward or last backward of the step.
Out: `Segment`s; the same object for every micro-batch that runs the same operations.
Left out: the order of passes and the transfers between them (`programs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from rackmodel.software import software_of
from rackmodel.workload.data_parallel import Bucket, buckets, gathers, reductions
from rackmodel.workload.kernels import elementwise
from rackmodel.workload.operations import (
    TOKEN_EXCHANGES,
    Collective,
    Operation,
    Phase,
    Segment,
    Wait,
    next_id,
)
from rackmodel.workload.plan import Job
from rackmodel.workload.stages import Chunk, transfer_bytes
from rackmodel.workload.steps import Emitter, Step, backward, forward


@dataclass(slots=True)
class Passes:
    """Builds and keeps the segments of one chunk."""

    job: Job
    chunk: Chunk
    label: str  # of this chunk, unique on its rank
    kept: dict[tuple[str, bool], Segment] = field(default_factory=dict)
    parts: tuple[Bucket, ...] = ()

    def __post_init__(self) -> None:
        """Group the units into buckets once."""
        self.parts = buckets(self.job, self.chunk.units)

    # What the data-parallel axis does in which pass.

    @property
    def gathers_each_pass(self) -> bool:
        """Weights are gathered for every forward and again for every backward pass."""
        return self.job.plan.reshards

    def gathers_first(self) -> list[list[Collective]]:
        """Gathers that must end before the first forward pass, per bucket in forward order."""
        plan = self.job.plan
        if plan.sharding == "none" or self.gathers_each_pass:
            return []
        if not plan.dp_overlap and not plan.sharded_parameters:
            return []
        return [
            gathers(self.job, part, f"{self.label} {part.first}", beside=True)
            for part in reversed(self.parts)
        ]

    @property
    def reduces_each_pass(self) -> bool:
        """Gradients leave the rank in every backward pass."""
        return self.job.plan.sharding == "zero2" or self.gathers_each_pass

    def pending_tokens(self) -> list[str]:
        """Tokens of the last backward pass that the optimizer has to wait for."""
        if not self.job.plan.dp_overlap:
            return []
        return [
            str(collective.token)
            for part in self.parts
            for collective in reductions(self.job, part, f"{self.label} {part.first}", beside=True)
        ]

    def exposed_reductions(self) -> list[Collective]:
        """Without overlap: one reduction per kind after the last backward pass."""
        if self.job.plan.dp_overlap or self.reduces_each_pass:
            return []
        return reductions(self.job, self._whole(), self.label, beside=False)

    def exposed_gathers(self) -> list[Collective]:
        """Without overlap: updated weights are gathered after the optimizer."""
        plan = self.job.plan
        if plan.dp_overlap or plan.sharding not in ("zero1", "zero2"):
            return []
        return gathers(self.job, self._whole(), self.label, beside=False)

    def _whole(self) -> Bucket:
        wide = sum(u.dense_parameters for u in self.chunk.units if not u.is_layer)
        return Bucket(0, len(self.chunk.units) - 1, *self.chunk.parameters, wide)

    # Passes.

    def segment(self, kind: str, edge: bool) -> Segment:
        """The forward ("F"), backward ("B", with "BI" its input part only) or weight ("W") pass.

        edge : the first forward or the last backward (weight) pass of the step.
        """
        key = (kind, edge and self._differs(kind))
        if key not in self.kept:
            self.kept[key] = self._build(*key)
        return self.kept[key]

    def _differs(self, kind: str) -> bool:
        if kind == "F":
            return bool(self.gathers_first())
        return bool(self.pending_tokens()) and not self.reduces_each_pass and kind != "BI"

    def _build(self, kind: str, edge: bool) -> Segment:
        name = {"F": "forward", "B": "backward", "BI": "backward", "W": "weight gradients"}[kind]
        phase: Phase = "forward" if kind == "F" else "backward"
        emit = Emitter(phase, overlap_tp=self._pieces(), label=f"{self.label} {kind} ")
        if kind == "F":
            self._forward(emit, first=edge)
        elif kind == "W":
            self._weights(emit, last=edge)
        else:
            self._backward(emit, last=edge, split=kind == "BI")
        emit.flush()
        edge_name = {"F": ", first", "B": ", last", "W": ", last"}.get(kind, "") if edge else ""
        return Segment(
            name=f"{name} {self.label}{edge_name}", phase=phase, operations=tuple(emit.operations)
        )

    def _pieces(self) -> int:
        plan = self.job.plan
        if not (plan.tp_overlap and plan.sequence_parallel):
            return 1
        both_ways = software_of(self.job.stack).both_ways
        return max(2, plan.tp // 2) if both_ways else plan.tp

    def _forward(self, emit: Emitter, *, first: bool) -> None:
        units = self.chunk.units
        waits: dict[int, list[str]] = {}
        if first:
            for part, starts in zip(reversed(self.parts), self.gathers_first(), strict=True):
                waits[part.first] = [str(start.token) for start in starts]
        each = self._gatherer(emit, range(len(units)), "F") if self.gathers_each_pass else None
        for index in range(len(units)):
            if each is not None:
                each(index)
            for token in waits.get(index, ()):
                emit.wait(token)
            forward(self._steps(index), emit)

    def _steps(self, index: int, *, again: bool = False) -> tuple[Step, ...]:
        """The steps of a unit, with copies to and from host memory where it is offloaded."""
        unit, plan = self.chunk.units[index], self.job.plan
        if "activations" not in plan.offload or not unit.is_layer or again:
            return unit.steps
        if index in self.recomputed():
            size = transfer_bytes(self.job)
            steps = list(unit.steps)
            steps[0] = _offloaded(steps[0], size)
            return tuple(steps)
        kept = (step.saved_bytes * (step.module not in self.job.modules) for step in unit.steps)
        return tuple(_offloaded(step, size) for step, size in zip(unit.steps, kept, strict=True))

    def _again(self, index: int) -> tuple[Step, ...]:
        """The steps that full recompute runs: all, or up to the last one that keeps something."""
        steps = self._steps(index, again=True)
        if not software_of(self.job.stack).early_stop:
            return steps
        # The last sum is the next layer's input: kept there, whoever computes it.
        inside = steps if self.job.model.dropout else steps[:-1]
        kept = [position for position, step in enumerate(inside) if step.saved_bytes > 0]
        return inside[: kept[-1] + 1] if kept else steps

    def _backward(self, emit: Emitter, *, last: bool, split: bool) -> None:
        units = self.chunk.units
        order = range(len(units) - 1, -1, -1)
        each = self._gatherer(emit, order, "B") if self.gathers_each_pass else None
        later = Emitter("backward") if split else None
        again = self.recomputed()
        for index in order:
            if each is not None:
                each(index)
            if index in again:
                forward(self._again(index), emit, "recompute")
            backward(self._steps(index), emit, recompute=self.job.modules, later=later)
            if not split:
                self._reduce(emit, index, last)

    def recomputed(self) -> frozenset[int]:
        """Positions of the layers that full recompute runs forward again."""
        plan = self.job.plan
        layers = [index for index, unit in enumerate(self.chunk.units) if unit.is_layer]
        if plan.recompute != "full":
            return frozenset()
        return frozenset(layers[: plan.recompute_layers])

    def _weights(self, emit: Emitter, *, last: bool) -> None:
        for index in range(len(self.chunk.units) - 1, -1, -1):
            for step in reversed(self.chunk.units[index].steps):
                emit.run(step.work.weight, "backward")
            self._reduce(emit, index, last)

    def _reduce(self, emit: Emitter, index: int, last: bool) -> None:
        """Start the reduction of the bucket that ends with this unit, where this pass has one."""
        plan = self.job.plan
        if not (self.reduces_each_pass or (last and plan.dp_overlap)):
            return
        for part in self.parts:
            if part.first == index:
                emit.flush()
                label = f"{self.label} {part.first}"
                emit.operations.extend(reductions(self.job, part, label, beside=plan.dp_overlap))

    def _gatherer(self, emit: Emitter, order: Sequence[int], kind: str) -> Callable[[int], None]:
        """Fully sharded: gather each unit `prefetch` units ahead, in the order of the pass."""
        parts = {part.first: part for part in self.parts}
        ahead = self.job.plan.prefetch if self.job.plan.dp_overlap else 0
        started: dict[int, list[Collective]] = {}
        positions = {index: position for position, index in enumerate(order)}

        def bring(index: int) -> None:
            here = positions[index]
            for position in range(here, min(len(order), here + ahead + 1)):
                unit = order[position]
                if unit in started or unit not in parts:
                    continue
                label = f"{self.label} {kind} {unit}"
                started[unit] = gathers(self.job, parts[unit], label, beside=ahead > 0)
                emit.flush()
                emit.operations.extend(started[unit])
            for collective in started.get(index, ()):
                if collective.token:
                    emit.wait(collective.token)

        return bring


def _offloaded(step: Step, size: float) -> Step:
    """A step whose kept bytes go to host memory and come back, by the copy engine."""
    if not size:
        return step
    out = elementwise("offload_activations", size, 0.0, family="copy")
    back = elementwise("reload_activations", 0.0, size, family="copy")
    work = step.work
    both = replace(work, forward=(*work.forward, out), backward=(back, *work.backward))
    return replace(step, work=both)


def merged(front: Segment, back: Segment, *, overlap: bool) -> Segment:
    """A forward and a backward pass of different micro-batches, each under the other's all-to-all.

    Both are cut at their all-to-alls over ep; the pieces alternate, and every all-to-all runs
    beside the other pass's next piece. Without `overlap` one pass follows the other.
    """
    name = f"{front.name} + {back.name}"
    if not overlap:
        operations = (*front.operations, *back.operations)
        return Segment(name=name, phase="backward", operations=operations)
    one, two = _cut(front.operations), _cut(back.operations)
    out: list[Operation] = []
    waits: list[list[str]] = [[], []]
    for index in range(max(len(one), len(two))):
        for side, pieces in enumerate((one, two)):
            if index >= len(pieces):
                continue
            out.extend(Wait(token=token) for token in waits[side])
            waits[side] = []
            piece, exchange = pieces[index]
            out.extend(piece)
            if exchange is not None:
                token = f"{front.name} {back.name} ep {side} {index}"
                waits[side] = [token]
                out.append(replace(exchange, id=next_id(), stream="ep", token=token))
    out.extend(Wait(token=token) for side in waits for token in side)
    return Segment(name=name, phase="backward", operations=tuple(out))


def _cut(operations: Sequence[Operation]) -> list[tuple[list[Operation], Collective | None]]:
    pieces: list[tuple[list[Operation], Collective | None]] = []
    piece: list[Operation] = []
    for operation in operations:
        if isinstance(operation, Collective) and operation.role in TOKEN_EXCHANGES:
            pieces.append((piece, operation))
            piece = []
        else:
            piece.append(operation)
    pieces.append((piece, None))
    return pieces
