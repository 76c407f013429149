"""The clock that a power cap leaves: mean power over the repeated unit of a step, bisected.

In:  what one rank class does in a repeated unit (a micro-batch), as pieces with times and work.
Out: the clock, over the clock of the quoted peak, at which the unit's mean power meets the cap.
Left out: the time of the step at that clock: the caller simulates again until the clock stands
still.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from rackmodel.assess.power_intervals import COLUMNS, work_of
from rackmodel.columns import Columns, Floats, Table, Words, picked
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.hardware import Accelerator
from rackmodel.hardware.power_model import LOWEST_CLOCK, leakage_ratio, voltage_ratio

STILL = 1e-3  # relative change of a clock that counts as none
MOST_TRIES = 12  # simulations for a clock


def repeated_unit(
    timeline: Table,
    rank_class: int,
    accelerator: Accelerator,
    *,
    device_busy: float = 1.0,
) -> Columns:
    """Return the pieces of a rank class's steady micro-batch, as `capped_clock` reads them.

    The unit is all compute-stream pieces that belong to a micro-batch; without any, all of the
    step.

    Parameters
    ----------
    timeline : as the simulation gave it.
    device_busy : share of compute pieces in which kernels run (`power_intervals.cut_timeline`).

    Returns
    -------
    Columns duration_s, best_s (what the FLOPs take at best at the reference clock), free_s (what
    the bytes take at the full HBM rate, and waiting for the host: no matrix unit stalls meanwhile),
    activity, stall_w and flop_j (at reference voltage), byte_j; durations as simulated.
    """
    inside = np.asarray(timeline["rank_class"]) == rank_class
    if "stream" in timeline:
        inside &= Words.of(timeline["stream"]).among("compute")
    if "micro_batch" in timeline:
        batched = inside & (np.asarray(timeline["micro_batch"]) >= 0)
        inside = batched if batched.any() else inside
    if not inside.any():
        raise InvalidInput(
            f"timeline: rank class {rank_class} has no pieces on stream 'compute'; give another"
        )
    rows = picked(timeline, sorted(COLUMNS), inside)
    work = work_of(rows, accelerator, device_busy)
    duration = rows["end_s"] - rows["start_s"]
    return {
        **{name: work[name] for name in ("activity", "best_s", "stall_w", "flop_j")},
        "duration_s": duration,
        "free_s": rows["bare_hbm_s"] + (1.0 - device_busy) * duration,
        "byte_j": work["hbm_j"] + work["link_j"],
    }


def mean_power_w(
    unit: Columns,
    accelerator: Accelerator,
    x: float,
    *,
    clock: float = 1.0,
    junction_c: float = 70.0,
) -> tuple[float, float]:
    """Return the mean power and the time of a unit at clock `x`, from its times at `clock`. [W, s]

    The part of a piece that computes stretches with the clock; HBM- and network-bound parts keep
    their time.
    """
    duration = unit["duration_s"]
    share = np.minimum(1.0, unit["best_s"] / clock / np.maximum(duration, 1e-300))
    seconds = duration * (share * clock / x + 1.0 - share)
    time_s = float(seconds.sum())
    return _energy_j(unit, seconds, accelerator, x, junction_c) / time_s, time_s


def _energy_j(
    columns: Mapping[str, Floats],
    seconds: Floats,
    accelerator: Accelerator,
    x: float,
    junction_c: float,
) -> float:
    """Return the energy of a unit at clock `x` whose pieces take `seconds`. [J]"""
    power = accelerator.power
    idle_w = power.idle_w * float(leakage_ratio(np.array(junction_c), power))
    stalled_s = np.maximum(0.0, x * (seconds - columns["free_s"]) - columns["best_s"])
    switched_j = power.act_w * x * float((columns["activity"] * seconds).sum())
    switched_j += float((columns["stall_w"] * stalled_s).sum() + columns["flop_j"].sum())
    v2 = float(voltage_ratio(np.array(x), power)) ** 2
    return idle_w * float(seconds.sum()) + switched_j * v2 + float(columns["byte_j"].sum())


def capped_clock(
    unit: Columns,
    accelerator: Accelerator,
    cap_w: float | None = None,
    *,
    clock: float = 1.0,
    junction_c: float = 70.0,
) -> float:
    """Return the highest clock at which a repeated unit's mean power is within the cap.

    Parameters
    ----------
    unit : from `repeated_unit`.
    cap_w : None takes the accelerator's own. [W]
    clock : at which the unit was simulated; junction_c : mean junction temperature, for leakage.
        [C]

    Returns
    -------
    Clock over the reference clock, at most `clock_max_ratio`. Simulate at it and ask again until it
    stands still; the map contracts, since time and power both fall less than the clock.

    Raises
    ------
    CannotRun
        If the unit draws more than the cap at the lowest clock.
    """
    cap = accelerator.power_w if cap_w is None else cap_w
    total = unit["duration_s"].sum()
    if not total > 0:
        raise InvalidInput("power cap: the repeated unit takes no time; give a job that computes")

    def watts(x: float) -> float:
        return mean_power_w(unit, accelerator, x, clock=clock, junction_c=junction_c)[0]

    if watts(LOWEST_CLOCK) > cap:
        raise CannotRun(
            f"power cap: {accelerator.name} draws {watts(LOWEST_CLOCK):.0f} W at its lowest clock, "
            f"above the cap of {cap:g} W"
        )
    return _highest(watts, cap, float(accelerator.power.clock_max_ratio))


def usual_clock(unit: Columns, accelerator: Accelerator, *, junction_c: float = 70.0) -> float:
    """Return the clock that a unit ran at under the accelerator's own cap, its durations being
    given.

    Kernel times that were fitted on runs under the usual cap hold that cap's clock already; here it
    is the highest clock at which the work, done in just this time, draws no more than the cap.
    """
    seconds = unit["duration_s"]
    cap_j = accelerator.power_w * float(seconds.sum())

    def joules(x: float) -> float:
        return _energy_j(unit, seconds, accelerator, x, junction_c)

    return _highest(joules, cap_j, float(accelerator.power.clock_max_ratio))


def _highest(value: Callable[[float], float], most: float, fastest: float) -> float:
    """Return the highest clock at which a value that rises with it is within `most`."""
    low, high = LOWEST_CLOCK, fastest
    if value(high) <= most:
        return high
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if value(middle) > most else (middle, high)
    return low


def settle_clock(
    timeline_at: Callable[[Mapping[str, float]], Table],
    accelerator: Accelerator,
    cap_w: float,
    *,
    device_busy: float = 1.0,
    others_at: Callable[[], Mapping[int, Accelerator]] = dict,
) -> tuple[dict[str, float], int]:
    """Simulate and ask for the clocks until clocks, power and time agree.

    Parameters
    ----------
    timeline_at : simulates the step with kernels at these clocks, by name of the accelerator, over
        the clock that its own cap leaves (1 where it is left out), and returns its timeline.
    cap_w : the cap to meet; an accelerator whose own is lower keeps that. [W]
    device_busy : as `repeated_unit` takes it.
    others_at : {rank class: accelerator} of that timeline, where it is not `accelerator`.

    Returns
    -------
    The clock of each accelerator, over that under its own cap, and how many simulations it took. Of
    the rank classes on it the one that draws most sets it.

    Raises
    ------
    CannotRun
        If the cap can't be met, or a clock still moves after `MOST_TRIES` simulations.
    """
    clocks: dict[str, float] = {}
    usual: dict[int, float] = {}
    for count in range(1, MOST_TRIES + 1):
        timeline, wanted = timeline_at(clocks), dict[str, float]()
        others = others_at()
        for rank_class in np.unique(np.asarray(timeline["rank_class"])).tolist():
            part = others.get(rank_class, accelerator)
            ratio, before = 1.0, clocks.get(part.name, 1.0)
            if part == accelerator or cap_w < part.power_w:
                unit = repeated_unit(timeline, rank_class, part, device_busy=device_busy)
                own = usual.setdefault(rank_class, usual_clock(unit, part))
                ratio = capped_clock(unit, part, cap_w, clock=before * own) / own
            wanted[part.name] = min(wanted.get(part.name, math.inf), ratio)
        moved = {name: abs(one / clocks.get(name, 1.0) - 1.0) for name, one in wanted.items()}
        if max(moved.values()) <= STILL:
            return wanted, count
        clocks = wanted
    raise CannotRun(
        f"power cap of {cap_w:g} W: the clock still moves by more than {STILL:.1%} after "
        f"{MOST_TRIES} simulations (now {min(clocks.values()):.3f})"
    )
