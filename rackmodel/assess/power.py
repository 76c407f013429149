"""Power, heat, coolant and temperature of all racks in one simulated step.

In:  the timeline and racks frames, an accelerator, a chassis, the coolant that a hall supplies.
Out: `Assessment`, with warnings where a rack, a junction or a cap is passed.
Left out: money and failures (`cost`, `reliability`), the dict that a user sees (`step`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rackmodel.assess import coolant, heat
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
from rackmodel.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

    from rackmodel.hardware import Accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """Everything that is worked out about the power of a step, before it is written as a dict."""

    chassis: Chassis
    accelerator: Accelerator
    draws: list[Draw]
    racks: list[RackPower]
    loops: list[Loop | None]
    splits: list[heat.Split]
    junctions_c: dict[int, np.ndarray[Any, Any]]
    coolant_c: float  # mean of what cools the accelerators
    k_per_w: float  # junction to coolant
    step_s: float
    notes: list[str]

    @property
    def racks_w(self) -> float:
        """Mean power of all racks. [W]"""
        return math.fsum(rack.count * rack.heat_w for rack in self.racks)

    def trays(self) -> pd.DataFrame:
        """Return the elevation of every rack class (`heat.heat_by_tray`)."""
        return heat.heat_by_tray(
            self.racks,
            self.chassis,
            rank_w={one.rank_class: one.total_w for one in self.draws},
            warmest_c={name: float(tj.max()) for name, tj in self.junctions_c.items()},
            returns_c=[loop.return_c if loop else None for loop in self.loops],
            limit_c=self.accelerator.thermal.limit_c,
        )


def assess_power(
    timeline: pd.DataFrame,
    racks: pd.DataFrame,
    accelerator: Accelerator,
    chassis: Chassis,
    *,
    step_s: float,
    cap_w: float | None = None,
    supply_c: float | None = None,
    rise_k: float | None = None,
    flow_lpm: float | None = None,
    nic_optics_w: float | None = None,
    optics_w: float = 0.0,
    device_busy: float = 1.0,
) -> Assessment:
    """Work out power, heat, coolant and temperature of every class of racks.

    Parameters
    ----------
    timeline, racks : frames as the simulation gives them; see `cut_timeline` and `rack_power`.
    step_s : length of the step. [s]
    cap_w : power cap of an accelerator; None takes its own. [W]
    supply_c, rise_k, flow_lpm : coolant; None takes those of the chassis (and its rise). For a
        chassis without liquid the first two are those of the air.
    nic_optics_w, optics_w : modules in NICs and on scale-up links, of one accelerator; None takes
        the modules in NICs that the chassis table states. [W]
    device_busy : share of compute pieces in which kernels run (`pieces.cut_timeline`).

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
    parts = dict(chassis.part_w)
    if nic_optics_w is not None:
        parts["nic_optics"] = nic_optics_w * chassis.accelerators
    if optics_w:
        parts["optics"] = optics_w * chassis.accelerators
    chassis = replace(chassis, part_w=parts)
    liquid = chassis.cooling != "air"
    if not liquid:
        chassis = _in_air(chassis, supply_c, rise_k, flow_lpm)
    elif supply_c is not None:
        chassis = replace(chassis, supply_c=supply_c)
    pieces = cut_timeline(timeline, accelerator, step_s, device_busy)
    bins = bins_for(step_s, len(pieces))
    # A loop at the design point to begin with; its flow, and with it the resistance, follow the
    # heat.
    loop = (
        coolant.loop(chassis, coolant.design_liquid_w(chassis), rise_k=rise_k) if liquid else None
    )
    for _ in range(6):
        coolant_c = heat.coolant_at(chassis, loop)
        resistance = heat.k_per_w(accelerator, chassis, loop)
        draws = draw_all(pieces, accelerator, cap_w=cap, coolant_c=coolant_c, k_per_w=resistance)
        idle_w = idle_accelerator_w(accelerator, coolant_c, resistance)
        if not liquid:
            break
        # Coolant answers to mean heat: a coarse sample will do until it has settled.
        found = rack_power(draws, racks, chassis, idle_w=idle_w, bins=FEWEST_BINS)
        splits = [heat.split(rack.part_w, chassis) for rack in found]
        loops = [
            coolant.loop(
                chassis,
                math.fsum(one.liquid_w.values()),
                count=rack.chassis,
                rise_k=rise_k,
                given_lpm=flow_lpm,
            )
            for rack, one in zip(found, splits, strict=True)
        ]
        # All ranks take the coolant of the kind of rack that most racks are.
        common = max(range(len(found)), key=lambda i: found[i].count * found[i].used)
        settled = (
            loop is not None
            and abs(loops[common].mean_c - loop.mean_c) < 0.01
            and abs(loops[common].flow_ratio - loop.flow_ratio) < 1e-3
        )
        loop = loops[common]
        if settled:
            break
    found = rack_power(draws, racks, chassis, idle_w=idle_w, bins=bins)
    splits = [heat.split(rack.part_w, chassis) for rack in found]
    warm = {
        one.rank_class: heat.junction_c(
            one, accelerator, chassis, coolant_c=coolant_c, k_per_w=resistance
        )
        for one in draws
    }
    notes = _warnings(draws, found, splits, loop, chassis, accelerator, warm)
    return Assessment(
        chassis=chassis,
        accelerator=accelerator,
        draws=draws,
        racks=found,
        loops=list(loops) if liquid else [None] * len(found),
        splits=splits,
        junctions_c=warm,
        coolant_c=coolant_c,
        k_per_w=resistance,
        step_s=step_s,
        notes=notes,
    )


def check_coolant(
    chassis: Chassis,
    *,
    supply_c: float | None = None,
    rise_k: float | None = None,
    flow_lpm: float | None = None,
) -> None:
    """Refuse coolant or air that no load could make right, before anything is simulated.

    Raises
    ------
    InvalidInput
        If it leaves the range of the fluid, or boils a third of the rated heat.
    """
    if chassis.cooling == "air":
        _in_air(chassis, supply_c, rise_k, flow_lpm)
    else:
        coolant.loop(
            chassis,
            coolant.design_liquid_w(chassis) / 3.0,
            supply_c=supply_c,
            rise_k=rise_k,
            given_lpm=flow_lpm,
        )


def _in_air(
    chassis: Chassis, supply_c: float | None, rise_k: float | None, flow_lpm: float | None
) -> Chassis:
    """Return an air-cooled chassis with other air."""
    if flow_lpm is not None:
        raise InvalidInput(f"coolant: {chassis.name} is cooled by air and has no flow of liquid")
    inlet_c = chassis.air_inlet_c if supply_c is None else supply_c
    rise = chassis.air_rise_k if rise_k is None else rise_k
    if not -30.0 <= inlet_c <= 60.0:
        raise InvalidInput(f"air: expected a supply between -30 and 60 C, found {inlet_c:g}")
    if not 1.0 <= rise <= 60.0:
        raise InvalidInput(f"air rise: expected 1 to 60 K, found {rise:g}")
    return replace(chassis, air_inlet_c=inlet_c, air_rise_k=rise)


def _warnings(
    draws: Sequence[Draw],
    racks: Sequence[RackPower],
    splits: Sequence[heat.Split],
    loop: Loop | None,
    chassis: Chassis,
    accelerator: Accelerator,
    junctions_c: Mapping[int, np.ndarray[Any, Any]],
) -> list[str]:
    """Say in one line each what a rack can't stand."""
    notes = []
    slowest = max(draws, key=lambda one: one.late)
    if slowest.late > 1.005:
        notes.append(
            f"power cap: rank class {slowest.rank_class} would take {slowest.late - 1:.1%} longer "
            "than simulated at the clock that its cap leaves"
        )
    hottest = max(float(tj.max()) for tj in junctions_c.values())
    limit_c = accelerator.thermal.limit_c
    if hottest > limit_c + 0.5:
        notes.append(
            f"temperature: {accelerator.name} reaches {hottest:.0f} C, {hottest - limit_c:.0f} K "
            "above its limit; lower the supply temperature or raise the flow"
        )
    worst = max(racks, key=lambda rack: rack.heat_w)
    if worst.heat_w > chassis.rack_limit_w:
        notes.append(
            f"rack: {worst.heat_w / 1e3:.1f} kW is over the {chassis.rack_limit_w / 1e3:.0f} kW "
            f"that a {chassis.name} rack position powers and cools"
        )
    airiest = max(math.fsum(one.air_w.values()) for one in splits)
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
