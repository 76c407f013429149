"""What one accelerator draws over a step, and the clock that its power cap leaves it.

In:  `Pieces` (what each rank class does, without its clock) and an accelerator's power constants.
Out: `Draw` (the same as power over time).
Left out: everything around the accelerator (`rack_power`), and the effect of the clock on the step:
     the caller simulates again with the clock of `capped_clock` (module `clock`).

The form: P = idle * leakage + (act * a + stall) * x * v^2 + sum(e_flop * F) * v^2 + e_hbm * B
+ e_link * L, with x the clock over the clock of the quoted peak and v the supply voltage that this
clock needs. `stall` is what matrix units draw while a kernel holds them and its operands are late:
a share of their full power for the time that neither FLOPs at the best rate nor HBM bytes explain.
Without it a step whose products run at half of the best rate would seem to leave half of the power
unused, which meters deny (`act_stall` in the catalog says which); at the best rate it is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rackmodel.assess.power_intervals import Pieces
from rackmodel.columns import Floats
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator, PowerModel
from rackmodel.hardware.power_model import highest_clock, leakage_ratio, voltage_ratio


class Draw(NamedTuple):
    """The power of one accelerator of a rank class over a step, in K pieces of constant power.

    edges_s [K+1], power_w [K], clock [K] (over the reference clock); mean_w by cause; junction_c,
    the mean junction temperature that the leakage was taken at; late, the time that the step would
    take at the clock that the cap leaves, over the time that the timeline says.
    """

    rank_class: int
    edges_s: Floats
    power_w: Floats
    clock: Floats
    mean_w: dict[str, float]
    junction_c: float
    late: float

    @property
    def total_w(self) -> float:
        """Mean power. [W]"""
        return sum(self.mean_w.values())

    def cumulative_j(self) -> Floats:
        """Energy drawn up to each edge, length K+1. [J]"""
        return np.concatenate(([0.0], np.cumsum(self.power_w * np.diff(self.edges_s))))


def draw_all(
    pieces: Sequence[Pieces],
    accelerator: Accelerator,
    *,
    cap_w: float,
    coolant_c: float,
    k_per_w: float,
) -> list[Draw]:
    """Return the power of every rank class over time under a power cap, warmed by its own heat.

    In every window of about 0.1 s the clock is the highest at which the mean power stays within the
    cap; a piece that would pass the part's electrical limit (`peak_ratio`) is held below it.
    Leakage and temperature are iterated to 0.001 K (their loop gain is below 0.1).

    Parameters
    ----------
    pieces : of C rank classes with the same windows.
    cap_w : limit of the mean power of one window. [W]
    coolant_c : temperature of the air or liquid at the accelerator, mean of inlet and outlet. [C]
    k_per_w : junction to coolant. [K/W]

    Raises
    ------
    InvalidInput
        If temperature and leakage run away (a loop gain of 1 or more).
    """
    power = accelerator.power
    if power.idle_w * power.leak_per_k * k_per_w >= 1.0:
        raise InvalidInput(
            f"{accelerator.name}: at {k_per_w:g} K/W leakage heats the junction without end; "
            "cool it better"
        )
    total_s = float(pieces[0].edges_s[-1])

    # Energies per rank class and window at reference clock, [C, M]; windows are few, pieces many.
    def per_window(name: str) -> Floats:
        return np.stack([_per_window(one, getattr(one, name)) for one in pieces])

    span = np.stack([_per_window(one, np.ones_like(one.activity)) for one in pieces])
    act, flop = power.act_w * per_window("activity"), per_window("flop_w")
    hbm, link = per_window("hbm_w"), per_window("link_w")
    fixed = hbm + link
    junction_c = np.full(len(pieces), coolant_c + k_per_w * power.idle_w)
    clock = np.full_like(span, power.clock_max_ratio)
    rising, owed = _stalls(pieces, clock)
    for _ in range(200):
        idle_w = power.idle_w * leakage_ratio(junction_c, power)
        found = highest_clock(
            fixed=idle_w[:, None] * span + fixed,
            act=act + rising,
            flop=flop - owed,
            cap=cap_w * span,
            power=power,
        )
        moved = np.abs(found - clock).max()
        clock = found
        if moved > 1e-6:  # pieces that no longer stall at this clock drop out, and never return
            rising, owed = _stalls(pieces, clock)
        v2 = voltage_ratio(clock, power) ** 2
        joules = ((act * clock + flop + rising * clock - owed) * v2 + fixed).sum(axis=1)
        warmer = coolant_c + k_per_w * (idle_w + joules / total_s)
        warmed = np.abs(warmer - junction_c).max()
        junction_c = warmer
        if warmed < 1e-3 and moved < 1e-6:
            break
    return [
        _draw_one(
            one,
            clock[row],
            idle_w=float(idle_w[row]),
            limit_w=power.peak_ratio * cap_w,
            power=power,
            coolant_c=coolant_c,
            k_per_w=k_per_w,
        )
        for row, one in enumerate(pieces)
    ]


def _stalls(pieces: Sequence[Pieces], clock: Floats) -> tuple[Floats, Floats]:
    """Return the energy of stalls per rank class and window, as (part that rises with the clock,
    part to take off), of the pieces that stall at this clock. [J] at reference voltage, [C, M]"""
    rising, owed = np.empty_like(clock), np.empty_like(clock)
    for row, one in enumerate(pieces):
        stalls = clock[row][one.window] * one.hbm_free > one.clock_needed
        watts = np.where(stalls, one.stall_w, 0.0)
        rising[row] = _per_window(one, watts * one.hbm_free)
        owed[row] = _per_window(one, watts * one.clock_needed)
    return rising, owed


def _per_window(pieces: Pieces, watts: Floats) -> Floats:
    dt = np.diff(pieces.edges_s)
    return np.bincount(pieces.window, weights=watts * dt, minlength=pieces.windows).astype(float)


def _draw_one(
    pieces: Pieces,
    clock: Floats,
    *,
    idle_w: float,
    limit_w: float,
    power: PowerModel,
    coolant_c: float,
    k_per_w: float,
) -> Draw:
    """Spread the clock of each window over its pieces; no moment may draw more than `limit_w`."""
    x = clock[pieces.window]
    fixed_w = idle_w + pieces.hbm_w + pieces.link_w
    parts = _moving_w(pieces, x, power)
    over = fixed_w + sum(parts.values()) > limit_w
    if over.any():
        x = x.copy()
        x[over] = np.minimum(x[over], _limited_clock(pieces, over, fixed_w[over], limit_w, power))
        parts = _moving_w(pieces, x, power)
    parts |= {"hbm": pieces.hbm_w, "link": pieces.link_w}
    dt = np.diff(pieces.edges_s)
    total_s = float(pieces.edges_s[-1])
    late = np.maximum(1.0, pieces.clock_needed / x) * dt
    # not `watts @ dt`: the threads of BLAS spin for milliseconds beside a sum of microseconds
    mean_w = {name: float((watts * dt).sum()) / total_s for name, watts in parts.items()}
    mean_w = {"idle": idle_w} | mean_w
    return Draw(
        rank_class=pieces.rank_class,
        edges_s=pieces.edges_s,
        power_w=idle_w + np.sum(list(parts.values()), axis=0),
        clock=x,
        mean_w=mean_w,
        junction_c=coolant_c + k_per_w * sum(mean_w.values()),
        late=float(late.sum() / total_s),
    )


def _moving_w(pieces: Pieces, x: Floats, power: PowerModel) -> dict[str, Floats]:
    """Return the power of each piece that follows the clock, by cause. [W]"""
    v2 = voltage_ratio(x, power) ** 2
    return {
        "active": power.act_w * pieces.activity * x * v2,
        "stalled": pieces.stalled_w(x) * v2,
        "flops": pieces.flop_w * v2,
    }


def _limited_clock(
    pieces: Pieces, over: NDArray[np.bool_], fixed_w: Floats, limit_w: float, power: PowerModel
) -> Floats:
    """Return the highest clock at which each piece of `over` stays within the electrical limit."""
    activity, flop_w = power.act_w * pieces.activity[over], pieces.flop_w[over]
    free, needed, full_w = pieces.hbm_free[over], pieces.clock_needed[over], pieces.stall_w[over]
    stalls = free * power.clock_max_ratio > needed
    for _ in range(3):  # at a lower clock a piece may no longer stall
        stall_w = np.where(stalls, full_w, 0.0)
        x = highest_clock(
            fixed=fixed_w,
            act=activity + stall_w * free,
            flop=flop_w - stall_w * needed,
            cap=np.full_like(fixed_w, limit_w),
            power=power,
        )
        again = stalls & (free * x > needed)
        if (again == stalls).all():
            break
        stalls = again
    return x
