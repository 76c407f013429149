"""Power, heat, coolant and temperature of all racks in one simulated step.

In:  the timeline and racks frames, an accelerator, a chassis, the coolant that a hall supplies.
Out: `Assessment`, with warnings where a rack, a junction or a cap is passed.
Left out: money and failures (`cost`, `reliability`), the dict that a user sees (`step`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from rackmodel.assess import coolant, tray_heat
from rackmodel.assess.accelerator_power import Draw, draw_all
from rackmodel.assess.chassis import BURNED, Chassis
from rackmodel.assess.coolant import Loop
from rackmodel.assess.power_intervals import Pieces, cut_timeline
from rackmodel.assess.rack_power import (
    FEWEST_BINS,
    RackPower,
    bins_for,
    idle_accelerator_w,
    rack_power,
)
from rackmodel.columns import Table, ints, picked
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator


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
    others: Mapping[int, Accelerator] = field(default_factory=dict)  # by rank class

    @property
    def rank_members(self) -> dict[int, float]:
        """How many ranks of each class stand in all racks."""
        found = dict.fromkeys((each.rank_class for each in self.draws), 0.0)
        for rack in self.racks:
            for rank_class, members in rack.ranks.items():
                found[rank_class] += rack.count * members
        return found

    @property
    def racks_w(self) -> float:
        """Mean power of all racks. [W]"""
        return math.fsum(rack.count * rack.heat_w for rack in self.racks)

    def trays(self) -> list[dict[str, Any]]:
        """Return the elevation of every rack class (`tray_heat.heat_by_tray`)."""
        return tray_heat.heat_by_tray(
            self.racks,
            self.chassis,
            rank_w={one.rank_class: one.total_w for one in self.draws},
            warmest_c={name: float(tj.max()) for name, tj in self.junctions_c.items()},
            returns_c=[loop.return_c if loop else None for loop in self.loops],
            limit_c=self.accelerator.thermal.limit_c,
        )


class Busy(NamedTuple):
    """Shares of compute pieces in which kernels run, and hold matrix units."""

    device: float = 1.0
    units: float = 1.0


ALL_BUSY = Busy()


def assess_power(
    timeline: Table,
    racks: Table,
    accelerator: Accelerator,
    chassis: Chassis,
    *,
    step_s: float,
    cap_w: float | None = None,
    busy: Busy = ALL_BUSY,
    others: Mapping[int, Accelerator] | None = None,
) -> Assessment:
    """Work out power, heat, coolant and temperature of every class of racks.

    Parameters
    ----------
    timeline, racks : tables as the simulation gives them; see `cut_timeline` and `rack_power`.
    chassis : with coolant and smoothing of its site (`Site.at`) and the modules of its links. What
        smoothing burns warms coolant and junctions, in the mean.
    step_s : length of the step. [s]
    cap_w : power cap of an accelerator; None takes its own. [W]
    others : {rank class: accelerator} where that is another.
    busy : shares of compute pieces (`power_intervals.cut_timeline`).

    Raises
    ------
    InvalidInput
        If the frames are malformed or the coolant is impossible.
    """
    others = others or {}
    kinds = _kinds(timeline, accelerator, others, cap_w)
    for one in kinds:
        mine = timeline if not others else picked(timeline, list(timeline), one.rows)
        one.pieces = cut_timeline(mine, one.part, step_s, *busy)
    bins = bins_for(step_s, sum(len(one.pieces) for one in kinds))
    warm = _settled(kinds, racks, chassis, bins)
    found = rack_power(warm.draws, racks, chassis, idle_w=warm.idle_w, bins=bins)
    around_c = warm.coolant_c + warm.k_per_w * _burned_w(found)
    done = Assessment(
        chassis=chassis,
        accelerator=accelerator,
        draws=warm.draws,
        racks=found,
        loops=[*warm.loops] or [None] * len(found),
        splits=[tray_heat.split(rack.part_w, chassis) for rack in found],
        junctions_c={
            one.rank_class: tray_heat.junction_c(
                one,
                others.get(one.rank_class, accelerator),
                chassis,
                coolant_c=around_c,
                k_per_w=warm.resistances.get(one.rank_class, warm.k_per_w),
            )
            for one in warm.draws
        },
        coolant_c=warm.coolant_c,
        k_per_w=warm.k_per_w,
        step_s=step_s,
        others=others,
    )
    return replace(done, notes=warnings(done, warm.loop))


@dataclass(slots=True)
class _Kind:
    """Rank classes on accelerators of one kind: rows of the timeline, pieces, their cap."""

    part: Accelerator
    cap_w: float
    rows: Any
    pieces: list[Pieces] = field(default_factory=list)


def _kinds(
    timeline: Table, usual: Accelerator, others: Mapping[int, Accelerator], cap_w: float | None
) -> list[_Kind]:
    """Return the kinds of accelerators that rank classes stand on, the usual first.

    Raises
    ------
    InvalidInput
        If a cap is below the idle power of one.
    """
    found = []
    classes = ints(timeline, "rank_class") if others else np.zeros(0, dtype=np.int64)
    for part in dict.fromkeys((usual, *others.values())):
        cap = part.power_w if cap_w is None else min(cap_w, part.power_w)
        if not cap > part.power.idle_w:
            raise InvalidInput(
                f"power cap: expected more than the idle power of {part.name}, "
                f"{part.power.idle_w:g} W; found {cap:g}"
            )
        rows = np.array([others.get(one, usual) == part for one in classes.tolist()], dtype=bool)
        if not others or rows.any():
            found.append(_Kind(part, cap, np.flatnonzero(rows)))
    return found


class _Warm(NamedTuple):
    """What accelerators draw once their coolant has settled; loop : of most racks.

    resistances : junction to coolant by rank class, where that is not `k_per_w`. [K/W]
    """

    draws: list[Draw]
    loops: list[Loop]
    loop: Loop | None
    coolant_c: float
    k_per_w: float
    idle_w: float
    resistances: dict[int, float]


def _settled(kinds: Sequence[_Kind], racks: Table, chassis: Chassis, bins: int) -> _Warm:
    """Return what accelerators draw at the coolant that their own heat leaves them."""
    loops: list[Loop] = []
    loop = None
    if chassis.cooling != "air":  # at the design point to begin with; then it follows the heat
        loop = coolant.loop(replace(chassis, flow_lpm=None), coolant.design_liquid_w(chassis))
    # Coolant answers to mean heat: a coarse sample will do, but short peaks set what is burned.
    coarse = FEWEST_BINS if chassis.smoothing is None else bins
    for _ in range(6):
        coolant_c = tray_heat.coolant_at(chassis, loop)
        draws, resistances = list[Draw](), dict[int, float]()
        for one in kinds:
            own = tray_heat.k_per_w(one.part, chassis, loop)
            draws += draw_all(
                one.pieces, one.part, cap_w=one.cap_w, coolant_c=coolant_c, k_per_w=own
            )
            resistances |= {piece.rank_class: own for piece in one.pieces}
        draws.sort(key=lambda draw: draw.rank_class)
        resistance = tray_heat.k_per_w(kinds[0].part, chassis, loop)
        idle_w = idle_accelerator_w(kinds[0].part, coolant_c, resistance)
        if loop is None:
            break
        found = rack_power(draws, racks, chassis, idle_w=idle_w, bins=coarse)
        loops = [_loop_of(rack, chassis) for rack in found]
        before, loop = loop, loops[_middle(found)]
        still = abs(loop.flow_ratio - before.flow_ratio) < 1e-3
        if still and abs(loop.mean_c - before.mean_c) < 0.01:
            break
    return _Warm(draws, loops, loop, coolant_c, resistance, idle_w, resistances)


def _middle(racks: Sequence[RackPower]) -> int:
    """Return the kind of rack whose coolant all ranks take: the accelerator in the middle by heat.

    However kinds are told apart, it is the same rack.
    """
    order = sorted(range(len(racks)), key=lambda i: racks[i].heat_w)
    used = np.cumsum([racks[i].count * racks[i].used for i in order])
    return order[int(np.searchsorted(used, used[-1] / 2 * (1 - 1e-9)))]


def _burned_w(racks: list[RackPower]) -> float:
    """Return what an accelerator burns in the mean to smooth the power of its rack. [W]"""
    burned = math.fsum(rack.count * rack.part_w.get(BURNED, 0.0) for rack in racks)
    return burned / math.fsum(rack.count * rack.accelerators for rack in racks)


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
    most = {name: float(tj.max()) for name, tj in done.junctions_c.items()}
    limits = {name: done.others.get(name, accelerator).thermal.limit_c for name in most}
    worst_class = max(most, key=lambda name: most[name] - limits[name])
    hottest, limit_c = most[worst_class], limits[worst_class]
    if hottest > limit_c + 0.5:
        part = done.others.get(worst_class, accelerator)
        notes.append(
            f"temperature: {part.name} reaches {hottest:.0f} C, {hottest - limit_c:.0f} K "
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
