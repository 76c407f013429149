"""What stands between a rack and its limits: power shelf, busbar, breaker, CDU, air, junction.

In:  an `Assessment`: power of every class of racks over a step, its heat and temperatures.
Out: `margins`, the load and the limit of each part of the hottest rack over the window that the
     part answers to; `warnings` where one is passed; `heating`, temperatures after an edge.
Left out: what protects a part (its trip curve), the hall's feeds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rackmodel.assess import coolant
from rackmodel.assess.power import Assessment
from rackmodel.assess.rack_power import RackPower
from rackmodel.assess.windows import moving_mean
from rackmodel.columns import Floats

BUSBAR_V = 54.0  # OCP ORv3: 48 to 54 V
BREAKER_SHARE = 0.8  # of its rating that a breaker carries without end; NFPA 70
# A minute is what heat in a loop of about 100 s answers to; it and breakers see the mean of a step.
SLOW_S, METER_S, PULSE_S = 60.0, 1.0, 20e-3


def margins(done: Assessment) -> list[dict[str, Any]]:
    """Return the parts of the hottest rack, the fullest first.

    Returns
    -------
    part, window_s (mean over it; 0 for a temperature), load, limit, unit, share (of the limit that
    is used; of a junction, of the rise above its coolant), remedy.
    """
    chassis = done.chassis
    at = max(range(len(done.racks)), key=lambda i: done.racks[i].heat_w)
    rack, split = done.racks[at], done.splits[at]

    def highest(watts: Floats, window_s: float) -> float:
        return float(moving_mean(watts, done.step_s / len(watts), window_s).max())

    # Storage stands in the power shelf: what feeds it sees the hall's side, the busbar the load.
    fed, load = (
        watts * (1.0 - rack.part_w["psu"] / rack.heat_w) for watts in (rack.hall_w, rack.input_w)
    )
    installed = rack.chassis * chassis.psu_installed_w
    breaker = chassis.rack_limit_w / BREAKER_SHARE
    supply = "power shelf" if chassis.busbar_loss > 0 else "power supplies"
    less = "smooth it (--smooth capacitors=...) or cap accelerators (--power-cap)"
    rows = [
        _row(supply, METER_S, highest(fed, METER_S), installed, "W", f"add supplies, or {less}"),
        _row(
            f"{supply}, pulse",
            PULSE_S,
            highest(fed, PULSE_S),
            installed * chassis.psu_pulse,
            "W",
            less,
        ),
        _row("breaker", SLOW_S, rack.heat_w, BREAKER_SHARE * breaker, "W", _FEWER),
        _row("breaker, surge", METER_S, highest(rack.hall_w, METER_S), breaker, "W", less),
    ]
    if chassis.busbar_loss > 0:
        amperes = highest(load, METER_S) / BUSBAR_V
        rows.append(_row("busbar", METER_S, amperes, installed / BUSBAR_V, "A", less))
    if chassis.cooling != "air":
        wet, most = math.fsum(split.liquid_w.values()), coolant.design_liquid_w(chassis)
        warm = "lower the power cap, or give the rack a larger CDU"
        rows.append(_row("CDU", SLOW_S, wet, rack.chassis * most, "W", warm))
    dry = math.fsum(split.air_w.values())
    if dry > 0:
        rows.append(_row("air", SLOW_S, dry, chassis.air_limit_w, "W", _FEWER))
    return sorted([*rows, _junction(done, rack)], key=lambda row: -row["share"])


_FEWER = "spread the job over more racks, or cap accelerators (--power-cap)"


def _row(
    part: str, window_s: float, load: float, limit: float, unit: str, remedy: str
) -> dict[str, Any]:
    return {
        "part": part,
        "window_s": window_s,
        "load": load,
        "limit": limit,
        "unit": unit,
        "share": load / limit,
        "remedy": remedy,
    }


def _junction(done: Assessment, rack: RackPower) -> dict[str, Any]:
    limit_c = done.accelerator.thermal.limit_c
    hottest = max(float(done.junctions_c[name].max()) for name in rack.ranks)
    row = _row("junction", 0.0, hottest, limit_c, "degC", "lower --supply-c or raise --flow-lpm")
    return row | {"share": (hottest - done.coolant_c) / (limit_c - done.coolant_c)}


def warnings(done: Assessment) -> list[str]:
    """Say in one line each which of what nothing else warns of is passed, and the remedy."""
    return [
        f"{row['part']}: {row['load']:,.0f} {row['unit']} over {row['window_s']:g} s is more than"
        f" its {row['limit']:,.0f} {row['unit']}; {row['remedy']}"
        for row in margins(done)
        if row["share"] > 1.0 and row["part"] not in ("breaker", "air", "junction")
    ]


def heating(done: Assessment, idle_w: float, times_s: Floats, *, stops: bool = False) -> Floats:
    """Return junction and coolant temperatures of a job that starts, or stops, at time 0.

    idle_w : of an accelerator that does nothing. times_s : [N], from 0 on.

    Returns
    -------
    [2, N]: mean junction of the rank class that draws most, coolant that leaves the rack (air where
    it has no liquid). Die, cold plate and loop follow an edge with their own time constants; swings
    within a step, which the loop never feels, are left out. [C]
    """
    thermal, chassis = done.accelerator.thermal, done.chassis
    busiest = max(done.draws, key=lambda one: one.total_w)
    at = max(range(len(done.racks)), key=lambda i: done.racks[i].heat_w)
    loop = done.loops[at]
    if loop is None:
        supply_c, rise_k, slow_s = chassis.air_inlet_c, chassis.air_rise_k, thermal.tau_air_s
        back_s = 0.0  # air passes a rack in a second
    else:
        supply_c, rise_k, slow_s = loop.supply_c, loop.return_c - loop.supply_c, thermal.tau_plate_s
        back_s = thermal.tau_loop_s
    idle_share = idle_w / busiest.total_w

    def between(tau_s: float, low: float, high: float) -> Floats:
        left = np.exp(-times_s / tau_s) if tau_s > 0 else np.zeros_like(times_s)
        begin, end = (high, low) if stops else (low, high)
        return end + (begin - end) * left

    rise = between(back_s, idle_share * rise_k, rise_k)
    full_k = done.k_per_w * busiest.total_w
    parts = ((thermal.die_share, thermal.tau_die_s), (1.0 - thermal.die_share, slow_s))
    above = sum(
        between(tau_s, share * idle_share * full_k, share * full_k) for share, tau_s in parts
    )
    return np.stack([supply_c + 0.5 * rise + above, supply_c + rise])
