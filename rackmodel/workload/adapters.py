"""Steps of layers of which not all learns: without gradients of frozen weights, with adapters.

In:  steps as `layers` and `ends` make them, what of the model learns.
Out: the same steps with `frozen` and `adapters`, and kernels to match.
Left out: where gradients stop, which `stages` knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rackmodel.workload.kernels import ELEMENT, Local, Work, elementwise, linear
from rackmodel.workload.steps import Step
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
        work = replace(step.work, weight=())
        frozen = replace(step, work=work, frozen=True)
        has_adapter = part in trained.targets and step.parameters and kind == "layer"
        found.append(_adapted(local, frozen, trained.lora) if has_adapter else frozen)
    return tuple(found)


def _adapted(local: Local, step: Step, rank: int) -> Step:
    """Return a step whose matrix products have an adapter of that rank beside them."""
    forward, backward, weight = list(step.work.forward), list(step.work.backward), []
    count, saved = 0.0, 0.0
    for kernel in step.work.forward:
        if kernel.family not in ("gemm", "grouped_gemm"):
            continue
        m, n, k, batch = kernel.shape
        groups = batch if kernel.family == "grouped_gemm" else 0
        down = linear(local, "lora_down", (m, rank, k), groups=groups, wide=True)
        up = linear(local, "lora_up", (m, n, rank), groups=groups, wide=True)
        out, into = m * n * ELEMENT, m * k * ELEMENT
        forward += [*down.forward, *up.forward, elementwise("lora_add", 2 * out, out)]
        backward += [*up.backward, *down.backward, elementwise("lora_add", 2 * into, into)]
        weight += [*up.weight, *down.weight]
        count += rank * (n + k) * max(1, groups)
        saved += m * rank * ELEMENT
    return replace(
        step,
        work=Work(tuple(forward), tuple(backward), tuple(weight)),
        adapters=count,
        saved_bytes=step.saved_bytes + saved,
    )
