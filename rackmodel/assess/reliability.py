"""How often a job stops, what stopping costs, and what spares buy.

In:  counts of parts, the catalog's interruption rates, the stall of a checkpoint, the restart.
Out: mean time between interruptions, best checkpoint interval, goodput (closed form), domain
     spares.
Left out: the same by simulation (`failure_run`), slow parts that do not stop, planned growth.

Source of the form: Daly, "A higher order estimate of the optimum checkpoint interval for restart
dumps", Future Generation Computer Systems 22 (2006); Young, CACM 17 (1974).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rackmodel.assess.chassis import Level
from rackmodel.assess.cost import need
from rackmodel.assess.media import count_of, media_rows
from rackmodel.columns import Table
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Catalog
from rackmodel.result.records import ReliabilityRecord
from rackmodel.topology.kinds import Kind

HOST_ACCELERATORS = 8  # the hosts that the host rate was count_of on


def part_rates(
    catalog: Catalog,
    *,
    accelerators: int,
    nics: int | None = None,
    link_ends: Mapping[str, float] | None = None,
    level: Level = "mid",
) -> dict[str, float]:
    """Return the interruptions of a job per second, by part.

    Parameters
    ----------
    accelerators : that the job uses; hosts count as one for eight.
    nics : None takes one for each accelerator.
    link_ends : {medium: ends of links on it}.
    """

    def fit(key: str) -> float:
        return need(catalog, "interruptions", key, level) * 1e-9 / 3600.0

    rates = {
        "accelerator": accelerators * fit("accelerator_fit"),
        "software": accelerators * fit("software_fit"),
        "host": accelerators / HOST_ACCELERATORS * fit("host_fit"),
        "nic": (accelerators if nics is None else nics) * fit("nic_fit"),
    }
    share = need(catalog, "interruptions", "link_share", level)
    for medium, ends in (link_ends or {}).items():
        rate = catalog.media[medium].failures_per_hour / 3600.0
        rates[f"link {medium}"] = ends * rate * share
    return rates


def rates_of(
    catalog: Catalog,
    inventory: Table,
    *,
    accelerators: int,
    links: Table | None = None,
    level: Level = "mid",
) -> dict[str, float]:
    """Return the interruptions per second of a job on a machine, from its own counts of parts."""
    links = media_rows(inventory, catalog) if links is None else links
    ends: dict[str, float] = {}
    for medium, count in zip(links["medium"], links["ends"], strict=True):
        ends[str(medium)] = ends.get(str(medium), 0.0) + float(count)
    has_nics = Kind.NIC in list(inventory["part_kind"])
    nics = int(count_of(inventory, Kind.NIC)) if has_nics else None
    return part_rates(catalog, accelerators=accelerators, nics=nics, link_ends=ends, level=level)


def goodput(
    interval_s: float,
    *,
    mtbf_s: float,
    stall_s: float,
    restart_s: float,
    planned_per_s: float = 0.0,
) -> float:
    """Return the share of the time that advances a job (Daly's exact form).

    G = tau / {M e^(R/M) [e^((tau + delta)/M) - 1]} (1 - planned R): failures may hit computing, the
    checkpoint and the restart alike.

    Parameters
    ----------
    interval_s : tau, computing between two checkpoints; stall_s : delta; restart_s : R. [s]
    mtbf_s : M, mean time between interruptions; infinity for none. [s]
    planned_per_s : planned stops, each of one restart.

    Raises
    ------
    InvalidInput
        If a time is negative or the interval or M is not above 0.

    Examples
    --------
    >>> M = 54 * 86400 / 419
    >>> round(goodput(331, mtbf_s=M, stall_s=5, restart_s=300, planned_per_s=47 / (54 * 86400)), 3)
    0.942
    """
    if not (interval_s > 0 and mtbf_s > 0 and stall_s >= 0 and restart_s >= 0):
        raise InvalidInput(
            "goodput: interval and MTBF have to be above 0, stall and restart not below; found "
            f"{interval_s:g}, {mtbf_s:g}, {stall_s:g}, {restart_s:g} s"
        )
    planned = max(0.0, 1.0 - planned_per_s * restart_s)
    if math.isinf(mtbf_s):
        return interval_s / (interval_s + stall_s) * planned
    exponent = (interval_s + stall_s) / mtbf_s
    if exponent + restart_s / mtbf_s > 700:
        return 0.0
    wall = mtbf_s * math.exp(restart_s / mtbf_s) * math.expm1(exponent)
    return interval_s / wall * planned


def time_shares(
    interval_s: float,
    *,
    mtbf_s: float,
    stall_s: float,
    restart_s: float,
    planned_per_s: float = 0.0,
) -> dict[str, float]:
    """Return what the time goes to, as shares that sum to 1; parameters as of `goodput`.

    A restart lasts until it is done or the next failure, M (1 - e^(-R/M)) in the mean, and there is
    one each M; what is left is work done again, and saves that a failure cut.

    >>> shares = time_shares(331, mtbf_s=11135.0, stall_s=5, restart_s=300)
    >>> {name: round(share, 3) for name, share in shares.items()}
    {'advances': 0.945, 'checkpoints': 0.014, 'planned stops': 0.0, 'restarts': 0.027, \
'work lost': 0.015}
    """
    times = {"mtbf_s": mtbf_s, "stall_s": stall_s, "restart_s": restart_s}
    useful = goodput(interval_s, planned_per_s=planned_per_s, **times)
    planned = min(1.0, planned_per_s * restart_s)
    saving = useful * stall_s / interval_s
    restarts = (1.0 - planned) * -math.expm1(-restart_s / mtbf_s)
    lost = max(0.0, 1.0 - planned - useful - saving - restarts)
    return {
        "advances": useful,
        "checkpoints": saving,
        "planned stops": planned,
        "restarts": restarts,
        "work lost": lost,
    }


def young_interval_s(mtbf_s: float, stall_s: float) -> float:
    """Young's first-order interval, sqrt(2 delta M). [s]

    >>> round(young_interval_s(11135.0, 5.0))
    334
    """
    return math.sqrt(2.0 * stall_s * mtbf_s)


def best_interval_s(mtbf_s: float, stall_s: float) -> float:
    """Return the interval with the highest goodput in Daly's exact form. [s]

    The optimum solves (1 - tau/M) e^((tau + delta)/M) = 1; it does not depend on the restart.

    >>> round(best_interval_s(11135.0, 5.0))
    330
    """
    if not (mtbf_s > 0 and stall_s > 0):
        raise InvalidInput(
            f"checkpoint: MTBF and stall have to be above 0 s, found {mtbf_s:g} and {stall_s:g}"
        )
    low, high = 0.0, 1.0  # of tau / M

    def slope(x: float) -> float:
        return (1.0 - x) * math.exp(x + stall_s / mtbf_s) - 1.0

    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return 0.5 * (low + high) * mtbf_s


def checkpoint_stall_s(checkpoint_bytes: float, storage_bytes_per_s: float) -> float:
    """Time that a checkpoint blocks the job when it is written straight to storage. [s]"""
    if not (checkpoint_bytes >= 0 and storage_bytes_per_s > 0):
        raise InvalidInput("checkpoint: bytes may not be negative, storage has to be above 0 B/s")
    return checkpoint_bytes / storage_bytes_per_s


def assess_failures(
    catalog: Catalog,
    rates: Mapping[str, float],
    *,
    stall_s: float | None = None,
    restart_s: float | None = None,
) -> ReliabilityRecord:
    """Return the reliability of a job from the rates of its parts.

    Returns
    -------
    mtbf_s, interruptions_per_day, by_part_per_day, interval_s (the best), goodput, and the stall
    and restart that were assumed.
    """
    stall = need(catalog, "interruptions", "stall_s") if stall_s is None else stall_s
    restart = need(catalog, "interruptions", "restart_s") if restart_s is None else restart_s
    total = math.fsum(rates.values())
    mtbf = 1.0 / total if total > 0 else math.inf
    planned = need(catalog, "interruptions", "planned_per_day") / 86400.0
    interval = best_interval_s(mtbf, stall) if math.isfinite(mtbf) and stall > 0 else 3600.0
    return {
        "mtbf_s": mtbf,
        "interruptions_per_day": total * 86400.0,
        "by_part_per_day": {part: rate * 86400.0 for part, rate in rates.items()},
        "interval_s": interval,
        "goodput": goodput(
            interval, mtbf_s=mtbf, stall_s=stall, restart_s=restart, planned_per_s=planned
        ),
        "stall_s": stall,
        "restart_s": restart,
    }


def binomial(of: int, count: int, chance: float) -> float:
    """Return the probability of exactly `count` of `of` independent events.

    >>> round(binomial(4, 2, 0.5), 12), binomial(3, 3, 1.0)
    (0.375, 1.0)
    """
    if not 0.0 < chance < 1.0:
        return float(count == (of if chance >= 1.0 else 0))
    ways = math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)
    return math.exp(ways + count * math.log(chance) + (of - count) * math.log1p(-chance))


def domain_spares(
    domain: int, used: int, *, failures_per_s: float, repair_s: float
) -> dict[str, float]:
    """Return how often a scale-up domain has enough working accelerators, with the rest as spares.

    Accelerators fail and are repaired one by one, so each works with probability 1/(1 + rate
    repair); the domain carries its share of the job while at least `used` of `domain` work.

    Returns
    -------
    available (probability), outages_per_s (how often the domain falls short), share (used /
    domain), useful (share times available: what the domain yields of all it could).

    Examples
    --------
    >>> with_spares = domain_spares(72, 64, failures_per_s=1e-8, repair_s=86400)
    >>> none = domain_spares(72, 72, failures_per_s=1e-8, repair_s=86400)
    >>> with_spares["available"] > 0.999999, round(none["available"], 2)
    (True, 0.94)
    """
    if not 1 <= used <= domain:
        raise InvalidInput(f"domain: expected 1 to {domain} accelerators in use, found {used}")
    if not (failures_per_s >= 0 and repair_s >= 0):
        raise InvalidInput("domain: failure rate and repair time have to be 0 or more")
    works = 1.0 / (1.0 + failures_per_s * repair_s)

    def exactly(count: int) -> float:
        return binomial(domain, count, works)

    available = min(1.0, math.fsum(exactly(count) for count in range(used, domain + 1)))
    return {
        "available": available,
        "outages_per_s": exactly(used) * used * failures_per_s,
        "share": used / domain,
        "useful": used / domain * available,
    }
