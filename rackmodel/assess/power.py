"""Power, heat, coolant and temperature of all racks in one simulated step.

In:  the timeline and racks frames, an accelerator, a chassis, the coolant that a hall supplies.
Out: `Assessment`, with warnings where a rack, a junction or a cap is passed.
Left out: money and failures (`cost`, `reliability`), the dict that a user sees (`step`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rackmodel.assess import coolant, tray_heat
from rackmodel.assess.accelerator_power import Draw, draw_all
from rackmodel.assess.chassis import Chassis
from rackmodel.assess.coolant import Loop
from rackmodel.assess.power_intervals import cut_timeline
from rackmodel.assess.rack_power import (
    FEWEST_BINS,
    RackPower,
    bins_for,
    idle_accelerator_w,
    rack_power,
)
from rackmodel.columns import Table
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything that is worked out about the power of a step, before it is written as a dict."""

    chassis: Chassis
    accelerator: Accelerator
    draws: list[Draw]
    racks: list[RackPower]
    loops: list[Loop | None]
    splits: list[tray_heat.Split]
    junctions_c: dict[int, np.ndarray[Any, Any]]
    coolant_c: float  # mean of what cools the accelerators
    k_per_w: float  # junction to coolant
    step_s: float
    notes: list[str] = field(default_factory=list)

    @property
    def racks_w(self) -> float:
        """Mean power of all racks. [W]"""
        return math.fsum(rack.count * rack.heat_w for rack in self.racks)

    def trays(self) -> pd.DataFrame:
        """Return the elevation of every rack class (`tray_heat.heat_by_tray`)."""
        return tray_heat.heat_by_tray(
            self.racks,
            self.chassis,
            rank_w={one.rank_class: one.total_w for one in self.draws},
            warmest_c={name: float(tj.max()) for name, tj in self.junctions_c.items()},
            returns_c=[loop.return_c if loop else None for loop in self.loops],
            limit_c=self.accelerator.thermal.limit_c,
        )


def assess_power(
    timeline: Table,
    racks: Table,
    accelerator: Accelerator,
    chassis: Chassis,
    *,
    step_s: float,
    cap_w: float | None = None,
    device_busy: float = 1.0,
    units_held: float = 1.0,
) -> Assessment:
    """Work out power, heat, coolant and temperature of every class of racks.

    Parameters
    ----------
    timeline, racks : tables as the simulation gives them; see `cut_timeline` and `rack_power`.
    chassis : with the coolant of its site (`Site.cool`) and the modules of its links.
    step_s : length of the step. [s]
    cap_w : power cap of an accelerator; None takes its own. [W]
    device_busy, units_held : of compute pieces (`power_intervals.cut_timeline`).

    Raises
    ------
    InvalidInput
        If the frames are malformed or the coolant is impossible.
    """
    cap = accelerator.power_w if cap_w is None else cap_w
    if not cap > accelerator.power.idle_w:
        raise InvalidInput(
            f"power cap: expected more than the idle power of {accelerator.name}, "
            f"{accelerator.power.idle_w:g} W; found {cap:g}"
        )
    pieces = cut_timeline(timeline, accelerator, step_s, device_busy, units_held)
    loops: list[Loop] = []
    loop = None
    if chassis.cooling != "air":  # at the design point to begin with; then it follows the heat
        loop = coolant.loop(replace(chassis, flow_lpm=None), coolant.design_liquid_w(chassis))
    for _ in range(6):
        coolant_c = tray_heat.coolant_at(chassis, loop)
        resistance = tray_heat.k_per_w(accelerator, chassis, loop)
        draws = draw_all(pieces, accelerator, cap_w=cap, coolant_c=coolant_c, k_per_w=resistance)
        idle_w = idle_accelerator_w(accelerator, coolant_c, resistance)
        if loop is None:
            break
        # Coolant answers to mean heat: a coarse sample will do until it has settled.
        found = rack_power(draws, racks, chassis, idle_w=idle_w, bins=FEWEST_BINS)
        loops = [_loop_of(rack, chassis) for rack in found]
        # All ranks take the coolant of the kind of rack that most racks are.
        before, common = loop, max(range(len(found)), key=lambda i: found[i].count * found[i].used)
        loop = loops[common]
        still = abs(loop.flow_ratio - before.flow_ratio) < 1e-3
        if still and abs(loop.mean_c - before.mean_c) < 0.01:
            break
    found = rack_power(draws, racks, chassis, idle_w=idle_w, bins=bins_for(step_s, len(pieces)))
    done = Assessment(
        chassis=chassis,
        accelerator=accelerator,
        draws=draws,
        racks=found,
        loops=[*loops] or [None] * len(found),
        splits=[tray_heat.split(rack.part_w, chassis) for rack in found],
        junctions_c={
            one.rank_class: tray_heat.junction_c(
                one, accelerator, chassis, coolant_c=coolant_c, k_per_w=resistance
            )
            for one in draws
        },
        coolant_c=coolant_c,
        k_per_w=resistance,
        step_s=step_s,
    )
    return replace(done, notes=warnings(done, loop))


def _loop_of(rack: RackPower, chassis: Chassis) -> Loop:
    """Return the coolant of a rack for its own heat."""
    liquid_w = math.fsum(tray_heat.split(rack.part_w, chassis).liquid_w.values())
    return coolant.loop(chassis, liquid_w, count=rack.chassis)


def warnings(done: Assessment, loop: Loop | None) -> list[str]:
    """Say in one line each what a rack can't stand; loop : that most accelerators have."""
    chassis, accelerator = done.chassis, done.accelerator
    notes = []
    slowest = max(done.draws, key=lambda one: one.late)
    if slowest.late > 1.005:
        notes.append(
            f"power cap: rank class {slowest.rank_class} would take {slowest.late - 1:.1%} longer "
            "than simulated at the clock that its cap leaves"
        )
    hottest = max(float(tj.max()) for tj in done.junctions_c.values())
    limit_c = accelerator.thermal.limit_c
    if hottest > limit_c + 0.5:
        notes.append(
            f"temperature: {accelerator.name} reaches {hottest:.0f} C, {hottest - limit_c:.0f} K "
            "above its limit; lower the supply temperature or raise the flow"
        )
    worst = max(done.racks, key=lambda rack: rack.heat_w)
    if worst.heat_w > chassis.rack_limit_w:
        notes.append(
            f"rack: {worst.heat_w / 1e3:.1f} kW is over the {chassis.rack_limit_w / 1e3:.0f} kW "
            f"that a {chassis.name} rack position powers and cools"
        )
    airiest = max(math.fsum(one.air_w.values()) for one in done.splits)
    if airiest > chassis.air_limit_w:
        notes.append(
            f"air: {airiest / 1e3:.1f} kW of heat to air is over the practical "
            f"{chassis.air_limit_w / 1e3:.0f} kW of a rack"
        )
    if loop is not None and loop.supply_c > chassis.supply_max_c:
        notes.append(
            f"coolant: a supply of {loop.supply_c:.0f} C is above the {chassis.supply_max_c:.0f} C "
            f"that {chassis.name} allows"
        )
    return notes
