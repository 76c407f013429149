"""Assess one simulated step: power, heat, coolant, energy, cost and failures, in one call.

In:  the timeline, rank_classes and racks frames of a simulation, the catalog, the machine's
     inventory.
Out: `assess_step`, a dict in the shape of `simulate --json`: racks, energy_j_per_token, cost,
     power.
Left out: the simulation; the search for a clock under the cap (`clock`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rackmodel.assess import coolant
from rackmodel.assess.chassis import Level, chassis_of
from rackmodel.assess.coolant import Loop
from rackmodel.assess.cost import cost_of, pue, training_run
from rackmodel.assess.fabric_share import own_share, shares
from rackmodel.assess.media import Fabric, fabric_power, media_rows
from rackmodel.assess.power import Assessment, assess_power
from rackmodel.assess.rack_power import powered_accelerators, rack_power
from rackmodel.assess.reliability import assess_failures, rates_of
from rackmodel.assess.windows import swings
from rackmodel.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

    from rackmodel.hardware import Accelerator, Catalog


def assess_step(
    timeline: pd.DataFrame,
    rank_classes: pd.DataFrame,
    racks: pd.DataFrame,
    catalog: Catalog,
    accelerator: Accelerator | str,
    chassis_name: str,
    inventory: pd.DataFrame | None,
    accelerators: int,
    step_s: float,
    tokens_per_step: float,
    *,
    cap_w: float | None = None,
    thermal_cap_w: float | None = None,
    media: Mapping[str, str] | None = None,
    lengths_m: Mapping[str, float] | None = None,
    supply_c: float | None = None,
    rise_k: float | None = None,
    flow_lpm: float | None = None,
    usd_per_kwh: float | None = None,
    facility_pue: float | None = None,
    tokens: float | None = None,
    trays: bool = False,
    device_busy: float = 1.0,
) -> dict[str, Any]:
    """Work out what a step means for the site that it runs in.

    Parameters
    ----------
    timeline : one row per piece of a rank class's time (`pieces.cut_timeline`).
    rank_classes : rows rank_class, count; only to check that `racks` holds every rank.
    racks : rows rack_class, count, rank_class, ranks (`rack_power.rack_power`).
    chassis_name : of the catalog; inventory : of the topology, None without a fabric.
    accelerators : that the job uses. Of a fabric with more ports than that it bears its share.
    step_s, tokens_per_step : of the simulated step.
    cap_w : power cap of an accelerator, None for its own; thermal_cap_w : what its coolant leaves
        it where that is less. [W]
    media : {tier: medium} to swap, for example {"scale-up": "pluggable"}; lengths_m : {tier: m}.
    supply_c, rise_k, flow_lpm : coolant of a rack, None for the chassis' own.
    usd_per_kwh, facility_pue : None for the catalog's.
    tokens : of a whole run; adds "run". trays : add "trays", the rows of every rack's elevation.
    device_busy : share of compute pieces in which kernels run; otherwise the host keeps them.

    Returns
    -------
    racks : rows rack, count, heat_w, liquid_w, air_w, peak_w (20 ms), by_part_w, coolant, ...;
    energy_j_per_token (racks and fabric); power (IT, fabric, facility, hall swings,
    tokens_per_s_per_mw); cost; reliability; run; notes, one line for each limit that is passed or
    price that is missing.

    Raises
    ------
    UnknownName, InvalidInput, CannotRun
        For unknown names, malformed frames, impossible coolant, a cable beyond its reach.
    """
    for name, value in (("step", step_s), ("tokens per step", tokens_per_step)):
        if not (value > 0 and math.isfinite(value)):
            raise InvalidInput(f"{name}: expected more than 0, found {value:g}")
    if usd_per_kwh is not None and not 0 <= usd_per_kwh < math.inf:
        raise InvalidInput(f"price of power: expected 0 or more USD per kWh, found {usd_per_kwh:g}")
    part = catalog.accelerators[accelerator] if isinstance(accelerator, str) else accelerator
    chassis = chassis_of(catalog, chassis_name)
    links = fabric = None
    used: dict[str, float] = {}
    present = float(accelerators)
    if inventory is not None:
        used = shares(inventory, catalog)
        counted = inventory.loc[(inventory["part_kind"] == "accelerator").to_numpy(), "count"].sum()
        billed = powered_accelerators(racks, chassis)
        inventory = own_share(inventory, used, min(1.0, billed / counted) if counted else 1.0)
        links = media_rows(inventory, catalog, media, lengths_m=lengths_m)
        fabric = fabric_power(inventory, catalog, links)
        boxes = inventory.loc[(inventory["part_kind"] == "accelerator").to_numpy(), "count"].sum()
        present = float(boxes) or present
    done = assess_power(
        timeline,
        racks,
        part,
        chassis,
        step_s=step_s,
        supply_c=supply_c,
        cap_w=min((w for w in (cap_w, thermal_cap_w) if w is not None), default=None),
        rise_k=rise_k,
        flow_lpm=flow_lpm,
        nic_optics_w=fabric.nic_optics_w / present
        if fabric and fabric.nic_optics_w is not None
        else None,
        optics_w=fabric.rack_optics_w / present if fabric else 0.0,
        device_busy=device_busy,
    )
    notes = [*done.notes, *(fabric.notes if fabric else ())]
    placed = math.fsum(rack.count * rack.used for rack in done.racks)
    ranks = int(rank_classes["count"].sum()) if "count" in rank_classes else placed
    if not max(abs(placed - accelerators), abs(ranks - accelerators)) < 1e-6 * accelerators:
        notes.append(
            f"racks hold {placed:g} ranks, the rank classes {ranks}, the job uses {accelerators}: "
            "totals count those in racks"
        )

    covered = float(timeline["end_s"].max()) / step_s if len(timeline) else 0.0
    if covered < 0.5:  # what a step loses outside of the simulated operations has no pieces
        notes.append(
            f"timeline: its pieces end after {covered:.0%} of the step; the rest counts as waiting"
        )
    less_w = accelerators_less_w(part, cap_w)
    power = _power(done, fabric, catalog, facility_pue, tokens_per_step, less_w)
    power["fabric_share"] = used.get("leaf", 1.0)
    bounds = {level: _heat_at(done, racks, catalog, level) for level in ("low", "high")}
    rows = rack_rows(done)
    for row in rows:
        row["heat_low_w"], row["heat_high_w"] = (bounds[end][row["rack"]] for end in bounds)
    liquid_w = math.fsum(row["count"] * row["liquid_w"] for row in rows)
    money = cost_of(
        catalog,
        inventory,
        accelerator=part.name,
        chassis=chassis_name,
        accelerators=round(math.fsum(rack.count * rack.accelerators for rack in done.racks)),
        used=accelerators,
        chassis_count=math.fsum(rack.count * rack.chassis for rack in done.racks),
        it_w=power["it_w"],
        liquid_w=liquid_w,
        provisioned_w=power["provisioned_w"],
        tokens_per_s=tokens_per_step / step_s,
        links=links,
        usd_per_kwh=usd_per_kwh,
        given_pue=facility_pue,
    )
    notes += [f"cost: no price for {name}; totals leave it out" for name in money["missing"]]
    result: dict[str, Any] = {
        "racks": rows,
        "energy_j_per_token": power["it_w"] * step_s / tokens_per_step,
        "power": power,
        "cost": money,
    }
    if inventory is not None:
        rates = rates_of(catalog, inventory, accelerators=accelerators, links=links)
        result["reliability"] = assess_failures(catalog, rates)
    if tokens is not None:
        result["run"] = training_run(
            tokens,
            tokens_per_s=tokens_per_step / step_s,
            accelerators=accelerators,
            facility_w=power["facility_w"],
            usd_per_hour=money["usd_per_hour"],
            goodput=float(result.get("reliability", {}).get("goodput", 1.0)),
        )
    if trays:
        result["trays"] = done.trays().to_dict("records")
    result["notes"] = notes
    return result


def accelerators_less_w(accelerator: Accelerator, cap_w: float | None) -> float:
    """Return what a power cap takes off an accelerator's own limit. [W]"""
    return max(0.0, accelerator.power_w - cap_w) if cap_w is not None else 0.0


def _power(
    done: Assessment,
    fabric: Fabric | None,
    catalog: Catalog,
    facility_pue: float | None,
    tokens_per_step: float,
    less_w: float,
) -> dict[str, Any]:
    """Sum racks and fabric to the hall, and describe its swings.

    less_w : what a power cap takes off an accelerator's own limit. [W]
    """
    outside = dict(fabric.outside_w) if fabric else {}
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
    ratio = pue(catalog, liquid_w / it_w, facility_pue)
    chassis = sum(rack.count * rack.chassis for rack in done.racks)
    # A rating counts accelerators at their own limit and scale-up links as they are sold.
    behind_w = done.racks_w - by_part["psu"] - by_part["busbar"]
    more_w = done.chassis.part_w.get("optics", 0.0) - done.chassis.accelerators * less_w
    rated_w = done.chassis.rated_w + more_w * done.racks_w / behind_w
    provisioned_w = chassis * rated_w + fabric_w
    hall = np.sum([rack.count * rack.input_w for rack in done.racks], axis=0) + fabric_w
    used = sum(rack.count * rack.used for rack in done.racks)
    causes: dict[str, float] = {}
    ranks = dict.fromkeys((each.rank_class for each in done.draws), 0.0)
    for rack in done.racks:
        for rank_class, members in rack.ranks.items():
            ranks[rank_class] += rack.count * members
    for each in done.draws:
        for cause, watts in each.mean_w.items():
            causes[cause] = causes.get(cause, 0.0) + watts * ranks[each.rank_class] / used
    time_s = [np.diff(each.edges_s) for each in done.draws]
    clocks = [float((each.clock * dt).sum()) for each, dt in zip(done.draws, time_s, strict=True)]
    weights = [ranks[each.rank_class] for each in done.draws]
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
        "facility_j_per_token": it_w * ratio * done.step_s / tokens_per_step,
        "tokens_per_s_per_mw": tokens_per_step / done.step_s / (provisioned_w * ratio / 1e6),
        "accelerator_w": math.fsum(causes.values()),
        "accelerator_by_cause_w": causes,
        "clock_ratio": float(np.average(clocks, weights=weights)) / done.step_s,
        "late": max(each.late for each in done.draws),
        "hall_swing": swings(hall, done.step_s),
    }


def _heat_at(
    done: Assessment, racks: pd.DataFrame, catalog: Catalog, level: Level
) -> dict[int, float]:
    """Heat of a rack of each class with everything around the accelerators at its low or high
    end."""
    chassis = chassis_of(catalog, done.chassis.name, level)
    extra = {
        name: watts for name, watts in done.chassis.part_w.items() if name not in chassis.part_w
    }
    chassis = replace(chassis, part_w={**chassis.part_w, **extra})
    found = rack_power(done.draws, racks, chassis, idle_w=done.accelerator.idle_w, bins=64)
    return {rack.rack_class: rack.heat_w for rack in found}


def rack_rows(done: Assessment) -> list[dict[str, Any]]:
    """Return one dict per class of racks, in the shape of `simulate --json`."""
    rows = []
    for rack, loop, one in zip(done.racks, done.loops, done.splits, strict=True):
        wet, dry = math.fsum(one.liquid_w.values()), math.fsum(one.air_w.values())
        swing = swings(rack.input_w, done.step_s)
        mine = [done.junctions_c[name] for name in rack.ranks if name in done.junctions_c]
        rows.append(
            {
                "rack": rack.rack_class,
                "count": _whole(rack.count),
                "chassis": rack.chassis,
                "accelerators": rack.used,
                "heat_w": rack.heat_w,
                "liquid_w": wet,
                "air_w": dry,
                "peak_w": swing["peak_20ms_w"],
                "by_part_w": dict(rack.part_w),
                "coolant": _loop_dict(loop),
                "air": coolant.air(dry, done.chassis.air_inlet_c, done.chassis.air_rise_k),
                "junction_c": {
                    "mean": float(np.mean([tj.mean() for tj in mine])),
                    "peak": float(np.max([tj.max() for tj in mine])),
                    "limit": done.accelerator.thermal.limit_c,
                },
                "swing": swing,
            }
        )
    return rows


def _whole(count: float) -> int | float:
    return round(count) if abs(count - round(count)) < 1e-9 else count


def _loop_dict(loop: Loop | None) -> dict[str, Any]:
    if loop is None:
        return {"fluid": "none", "flow_lpm": 0.0, "supply_c": None, "return_c": None}
    return {
        "fluid": loop.fluid,
        "flow_lpm": loop.flow_lpm,
        "supply_c": loop.supply_c,
        "return_c": loop.return_c,
        "drop_pa": loop.drop_pa,
        "pump_w": loop.pump_w,
        "approach_k": loop.approach_k,
        "facility_c": loop.facility_c,
        "water_class": loop.water_class,
    }
