"""Read a machine from TOML: [shape], [host], [nics], [fabric], [published].

In:  the text of a file and the hardware catalog, which gives links and switches their figures.
Out: a checked `Topology`.
Left out: what [shape] holds (`builders`), finding files by name (`names`), graph files.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from rackmodel import gate
from rackmodel.errors import InvalidInput
from rackmodel.files import toml_of
from rackmodel.gate import Table
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.hardware.parts import DEFAULT_TRANSPORT
from rackmodel.topology.builders import BUILDERS
from rackmodel.topology.catalog_parts import find_part, switch_of, wire_like, wire_of
from rackmodel.topology.fabric import Fabric, FabricKind, check_ports
from rackmodel.topology.files import MOST_BYTES
from rackmodel.topology.graph_file import from_graph
from rackmodel.topology.published import check_published, read_published
from rackmodel.topology.set_rates import at_set_rates, nominal
from rackmodel.topology.shapes import Host, Nics, ScaleUp
from rackmodel.topology.topology import Topology

# Bytes of memory of a CPU. Grace: 17 TB beside the 36 of a GB200 or GB300 NVL72; Vera: 54 TB beside
# 36 (data sheets); others: 2 TB beside the two of a DGX H100 (its user guide), elsewhere assumed.
CPU_MEMORY = {"grace": 480e9, "vera": 1.5e12}
SOCKET_MEMORY = 1e12


def parse_toml(
    text: str,
    file: str,
    *,
    name: str,
    catalog: Catalog,
    overrides: Mapping[str, object] | None = None,
) -> Topology:
    """Return the machine that a TOML text describes.

    Parameters
    ----------
    text : at most 2 MB of TOML.
    file : what messages call it.
    name : what results call the machine.
    catalog : where parts get their figures from.
    overrides : {"fabric.oversubscription": 2, ...} put over the file's own values.

    Raises
    ------
    InvalidInput
        With the file, the key path, the value and the remedy; also if [published] is not met.
    """
    if len(text) > MOST_BYTES:
        raise InvalidInput(f"{file}: {len(text):,} characters; expected at most {MOST_BYTES:,}")
    data = toml_of(text, file)
    for key, value in gate.table(overrides or {}, f"{file}: overrides").items():
        _override(data, key, value, file)
    topology = _read(Table(data, file), name, text, nominal(catalog))
    if topology.own_graph is not None:  # a builder of the user's reads the rates itself
        return _read(Table(data, file), name, text, catalog)
    if overrides:  # a machine that the user changed is no longer the one in print
        note = f"topology.{', topology.'.join(overrides)} set: published totals are not compared"
        changes = dict(overrides)
        topology = replace(topology, changes=changes, published={}, notes=(note,))
    else:
        check_published(topology, file)
    return at_set_rates(topology, catalog)


def _override(data: dict[str, Any], key: str, value: object, file: str) -> None:
    *tables, last = key.split(".")
    table: Any = data
    for part in tables:
        table = table.setdefault(part, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise InvalidInput(
            f"{file}: cannot set {key!r}: {'.'.join(tables)} is not a table; give another key"
        )
    table[last] = _as_toml(value)


def _as_toml(value: object) -> object:
    """Return what a word of a command line means in TOML: "[5, 4]" a list, "copper" itself."""
    if not isinstance(value, str) or "\n" in value:
        return value
    try:
        found: object = tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return value
    return found if isinstance(found, bool | int | float | str | list) else value


def _read(top: Table, name: str, text: str, catalog: Catalog) -> Topology:
    builder = BUILDERS[top.text("builder", choices=tuple(BUILDERS))]
    part = find_part(
        catalog.accelerators, top.text("accelerator"), "accelerator", top, "accelerator"
    )
    shape = top.table("shape")
    scale_up = builder.build(shape, part, catalog)
    shape.finish()
    if not isinstance(scale_up, ScaleUp):
        title = top.text("title", name)
        top.finish()
        machine = from_graph(scale_up, accelerator=part.name, name=name, file=top.file)
        return replace(machine, title=title, source_text=text)
    tray = builder.tray or scale_up.accelerators
    host = _host(top.table("host"), part, catalog, scale_up.accelerators, tray)
    nics = _nics(top.table("nics"), catalog, host) if top.has("nics") else None
    fabric = None
    if top.has("fabric"):
        if nics is None:
            raise InvalidInput(f"{top.where('nics')}: missing; a fabric needs NICs to attach to")
        per_unit = scale_up.accelerators // host.accelerators * nics.per_host
        fabric = _fabric(top.table("fabric"), catalog, nics, per_unit)
    published = read_published(top.table("published"))
    chassis = top.text("chassis", "")
    per_chassis, per_rack = _chassis(top, catalog, chassis, scale_up.accelerators, tray)
    topology = Topology(
        name=name,
        title=top.text("title", name),
        accelerator=part.name,
        year=top.count("year", 0, least=1990, most=2100),
        scale_up=scale_up,
        host=host,
        nics=nics,
        fabric=fabric,
        chassis=chassis,
        chassis_accelerators=per_chassis,
        rack_accelerators=per_rack,
        power_shelves=top.count("power_shelves", 0, least=0, most=64),
        published=published,
        source_text=text,
    )
    top.finish()
    return topology


def _chassis(top: Table, catalog: Catalog, chassis: str, domain: int, tray: int) -> tuple[int, int]:
    """Return the accelerators of a chassis and of a rack: from the file, else from the catalog."""
    known: Mapping[str, Any] = {}
    if chassis:
        known = find_part(catalog.chassis, chassis, "chassis", top, "chassis")
    in_chassis = int(known["accelerators"].value) if "accelerators" in known else tray
    in_rack = in_chassis * (int(known["rack_chassis"].value) if "rack_chassis" in known else 1)
    if not chassis:
        in_rack = domain
    return (
        top.count("chassis_accelerators", in_chassis),
        top.count("rack_accelerators", in_rack),
    )


def _host(table: Table, part: Accelerator, catalog: Catalog, domain: int, tray: int) -> Host:
    accelerators = table.count("accelerators", tray if domain % tray == 0 else domain)
    if domain % accelerators:
        raise InvalidInput(
            f"{table.where('accelerators')}: {accelerators} per host do not divide the domain of"
            f" {domain}"
        )
    cpus = table.count("cpus", max(1, accelerators // 4), least=0)
    cpu = table.text("cpu", "x86")
    host = Host(
        accelerators=accelerators,
        cpus=cpus,
        cpu=cpu,
        memory_bytes=table.number("memory", "bytes", cpus * CPU_MEMORY.get(cpu, SOCKET_MEMORY)),
        wire=wire_of(table, catalog, part.host_link),
    )
    table.finish()
    return host


def _nics(table: Table, catalog: Catalog, host: Host) -> Nics:
    per_host = table.count("per_host", host.accelerators)
    if host.accelerators % per_host and per_host % host.accelerators:
        raise InvalidInput(
            f"{table.where('per_host')}: {per_host} NICs cannot be shared evenly by"
            f" {host.accelerators} accelerators; give a divisor or a multiple"
        )
    wire = wire_of(table, catalog, None, medium="pluggable", length_m=20.0)
    usual = catalog.links[wire.link].transport or DEFAULT_TRANSPORT
    transport = table.text("transport", usual)
    nics = Nics(
        per_host=per_host,
        part=table.text("part", "nic"),
        host_wire=wire_of(table, catalog, host.wire.link, prefix="host_"),
        wire=wire,
        transport=find_part(catalog.transports, transport, "transport", table, "transport"),
    )
    table.finish()
    return nics


def _fabric(table: Table, catalog: Catalog, nics: Nics, per_unit: int) -> Fabric | None:
    kind = cast(FabricKind, table.text("kind", choices=get_args(FabricKind)))
    if kind == "none":
        table.finish()
        return None
    wire = nics.wire
    uplink = wire_like(wire, table, catalog, "up", 50.0)
    core_link = wire_like(uplink, table, catalog, "core_", 200.0)
    leaf = switch_of(table, catalog, "switch", None, min(wire.bytes_per_s, uplink.bytes_per_s))
    spine = switch_of(table, catalog, "spine_switch", leaf.part, uplink.bytes_per_s)
    core = switch_of(table, catalog, "core_switch", spine.part, core_link.bytes_per_s)
    over = table.number("oversubscription", "1", 1.0)
    core_over = table.number("core_oversubscription", "1", 1.0)
    rails = table.count("rails", per_unit if kind != "single-switch" else 1)
    if per_unit % rails:
        raise InvalidInput(
            f"{table.where('rails')}: {rails} rails do not divide the {per_unit} NICs of a unit"
        )
    down_share = 1.0 if kind == "single-switch" else 1 + 1 / over
    pod = max(1, int(leaf.ports / down_share + 1e-9) // (per_unit // rails))
    group = 1
    if kind == "fat-tree":
        group = max(1, int(spine.ports / (1 + 1 / core_over) + 1e-9) // rails)
    fabric = Fabric(
        kind=kind,
        rails=rails,
        pod_units=table.count("pod_units", pod),
        leaf=leaf,
        spine=spine if kind in ("fat-tree", "leaf-spine", "rail-only") else None,
        core=core if kind == "fat-tree" else None,
        oversubscription=over,
        core_oversubscription=core_over,
        group_pods=table.count("group_pods", group),
        uplink=uplink,
        core_link=core_link,
        local_links=table.count("local_links", 1),
        global_links=table.count("global_links", 1),
    )
    table.finish()
    check_ports(fabric, per_unit, f"{table.file}: fabric")
    return fabric
