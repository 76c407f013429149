"""Copper against optics: what the medium of a tier draws, costs, reaches and breaks.

In:  the inventory frame of a topology and the catalog's media, links and switches.
Out: watts, dollars and failures per tier and medium; the same with a tier's medium swapped.
Left out: SerDes power, which all media share, and the bytes that cross (modules draw constant
power).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from rackmodel.assess.chassis import Chassis, Level
from rackmodel.columns import Columns, Table, floats, missing, of_records, records
from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.hardware import Catalog, Medium, Switch
from rackmodel.topology.kinds import ABOVE_LEAVES, Tier

COLUMNS = ("part_kind", "part", "tier", "medium", "link", "count", "per")
ROWS = [
    "tier",
    "per",
    "link",
    "medium",
    "stated",
    "ends",
    "bytes_per_s",
    "watts",
    "usd",
    "usd_low",
    "usd_high",
    "failures_per_hour",
    "reach_m",
    "length_m",
]
_LEVELS: tuple[Level, ...] = ("mid", "low", "high")
# Words for several tiers at once.
GROUPS = {"scale_out": (Tier.NIC_LEAF, *ABOVE_LEAVES)}
# Switches of these tiers stand outside the chassis although they belong to the scale-up domain.
OUTSIDE_TIERS = (Tier.OCS, Tier.SCALE_UP_TOP)


class Ends(NamedTuple):
    """Equal link ends of one tier; rate of one direction of one link. [bytes/s, m]"""

    tier: str
    per: str
    link: str
    medium: str
    ends: float
    bytes_per_s: float
    length_m: float


def link_ends(inventory: Table, catalog: Catalog) -> list[Ends]:
    """Return the link ends of each tier.

    Every row of part_kind "cable" counts links of two ends each. Rows "transceiver" count the
    modules of those same links, so they add nothing. A row without `bytes_per_s` has the rate of
    its link in the catalog.

    Raises
    ------
    InvalidInput
        If a column of the inventory is missing.
    UnknownName
        If a link has no rate and is not in the catalog.
    """
    if lacks := missing(inventory, set(COLUMNS)):
        raise InvalidInput(f"inventory: columns {lacks} are missing; give them")
    found = []
    known = [name for name in ("bytes_per_s", "length_m") if name in inventory]
    for row in records(inventory, [*COLUMNS, *known]):
        if row["part_kind"] != "cable" or not row["count"]:
            continue
        link, rate = str(row["link"]), float(row.get("bytes_per_s") or 0.0)
        if not rate > 0:
            UnknownName.check(f"link of tier {row['tier']}:", link, catalog.links)
            rate = catalog.links[link].bytes_per_s
        found.append(
            Ends(
                tier=str(row["tier"]),
                per=str(row["per"]),
                link=link,
                medium=str(row["medium"]),
                ends=2.0 * float(row["count"]),
                bytes_per_s=rate,
                length_m=float(row.get("length_m", "nan")),
            )
        )
    return found


def media_rows(
    inventory: Table,
    catalog: Catalog,
    swap: Mapping[str, str] | None = None,
    *,
    lengths_m: Mapping[str, float] | None = None,
) -> Columns:
    """Return what the links of every tier draw, cost and break, with media swapped as asked.

    Parameters
    ----------
    swap : {tier: medium}; "scale-up" and "scale-out" stand for all tiers of either.
    lengths_m : {tier: cable length} for the reach check; otherwise the inventory's `length_m`, if
        any.

    Returns
    -------
    Columns `ROWS`, one row for each tier and kind of link; watts, dollars and failures of all ends;
    stated, the medium before a swap ("" if none). Links of no stated medium are left out. Links
    whose lanes are too fast for a module get the module of its family that takes them.

    Raises
    ------
    UnknownName
        If a medium or a tier is not known.
    CannotRun
        If a cable would be longer than its medium reaches.
    """
    found = link_ends(inventory, catalog)
    wanted = dict(swap or {})
    tiers = sorted({one.tier for one in found})
    for tier, name in wanted.items():
        UnknownName.check("medium", name, catalog.media)
        if not any(_matches(tier, known) for known in tiers):
            raise UnknownName.among("tier", tier, tiers)

    rows = []
    for one in found:
        # Wires to the host are on boards and stay there.
        chosen = next((new for name, new in wanted.items() if _matches(name, one.tier)), one.medium)
        if not chosen:
            continue  # a user's graph need not say what its links are made of; see `fabric_power`
        UnknownName.check(f"medium of tier {one.tier}:", chosen, catalog.media)
        medium = fitting(catalog, chosen, one.link)
        given = [m for name, m in (lengths_m or {}).items() if _matches(name, one.tier)]
        length = given[0] if given else one.length_m
        if given or chosen != one.medium:  # what a topology states is taken to reach
            check_reach(medium, length, one.tier)
        rows.append(
            (
                one.tier,
                one.per,
                one.link,
                medium.name,
                one.medium,
                one.ends,
                one.bytes_per_s,
                one.ends * end_watts(medium, one.bytes_per_s),
                *(one.ends * end_usd(medium, one.bytes_per_s, level) for level in _LEVELS),
                one.ends * medium.failures_per_hour,
                medium.reach_m,
                length,
            )
        )
    return of_records([dict(zip(ROWS, row, strict=True)) for row in rows], ROWS)


def end_watts(medium: Medium, bytes_per_s: float) -> float:
    """Power of one end of a link of this rate: energy per bit times the port rate, always on.
    [W]"""
    return medium.joule_per_bit_per_end * bytes_per_s * 8.0


def end_usd(medium: Medium, bytes_per_s: float, level: Level = "mid") -> float:
    """Price of one end, in proportion to the rate. [USD]"""
    return scaled_usd(medium, "usd_per_end", medium.usd_per_gbps, level) * bytes_per_s * 8e-9


def scaled_usd(part: Medium | Switch, key: str, usd: float, level: Level) -> float:
    """Scale a price of a part by the bounds of its field `key`, where it has any."""
    known, value = part.provenance.get(key), getattr(part, key)
    bound = {"low": known.low, "high": known.high}.get(level) if known else None
    return usd if bound is None or not value else usd * bound / value


def fitting(catalog: Catalog, name: str, link: str) -> Medium:
    """Return a medium, or the one of its family ("NAME-...") whose lanes a link's lanes fit into.

    A family without such a module keeps the first: nobody has said that it can't be built.
    """
    medium, known = catalog.media[name], catalog.links.get(link)
    if known is None or not known.lanes:
        return medium
    lane = known.bytes_per_s / known.lanes * (1 - 1e-9)
    if lane <= medium.lane_bytes_per_s:
        return medium
    family = [
        one
        for key, one in catalog.media.items()
        if key.startswith(f"{name}-") and lane <= one.lane_bytes_per_s
    ]
    return min(family, key=lambda one: one.port_bytes_per_s, default=medium)


def check_reach(medium: Medium, length_m: float, tier: str) -> None:
    """Refuse a cable that is longer than its medium reaches; an unknown length passes.

    Raises
    ------
    CannotRun
        With the length, the reach and the tier.
    """
    if length_m > medium.reach_m:
        raise CannotRun(
            f"tier {tier}: a {medium.name} link of {length_m:g} m is longer than its reach of "
            f"{medium.reach_m:g} m; try aec, pluggable or cpo"
        )


def swap_tier(
    inventory: Table,
    catalog: Catalog,
    tier: str,
    medium: str,
    *,
    length_m: float | None = None,
) -> dict[str, float]:
    """Compare a tier's links as they are with the same links on another medium.

    Returns
    -------
    ends; watts, usd and failures_per_hour before (`old_`), after (`new_`) and the difference
    (`more_`).

    Raises
    ------
    UnknownName, CannotRun
        As `media_rows`.
    """
    lengths = {tier: length_m} if length_m is not None else None
    old = media_rows(inventory, catalog)
    new = media_rows(inventory, catalog, {tier: medium}, lengths_m=lengths)
    ours = np.array([_matches(tier, name) for name in new["tier"]], dtype=bool)
    found = {"ends": float(new["ends"][ours].sum())}
    for quantity in ("watts", "usd", "failures_per_hour"):
        before, after = (float(rows[quantity][ours].sum()) for rows in (old, new))
        found |= {f"old_{quantity}": before, f"new_{quantity}": after}
        found[f"more_{quantity}"] = after - before
    return found


class Fabric(NamedTuple):
    """Power of what a chassis does not hold. [W]

    outside_w : switches by name, and "optics", outside the racks; nic_optics_w : modules in the
    NICs of all chassis (None if the inventory has no such links); rack_optics_w : modules on
    scale-up links;
    notes : what could not be count_of.
    """

    outside_w: dict[str, float]
    nic_optics_w: float | None
    rack_optics_w: float
    notes: list[str]


def fabric_power(inventory: Table, catalog: Catalog, links: Table) -> Fabric:
    """Return the power of the fabric and of all modules.

    Of a link between a NIC and a leaf one end stands in the rack.

    links : from `media_rows`.
    """
    outside: dict[str, float] = {}
    notes = []
    parts = zip(inventory["part_kind"], inventory["medium"], inventory["count"], strict=True)
    bare = [float(count) for kind, medium, count in parts if kind == "cable" and not _named(medium)]
    if bare:
        count = sum(bare)
        notes.append(f"{count:,.0f} links name no medium: their optics and cables are left out")
    for part, count in outside_switches(inventory):
        known = catalog.switches.get(part)
        if known is None or not math.isfinite(known.power_w):
            notes.append(f"switch {part}: no power in the catalog; {count:g} of them are left out")
        else:
            outside[part] = outside.get(part, 0.0) + count * known.power_w
    nic: float | None = None
    inside = optics = 0.0
    for tier, per, watts in zip(links["tier"], links["per"], links["watts"], strict=True):
        if tier == Tier.NIC_LEAF:
            nic = (nic or 0.0) + 0.5 * watts
            optics += 0.5 * watts
        elif per == "rack":
            inside += watts
        else:
            optics += watts
    if optics:
        outside["optics"] = optics
    return Fabric(outside, nic, inside, notes)


def outside_switches(inventory: Table) -> list[tuple[str, float]]:
    """Return (name, count) of the switches that stand outside the chassis."""
    rows = records(inventory, ("part_kind", "part", "tier", "count", "per"))
    return [
        (str(row["part"]), float(row["count"]))
        for row in rows
        if row["part_kind"] == "switch" and row["count"]
        if row["per"] == "fabric" or row["tier"] in OUTSIDE_TIERS
    ]


def count_of(inventory: Table, kind: str) -> float:
    """Count the parts of a kind in an inventory."""
    mine = np.asarray(inventory["part_kind"]) == kind
    return float(floats(inventory, "count")[mine].sum())


def more_switches(inventory: Table, chassis: Chassis) -> list[tuple[str, float]]:
    """Return (name, count) of first-tier switch chips beyond those that the chassis hold.

    A larger scale-up domain needs more of them: half of their ports go to a second tier.
    """
    if chassis.switch_chips is None:
        return []
    rows = [
        (str(row["part"]), float(row["count"]))
        for row in records(inventory, ("part_kind", "part", "tier", "count"))
        if row["part_kind"] == "switch" and row["tier"] == Tier.SCALE_UP
    ]
    present = count_of(inventory, "accelerator")
    held = chassis.switch_chips * present / chassis.accelerators
    total = sum(count for _, count in rows)
    share = max(0.0, 1.0 - held / total) if total else 0.0
    if share < 1e-9:
        return []
    return [(name, share * count) for name, count in rows]


def _named(medium: Any) -> bool:
    """Whether a medium is stated; frames hold NaN where nothing is."""
    return isinstance(medium, str) and medium != ""


def _matches(wanted: str, tier: str) -> bool:
    """Whether a user's word for a tier means this one: "scale-up" means scale_up, scale_up_top.

    >>> _matches("scale-up", "scale_up_top"), _matches("scale-out", "leaf_spine")
    (True, True)
    """
    name = wanted.replace("-", "_")
    return tier == name or tier.startswith(f"{name}_") or tier in GROUPS.get(name, ())
