"""What the site gives a machine: power, coolant, prices, cables; and what the machine does to it.

In:  a `Site`, and results of the simulator.
Out: the assessment of a result; the result under a power cap, with the clock that the cap leaves.
Left out: power, heat and money themselves (`rackmodel.assess`), the simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.fields import record, setting

if TYPE_CHECKING:
    import pandas as pd

    from rackmodel.assess.chassis import Chassis
    from rackmodel.assess.power import Assessment
    from rackmodel.hardware import Accelerator, Catalog
    from rackmodel.result.result import Result
    from rackmodel.topology import Topology

GENERIC_CHASSIS = "generic-air"
MOST_THROTTLES = 8  # times that a step is made slower for its coolant; three do as a rule
LOWEST_TRUSTED_CAP = 0.65  # of the accelerator's own: the power model is fitted above it


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a machine stands; None stands for what its chassis or the catalog says.

    power_cap_w : of one accelerator, at most its own. media : {tier: medium} to swap, with the
    length of their links in lengths_m ({tier: m}) where the topology's is not meant. supply_c,
    rise_k, flow_lpm : coolant of a rack. facility_pue, usd_per_kwh : of the hall. run_tokens : of a
    whole run, to tell its days and dollars. trays : tell the elevation of every rack, too.
    """

    power_cap_w: float | None = setting(
        None,
        "Cap of an accelerator, such as 500W; a job above it slows down. Default: its own.",
        500.0,
        unit="w",
        option="--power-cap",
    )
    media: Mapping[str, str] = setting(
        {},
        "Swap what links of a tier are made of: scale-up=pluggable, scale-out=aec:5m. Repeatable.",
        {"scale-up": "pluggable"},
        option="--medium",
    )
    lengths_m: Mapping[str, float] = setting(
        {}, "Length of the links of a tier whose medium is swapped.", {"scale-out": 5}
    )
    supply_c: float | None = setting(
        None,
        "Coolant that racks get, or air. Default: theirs.",
        32.0,
        unit="degC",
        option="--supply-c",
    )
    rise_k: float | None = setting(
        None,
        "Rise of coolant or air across a rack. Default: its own.",
        10.0,
        unit="K",
        option="--rise-k",
    )
    flow_lpm: float | None = setting(
        None,
        "Coolant flow of a rack; its rise then follows from its heat.",
        150.0,
        unit="L/min",
        option="--flow-lpm",
    )
    facility_pue: float | None = setting(
        None, "Power of the hall over power of its racks.", 1.15, unit="ratio", option="--pue"
    )
    usd_per_kwh: float | None = setting(
        None, "Price of power. Default: the catalog's.", 0.08, unit="usd", option="--usd-per-kwh"
    )
    run_tokens: float | None = setting(
        None,
        "Also tell days, MWh and dollars of a whole run of so many tokens, such as 15T.",
        15e12,
        unit="tokens",
        option="--tokens",
    )
    trays: bool = setting(False, "Tell the elevation of every rack, too.")

    @classmethod
    def of(cls, given: Site | Mapping[str, Any] | None, **more: Any) -> Site:
        """Return a site from its fields, those of `more` that are not None included.

        >>> Site.of({"supply_c": 20.0}, power_cap_w=500.0, media=None).power_cap_w
        500.0

        Raises
        ------
        UnknownName, InvalidInput
            For a field that sites do not have, a value of another type, a field given twice.
        """
        extra = {name: value for name, value in more.items() if value is not None}
        base = given if isinstance(given, Site) else record(cls, given or {}, "site")
        if isinstance(given, Mapping) and (twice := sorted(extra.keys() & given.keys())):
            raise InvalidInput(f"{twice[0]} is given by itself and in site; give it once")
        whole = {one.name: getattr(base, one.name) for one in fields(cls)}
        return record(cls, whole | extra, "site")


def check_site(
    site: Site, machine: Topology, accelerator: Accelerator, catalog: Catalog, gpus: int
) -> None:
    """Refuse, before anything is simulated, a site that this machine can't stand in.

    Raises
    ------
    InvalidInput, UnknownName
        For numbers that mean nothing, unknown tiers and media.
    CannotRun
        If a link would be longer than its medium reaches.
    """
    from rackmodel.assess.chassis import chassis_of
    from rackmodel.assess.media import media_rows
    from rackmodel.assess.power import check_coolant

    cap_w = site.power_cap_w
    if cap_w is not None:
        idle_w = accelerator.power.idle_w
        if not idle_w < cap_w <= accelerator.power_w * (1 + 1e-9):
            raise InvalidInput(
                f"power cap: {accelerator.name} takes one above {idle_w:g} W (idle) and up to "
                f"{accelerator.power_w:g} W (its own); found {cap_w:g} W"
            )
    for name, least in (
        ("supply_c", -50.0),
        ("rise_k", 0.0),
        ("flow_lpm", 0.0),
        ("facility_pue", 1.0),
        ("usd_per_kwh", 0.0),
    ):
        value = getattr(site, name)
        if value is not None and not (value >= least and math.isfinite(value)):
            raise InvalidInput(f"{name}: expected {least:g} or more, found {value:g}")
    if (site.supply_c, site.rise_k, site.flow_lpm) != (None, None, None):
        check_coolant(
            chassis_of(catalog, machine.chassis or GENERIC_CHASSIS),
            supply_c=site.supply_c,
            rise_k=site.rise_k,
            flow_lpm=site.flow_lpm,
        )
    if site.media:
        media_rows(machine.inventory(gpus), catalog, site.media, lengths_m=site.lengths_m)


def assessed(
    result: Result, machine: Topology, catalog: Catalog, site: Site, cap: Mapping[str, Any]
) -> dict[str, Any]:
    """Return power, heat, cost and failures of a result in a site (`assess.assess_step`).

    cap : from `under_cap`, added to what is told of power.
    """
    from rackmodel.assess.step import assess_step

    job = result.step.job
    found = assess_step(
        result.events,
        result.rank_classes,
        result.racks,
        catalog,
        result.accelerator,
        machine.chassis or GENERIC_CHASSIS,
        machine.inventory(result.step.rank_map.slots(job.gpus)),
        job.gpus,
        result.step_s,
        job.tokens,
        cap_w=site.power_cap_w,
        thermal_cap_w=cap["thermal_cap_w"],
        media=site.media,
        lengths_m=site.lengths_m,
        supply_c=site.supply_c,
        rise_k=site.rise_k,
        flow_lpm=site.flow_lpm,
        usd_per_kwh=site.usd_per_kwh,
        facility_pue=site.facility_pue,
        tokens=site.run_tokens,
        trays=site.trays,
        device_busy=result.device_busy,
    )
    found["power"] |= cap
    if cap["thermal_cap_w"] is not None:
        found["notes"].insert(
            0,
            f"temperature: the coolant leaves {result.accelerator.name} {cap['thermal_cap_w']:.0f} "
            f"of {cap['cap_w']:.0f} W at its limit of {result.accelerator.thermal.limit_c:.0f} C; "
            f"it throttles to {cap['cap_clock']:.1%} of its usual clock, and the step is "
            "simulated at it",
        )
    elif cap["cap_slows"]:
        found["notes"].insert(
            0,
            f"power cap: {cap['cap_w']:g} W leave {cap['cap_clock']:.1%} of the clock that "
            f"{result.accelerator.power_w:g} W leave; the step is simulated at it",
        )
    if cap["cap_w"] < LOWEST_TRUSTED_CAP * result.accelerator.power_w:
        found["notes"].append(
            f"power cap: below {LOWEST_TRUSTED_CAP:.0%} of {result.accelerator.power_w:g} W the "
            "power model has seen no measurements; take clock and power as rough"
        )
    return found


def under_cap(
    result_at: Callable[[float], Result],
    accelerator: Accelerator,
    site: Site,
    machine: Topology,
    catalog: Catalog,
) -> tuple[Result, dict[str, Any]]:
    """Return the result at the clock that power cap and coolant leave, and what to tell of it.

    Clock, power and time depend on each other: the step is simulated until the clock stands still.
    A cap that the job stays below by itself changes nothing. An accelerator whose junction would
    pass its limit throttles: it is capped at the power that the coolant carries away.

    Parameters
    ----------
    result_at : simulates the step at a clock, over the clock that the accelerator's own cap leaves.

    Returns
    -------
    result; {cap_w, cap_clock (over that under the accelerator's own cap), cap_slows (whether it is
    lower), cap_simulations, thermal_cap_w (None where the coolant sets no limit)}.

    Raises
    ------
    CannotRun
        If cap or coolant leave too little, or the clock never stands still.
    """
    from rackmodel.assess.chassis import chassis_of
    from rackmodel.assess.clock import settle_clock
    from rackmodel.assess.throttle import cooled_w, may_overheat

    cap_w = accelerator.power_w if site.power_cap_w is None else site.power_cap_w
    coolant = {"supply_c": site.supply_c, "rise_k": site.rise_k, "flow_lpm": site.flow_lpm}
    found: dict[float, Result] = {}

    def timeline_at(clock: float) -> pd.DataFrame:
        if clock not in found:
            found.clear()
            found[clock] = result_at(clock)
        return found[clock].events

    def settled(watts: float) -> int:
        timeline_at(1.0)
        return settle_clock(timeline_at, accelerator, watts, device_busy=usual.device_busy)[1]

    count = 1
    usual = found[1.0] = result_at(1.0)
    if site.power_cap_w is not None and cap_w < accelerator.power_w:
        count = settled(cap_w)
    thermal_w: float | None = None
    chassis = chassis_of(catalog, machine.chassis or GENERIC_CHASSIS)
    if may_overheat(accelerator, chassis, cap_w=cap_w, **coolant):
        for _ in range(MOST_THROTTLES):
            (result,) = found.values()
            left_w = cooled_w(_power_of(result, accelerator, chassis, thermal_w or cap_w, coolant))
            if left_w is None:
                break
            thermal_w = min(left_w, 0.999 * (thermal_w or cap_w))
            try:
                count += settled(thermal_w)
            except CannotRun as reason:
                raise CannotRun(
                    f"temperature: the coolant leaves {accelerator.name} {thermal_w:.0f} W at its "
                    f"limit of {accelerator.thermal.limit_c:.0f} C, less than the job draws at the "
                    "lowest clock; lower the supply or raise the flow"
                ) from reason
    ((clock, result),) = found.items()
    facts = {
        "cap_w": cap_w,
        "cap_clock": clock,
        "cap_slows": clock < 1.0 - 1e-6,
        "cap_simulations": count,
        "thermal_cap_w": thermal_w,
    }
    return result, facts


def _power_of(
    result: Result,
    accelerator: Accelerator,
    chassis: Chassis,
    cap_w: float,
    coolant: Mapping[str, float | None],
) -> Assessment:
    from rackmodel.assess.power import assess_power

    return assess_power(
        result.events,
        result.racks,
        accelerator,
        chassis,
        step_s=result.step_s,
        cap_w=cap_w,
        device_busy=result.device_busy,
        supply_c=coolant["supply_c"],
        rise_k=coolant["rise_k"],
        flow_lpm=coolant["flow_lpm"],
    )
