"""The program of every pipeline rank: passes in the schedule's order, transfers, the step's end.

In:  a job that `check` accepts.
Out: one `Program` per pipeline rank; segments shared by all micro-batches.
Left out: seconds; which accelerator a rank is (`placement`).

Transfers. Batched ones without overlap do as Megatron's send-and-receive: a rank posts the send of
what it made and the receive of what it needs next, and waits for both. Otherwise sends are never
waited for (the receiver waits) and a receive is posted one pass before it is needed, or
without overlap right there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from rackmodel.workload import muon
from rackmodel.workload.data_parallel import closing, update_kernels
from rackmodel.workload.ends import local_vocab
from rackmodel.workload.job import Job
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Item,
    Kernel,
    Operation,
    Phase,
    Program,
    Recv,
    Segment,
    Send,
    Wait,
)
from rackmodel.workload.passes import Passes, merged
from rackmodel.workload.schedules.schedule import Action, Actions, actions, schedule_of
from rackmodel.workload.stages import Chunk, chunks_of, ends_apart, first_learning, send_bytes
from rackmodel.workload.validity import check

Ways = dict[tuple[str, int], tuple[int, str, float]]
End = TypeVar("End", Send, Recv)


@lru_cache(maxsize=4)  # a long program takes tens of MB
def programs(job: Job) -> tuple[Program, ...]:
    """Return what the ranks of each pipeline rank do in one step.

    Raises
    ------
    InvalidPlan
        As `check` does.

    Examples
    --------
    >>> from rackmodel.workload import Job, Plan, load_model
    >>> plan = Plan(tp=8, pp=4, dp=2)
    >>> job = Job(model=load_model("gpt3-13b"), plan=plan, seq_len=2048, global_batch=64)
    >>> [program.pipeline_rank for program in programs(job)]
    [0, 1, 2, 3]
    """
    check(job)
    shared = _Shared()
    return tuple(_Writer(job, rank, shared).write() for rank in range(job.plan.pp))


def rank_actions(job: Job, rank: int, micro_batches: int | None = None) -> Actions:
    """The schedule's passes of one pipeline rank."""
    plan = job.plan
    m = job.micro_batches if micro_batches is None else micro_batches
    return actions(plan.order, plan.pp, m, plan.vpp, rank, paired=plan.paired)


@dataclass(slots=True)
class _Shared:
    """Segments of all pipeline ranks: chunks of the same layers run the same ones.

    What is worked out of a segment, by its id, is so worked out once for all ranks.
    """

    passes: dict[tuple[object, ...], Passes] = field(default_factory=dict)
    mixed: dict[tuple[Segment, Segment], Segment] = field(default_factory=dict)
    computes: dict[tuple[str, Phase, tuple[Kernel, ...]], Compute] = field(default_factory=dict)

    def of(self, job: Job, chunk: Chunk, label: str) -> Passes:
        """Return the passes of a chunk."""
        ends = chunk.before < 0, chunk.after < 0, chunk.received, chunk.sent
        key = (chunk.units, ends, label)
        if key not in self.passes:
            self.passes[key] = Passes(job, chunk, label, self.computes)
        return self.passes[key]


class _Writer:
    """Writes the program of one pipeline rank."""

    def __init__(self, job: Job, rank: int, shared: _Shared) -> None:
        self.job, self.rank, self.plan = job, rank, job.plan
        self.chunks = chunks_of(job)[rank]
        self.passes = [shared.of(job, chunk, f"chunk {i}") for i, chunk in enumerate(self.chunks)]
        self.schedule = schedule_of(self.plan.order)
        self.splits = self.schedule.splits_weights
        self.last = job.micro_batches // self.schedule.directions - 1
        self.items: list[Item] = []
        self.batches: list[int] = []
        self.mixed = shared.mixed
        # By kind of pass and chunk: the pipeline rank at the other end (-1: none), and how the
        # transfer is called: by the direction and the stage that it leads to.
        first, size = first_learning(job), send_bytes(job)
        self.incoming: Ways = {}
        self.outgoing: Ways = {}
        for place, chunk in enumerate(self.chunks):
            stage, way = chunk.stage, ("", "mirrored ")[chunk.direction]
            before, after = chunk.before, chunk.after
            behind, ahead = chunk.received * size, chunk.sent * size
            self.incoming["F", place] = before, f"{way}forward stage {stage} micro-batch ", behind
            self.outgoing["F", place] = after, f"{way}forward stage {stage + 1} micro-batch ", ahead
            # Gradients go as far as something learns.
            after, before = (after if stage >= first else -1, before if stage > first else -1)
            self.incoming["B", place] = after, f"{way}backward stage {stage} micro-batch ", ahead
            back = f"{way}backward stage {stage - 1} micro-batch "
            self.outgoing["B", place] = before, back, behind
            self.incoming["W", place] = self.outgoing["W", place] = -1, "", 0.0

    def add(self, batch: int, *items: Item) -> None:
        self.items += items
        self.batches += [batch] * len(items)

    def write(self) -> Program:
        """Opening gathers, all passes, the end of the step."""
        for passes in self.passes:
            for starts in passes.gathers_first():
                self.add(-1, *starts)
        todo = rank_actions(self.job, self.rank)
        if self.schedule.batched and not self.plan.overlaps_p2p:
            self._batched(todo)
        else:
            self._overlapped(todo, ahead=1 if self.plan.overlaps_p2p else 0)
        self._close()
        return Program(
            pipeline_rank=self.rank, items=tuple(self.items), micro_batches=tuple(self.batches)
        )

    def _batched(self, todo: Actions) -> None:
        """Send what was made and receive what comes next in one batch, and wait for both."""
        receives = self._ends(Recv, todo[0], self.incoming)
        self.add(todo[0].batch, *receives, *_waits(receives))
        for action, following in zip(todo, [*todo[1:], None], strict=True):
            both: list[Send | Recv] = [*self._ends(Send, action, self.outgoing)]
            if following is not None:
                both += self._ends(Recv, following, self.incoming)
            self.add(action.batch, self._segment(action), *both, *_waits(both))

    def _overlapped(self, todo: Actions, *, ahead: int) -> None:
        """Post receives `ahead` passes early; never wait for sends."""
        waiting: list[list[Recv]] = []
        for index, action in enumerate(todo):
            for early in todo[len(waiting) : index + ahead + 1]:
                waiting.append(self._ends(Recv, early, self.incoming))
                self.add(early.batch, *waiting[-1])
            sends = self._ends(Send, action, self.outgoing)
            self.add(action.batch, *_waits(waiting[index]), self._segment(action), *sends)

    def _ends(self, end: type[End], action: Action, ways: Ways) -> list[End]:
        """What a pass needs from other pipeline ranks, or they from it."""
        out = []
        passes = action.passes() if action[0] == "FB" else (action[:3],)
        for kind, chunk, batch in passes:
            peer, words, size = ways[kind, chunk]
            if peer >= 0:
                name = f"{words}{batch}"
                out.append(end(name=name, peer=peer, bytes=size, token=name))
        return out

    def _segment(self, action: Action) -> Segment:
        kind, chunk, batch, chunk_b, batch_b = action
        if kind != "FB":
            part = "BI" if kind == "B" and self.splits else kind
            return self.passes[chunk].segment(part, batch == (0 if kind == "F" else self.last))
        front = self.passes[chunk].segment("F", batch == 0)
        back = self.passes[chunk_b].segment("B", batch_b == self.last)
        if (front, back) not in self.mixed:
            self.mixed[front, back] = merged(front, back, overlap=self.plan.paired)
        return self.mixed[front, back]

    def _close(self) -> None:
        job = self.job
        for passes in self.passes:
            self.add(-1, *passes.exposed_reductions())
            self.add(-1, *(Wait(token=token) for token in passes.pending_tokens()))
        ends = {chunk.stage for chunk in self.chunks} & {0, self.chunks[0].stages - 1}
        if job.model.tied and ends_apart(job) and ends and job.trained.learns("embedding"):
            size = local_vocab(job) * job.model.hidden * job.gradient_bytes
            tied = Collective(
                name="tied_embeddings",
                op="all-reduce",
                axis="embedding",
                bytes=float(size),
                phase="optimizer",
            )
            self.add(-1, tied)
        kernels = update_kernels(job, self.chunks)
        ending: list[Operation] = closing(job, self.chunks)
        if job.optimizer == "muon":
            units = muon.units_of(self.chunks)
            kernels += muon.orthogonal_kernels(job, units)
            ending += muon.gathered_momentum(job, units)
        update = Compute(name="optimizer", phase="optimizer", kernels=kernels)
        self.add(-1, *ending, update)
        for passes in self.passes:
            self.add(-1, *passes.exposed_gathers())


def _waits(ends: Iterable[Send | Recv]) -> list[Wait]:
    return [Wait(token=end.name) for end in ends]
