"""Published runs: from a row of a table to the jobs that it may have been.

In:  a row with the columns of a validation file (empty cells: not stated).
Out: candidate jobs; one where the row says it all, several where the plan was left open.
Left out: predicting them (`validation`).

What a row leaves out is filled in by rules that are the same for every row: sharding, overlap,
dispatcher, offload are habits of the software at its date (`rackmodel.software`); recompute is the
least that fits (left to `least_recompute`); the plan is every combination of tp, pp, cp and
micro-batch that divides and fits, of which the fastest counts. A stack that no table knows is
unknown software of the date in its name, else of the years after its accelerator came out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rackmodel import gate
from rackmodel.errors import CannotRun, DoesNotFit, InvalidInput
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.software import Software, software_of, stack_or_unknown
from rackmodel.topology import Topology
from rackmodel.validation.cells import flag, needed, text, whole
from rackmodel.validation.open_plans import OpenPlan, sharding_open
from rackmodel.validation.recipes import recipe_of
from rackmodel.workload import Job, Model, Plan

# A plan that was stated did run: of software that nobody knows, need above capacity by less than
# estimates are off by on families that are left out is no reason for recompute.
MEMORY_ERROR_UNKNOWN = 0.15
SCRIPTS = ("stack", "model", "topology", "precision", "tp")  # what a script is for
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

    What the recipes of the software do, where they all do the same. A stated recompute is kept;
    where it is one by layers and does not say of how many, it is of half or more. Where several
    plans were possible one that does not fit is out; a plan that was stated did fit, so that it
    gets selective recompute whatever the estimate says (JAX: full recompute with its inputs in host
    memory). A whole copy that no domain has room for is sharded over the fewest that have.

    Raises
    ------
    DoesNotFit
        If a candidate among several does not fit.
    """
    from rackmodel.workload import fits, least_recompute, more_layers, settled

    if not run.open_recompute:
        return more_layers(job, part.hbm_bytes) if job.plan.recompute_layers else job
    hbm_bytes = part.hbm_bytes
    job = settled(job, part)
    if habit := software_of(job.stack).recompute:
        return job.replace(recompute=habit)
    if len(run.jobs) == 1 and not software_of(job.stack).known:
        hbm_bytes *= 1.0 + MEMORY_ERROR_UNKNOWN
    if run.offload == "first" and not fits(job, hbm_bytes):
        job = job.replace(offload=("activations",))
    try:
        return least_recompute(job, hbm_bytes)
    except DoesNotFit:
        if job.plan.sharding == "hsdp" and "sharding" in run.filled:
            return filled_in(run, _over_more(job), part)
        if run.offload == "last":
            return job.replace(offload=("activations",), recompute="full")
        if len(run.jobs) > 1:
            raise
        return job.replace(recompute="selective")


def _over_more(job: Job) -> Job:
    """Return a job whose copies of the weights are shared by the next larger number of ranks."""
    ranks, size = job.plan.dp_cp, job.plan.shard_size
    wider = next(s for s in range(2 * size, ranks + 1, size) if not ranks % s)
    if wider == ranks:
        return job.replace(sharding="zero3", shard_size=0)
    return job.replace(shard_size=wider)


def read_run(
    row: Mapping[str, Any],
    domain: int,
    family: str = "",
    host_link: str = "",
    year: int | None = None,
) -> Run:
    """Return the jobs that a row may have been.

    Parameters
    ----------
    row : cells by column name.
    domain, family, host_link, year : accelerators of a scale-up domain of its machine, their
        family, what joins them to their hosts ("c2c": one memory) and since when there are any.

    Raises
    ------
    InvalidInput
        If a cell is not what its column has to be.
    CannotRun
        If no plan divides the model, the batch and the machine.
    """
    from rackmodel.workload import Job

    script = recipe_of({name: text(row, name) for name in SCRIPTS}, 0)
    corrected = script.pop("corrected", {})
    row = {**script, **{name: row[name] for name in row if text(row, name)}, **corrected}
    stated = text(row, "stack") or "default"
    sharded = text(row, "sharding") in ("zero2", "zero3", "hsdp")
    stack = stack_or_unknown(stated, family=family, year=year, sharded=sharded)
    software = software_of(stack)
    gpus, seq_len, batch = (needed(row, key) for key in ("gpus", "seq_len", "global_batch"))
    model = _model(row, software)
    filled = tuple(
        key
        for key in ("micro_batch", "tp", "pp", "cp", "sharding", "recompute", "precision", "vpp")
        if (sharding_open(row) if key == "sharding" else not text(row, key))
        and (key != "vpp" or "vpp" in text(row, "unstated").split())
    ) + (("stack",) if stack != stated else ())
    precision = text(row, "precision") or "bf16"
    shared = {
        "model": model,
        "seq_len": seq_len,
        "global_batch": batch,
        "precision": precision,
        "stack": stack,
        "token_routing": text(row, "routing") or "dropless-balanced",
        "capacity_factor": _capacity(row),
        "attention": text(row, "attention"),
    }
    plans = OpenPlan(
        row=row,
        software=software,
        model=model,
        gpus=gpus,
        batch=batch,
        domain=domain,
    ).plans()
    if not plans:
        raise CannotRun(
            f"no tp x pp x cp x dp of {gpus} accelerators divides a batch of {batch}; give others"
        )
    return Run(
        topology=text(row, "topology"),
        jobs=tuple(
            Job(plan=plan, cuda_graphs=_graphs(row, model, plan), **shared) for plan in plans
        ),
        open_recompute="recompute" in filled,
        offload=_offload(software, plans[0], host_link),
        filled=filled,
    )


def machine_of(row: Mapping[str, Any], catalog: Catalog | None = None) -> Topology:
    """Return the machine of a row: a shipped one, with NICs of another rate where the row says so.

    Column `nic_gbps` is the rate of one NIC; notes may name "4 x 100 Gb" a node for the nearest
    shipped machine.
    """
    from rackmodel.topology import load_topology
    from rackmodel.topology.names import changed

    machine = load_topology(text(row, "topology"), catalog=catalog)
    rate = whole(row, "nic_gbps")
    found = re.search(r"(\d+) x (\d+) Gb\b[^:;]*: nearest shipped machine", text(row, "notes"))
    if found and not rate and machine.nics is not None:
        rate = int(found.group(1)) * int(found.group(2)) // machine.nics.per_host
    if not rate:
        return machine
    return changed(machine, {"nics.link_bytes_per_s": f"{rate} Gb/s"}, catalog)


def _model(row: Mapping[str, Any], software: Software) -> Any:
    """Return the model of a row: its columns, and what notes say of latent attention and MTP.

    A row that calls MTP unstated is of a model that has it: trained where recipes train it.
    """
    from rackmodel.workload.catalog import model_from_columns

    notes = text(row, "notes")
    cells = dict(row)
    found = re.search(r"q_lora (\d+), kv_lora (\d+), qk (\d+)\+(\d+), v (\d+)", notes)
    if found:
        cells |= dict(zip(LATENT, map(int, found.groups()), strict=True))
    elif re.search(r"\bMLA\b", notes):
        cells |= LATENT
    words = f"{text(row, 'model')} {notes}"
    mtp = text(row, "mtp")
    if re.search(r"w/o MTP", words):
        cells["mtp_layers"] = 0
    elif mtp and mtp != "unstated":
        cells["mtp_layers"] = gate.whole(mtp, "column 'mtp'", least=0)
    elif re.search(r"w/ MTP|with MTP", words) or (mtp and software.recipes_mtp):
        cells["mtp_layers"] = 1
    else:
        cells.pop("mtp_layers", None)
    model = model_from_columns(cells)
    return replace(model, dropout=True) if software.drops and not model.gated_ffn else model


def _graphs(row: Mapping[str, Any], model: Model, plan: Plan) -> bool | None:
    """Return whether launches are captured: as stated; None: as the software does.

    Recipes capture whole iterations of mixtures without a pipeline or with an interleaved one;
    where each stage has one chunk (Megatron-Bridge's of DGX B300, pp 8) they capture attention and
    router only, and the host launches each expert's products.
    """
    if text(row, "cuda_graphs"):
        return flag(row, "cuda_graphs", False)
    return False if model.experts and plan.pp > 1 and plan.vpp == 1 else None


def _capacity(row: Mapping[str, Any]) -> float:
    """Return slots per expert over the balanced load: a column, else what notes say, else 1."""
    told = text(row, "capacity_factor")
    found = re.search(r"capacity factor (?:of )?(\d+(?:\.\d+)?)", text(row, "notes"))
    try:
        factor = float(told or (found.group(1) if found else 1.0))
    except ValueError:
        factor = 0.0
    if not 0.0 < factor <= 100.0:
        raise InvalidInput(f"column 'capacity_factor' must be a number above 0, found {told!r}")
    return factor if text(row, "routing") == "drop" else 1.0


def _offload(software: Software, plan: Plan, host_link: str) -> str:
    """Return whether activations go to host memory before recompute, after it, or never."""
    shared_memory = plan.sharded_parameters and "c2c" in host_link
    return software.offload if software.offload == "last" or shared_memory else "no"
