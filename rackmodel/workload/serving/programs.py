"""Programs of a serving step: what the ranks of each pipeline stage do, in order.

In:  a job, a worker, the load of a step.
Out: one `Program` per pipeline stage.
Left out: seconds; how often a step runs (rackmodel.serving).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import zip_longest

from rackmodel.workload.blocks import Block
from rackmodel.workload.kernels import ELEMENT
from rackmodel.workload.operations import (
    Collective,
    Operation,
    Program,
    Recv,
    Role,
    Segment,
    Send,
    Wait,
)
from rackmodel.workload.passes import merged
from rackmodel.workload.serving.halves import answers_in_halves
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.layers import LayerWriter
from rackmodel.workload.serving.load import PLAIN, Load, Ways
from rackmodel.workload.serving.products import WIDE, product


@lru_cache(maxsize=64)
def serving_programs(
    job: ServingJob,
    worker: Worker,
    load: Load,
    rounds: int = 1,
    ways: Ways = PLAIN,
) -> tuple[Program, ...]:
    """Return what the ranks of each stage do in a step, `rounds` batches one after the other.

    With several stages as many batches are under way as there are stages; `load` is that of one.
    """
    layers = _stages(job.model.blocks, worker.pp)
    segments: dict[Block, Segment] = {}

    def segment(block: Block) -> Segment:
        if block not in segments:
            segments[block] = _layer(job, worker, load, block, ways)
        return segments[block]

    head = LayerWriter(job, worker, load)
    head.head()
    end = _segment("head", head)
    drafts = []
    if job.mtp:
        drafts = [_draft(job, worker, load, ways)]
    if job.mtp > 1 and load.sequences:
        drafts += [_draft(job, worker, load.once, ways)] * (job.mtp - 1)
    hop = load.on_rank(worker).tokens * job.model.hidden * ELEMENT
    programs = []
    for stage, blocks in enumerate(layers):
        items: list[Operation | Segment] = []
        for number in range(rounds):
            if stage:
                items.append(Recv(name=f"batch {number}", peer=stage - 1, bytes=hop))
            if job.two_batch and not load.prompts:
                items += answers_in_halves(job, worker, load, blocks, segment)
            else:
                here = [segment(block) for block in blocks]
                items += _joined(here) if job.two_batch else here
            if stage == worker.pp - 1:
                items += [end, *drafts]
            else:
                items.append(Send(name=f"batch {number}", peer=stage + 1, bytes=hop))
        programs.append(
            Program(pipeline_rank=stage, items=tuple(items), micro_batches=(0,) * len(items))
        )
    return tuple(programs)


def _layer(job: ServingJob, worker: Worker, load: Load, block: Block, ways: Ways) -> Segment:
    """One layer; two halves of a batch, each under the other's exchanges, where the job says so."""
    name = f"{block.mixer} {block.feed}"
    halves = []
    both = job.two_batch and worker.dp_attention and block.feed == "moe"
    for half in ("first", "second") if both else ("whole",):
        writer = LayerWriter(job, worker, load.half if both else load, ways)
        writer.layer(block)
        halves.append(_segment(f"{name} {half}", writer))
    return merged(*halves, overlap=True) if both else halves[0]


def _joined(layers: list[Segment]) -> list[Segment]:
    """Layers in a row: what is on its way at the end of one is waited for in the next.

    Each half of a batch needs its own tokens back where it goes on: the first at once, the second
    after the first has sent its tokens out again, so that no exchange lies bare between layers.
    """
    made: dict[tuple[int, tuple[Wait, ...], tuple[Wait, ...]], Segment] = {}
    out: list[Segment] = []
    before: tuple[Wait, ...] = ()
    for layer, after in zip_longest(layers, layers[1:]):
        late = _last_waits(layer) if after is not None and _last_waits(after) else ()
        key = layer.id, before, late
        if key not in made:
            made[key] = _between(layer, before, late)
        out.append(made[key])
        before = late
    return out


def _last_waits(layer: Segment) -> tuple[Wait, ...]:
    """Return what two halves of a batch wait for at the end of a layer; nothing in other layers."""
    return tuple(one for one in layer.operations[-2:] if isinstance(one, Wait))


def _between(layer: Segment, before: tuple[Wait, ...], late: tuple[Wait, ...]) -> Segment:
    """A layer that waits for what is under way when it begins, and leaves its own last waits."""
    if not before and not late:
        return layer
    own = layer.operations[: len(layer.operations) - len(late)]
    if before:
        sent = next(n for n, one in enumerate(own) if isinstance(one, Collective)) + 1
        own = (before[0], *own[:sent], *before[1:], *own[sent:])
    return Segment(name=layer.name, phase=layer.phase, operations=own)


def _segment(name: str, writer: LayerWriter) -> Segment:
    return Segment(name=name, phase="forward", operations=tuple(writer.operations))


def _draft(job: ServingJob, worker: Worker, load: Load, ways: Ways) -> Segment:
    """One drafted token of every sequence: the MTP layer and the head.

    The layer keeps keys of all tokens, so that the first draft takes it through those that were
    checked and those of prompts (`load`), the next ones through one of each sequence (`load.once`).
    """
    writer = LayerWriter(job.drafting, worker, load, ways)
    _join(writer)
    for block in job.model.mtp_blocks:
        writer.layer(block)
    if load.sequences:
        writer.load = load.once
        writer.head()
    writer.flush()
    return _segment("draft", writer)


def _join(writer: LayerWriter) -> None:
    """The last states and the tokens that came of them, put together for a layer that drafts.

    Source: DeepSeek-V3, arXiv:2412.19437, eq. 21; TensorRT-LLM cuts it over tensor-parallel ranks
    (`eh_proj` of _torch/models/modeling_deepseekv3.py).
    """
    t, h, ranks = writer.own.tokens, writer.job.model.hidden, writer.worker.heads_over
    writer.small("norm", t * h, 2)
    writer.run(product("join", (t, h, 2 * h / ranks), WIDE))
    if ranks > 1:
        writer.exchange("join", "all-reduce", "tp", t * h * ELEMENT, Role.FORWARD)


def _stages(blocks: tuple[Block, ...], pp: int) -> list[tuple[Block, ...]]:
    """Cut the layers into stages of equal length; the first ones take what is left over."""
    share, rest = divmod(len(blocks), pp)
    cuts, at = [], 0
    for stage in range(pp):
        size = share + (stage < rest)
        cuts.append(blocks[at : at + size])
        at += size
    return cuts
