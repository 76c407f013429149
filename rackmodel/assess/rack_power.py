"""Power of whole racks over a step: accelerators, what stands around them, fans and conversion.

In:  the draw of every rank class, the racks frame (which ranks stand in which rack), a chassis.
Out: `RackPower` per class of equal racks: power at the plug over time, mean by part.
Left out: where the heat goes (`heat`), and what stands outside the racks (`fabric_power`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rackmodel.assess.accelerator_power import Draw
from rackmodel.assess.chassis import BURNED, Chassis
from rackmodel.assess.smoothing import Smoothed, smoothed
from rackmodel.assess.smoothing_settings import Smoothing
from rackmodel.columns import Floats, Table, each_once, floats, ints, missing
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator
from rackmodel.hardware.power_model import leakage_ratio

FINEST_S = 1e-3
FEWEST_BINS, MOST_BINS, MOST_CELLS = 64, 16384, 4_000_000
_SMOOTH = np.array(
    sorted(
        n
        for n in (2**i * 3**j * 5**k for i in range(15) for j in range(10) for k in range(7))
        if n <= MOST_BINS
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RackPower:
    """The power of one class of equal racks.

    count : racks of this class, a mean where racks of a folded machine differ (2.67 of 8 racks);
    chassis, accelerators, used : in one rack (used by the job).
    input_w [N] : at the plug, mean in N equal bins of the step; part_w : mean by part, the same
    sum. accelerator_w [N] : all accelerators of the rack. smoothed : what stands between it and the
    hall made of it, what is burned being in input_w and part_w; None where nothing does.
    """

    rack_class: int
    count: float
    chassis: int
    accelerators: int
    used: int
    ranks: dict[int, int]
    input_w: Floats
    accelerator_w: Floats
    part_w: dict[str, float]
    smoothed: Smoothed | None = None

    @property
    def hall_w(self) -> Floats:
        """What the hall gives: the power at the plug, with storage in between. [W], [N]"""
        return self.input_w if self.smoothed is None else self.smoothed.power_w

    @property
    def heat_w(self) -> float:
        """Mean electrical input, all of which becomes heat. [W]"""
        return math.fsum(self.part_w.values())


def bins_for(step_s: float, classes: int) -> int:
    """Return how many bins a step is sampled in: 1 ms each, within reason.

    A number without prime factors above 5, which Fourier transforms like.

    >>> bins_for(10.0, 4), bins_for(10.001, 4), bins_for(0.01, 4), bins_for(1000.0, 4)
    (10000, 10125, 64, 16384)
    """
    most = min(MOST_BINS, max(FEWEST_BINS, MOST_CELLS // max(1, classes)))
    wanted = int(np.clip(math.ceil(step_s / FINEST_S), FEWEST_BINS, most))
    return int(_SMOOTH[np.searchsorted(_SMOOTH, wanted)])


def sample(draw: Draw, bins: int) -> Floats:
    """Return the mean power in equal bins of the step, length `bins`; keeps the energy. [W]"""
    edges = np.linspace(0.0, draw.edges_s[-1], bins + 1)
    energy = np.interp(edges, draw.edges_s, draw.cumulative_j())
    return np.asarray(np.diff(energy) * (bins / draw.edges_s[-1]))


def idle_accelerator_w(accelerator: Accelerator, coolant_c: float, k_per_w: float) -> float:
    """Power of an accelerator without work, warmed by its own leakage. [W]"""
    power = accelerator.power
    watts = power.idle_w
    for _ in range(20):
        warm_c = np.array(coolant_c + k_per_w * watts)
        watts = power.idle_w * float(leakage_ratio(warm_c, power))
    return watts


def waiting_accelerator_w(accelerator: Accelerator, coolant_c: float, k_per_w: float) -> float:
    """Power of an accelerator that holds a job but waits, as between steps or at start-up. [W]"""
    extra_w = accelerator.power.act_w * accelerator.power.act_wait
    return idle_accelerator_w(accelerator, coolant_c + k_per_w * extra_w, k_per_w) + extra_w


def conversion_w(chassis: Chassis, count: int, accelerator_w: Floats) -> dict[str, Floats]:
    """Return what fans and conversion add in a rack of `count` chassis, by part, over time. [W]

    Fans follow the mean heat, not its swings; all else follows the load at that moment.
    """
    other = count * chassis.other_w
    heat = float(accelerator_w.mean()) + other
    full = count * chassis.fan_heat_w
    fan = count * chassis.fan_w * min(1.0, heat / full) ** chassis.fan_exponent if full else 0.0
    stage = chassis.dc_stage_loss * (
        other + fan + chassis.dc_stage_accelerator_share * accelerator_w
    )
    before_bus = accelerator_w + other + fan + stage
    busbar = chassis.busbar_loss * before_bus
    load = before_bus + busbar
    installed = count * chassis.psu_installed_w
    psu = (
        chassis.psu_fixed * installed
        + chassis.psu_linear * load
        + chassis.psu_square * load**2 / installed
    )
    return {
        "fan": np.full_like(accelerator_w, fan),
        "dc_stage": stage,
        "busbar": busbar,
        "psu": psu,
    }


def rack_power(
    draws: Sequence[Draw],
    racks: Table,
    chassis: Chassis,
    *,
    idle_w: float,
    bins: int,
) -> list[RackPower]:
    """Add up the power of every class of racks.

    Parameters
    ----------
    draws : one per rank class.
    racks : rows rack_class, count, rank_class, ranks: `ranks` ranks of that class in each such
        rack.
    idle_w : power of an accelerator that stands in a used chassis without a rank. [W]
    chassis : what its smoothing burns is a part of that name, and heats the accelerators.
    bins : samples of the step.

    Raises
    ------
    InvalidInput
        If `racks` names a rank class that was not drawn, or no ranks at all.
    """
    if lacks := missing(racks, {"rack_class", "count", "rank_class", "ranks"}):
        raise InvalidInput(f"racks: columns {lacks} are missing; give them")
    if not len(racks["ranks"]):
        raise InvalidInput("racks: no rack holds a rank; give each its ranks")
    row_of = {draw.rank_class: row for row, draw in enumerate(draws)}
    sampled = [sample(draw, bins) for draw in draws]
    counts = floats(racks, "count")
    columns = [ints(racks, name) for name in ("rack_class", "rank_class", "ranks")]
    if unknown := set(columns[1].tolist()) - set(row_of):
        raise InvalidInput(
            f"racks: rank classes {sorted(unknown)} have no row in the timeline; give one for each"
        )

    found = []
    for name in each_once(columns[0]).tolist():
        rows = columns[0] == name
        ranks = dict(zip(columns[1][rows].tolist(), columns[2][rows].tolist(), strict=True))
        used = sum(ranks.values())
        number = max(1, math.ceil(used / chassis.accelerators))
        accelerators = number * chassis.accelerators
        accelerator_w = np.full(bins, (accelerators - used) * idle_w)
        for rank_class, members in ranks.items():
            accelerator_w += members * sampled[row_of[rank_class]]
        added = conversion_w(chassis, number, accelerator_w)
        parts = {part: number * watts for part, watts in chassis.part_w.items()}
        over_time = accelerator_w + sum(parts.values()) + sum(added.values())
        part_w = {"accelerator": float(accelerator_w.mean()), **parts}
        part_w |= {part: float(watts.mean()) for part, watts in added.items()}
        found.append(
            RackPower(
                rack_class=int(name),
                count=float(counts[rows][0]),
                chassis=number,
                accelerators=accelerators,
                used=used,
                ranks=ranks,
                input_w=over_time,
                accelerator_w=accelerator_w,
                part_w=part_w,
            )
        )
    if chassis.smoothing is None:
        return found
    step_s = float(draws[0].edges_s[-1])
    return [_smoothed(rack, chassis.smoothing, step_s) for rack in found]


def _smoothed(rack: RackPower, how: Smoothing, step_s: float) -> RackPower:
    """Return a rack with what smoothing burns, and what the hall gives for it."""
    after = smoothed(rack.input_w, step_s, how, rack.accelerators)
    return replace(
        rack,
        input_w=rack.input_w + after.added_w,
        part_w={**rack.part_w, BURNED: after.burned_w},
        smoothed=after,
    )


def powered_accelerators(racks: Table, chassis: Chassis) -> float:
    """Count the accelerators of all chassis that hold a rank of the job."""
    names, first, member = np.unique(
        np.asarray(racks["rack_class"]), return_index=True, return_inverse=True
    )
    ranks = np.bincount(member, floats(racks, "ranks"), len(names))
    count = floats(racks, "count")[first]
    return float((count * np.ceil(ranks / chassis.accelerators)).sum() * chassis.accelerators)


def idle_chassis_w(
    chassis: Chassis, accelerator: Accelerator, *, holds_job: bool = True, at_plug: bool = True
) -> float:
    """Return the power of a chassis that does no work. [W]

    holds_job : accelerators wait with a job in memory (what meters call idle between runs);
        otherwise they have none and sleep. at_plug : otherwise behind the power supplies.
    """
    coolant_c = chassis.air_inlet_c if chassis.cooling == "air" else chassis.supply_c
    kinds = accelerator.thermal.r_k_per_w
    k_per_w = kinds.get(chassis.thermal_kind, kinds["air"])
    one = (waiting_accelerator_w if holds_job else idle_accelerator_w)(
        accelerator, coolant_c, k_per_w
    )
    asleep = replace(
        chassis, part_w={part: w * chassis.idle_share for part, w in chassis.part_w.items()}
    )
    accelerator_w = np.array([chassis.accelerators * one])
    added = conversion_w(asleep, 1, accelerator_w)
    if not at_plug:
        del added["psu"]
    return float(accelerator_w[0] + asleep.other_w + sum(w[0] for w in added.values()))
