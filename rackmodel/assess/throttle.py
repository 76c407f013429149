"""The clock that a site leaves a step: its power cap, and the power that its coolant carries away.

In:  a function that simulates the step at a clock; a site, an accelerator, its machine.
Out: the result at the clock that is left; whether a site could be too hot at all.
Left out: clock and power of one step (`clock`, `power`), the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from rackmodel.assess import tray_heat
from rackmodel.assess.chassis import Chassis, chassis_of
from rackmodel.assess.clock import settle_clock
from rackmodel.assess.power import Assessment, Busy, assess_power
from rackmodel.assess.site import GENERIC_CHASSIS, Site
from rackmodel.assess.step import others_of
from rackmodel.errors import CannotRun
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.result.result import Result
from rackmodel.topology import Topology

MOST_THROTTLES = 8  # times that a step is made slower for its coolant; three do as a rule

# Below the design flow the convective part of the resistance rises; a rack that draws two thirds
# of its rating at the design rise has 0.8 to 1.2 times its design resistance.
_SPREAD = 1.2
TOLERANCE_K = 0.5


def may_overheat(accelerator: Accelerator, chassis: Chassis, *, cap_w: float) -> bool:
    """Return whether an accelerator at its cap could pass its limit; a cheap bound, no simulation.

    A given flow is not bounded here: it may be far from the design, so the answer is yes.
    """
    if chassis.flow_lpm is not None:
        return True
    spread = 1.0 if chassis.cooling == "air" else _SPREAD
    if chassis.cooling != "air" and chassis.rise_k > chassis.design_rise_k:  # a smaller flow
        spread *= (chassis.rise_k / chassis.design_rise_k) ** accelerator.thermal.flow_exponent
    if chassis.cooling == "air":
        coolant_c = chassis.air_inlet_c + 0.5 * chassis.air_rise_k
    else:
        coolant_c = chassis.supply_c + 0.5 * chassis.rise_k
    resistance = tray_heat.k_per_w(accelerator, chassis, None)
    return coolant_c + spread * resistance * cap_w > accelerator.thermal.limit_c


def cooled_w(done: Assessment) -> float | None:
    """Return the power at which the hottest junction stands at its limit; None if none is above it.
    [W]

    Raises
    ------
    CannotRun
        If the coolant leaves less than an accelerator draws idle.
    """
    accelerator = done.accelerator
    limit_c = accelerator.thermal.limit_c
    hottest = max(float(tj.max()) for tj in done.junctions_c.values())
    if hottest <= limit_c + TOLERANCE_K:
        return None
    left_w = (limit_c - done.coolant_c) / done.k_per_w
    if not (math.isfinite(left_w) and left_w > accelerator.power.idle_w):
        raise CannotRun(
            f"temperature: coolant of {done.coolant_c:.0f} C leaves {accelerator.name} "
            f"{max(0.0, left_w):.0f} W below its limit of {limit_c:.0f} C, less than it draws "
            f"idle ({accelerator.power.idle_w:.0f} W); lower the supply or raise the flow"
        )
    return left_w


class _Steps:
    """Simulates a step at clocks; the last is kept."""

    def __init__(self, result_at: Callable[[Mapping[str, float]], Result]) -> None:
        self.result_at = result_at
        self.clocks: dict[str, float] = {}
        self.last = result_at({})

    def at(self, clocks: Mapping[str, float]) -> Result:
        if clocks != self.clocks:
            self.clocks, self.last = dict(clocks), self.result_at(clocks)
        return self.last


def under_cap(
    result_at: Callable[[Mapping[str, float]], Result],
    accelerator: Accelerator,
    site: Site,
    machine: Topology,
    catalog: Catalog,
) -> tuple[Result, dict[str, Any]]:
    """Return the result at the clock that power cap and coolant leave, and what to tell of it.

    Clock, power and time depend on each other: the step is simulated until the clock stands still.
    A cap that the job stays below by itself changes nothing. An accelerator whose junction would
    pass its limit throttles: it is capped at the power that the coolant carries away.

    Parameters
    ----------
    result_at : simulates the step at the clocks of accelerators by name, over those that their own
        caps leave; 1 where they are left out.

    Returns
    -------
    result; {cap_w, cap_clock (over that under the accelerator's own cap), cap_slows (whether it is
    lower), cap_simulations, thermal_cap_w (None where the coolant sets no limit)}.

    Raises
    ------
    CannotRun
        If cap or coolant leave too little, or the clock never stands still.
    """
    cap_w = accelerator.power_w if site.power_cap_w is None else site.power_cap_w
    steps = _Steps(result_at)
    usual = steps.at({})
    count = 1

    def settled(watts: float) -> int:
        steps.at({})
        return settle_clock(
            lambda clocks: steps.at(clocks).stretches,
            accelerator,
            watts,
            device_busy=usual.device_busy,
            others_at=lambda: others_of(steps.last),
        )[1]

    if site.power_cap_w is not None and cap_w < accelerator.power_w:
        count = settled(cap_w)
    thermal_w: float | None = None
    chassis = site.at(chassis_of(catalog, machine.chassis or GENERIC_CHASSIS))
    if may_overheat(accelerator, chassis, cap_w=cap_w):
        for _ in range(MOST_THROTTLES):
            result = steps.last
            done = assess_power(
                result.stretches,
                result.rack_columns,
                accelerator,
                chassis,
                step_s=result.step_s,
                cap_w=thermal_w or cap_w,
                busy=Busy(result.device_busy),
                others=others_of(result),
            )
            left_w = cooled_w(done)
            if left_w is None:
                break
            thermal_w = min(left_w, 0.999 * (thermal_w or cap_w))
            try:
                count += settled(thermal_w)
            except CannotRun as reason:
                raise CannotRun(
                    f"temperature: the coolant leaves {accelerator.name} {thermal_w:.0f} W at its "
                    f"limit of {accelerator.thermal.limit_c:.0f} C, less than the job draws at the "
                    "lowest clock; lower the supply or raise the flow"
                ) from reason
    clocks = steps.clocks
    facts = {
        "cap_w": cap_w,
        "cap_clock": clocks.get(accelerator.name, 1.0),
        "cap_slows": min(clocks.values(), default=1.0) < 1.0 - 1e-6,
        "cap_simulations": count,
        "thermal_cap_w": thermal_w,
    }
    return steps.last, facts
