"""Assess one simulated step: power, heat, coolant, energy, cost and failures, in one call.

In:  the timeline, rank_classes and racks frames of a simulation, the catalog, the machine's
     inventory, its site.
Out: `assessed` (of a result) and `assess_step` (of its frames), in the shape of `simulate --json`:
     racks, energy_j_per_token, cost, power.
Left out: the simulation; the search for a clock under the cap (`throttle`, `clock`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from rackmodel.assess import coolant, margins
from rackmodel.assess.chassis import chassis_of
from rackmodel.assess.coolant import Loop
from rackmodel.assess.cost import Bought, cost_of, training_run
from rackmodel.assess.extra import own_assessments
from rackmodel.assess.fabric_share import Installed
from rackmodel.assess.heat_band import Work, accelerator_width, heat_bands
from rackmodel.assess.job_power import total_power
from rackmodel.assess.power import Assessment, Busy, assess_power
from rackmodel.assess.rack_power import RackPower
from rackmodel.assess.reliability import assess_failures, rates_of
from rackmodel.assess.site import GENERIC_CHASSIS, Site
from rackmodel.assess.windows import swings
from rackmodel.columns import Table, floats
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator, Catalog, accelerator as accelerator_of
from rackmodel.result.records import AssessmentRecord, CoolantRecord, CostRecord
from rackmodel.result.result import Result
from rackmodel.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFrames:
    """What is read of a simulated step.

    timeline : one row per piece of a rank class's time (`power_intervals.cut_timeline`).
    rank_counts : ranks of each class, to check that `racks` holds every rank; None if unknown.
    racks : rows rack_class, count, rank_class, ranks (`rack_power.rack_power`).
    accelerators : that the job uses. step_s, tokens : of the step.
    device_busy : share of compute pieces in which kernels run; otherwise the host keeps them.
    units_held : share of them in which kernels hold matrix units whose operands may be late.
    work : what accelerators do, for how sure their power is.
    others : accelerators that rank classes stand on where these are not the usual.
    """

    timeline: Table
    rank_counts: Sequence[int] | None
    racks: Table
    accelerators: int
    step_s: float
    tokens: float
    device_busy: float = 1.0
    units_held: float = 1.0
    work: Work = "training"
    others: Mapping[int, Accelerator] = field(default_factory=dict)

    @property
    def other_counts(self) -> dict[str, float]:
        """Accelerators of other kinds that the job uses, by their names."""
        found: dict[str, float] = {}
        for rank_class, part in self.others.items():
            count = self.rank_counts[rank_class] if self.rank_counts is not None else 0
            found[part.name] = found.get(part.name, 0.0) + count
        return found

    @property
    def tokens_per_s(self) -> float:
        """Tokens of a step over its time."""
        return self.tokens / self.step_s


def frames_of(result: Result) -> StepFrames:
    """Return what is read of a result."""
    job = result.step.job
    return StepFrames(
        timeline=result.stretches,
        rank_counts=result.step.rank_count.tolist(),
        racks=result.rack_columns,
        accelerators=job.gpus,
        step_s=result.step_s,
        tokens=job.tokens,
        device_busy=result.device_busy,
        others=others_of(result),
    )


def others_of(result: Result) -> dict[int, Accelerator]:
    """Return the accelerators that rank classes stand on where these are not the usual."""
    return {
        number: accelerator_of(name, result.catalog)
        for number, name in enumerate(result.step.rank_part)
        if name
    }


def assessed(
    result: Result, machine: Topology, catalog: Catalog, site: Site, cap: Mapping[str, Any]
) -> AssessmentRecord:
    """Return power, heat, cost and failures of a result at its site.

    cap : from `throttle.under_cap`, added to what is told of power.
    """
    job, part = result.step.job, result.accelerator
    step = frames_of(result)
    found = assess_step(
        step,
        part,
        machine.chassis or GENERIC_CHASSIS,
        machine.parts(result.step.rank_map.slots(job.gpus)),
        catalog,
        site,
        thermal_cap_w=cap["thermal_cap_w"],
    )
    cast(dict[str, Any], found["power"]).update(cap)
    if cap["thermal_cap_w"] is not None:
        found["notes"].insert(
            0,
            f"temperature: the coolant leaves {part.name} {cap['thermal_cap_w']:.0f} "
            f"of {cap['cap_w']:.0f} W at its limit of {part.thermal.limit_c:.0f} C; "
            f"it throttles to {cap['cap_clock']:.1%} of its usual clock, and the step is "
            "simulated at it",
        )
    elif cap["cap_slows"]:
        found["notes"].insert(
            0,
            f"power cap: {cap['cap_w']:g} W leave {cap['cap_clock']:.1%} of the clock that "
            f"{part.power_w:g} W leave; the step is simulated at it",
        )
    if cap["cap_w"] < part.power.cap_fitted * part.power_w:
        found["notes"].append(
            f"power cap: below {part.power.cap_fitted:.0%} of {part.power_w:g} W the "
            "power model has seen no measurements; take clock and power as rough"
        )
    found["notes"][:0] = machine.notes
    if own := own_assessments(result, found):
        found["assessments"] = own
    return found


def assess_step(
    step: StepFrames,
    accelerator: Accelerator,
    chassis_name: str,
    inventory: Table | None,
    catalog: Catalog,
    site: Site | None = None,
    *,
    thermal_cap_w: float | None = None,
) -> AssessmentRecord:
    """Work out what a step means for the site that it runs at.

    Parameters
    ----------
    chassis_name : of the catalog; inventory : of the topology, None without a fabric. Of a fabric
        with more ports than it fills the job bears its share.
    thermal_cap_w : what its coolant leaves an accelerator, where that is less than its cap. [W]

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
    site = site or Site()
    _check(step)
    done, installed = powered(
        step, accelerator, chassis_name, inventory, catalog, site, thermal_cap_w=thermal_cap_w
    )
    rows = rack_rows(done)
    caps_w = (site.power_cap_w, thermal_cap_w, accelerator.power_w)
    cap_w = min(watts for watts in caps_w if watts is not None)
    bands = heat_bands(done, catalog, accelerator_width(accelerator.family, step.work), cap_w)
    for row in rows:
        row["heat_w_low"], row["heat_w_high"] = bands[row["rack"]]
    power = total_power(done, installed, catalog, site, step.tokens)
    bought = _bought(done, installed, power, step.other_counts)
    money = cost_of(
        catalog,
        bought,
        used=step.accelerators,
        it_w=power["it_w"],
        tokens_per_s=step.tokens_per_s,
        site=site,
    )
    result: dict[str, Any] = {
        "racks": rows,
        "energy_j_per_token": power["it_w"] * step.step_s / step.tokens,
        "power": power,
        "cost": money,
        **_over_months(step, installed, catalog, site, facility_w=power["facility_w"], money=money),
    }
    if site.trays:
        result["trays"] = done.trays()
    result["notes"] = [
        *done.notes,
        *margins.warnings(done),
        *(installed.fabric.notes if installed else ()),
        *_doubts(step, done),
        *(f"cost: no price for {name}; totals leave it out" for name in money["missing"]),
    ]
    return cast(AssessmentRecord, result)


def powered(
    step: StepFrames,
    accelerator: Accelerator,
    chassis_name: str,
    inventory: Table | None,
    catalog: Catalog,
    site: Site,
    *,
    thermal_cap_w: float | None = None,
) -> tuple[Assessment, Installed | None]:
    """Return the power of all racks over a step, and what is installed beside them.

    Words as in `assess_step`.
    """
    chassis, installed = site.at(chassis_of(catalog, chassis_name)), None
    if inventory is not None:
        installed = Installed.of(inventory, catalog, site, racks=step.racks, chassis=chassis)
        chassis = installed.equip(chassis, step.accelerators, catalog)
    done = assess_power(
        step.timeline,
        step.racks,
        accelerator,
        chassis,
        step_s=step.step_s,
        cap_w=min((w for w in (site.power_cap_w, thermal_cap_w) if w is not None), default=None),
        busy=Busy(step.device_busy, step.units_held),
        others=step.others,
    )
    return done, installed


def _bought(
    done: Assessment,
    installed: Installed | None,
    power: Mapping[str, Any],
    others: Mapping[str, float],
) -> Bought:
    """Return what is bought for a job: whole chassis, its share of the fabric, cooling, hall."""
    wet = [math.fsum(one.liquid_w.values()) for one in done.splits]
    return Bought(
        accelerator=done.accelerator.name,
        chassis=done.chassis.name,
        accelerators=round(math.fsum(rack.count * rack.accelerators for rack in done.racks)),
        chassis_count=math.fsum(rack.count * rack.chassis for rack in done.racks),
        inventory=installed.inventory if installed else None,
        links=installed.links if installed else None,
        liquid_w=math.fsum(r.count * watts for r, watts in zip(done.racks, wet, strict=True)),
        provisioned_w=power["provisioned_w"],
        others=others,
    )


def _over_months(
    step: StepFrames,
    installed: Installed | None,
    catalog: Catalog,
    site: Site,
    *,
    facility_w: float,
    money: CostRecord,
) -> dict[str, Any]:
    """Return failures of the machine, and a whole run where its tokens are known."""
    found: dict[str, Any] = {}
    goodput = 1.0
    if installed is not None:
        rates = rates_of(
            catalog, installed.inventory, accelerators=step.accelerators, links=installed.links
        )
        failures = assess_failures(catalog, rates)
        found["reliability"], goodput = failures, failures["goodput"]
    if site.run_tokens is not None:
        found["run"] = training_run(
            site.run_tokens,
            tokens_per_s=step.tokens_per_s,
            accelerators=step.accelerators,
            facility_w=facility_w,
            usd_per_hour=money["usd_per_hour"],
            goodput=goodput,
        )
    return found


def _check(step: StepFrames) -> None:
    """Refuse numbers that mean nothing."""
    for name, value in (("step", step.step_s), ("tokens per step", step.tokens)):
        if not (value > 0 and math.isfinite(value)):
            raise InvalidInput(f"{name}: expected more than 0, found {value:g}")


def _doubts(step: StepFrames, done: Assessment) -> list[str]:
    """Say where the frames do not hold all of the job."""
    notes, wanted = [], step.accelerators
    placed = math.fsum(rack.count * rack.used for rack in done.racks)
    ranks = placed if step.rank_counts is None else sum(step.rank_counts)
    if not max(abs(placed - wanted), abs(ranks - wanted)) < 1e-6 * wanted:
        notes.append(
            f"racks hold {placed:g} ranks, the rank classes {ranks}, the job uses {wanted}: "
            "totals count those in racks"
        )
    covered = float(floats(step.timeline, "end_s").max(initial=0.0)) / step.step_s
    if covered < 0.5:  # what a step loses outside of the simulated operations has no pieces
        notes.append(
            f"timeline: its pieces end after {covered:.0%} of the step; the rest counts as waiting"
        )
    return notes


def rack_rows(done: Assessment) -> list[dict[str, Any]]:
    """Return one dict per class of racks, in the shape of `simulate --json`."""
    rows = []
    for rack, loop, one in zip(done.racks, done.loops, done.splits, strict=True):
        wet, dry = math.fsum(one.liquid_w.values()), math.fsum(one.air_w.values())
        swing = swings(rack.hall_w, done.step_s)
        mine = [done.junctions_c[name] for name in rack.ranks]
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
                    "mean": float(
                        np.average([tj.mean() for tj in mine], weights=[*rack.ranks.values()])
                    ),
                    "peak": float(np.max([tj.max() for tj in mine])),
                    "limit": done.accelerator.thermal.limit_c,
                },
                "swing": swing,
                **_smoothing_of(rack, done.step_s),
            }
        )
    return rows


def _smoothing_of(rack: RackPower, step_s: float) -> dict[str, Any]:
    """Return what stands between a rack and the hall does; {} where nothing does."""
    after = rack.smoothed
    if after is None:
        return {}
    return {
        "smoothing": {
            "burned_w": after.burned_w,
            "stored_j": after.stored_j,
            "ceiling_w": after.ceiling_w,
            "drawn_swing": swings(after.drawn_w, step_s),
        }
    }


def _whole(count: float) -> int | float:
    return round(count) if abs(count - round(count)) < 1e-9 else count


def _loop_dict(loop: Loop | None) -> CoolantRecord:
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
