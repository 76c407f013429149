"""Published runs: from a row of a table to the jobs that it may have been.

In:  a row with the columns of a validation file (empty cells: not stated).
Out: candidate jobs; one where the row says it all, several where the plan was left open.
Left out: predicting them (`validation`).

What a row leaves out is filled in by these rules, the same for every row:

- sharding: as the software does (zero1 in Megatron since 2022, none before; zero3 in FSDP; zero3
  in JAX inside a slice, replicas between slices).
- recompute: the least that fits in HBM (left to `least_recompute`).
- sequence parallelism with tp: since mid 2022.
- overlap: tp in Megatron since 2023, in JAX where it is faster; dp in all software since 2022; ep
  in interleaved Megatron schedules (the only ones that can: docs.nvidia.com/megatron-core, combined
  1F1B) where ep leaves the scale-up domain, since mid 2026 inside it too.
- dispatcher: DeepEP where notes name it, and in Megatron on Blackwell since late 2025.
- Megatron FSDP on hosts that share the accelerator's memory keeps activations there before it
  recomputes (`cpu_offloading`).
- plan: every combination of tp, pp, cp and micro-batch that divides and fits; the fastest counts.
  JAX accumulates no gradients unless told, and keeps the inputs of recomputed layers in host
  memory where nothing else fits (MaxText's `decoder_layer_input: offload`).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rackmodel.errors import CannotRun, DoesNotFit, InvalidInput
from rackmodel.software.stacks import Era, read_stack

if TYPE_CHECKING:
    from rackmodel.hardware import Accelerator
    from rackmodel.workload import Job, Plan

MOST_CANDIDATES = 10
LATENT = {"q_lora": 1536, "kv_lora": 512, "qk_nope": 128, "qk_rope": 64, "v_dim": 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A row, read.

    Where it ran and the jobs that it may have been (recompute may be open still).
    """

    topology: str
    jobs: tuple[Job, ...]
    open_recompute: bool
    offload: str  # activations to host memory: "first" (before recompute), "last", "no"
    filled: tuple[str, ...]  # columns that a rule filled in


def filled_in(run: Run, job: Job, part: Accelerator) -> Job:
    """Return a candidate with its recompute filled in: the least that fits.

    A stated recompute is kept. Where several plans were possible one that does not fit is out; a
    plan that was stated did fit, so that it gets selective recompute whatever the estimate says
    (JAX: full recompute with its inputs in host memory).

    Raises
    ------
    DoesNotFit
        If a candidate among several does not fit.
    """
    from rackmodel.workload import fits, least_recompute

    if not run.open_recompute:
        return job
    hbm_bytes, job = part.hbm_bytes, job.on(part.family)
    if run.offload == "first" and not fits(job, hbm_bytes):
        job = job.replace(offload=("activations",))
    try:
        return least_recompute(job, hbm_bytes)
    except DoesNotFit:
        if run.offload == "last":
            return job.replace(offload=("activations",), recompute="full")
        if len(run.jobs) > 1:
            raise
        return job.replace(recompute="selective")


def is_empty(value: object) -> bool:
    """Return whether a cell says nothing."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _whole(row: Mapping[str, Any], key: str) -> int | None:
    """Return a cell as a positive whole number, None where it is empty."""
    value = row.get(key)
    if is_empty(value):
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number != int(number) or not 0 < number < 1e12:
        raise InvalidInput(f"column {key!r} must be a positive whole number, found {value!r}")
    return int(number)


def _needed(row: Mapping[str, Any], key: str) -> int:
    value = _whole(row, key)
    if value is None:
        raise InvalidInput(f"column {key!r} is empty; a run can't be predicted without it")
    return value


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return "" if is_empty(value) else str(value).strip()


def read_run(row: Mapping[str, Any], domain: int, family: str = "", host_link: str = "") -> Run:
    """Return the jobs that a row may have been.

    Parameters
    ----------
    row : cells by column name.
    domain, family, host_link : accelerators of a scale-up domain of its machine, their family and
        what joins them to their hosts ("c2c": one memory).

    Raises
    ------
    InvalidInput
        If a cell is not what its column has to be.
    CannotRun
        If no plan divides the model, the batch and the machine.
    """
    from rackmodel.workload import Job

    stack = _text(row, "stack") or "default"
    era = read_stack(stack)
    gpus, seq_len, batch = (_needed(row, key) for key in ("gpus", "seq_len", "global_batch"))
    model = _model(row)
    filled = tuple(
        key
        for key in ("micro_batch", "tp", "pp", "cp", "sharding", "recompute", "precision")
        if not _text(row, key)
    )
    precision = _text(row, "precision") or "bf16"
    shared = {
        "model": model,
        "seq_len": seq_len,
        "global_batch": batch,
        "precision": precision,
        "stack": stack,
        "routing": _text(row, "routing") or "dropless-balanced",
    }
    blackwell = family in ("nvidia-blackwell", "nvidia-rubin")
    plans = _plans(row, era, model, gpus, batch, domain, blackwell)
    if not plans:
        raise CannotRun(f"no tp x pp x cp x dp of {gpus} accelerators divides a batch of {batch}")
    return Run(
        topology=_text(row, "topology"),
        jobs=tuple(Job(plan=plan, **shared) for plan in plans),
        open_recompute="recompute" in filled,
        offload=(
            "last"
            if era.family == "jax"
            else "first"
            if plans[0].sharded_parameters and era.family == "megatron" and "c2c" in host_link
            else "no"
        ),
        filled=filled,
    )


def _model(row: Mapping[str, Any]) -> Any:
    """Return the model of a row: its columns, and what notes say of latent attention and MTP."""
    from rackmodel.workload.catalog import model_from_columns

    notes = _text(row, "notes")
    cells = dict(row)
    found = re.search(r"q_lora (\d+), kv_lora (\d+), qk (\d+)\+(\d+), v (\d+)", notes)
    if found:
        cells |= dict(zip(LATENT, map(int, found.groups()), strict=True))
    elif re.search(r"\bMLA\b", notes):
        cells |= LATENT
    words = f"{_text(row, 'model')} {notes}"
    mtp = _text(row, "mtp")
    if re.search(r"w/o MTP", words):
        cells["mtp_layers"] = 0
    elif mtp.replace(".0", "").isdigit():
        cells["mtp_layers"] = int(float(mtp))
    elif re.search(r"w/ MTP|with MTP", words):
        cells["mtp_layers"] = 1
    else:
        cells.pop("mtp_layers", None)
    return model_from_columns(cells)


def _plans(
    row: Mapping[str, Any],
    era: Era,
    model: Any,
    gpus: int,
    batch: int,
    domain: int,
    blackwell: bool,
) -> list[Plan]:
    """Return the plans that the row allows, the usual ones first."""
    from rackmodel.workload import Plan

    fixed = {key: _whole(row, key) for key in ("tp", "pp", "vpp", "cp", "ep", "etp", "dp")}
    micro = _whole(row, "micro_batch")
    sharding = _text(row, "sharding") or _default_sharding(era, gpus > domain)
    recompute = _text(row, "recompute") or "none"
    modules = _modules(_text(row, "notes")) if recompute == "selective" else ()
    schedule = _text(row, "schedule")
    layers = model.layers
    pipeline = era.family not in ("jax", "fsdp")
    plans: list[Plan] = []
    for tp in _choices(fixed["tp"], model.heads, min(domain, 16) if domain > 1 else 16):
        for pp in [fixed["pp"]] if fixed["pp"] else _divisors(layers, 64) if pipeline else [1]:
            for cp in [fixed["cp"]] if fixed["cp"] else [1] if tp * pp <= gpus else []:
                dp = fixed["dp"] or gpus // (tp * pp * cp)
                if dp < 1 or tp * pp * cp * dp != gpus or batch % dp:
                    continue
                # MaxText shards experts with all other weights unless told.
                open_ep = (
                    1 if era.family == "jax" else _default_ep(model.experts, gpus // pp, domain)
                )
                ep = fixed["ep"] or open_ep
                dispatcher = _dispatcher(row, era, ep, blackwell)
                share = batch // dp
                open_sizes = [share] if era.family == "jax" else _micro_batches(share, pp, era)
                for size, tp_overlap in itertools.product(
                    [micro] if micro else open_sizes, _tp_overlaps(row, era, tp)
                ):
                    plan = Plan(
                        tp=tp,
                        pp=pp,
                        vpp=fixed["vpp"] or 1,
                        cp=cp,
                        ep=ep,
                        etp=fixed["etp"] or 1,
                        dp=dp,
                        micro_batch=size,
                        sharding=sharding,
                        shard_size=_shard_size(row, sharding, domain // tp, dp * cp),
                        recompute=recompute,
                        recompute_modules=modules,
                        schedule=schedule,
                        # Korthikanti et al., May 2022; before it only weights were split over tp.
                        sequence_parallel=era.date >= 2022.4,
                        tp_overlap=tp_overlap,
                        ep_overlap=_flag(
                            row, "ep_overlap", _overlaps_ep(era, ep, domain, fixed["vpp"] or 1)
                        ),
                        dp_overlap=_flag(row, "dp_overlap", era.date >= 2021.9),
                        dispatcher=dispatcher,
                        dispatch_domain=_dispatch_domain(dispatcher, ep, fixed["etp"] or 1, domain),
                    )
                    plans.append(plan)
    return _likely(plans)


def _likely(plans: list[Plan]) -> list[Plan]:
    """Keep a workable number of open plans, the least cut-up first."""
    order = sorted(plans, key=lambda p: (p.tp * p.pp * p.cp, -p.micro_batch))
    if len(order) <= MOST_CANDIDATES:
        return order
    step = len(order) / MOST_CANDIDATES
    return [order[int(i * step)] for i in range(MOST_CANDIDATES)]


def _choices(fixed: int | None, heads: int, most: int) -> list[int]:
    return [fixed] if fixed else [t for t in (1, 2, 4, 8, 16) if t <= most and heads % t == 0]


def _divisors(number: int, most: int) -> list[int]:
    return [d for d in range(1, min(number, most) + 1) if number % d == 0]


def _micro_batches(share: int, pp: int, era: Era) -> list[int]:
    """Micro-batches to try: the whole share of a replica at once where there is no pipeline.

    PyTorch's pipelines cut the share into as many micro-batches as there are stages (torchtitan's
    pipeline_parallel_microbatches, where left out).
    """
    if era.family == "fsdp" and pp > 1 and share % pp == 0:
        return [share // pp]
    pipeline = era.family not in ("jax", "fsdp")
    sizes = [d for d in _divisors(share, 128) if d & (d - 1) == 0 or d == share]
    if pipeline and pp > 1:
        sizes = [d for d in sizes if share // d >= 2 * pp] or sizes[:1]
    return sizes[-4:]


def _default_ep(experts: int, ranks: int, domain: int) -> int:
    """Experts over the largest group inside the scale-up domain that divides both."""
    if not experts:
        return 1
    most = min(max(domain, 1), ranks, experts)
    return max(e for e in range(1, most + 1) if experts % e == 0 and ranks % e == 0)


def _default_sharding(era: Era, slices: bool) -> str:
    if era.family == "jax" and slices:
        return "hsdp"
    if era.family in ("fsdp", "jax"):
        return "zero3"
    return "zero1" if era.date >= 2022.0 else "none"


def _shard_size(row: Mapping[str, Any], sharding: str, inside: int, ranks: int) -> int:
    """Return the ranks that share one copy under hsdp: stated, or those of one domain."""
    if sharding != "hsdp":
        return 0
    stated = _whole(row, "shard_size")
    if stated:
        return stated
    return max(d for d in range(1, max(1, min(inside, ranks)) + 1) if ranks % d == 0)


def _tp_overlaps(row: Mapping[str, Any], era: Era, tp: int) -> list[bool]:
    """Return whether tp collectives run under the pieces of a product; both where left open.

    Megatron recipes do since 2023. XLA does where its cost model finds that the pieces, which read
    the weights once each, are faster than the collective and the product one after the other.
    """
    if tp == 1 or not is_empty(row.get("tp_overlap")):
        return [_flag(row, "tp_overlap", False)]
    if era.family == "jax":
        return [True, False]
    return [era.family.startswith("megatron") and era.date >= 2023.2]


def _overlaps_ep(era: Era, ep: int, domain: int, vpp: int) -> bool:
    """Megatron runs an all-to-all under another micro-batch's pass where passes interleave."""
    if ep == 1 or vpp == 1 or era.family != "megatron":
        return False
    return era.date >= (2025.6 if ep > domain else 2026.4)


def _dispatcher(row: Mapping[str, Any], era: Era, ep: int, blackwell: bool) -> str:
    """Return the token dispatcher: as notes say, or a fused one in Megatron on Blackwell."""
    if ep == 1:
        return "all-to-all"
    if re.search(r"deepep|hybridep", _text(row, "notes"), re.IGNORECASE):
        return "deepep"
    fused = era.family == "megatron" and era.date >= 2025.6 and blackwell
    return "deepep" if fused else "all-to-all"


def _dispatch_domain(dispatcher: str, ep: int, etp: int, domain: int) -> int:
    """Return the ranks of an ep group in one domain if DeepEP leaves it, else 1."""
    inside = max(1, domain // etp)
    leaves = dispatcher == "deepep" and ep > inside and ep % inside == 0
    return inside if leaves else 1


def _flag(row: Mapping[str, Any], key: str, default: bool) -> bool:
    value = row.get(key)
    if is_empty(value):
        return default
    text = str(value).strip().lower()
    if text in ("1", "1.0", "true", "yes"):
        return True
    if text in ("0", "0.0", "false", "no"):
        return False
    raise InvalidInput(f"column {key!r} must be 0 or 1, found {value!r}")


def _modules(notes: str) -> tuple[str, ...]:
    """Read "recompute modules: norm, act" out of notes."""
    found = re.search(r"recompute modules: ([a-z_, ]+)", notes)
    if not found:
        return ()
    known = {"norm", "act", "mlp", "moe", "moe_act", "mla_up_proj", "core_attn", "layernorm"}
    words = [w.strip() for w in found.group(1).split(",")]
    names = {"layernorm": "norm"}
    return tuple(dict.fromkeys(names.get(w, w) for w in words if w in known))
