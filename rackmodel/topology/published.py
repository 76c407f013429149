"""Compare a described machine with the totals that its maker prints.

In:  the [published] table and a `Description`.
Out: the facts, checked; `published_facts` reckons the same totals from the description.
Left out: counting nodes and edges; tests hold this arithmetic equal to the full graph.
"""

from __future__ import annotations

import math
from typing import Any

from rackmodel.errors import InvalidInput
from rackmodel.gate import Table
from rackmodel.topology.description import Description
from rackmodel.topology.inventory import copper_pairs_of, inventory_rows
from rackmodel.topology.kinds import Kind, Tier
from rackmodel.topology.shapes import Mesh, Switched, Torus

COUNTS = (
    "accelerators",
    "cpus",
    "nics",
    "scale_up_switches",
    "switch_trays",
    "scale_up_links",
    "copper_pairs",
    "leaves",
    "spines",
    "cores",
    "racks",
    "ocs",
    "optical_modules",
)
RATES = (
    "scale_up_bytes_per_s",
    "accelerator_scale_up_bytes_per_s",
    "accelerator_scale_out_bytes_per_s",
    "bisection_bytes_per_s",
)


def read_published(table: Table) -> dict[str, Any]:
    """Read [published]; `at` lists the same facts for other numbers of accelerators."""
    facts: dict[str, Any] = {}
    if not table.data:
        return facts
    facts["source"] = table.text("source")
    facts.update(_facts(table))
    if table.has("at"):
        entries = table.data["at"]
        if not isinstance(entries, list):
            raise InvalidInput(f"{table.where('at')}: expected [[published.at]] tables")
        facts["at"] = []
        for i, entry in enumerate(entries):
            inner = Table(entry, table.file, f"published.at[{i}]")
            inner.need("accelerators", "1024")
            facts["at"].append(_facts(inner))
            inner.finish()
    table.finish()
    return facts


def _facts(table: Table) -> dict[str, Any]:
    facts: dict[str, Any] = {
        key: table.count(key, least=0, most=10**9) for key in COUNTS if table.has(key)
    }
    facts |= {key: table.number(key, "bytes_per_s") for key in RATES if table.has(key)}
    if table.has("note"):
        facts["note"] = table.text("note")
    return facts


def check_published(machine: Description, file: str) -> None:
    """Hold the description to its printed totals: counts exactly, rates to the last printed digit.

    Raises
    ------
    InvalidInput
        With the first total that differs, both values and the source.
    """
    published = machine.published
    if not published:
        return
    for place, facts in [("published", published)] + [
        (f"published.at[{i}]", entry) for i, entry in enumerate(published.get("at", []))
    ]:
        size = int(facts.get("accelerators", machine.domain_accelerators))
        reckoned = published_facts(machine, size)
        for key in (*COUNTS, *RATES):
            if key in facts and not agrees(reckoned[key], facts[key], exact=key in COUNTS):
                raise InvalidInput(
                    f"{file}: {place}.{key}: the description gives {reckoned[key]:,.6g}, printed is"
                    f" {facts[key]:,.6g} ({published['source']}); mend [shape] or [published]"
                )


def agrees(value: float, printed: float, *, exact: bool) -> bool:
    """Say whether a value rounds to what is printed: within half a unit of its last digit.

    >>> agrees(129.6e12, 130e12, exact=False), agrees(124e12, 130e12, exact=False)
    (True, False)
    """
    if exact:
        return value == printed
    digits = f"{printed:.6e}".split("e")[0].rstrip("0").rstrip(".")
    decimals = len(digits.partition(".")[2])
    unit = 10.0 ** (math.floor(math.log10(printed)) - decimals)
    # a printed "4" may mean 3.5 to 4.5, yet more than 5% off is no agreement
    return abs(value - printed) <= min(0.5 * unit, 0.05 * printed) * (1 + 1e-9)


def published_facts(machine: Description, accelerators: int) -> dict[str, float]:
    """Reckon every total that a maker might print, for so many accelerators. [bytes/s]

    `scale_up_bytes_per_s` sums both directions of all accelerators' links, as makers print it;
    `accelerator_...` and `bisection_...` count one direction.
    """
    scale_up = machine.scale_up
    assert scale_up is not None
    table = inventory_rows(machine, accelerators)
    present = machine.present(accelerators)

    def total(**where: str) -> float:
        return float(
            sum(
                row["count"]
                for row in table
                if all(row[column] == value for column, value in where.items())
            )
        )

    rate = scale_up.accelerator_bytes_per_s
    return {
        "accelerators": accelerators if machine.slice_shape(accelerators) else present,
        "cpus": total(part_kind=Kind.CPU),
        "nics": total(part_kind=Kind.NIC),
        "scale_up_switches": total(part_kind="switch", tier=Tier.SCALE_UP)
        + total(part_kind="switch", tier=Tier.SCALE_UP_TOP),
        "switch_trays": machine.units(accelerators)
        * (scale_up.trays * scale_up.groups if isinstance(scale_up, Switched) else 0),
        "scale_up_links": total(part_kind="cable", tier=Tier.SCALE_UP),
        "copper_pairs": copper_pairs_of(table),
        "leaves": total(part_kind="switch", tier=Tier.LEAF),
        "spines": total(part_kind="switch", tier=Tier.SPINE),
        "cores": total(part_kind="switch", tier=Tier.CORE),
        "racks": total(part_kind="rack"),
        "ocs": total(part_kind="switch", tier=Tier.OCS),
        "optical_modules": total(part_kind="transceiver"),
        "scale_up_bytes_per_s": 2 * rate * present,
        "accelerator_scale_up_bytes_per_s": rate,
        "accelerator_scale_out_bytes_per_s": machine.nic_bytes_per_s,
        "bisection_bytes_per_s": bisection_bytes_per_s(machine, accelerators),
    }


def bisection_bytes_per_s(machine: Description, accelerators: int) -> float:
    """Return the capacity across the middle of one domain, one direction. [bytes/s]"""
    scale_up = machine.scale_up
    match scale_up:
        case Torus():
            shape = scale_up.slice_shape(accelerators)
            longest = max(range(len(shape)), key=lambda i: shape[i])
            cuts = 2 if scale_up.wraps(shape, longest) else 1
            wire = scale_up.wires[longest]
            return math.prod(shape) / shape[longest] * cuts * wire.bytes_per_s
        case Mesh(accelerators=n, links=links, wire=wire):
            return (n // 2) * (n - n // 2) * links * wire.bytes_per_s
        case Switched(groups=2, cross_links=cross, upper=upper) if cross and upper:
            return len(scale_up.links) * cross * upper.bytes_per_s
        case Switched():
            return scale_up.accelerators // 2 * scale_up.accelerator_bytes_per_s
        case _:
            return 0.0
