"""What may run again in the backward pass, from the least work to the most.

In:  a job.
Out: jobs that differ in recompute only, each with the words that say so.
Left out: whether they fit (`memory`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rackmodel.software import software_of
from rackmodel.workload.job import Job
from rackmodel.workload.stages import chunks_of

# Before Korthikanti et al., May 2022, software ran all layers again, or none.
SELECTIVE = 2022.4


def choice(kind: str, modules: Sequence[str] = (), layers: int | None = None) -> dict[str, Any]:
    """Return the fields of a plan that say what runs again."""
    return {
        "recompute": kind,
        "recompute_modules": tuple(modules),
        "recompute_layers": layers,
    }


def _selective(modules: Sequence[str]) -> str:
    named = ", ".join(f'"{module}"' for module in modules)
    return f'recompute="selective", recompute_modules=[{named}]'


def recomputes(job: Job) -> Iterator[tuple[str, Job]]:
    """Recompute choices from the least work to the most: modules, then layers, then all.

    Modules come in the order in which published recipes take them: what is large and cheap first.
    Megatron-Bridge's recipes begin with mla_up_proj for every model that has it, else with norms
    and the experts' activations.
    """
    model, software = job.model, software_of(job.stack)
    if software.date < SELECTIVE:
        yield 'recompute="none"', job.replace(**choice("none"))
        yield 'recompute="full"', job.replace(**choice("full"))
        return
    useful = {
        "core_attn": not job.fused_attention,
        "mla_up_proj": model.mla is not None,
        "norm": True,
        "act": any(block.feed == "dense" for block in model.blocks),
        "moe_act": model.moe_layers > 0,
    }
    modules = [module for module, used in useful.items() if used]
    by_tensor = software.remat_by_tensor
    most = max(sum(u.is_layer for u in c.units) for rank in chunks_of(job) for c in rank)
    yield 'recompute="none"', job.replace(**choice("none"))
    for last in range(len(modules)):
        some = modules[: last + 1]
        yield _selective(some), job.replace(**choice("selective", some))
    if by_tensor:
        cheap = [module for module in modules if module != "core_attn"]
        rest = [feed for feed in ("mlp", "moe") if f"{feed}_act".replace("mlp_", "") in modules]
        for some in ([*cheap, *rest], [*cheap, *rest, "core_attn"]):
            yield _selective(some), job.replace(**choice("selective", some))
    for layers in () if by_tensor else sorted({max(1, most * q // 8) for q in range(1, 8)}):
        words = f'recompute="full", recompute_layers={layers}'
        yield words, job.replace(**choice("full", (), layers))
    yield 'recompute="full"', job.replace(**choice("full"))


def losses_in_parts(job: Job) -> Iterator[tuple[str, Job]]:
    """Recompute with a loss in parts: logits are there for an eighth of the tokens at a time.

    First by operations, torchtitan's "op" and what mixtures run with it: every second product of a
    layer is kept, none of experts; then of whole layers.
    """
    modules = ("alternate", "moe") if job.model.moe_layers else ("alternate",)
    by_operation = job.replace(**choice("selective", modules), loss_chunks=8)
    yield f"{_selective(modules)}, loss_chunks=8", by_operation
    yield 'recompute="full", loss_chunks=8', job.replace(**choice("full"), loss_chunks=8)
