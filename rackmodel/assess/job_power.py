"""Power of a whole job: its racks and fabric, what the hall provides, what accelerators draw.

In:  an `Assessment`, what the job bears of a fabric, its site.
Out: `total_power`, the part "power" of `simulate --json`.
Left out: racks and accelerators one by one (`power`), money (`cost`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rackmodel.assess.cost import pue
from rackmodel.assess.fabric_share import Installed
from rackmodel.assess.power import Assessment
from rackmodel.assess.site import Site
from rackmodel.assess.windows import swings
from rackmodel.hardware import Catalog


def total_power(
    done: Assessment, installed: Installed | None, catalog: Catalog, site: Site, tokens: float
) -> dict[str, Any]:
    """Sum racks and fabric to the hall, and describe its swings."""
    outside = dict(installed.fabric.outside_w) if installed else {}
    fabric_w = math.fsum(outside.values())
    by_part: dict[str, float] = {}
    for rack in done.racks:
        for name, watts in rack.part_w.items():
            by_part[name] = by_part.get(name, 0.0) + rack.count * watts
    it_w = done.racks_w + fabric_w
    liquid_w = math.fsum(
        rack.count * math.fsum(one.liquid_w.values())
        for rack, one in zip(done.racks, done.splits, strict=True)
    )
    ratio = pue(catalog, liquid_w / it_w, site.facility_pue)
    provisioned_w = _provisioned_w(done, by_part, site) + fabric_w
    hall = np.sum([rack.count * rack.hall_w for rack in done.racks], axis=0) + fabric_w
    return {
        "it_w": it_w,
        "racks_w": done.racks_w,
        "fabric_w": fabric_w,
        "by_part_w": by_part,
        "fabric_by_part_w": outside,
        "liquid_w": liquid_w,
        "air_w": it_w - liquid_w,
        "pue": ratio,
        "facility_w": it_w * ratio,
        "provisioned_w": provisioned_w,
        "provisioned_facility_w": provisioned_w * ratio,
        "facility_j_per_token": it_w * ratio * done.step_s / tokens,
        "tokens_per_s_per_mw": tokens / done.step_s / (provisioned_w * ratio / 1e6),
        **_of_accelerators(done),
        "hall_swing": swings(hall, done.step_s),
        "fabric_share": installed.leaves if installed else 1.0,
    }


def _provisioned_w(done: Assessment, by_part: Mapping[str, float], site: Site) -> float:
    """Return what power has to be there for racks: their rating, the cap, what is added.

    A rating counts accelerators at their own limit, scale-up links and switches as they are sold.
    """
    chassis, cap_w = done.chassis, site.power_cap_w
    less_w = max(0.0, done.accelerator.power_w - cap_w) if cap_w is not None else 0.0
    behind_w = sum(watts for part, watts in by_part.items() if part not in ("psu", "busbar"))
    more_w = chassis.added_w - chassis.accelerators * less_w
    rated_w = chassis.rated_w + more_w * done.racks_w / behind_w
    return sum(rack.count * rack.chassis for rack in done.racks) * rated_w


def _of_accelerators(done: Assessment) -> dict[str, Any]:
    """Return the mean power of an accelerator of the job, by cause, and its clock."""
    used = sum(rack.count * rack.used for rack in done.racks)
    ranks = done.rank_members
    causes: dict[str, float] = {}
    for each in done.draws:
        for cause, watts in each.mean_w.items():
            causes[cause] = causes.get(cause, 0.0) + watts * ranks[each.rank_class] / used
    clocks = [float((each.clock * np.diff(each.edges_s)).sum()) for each in done.draws]
    weights = [ranks[each.rank_class] for each in done.draws]
    return {
        "accelerator_w": math.fsum(causes.values()),
        "accelerator_by_cause_w": causes,
        "clock_ratio": float(np.average(clocks, weights=weights)) / done.step_s,
        "late": max(each.late for each in done.draws),
    }
