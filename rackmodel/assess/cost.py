"""What a token costs: capital by part, depreciation, energy, and the arithmetic of a whole run.

In:  the inventory frame, the catalog's prices, the power and the speed of the job.
Out: dollars per accelerator-hour and per million tokens, low, mid and high, with their parts.
Left out: taxes, staff, storage, software; the price that a cloud asks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rackmodel.assess.chassis import Level, at_level
from rackmodel.assess.media import end_usd, media_rows, outside_switches, scaled_usd
from rackmodel.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

    from rackmodel.hardware import Catalog

HOURS_A_YEAR = 8766.0
LEVELS: tuple[Level, ...] = ("low", "mid", "high")
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
        raise InvalidInput(f"prices.{table}.{key} is missing from the catalog")
    return value


def capital(
    catalog: Catalog,
    inventory: pd.DataFrame | None,
    *,
    accelerator: str,
    chassis: str,
    accelerators: int,
    chassis_count: float,
    liquid_w: float = 0.0,
    provisioned_w: float = 0.0,
    links: pd.DataFrame | None = None,
    level: Level = "mid",
) -> Capital:
    """Add up what a machine costs to buy.

    Parameters
    ----------
    inventory : parts of the fabric (switches outside racks, links); None leaves the network out.
    accelerators : packages bought (whole chassis).
    liquid_w : heat to coolant of all racks; provisioned_w : IT power that the hall has to carry.
        [W]
    links : from `media.media_rows`; None takes the media of the inventory.

    Returns
    -------
    Parts accelerators, chassis, switches, links, scale_up_links (what chassis do not include),
    cooling (distribution units), hall.
    """
    found = Capital()
    found.add(
        "accelerators", accelerator, accelerators, price(catalog, accelerator, "capex_usd", level)
    )
    found.add(
        "chassis",
        f"chassis-{chassis}",
        chassis_count,
        price(catalog, f"chassis-{chassis}", "capex_usd", level),
    )
    if inventory is not None:
        for part, count in outside_switches(inventory):
            known = catalog.switches.get(part)
            usd = price(catalog, part, "capex_usd", level)
            if usd is None and known is not None and known.usd is not None:
                usd = scaled_usd(known, "usd", known.usd, level)
            found.add("switches", part, count, usd)
        if links is None:
            links = media_rows(inventory, catalog)
        wanted = "usd" if level == "mid" else f"usd_{level}"
        for per, medium, stated, ends, bytes_per_s, usd in zip(
            links["per"],
            links["medium"],
            links["stated"],
            links["ends"],
            links["bytes_per_s"],
            links[wanted],
            strict=True,
        ):
            part = "scale_up_links" if per == "rack" else "links"
            extra = _links_usd(
                catalog, per, medium, stated, float(ends), float(bytes_per_s), float(usd), level
            )
            found.add(part, "links", 1.0, extra)
    cooling = need(catalog, "hall", "usd_per_liquid_kw", level)
    found.add("cooling", "cooling", liquid_w / 1e3, cooling)
    found.add("hall", "hall", provisioned_w / 1e6, need(catalog, "hall", "usd_per_mw", level))
    return found


def interest_share(rate: float, years: float) -> float:
    """Return the interest of a loan paid back in equal yearly sums, over the loan.

    >>> round(interest_share(0.08, 5.0), 3), interest_share(0.0, 5.0)
    (0.252, 0.0)
    """
    return rate * years / -math.expm1(-years * math.log1p(rate)) - 1.0 if rate > 0 else 0.0


def _links_usd(
    catalog: Catalog,
    per: str,
    medium: str,
    stated: str,
    ends: float,
    bytes_per_s: float,
    usd: float,
    level: Level,
) -> float:
    """Return what the links of one row of `media_rows` add to the prices of chassis. [USD]

    Copper inside a chassis stands in its price, so that only what a swap adds or saves counts;
    optical modules do not.
    """
    old = catalog.media.get(stated)
    if per != "rack" or old is None or old.kind == "optical":
        return usd
    if medium == stated:
        return 0.0
    return usd - ends * end_usd(old, bytes_per_s, level)


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
    inventory: pd.DataFrame | None,
    *,
    accelerator: str,
    chassis: str,
    accelerators: int,
    used: int,
    chassis_count: float,
    it_w: float,
    liquid_w: float,
    provisioned_w: float,
    tokens_per_s: float,
    links: pd.DataFrame | None = None,
    usd_per_kwh: float | None = None,
    given_pue: float | None = None,
    goodput: float = 1.0,
) -> dict[str, Any]:
    """Return what the job costs, with low and high beside every total.

    Parameters
    ----------
    accelerators, used : bought (whole chassis), and used by the job.
    it_w : mean power of racks and fabric; liquid_w : of it into coolant; provisioned_w : at most.
        [W]
    tokens_per_s : of the whole job, before failures; goodput : share of the time that counts.

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
        bought = capital(
            catalog,
            inventory,
            accelerator=accelerator,
            chassis=chassis,
            accelerators=accelerators,
            chassis_count=chassis_count,
            liquid_w=liquid_w,
            provisioned_w=provisioned_w,
            links=links,
            level=level,
        )
        missing |= bought.missing
        hall = bought.by_part.get("hall", 0.0)
        it = bought.total - hall
        # A cheap year has a long life: the other end of the range.
        life = need(catalog, "operation", "it_life_years", _OTHER_END[level])
        hall_life = need(catalog, "hall", "life_years", _OTHER_END[level])
        ratio = pue(catalog, liquid_w / it_w if it_w else 0.0, given_pue, level)
        kwh = need(catalog, "operation", "usd_per_kwh", level)
        kwh = usd_per_kwh if usd_per_kwh is not None else kwh
        interest = need(catalog, "operation", "interest_per_year", level)
        hourly = {
            "depreciation": it / life / HOURS_A_YEAR,
            "interest": (
                it * interest_share(interest, life) / life
                + hall * interest_share(interest, hall_life) / hall_life
            )
            / HOURS_A_YEAR,
            "maintenance": it
            * need(catalog, "operation", "maintenance_per_year", level)
            / HOURS_A_YEAR,
            "hall": hall / hall_life / HOURS_A_YEAR,
            "energy": it_w / 1e3 * ratio * kwh,
        }
        per_hour = math.fsum(hourly.values())
        end = "" if level == "mid" else f"_{level}"
        result[f"usd_per_mtoken{end}"] = per_hour / 3600.0 / (tokens_per_s * goodput) * 1e6
        result[f"usd_per_gpu_hour{end}"] = per_hour / used
        result[f"usd_per_hour{end}"] = per_hour
        result[f"capital_usd{end}"] = it
        result[f"hall_usd{end}"] = hall
        result[f"capital_by_part_usd{end}"] = dict(bought.by_part)
        if level == "mid":
            network = bought.by_part.get("switches", 0.0) + bought.by_part.get("links", 0.0)
            result["servers_usd"] = sum(
                bought.by_part.get(part, 0.0) for part in ("accelerators", "chassis")
            )
            result["per_hour_usd"] = hourly
            result["network_share"] = network / it if it else 0.0
            result["pue"] = ratio
            result["usd_per_kwh"] = kwh
    result["missing"] = sorted(missing)
    return result


def training_run(
    tokens: float,
    *,
    tokens_per_s: float,
    accelerators: int,
    facility_w: float,
    usd_per_hour: float,
    goodput: float = 1.0,
) -> dict[str, float]:
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
