"""Programs of a serving step: what the ranks of each pipeline stage do, in order.

In:  a job, a worker, the load of a step.
Out: one `Program` per pipeline stage.
Left out: seconds; how often a step runs (rackmodel.serving).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from rackmodel.workload.blocks import Block
from rackmodel.workload.kernels import ELEMENT
from rackmodel.workload.operations import Operation, Program, Recv, Segment, Send
from rackmodel.workload.passes import merged
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.layers import LayerWriter
from rackmodel.workload.serving.load import Load


@lru_cache(maxsize=64)
def serving_programs(
    job: ServingJob, worker: Worker, load: Load, rounds: int = 1
) -> tuple[Program, ...]:
    """Return what the ranks of each stage do in a step, `rounds` batches one after the other.

    With several stages as many batches are under way as there are stages; `load` is that of one.
    """
    layers = _stages(job.model.blocks, worker.pp)
    segments: dict[Block, Segment] = {}

    def segment(block: Block) -> Segment:
        if block not in segments:
            segments[block] = _layer(job, worker, load, block)
        return segments[block]

    head = LayerWriter(job, worker, load)
    head.head()
    end = _segment("head", head)
    drafts = [_draft(job, worker, load)] * job.mtp
    hop = load.on_rank(worker).tokens * job.model.hidden * ELEMENT
    programs = []
    for stage, blocks in enumerate(layers):
        items: list[Operation | Segment] = []
        for number in range(rounds):
            if stage:
                items.append(Recv(name=f"batch {number}", peer=stage - 1, bytes=hop))
            items += [segment(block) for block in blocks]
            if stage == worker.pp - 1:
                items += [end, *(draft for draft in drafts)]
            else:
                items.append(Send(name=f"batch {number}", peer=stage + 1, bytes=hop))
        programs.append(
            Program(pipeline_rank=stage, items=tuple(items), micro_batches=(0,) * len(items))
        )
    return tuple(programs)


def _layer(job: ServingJob, worker: Worker, load: Load, block: Block) -> Segment:
    """One layer; two halves of a batch, each under the other's exchanges, where the job says so."""
    name = f"{block.mixer} {block.feed}"
    halves = []
    both = job.two_batch and worker.dp_attention and block.feed == "moe"
    for half in ("first", "second") if both else ("whole",):
        writer = LayerWriter(job, worker, load.half if both else load)
        writer.layer(block)
        halves.append(_segment(f"{name} {half}", writer))
    return merged(*halves, overlap=True) if both else halves[0]


def _segment(name: str, writer: LayerWriter) -> Segment:
    return Segment(name=name, phase="forward", operations=tuple(writer.operations))


def _draft(job: ServingJob, worker: Worker, load: Load) -> Segment:
    """One drafted token of every sequence: the MTP layer and the head."""
    one = replace(load, drafted=1, prompts=0.0, piece=0.0, before=0.0)
    writer = LayerWriter(job, worker, one)
    if one.sequences:
        for block in job.model.mtp_blocks:
            writer.layer(block)
        writer.head()
    return _segment("draft", writer)


def _stages(blocks: tuple[Block, ...], pp: int) -> list[tuple[Block, ...]]:
    """Cut the layers into stages of equal length; the first ones take what is left over."""
    share, rest = divmod(len(blocks), pp)
    cuts, at = [], 0
    for stage in range(pp):
        size = share + (stage < rest)
        cuts.append(blocks[at : at + size])
        at += size
    return cuts
