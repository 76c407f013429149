"""What was simulated and where it stood, as plain values of a result.

In:  a simulated step, a plan.
Out: the records `simulation`, `placement` and `plan` of `simulate --json`.
Left out: figures of speed (`result`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rackmodel.result.records import PlacementRecord
from rackmodel.workload import Plan

if TYPE_CHECKING:
    from rackmodel.engine.step import Step


def simulation_facts(step: Step) -> dict[str, Any]:
    """Return what the simulation took, and how much of the machine it was."""
    return {
        "engine": step.engine,
        "events": step.events,
        "ranks": step.job.gpus,
        "ranks_simulated": len(step.rank_weight),
        "rank_classes": len(step.rank_count),
        "wall_s": step.wall_s,
    }


def placement_of(step: Step) -> PlacementRecord:
    """Return how many accelerators of each scale-up domain are used, and how many stand idle."""
    where, ranks = step.rank_map, step.job.gpus
    idle = where.idle(ranks)
    return {
        "domain_accelerators": where.domain,
        "used_per_domain": min(where.used, ranks),
        "domains": where.domains(ranks),
        "idle_accelerators": idle,
        "idle_share": idle / (ranks + idle),
    }


def plan_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan's fields as plain values."""
    values = asdict(plan).items()
    return {name: list(one) if isinstance(one, tuple) else one for name, one in values}
