"""What data parallelism adds: gradient reduction, parameter gathering, the optimizer.

In:  a job and the units of a chunk.
Out: buckets, collectives with tokens, kernels of the update.
Left out: when they run inside a pass (`passes`).

Axes: "dp_cp" for weights outside experts, "edp" for experts; where shards have a stated size
"dp_shard"/"dp_replica" and for copies of an optimizer "edp_shard"/"edp_replica".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rackmodel.software import software_of
from rackmodel.workload.choices import NARROW_STATE, OPTIMIZERS, OUTSIDE_LAYERS
from rackmodel.workload.copies import expert_shards, shard_axes
from rackmodel.workload.job import Job
from rackmodel.workload.kernels import ELEMENT, elementwise
from rackmodel.workload.operations import (
    Collective,
    CollectiveOp,
    Kernel,
    Operation,
    Phase,
    Role,
)
from rackmodel.workload.precision import precision_of
from rackmodel.workload.stages import Chunk, Unit

TENSORS = 12  # of a layer, as the optimizer's kernels count them
BUCKET = 40e6  # parameters of a gradient bucket at least, as in Megatron
BUCKET_PER_REPLICA = 1e6  # and for each rank of dp x cp
Row = tuple[CollectiveOp, str, int, float]  # axis, ranks along it, bytes


class Bucket(NamedTuple):
    """Neighbouring units whose gradients travel together; positions within the chunk.

    dense, expert : parameters that learn. gathered : dense ones, expert ones, and of the dense
    those outside layers, which are never cast: all that is sharded, or only what learns.
    """

    first: int
    last: int
    dense: float
    expert: float
    gathered: tuple[float, float, float]


def bucket_of(job: Job, units: Sequence[Unit], first: int, last: int) -> Bucket:
    """Return the bucket of the units from `first` to `last`."""
    some = units[first : last + 1]
    learning = [(u.dense_learning, u.expert_learning) for u in some]
    rows = learning
    if job.plan.sharded_parameters:
        rows = [(u.dense_parameters, u.expert_parameters) for u in some]
    gathered = (
        sum(dense for dense, _ in rows),
        sum(expert for _, expert in rows),
        sum(0.0 if u.is_layer else row[0] for u, row in zip(some, rows, strict=True)),
    )
    dense, expert = (sum(row[i] for row in learning) for i in (0, 1))
    return Bucket(first, last, dense, expert, gathered)


def buckets(job: Job, units: Sequence[Unit]) -> tuple[Bucket, ...]:
    """Group units from the last to the first until a bucket is full (full sharding: each alone).

    Megatron: max(40 million, 1 million x data-parallel ranks) parameters.
    """
    full = 0.0 if job.plan.sharded_parameters else max(BUCKET, BUCKET_PER_REPLICA * job.plan.dp_cp)
    out: list[Bucket] = []
    last, size = len(units) - 1, 0.0
    for index in range(len(units) - 1, -1, -1):
        unit = units[index]
        size += unit.dense_learning + unit.expert_learning
        if job.plan.sharded_parameters:  # those that do not learn are gathered, too
            size += unit.dense_parameters + unit.expert_parameters
        if size > full or index == 0:
            # Below the first unit with a gradient nothing learns: the bucket is full there.
            found = (i for i in range(index, last + 1) if units[i].has_gradient)
            out.append(bucket_of(job, units, next(found, index), last))
            last, size = index - 1, 0.0
    return tuple(out)


def gathers(job: Job, bucket: Bucket, label: str, *, beside: bool) -> list[Collective]:
    """All-gathers of a bucket's parameters (zero1, zero2: updated shards; zero3, hsdp: weights)."""
    plan, size = job.plan, precision_of(job.precision).gather_bytes
    dense, expert, wide = bucket.gathered
    axis, _, axis_of_experts, _ = shard_axes(plan)
    if by_tensors(job):
        units = bucket.last - bucket.first + 1
        groups = (axis, plan.shards, dense), (axis_of_experts, expert_shards(plan), expert)
        each: list[Row] = []
        for name, ranks, held in groups:
            count = owners(ranks, units)
            each += [("broadcast", name, ranks, held * ELEMENT / count)] * count
        return _collectives("gather", each, label, beside)
    rows: list[Row] = [
        ("all-gather", axis, plan.shards, (dense - wide) * size + wide * ELEMENT),
        ("all-gather", axis_of_experts, expert_shards(plan), expert * size),
    ]
    return _collectives("gather", rows, label, beside)


def by_tensors(job: Job, sharding: str = "") -> bool:
    """Whether shards of the optimizer are whole tensors, which their owners broadcast.

    sharding : in place of the plan's.
    """
    return (sharding or job.plan.sharding) == "zero1" and software_of(job.stack).whole_tensors


def owners(ranks: int, units: int) -> int:
    """Ranks that own some of the tensors of so many units."""
    return min(ranks, TENSORS * units)


def fetches(job: Job, bucket: Bucket) -> tuple[Kernel, ...]:
    """Copies of a rank's shard of a bucket out of host memory, where its weights stand there."""
    if "parameters" not in job.plan.offload:
        return ()
    plan, whole = job.plan, bucket.gathered
    learning = bucket.dense / plan.shards + bucket.expert / expert_shards(plan)
    every = whole[0] / plan.shards + whole[1] / expert_shards(plan)
    size = software_of(job.stack).shard_bytes * learning + ELEMENT * (every - learning)
    return (elementwise("fetch_weights", 0.0, size, family="copy"),) if size else ()


def added(job: Job, unit: Unit) -> tuple[Kernel, ...]:
    """Gradients of a unit put on those of earlier micro-batches, where its products do not do that.

    Autograd keeps the first and adds in place; hooks that add to wider ones (Megatron's main_grad,
    DeepSpeed's BF16_Optimizer) do so in every micro-batch. What leaves in each pass has no others.
    """
    grad = float(job.gradient_bytes)
    passes = 1.0 if grad > ELEMENT else 1.0 - 1.0 / job.micro_batches
    size = passes * (unit.dense_learning + unit.expert_learning)
    if software_of(job.stack).adds_gradients or job.plan.reduces_each_pass or not size:
        return ()
    return (elementwise("add_gradient", size * (ELEMENT + grad), size * grad, role=Role.COPY),)


def carried(job: Job, moved: Iterable[Collective]) -> tuple[Kernel, ...]:
    """Copies of what a loop over layers hands on to its next turn: gathered, or to be reduced."""
    whole = ("all-gather", "reduce-scatter") if software_of(job.stack).copies_carried else ()
    size = sum(one.bytes for one in moved if one.op in whole)
    return (elementwise("copy_carried", size, size, role=Role.COPY),) if size else ()


def reductions(job: Job, bucket: Bucket, label: str, *, beside: bool) -> list[Collective]:
    """Collectives that sum a bucket's gradients over its replicas."""
    plan, size = job.plan, float(job.gradient_bytes)
    dense, expert = bucket.dense * size, bucket.expert * size
    axis, _, axis_of_experts, _ = shard_axes(plan)
    if plan.sharding == "none" or by_tensors(job):
        whole: list[Row] = [
            ("all-reduce", "dp_cp", plan.dp_cp, dense),
            ("all-reduce", "edp", plan.edp, expert),
        ]
        return _collectives("reduce", whole, label, beside)
    op: CollectiveOp = "reduce-scatter"
    rows: list[Row] = [(op, axis, plan.shards, dense)]
    if plan.shard_size:  # in small groups, which then sum theirs
        rows.append(("all-reduce", "dp_replica", plan.dp_cp // plan.shards, dense / plan.shards))
    rows.append((op, axis_of_experts, expert_shards(plan), expert))
    if (copies := plan.edp // expert_shards(plan)) > 1:
        rows.append(("all-reduce", "edp_replica", copies, expert / expert_shards(plan)))
    return _collectives("reduce", rows, label, beside)


def _collectives(name: str, rows: Iterable[Row], label: str, beside: bool) -> list[Collective]:
    return [
        Collective(
            name=f"{name} {axis}",
            op=op,
            axis=axis,
            bytes=size,
            stream=name if beside else "compute",
            token=f"{name} {axis} {label}" if beside else None,
            phase="optimizer",
        )
        for op, axis, ranks, size in rows
        if ranks > 1 and size
    ]


def local_states(job: Job, chunks: Sequence[Chunk]) -> float:
    """Parameters that one rank's optimizer updates: a shard of what it holds, or all of it."""
    plan = job.plan
    dense = sum(chunk.learning[0] for chunk in chunks)
    expert = sum(chunk.learning[1] for chunk in chunks)
    if plan.sharding == "none":
        return dense + expert
    return dense / plan.shards + expert / expert_shards(plan)


def outside_states(job: Job, chunks: Sequence[Chunk]) -> float:
    """Those of embedding and head."""
    held = sum(u.dense_learning for chunk in chunks for u in chunk.units if not u.is_layer)
    return held / (1 if job.plan.sharding == "none" else job.plan.shards)


def kept_state(job: Job, states: Any, outside: Any) -> Any:
    """Bytes of state that the optimizer keeps of so many parameters, some of them outside layers.

    Amounts of a rank, or arrays over plans.
    """
    share = 1.0 if job.optimizer in NARROW_STATE else software_of(job.stack).moment_share
    own = OPTIMIZERS[job.optimizer] * share
    apart = OUTSIDE_LAYERS.get(job.optimizer, OPTIMIZERS[job.optimizer]) * share
    return states * own + outside * (apart - own)


def update_kernels(job: Job, chunks: Sequence[Chunk]) -> tuple[Kernel, ...]:
    """Gradient norm, then the update; copies of gradients and casts of weights beside it."""
    updated, software = local_states(job, chunks), software_of(job.stack)
    grad, precision = float(job.gradient_bytes), precision_of(job.precision)
    checks = 2.0 if precision.loss_scaling else 1.0
    # multi-tensor kernels, ~10 per layer
    learning = (u for chunk in chunks for u in chunk.units if u.dense_learning + u.expert_learning)
    tensors = float(TENSORS) * sum(1 for _ in learning)
    kernels = [
        elementwise(
            "grad_norm",
            checks * grad * updated,
            0.0,
            family="optimizer",
            role=Role.GRAD_NORM,
            launches=max(1.0, tensors / 100),
        ),
        elementwise(
            job.optimizer,
            *_updating(job, updated, outside_states(job, chunks)),
            family="optimizer",
            role=Role.UPDATE,
            launches=max(1.0, tensors / 30),
        ),
        elementwise(
            "zero_gradients",
            0.0,
            grad * held_gradients(job, chunks),
            family="optimizer",
            role=Role.ZERO_GRADIENTS,
        ),
    ]
    if precision.casts_weights:
        # Once a step the weights of layers are laid out for the GEMMs of all micro-batches.
        layers = sum(
            0.0 if step.frozen else step.parameters
            for chunk in chunks
            for unit in chunk.units
            for step in unit.steps
            if unit.is_layer
        )
        kernels.append(
            elementwise(
                "cast_weights",
                precision.gather_bytes * layers,
                job.weight_bytes * layers,
                role=Role.CAST_WEIGHTS,
            )
        )
    if by_tensors(job) and job.plan.dp_cp > 1:
        # Gradients are copied into the buffer of a bucket, and back once they are summed.
        size = 2.0 * grad * held_gradients(job, chunks)
        kernels.append(elementwise("copy_buckets", size, size, role=Role.COPY))
    if "optimizer" in job.plan.offload:
        kernels[1] = _update_on_host(job, updated)
    elif "parameters" in job.plan.offload:
        size = software.shard_bytes * updated
        kernels.append(
            elementwise("update_host_weights", size, size, family="copy", role=Role.HOST_WEIGHTS)
        )
    return tuple(kernels)


def _updating(job: Job, updated: float, outside: float) -> tuple[float, float]:
    """Bytes of gradient, master and state read, and of these and weights written."""
    software, state = software_of(job.stack), kept_state(job, updated, outside)
    if job.optimizer == "adam" and software.update_elements:
        each = software.update_elements * state / 4.0  # half of all, of two moments
        return each, each
    kept = software.master_bytes * updated + state
    return kept + job.gradient_bytes * updated, kept + ELEMENT * updated


def _update_on_host(job: Job, updated: float) -> Kernel:
    """Gradients go out, new weights come back unless they stay; the host keeps up with the link."""
    back = 0.0 if "parameters" in job.plan.offload else ELEMENT * updated
    out = float(job.gradient_bytes) * updated
    return elementwise("offload_optimizer", out, back, family="copy", role=Role.UPDATE)


def held_gradients(job: Job, chunks: Sequence[Chunk]) -> float:
    """Gradients that a rank keeps from micro-batch to micro-batch."""
    plan = job.plan
    if plan.reduces_each_pass:
        return local_states(job, chunks)
    return sum(sum(chunk.learning) for chunk in chunks)


def closing(job: Job, chunks: Sequence[Chunk]) -> list[Operation]:
    """Small collectives of a step's end: loss over replicas, gradient norm over all ranks."""
    plan, precision = job.plan, precision_of(job.precision)
    axis = "world" if plan.sharding != "none" else "model"
    members = plan.gpus if axis == "world" else plan.tp * plan.cp * plan.pp
    ends = any(chunk.stage == chunk.stages - 1 for chunk in chunks)
    # Delayed scaling: maxima of three tensors of two GEMM operands per linear layer.
    maxima = 4.0 * 6.0 * 4.0 * job.model.layers / plan.pp
    rows: list[tuple[bool, str, str, float, Phase]] = [
        (ends and plan.dp_cp > 1, "loss", "dp_cp", 8.0, "other"),
        (members > 1, "gradient_norm", axis, 8.0, "optimizer"),
        (members > 1 and precision.loss_scaling, "found_inf", axis, 4.0, "optimizer"),
        (precision.amax_reduce and plan.tp * plan.dp_cp > 1, "amax", "stage", maxima, "other"),
    ]
    return [
        Collective(name=name, op="all-reduce", axis=over, bytes=size, phase=phase)
        for runs, name, over, size, phase in rows
        if runs
    ]
