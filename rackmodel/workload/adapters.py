"""Steps of layers of which not all learns: without gradients of frozen weights, with adapters.

In:  steps as `layers` and `ends` make them, what of the model learns.
Out: the same steps with `frozen` and `adapters`, and kernels to match.
Left out: where gradients stop, which `stages` knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rackmodel.workload.kernels import ELEMENT, Local, Work, elementwise, linear
from rackmodel.workload.operations import PRODUCTS
from rackmodel.workload.steps import Comm, Step
from rackmodel.workload.trained import Trained

_ENDS = {"embedding": "embedding", "head": "head", "mtp_entry": "head", "mtp_head": "head"}
_MODULES = {"norm": "norms", "mlp": "mlp", "moe": "experts", "router": "router"}


def part_of(kind: str, step: Step) -> str:
    """Return the part of the model that the weights of a step are, of `FROZEN_PARTS`.

    kind : of the unit that the step is in.
    """
    if kind in _ENDS:
        return _ENDS[kind]
    return "experts" if step.expert else _MODULES.get(step.module, "attention")


def learning_steps(
    local: Local, kind: str, steps: Sequence[Step], trained: Trained, layer: int | None
) -> tuple[Step, ...]:
    """Return the steps of a unit as they are where only a part learns; layer : its number."""
    if trained.whole:
        return tuple(steps)
    found = []
    for step in steps:
        part = part_of(kind, step)
        if trained.learns(part, layer):
            found.append(step)
            continue
        work = step.work._replace(weight=())
        frozen = replace(step, work=work, frozen=True)
        has_adapter = part in trained.targets and step.parameters and kind == "layer"
        if not has_adapter:
            found.append(frozen)
            continue
        found += [_adapted(local, frozen, trained.lora), *_traffic(local, frozen, trained.lora)]
    return tuple(found)


def _traffic(local: Local, step: Step, rank: int) -> list[Step]:
    """Return what tensor parallelism exchanges for the adapter of a linear layer.

    Both halves are cut over tp. Beside columns the narrow product is gathered; beside rows it is
    summed, and the wide product goes to the sequence's parts (all-to-all; without sequence
    parallelism it is gathered). The gradient of the narrow product is summed. Source:
    NVIDIA-NeMo/Megatron-Bridge, peft/utils.py, ParallelLinearAdapter, with `a2a_experimental` as
    NVIDIA's submissions of Llama 2 70B LoRA to MLPerf Training set it.
    """
    if local.plan.tp == 1 or step.comm is None or step.comm.axis != "tp":
        return []
    narrow = local.tokens * rank * ELEMENT
    name, wide = f"lora_{step.name}", local.tokens * local.model.hidden * ELEMENT
    summed = Comm(name=name, axis="tp", forward=None, backward="all-reduce", bytes=narrow)
    if step.kind == "column":
        return [Step(name=name, comm=summed._replace(forward="all-gather"))]
    moved = Comm.mirrored(name, "tp", "all-to-all", wide / local.plan.tp)
    if not local.plan.sequence_parallel:
        moved = summed._replace(forward="all-gather", backward=None, bytes=wide)
    return [
        Step(name=name, comm=summed._replace(forward="all-reduce")),
        Step(name=name, comm=moved),
    ]


def _adapted(local: Local, step: Step, rank: int) -> Step:
    """Return a step whose matrix products have an adapter of that rank beside them.

    Of a linear layer that is cut over tp one rank has its part of both halves of the adapter.
    """
    cut = local.plan.tp if step.comm is not None and step.comm.axis == "tp" else 1
    forward, backward, weight = list(step.work.forward), list(step.work.backward), []
    count, saved = 0.0, 0.0
    for kernel in step.work.forward:
        if kernel.family not in PRODUCTS:
            continue
        m, n, k, batch = kernel.shape
        groups = batch if kernel.family == "grouped_gemm" else 0
        inner, outer = (rank / cut, n) if step.kind == "column" else (rank, n / cut)
        down = linear(local, "lora_down", (m, inner, k), groups=groups, wide=True)
        up = linear(local, "lora_up", (m, outer, rank), groups=groups, wide=True)
        out, into = m * n * ELEMENT, m * k * ELEMENT
        forward += [*down.forward, *up.forward, elementwise("lora_add", 2 * out, out)]
        backward += [*up.backward, *down.backward, elementwise("lora_add", 2 * into, into)]
        weight += [*up.weight, *down.weight]
        count += (rank * outer + inner * k) * max(1, groups)
        saved += m * rank * ELEMENT
    return replace(
        step,
        work=Work(tuple(forward), tuple(backward), tuple(weight)),
        adapters=count,
        saved_bytes=step.saved_bytes + saved,
    )
