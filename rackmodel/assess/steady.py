"""What an accelerator draws while one kernel runs on and on, and how fast its cap lets it run.

In:  an accelerator, `Kernel`, the chassis that cools it, a cap.
Out: `Steady`: power, clock, speed, temperature; `edge_w`, what a meter reads as it begins.
Left out: jobs, whose kernels alternate (`step`), and what stands around the accelerator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from rackmodel.assess import coolant, tray_heat
from rackmodel.assess.chassis import Chassis
from rackmodel.hardware import Accelerator
from rackmodel.hardware.power_model import (
    best_flops_per_s,
    flop_energy_j,
    highest_clock,
    leakage_ratio,
    voltage_ratio,
)

# After a wait the clock stands at its highest; the controller of a B300 lets products draw what
# they would without a cap for so long: samples of 13 ms read 717 W under 500 W, 853 W under 700 W.
REACTS_S = 2.5e-3
ROUNDS = 50  # of leakage and temperature, whose loop gain is below 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What runs on and on.

    precision : of matrix products at their best rate; None for none. hbm_share : of the HBM rate
    that is moved. active : of the power of a resident kernel, 0 where nothing runs. toggles :
    energy of a FLOP over the catalog's, by how much its operands switch.
    """

    precision: str | None = None
    hbm_share: float = 0.0
    active: float = 1.0
    toggles: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """Where power and temperature settle.

    clock : over the reference clock; matrix products run as many times as fast as there.
    """

    power_w: float
    clock: float
    junction_c: float


def steady(
    accelerator: Accelerator, kernel: Kernel, *, chassis: Chassis, cap_w: float | None = None
) -> Steady:
    """Return where an accelerator settles that runs one kernel under a cap.

    cap_w : None takes the accelerator's own. [W]
    """
    power = accelerator.power
    loop = None
    if chassis.cooling != "air":
        loop = coolant.loop(replace(chassis, flow_lpm=None), coolant.design_liquid_w(chassis))
    coolant_c = tray_heat.coolant_at(chassis, loop)
    k_per_w = tray_heat.k_per_w(accelerator, chassis, loop)
    flop_w = 0.0
    if kernel.precision is not None:
        rate = best_flops_per_s(accelerator, kernel.precision)
        flop_w = power.data_toggle * rate * flop_energy_j(accelerator, kernel.precision)
        flop_w *= kernel.toggles
    moved_w = kernel.hbm_share * power.e_hbm_j_per_byte * accelerator.hbm_bytes_per_s
    rising = np.array(power.act_w * kernel.active + flop_w)
    limit_w = accelerator.power_w if cap_w is None else cap_w
    junction_c = coolant_c
    for _ in range(ROUNDS):
        idle_w = power.idle_w * float(leakage_ratio(np.array(junction_c), power))
        fixed = np.array(idle_w + moved_w)
        clock = highest_clock(
            fixed=fixed, act=rising, flop=np.array(0.0), cap=np.array(limit_w), power=power
        )
        volts = voltage_ratio(clock, power)
        watts = float(fixed + rising * clock * volts**2)
        junction_c = coolant_c + k_per_w * watts
    return Steady(power_w=watts, clock=float(clock), junction_c=junction_c)


def edge_w(
    accelerator: Accelerator,
    kernel: Kernel,
    *,
    chassis: Chassis,
    window_s: float,
    cap_w: float | None = None,
) -> float:
    """Return the highest mean over a window as a kernel begins after a wait. [W]

    Until the controller acts it draws what no cap holds, up to the electrical limit of the part
    (`peak_ratio` of its own cap, whatever cap is set); from then on the cap.
    """
    held_w = steady(accelerator, kernel, chassis=chassis, cap_w=cap_w).power_w
    free_w = steady(accelerator, kernel, chassis=chassis, cap_w=math.inf).power_w
    most_w = min(free_w, accelerator.power.peak_ratio * accelerator.power_w)
    return held_w + max(0.0, most_w - held_w) * min(1.0, REACTS_S / window_s)
