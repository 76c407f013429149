"""Links and switches of the hardware catalog, as the tables of a topology file use them.

In:  a `Table` and the catalog.
Out: `Wire`, `SwitchUse`, or an error that says where an unknown name stands.
Left out: what the parts are joined to (`builders`, `toml_file`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.gate import Table
from rackmodel.hardware import Catalog, Link, Switch
from rackmodel.topology.fabric import SwitchUse
from rackmodel.topology.shapes import Wire

METRE_S = 5e-9  # light in glass, a signal in copper about the same
PUBLISHED_M = 20.0  # the latencies of the catalog hold for cables up to this, or their tier's usual

Part = TypeVar("Part")


def find_part(known: Mapping[str, Part], name: str, what: str, table: Table, key: str) -> Part:
    """Return a part of the catalog by name, or say where an unknown one stands."""
    if name in known:
        return known[name]
    error = UnknownName.among(what, name, known)
    raise UnknownName(f"{table.where(key)}: {error}")


def wire_of(
    table: Table,
    catalog: Catalog,
    default: str | None,
    *,
    prefix: str = "",
    medium: str = "pcb",
    length_m: float = 0.3,
    rate: float | None = None,
) -> Wire:
    """Return a link as a table uses it: keys `link`, `link_bytes_per_s`, `medium` and so on.

    default : id of the link where the table names none; None: it has to.
    prefix : of all keys, "upper_" for a second kind of link in the same table.
    rate : of one direction, where neither table says. [bytes/s]
    length_m : usual of that tier; each metre beyond takes light 5 ns more.
    """
    key = f"{prefix}link"
    link: Link = find_part(catalog.links, table.text(key, default), "link", table, key)
    chosen = table.text(f"{prefix}medium", medium)
    find_part(catalog.media, chosen, "medium", table, f"{prefix}medium")
    long_m = table.number(f"{prefix}length_m", "m", length_m)
    delay_s = link.latency_s + METRE_S * max(0.0, long_m - max(PUBLISHED_M, length_m))
    return Wire(
        link=link.name,
        kind=link.kind,
        bytes_per_s=table.number(
            f"{prefix}link_bytes_per_s", "bytes_per_s", rate or link.bytes_per_s
        ),
        latency_s=table.number(f"{prefix}link_latency_s", "s", delay_s),
        payload_efficiency=link.payload_efficiency,
        medium=chosen,
        length_m=long_m,
        lanes=table.count(f"{prefix}link_lanes", link.lanes or 1, most=64),
    )


def wire_like(wire: Wire, table: Table, catalog: Catalog, prefix: str, length_m: float) -> Wire:
    """Return another kind of link of a table: like `wire` where its keys say nothing."""
    return wire_of(
        table,
        catalog,
        wire.link,
        prefix=prefix,
        rate=wire.bytes_per_s,
        medium=wire.medium,
        length_m=length_m,
    )


def switch_of(
    table: Table, catalog: Catalog, key: str, default: str | None, rate: float
) -> SwitchUse:
    """Return a switch as a table uses it, with as many ports as links of `rate` need. [bytes/s]"""
    part: Switch = find_part(catalog.switches, table.text(key, default), "switch", table, key)
    split = part.port_bytes_per_s / rate
    ganged = part.kind != "infiniband"  # lanes of other chips may be put together to wider ports
    if split < 1 - 1e-6 and not ganged:
        raise InvalidInput(
            f"{table.where(key)}: ports of {part.name!r} carry"
            f" {part.port_bytes_per_s / 1e9:g} GB/s, the links {rate / 1e9:g} GB/s; use a faster"
            " switch or a slower link"
        )
    return SwitchUse(
        part=part.name,
        # a fast port is split into slower ones
        ports=part.radix * int(split + 1e-6) if split > 1 - 1e-6 else int(part.radix * split),
        latency_s=part.latency_s,
        reduction=part.in_network_reduction,
    )
