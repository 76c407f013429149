"""Published runs: from a row of a table to the jobs that it may have been.

In:  a row with the columns of a validation file (empty cells: not stated).
Out: candidate jobs; one where the row says it all, several where the plan was left open.
Left out: predicting them (`validation`).

What a row leaves out is filled in by rules that are the same for every row: sharding, overlap,
dispatcher, offload are habits of the software at its date (`rackmodel.software`); recompute is the
least that fits (left to `least_recompute`); the plan is every combination of tp, pp, cp and
micro-batch that divides and fits, of which the fastest counts. A stack that no table knows is
unknown software of the date in its name.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rackmodel import gate
from rackmodel.errors import CannotRun, DoesNotFit, InvalidInput
from rackmodel.software import Software, software_of, stack_or_unknown

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
    hbm_bytes, job = part.hbm_bytes, job.on(part.fp8_either_orientation)
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
    return gate.whole(value, f"column {key!r}", most=10**12)


def _needed(row: Mapping[str, Any], key: str) -> int:
    value = _whole(row, key)
    if value is None:
        raise InvalidInput(f"column {key!r} is empty; a run can't be predicted without it: give it")
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

    stated = _text(row, "stack") or "default"
    stack = stack_or_unknown(stated)
    software = software_of(stack)
    gpus, seq_len, batch = (_needed(row, key) for key in ("gpus", "seq_len", "global_batch"))
    model = _model(row)
    filled = tuple(
        key
        for key in ("micro_batch", "tp", "pp", "cp", "sharding", "recompute", "precision")
        if not _text(row, key)
    ) + (("stack",) if stack != stated else ())
    precision = _text(row, "precision") or "bf16"
    shared = {
        "model": model,
        "seq_len": seq_len,
        "global_batch": batch,
        "precision": precision,
        "stack": stack,
        "token_routing": _text(row, "routing") or "dropless-balanced",
    }
    plans = _plans(row, software, model, gpus, batch, domain, family)
    if not plans:
        raise CannotRun(
            f"no tp x pp x cp x dp of {gpus} accelerators divides a batch of {batch}; give others"
        )
    return Run(
        topology=_text(row, "topology"),
        jobs=tuple(Job(plan=plan, **shared) for plan in plans),
        open_recompute="recompute" in filled,
        offload=_offload(software, plans[0], host_link),
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
    elif mtp and mtp != "unstated":
        cells["mtp_layers"] = gate.whole(mtp, "column 'mtp'", least=0)
    elif re.search(r"w/ MTP|with MTP", words):
        cells["mtp_layers"] = 1
    else:
        cells.pop("mtp_layers", None)
    return model_from_columns(cells)


def _plans(
    row: Mapping[str, Any],
    software: Software,
    model: Any,
    gpus: int,
    batch: int,
    domain: int,
    family: str,
) -> list[Plan]:
    """Return the plans that the row allows, the usual ones first."""
    from rackmodel.workload import Plan

    fixed = {key: _whole(row, key) for key in ("tp", "pp", "vpp", "cp", "ep", "etp", "dp")}
    micro = _whole(row, "micro_batch")
    sharding = _text(row, "sharding") or _default_sharding(software, gpus > domain)
    recompute = _text(row, "recompute") or "none"
    modules = _modules(_text(row, "notes")) if recompute == "selective" else ()
    schedule = _text(row, "schedule")
    layers = model.layers
    depths = [fixed["pp"]] if fixed["pp"] else _divisors(layers, 64) if software.pipelines else [1]
    plans: list[Plan] = []
    for tp in _choices(fixed["tp"], model.heads, min(domain, 16) if domain > 1 else 16):
        for pp in depths:
            for cp in [fixed["cp"]] if fixed["cp"] else [1] if tp * pp <= gpus else []:
                dp = fixed["dp"] or gpus // (tp * pp * cp)
                if dp < 1 or tp * pp * cp * dp != gpus or batch % dp:
                    continue
                experts = model.experts if software.expert_groups else 0
                ep = fixed["ep"] or _default_ep(experts, gpus // pp, domain)
                dispatcher = _dispatcher(row, software, ep, family)
                open_sizes = _micro_batches(batch // dp, pp, software)
                for size, tp_overlap in itertools.product(
                    [micro] if micro else open_sizes, _tp_overlaps(row, software, tp)
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
                        sequence_parallel=software.sequence_parallel,
                        tp_overlap=tp_overlap,
                        ep_overlap=_flag(
                            row, "ep_overlap", _overlaps_ep(software, ep, domain, fixed["vpp"] or 1)
                        ),
                        dp_overlap=_flag(row, "dp_overlap", software.dp_overlap),
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


def _micro_batches(share: int, pp: int, software: Software) -> list[int]:
    """Micro-batches to try: the whole share of a replica at once where there is no pipeline."""
    if not software.accumulates:
        return [share]
    if software.batch_a_stage and pp > 1 and share % pp == 0:
        return [share // pp]
    sizes = [d for d in _divisors(share, 128) if d & (d - 1) == 0 or d == share]
    if software.pipelines and pp > 1:
        sizes = [d for d in sizes if share // d >= 2 * pp] or sizes[:1]
    return sizes[-4:]


def _default_ep(experts: int, ranks: int, domain: int) -> int:
    """Experts over the largest group inside the scale-up domain that divides both."""
    if not experts:
        return 1
    most = min(max(domain, 1), ranks, experts)
    return max(e for e in range(1, most + 1) if experts % e == 0 and ranks % e == 0)


def _default_sharding(software: Software, several_domains: bool) -> str:
    return "hsdp" if several_domains and software.sharded_in_domains else software.sharding


def _shard_size(row: Mapping[str, Any], sharding: str, inside: int, ranks: int) -> int:
    """Return the ranks that share one copy under hsdp: stated, or those of one domain."""
    if sharding != "hsdp":
        return 0
    stated = _whole(row, "shard_size")
    if stated:
        return stated
    return max(d for d in range(1, max(1, min(inside, ranks)) + 1) if ranks % d == 0)


def _tp_overlaps(row: Mapping[str, Any], software: Software, tp: int) -> list[bool]:
    """Return whether tp collectives run under the pieces of a product; both where left open."""
    if tp == 1 or not is_empty(row.get("tp_overlap")):
        return [_flag(row, "tp_overlap", False)]
    return {"no": [False], "yes": [True], "faster": [True, False]}[software.tp_overlap]


def _overlaps_ep(software: Software, ep: int, domain: int, vpp: int) -> bool:
    """Return whether an all-to-all runs under another micro-batch's pass (they interleave)."""
    habits = ("yes", "between domains") if ep > domain else ("yes",)
    return ep > 1 and vpp > 1 and software.ep_overlap in habits


def _dispatcher(row: Mapping[str, Any], software: Software, ep: int, family: str) -> str:
    """Return the token dispatcher: as notes say, or that of the software."""
    if ep == 1:
        return "all-to-all"
    if re.search(r"deepep|hybridep", _text(row, "notes"), re.IGNORECASE):
        return "deepep"
    return "deepep" if family in software.fused_dispatch else "all-to-all"


def _offload(software: Software, plan: Plan, host_link: str) -> str:
    """Return whether activations go to host memory before recompute, after it, or never."""
    shared_memory = plan.sharded_parameters and "c2c" in host_link
    return software.offload if software.offload == "last" or shared_memory else "no"


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
    raise InvalidInput(f"column {key!r} must be 0 or 1, found {gate.shown(value)}")


def _modules(notes: str) -> tuple[str, ...]:
    """Read "recompute modules: norm, act" out of notes."""
    found = re.search(r"recompute modules: ([a-z_, ]+)", notes)
    if not found:
        return ()
    known = {"norm", "act", "mlp", "moe", "moe_act", "mla_up_proj", "core_attn", "layernorm"}
    words = [w.strip() for w in found.group(1).split(",")]
    names = {"layernorm": "norm"}
    return tuple(dict.fromkeys(names.get(w, w) for w in words if w in known))
