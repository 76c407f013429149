"""What was simulated and where it stood, as plain values of a result.

In:  a simulated step, a plan.
Out: the records `simulation`, `placement` and `plan` of `simulate --json`; its main figures, flat.
Left out: how figures are worked out (`result`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rackmodel.engine.rank_map import RankMap
from rackmodel.engine.step import Step
from rackmodel.result.records import PlacementRecord
from rackmodel.workload import Plan

PLAIN = ("step_s", "step_s_low", "step_s_high", "tokens_per_s_per_gpu", "mfu", "bound_by")


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


def placement_of(where: RankMap, ranks: int, before: int = 0) -> PlacementRecord:
    """Return how many accelerators of each scale-up domain are used, and how many stand idle.

    before : accelerators that others of the same job fill first.
    """
    used, domains, idle = where.used, where.domains(ranks), where.idle(ranks)
    if before:
        used, domains = where.domain, math.ceil((before + where.slots(ranks)) / where.domain)
        ranks += before
        idle = domains * where.domain - ranks
    return {
        "domain_accelerators": where.domain,
        "used_per_domain": min(used, ranks),
        "domains": domains,
        "idle_accelerators": idle,
        "idle_share": idle / (ranks + idle),
    }


def plan_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan's fields as plain values."""
    values = asdict(plan).items()
    return {name: list(one) if isinstance(one, tuple) else one for name, one in values}


def figures(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a machine that people compare, flat."""
    if "reason" in row:
        return {"topology": row["topology"], "reason": row["reason"]}
    racks, cost, power = row.get("racks") or (), row.get("cost") or {}, row.get("power") or {}
    used = sum(row["hbm"]["used_bytes"].values())
    return {
        "topology": row["topology"],
        **{name: row[name] for name in PLAIN},
        "hbm_used_share": used / row["hbm"]["capacity_bytes"],
        **{
            f"heat_w_per_rack{end}": max((rack[f"heat_w{end}"] for rack in racks), default=None)
            for end in ("", "_low", "_high")
        },
        "energy_j_per_token": row.get("energy_j_per_token"),
        "tokens_per_s_per_mw": power.get("tokens_per_s_per_mw"),
        "usd_per_mtoken": cost.get("usd_per_mtoken"),
        "capital_usd": cost.get("capital_usd"),
    }
