"""Power of racks and hall over one step, as a series.

In:  a result, which carries its site.
Out: `power_over_time`, `Series`.
Left out: windows and swings of a series (`windows`), smoothing it (`smoothing`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rackmodel import gate
from rackmodel.annotations import DataFrame
from rackmodel.assess.fabric_share import Installed
from rackmodel.assess.margins import heating
from rackmodel.assess.power import Assessment
from rackmodel.assess.rack_power import idle_accelerator_w, idle_chassis_w, sample
from rackmodel.assess.site import GENERIC_CHASSIS
from rackmodel.assess.step import frames_of, powered
from rackmodel.columns import Floats
from rackmodel.errors import InvalidInput
from rackmodel.result.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Power in N equal bins over a step that repeats.

    step_s : length of the step. racks_w : {rack class: [N], what the hall gives one rack};
    counts : {rack class: racks alike}. hall_w [N] : all racks and the fabric outside of them.
    rack_accelerators : {rack class: accelerators in one}. idle_w : {rack class: one rack that holds
    the job and does nothing}.
    """

    step_s: float
    racks_w: Mapping[int, Floats]
    counts: Mapping[int, float]
    rack_accelerators: Mapping[int, int]
    idle_w: Mapping[int, float]
    ranks_w: Mapping[int, Floats]
    ranks: Mapping[int, float]
    hall_w: Floats

    @property
    def bin_s(self) -> float:
        """Length of a bin. [s]"""
        return self.step_s / len(self.hall_w)

    @property
    def hottest(self) -> int:
        """The class of the rack that draws most in the mean."""
        return max(self.racks_w, key=lambda name: float(self.racks_w[name].mean()))


def series_of(result: Result) -> Series:
    """Return the power of racks and hall over the step of a result."""
    return series_from(*powered_of(result))


def powered_of(result: Result) -> tuple[Assessment, Installed | None]:
    """Return the power of all racks over the step of a result, and what is installed beside."""
    if not hasattr(result, "assess"):
        raise InvalidInput(
            f"expected a result of rackmodel.simulate, found {result!r:.60}; give one"
        )
    known: Mapping[str, Any] = getattr(result.assess, "keywords", {})
    machine, catalog, site = (known[name] for name in ("machine", "catalog", "site"))
    job = result.step.job
    return powered(
        frames_of(result),
        result.accelerator,
        machine.chassis or GENERIC_CHASSIS,
        machine.parts(result.step.rank_map.slots(job.gpus)),
        catalog,
        site,
        thermal_cap_w=known["cap"]["thermal_cap_w"],
    )


def series_from(done: Assessment, installed: Installed | None) -> Series:
    """Return the power of racks and hall over a step as a series."""
    fabric_w = math.fsum(installed.fabric.outside_w.values()) if installed else 0.0
    hall = np.sum([rack.count * rack.hall_w for rack in done.racks], axis=0) + fabric_w
    return Series(
        step_s=done.step_s,
        racks_w={rack.rack_class: rack.hall_w for rack in done.racks},
        counts={rack.rack_class: rack.count for rack in done.racks},
        rack_accelerators={rack.rack_class: rack.accelerators for rack in done.racks},
        idle_w={
            rack.rack_class: rack.chassis * idle_chassis_w(done.chassis, done.accelerator)
            for rack in done.racks
        },
        ranks_w={one.rank_class: sample(one, len(hall)) for one in done.draws},
        ranks=done.rank_members,
        hall_w=np.asarray(hall),
    )


def rack_over_step(result: Result) -> dict[str, Any]:
    """Return the power of the hottest rack over the step of a result, before and after smoothing.

    Returns
    -------
    step_s; drawn_w, seen_w [N]: what the rack draws, and what the hall gives for it. [s, W]
    """
    done, _ = powered_of(result)
    rack = max(done.racks, key=lambda one: one.heat_w)
    drawn_w = rack.input_w if rack.smoothed is None else rack.smoothed.drawn_w
    return {"step_s": done.step_s, "drawn_w": drawn_w, "seen_w": rack.hall_w}


@gate.called
def power_over_time(result: Result, *, every_s: float | None = None) -> DataFrame:
    """Return the power of each class of racks and of the hall over a step.

    every_s : length of a sample; None takes the bins of the simulation (1 ms or finer). Samples
    are means, so that the energy of the step stays. [s]

    Returns
    -------
    columns what ("accelerator 0" of a rank class, "rack 0" of a class of racks, ..., "hall"), count
    (of them alike), time_s (begin of the sample), power_w (mean over the sample, of one).
    """
    import pandas as pd

    found = series_of(result)
    rows = {f"accelerator {name}": (found.ranks[name], w) for name, w in found.ranks_w.items()}
    rows |= {f"rack {name}": (found.counts[name], w) for name, w in found.racks_w.items()}
    rows["hall"] = (1.0, found.hall_w)
    parts = []
    for what, (count, watts) in rows.items():
        kept = resampled(watts, found.step_s, every_s)
        begin = np.arange(len(kept)) * (found.step_s / len(kept))
        parts.append(pd.DataFrame({"what": what, "count": count, "time_s": begin, "power_w": kept}))
    return pd.concat(parts, ignore_index=True)


@gate.called
def heat_over_time(
    result: Result, *, seconds: float = 600.0, every_s: float = 1.0, stops: bool = False
) -> DataFrame:
    """Return temperatures of the hottest rack after a job starts, or stops.

    Returns
    -------
    columns time_s, junction_c (mean of the rank class that draws most), return_c (coolant that
    leaves the rack; air where it has no liquid), power_w (of the rack, mean over a step).
    """
    import pandas as pd

    if not 0 < every_s <= seconds < 1e6:
        raise InvalidInput(f"heat over time: {seconds:g} s in samples of {every_s:g} s; give both")
    done, _ = powered_of(result)
    at = np.arange(0.0, seconds + 0.5 * every_s, every_s)
    idle_w = idle_accelerator_w(done.accelerator, done.coolant_c, done.k_per_w)
    junction_c, return_c = heating(done, idle_w, at, stops=stops)
    hottest = max(done.racks, key=lambda rack: rack.heat_w)
    resting_w = hottest.chassis * idle_chassis_w(done.chassis, done.accelerator)
    power_w = resting_w if stops else hottest.heat_w
    return pd.DataFrame(
        {"time_s": at, "junction_c": junction_c, "return_c": return_c, "power_w": power_w}
    )


def resampled(power_w: Floats, step_s: float, every_s: float | None) -> Floats:
    """Return means over equal samples of about `every_s`, at least one a step; keeps the energy.

    >>> resampled(np.array([1.0, 3.0, 5.0, 7.0]), 4.0, 2.0).tolist()
    [2.0, 6.0]
    """
    if every_s is None:
        return power_w
    count = max(1, min(len(power_w), round(step_s / every_s)))
    energy = np.concatenate(([0.0], np.cumsum(power_w)))
    edges = np.linspace(0.0, len(power_w), count + 1)
    return np.asarray(np.diff(np.interp(edges, np.arange(len(energy)), energy)) / np.diff(edges))
