"""Smoothing the power of a rack: a floor by burning, a ramp limit, capacitors, a battery.

In:  power in N equal bins over a step that repeats, and `Smoothing`.
Out: the series that the hall sees, what was burned, what was stored, the ceiling that is left.
Left out: the job's speed (nothing here slows it: power is only added or shifted); how parts wear.

Burning adds watts, which are heat too. Storage shifts them: what the hall sees has the energy of
what the rack draws, its losses added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from rackmodel.assess.smoothing_settings import Smoothing
from rackmodel.assess.windows import moving_mean
from rackmodel.columns import Floats

PEAK_WINDOW_S = 20e-3  # what a power controller sees as the peak; POWER_DYNAMICS and ORv3 shelves
WINDOWS_S = {"1 ms": 1e-3, "20 ms": 20e-3, "0.2 s": 0.2, "1 s": 1.0, "2 s": 2.0}
BISECTIONS = 60
LEVEL = 1e-9  # a smaller swing is the rounding of sums


class Smoothed(NamedTuple):
    """A series after smoothing.

    power_w [N] : what the hall sees. drawn_w [N] : before. added_w [N] : what is burned; burned_w :
    its mean. stored_j : energy that storage holds. ceiling_w : the most that the hall gives with
    that storage; the peak without.
    """

    power_w: Floats
    drawn_w: Floats
    added_w: Floats
    burned_w: float
    stored_j: float
    ceiling_w: float


def smoothed(power_w: Floats, step_s: float, how: Smoothing, accelerators: int) -> Smoothed:
    """Return what the hall sees of a rack: floor, then ramp, then storage.

    power_w : mean power in equal bins of a step that repeats. accelerators : in the rack.
    """
    bin_s = step_s / len(power_w)
    drawn = power_w
    if how.floor > 0:
        drawn = floored(drawn, bin_s, how.floor)
    if how.ramp_w_per_s is not None:
        drawn = ramped(drawn, bin_s, how.ramp_w_per_s)
    stored_j = how.capacitors_j * accelerators + how.battery_j
    seen, ceiling = stored(drawn, bin_s, stored_j)
    return Smoothed(
        power_w=seen,
        drawn_w=power_w,
        added_w=drawn - power_w,
        burned_w=float((drawn - power_w).mean()),
        stored_j=stored_j,
        ceiling_w=ceiling,
    )


def floored(power_w: Floats, bin_s: float, floor: float) -> Floats:
    """Return power that never falls below a share of its peak over 20 ms.

    >>> floored(np.array([100.0, 20.0]), 1.0, 0.8).tolist()
    [100.0, 80.0]
    """
    peak = min(float(moving_mean(power_w, bin_s, PEAK_WINDOW_S).max()), float(power_w.max()))
    return np.asarray(np.maximum(power_w, floor * peak))


def ramped(power_w: Floats, bin_s: float, ramp_w_per_s: float) -> Floats:
    """Return the least power that is never below `power_w` and never changes faster.

    Burning before a rise and after a fall keeps the ramp without slowing the job.

    >>> ramped(np.array([0.0, 0.0, 6.0, 0.0, 0.0, 0.0]), 1.0, 2.0).tolist()
    [2.0, 4.0, 6.0, 4.0, 2.0, 0.0]
    """
    count = len(power_w)
    slope = ramp_w_per_s * bin_s * np.arange(3 * count)
    thrice = np.tile(power_w, 3)  # a step before and after: the series repeats
    after = np.maximum.accumulate(thrice + slope) - slope
    back = np.maximum.accumulate((thrice + slope[::-1])[::-1])[::-1] - slope[::-1]
    return np.asarray(np.maximum(after, back)[count : 2 * count])


def stored(power_w: Floats, bin_s: float, energy_j: float) -> tuple[Floats, float]:
    """Return what the hall gives where storage shaves peaks, and the lowest ceiling that it holds.

    The hall gives the ceiling while storage is not full, else what is drawn; storage starts full
    and may never be empty within a step that repeats. The energy of a step stays as it is.

    >>> grid, ceiling = stored(np.array([100.0, 0.0]), 1.0, 30.0)
    >>> round(ceiling, 6), [round(w, 6) for w in grid.tolist()]
    (70.0, [70.0, 30.0])
    """
    low, high = float(power_w.mean()), float(power_w.max())
    if energy_j <= 0 or high - low <= 1e-12 * high:
        return power_w, high
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        if float(_level_j(power_w, bin_s, energy_j, middle).min()) >= 0.0:
            high = middle
        else:
            low = middle
    level = _level_j(power_w, bin_s, energy_j, high)
    count = len(power_w)
    before = np.concatenate((level[count - 1 : count], level[count:-1]))
    return power_w + (level[count:] - before) / bin_s, high


def _level_j(power_w: Floats, bin_s: float, energy_j: float, ceiling_w: float) -> Floats:
    """Return the energy in storage at the end of each bin of two steps, full at the begin."""
    gain = np.cumsum(np.tile(ceiling_w - power_w, 2) * bin_s)
    overflow = np.maximum.accumulate(np.maximum(gain, 0.0))
    return energy_j + gain - overflow


def window_rows(power_w: Floats, step_s: float) -> list[dict[str, Any]]:
    """Return the extremes of means over windows, one row each, the step itself last.

    Returns
    -------
    window, window_s, max_w, min_w, swing_w (their difference), ramp_w_per_s (the steepest change
    between neighbouring windows). A window shorter than a bin is that bin.
    """
    bin_s = step_s / len(power_w)
    rows = []
    for name, window_s in [*WINDOWS_S.items(), ("step", step_s)]:
        means = moving_mean(power_w, bin_s, window_s)
        apart = max(1, round(window_s / bin_s))
        top, least = float(means.max()), float(means.min())
        if top - least <= LEVEL * top:
            top = least = float(means.mean())
            means = np.full_like(means, top)
        ramp = np.abs(np.roll(means, -apart) - means).max() / (apart * bin_s)
        rows.append(
            {
                "window": name,
                "window_s": window_s,
                "max_w": top,
                "min_w": least,
                "swing_w": top - least,
                "ramp_w_per_s": float(ramp),
            }
        )
    return rows


def edges(mean_w: float, idle_w: float, how: Smoothing) -> dict[str, float]:
    """Return what the begin and the end of a job cost under a ramp limit.

    Returns
    -------
    start_s : how much later a job is at full power; stop_s, stop_burned_j : how long and how much
    is burned when it ends (a checkpoint or a failure does the same). Zero without a limit.
    """
    if how.ramp_w_per_s is None:
        return {"start_s": 0.0, "stop_s": 0.0, "stop_burned_j": 0.0}
    change = max(0.0, mean_w - idle_w)
    span = change / how.ramp_w_per_s
    return {"start_s": span, "stop_s": span, "stop_burned_j": 0.5 * change * span}


def told(after: Smoothed, step_s: float) -> Mapping[str, Any]:
    """Return the figures of a smoothed series beside those of what is drawn."""
    mean = float(after.drawn_w.mean())
    return {
        "burned_w": after.burned_w,
        "burned_share": after.burned_w / mean,
        "stored_j": after.stored_j,
        "ceiling_w": after.ceiling_w,
        "mean_w": float(after.power_w.mean()),
        "windows": list(_beside(after.drawn_w, after.power_w, step_s)),
    }


def _beside(before: Floats, after: Floats, step_s: float) -> Iterator[dict[str, Any]]:
    for drawn, seen in zip(window_rows(before, step_s), window_rows(after, step_s), strict=True):
        yield {**drawn, **{f"smoothed_{key}": seen[key] for key in seen if "window" not in key}}
