"""Two halves of a batch that decodes, each computing while the other's tokens travel.

In:  a job, a worker, the load of a step, layers in a row.
Out: `Segment`s in which parts of both halves alternate.
Left out: halves of prompts, which alternate at their exchanges (`programs`).

A layer is cut into projections into attention; attention and the router; tokens sent, the shared
expert meanwhile; experts, tokens sent back; their arrival. The second half is two parts behind the
first, so that what is sent is hidden by the other half's projections, what comes back by its
attention, and nothing by experts. Source: DeepSeek, open-infra-index, day 6 (five stages of
decode); sgl-project/sglang, python/sglang/srt/operations_strategy.py (the order, two stages apart).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rackmodel.workload.blocks import Block
from rackmodel.workload.operations import Collective, Operation, Segment, Wait, next_id
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.layers import LayerWriter
from rackmodel.workload.serving.load import Load

_Operations = tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class _Half:
    """The parts of one layer for one half, its exchanges beside what follows them."""

    into: _Operations  # projections into attention
    attention: _Operations  # and the router
    sent: _Operations  # tokens to experts, beside the shared one
    experts: _Operations  # after the tokens came; then they go back
    back: Wait


def answers_in_halves(
    job: ServingJob,
    worker: Worker,
    load: Load,
    blocks: Sequence[Block],
    whole: Callable[[Block], Segment],
) -> list[Segment]:
    """Return the layers of a stage in order, those with experts in halves, others as `whole`."""
    kept: dict[tuple[Block, str], _Half] = {}
    made: dict[tuple[Block, Block | None, bool], Segment] = {}

    def half(block: Block, side: str) -> _Half:
        if (block, side) not in kept:
            kept[block, side] = _half(job, worker, load, block, side)
        return kept[block, side]

    out: list[Segment] = []
    spread = worker.dp_attention and worker.tp > 1
    row = [block if spread and block.feed == "moe" else None for block in blocks]
    for block, split, before, after in zip(
        blocks, row, [None, *row[:-1]], [*row[1:], None], strict=True
    ):
        if split is None:
            out.append(whole(block))
            continue
        key = split, before, after is None
        if key not in made:
            behind = None if before is None else half(before, "second")
            both = half(split, "first"), half(split, "second")
            made[key] = Segment(
                name=f"{split.mixer} {split.feed}",
                phase="forward",
                operations=_alternate(*both, behind, last=after is None),
            )
        out.append(made[key])
    return out


def _alternate(first: _Half, second: _Half, behind: _Half | None, *, last: bool) -> _Operations:
    """One layer; behind : the second half in the layer before, whose experts are still to run."""
    return (
        *first.into,
        *(behind.experts if behind else ()),
        *first.attention,
        *((behind.back,) if behind else ()),
        *first.sent,
        *second.into,
        *first.experts,
        *second.attention,
        first.back,
        *second.sent,
        *((*second.experts, second.back) if last else ()),
    )


def _half(job: ServingJob, worker: Worker, load: Load, block: Block, side: str) -> _Half:
    writer = LayerWriter(job, worker, load.half, staged=True)
    writer.layer(block)
    done, starts = writer.operations, writer.cuts
    sent, back = (f"{side} half, {way}" for way in ("to experts", "back"))
    middle, experts = done[starts[-2] : starts[-1]], done[starts[-1] :]
    return _Half(
        into=tuple(done[: starts[0]]),
        attention=tuple(done[starts[0] : starts[-2]]),
        sent=(_beside(middle[0], sent), *middle[1:]),
        experts=(Wait(token=sent), *experts[:-1], _beside(experts[-1], back)),
        back=Wait(token=back),
    )


def _beside(exchange: Operation, token: str) -> Operation:
    """The exchange on a stream of its own, to be waited for by its token."""
    assert isinstance(exchange, Collective)
    return replace(exchange, id=next_id(), stream="ep", token=token)
