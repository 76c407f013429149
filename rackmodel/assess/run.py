"""A complete job on a loaded machine: checked, simulated, with what its site makes of it.

In:  a topology, a job whose plan is complete, the site, the engine's options.
Out: `run` gives a `Result`; `kernels_s` a time that no step is quicker than.
Left out: words of users and plans that are still open (`rackmodel.api`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from rackmodel import hardware
from rackmodel.assess import coolant
from rackmodel.assess.chassis import chassis_of
from rackmodel.assess.kept_steps import once
from rackmodel.assess.media import media_rows
from rackmodel.assess.site import GENERIC_CHASSIS, Site
from rackmodel.assess.step import assessed
from rackmodel.assess.throttle import under_cap
from rackmodel.assess.unsaid import unsaid
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.overhead import overhead_s
from rackmodel.engine.step import Step, simulate_step
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.hardware.power_model import peak_flops_per_s
from rackmodel.kernels.busiest import busiest_s
from rackmodel.kernels.contention import Contention
from rackmodel.kernels.kernel_time import KernelTimes, graphs_by_default, kernel_times
from rackmodel.result.result import Result
from rackmodel.software import UNKNOWN, software_of
from rackmodel.topology import Topology
from rackmodel.workload import Job, check, check_fits, memory, precision_of, settled
from rackmodel.workload.silent import fused
from rackmodel.workload.stages import chunks_of


def run(
    machine: Topology,
    job: Job,
    *,
    catalog: Catalog | None = None,
    site: Site | None = None,
    options: EngineOptions | None = None,
    check_memory: bool = True,
) -> Result:
    """Simulate a complete job on a loaded machine.

    Raises
    ------
    InvalidInput, UnknownName
        If something is not what it has to be.
    CannotRun, InvalidPlan, DoesNotFit
        If the job can't run on this machine, with the reason.
    """
    parts = catalog or hardware.load_catalog()
    accelerator = _accelerator(machine, parts)
    asked, job = job, settled(job, accelerator, machine.domain_accelerators)
    others = _others(options, parts)
    for part in (accelerator, *others.values()):
        _check(machine, job, part, check_memory)
    notes = [*_mixed(accelerator, others), *_learning(job), *_copied(job)]
    notes += _dispatched(asked, job, accelerator.family)
    machine = replace(machine, notes=(*machine.notes, *notes)) if notes else machine
    used = tuple(memory(job, rank) for rank in range(job.plan.pp))
    where = site or Site()
    cap: dict[str, Any] = {}  # filled once the clock stands still
    check_site(where, machine, accelerator, parts, job.gpus)
    assess = partial(assessed, machine=machine, catalog=parts, site=where, cap=cap)

    def simulated(clocks: Mapping[str, float]) -> Result:
        kernels = _kernels(accelerator, others, job, clocks, parts.host_speed)
        contention = Contention.of(job, kernels, accelerator)
        step = simulate_step(
            machine,
            job,
            kernels,
            options,
            taken=contention.share,
            transfers_slower=kernels.transfers_slower,
        )
        lost_s = overhead_s(job, step.step_s)
        matrix_format = precision_of(job.precision).gemm_format
        return Result(
            step=step,
            machine=machine,
            rack_accelerators=max(1, machine.rack_accelerators),
            accelerator=accelerator,
            hbm_used=used,
            overhead_s=lost_s,
            unsaid=partial(unsaid, asked=asked),
            peak_flops_per_s=_peak(step, accelerator, others, matrix_format),
            kernels=kernels,
            contention_of=contention,
            catalog=parts,
            assess=assess,
        )

    result_at = partial(once, (machine, parts, (job, asked), options), simulated, assess)
    result, facts = under_cap(result_at, accelerator, where, machine, parts)
    cap.update(facts)
    return result


def _peak(
    step: Step, usual: Accelerator, others: Mapping[str, Accelerator], matrix_format: str
) -> float:
    """Return the peak FLOP/s of an accelerator, on a mixed machine the mean over all ranks."""
    peaks = {
        name: peak_flops_per_s(part, matrix_format)[0]
        for name, part in {"": usual, **others}.items()
    }
    if not step.rank_part:
        return peaks[""]
    ranks = zip(step.rank_part, step.rank_count.tolist(), strict=True)
    return float(sum(peaks[name] * count for name, count in ranks) / step.rank_count.sum())


def _kernels(
    accelerator: Accelerator,
    others: Mapping[str, Accelerator],
    job: Job,
    clocks: Mapping[str, float],
    host_speed: float,
) -> KernelTimes:
    """Return the kernel times of a job on its accelerators and on those in places.

    clocks : by name of the accelerator, 1 where left out. host_speed : 1 for the usual host.
    """
    graphs = graphs_by_default(job, accelerator)

    if not others:
        clock = clocks.get(accelerator.name, 1.0)
        return kernel_times(accelerator, job.stack, clock, graphs, host_speed)

    def times(part: Accelerator) -> KernelTimes:
        clock = clocks.get(part.name, 1.0)
        return KernelTimes(part, job.stack, clock, graphs, host_speed=host_speed)

    kernels = times(accelerator)
    kernels.others.update({name: times(part) for name, part in others.items()})
    return kernels


def _others(options: EngineOptions | None, catalog: Catalog) -> dict[str, Accelerator]:
    """Return the accelerators that stand in places of a mixed machine, by their ids."""
    names = sorted(set(options.mixed.values())) if options else []
    return {name: hardware.accelerator(name, catalog) for name in names}


def _mixed(usual: Accelerator, others: dict[str, Accelerator]) -> Iterator[str]:
    """Say what is not worked out for the other accelerators of a mixed machine."""
    if others:
        names = " and ".join(part.name for part in others.values())
        yield f"mixed: {names} stand in chassis of {usual.name}, each at its own clock under a cap"


def _copied(job: Job) -> Iterator[str]:
    """Say where tensor parallelism has more ranks than a model has key-value heads."""
    model, tp = job.model, job.plan.tp
    grouped = [block for block in model.blocks if block.attends and model.mla is None]
    heads = min((model.heads_of(block).kv_heads for block in grouped), default=tp)
    if heads < tp:
        yield (
            f"tp {tp} is more than the {heads} key-value heads: each stands on {tp // heads} ranks,"
            " as Megatron copies them (torchtitan refuses that)"
        )


def _dispatched(asked: Job, job: Job, family: str) -> Iterator[str]:
    """Say how tokens were taken to reach experts, where neither job nor software says."""
    if job.plan.ep == 1 or asked.plan.dispatcher:
        return
    if 0.0 < fused(job.plan) < 1.0:
        yield (
            f"dispatcher not stated: traffic and sorting as expected of {fused(job.plan):.0%}"
            " deepep, else all-to-all; state dispatcher if you know"
        )
    elif asked.stack == "default" and (odds := software_of(UNKNOWN).fused_odds(family)):
        yield (
            f"dispatcher not stated: all-to-all, as Megatron-Core unless told; {odds:.0%} of public"
            " recipes for this accelerator turn deepep on"
        )


def _learning(job: Job) -> Iterator[str]:
    """Say how much of the model learns, where that is not all."""
    if not job.trained.whole:
        one = job.replace(tp=1, pp=1, vpp=1, cp=1, ep=1, etp=1, schedule="", stage_layers=())
        chunk = chunks_of(one)[0][0]
        yield (
            f"of {sum(chunk.parameters) / 1e9:.4g}e9 parameters {sum(chunk.learning) / 1e9:.3g}e9"
            " learn; MFU counts what these need"
        )


def kernels_s(machine: Topology, job: Job, catalog: Catalog | None = None) -> float:
    """Return the seconds that the kernels of the busiest pipeline rank take: no step is quicker."""
    check(job)
    parts = catalog or hardware.load_catalog()
    kernels = _kernels(_accelerator(machine, parts), {}, job, {}, parts.host_speed)
    return busiest_s(job, kernels)


def _check(machine: Topology, job: Job, accelerator: Accelerator, memory_too: bool) -> None:
    """Refuse a job that this machine can't run."""
    check(job)
    machine.units(job.gpus)
    if memory_too:
        check_arithmetic(job, accelerator)
        check_fits(job, accelerator.hbm_bytes, what=accelerator.name)


def check_arithmetic(job: Job, accelerator: Accelerator) -> None:
    """Refuse a precision that an accelerator has no arithmetic for."""
    wanted, known = precision_of(job.precision).gemm_format, accelerator.flops_per_s
    if wanted not in known:
        raise CannotRun(
            f"{accelerator.name} has no {wanted} arithmetic (it has {', '.join(sorted(known))});"
            f" precision {job.precision!r} can't run on it: try another"
        )


def check_site(
    site: Site, machine: Topology, accelerator: Accelerator, catalog: Catalog, gpus: int
) -> None:
    """Refuse, before anything is simulated, a site that this machine can't stand in.

    Coolant has to carry away a third of the rated heat.

    Raises
    ------
    InvalidInput, UnknownName
        For numbers that mean nothing, unknown tiers and media.
    CannotRun
        If a link would be longer than its medium reaches.
    """
    if site.power_cap_w is not None:
        check_cap(accelerator, site.power_cap_w)
    _ = site.smooths  # refuses what can't be
    if (site.supply_c, site.rise_k, site.flow_lpm) != (None, None, None):
        cooled = site.at(chassis_of(catalog, machine.chassis or GENERIC_CHASSIS))
        if cooled.cooling != "air":
            coolant.loop(cooled, coolant.design_liquid_w(cooled) / 3.0)
    if site.media:
        media_rows(machine.parts(gpus), catalog, site.media, lengths_m=site.lengths_m)


def check_cap(accelerator: Accelerator, cap_w: float) -> None:
    """Refuse a power cap that is below idle or above the accelerator's own. [W]"""
    idle_w, own_w = accelerator.power.idle_w, accelerator.power_w
    if not idle_w < cap_w <= own_w * (1 + 1e-9):
        raise InvalidInput(
            f"power cap: {accelerator.name} takes one above {idle_w:g} W (idle) and up to "
            f"{own_w:g} W (its own); found {cap_w:,.10g} W"
        )


def check_named(machine: Topology) -> None:
    """Refuse a machine whose accelerators nobody named."""
    if not machine.accelerator:
        raise InvalidInput(
            f'{machine.name}: no accelerator is named; give accelerator="h100", on the command'
            " line --map accelerator=h100 (see rackmodel list accelerators)"
        )


def _accelerator(machine: Topology, catalog: Catalog) -> Accelerator:
    check_named(machine)
    return hardware.accelerator(machine.accelerator, catalog)
