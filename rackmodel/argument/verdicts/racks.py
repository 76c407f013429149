"""Claims about one rack: how it is built, what copper saves, what its heat asks for.

In:  shipped machines, the catalog.
Out: verdicts on nvl72-structure, closer-is-cheaper, copper-returns, liquid-needed.
Left out: what a larger domain does to a model (`domains`).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import networkx as nx

from rackmodel.argument.scale_up import Work, best_of
from rackmodel.argument.verdicts.verdict import (
    Verdict,
    answer,
    as_claimed,
    decided,
    geometric_mean,
    simulate_line,
)
from rackmodel.assess.bandwidth_ladder import tiers
from rackmodel.assess.media import swap_tier
from rackmodel.hardware import load_catalog
from rackmodel.topology import Kind, copper_pairs, load_topology, read_topology


def structure(quick: bool = False) -> Verdict:
    """nvl72-structure: count the graph of one rack."""
    graph = read_topology("gb200-nvl72")
    kinds: list[str] = [str(facts["kind"]) for _, facts in graph.nodes(data=True)]
    links = _scale_up_links(graph)
    rows: list[dict[str, Any]] = [
        {"what": "accelerators", "counted": kinds.count(Kind.ACCELERATOR), "claimed": 72},
        {"what": "boards", "counted": kinds.count(Kind.CPU), "claimed": 36},  # a Grace each
        {"what": "compute chassis", "counted": kinds.count(Kind.CPU) // 2, "claimed": 18},
        {"what": "switch chips", "counted": kinds.count(Kind.SCALE_UP_SWITCH), "claimed": 18},
        {"what": "NVLinks", "counted": links, "claimed": 1296},
        {"what": "copper pairs", "counted": copper_pairs(graph), "claimed": 5184},
    ]
    right = all(row["counted"] == row["claimed"] for row in rows)
    media = {facts["medium"] for *_, facts in graph.edges(data=True) if facts["kind"] == "nvlink"}
    count = float(rows[0]["counted"])
    words = (
        f"The graph has {count:.0f} accelerators in {rows[2]['counted']} compute chassis "
        f"({rows[1]['counted']} boards), {links:,} NVLinks on {', '.join(sorted(media))}, "
        f"{rows[5]['counted']:,.0f} copper pairs."
    )
    return answer(
        "nvl72-structure",
        "supported" if right and media == {"copper"} else "refuted",
        (count, count, count),
        "accelerators per rack",
        words,
        rows,
        ("rackmodel show gb200-nvl72",),
    )


def _scale_up_links(graph: nx.DiGraph[Any]) -> int:
    """Links between an accelerator and a switch chip, both directions counted once."""
    kinds = graph.nodes(data="kind")
    return sum(
        int(facts["count"])
        for source, target, facts in graph.edges(data=True)
        if (kinds[source], kinds[target]) == (Kind.ACCELERATOR, Kind.SCALE_UP_SWITCH)
    )


def closer(quick: bool = False) -> Verdict:
    """closer-is-cheaper: what a byte per second costs and draws at each distance."""
    catalog = load_catalog()
    # Machines whose switch chips have a price.
    names = (
        ("gb200-nvl72", "dgx-b200")
        if quick
        else (
            "gb200-nvl72",
            "dgx-b200",
            "vr200-nvl72",
            "ualink72",
        )
    )
    found = {name: tiers(load_topology(name), catalog) for name in names}
    rows = [row for table in found.values() for row in table]
    ratios, watts, closest = [], [], []
    for hbm, inside, *_, outside in found.values():
        # Worst for the claim: dear scale-up beside cheap scale-out; best: the other way round.
        ends = (("usd", "usd"), ("usd_high", "usd_low"), ("usd_low", "usd_high"))
        ratios.append([_per(inside, mine) / _per(outside, other) for mine, other in ends])
        watts.append(_per(inside, "watts") / _per(outside, "watts"))
        closest.append(_per(hbm, "watts") / _per(inside, "watts"))
    value, low, high = (geometric_mean(column) for column in zip(*ratios, strict=True))
    cheaper, frugal = min(ratio[1] for ratio in ratios) > 1, min(watts) > 1
    words = (
        f"A byte per second costs {value:.0f} times less inside the scale-up domain than across "
        f"the fabric's core (mean of {len(names)} machines) and draws "
        f"{geometric_mean(watts):.0f} times less power, both ends and all switches counted; HBM is "
        f"{geometric_mean(closest):.1f} times more frugal still. NICs stand in the price of a "
        "chassis and are not counted outside, which flatters the fabric. What that "
        "bandwidth buys in tokens/s is another question: see "
        "scale-out-not-the-extension."
    )
    return answer(
        "closer-is-cheaper",
        decided(cheaper and frugal, high < 1),
        (value, low, high),
        "x bytes/s per dollar, inside over outside",
        words,
        rows,
        ("rackmodel show gb200-nvl72", "rackmodel show pluggable"),
    )


def _per(tier: Mapping[str, Any], what: str) -> float:
    """Bytes per second for each dollar or watt."""
    return float(tier["bytes_per_s"]) / float(tier[what])


def copper(quick: bool = False) -> Verdict:
    """copper-returns: the same rack on copper, pluggables, LPO and co-packaged optics."""
    parts = load_topology("gb200-nvl72").inventory(72)
    catalog = load_catalog()
    rows: list[dict[str, Any]] = []
    for medium in ("copper", "pluggable", "lpo", "cpo"):
        found = swap_tier(parts, catalog, "scale-up", medium, length_m=0.62)
        rows.append(
            {
                "medium": medium,
                "watts": found["new_watts"],
                "usd": found["new_usd"],
                "failures_per_year": found["new_failures_per_hour"] * 8766,
                "reach_m": catalog.media[medium].reach_m,
            }
        )
    saved = {row["medium"]: (row["watts"] - rows[0]["watts"]) / 1e3 for row in rows}
    # NVLink 5 has lanes of 200 Gb/s: its module is that of 1.6T, 25 to 30 W.
    module = "pluggable-1600g"
    energy = catalog.tables["media"][module]["joule_per_bit_per_end"]
    ends = []
    for level in ("low", "high"):
        other = load_catalog(
            overrides={f"media.{module}.joule_per_bit_per_end": getattr(energy, level)}
        )
        watts = swap_tier(parts, other, "scale-up", "pluggable")["new_watts"]
        ends.append((watts - rows[0]["watts"]) / 1e3)
    figure = (saved["pluggable"], ends[0], ends[1])
    outside = load_topology("gb200-nvl72").inventory(576)
    optical = outside[(outside["part_kind"] == "cable") & (outside["medium"] == "pluggable")]
    words = (
        f"Copper saves {figure[0]:.1f} kW a rack over pluggable modules and "
        f"{(rows[1]['usd'] - rows[0]['usd']) / 1e6:.2f} M USD, {saved['lpo']:.1f} kW over LPO, but "
        f"only {saved['cpo']:.1f} kW over co-packaged optics; copper ends at "
        f"{rows[0]['reach_m']:g} m. Outside of the rack optics stay: {optical['count'].sum():,.0f} "
        "links for eight racks."
    )
    return answer(
        "copper-returns",
        as_claimed("copper-returns", figure),
        figure,
        "kW per NVL72 rack",
        words,
        rows,
        ("rackmodel show copper", "rackmodel show pluggable"),
    )


HEAT_PLANS = ({"tp": 8, "pp": 2, "vpp": 4},)
AIR_LIMIT_W = (30e3, 50e3)
_COOLED = (
    "dgx-h100",
    "dgx-b200",
    "gb200-nvl36",
    "gb200-nvl72",
    "gb300-nvl72",
    "vr200-nvl72",
    "rubin-ultra-nvl144",
    "nvl576",
)


def liquid(quick: bool = False) -> Verdict:
    """liquid-needed: heat of a rack in training by size of the domain, against what air carries."""
    names = ("dgx-b200", "gb200-nvl72", "rubin-ultra-nvl144") if quick else _COOLED
    rows = [_rack_heat(name) for name in names]
    rack72 = next(row for row in rows if row["machine"] == "gb200-nvl72")
    years = sorted({int(row["year"]) for row in rows})
    hottest = [max(r["heat_w"] for r in rows if r["year"] == year) for year in years]
    rising = all(before <= after for before, after in pairwise(hottest))
    spared = [row for row in rows if row["heat_w_low"] <= AIR_LIMIT_W[1]]
    words = (
        f"An NVL72 rack gives off {rack72['heat_w'] / 1e3:.0f} kW in training, "
        f"{rack72['heat_w'] / AIR_LIMIT_W[1]:.1f} times what air carries at best. The hottest rack "
        f"of each year {'only rises' if rising else 'does not only rise'}: "
        + ", ".join(f"{y} {w / 1e3:.0f} kW" for y, w in zip(years, hottest, strict=True))
        + ". Air could still do, at the low end of the band, for "
        + (
            ", ".join(f"{row['machine']} ({row['heat_w'] / 1e3:.0f} kW)" for row in spared)
            or "none"
        )
        + ": racks that hold fewer accelerators, not cooler ones."
    )
    return answer(
        "liquid-needed",
        decided(rack72 not in spared and rising, rack72["heat_w_high"] <= AIR_LIMIT_W[0]),
        (rack72["heat_w"] / 1e3, rack72["heat_w_low"] / 1e3, rack72["heat_w_high"] / 1e3),
        "kW per NVL72 rack",
        words,
        rows,
        (str(rack72["command"]),),
    )


def _rack_heat(name: str) -> dict[str, Any]:
    """The hottest rack of a machine in training."""
    machine = load_topology(name)
    result = best_of(machine, Work("llama3-70b", 576, 1152, 4096), HEAT_PLANS)
    rack = max(result.assessment["racks"], key=lambda one: one["heat_w"])
    return {
        "machine": name,
        "year": machine.year,
        "domain": machine.domain_accelerators,
        "accelerators_per_rack": machine.rack_accelerators,
        **{key: rack[key] for key in ("heat_w", "heat_w_low", "heat_w_high")},
        "liquid_share": rack["liquid_w"] / rack["heat_w"],
        "command": simulate_line(result),
    }
