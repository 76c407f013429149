"""A job over months: how often it stops, when to save, what is left, what spares in a domain buy.

In:  the inventory of a machine, the catalog's interruption rates, what a checkpoint stalls.
Out: one dict: rates by part, intervals, goodput in closed form and played out in SimPy, spares.
Left out: how fast the job is while it runs (`simulate`), what a whole run costs (`cost`), copies in
memory that a failure of two hosts takes at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rackmodel.assess.chassis import Level
from rackmodel.assess.cost import need
from rackmodel.assess.failure_run import simulate_runs
from rackmodel.assess.media import media_rows
from rackmodel.assess.reliability import (
    assess_failures,
    binomial,
    checkpoint_stall_s,
    domain_spares,
    goodput,
    rates_of,
    time_shares,
    young_interval_s,
)
from rackmodel.assess.site import Site
from rackmodel.assess.stops import RECOVERIES, Stops
from rackmodel.columns import Table
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Catalog

DAY_S = 86400.0
MOST_RUNS = 1000
ENOUGH = 0.999  # probability that no domain lacks to the job


def availability(
    catalog: Catalog,
    inventory: Table,
    *,
    accelerators: int,
    domain: int,
    stops: Stops | None = None,
    site: Site | None = None,
    spares: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return what failures do to a job on a machine.

    Parameters
    ----------
    inventory : of the machine for this job; accelerators : that the job uses, `domain` of them in
        a scale-up domain (0: none that could leave some idle, as in a torus).
    site : whose media are meant.
    spares : idle accelerators in each domain to compare; None takes a few.

    Returns
    -------
    The keys of `assess_failures`; young_interval_s; best_interval_s; expected_interruptions (in
    `days`); planned_per_day; shares {what: of the time}, see `time_shares`; goodput (closed form
    at interval_s, planned stops included), with goodput_low and goodput_high where rates of
    failures, stall and restart are all at one end; played {goodput, goodput_error, interruptions,
    days, runs} without planned stops, and played_closed_form, the closed
    form of the same; rows, one for each part; domains, one row for each number of spares
    (`spare_rows`).

    Raises
    ------
    InvalidInput
        For more events than a run may take.
    """
    how, where = stops or Stops(), site or Site()
    links = media_rows(inventory, catalog, where.media, lengths_m=where.lengths_m)
    rates = rates_of(catalog, inventory, accelerators=accelerators, links=links)
    times = {"stall_s": _save_s(how, catalog), "restart_s": _restart_s(how, catalog)}
    known = assess_failures(catalog, rates, **times)
    mtbf, best = known["mtbf_s"], known["interval_s"]
    tau = best if how.interval_s is None else how.interval_s
    planned = need(catalog, "interruptions", "planned_per_day")
    times = {name: known[name] for name in ("mtbf_s", "stall_s", "restart_s")}
    whole = goodput(tau, planned_per_s=planned / DAY_S, **times)
    repair_s = how.repair_s
    if repair_s is None:
        repair_s = need(catalog, "interruptions", "repair_s")
    found: dict[str, Any] = {
        **known,
        "accelerators": accelerators,
        "interval_s": tau,
        "best_interval_s": best,
        "young_interval_s": math.inf,
        "goodput": whole,
        "shares": time_shares(tau, planned_per_s=planned / DAY_S, **times),
        "recovery": how.recovery,
        "in_memory": how.in_memory,
        **_ends(how, catalog, inventory, accelerators, links),
        "planned_per_day": planned,
        "days": how.days,
        "expected_interruptions": math.fsum(rates.values()) * how.days * DAY_S,
        "rows": _part_rows(rates, how.days),
    }
    if math.isfinite(mtbf):
        found["young_interval_s"] = young_interval_s(mtbf, times["stall_s"])
    if how.runs and math.isfinite(mtbf):
        span_s = how.days * DAY_S
        played = simulate_runs(span_s, interval_s=tau, runs=how.runs, seed=how.seed, **times)
        found["played"] = {**played, "days": how.days, "runs": how.runs}
        found["played_closed_form"] = goodput(tau, **times)
    found |= {"repair_s": repair_s, "domain_accelerators": domain}
    found["domains"] = spare_rows(
        domain,
        accelerators,
        failures_per_s=rates["accelerator"] / accelerators,
        repair_s=repair_s,
        whole=whole,
        spares=spares,
    )
    return found


def _part_rows(rates: Mapping[str, float], days: float) -> list[dict[str, Any]]:
    """Return the interruptions by part, most first."""
    total = math.fsum(rates.values())
    return [
        {
            "part": part,
            "interruptions_per_day": rate * DAY_S,
            "interruptions": rate * days * DAY_S,
            "share": rate / total if total else 0.0,
        }
        for part, rate in sorted(rates.items(), key=lambda one: -one[1])
    ]


def spare_rows(
    domain: int,
    accelerators: int,
    *,
    failures_per_s: float,
    repair_s: float,
    whole: float,
    spares: Sequence[int] | None = None,
) -> list[dict[str, float]]:
    """Return what idle accelerators in each domain, or idle domains, buy: one row for each choice.

    A job that uses all of a domain waits for the repair of every broken accelerator, unless it can
    move to an idle domain; one that leaves some of each domain idle goes on with those after a
    restart. The job needs all its domains at once. Idle domains are as many as make it wait for
    less than a thousandth of the time.

    Returns
    -------
    spares, used (of a domain), domains (that the job then spans), idle_domains, available (a
    domain), all_available (as many domains as the job needs), outages_per_day (of a domain that
    falls short), useful: accelerators used over those bought, times all_available, times `whole`,
    the goodput otherwise.
    """
    if domain < 2:
        return []
    some = sorted({0, 1, 2, 4, max(1, domain // 9)}) if spares is None else sorted(set(spares))
    rows = []
    for idle in some:
        if not 0 <= idle < domain:
            raise InvalidInput(f"spares: expected 0 to {domain - 1} in a domain, found {idle}")
        used = domain - idle
        domains = math.ceil(accelerators / used)
        one = domain_spares(domain, used, failures_per_s=failures_per_s, repair_s=repair_s)
        enough = idle_domains(domains, one["available"])
        for more, everywhere in dict([(0, one["available"] ** domains), enough]).items():
            rows.append(
                {
                    "spares": idle,
                    "used": used,
                    "domains": domains,
                    "idle_domains": more,
                    "available": one["available"],
                    "all_available": everywhere,
                    "outages_per_day": one["outages_per_s"] * domains * DAY_S,
                    "useful": used / domain * domains / (domains + more) * everywhere * whole,
                }
            )
    return rows


def idle_domains(needed: int, available: float) -> tuple[int, float]:
    """Return the fewest idle domains with which `needed` are whole with probability `ENOUGH`, and
    that probability.

    available : probability that a domain is whole; domains break independently.

    >>> idle_domains(128, 0.99637)
    (4, 0.9998...)
    >>> idle_domains(128, 1.0)
    (0, 1.0)
    """
    broken = 1.0 - available
    if broken <= 0.0:
        return 0, 1.0
    if available <= 0.0:
        raise InvalidInput(
            "idle domains: no domain is ever whole; give more spares or a shorter repair"
        )
    for more in range(needed + 1000):
        count = needed + more
        chance = math.fsum(binomial(count, k, broken) for k in range(more + 1))
        if chance >= ENOUGH:
            return more, min(1.0, chance)
    return more, min(1.0, chance)


def _ends(
    stops: Stops, catalog: Catalog, inventory: Table, accelerators: int, links: Table
) -> dict[str, float]:
    """Return goodput with all rates, stalls and restarts at their worse ends, and at their better.

    The interval is the one that is given, or the best at that end.
    """
    ends = {}
    levels: tuple[tuple[str, Level], ...] = (("goodput_low", "high"), ("goodput_high", "low"))
    for name, level in levels:
        rates = rates_of(catalog, inventory, accelerators=accelerators, links=links, level=level)
        times = {
            "stall_s": _save_s(stops, catalog, level),
            "restart_s": _restart_s(stops, catalog, level),
        }
        known = assess_failures(catalog, rates, **times)
        ends[name] = goodput(
            known["interval_s"] if stops.interval_s is None else stops.interval_s,
            planned_per_s=need(catalog, "interruptions", "planned_per_day", level) / DAY_S,
            mtbf_s=known["mtbf_s"],
            stall_s=known["stall_s"],
            restart_s=known["restart_s"],
        )
    return ends


def _restart_s(stops: Stops, catalog: Catalog, level: Level = "mid") -> float:
    """Return the seconds from a failure to work again, as a user or the way of recovery has it."""
    if stops.restart_s is not None:
        return stops.restart_s
    return need(catalog, "interruptions", RECOVERIES[stops.recovery], level)


def _save_s(stops: Stops, catalog: Catalog, level: Level = "mid") -> float:
    """Return the stall of a checkpoint. [s]"""
    if stops.in_memory or (stops.checkpoint_bytes is None and stops.stall_s is None):
        key = "memory_stall_s" if stops.in_memory else "stall_s"
        return need(catalog, "interruptions", key, level)
    if stops.stall_s is not None:
        return stops.stall_s
    assert stops.checkpoint_bytes is not None
    rate = stops.storage_bytes_per_s or need(catalog, "interruptions", "storage_bytes_per_s")
    return checkpoint_stall_s(stops.checkpoint_bytes, rate)
