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

import gc
from functools import lru_cache

from rackmodel.workload.data_parallel import closing, update_kernels
from rackmodel.workload.ends import padded_vocab
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Operation,
    Program,
    Recv,
    Segment,
    Send,
    Wait,
)
from rackmodel.workload.passes import Passes, merged
from rackmodel.workload.plan import Job
from rackmodel.workload.schedules.schedule import Action, actions, schedule_of
from rackmodel.workload.stages import chunks_of, transfer_bytes
from rackmodel.workload.validity import check

Item = Operation | Segment


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
    collecting = gc.isenabled()
    gc.disable()  # nothing here makes cycles, and scanning so many new objects costs a third more
    try:
        return tuple(_Writer(job, rank).write() for rank in range(job.plan.pp))
    finally:
        if collecting:
            gc.enable()


def rank_actions(job: Job, rank: int, micro_batches: int | None = None) -> tuple[Action, ...]:
    """The schedule's passes of one pipeline rank."""
    plan = job.plan
    m = job.micro_batches if micro_batches is None else micro_batches
    return actions(plan.order, plan.pp, m, plan.vpp, rank, paired=plan.ep_overlap)


class _Writer:
    """Writes the program of one pipeline rank."""

    def __init__(self, job: Job, rank: int) -> None:
        self.job, self.rank, self.plan = job, rank, job.plan
        self.chunks = chunks_of(job)[rank]
        self.passes = [Passes(job, chunk, f"chunk {i}") for i, chunk in enumerate(self.chunks)]
        self.schedule = schedule_of(self.plan.order)
        self.per_chunk = job.micro_batches // self.schedule.directions
        self.bytes = transfer_bytes(job)
        self.items: list[Item] = []
        self.batches: list[int] = []
        self.mixed: dict[tuple[Segment, Segment], Segment] = {}
        # Per chunk: pipeline rank before and after it (-1: none), and how its transfers are
        # called: by the direction and the stage that they lead to.
        self.before: list[int] = []
        self.after: list[int] = []
        self.forward_in: list[str] = []
        self.forward_out: list[str] = []
        self.backward_in: list[str] = []
        self.backward_out: list[str] = []
        for chunk in self.chunks:
            stage, way = chunk.stage, ("", "mirrored ")[chunk.direction]
            end = stage == chunk.stages - 1
            self.before.append(-1 if stage == 0 else chunk.neighbour(-1, self.plan.pp))
            self.after.append(-1 if end else chunk.neighbour(1, self.plan.pp))
            self.forward_in.append(f"{way}forward stage {stage} micro-batch ")
            self.forward_out.append(f"{way}forward stage {stage + 1} micro-batch ")
            self.backward_in.append(f"{way}backward stage {stage} micro-batch ")
            self.backward_out.append(f"{way}backward stage {stage - 1} micro-batch ")

    def add(self, item: Item, batch: int = -1) -> None:
        self.items.append(item)
        self.batches.append(batch)

    def write(self) -> Program:
        """Opening gathers, all passes, the end of the step."""
        for passes in self.passes:
            for starts in passes.gathers_first():
                for start in starts:
                    self.add(start)
        self._passes(rank_actions(self.job, self.rank))
        self._close()
        return Program(
            pipeline_rank=self.rank, items=tuple(self.items), micro_batches=tuple(self.batches)
        )

    def _passes(self, todo: tuple[Action, ...]) -> None:
        if self.plan.pp == 1:
            for action in todo:
                self.add(self._segment(action), action.batch)
            return
        if self.plan.overlaps_p2p or not self.schedule.batched:
            self._overlapped(todo, ahead=1 if self.plan.overlaps_p2p else 0)
        else:
            self._batched(todo)

    def _batched(self, todo: tuple[Action, ...]) -> None:
        """Send what was made and receive what comes next in one batch, and wait for both."""
        add, batches = self.items.append, self.batches
        receives = self._receives(todo[0])
        self.items += receives
        self.items += [Wait(token=receive.name) for receive in receives]
        batches += [todo[0].batch] * (len(self.items) - len(batches))
        last = len(todo) - 1
        for index, action in enumerate(todo):
            add(self._segment(action))
            sends = self._sends(action)
            for send in sends:
                add(send)
            if index < last:
                receives = self._receives(todo[index + 1])
                for receive in receives:
                    add(receive)
            else:
                receives = []
            for send in sends:
                add(Wait(token=send.name))
            for receive in receives:
                add(Wait(token=receive.name))
            batches += [action.batch] * (1 + 2 * (len(sends) + len(receives)))

    def _overlapped(self, todo: tuple[Action, ...], *, ahead: int) -> None:
        """Post receives `ahead` passes early; never wait for sends."""
        add, batches = self.items.append, self.batches
        waiting: list[list[Recv]] = []
        for index, action in enumerate(todo):
            while len(waiting) <= min(index + ahead, len(todo) - 1):
                receives = self._receives(todo[len(waiting)])
                self.items += receives
                batches += [todo[len(waiting)].batch] * len(receives)
                waiting.append(receives)
            for receive in waiting[index]:
                add(Wait(token=receive.name))
            add(self._segment(action))
            self.items += self._sends(action)
            batches += [action.batch] * (len(self.items) - len(batches))

    def _receives(self, action: Action) -> list[Recv]:
        """What a pass needs from other pipeline ranks."""
        kind, chunk, batch, chunk_b, batch_b = action
        out = []
        if kind in ("F", "FB") and (peer := self.before[chunk]) >= 0:
            name = f"{self.forward_in[chunk]}{batch}"
            out.append(Recv(name=name, peer=peer, bytes=self.bytes, token=name))
        if kind == "FB":
            chunk, batch = chunk_b, batch_b
        if kind in ("B", "FB") and (peer := self.after[chunk]) >= 0:
            name = f"{self.backward_in[chunk]}{batch}"
            out.append(Recv(name=name, peer=peer, bytes=self.bytes, token=name))
        return out

    def _sends(self, action: Action) -> list[Send]:
        """What other pipeline ranks need from a pass."""
        kind, chunk, batch, chunk_b, batch_b = action
        out = []
        if kind in ("F", "FB") and (peer := self.after[chunk]) >= 0:
            name = f"{self.forward_out[chunk]}{batch}"
            out.append(Send(name=name, peer=peer, bytes=self.bytes, token=name))
        if kind == "FB":
            chunk, batch = chunk_b, batch_b
        if kind in ("B", "FB") and (peer := self.before[chunk]) >= 0:
            name = f"{self.backward_out[chunk]}{batch}"
            out.append(Send(name=name, peer=peer, bytes=self.bytes, token=name))
        return out

    def _segment(self, action: Action) -> Segment:
        kind, last = action.kind, self.per_chunk - 1
        if kind == "F":
            return self.passes[action.chunk].segment("F", action.batch == 0)
        if kind == "W":
            return self.passes[action.chunk].segment("W", action.batch == last)
        if kind == "B":
            part = "BI" if self.schedule.splits_weights else "B"
            return self.passes[action.chunk].segment(part, action.batch == last)
        front = self.passes[action.chunk].segment("F", action.batch == 0)
        back = self.passes[action.chunk_b].segment("B", action.batch_b == last)
        if (front, back) not in self.mixed:
            self.mixed[front, back] = merged(front, back, overlap=self.plan.ep_overlap)
        return self.mixed[front, back]

    def _close(self) -> None:
        job, plan = self.job, self.plan
        for passes in self.passes:
            for collective in passes.exposed_reductions():
                self.add(collective)
            for token in passes.pending_tokens():
                self.add(Wait(token=token))
        ends = {chunk.stage for chunk in self.chunks} & {0, self.chunks[0].stages - 1}
        if job.model.tied and plan.pp > 1 and ends:
            size = padded_vocab(job.model.vocab, plan.tp) * job.model.hidden * job.gradient_bytes
            self.add(
                Collective(
                    name="tied_embeddings",
                    op="all-reduce",
                    axis="embedding",
                    bytes=float(size),
                    phase="optimizer",
                )
            )
        for operation in closing(job, self.chunks):
            self.add(operation)
        self.add(
            Compute(name="optimizer", phase="optimizer", kernels=update_kernels(job, self.chunks))
        )
        for passes in self.passes:
            for collective in passes.exposed_gathers():
                self.add(collective)
