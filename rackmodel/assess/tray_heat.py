"""Where the heat goes: liquid or air by part, rack by tray, and how hot the junctions get.

In:  `RackPower` of every class of racks, the draws of the rank classes, the chassis, its coolant
     loop.
Out: liquid and air per rack, a frame with one row per tray, junction temperature over time.
Left out: coolant properties (`coolant`), the facility (`cost`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rackmodel.assess.accelerator_power import Draw
from rackmodel.assess.chassis import BURNED, Chassis
from rackmodel.assess.coolant import Loop
from rackmodel.assess.rack_power import RackPower, sample
from rackmodel.columns import Floats
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator

# Which trays hold a part, best first; the first kind that the rack has takes it.
_HOLDERS = {
    "accelerator": ("compute", "tray", "node"),
    BURNED: ("compute", "tray", "node"),
    "cpu": ("host", "compute", "node", "tray"),
    "memory": ("host", "compute", "node", "tray"),
    "nic": ("host", "compute", "node", "tray"),
    "nic_optics": ("host", "compute", "node", "tray"),
    "board": ("host", "compute", "node", "tray"),
    "switch": ("switch", "compute", "node", "tray"),
    "switch_tray": ("switch", "compute", "node", "tray"),
    "management": ("network", "switch", "compute", "node"),
    "busbar": ("shelf", "compute", "node", "tray"),
    "psu": ("shelf", "compute", "node", "tray"),
}
_WARMEST_BINS = 1024


class Split(NamedTuple):
    """Heat of one rack by medium and part. [W]"""

    liquid_w: dict[str, float]
    air_w: dict[str, float]


def split(part_w: Mapping[str, float], chassis: Chassis) -> Split:
    """Split the heat of every part between liquid and air; no watt is lost."""
    liquid = {part: watts * chassis.to_liquid(part) for part, watts in part_w.items()}
    return Split(liquid, {part: watts - liquid[part] for part, watts in part_w.items()})


def coolant_at(chassis: Chassis, loop: Loop | None) -> float:
    """Mean temperature of what cools the accelerators. [C]"""
    if chassis.cooling == "air" or loop is None:
        return chassis.air_inlet_c + 0.5 * chassis.air_rise_k
    return loop.mean_c


def k_per_w(accelerator: Accelerator, chassis: Chassis, loop: Loop | None) -> float:
    """Junction to coolant, at the flow of the loop. [K/W]

    Immersion without a value of its own counts as a heat sink in air: H100 has the same 0.06 in
    both.

    Raises
    ------
    InvalidInput
        If the accelerator has no resistance for this cooling.
    """
    thermal = accelerator.thermal
    kinds = thermal.r_k_per_w
    kind = chassis.thermal_kind
    if kind == "immersion" and kind not in kinds:
        kind = "air"
    if kind not in kinds:
        raise InvalidInput(
            f"{accelerator.name} has no thermal resistance for {kind}; set "
            f"accelerators.{accelerator.name}.thermal.r_k_per_w.{kind}"
        )
    r = kinds[kind]
    if loop is None or chassis.cooling == "air":
        return r
    spread = float(max(loop.flow_ratio, 1e-3) ** -thermal.flow_exponent)
    return r * (thermal.die_share + (1.0 - thermal.die_share) * spread)


def junction_c(
    draw: Draw, accelerator: Accelerator, chassis: Chassis, *, coolant_c: float, k_per_w: float
) -> Floats:
    """Return the junction temperature over a repeating step, in equal bins. [C]

    Two lumped masses in series with the coolant: die (fast) and cold plate or heat sink (slow). The
    periodic answer is exact for power that is constant in each bin's harmonics (solved by Fourier).
    """
    thermal = accelerator.thermal
    bins = min(_WARMEST_BINS, max(64, 2 * len(draw.power_w)))
    power = sample(draw, bins)
    step_s = float(draw.edges_s[-1])
    w = 2j * np.pi * np.arange(bins // 2 + 1) / step_s
    slow_s = thermal.tau_air_s if chassis.cooling == "air" else thermal.tau_plate_s
    answer = k_per_w * (
        thermal.die_share / (1.0 + w * thermal.tau_die_s)
        + (1.0 - thermal.die_share) / (1.0 + w * slow_s)
    )
    return coolant_c + np.fft.irfft(np.fft.rfft(power) * answer, bins)


def heat_by_tray(
    racks: Sequence[RackPower],
    chassis: Chassis,
    *,
    rank_w: Mapping[int, float],
    warmest_c: Mapping[int, float],
    returns_c: Sequence[float | None],
    limit_c: float,
) -> list[dict[str, Any]]:
    """Return the rack elevation: one row per tray of every rack class, from the top downwards.

    Keys: rack_class, tray, name, kind, top_u (rack units from the top), units, accelerators,
    heat_w, liquid_w, air_w, coolant_c and exhaust_c (liquid and air leaving the tray: both are
    balanced to equal rises), junction_c (the warmest of the tray) and limit_c; the last four are
    None where there is no such thing. The heat of a rack's trays is the heat of the rack. Ranks
    fill the trays in the order of their classes.

    rank_w, warmest_c : mean power and peak junction temperature of a rank, by rank class. [W, C]
    returns_c : coolant return of every rack class, None without liquid. [C]
    """
    rows: list[dict[str, Any]] = []
    exhaust_c = chassis.air_inlet_c + chassis.air_rise_k
    for rack, return_c in zip(racks, returns_c, strict=True):
        trays = _trays(rack, chassis)
        kinds = {kind for kind, _ in trays}
        many = {kind: sum(k == kind for k, _ in trays) for kind in kinds}
        others = {part: w for part, w in rack.part_w.items() if part != "accelerator"}
        heat = _by_kind(others, kinds, rack.part_w["accelerator"])
        cool = {part: w * chassis.to_liquid(part) for part, w in others.items()}
        liquid = _by_kind(cool, kinds, rack.part_w["accelerator"])
        waiting = [c for c, ranks in sorted(rack.ranks.items()) for _ in range(ranks)]
        busy_w = sum(rank_w[c] for c in waiting)
        spare = rack.accelerators - len(waiting)
        idle_w = (rack.part_w["accelerator"] - busy_w) / spare if spare else 0.0
        holder = _holder("accelerator", kinds)
        places = _shared_out(rack.accelerators, many[holder])
        seen = dict.fromkeys(kinds, 0)
        top = 0
        for index, (kind, units) in enumerate(trays):
            place = places[seen[kind]] if kind == holder else 0
            own, waiting = waiting[:place], waiting[place:]
            own_w = sum(rank_w[c] for c in own) + (place - len(own)) * idle_w
            watts = heat[kind] / many[kind] + own_w
            wet = liquid[kind] / many[kind] + own_w * chassis.to_liquid("accelerator")
            seen[kind] += 1
            rows.append(
                {
                    "rack_class": rack.rack_class,
                    "tray": index,
                    "name": f"{kind} {seen[kind]}",
                    "kind": kind,
                    "top_u": top,
                    "units": units,
                    "accelerators": len(own),
                    "heat_w": watts,
                    "liquid_w": wet,
                    "air_w": watts - wet,
                    "coolant_c": return_c if wet > 0 else None,
                    "exhaust_c": exhaust_c if watts - wet > 0 else None,
                    "junction_c": max((warmest_c[c] for c in own), default=None),
                    "limit_c": limit_c if own else None,
                }
            )
            top += units
    return rows


def _shared_out(count: int, trays: int) -> list[int]:
    """Deal so many accelerators to trays as evenly as can be, the fuller trays first."""
    each, more = divmod(count, trays)
    return [each + (index < more) for index in range(trays)]


def _trays(rack: RackPower, chassis: Chassis) -> list[tuple[str, int]]:
    """Kind and height of every tray; nodes as many as the rack holds."""
    trays = [(tray.kind, tray.units) for tray in chassis.trays for _ in range(tray.count)]
    nodes = [tray for tray in trays if tray[0] == "node"]
    if not nodes:
        return trays
    others = [tray for tray in trays if tray[0] != "node"]
    return [nodes[0]] * rack.chassis + others


def _holder(part: str, kinds: set[str]) -> str:
    return next((kind for kind in _HOLDERS.get(part, ()) if kind in kinds), sorted(kinds)[0])


def _by_kind(
    part_w: Mapping[str, float], kinds: set[str], accelerator_w: float
) -> dict[str, float]:
    """Sum parts by the kind of tray that holds them; fans and 12 V stage go with the load."""
    heat = dict.fromkeys(kinds, 0.0)
    spread = 0.0
    for part, watts in part_w.items():
        if part in ("fan", "dc_stage"):
            spread += watts
        else:
            heat[_holder(part, kinds)] += watts
    loads = {kind: w for kind, w in heat.items() if kind != "shelf"}
    loads[_holder("accelerator", kinds)] += accelerator_w
    total = sum(loads.values())
    for kind, watts in loads.items():
        heat[kind] += spread * (watts / total if total else 1.0 / len(loads))
    return heat
