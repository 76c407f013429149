"""A serving job on a loaded machine, from plan to result.

In:  a topology, a job whose plan is complete.
Out: `ServingResult`.
Left out: the search for a plan (`plans`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from rackmodel import hardware
from rackmodel.assess.run import check_named
from rackmodel.assess.site import Site
from rackmodel.engine.options import EngineOptions
from rackmodel.errors import CannotRun, DoesNotFit, UnknownName
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.kernels.serving_time import ServingTimes, of_software, serving_constants
from rackmodel.serving.cache_moves import CacheMoves
from rackmodel.serving.habits import Habits
from rackmodel.serving.outcome import ServingResult
from rackmodel.serving.site import assess_serving
from rackmodel.serving.steady import Rounds, Steady, steady_state
from rackmodel.serving.steps import Steps, host_of
from rackmodel.topology import Topology
from rackmodel.workload.serving.formats import weight_format
from rackmodel.workload.serving.job import ServingJob, Worker, check_serving
from rackmodel.workload.serving.load import Load
from rackmodel.workload.serving.memory import (
    WORKSPACE_BYTES,
    host_bytes,
    most_sequences,
    sequence_bytes,
    weight_bytes,
)


def steps_of(
    machine: Topology,
    catalog: Catalog | None = None,
    options: EngineOptions | None = None,
    *,
    graphs: bool = True,
) -> Steps:
    """Return the steps of a machine; kept by whoever asks for many of them."""
    check_named(machine)
    part = hardware.accelerator(machine.accelerator, catalog or hardware.load_catalog())
    return Steps(machine, ServingTimes(part, graphs=graphs), options or EngineOptions())


def habits_of(stack: str, constants: Mapping[str, Any] | None = None) -> Habits:
    """Return what a serving software does between steps; `stack` may name a release too."""
    return Habits(**of_software((constants or serving_constants())["software"], stack))


def check_stack(stack: str) -> None:
    """Refuse a software that there is no table for.

    Raises
    ------
    UnknownName
    """
    known = serving_constants()["software"]
    if not any(name in stack for name in known):
        raise UnknownName.among("serving software", stack, known)


def fitting(job: ServingJob, worker: Worker, part: Accelerator, tokens: float) -> int:
    """Return how many sequences of so many tokens a worker holds.

    Raises
    ------
    DoesNotFit
        If its weights do not fit.
    """
    most = most_sequences(job, worker, part.hbm_bytes, tokens)
    if most < 0:
        raise DoesNotFit(
            f"weights of {job.model.name} in {job.weights} take"
            f" {weight_bytes(job, worker) / 1e9:.0f} GB of each rank; {part.name} has"
            f" {part.hbm_bytes / 1e9:.0f} GB. Try a larger tp, ep or pp, a narrower format, or"
            " weights_offload: what is in host memory is copied in for every step"
        )
    return most


def running(job: ServingJob, part: Accelerator) -> int:
    """Return how many sequences a worker runs at once, at most.

    Software that reserves KV blocks for whole answers holds fewer than such that gives blocks out
    as tokens come: there contexts are of all lengths, half of the answer on average.

    Raises
    ------
    DoesNotFit
        If its weights do not fit.
    """
    habits = habits_of(job.stack)
    tokens = job.isl + job.osl if habits.reserves else job.context
    ranks = job.worker.tp if job.worker.dp_attention else 1
    limit = job.max_sequences or habits.sequences
    return min(fitting(job, job.worker, part, tokens), limit * ranks)


def check_host_memory(job: ServingJob, worker: Worker, machine: Topology) -> None:
    """Refuse weights that host memory does not hold.

    Raises
    ------
    DoesNotFit
    """
    away = host_bytes(job, worker)
    if not away:
        return
    host = host_of(machine)
    room = host.memory_bytes / host.accelerators
    if away > room:
        raise DoesNotFit(
            f"weights_offload {worker.weights_offload:g} puts {away / 1e9:.0f} GB of each rank into"
            f" host memory; {machine.name} has {room / 1e9:.0f} GB an accelerator. Try a lower"
            " share, or a larger tp or ep"
        )


def check_users(job: ServingJob, steps: Steps) -> int:
    """Return the users whose answers fit into the KV cache of all workers.

    Raises
    ------
    DoesNotFit
        If weights do not fit, or fewer users than there are, with the number that fits.
    """
    part = steps.part
    for worker in (job.worker, job.prefill):
        if worker is not None:
            check_host_memory(job, worker, steps.machine)
    if job.prefill is not None:
        fitting(job, job.prefill, part, job.isl)
    most = fitting(job, job.worker, part, job.isl + job.osl) * job.workers
    if most < 1:
        raise DoesNotFit(
            f"not one user of {job.isl + job.osl:,} tokens fits beside the weights of"
            f" {job.model.name}; try a larger tp or a narrower kv format"
        )
    if job.users > most:
        raise DoesNotFit(
            f"{job.users:,} users of {job.isl + job.osl:,} tokens do not fit into the KV cache of"
            f" {job.decode_gpus} accelerators; {most:,} do",
            users=most,
        )
    return most


def check_formats(job: ServingJob, part: Accelerator) -> None:
    """Refuse arithmetic that a part has in no form."""
    form = weight_format(job.weights)
    if form.experts.arithmetic == "int8" and "int8" not in part.flops_per_s:
        raise CannotRun(f"{part.name} has no int8 arithmetic; try another format of weights")


def settle(job: ServingJob, steps: Steps, most: float, rounds: Rounds | None = None) -> Steady:
    """Return the steady state of a job whose plan is complete; see `steady_state`."""

    def step_s(worker: Worker, gpus: int, load: Load) -> float:
        return steps.seconds(job, worker, gpus, load)

    transfers = None if job.prefill is None else CacheMoves(job, steps)
    habits = habits_of(job.stack)
    return steady_state(job, step_s, habits, most=most, transfers=transfers, rounds=rounds)


def serve_job(
    machine: Topology,
    job: ServingJob,
    *,
    catalog: Catalog | None = None,
    site: Site | None = None,
    options: EngineOptions | None = None,
    steps: Steps | None = None,
) -> ServingResult:
    """Serve a job whose plan is complete.

    Raises
    ------
    InvalidInput, InvalidPlan, DoesNotFit, CannotRun
        If it can't be served on this machine, with the reason.
    """
    check_serving(job)
    parts = catalog or hardware.load_catalog()
    steps = steps or steps_of(machine, parts, options, graphs=job.cuda_graphs)
    part = steps.part
    machine.units(job.gpus)
    check_formats(job, part)
    most = check_users(job, steps)
    state = settle(job, steps, min(running(job, part), most / job.workers))
    prefill, prefill_gpus = (
        (job.worker, job.gpus) if job.prefill is None else (job.prefill, job.prefill_gpus)
    )
    resident = max(1.0, state.sequences / (job.worker.tp if job.worker.dp_attention else 1))
    return ServingResult(
        job=job,
        topology=machine.name,
        accelerator=part,
        steady=state,
        decode=steps.step(job, job.worker, job.decode_gpus, state.decode, job.worker.pp),
        prompt=steps.step(job, prefill, prefill_gpus, state.prompt, prefill.pp),
        kernels=steps.kernels,
        hbm={
            "weights": weight_bytes(job, job.worker),
            "kv": resident * sequence_bytes(job, job.worker, job.context),
            "workspace": WORKSPACE_BYTES,
        },
        users_most=most,
        host_s=habits_of(job.stack).host_s,
        copied_s=steps.copied_s(job, job.worker),
        prompt_copied_s=steps.copied_s(job, prefill),
        band=band_of(job, part),
        catalog=parts,
        assess=partial(assess_serving, machine=machine, catalog=parts, site=site or Site()),
    )


def band_of(job: ServingJob, part: Accelerator) -> tuple[float, float]:
    """Return the factors between which the time per token of about 80% of real runs lies."""
    table = serving_constants()["band"]
    width = float(table["experts" if job.model.experts else "dense"])
    if not any(name in job.stack for name in serving_constants()["software"]):
        width = (width**2 + float(table["unknown_stack"]) ** 2) ** 0.5
    if part.family not in serving_constants()["gemm"]:
        width = (width**2 + float(table["unknown_family"]) ** 2) ** 0.5
    return 1.0 / (1.0 + width), 1.0 + width
