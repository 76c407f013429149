"""What a slider does to a step before it is simulated: the closed form of the search, in 0.1 s.

In:  the words of a training job whose plan is held.
Out: `draft`, the step, its parts and HBM; heat and money wait for the simulation.
Left out: plans that are still open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import name_or_file
from rackmodel.errors import InvalidPlan

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog
    from rackmodel.topology import Topology
    from rackmodel.workload import Job


def draft(
    topology: groups.Topology,
    job: groups.JobOptions,
    engine: groups.EngineWords,
    site: groups.SiteOptions,
    parts: groups.CatalogOptions,
) -> dict[str, Any]:
    """Estimate one training step."""
    found_machine, catalog = parts.with_machine(name_or_file(topology, "TOPOLOGY"))
    import numpy as np

    from rackmodel import hardware
    from rackmodel.api import job_of
    from rackmodel.hardware.power_model import peak_flops_per_s
    from rackmodel.planning.enumeration import enumerate_plans
    from rackmodel.planning.planner import Look, Planner
    from rackmodel.planning.space import SEARCHED
    from rackmodel.workload import precision_of
    from rackmodel.workload.memory import peak_memory
    from rackmodel.workload.silent import overlaps

    machine = rackmodel.load_topology(found_machine)
    wanted = job_of(machine, **job, catalog=catalog)
    known = catalog or hardware.load_catalog()
    planner = Planner(machine, wanted, wanted.gpus, _capped(known, machine, site))
    fixed = {name: getattr(wanted.plan, name) for name in SEARCHED}
    space = enumerate_plans(
        planner.job, wanted.gpus, domain=machine.domain_accelerators, fixed=fixed
    )
    wanted = wanted.replace(**overlaps(wanted, machine.domain_accelerators))
    if len(space) != 1 or space.plan(0) != wanted.plan:
        raise InvalidPlan("the closed form does not know this plan")
    look = Look(planner, space, planner.part.hbm_bytes)
    look.time(np.array([0]))
    found = {name: float(values[0]) for name, values in look.every.items()}
    matrix_format = precision_of(wanted.precision).gemm_format
    peak = peak_flops_per_s(hardware.accelerator(machine.accelerator, known), matrix_format)[0]
    used = peak_memory(planner.job.replace(plan=wanted.plan))[1]
    return _shown(
        wanted, found, planner.lost_s(found["step_s"]), peak, used, planner.part.hbm_bytes
    )


def _shown(
    wanted: Job,
    found: Mapping[str, float],
    step_s: float,
    peak: float,
    used: Mapping[str, float],
    capacity: float,
) -> dict[str, Any]:
    """Return what the page shows of an estimate."""
    from rackmodel.cli.page.commands import shares, step_parts
    from rackmodel.reporting.words import percent, plan_text, scaled, seconds, used_of, whole

    return {
        "figures": [
            ["step", f"about {seconds(step_s)}"],
            ["tokens/s per accelerator", whole(wanted.tokens / step_s / wanted.gpus)],
            ["MFU", percent(wanted.model_flops / step_s / wanted.gpus / peak)],
            ["best plan", plan_text(asdict(wanted.plan))],
            ["HBM used", used_of(sum(used.values()), capacity)],
        ],
        "parts": step_parts(
            {
                "compute": found["compute_s"],
                "exposed traffic": found["exchange_s"] + found["reduce_s"] + found["gather_s"],
                "bubble": found["bubble_s"],
                "optimizer": found["optimizer_s"],
                "overhead": step_s - found["step_s"],
            }
        ),
        "hbm": shares(used, "B"),
        "hbm_bytes": capacity,
        "hbm_text": scaled(capacity, "B"),
    }


def _capped(known: Catalog, machine: Topology, site: Mapping[str, Any]) -> Catalog:
    """Return the parts with the accelerator at the clock that a power cap leaves it."""
    from rackmodel import hardware
    from rackmodel.study.resources import scale_part

    cap_w = site.get("power_cap_w")
    if cap_w is None:
        return known
    part = hardware.accelerator(machine.accelerator, known)
    less = scale_part(part, "power_w", cap_w / part.power_w)
    return replace(known, accelerators={**known.accelerators, part.name: less or part})
