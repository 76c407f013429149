"""Verbs about power: the heat of a rack, its swings and margins, what caps leave of a job.

In:  a result.
Out: `Answer`.
Left out: the figures of a step as a whole (`Result`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rackmodel.assess.smoothing import edges, smoothed, told
from rackmodel.assess.smoothing_settings import Smoothing
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.stages import tell
from rackmodel.verbs.answer import Answer, checked

if TYPE_CHECKING:
    from rackmodel.assess.power import Assessment
    from rackmodel.assess.series import Series
    from rackmodel.result.result import Result

AFTER_S = (1.0, 10.0, 60.0, 300.0, 600.0)  # a job has started
EDGE_S = 20e-3  # a pulse that power supplies answer to
HEAT = ("heat_w", "heat_w_low", "heat_w_high", "liquid_w", "air_w", "peak_w")  # of a rack
STEPS = 6  # caps that are tried where none is given
MOST_CAPS = 64


@checked
def heat(
    result: Result,
    *,
    windows: bool = False,
    jobs: int | None = None,
) -> Answer:
    """Return the heat of the hottest rack by tray while a step runs, and how its power swings.

    result : of `simulate`; what smooths its power stands in its site. windows : tell its swings.
    jobs : like this one in one hall, periods and phases drawn: tell how their sum swings.

    Returns
    -------
    rows, one for each tray, with watts by part, liquid and air, temperatures; heat_w (with _low and
    _high), liquid_w, air_w, peak_w, by_part_w, coolant, air, junction_c, swing of the rack; title
    in words. With windows, jobs or smoothing also power: windows (max_w, min_w, swing_w,
    ramp_w_per_s over 1 ms to a step, as drawn and smoothed_), burned_w, burned_share, stored_j,
    ceiling_w, edges of a job, margins (`rackmodel.assess.margins`), after_start (junction_c,
    return_c), hall (by jobs), accelerator_edge_w (mean over 20 ms as products begin after a wait),
    accelerator_limit_w (its electrical limit).
    """
    from rackmodel.assess.halls import MOST_JOBS
    from rackmodel.assess.series import powered_of, series_from

    if jobs is not None and not 1 <= jobs <= MOST_JOBS:
        raise InvalidInput(f"jobs: wanted 1 to {MOST_JOBS:,}, found {jobs:,}")
    found: Any = result.assessment
    assess: Any = result.assess
    site = replace(assess.keywords["site"], trays=True)
    if "trays" not in found:
        found = partial(assess.func, **{**assess.keywords, "site": site})(result)
    payload = _hottest_rack(result.topology, found)
    if not windows and site.smooths is None and jobs is None:
        return Answer(payload, "racks.rack_elevation", {"title": result.topology})
    done, installed = powered_of(result)
    power, series = _power_of(done, site.smooths or Smoothing())
    power |= _limits_of(done, result.step.job.precision, site.power_cap_w)
    if jobs is not None:
        power["hall"] = _hall_of(series_from(done, installed), jobs)
    words = {"series": series, "power": power, "title": result.topology}
    return Answer({**payload, "power": power}, "power.heat_figure", words)


def _power_of(done: Assessment, how: Smoothing) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return figures of the hottest rack's power as drawn and smoothed, and both series."""
    from rackmodel.assess.rack_power import idle_chassis_w

    rack = max(done.racks, key=lambda one: one.heat_w)
    after = rack.smoothed or smoothed(rack.input_w, done.step_s, how, rack.accelerators)
    idle_w = rack.chassis * idle_chassis_w(done.chassis, done.accelerator)
    power = {
        **told(after, done.step_s),
        "smoothing": asdict(how),
        "edges": edges(rack.heat_w, idle_w, how),
    }
    return power, {"step_s": done.step_s, "drawn_w": after.drawn_w, "seen_w": after.power_w}


def _limits_of(done: Assessment, precision: str, cap_w: float | None) -> dict[str, Any]:
    """Return margins of the hottest rack, temperatures after a start, and what an accelerator draws
    as products begin after a wait."""
    import numpy as np

    from rackmodel.assess import steady
    from rackmodel.assess.margins import heating, margins
    from rackmodel.assess.rack_power import idle_accelerator_w

    idle_w = idle_accelerator_w(done.accelerator, done.coolant_c, done.k_per_w)
    junction_c, return_c = heating(done, idle_w, np.array(AFTER_S)).tolist()
    keys = ("after_s", "junction_c", "return_c")
    rows = zip(AFTER_S, junction_c, return_c, strict=True)
    after = [dict(zip(keys, row, strict=True)) for row in rows]
    edge_w = steady.edge_w(
        done.accelerator,
        steady.Kernel(precision=precision),
        chassis=done.chassis,
        window_s=EDGE_S,
        cap_w=cap_w,
    )
    limit_w = done.accelerator.power.peak_ratio * done.accelerator.power_w
    ends = {"accelerator_edge_w": edge_w, "accelerator_limit_w": limit_w}
    return {"margins": margins(done), "after_start": after, **ends}


def _hall_of(job: Series, jobs: int) -> list[dict[str, Any]]:
    from rackmodel.assess.halls import diversity

    counts = [2**power for power in range(jobs.bit_length()) if 2**power < jobs]
    return diversity(job, [*counts, jobs])


@checked
def caps(
    result: Result, *, caps_w: Sequence[float] | None = None, megawatts: float | None = None
) -> Answer:
    """Tell what caps of the accelerators leave of a job, and which serves a site's power best.

    result : of `simulate`; its plan is kept. caps_w : None takes six, from the lowest that was
    measured on parts of its kind up to its own. megawatts : of a site, filled with such jobs at
    what each cap provisions.

    Returns
    -------
    rows, by cap: cap_w, step_s, speed (against the own cap), accelerator_w, heat_w (hottest rack),
    tokens_per_s, joule_per_token (of the facility), tokens_per_s_per_mw (provisioned), fitted
    (whether measurements reach so low), with megawatts also site_accelerators, site_tokens_per_s;
    a cap that the job can't run at has its reason instead. best_cap_w : most tokens/s per MW.

    Raises
    ------
    InvalidInput, CannotRun
        For a cap below idle or above the accelerator's own; if no cap lets the job run.
    """
    from rackmodel.assess.run import run

    known: Any = result.assess
    machine, catalog, site = (known.keywords[name] for name in ("machine", "catalog", "site"))
    part, job = result.accelerator, result.step.job
    wanted = _caps_w(result, caps_w)
    if megawatts is not None and not 0 < megawatts < 1e5:
        raise InvalidInput(f"megawatts: wanted more than 0, found {megawatts:g}")
    own = run(machine, job, catalog=catalog, site=replace(site, power_cap_w=None))
    rows = []
    for number, cap_w in enumerate(wanted):
        tell("caps", number, len(wanted))
        row: dict[str, Any] = {"cap_w": cap_w, "reason": ""}
        try:
            held = run(machine, job, catalog=catalog, site=replace(site, power_cap_w=cap_w))
        except CannotRun as reason:
            rows.append(row | {"reason": str(reason)})
            continue
        power: Any = held.assessment["power"]
        row |= {
            "step_s": held.step_s,
            "speed": own.step_s / held.step_s,
            "accelerator_w": power["accelerator_w"],
            "heat_w": max(rack["heat_w"] for rack in held.assessment["racks"]),
            "tokens_per_s": held.tokens_per_s,
            "joule_per_token": power["facility_j_per_token"],
            "tokens_per_s_per_mw": power["tokens_per_s_per_mw"],
            "fitted": cap_w >= part.power.cap_fitted * part.power_w,
        }
        if megawatts is not None:
            row["site_accelerators"] = int(
                megawatts * 1e6 / power["provisioned_facility_w"] * job.gpus
            )
            row["site_tokens_per_s"] = megawatts * power["tokens_per_s_per_mw"]
        rows.append(row)
    ran = [row for row in rows if not row["reason"]]
    if not ran:
        raise CannotRun(rows[-1]["reason"])
    best = max(ran, key=lambda row: float(row["tokens_per_s_per_mw"]))
    return Answer(
        {
            "topology": result.topology,
            "accelerator": part.name,
            "own_cap_w": part.power_w,
            "fitted_from_w": part.power.cap_fitted * part.power_w,
            "best_cap_w": best["cap_w"],
            "rows": rows,
        },
        "power.caps_figure",
        {"title": result.topology},
    )


def _caps_w(result: Result, given: Sequence[float] | None) -> list[float]:
    """Return the caps to try, lowest first."""
    from rackmodel.assess.run import check_cap

    part = result.accelerator
    if given is None:
        low = max(0.5, part.power.cap_fitted) * part.power_w
        return [low + (part.power_w - low) * step / (STEPS - 1) for step in range(STEPS)]
    if not 1 <= len(given) <= MOST_CAPS:
        raise InvalidInput(f"caps: wanted 1 to {MOST_CAPS}, found {len(given)}")
    for cap_w in given:
        check_cap(part, cap_w)
    return sorted(set(given))


def _hottest_rack(topology: str, found: Mapping[str, Any]) -> dict[str, Any]:
    rack = max(found["racks"], key=lambda one: one["heat_w"])
    loop, air = rack["coolant"], rack["air"]
    kilowatts = (f"{rack[f'heat_w{end}'] / 1e3:,.1f}" for end in ("", "_low", "_high"))
    heat = "{} ({} - {})".format(*kilowatts)
    ways = []
    if loop["flow_lpm"]:
        ways.append(
            f"{rack['liquid_w'] / rack['heat_w']:.0%} to liquid: {loop['flow_lpm']:,.0f} L/min of "
            f"{loop['fluid']}, {loop['supply_c']:.0f} to {loop['return_c']:.0f} degC, "
            f"{loop['drop_pa'] / 1e3:.0f} kPa, pumps {loop['pump_w']:,.0f} W, "
            f"facility water up to {loop['facility_c']:.0f} degC ({loop['water_class']})"
        )
    if rack["air_w"] > 0:
        ways.append(
            f"{rack['air_w'] / rack['heat_w']:.0%} to air: {air['flow_m3_per_s']:.2f} m3/s "
            f"({air['flow_cfm']:,.0f} CFM), {air['inlet_c']:.0f} to {air['outlet_c']:.0f} degC, "
            f"fans {rack['by_part_w'].get('fan', 0.0):,.0f} W"
        )
    return {
        "topology": topology,
        "rack_class": rack["rack"],
        "racks_alike": rack["count"],
        **{key: rack[key] for key in HEAT},
        "by_part_w": rack["by_part_w"],
        "coolant": loop,
        "air": air,
        "junction_c": rack["junction_c"],
        "swing": rack["swing"],
        "title": "\n".join([f"{topology}: {heat} kW of heat, mean over a step", *ways]),
        "rows": [row for row in found["trays"] if row["rack_class"] == rack["rack"]],
        "notes": found["notes"],
    }
