"""The catalog for people: every value of a part with its unit, source and grade; lists of parts.

In:  a Catalog.
Out: rows for `rackmodel show NAME` and `rackmodel list KIND`.
Left out: layout on a screen (cli).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rackmodel.errors import UnknownName
from rackmodel.hardware.build import field_kinds
from rackmodel.hardware.catalog import KINDS, PARTS, load_catalog
from rackmodel.hardware.parts import Catalog, Quantity
from rackmodel.units import dimension_of, show

_LISTED = {
    "accelerators": (
        "title vendor year status family flops_per_s.bf16 flops_per_s.fp8 flops_per_s.nvfp4 "
        "hbm_bytes hbm_bytes_per_s hbm_type scale_up_link scale_up_links scale_up_bytes_per_s "
        "power_w"
    ),
    "links": "kind bytes_per_s latency_s payload_efficiency reach_m",
    "transports": "latency_s path_s step_s efficiency chunks scattered",
    "switches": "kind year radix port_bytes_per_s latency_s power_w in_network_reduction usd",
    "media": "kind joule_per_bit_per_end port_bytes_per_s watts_fixed usd_per_end reach_m",
}


class Fact(NamedTuple):
    """One value of a part, as `rackmodel show` prints it."""

    field: str
    value: str
    source: str
    grade: str
    note: str


def describe(name: str, catalog: Catalog | None = None) -> list[Fact]:
    """Return everything known about a part (or chassis, or price list), field by field.

    `name` may be plain ("gb200") or with its kind ("accelerators.gb200").

    Raises
    ------
    UnknownName
        If no kind holds it.
    """
    catalog = catalog or load_catalog()
    wanted_kind, _, rest = name.partition(".")
    if wanted_kind in KINDS and rest in catalog.tables[wanted_kind]:
        return _facts(wanted_kind, catalog.tables[wanted_kind][rest], "")
    holders = [kind for kind in KINDS if name in catalog.tables[kind]]
    if not holders:
        everything = [part for kind in KINDS for part in catalog.tables[kind]]
        raise UnknownName.among("part", name, everything)
    facts = []
    for kind in holders:
        prefix = "" if kind == holders[0] else f"{kind}."  # prices of a part follow its facts
        facts += _facts(kind, catalog.tables[kind][name], prefix)
    return facts


def _facts(kind: str, table: Mapping[str, Quantity], prefix: str) -> list[Fact]:
    """Return the fields in the order of the part's dataclass, its note last."""
    order = [*field_kinds(PARTS[kind]), "note"] if kind in PARTS else []

    def place(field: str) -> int:
        parent = field.rpartition(".")[0]
        return order.index(field) if field in order else order.index(parent) if order else 0

    return [
        Fact(prefix + field, show_quantity(field, q), q.source, q.grade, q.note)
        for field, q in sorted(table.items(), key=lambda item: place(item[0]))
    ]


def show_quantity(field: str, quantity: Quantity) -> str:
    """Return a value as people write it, with its bounds where it has any.

    >>> show_quantity("chip_w", Quantity(260.0, 200.0, 350.0))
    '260 W (200 W to 350 W)'
    """
    if quantity.text:
        return quantity.text
    if quantity.flag:
        return "yes" if quantity.value else "no"
    if field == "year":
        return str(int(quantity.value))
    dimension = dimension_of(field)
    shown = show(quantity.value, dimension)
    if quantity.low == quantity.high:
        return shown
    return f"{shown} ({show(quantity.low, dimension)} to {show(quantity.high, dimension)})"


def catalog_rows(kind: str, catalog: Catalog | None = None) -> list[dict[str, object]]:
    """Return one row a part, with the main values in SI; None where nothing is published.

    Raises
    ------
    UnknownName
        If there is no such kind of part.
    """
    catalog = catalog or load_catalog()
    UnknownName.check("kind of part", kind, _LISTED)
    fields = _LISTED[kind].split()
    rows: list[dict[str, object]] = []
    for name, table in catalog.tables[kind].items():
        row = {"name": name, **{field: _cell(table.get(field)) for field in fields}}
        rows.append(row)
    return rows


def _cell(quantity: Quantity | None) -> object:
    if quantity is None:
        return None
    if quantity.text:
        return quantity.text
    if quantity.flag:
        return quantity.value == 1.0
    return int(quantity.value) if quantity.value == int(quantity.value) else quantity.value
