"""Forward and backward passes of a chunk as `Segment`s.

In:  a job, a chunk, whether it is the first forward or last backward of the step.
Out: `Segment`s; the same object for every micro-batch that runs the same operations.
Left out: the order of passes and the transfers between them (`programs`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest

from rackmodel.software import software_of
from rackmodel.workload.data_parallel import (
    Bucket,
    added,
    bucket_of,
    buckets,
    by_tensors,
    carried,
    fetches,
    gathers,
    reductions,
)
from rackmodel.workload.job import Job
from rackmodel.workload.kernels import elementwise
from rackmodel.workload.operations import (
    TOKEN_EXCHANGES,
    Collective,
    Compute,
    Kernel,
    Operation,
    Phase,
    Segment,
    Wait,
    next_id,
)
from rackmodel.workload.stages import Chunk, scatters_sends, transfer_bytes
from rackmodel.workload.steps import Emitter, Step, backward, forward

_WORDS = {
    "F": ("forward", ", first"),
    "B": ("backward", ", last"),
    "BI": ("backward", ""),
    "W": ("weight gradients", ", last"),
}


@dataclass(slots=True)
class Passes:
    """Builds and keeps the segments of one chunk."""

    job: Job
    chunk: Chunk
    label: str  # of this chunk, unique on its rank
    computes: dict[tuple[str, Phase, tuple[Kernel, ...]], Compute] = field(default_factory=dict)
    kept: dict[tuple[str, bool], Segment] = field(default_factory=dict)
    parts: tuple[Bucket, ...] = ()

    def __post_init__(self) -> None:
        """Group the units into buckets once."""
        self.parts = buckets(self.job, self.chunk.units)

    # What the data-parallel axis does in which pass.

    def gathers_first(self) -> list[list[Collective]]:
        """Gathers that must end before the first forward pass, per bucket in forward order."""
        if not self._gathers_early:
            return []
        return [
            gathers(self.job, part, f"{self.label} {part.first}", beside=True)
            for part in reversed(self.parts)
        ]

    @property
    def _gathers_early(self) -> bool:
        plan = self.job.plan
        early = (plan.dp_overlap and not by_tensors(self.job)) or plan.sharded_parameters
        return early and plan.sharding != "none" and not plan.reshards

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
        if self.job.plan.dp_overlap or self.job.plan.reduces_each_pass:
            return []
        return reductions(self.job, self._whole(), self.label, beside=False)

    def exposed_gathers(self) -> list[Collective]:
        """Without overlap: updated weights are gathered after the optimizer."""
        plan = self.job.plan
        beside = plan.dp_overlap and not by_tensors(self.job)
        if beside or plan.sharding not in ("zero1", "zero2"):
            return []
        return gathers(self.job, self._whole(), self.label, beside=False)

    def _whole(self) -> Bucket:
        return bucket_of(self.job, self.chunk.units, 0, len(self.chunk.units) - 1)

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
            return self._gathers_early and bool(self.parts)
        if kind == "BI" or self.job.plan.reduces_each_pass or not self.job.plan.dp_overlap:
            return False
        return any(reductions(self.job, part, "", beside=True) for part in self.parts)

    def _build(self, kind: str, edge: bool) -> Segment:
        name, edge_name = _WORDS[kind]
        phase: Phase = "forward" if kind == "F" else "backward"
        emit = Emitter(
            phase, overlap_tp=self._pieces(), label=f"{self.label} {kind} ", known=self.computes
        )
        if kind == "F":
            self._forward(emit, first=edge)
        elif kind == "W":
            self._weights(emit, last=edge)
        else:
            self._backward(emit, last=edge, split=kind == "BI")
        emit.flush()
        name = f"{name} {self.label}{edge_name if edge else ''}"
        return Segment(name=name, phase=phase, operations=tuple(emit.operations))

    def _pieces(self) -> int:
        plan = self.job.plan
        if not (plan.tp_overlap and plan.sequence_parallel):
            return 1
        both_ways = software_of(self.job.stack).both_ways
        return max(2, plan.tp // 2) if both_ways else plan.tp

    def _forward(self, emit: Emitter, *, first: bool) -> None:
        starts = self.gathers_first() if first else []
        waits = dict(zip((part.first for part in reversed(self.parts)), starts, strict=False))
        order = range(len(self.chunk.units))
        bring = self._gatherer(emit, order, "F")
        if self.chunk.before >= 0:
            emit.put(self._received("forward", self.chunk.received))
        for index in order:
            bring(index)
            for start in waits.get(index, ()):
                emit.wait(str(start.token))
            forward(self._steps(index), emit)

    def _received(self, phase: Phase, states: int) -> list[Collective]:
        """What tp ranks received in shares is gathered before it is used."""
        if not scatters_sends(self.job):
            return []
        size = states * transfer_bytes(self.job)
        return [
            Collective(name="gather received", op="all-gather", axis="tp", bytes=size, phase=phase)
        ]

    def _steps(self, index: int) -> tuple[Step, ...]:
        """The steps of a unit, with copies to and from host memory where it is offloaded."""
        unit = self.chunk.units[index]
        kept_on = "activations" in self.job.plan.offload and unit.is_layer and unit.has_gradient
        if not kept_on:
            return unit.steps
        if index in self.recomputed():
            return (_offloaded(unit.steps[0], transfer_bytes(self.job)), *unit.steps[1:])
        kept = (step.saved_bytes * (step.module not in self.job.modules) for step in unit.steps)
        return tuple(map(_offloaded, unit.steps, kept))

    def _again(self, index: int) -> tuple[Step, ...]:
        """The steps that full recompute runs: all, or up to the last one that keeps something."""
        steps = self.chunk.units[index].steps
        if not software_of(self.job.stack).early_stop:
            return steps
        # The last sum is the next layer's input: kept there, whoever computes it.
        inside = steps if self.job.model.dropout else steps[:-1]
        kept = [position for position, step in enumerate(inside) if step.saved_bytes > 0]
        return inside[: kept[-1] + 1] if kept else steps

    def _backward(self, emit: Emitter, *, last: bool, split: bool) -> None:
        order = [i for i, unit in enumerate(self.chunk.units) if unit.has_gradient][::-1]
        bring = self._gatherer(emit, order, "B")
        later = Emitter("backward", known=self.computes) if split else None
        again = self.recomputed()
        if self.chunk.after >= 0 and order:
            emit.put(self._received("backward", self.chunk.sent))
        for index in order:
            bring(index)
            if index in again:
                forward(self._again(index), emit, "recompute")
            backward(self._steps(index), emit, recompute=self.job.modules, later=later)
            if not split:
                self._reduce(emit, index, last)

    def recomputed(self) -> frozenset[int]:
        """Positions of the layers that full recompute runs forward again."""
        plan = self.job.plan
        layers = [index for index, unit in enumerate(self.chunk.units) if unit.is_layer]
        return frozenset(layers[: plan.recompute_layers] if plan.recompute == "full" else ())

    def _weights(self, emit: Emitter, *, last: bool) -> None:
        for index in range(len(self.chunk.units) - 1, -1, -1):
            for step in reversed(self.chunk.units[index].steps):
                emit.run(step.work.weight, "backward")
            self._reduce(emit, index, last)

    def _reduce(self, emit: Emitter, index: int, last: bool) -> None:
        """Add up a unit's gradients; reduce the bucket that ends with it, if this pass has one."""
        emit.run(added(self.job, self.chunk.units[index]))
        beside = self.job.plan.dp_overlap
        if self.job.plan.reduces_each_pass or (last and beside):
            for part in self.parts:
                if part.first == index:
                    label = f"{self.label} {part.first}"
                    moved = reductions(self.job, part, label, beside=beside)
                    emit.run(carried(self.job, moved))
                    emit.put(moved)

    def _gatherer(self, emit: Emitter, order: Sequence[int], kind: str) -> Callable[[int], None]:
        """Fully sharded: gather each unit `prefetch` units ahead, in the order of the pass.

        Shards in host memory are copied in a unit earlier still, beside its kernels.
        """
        plan = self.job.plan
        parts = {part.first: part for part in self.parts} if plan.reshards else {}
        ahead = plan.prefetch if plan.dp_overlap else 0
        started: dict[int, list[Collective]] = {}
        fetched: set[int] = set()

        def fetch(units: Sequence[int]) -> None:
            for unit in units:
                if unit in parts and unit not in fetched:
                    emit.beside.extend(fetches(self.job, parts[unit]))
                    fetched.add(unit)

        def bring(index: int) -> None:
            here = order.index(index)
            window = order[here : here + ahead + 1]
            fetch(window)
            if emit.beside:  # nothing to copy under
                emit.flush()
                emit.run(())
            for unit in window:
                if unit in parts and unit not in started:
                    label = f"{self.label} {kind} {unit}"
                    started[unit] = gathers(self.job, parts[unit], label, beside=ahead > 0)
                    emit.put(started[unit])
            for collective in started.get(index, ()):
                emit.wait(collective.token or "")
            emit.run(carried(self.job, started.get(index, ())))
            fetch(order[here + ahead + 1 : here + ahead + 2] if ahead else ())

        return bring


def _offloaded(step: Step, size: float) -> Step:
    """A step whose kept bytes go to host memory and come back, by the copy engine."""
    if not size:
        return step
    out = elementwise("offload_activations", size, 0.0, family="copy")
    back = elementwise("reload_activations", 0.0, size, family="copy")
    work = step.work
    both = work._replace(forward=(*work.forward, out), backward=(back, *work.backward))
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
    out: list[Operation] = []
    waits: list[list[Wait]] = [[], []]
    pieces = zip_longest(_cut(front.operations), _cut(back.operations), fillvalue=None)
    for index, both in enumerate(pieces):
        for side, piece in enumerate(both):
            if piece is None:
                continue
            out += [*waits[side], *piece]
            waits[side] = []
            exchange = piece[-1] if piece else None
            if isinstance(exchange, Collective) and exchange.role in TOKEN_EXCHANGES:
                token = f"{front.name} {back.name} ep {side} {index}"
                out[-1] = replace(exchange, id=next_id(), stream="ep", token=token)
                waits[side] = [Wait(token=token)]
    out += [*waits[0], *waits[1]]
    return Segment(name=name, phase="backward", operations=tuple(out))


def _cut(operations: Sequence[Operation]) -> list[tuple[Operation, ...]]:
    """Operations up to and with each exchange of tokens, and those after the last."""
    ends = [
        place + 1
        for place, operation in enumerate(operations)
        if isinstance(operation, Collective) and operation.role in TOKEN_EXCHANGES
    ]
    return [tuple(operations[a:b]) for a, b in pairwise([0, *ends, len(operations)])]
