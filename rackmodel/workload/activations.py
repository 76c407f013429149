"""Activations that a rank keeps between forward and backward, pass by pass.

In:  a job.
Out: bytes per pass of each chunk, and their peak over the schedule.
Left out: weights and optimizer (`memory`).

Without recompute a GPT layer keeps s b h (34 + 5 a s / h) bytes, cut by tp as in Korthikanti et
al. 2022, arXiv:2205.05198, equations 1 to 6; the steps' `saved_bytes` sum to exactly that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rackmodel.software import software_of
from rackmodel.workload.job import Job
from rackmodel.workload.kernels import ELEMENT
from rackmodel.workload.precision import precision_of
from rackmodel.workload.schedules.holding import held
from rackmodel.workload.schedules.schedule import schedule_of
from rackmodel.workload.stages import Chunk, Unit, chunks_of, transfer_bytes

OFFLOAD_WINDOW = 2.0  # layers whose activations wait in HBM for the copy engine


class Kept(NamedTuple):
    """Bytes of one pass of a chunk: kept from forward to backward, and on top while it runs."""

    kept_bytes: float
    working_bytes: float


def unit_bytes(job: Job, unit: Unit, *, recomputed: bool) -> Kept:
    """Bytes that one layer (or end) keeps, and those that its backward pass brings back."""
    full = sum(step.saved_bytes for step in unit.steps)
    beside = (s.saved_bytes if s.gradient_bytes is None else s.gradient_bytes for s in unit.steps)
    largest = max(beside, default=0.0)
    if recomputed and unit.has_gradient:
        return Kept(transfer_bytes(job), full + largest)
    modules = job.modules
    half = 0.5 if "alternate" in modules else 1.0
    kept = sum(
        step.saved_bytes * (half if step.work.weight else 1.0)
        for step in unit.steps
        if step.module not in modules
    )
    return Kept(kept, full - kept + largest)


def chunk_bytes(job: Job, chunk: Chunk) -> Kept:
    """Bytes of one micro-batch in one chunk."""
    plan, left = job.plan, job.plan.recompute_layers
    kept, offloaded = 0.0, []
    beside = (
        0.0  # of what is kept when a unit runs: its backward pass comes after later units' left
    )
    freed = not schedule_of(plan.order).splits_weights
    for unit in chunk.units:
        again = plan.recompute == "full" and unit.is_layer and left != 0
        if again and left is not None:
            left -= 1
        part = unit_bytes(job, unit, recomputed=again)
        kept += part.kept_bytes
        beside = max(beside, part.working_bytes + freed * kept)
        if unit.is_layer:
            offloaded.append(part.kept_bytes)
    working = max(0.0, beside - freed * kept)
    if "activations" in plan.offload and offloaded:
        inside = OFFLOAD_WINDOW * max(offloaded)
        kept -= max(0.0, sum(offloaded) - inside)
    if chunk.has_gradient:
        kept += states_kept(job, chunk) * transfer_bytes(job)
    return Kept(kept, working + transfer_bytes(job) * states_beside(job, plan.sp))


def states_beside(job: Job, sp: Any) -> Any:
    """Hidden states that stand beside a running pass, in shares as a rank holds between layers.

    One that is gathered and one that is summed. With `Software.separate_products` also the inputs
    that were gathered for attention and MLP, until their weight gradients, and a second sum, as
    products that share an input hand on their gradients one by one: all but a rank's own share,
    which is kept, or in what comes back, anyway.

    sp : ranks that share a sequence outside of products, a number or an array over plans.
    """
    if not software_of(job.stack).separate_products:
        return 2 * sp
    precision = precision_of(job.precision)
    stored = (precision.stored_bytes if precision.casts else ELEMENT) / ELEMENT
    return 2 * sp + (1 + 2 * stored) * (sp - 1)


def states_kept(job: Job, chunk: Chunk) -> int:
    """Hidden states of a token that stand on either side of a stage until its gradient has left.

    What came from the stage before; with `Software.keeps_sent` also what went to the next one, and
    a buffer for its gradient. (PyTorch has such buffers for all micro-batches from the start; those
    that have not come yet are not counted.)
    """
    before = chunk.received if chunk.stage > 0 else 0
    sends = chunk.stage < chunk.stages - 1 and software_of(job.stack).keeps_sent
    return before + (2 * chunk.sent if sends else 0)


def peak_bytes(job: Job, pipeline_rank: int) -> Kept:
    """Peak of kept activations over a step, and the working set of the pass at that peak."""
    plan, chunks = job.plan, chunks_of(job)[pipeline_rank]
    parts = [chunk_bytes(job, chunk) for chunk in chunks]
    m = job.micro_batches
    rows = held(plan.order, plan.pp, m, plan.vpp, pipeline_rank, paired=plan.paired)
    best = Kept(0.0, 0.0)
    for row in rows:
        kept = sum(n * part.kept_bytes for n, part in zip(row, parts, strict=False))
        works = zip(row[len(parts) :], parts, strict=True)
        working = sum(n * part.working_bytes for n, part in works)
        if kept + working > best.kept_bytes + best.working_bytes:
            best = Kept(kept, working)
    return best
