"""What a token costs: capital by part, depreciation, energy, and the arithmetic of a whole run.

In:  the inventory frame, the catalog's prices, the power and the speed of the job.
Out: dollars per accelerator-hour and per million tokens, low, mid and high, with their parts.
Left out: taxes, staff, storage, software; the price that a cloud asks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from rackmodel.assess.chassis import Level, at_level, chassis_of
from rackmodel.assess.media import (
    ROWS,
    end_usd,
    media_rows,
    more_switches,
    outside_switches,
    scaled_usd,
)
from rackmodel.assess.site import Site
from rackmodel.columns import Table, records
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Catalog
from rackmodel.result.records import CostRecord, RunRecord

CAPITAL = ("depreciation", "interest", "maintenance")  # what is paid for it in an hour
HOURS_A_YEAR = 8766.0
LEVELS: tuple[Level, ...] = ("low", "mid", "high")
_SUMMED = ("accelerators", "chassis", "switches", "links")
_OTHER_END: dict[Level, Level] = {"low": "high", "mid": "mid", "high": "low"}


@dataclass(slots=True)
class Capital:
    """Purchase prices by kind of part at one level. [USD]"""

    by_part: dict[str, float] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    def add(self, kind: str, name: str, count: float, usd: float | None) -> None:
        """Add `count` parts; a part without a price is remembered by name."""
        if usd is None:
            self.missing.add(name)
        else:
            self.by_part[kind] = self.by_part.get(kind, 0.0) + count * usd

    @property
    def total(self) -> float:
        """All parts that have a price. [USD]"""
        return math.fsum(self.by_part.values())


def price(catalog: Catalog, table: str, key: str, level: Level = "mid") -> float | None:
    """Return a price, or None if nobody gave one."""
    quantity = catalog.prices.get(table, {}).get(key)
    return None if quantity is None else at_level(quantity, level)


def need(catalog: Catalog, table: str, key: str, level: Level = "mid") -> float:
    """Return a constant of the price tables.

    Raises
    ------
    InvalidInput
        If the catalog does not hold it.
    """
    value = price(catalog, table, key, level)
    if value is None:
        raise InvalidInput(f"prices.{table}.{key} is missing from the catalog; add it")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """What is bought for a job.

    accelerator, chassis : names in the catalog; accelerators : packages, of whole chassis.
    inventory : parts of the fabric (switches outside racks, links); None leaves the network out.
    links : from `media.media_rows`; None takes the media of the inventory.
    others : accelerators of other kinds among them, by name.
    liquid_w : heat to coolant of all racks; provisioned_w : IT power that the hall carries. [W]
    """

    accelerator: str
    chassis: str
    accelerators: float
    chassis_count: float
    inventory: Table | None = None
    links: Table | None = None
    liquid_w: float = 0.0
    provisioned_w: float = 0.0
    others: Mapping[str, float] = field(default_factory=dict)


def capital(catalog: Catalog, bought: Bought, level: Level = "mid") -> Capital:
    """Add up what a machine costs to buy.

    Returns
    -------
    Parts accelerators, chassis, switches, links, scale_up_links (what chassis do not include),
    cooling (distribution units), hall.
    """
    found = Capital()
    usual = bought.accelerators - math.fsum(bought.others.values())
    for kind, name, count in (
        ("accelerators", bought.accelerator, usual),
        *(("accelerators", name, count) for name, count in bought.others.items()),
        ("chassis", f"chassis-{bought.chassis}", bought.chassis_count),
    ):
        found.add(kind, name, count, price(catalog, name, "capex_usd", level))
    if bought.inventory is not None:
        more = more_switches(bought.inventory, chassis_of(catalog, bought.chassis))
        for part, count in (*outside_switches(bought.inventory), *more):
            found.add("switches", part, count, switch_usd(catalog, part, level))
        links = media_rows(bought.inventory, catalog) if bought.links is None else bought.links
        for link in records(links, ROWS):
            part = "scale_up_links" if link["per"] == "rack" else "links"
            found.add(part, "links", 1.0, _links_usd(catalog, link, level))
    cooling = need(catalog, "hall", "usd_per_liquid_kw", level)
    found.add("cooling", "cooling", bought.liquid_w / 1e3, cooling)
    hall = need(catalog, "hall", "usd_per_mw", level)
    found.add("hall", "hall", bought.provisioned_w / 1e6, hall)
    return found


def switch_usd(catalog: Catalog, name: str, level: Level = "mid") -> float | None:
    """Return the price of a switch, from the prices or the part; None if nobody has printed one."""
    known, usd = catalog.switches.get(name), price(catalog, name, "capex_usd", level)
    if usd is None and known is not None and known.usd is not None:
        return scaled_usd(known, "usd", known.usd, level)
    return usd


def interest_share(rate: float, years: float) -> float:
    """Return the interest of a loan paid back in equal yearly sums, over the loan.

    >>> round(interest_share(0.08, 5.0), 3), interest_share(0.0, 5.0)
    (0.252, 0.0)
    """
    return rate * years / -math.expm1(-years * math.log1p(rate)) - 1.0 if rate > 0 else 0.0


def _links_usd(catalog: Catalog, link: Mapping[Any, Any], level: Level) -> float:
    """Return what the links of one row of `media_rows` add to the prices of chassis. [USD]

    Copper inside a chassis stands in its price, so that only what a swap adds or saves counts;
    optical modules do not.
    """
    usd = float(link["usd" if level == "mid" else f"usd_{level}"])
    old = catalog.media.get(link["stated"])
    if link["per"] != "rack" or old is None or old.kind == "optical":
        return usd
    if link["medium"] == link["stated"]:
        return 0.0
    return usd - float(link["ends"]) * end_usd(old, float(link["bytes_per_s"]), level)


def pue(
    catalog: Catalog, liquid_share: float, given: float | None = None, level: Level = "mid"
) -> float:
    """Facility power over IT power: what moving each medium's heat outdoors takes, by share of
    heat."""
    if given is not None:
        if not 1.0 <= given <= 5.0:
            raise InvalidInput(f"PUE: expected 1 to 5, found {given:g}")
        return given
    wet, dry = (need(catalog, "hall", f"pue_{medium}", level) for medium in ("liquid", "air"))
    return liquid_share * wet + (1.0 - liquid_share) * dry


def cost_of(
    catalog: Catalog,
    bought: Bought,
    *,
    used: int,
    it_w: float,
    tokens_per_s: float,
    site: Site | None = None,
) -> CostRecord:
    """Return what the job costs, with low and high beside every total.

    Parameters
    ----------
    used : accelerators of the job.
    it_w : mean power of racks and fabric. [W]
    tokens_per_s : of the whole job, before failures.

    Returns
    -------
    usd_per_mtoken, usd_per_gpu_hour, usd_per_hour, capital_usd (servers, network, cooling units)
    and hall_usd (building, power, cooling), capital_by_part_usd, each with _low and _high;
    servers_usd, per_hour_usd (depreciation, interest, maintenance, hall, energy),
    network_share, missing (parts without a price, which all totals leave out).
    """
    result: dict[str, Any] = {}
    missing: set[str] = set()
    for level in LEVELS:
        parts = capital(catalog, bought, level)
        missing |= parts.missing
        rates = _rates(catalog, site or Site(), bought.liquid_w / it_w if it_w else 0.0, level)
        hall = parts.by_part.get("hall", 0.0)
        it = parts.total - hall
        hourly = _hourly_usd(rates, it, hall, it_w)
        per_hour = math.fsum(hourly.values())
        end = "" if level == "mid" else f"_{level}"
        result |= {
            f"usd_per_mtoken{end}": per_hour / 3600.0 / tokens_per_s * 1e6,
            f"usd_per_gpu_hour{end}": per_hour / used,
            f"usd_per_hour{end}": per_hour,
            f"capital_usd{end}": it,
            f"hall_usd{end}": hall,
            f"capital_by_part_usd{end}": dict(parts.by_part),
        }
        if level == "mid":
            some = {name: parts.by_part.get(name, 0.0) for name in _SUMMED}
            network = some["switches"] + some["links"]
            result |= {
                "servers_usd": some["accelerators"] + some["chassis"],
                "per_hour_usd": hourly,
                "network_share": network / it if it else 0.0,
                "pue": rates["pue"],
                "usd_per_kwh": rates["usd_per_kwh"],
            }
    return cast(CostRecord, {**result, "missing": sorted(missing)})


def with_domain_links(cost: Mapping[str, Any], end: str) -> float:
    """Return dollars per M tokens with the links of scale-up domains at the end of their range.

    All else at its usual price. end : "low" or "high". Links in the prices of chassis don't count.
    Interest is taken to be all of what is bought: with the hall's the ends are 3% too far away.
    """
    usual, other = (
        cost[f"capital_by_part_usd{name}"].get("scale_up_links", 0.0) for name in ("", f"_{end}")
    )
    paid = math.fsum(cost["per_hour_usd"][name] for name in CAPITAL) / cost["usd_per_hour"]
    return float(cost["usd_per_mtoken"] * (1.0 + paid * (other - usual) / cost["capital_usd"]))


def _rates(catalog: Catalog, site: Site, liquid_share: float, level: Level) -> dict[str, float]:
    """Return lives, interest, maintenance and prices of energy at one level.

    A cheap year has a long life: the other end of its range.
    """
    kwh = need(catalog, "operation", "usd_per_kwh", level)
    return {
        "life": need(catalog, "operation", "it_life_years", _OTHER_END[level]),
        "hall_life": need(catalog, "hall", "life_years", _OTHER_END[level]),
        "interest": need(catalog, "operation", "interest_per_year", level),
        "maintenance": need(catalog, "operation", "maintenance_per_year", level),
        "usd_per_kwh": kwh if site.usd_per_kwh is None else site.usd_per_kwh,
        "pue": pue(catalog, liquid_share, site.facility_pue, level),
    }


def _hourly_usd(
    rates: Mapping[str, float], it: float, hall: float, it_w: float
) -> dict[str, float]:
    """Return the dollars of an hour by what they are paid for; it, hall : their prices."""
    life, hall_life, interest = rates["life"], rates["hall_life"], rates["interest"]
    return {
        "depreciation": it / life / HOURS_A_YEAR,
        "interest": (
            it * interest_share(interest, life) / life
            + hall * interest_share(interest, hall_life) / hall_life
        )
        / HOURS_A_YEAR,
        "maintenance": it * rates["maintenance"] / HOURS_A_YEAR,
        "hall": hall / hall_life / HOURS_A_YEAR,
        "energy": it_w / 1e3 * rates["pue"] * rates["usd_per_kwh"],
    }


def training_run(
    tokens: float,
    *,
    tokens_per_s: float,
    accelerators: int,
    facility_w: float,
    usd_per_hour: float,
    goodput: float = 1.0,
) -> RunRecord:
    """Return the days, accelerator-hours, energy and dollars of a whole run.

    Parameters
    ----------
    tokens : of the run.
    tokens_per_s : while it runs; goodput : share of the time that counts.
    facility_w, usd_per_hour : of the whole job, drawn and paid also while it does not advance.

    Examples
    --------
    >>> run = training_run(1e12, tokens_per_s=1e6, accelerators=100, facility_w=1e5,
    ...                    usd_per_hour=200.0)
    >>> round(run["days"], 2), round(run["gpu_hours"]), round(run["energy_mwh"], 1)
    (11.57, 27778, 27.8)
    """
    for name, value in (("tokens", tokens), ("tokens per second", tokens_per_s)):
        if not (value > 0 and math.isfinite(value)):
            raise InvalidInput(f"{name}: expected more than 0, found {value:g}")
    if not 0 < goodput <= 1:
        raise InvalidInput(f"goodput: expected more than 0 and at most 1, found {goodput:g}")
    hours = tokens / (tokens_per_s * goodput) / 3600.0
    return {
        "tokens": tokens,
        "days": hours / 24.0,
        "gpu_hours": hours * accelerators,
        "energy_mwh": hours * facility_w / 1e6,
        "usd": hours * usd_per_hour,
        "goodput": goodput,
    }
