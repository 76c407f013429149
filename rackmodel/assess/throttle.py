"""Throttling: the power that a junction at its limit leaves an accelerator.

In:  an accelerator, a chassis, the coolant of the site; an `Assessment`.
Out: whether the site could be too hot at all, and the power that it leaves.
Left out: what that power does to the step: the caller simulates again at the clock that it leaves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rackmodel.assess import heat
from rackmodel.assess.chassis import Chassis
from rackmodel.errors import CannotRun

if TYPE_CHECKING:
    from rackmodel.assess.power import Assessment
    from rackmodel.hardware import Accelerator

# Below the design flow the convective part of the resistance rises; a rack that draws two thirds
# of its rating at the design rise has 0.8 to 1.2 times its design resistance.
_SPREAD = 1.2
TOLERANCE_K = 0.5


def may_overheat(
    accelerator: Accelerator,
    chassis: Chassis,
    *,
    cap_w: float,
    supply_c: float | None = None,
    rise_k: float | None = None,
    flow_lpm: float | None = None,
) -> bool:
    """Return whether an accelerator at its cap could pass its limit; a cheap bound, no simulation.

    A given flow is not bounded here: it may be far from the design, so the answer is yes.
    """
    if flow_lpm is not None:
        return True
    air = chassis.cooling == "air"
    supply = (chassis.air_inlet_c if air else chassis.supply_c) if supply_c is None else supply_c
    rise = (chassis.air_rise_k if air else chassis.rise_k) if rise_k is None else rise_k
    spread = 1.0 if air else _SPREAD
    if not air and rise > chassis.rise_k:  # a larger rise is a smaller flow
        spread *= (rise / chassis.rise_k) ** accelerator.thermal.flow_exponent
    resistance = heat.k_per_w(accelerator, chassis, None)
    return supply + 0.5 * rise + spread * resistance * cap_w > accelerator.thermal.limit_c


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
