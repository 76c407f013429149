"""What data parallelism adds: gradient reduction, parameter gathering, the optimizer.

In:  a job and the units of a chunk.
Out: buckets, collectives with tokens, kernels of the update.
Left out: when they run inside a pass (`passes`).

Axes: "dp_cp" for weights outside experts, "edp" for experts, "dp_shard"/"dp_replica" for hsdp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rackmodel.software import software_of
from rackmodel.workload.kernels import ELEMENT, elementwise
from rackmodel.workload.operations import Collective, CollectiveOp, Kernel, Operation, Role
from rackmodel.workload.plan import Job
from rackmodel.workload.precision import precision_of
from rackmodel.workload.stages import Chunk, Unit

BUCKET = 40e6  # parameters of a gradient bucket at least, as in Megatron
BUCKET_PER_REPLICA = 1e6  # and for each rank of dp x cp


@dataclass(frozen=True, slots=True)
class Bucket:
    """Neighbouring units whose gradients travel together; positions within the chunk."""

    first: int
    last: int
    dense: float
    expert: float
    wide: float = 0.0  # of the dense ones, those outside layers: never cast


def buckets(job: Job, units: Sequence[Unit]) -> tuple[Bucket, ...]:
    """Group units from the last to the first until a bucket is full (full sharding: each alone).

    Megatron: max(40 million, 1 million x data-parallel ranks) parameters.
    """
    full = 0.0 if job.plan.sharded_parameters else max(BUCKET, BUCKET_PER_REPLICA * job.plan.dp_cp)
    out: list[Bucket] = []
    last, dense, expert, wide = len(units) - 1, 0.0, 0.0, 0.0
    for index in range(len(units) - 1, -1, -1):
        dense += units[index].dense_parameters
        expert += units[index].expert_parameters
        wide += 0.0 if units[index].is_layer else units[index].dense_parameters
        if dense + expert > full or index == 0:
            out.append(Bucket(index, last, dense, expert, wide))
            last, dense, expert, wide = index - 1, 0.0, 0.0, 0.0
    return tuple(out)


def gathers(job: Job, bucket: Bucket, label: str, *, beside: bool) -> list[Collective]:
    """All-gathers of a bucket's parameters (zero1, zero2: updated shards; zero3, hsdp: weights)."""
    plan, size = job.plan, precision_of(job.precision).gather_bytes
    shard_axis = "dp_shard" if plan.sharding == "hsdp" else "dp_cp"
    shards = plan.shard_size if plan.sharding == "hsdp" else plan.dp_cp
    dense = (bucket.dense - bucket.wide) * size + bucket.wide * ELEMENT
    out = []
    for axis, ranks, moved in (
        (shard_axis, shards, dense),
        ("edp", plan.edp, bucket.expert * size),
    ):
        if ranks > 1 and moved:
            out.append(_collective("gather", "all-gather", axis, moved, label, beside, "gather"))
    return out


def reductions(job: Job, bucket: Bucket, label: str, *, beside: bool) -> list[Collective]:
    """Collectives that sum a bucket's gradients over its replicas."""
    plan, size = job.plan, float(job.gradient_bytes)
    stream = "reduce"
    out = []
    if plan.sharding == "hsdp":
        if plan.shard_size > 1 and bucket.dense:
            out.append(
                _collective(
                    "reduce",
                    "reduce-scatter",
                    "dp_shard",
                    bucket.dense * size,
                    label,
                    beside,
                    stream,
                )
            )
        if plan.dp_cp > plan.shard_size and bucket.dense:
            out.append(
                _collective(
                    "reduce",
                    "all-reduce",
                    "dp_replica",
                    bucket.dense * size / plan.shard_size,
                    label,
                    beside,
                    stream,
                )
            )
    op: CollectiveOp = "all-reduce" if plan.sharding == "none" else "reduce-scatter"
    if plan.sharding != "hsdp" and plan.dp_cp > 1 and bucket.dense:
        out.append(_collective("reduce", op, "dp_cp", bucket.dense * size, label, beside, stream))
    if plan.edp > 1 and bucket.expert:
        out.append(_collective("reduce", op, "edp", bucket.expert * size, label, beside, stream))
    return out


def _collective(
    name: str, op: CollectiveOp, axis: str, size: float, label: str, beside: bool, stream: str
) -> Collective:
    return Collective(
        name=f"{name} {axis}",
        op=op,
        axis=axis,
        bytes=size,
        stream=stream if beside else "compute",
        token=f"{name} {axis} {label}" if beside else None,
        phase="optimizer",
    )


def local_states(job: Job, chunks: Sequence[Chunk]) -> float:
    """Parameters that one rank's optimizer updates: a shard of what it holds, or all of it."""
    plan = job.plan
    dense = sum(chunk.parameters[0] for chunk in chunks)
    expert = sum(chunk.parameters[1] for chunk in chunks)
    if plan.sharding == "none":
        return dense + expert
    shards = plan.shard_size if plan.sharding == "hsdp" else plan.dp_cp
    return dense / shards + expert / plan.edp


def update_kernels(job: Job, chunks: Sequence[Chunk]) -> tuple[Kernel, ...]:
    """Gradient norm, then Adam: reads gradient, master, moments; writes these and the weight."""
    updated = local_states(job, chunks)
    grad, master = float(job.gradient_bytes), software_of(job.stack).master_bytes
    weight = 2.0
    checks = 2.0 if precision_of(job.precision).loss_scaling else 1.0
    tensors = 12.0 * sum(
        len(chunk.units) for chunk in chunks
    )  # multi-tensor kernels, ~10 per layer
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
            "adam",
            (grad + master + 8.0) * updated,
            (master + 8.0 + weight) * updated,
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
    precision = precision_of(job.precision)
    if precision.casts_weights:
        # Once a step the weights of layers are laid out for the GEMMs of all micro-batches.
        layers = sum(
            unit.dense_parameters + unit.expert_parameters
            for chunk in chunks
            for unit in chunk.units
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
    if "optimizer" in job.plan.offload:
        # Gradients go out, new weights come back; the update on the host is taken to keep up with
        # the link.
        kernels[1] = elementwise(
            "offload_optimizer", grad * updated, weight * updated, family="copy", role=Role.UPDATE
        )
    return tuple(kernels)


def held_gradients(job: Job, chunks: Sequence[Chunk]) -> float:
    """Gradients that a rank keeps from micro-batch to micro-batch."""
    plan = job.plan
    if plan.sharding == "zero2" or plan.reshards:
        return local_states(job, chunks)
    return sum(sum(chunk.parameters) for chunk in chunks)


def closing(job: Job, chunks: Sequence[Chunk]) -> list[Operation]:
    """Small collectives of a step's end: loss over replicas, gradient norm over all ranks."""
    plan = job.plan
    out: list[Operation] = []
    if any(chunk.stage == chunk.stages - 1 for chunk in chunks) and plan.dp_cp > 1:
        out.append(Collective(name="loss", op="all-reduce", axis="dp_cp", bytes=8.0, phase="other"))
    axis = "world" if plan.sharding != "none" else "model"
    members = plan.gpus if axis == "world" else plan.tp * plan.cp * plan.pp
    if members > 1:
        out.append(
            Collective(
                name="gradient_norm", op="all-reduce", axis=axis, bytes=8.0, phase="optimizer"
            )
        )
    precision = precision_of(job.precision)
    if precision.loss_scaling and members > 1:
        out.append(
            Collective(name="found_inf", op="all-reduce", axis=axis, bytes=4.0, phase="optimizer")
        )
    if precision.amax_reduce and plan.tp * plan.dp_cp > 1:
        # Delayed scaling: maxima of three tensors of two GEMM operands per linear layer.
        size = 4.0 * 6.0 * 4.0 * job.model.layers / plan.pp
        out.append(Collective(name="amax", op="all-reduce", axis="stage", bytes=size))
    return out
