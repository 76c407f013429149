"""Read a machine from TOML: [shape], [host], [nics], [fabric], [published].

In:  the text of a file and the hardware catalog, which gives links and switches their figures.
Out: a checked `Topology`.
Left out: finding files by name (`names`), graph files (`graph_file`).

Builders: nvl_rack, node and scale_up_rack (switch planes), mesh (all pairs), torus.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar, cast, get_args

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware import Accelerator, Catalog, Link, Switch
from rackmodel.topology import description as d
from rackmodel.topology.published import check_published, read_published
from rackmodel.topology.table import Table
from rackmodel.topology.topology import Topology

BUILDERS = ("nvl_rack", "node", "scale_up_rack", "mesh", "torus")
SWITCHED = ("nvl_rack", "node", "scale_up_rack")
MOST_BYTES = 2_000_000
"""No description is longer; a larger file is something else."""

Part = TypeVar("Part")


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
        raise InvalidInput(f"{file}: {len(text):,} characters; a topology file has a few thousand")
    try:
        data: dict[str, Any] = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(f"{file}: not valid TOML: {error}") from None
    for key, value in (overrides or {}).items():
        _override(data, key, value, file)
    top = Table(data, file)
    topology = _read(top, name, text if not overrides else "", catalog)
    if not overrides:  # a machine that the user changed is no longer the one in print
        check_published(topology, file)
    return topology


def _override(data: dict[str, Any], key: str, value: object, file: str) -> None:
    *tables, last = key.split(".")
    table: Any = data
    for part in tables:
        table = table.setdefault(part, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise InvalidInput(f"{file}: cannot set {key!r}: {'.'.join(tables)} is not a table")
    table[last] = value


def _read(top: Table, name: str, text: str, catalog: Catalog) -> Topology:
    builder = top.text("builder", choices=BUILDERS)
    part = _find(catalog.accelerators, top.text("accelerator"), "accelerator", top, "accelerator")
    shape = top.table("shape")
    scale_up: d.Switched | d.Mesh | d.Torus
    if builder in SWITCHED:
        scale_up = _switched(shape, part, catalog)
    elif builder == "mesh":
        scale_up = _mesh(shape, part, catalog)
    else:
        scale_up = _torus(shape, part, catalog)
    shape.finish()
    tray = {"nvl_rack": 4, "scale_up_rack": 4, "torus": 4}.get(builder, scale_up.accelerators)
    host = _host(top.table("host"), part, catalog, scale_up.accelerators, tray)
    nics = _nics(top.table("nics"), part, catalog, host) if top.has("nics") else None
    fabric = None
    if top.has("fabric"):
        if nics is None:
            raise InvalidInput(f"{top.where('nics')}: missing; a fabric needs NICs to attach to")
        fabric = _fabric(top.table("fabric"), catalog, nics, scale_up.accelerators, host)
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
        known = _find(catalog.chassis, chassis, "chassis", top, "chassis")
    in_chassis = int(known["accelerators"].value) if "accelerators" in known else tray
    in_rack = in_chassis * (int(known["rack_chassis"].value) if "rack_chassis" in known else 1)
    if not chassis:
        in_rack = domain
    return (
        top.count("chassis_accelerators", in_chassis),
        top.count("rack_accelerators", in_rack),
    )


def _find(known: Mapping[str, Part], name: str, what: str, table: Table, key: str) -> Part:
    if name in known:
        return known[name]
    error = UnknownName.among(what, name, known)
    raise UnknownName(f"{table.where(key)}: {error}")


def _wire(
    table: Table,
    catalog: Catalog,
    default: str | None,
    *,
    prefix: str = "",
    medium: str = "pcb",
    length_m: float = 0.3,
    rate: float | None = None,
) -> d.Wire:
    key = f"{prefix}link"
    link: Link = _find(catalog.links, table.text(key, default), "link", table, key)
    chosen = table.text(f"{prefix}medium", medium)
    _find(catalog.media, chosen, "medium", table, f"{prefix}medium")
    return d.Wire(
        link=link.name,
        kind=link.kind,
        bytes_per_s=table.number(
            f"{prefix}link_bytes_per_s", "bytes_per_s", rate or link.bytes_per_s
        ),
        latency_s=table.number(f"{prefix}link_latency_s", "s", link.latency_s),
        payload_efficiency=link.payload_efficiency,
        medium=chosen,
        length_m=table.number(f"{prefix}length_m", "m", length_m),
        lanes=table.count(f"{prefix}link_lanes", link.lanes or 1, most=64),
    )


def _switch(
    table: Table, catalog: Catalog, key: str, default: str | None, rate: float
) -> d.SwitchUse:
    part: Switch = _find(catalog.switches, table.text(key, default), "switch", table, key)
    split = part.port_bytes_per_s / rate
    ganged = part.kind != "infiniband"  # lanes of other chips may be put together to wider ports
    if split < 1 - 1e-6 and not ganged:
        raise InvalidInput(
            f"{table.where(key)}: ports of {part.name!r} carry"
            f" {part.port_bytes_per_s / 1e9:g} GB/s, the links {rate / 1e9:g} GB/s; use a faster"
            " switch or a slower link"
        )
    return d.SwitchUse(
        part=part.name,
        # a fast port is split into slower ones
        ports=part.radix * int(split + 1e-6) if split > 1 - 1e-6 else int(part.radix * split),
        latency_s=part.latency_s,
        reduction=part.in_network_reduction,
    )


def _switched(table: Table, part: Accelerator, catalog: Catalog) -> d.Switched:
    accelerators = table.count("accelerators")
    groups = table.count("groups", 1)
    if accelerators % groups:
        raise InvalidInput(
            f"{table.where('groups')}: {groups} groups do not divide {accelerators} accelerators"
        )
    switches = table.count("switches", most=4096)  # chips of one group
    per_chip = max(1, part.scale_up_links // switches)
    if table.has("links") and isinstance(table.data["links"], list):
        links = table.counts("links")
    else:
        links = (table.count("links", per_chip),) * switches
    if len(links) != switches:
        raise InvalidInput(
            f"{table.where('links')}: {len(links)} entries for {switches} switch chips of a group"
        )
    rate = part.scale_up_bytes_per_s / sum(links)
    wire = _wire(table, catalog, part.scale_up_link, rate=rate, length_m=0.6)
    use = _switch(table, catalog, "switch", None, wire.bytes_per_s)
    cross = table.count("cross_links", 0, least=0)
    spines = table.count("spines", 0, least=0)
    down = accelerators // groups * max(links)
    spine_links = table.count("spine_links", max(1, down // spines) if spines else 0, least=0)
    upper = None
    if cross or spines:
        upper = _wire(
            table,
            catalog,
            wire.link,
            prefix="upper_",
            rate=wire.bytes_per_s,
            medium=wire.medium,
            length_m=2.0,
        )
    elif groups > 1:
        raise InvalidInput(
            f"{table.where('groups')}: groups need cross_links or spines to join them"
        )
    used = down + cross * (groups - 1) + spines * spine_links
    for what, ports in (("switch", used), ("second-tier switch", groups * spine_links)):
        if ports > use.ports:
            raise InvalidInput(
                f"{table.where('switch')}: a {what} needs {ports} ports, {use.part!r} has"
                f" {use.ports}; use more switches, fewer accelerators or another part"
            )
    return d.Switched(
        group_accelerators=accelerators // groups,
        groups=groups,
        links=links,
        wire=wire,
        switch=use.part,
        switch_latency_s=use.latency_s,
        reduction=table.flag("reduction", use.reduction),
        trays=table.count("trays", 1),
        cross_links=cross,
        spines=spines,
        spine_links=spine_links,
        upper=upper,
    )


def _mesh(table: Table, part: Accelerator, catalog: Catalog) -> d.Mesh:
    accelerators = table.count("accelerators", least=2, most=1024)
    links = table.count("links", max(1, part.scale_up_links // (accelerators - 1)))
    rate = part.scale_up_bytes_per_s / max(links * (accelerators - 1), 1)
    wire = _wire(table, catalog, part.scale_up_link, rate=rate)
    return d.Mesh(accelerators=accelerators, links=links, wire=wire)


def _torus(table: Table, part: Accelerator, catalog: Catalog) -> d.Torus:
    shape = table.counts("dimensions")
    if len(shape) > 6:
        raise InvalidInput(
            f"{table.where('dimensions')}: {len(shape)} dimensions; 1 to 6 make sense"
        )
    rate = part.scale_up_bytes_per_s / (2 * len(shape))
    wire = _wire(table, catalog, part.scale_up_link, rate=rate, medium="copper", length_m=1.0)
    ocs = table.text("ocs", "")
    far = None
    ports = 0
    if table.has("far_medium"):
        far = _wire(table, catalog, wire.link, prefix="far_", rate=wire.bytes_per_s, length_m=30.0)
    if ocs:
        ports = _find(catalog.switches, ocs, "switch", table, "ocs").radix
    first = None
    if table.has("first_link"):  # the slowest dimension may use other links: between boards
        first = _wire(table, catalog, wire.link, prefix="first_", medium="copper", length_m=2.0)
    cube = table.count("cube", 0, least=0, most=1024)
    return d.Torus(
        shape=shape,
        wires=((first,) if first else (wire,)) + (wire,) * (len(shape) - 1),
        far=far,
        cube=cube,
        wrap_multiple=table.count("wrap_multiple", cube or 1),
        fixed=table.flag("fixed", False),
        ocs=ocs,
        ocs_ports=table.count("ocs_ports", ports or 1),
    )


def _host(table: Table, part: Accelerator, catalog: Catalog, domain: int, tray: int) -> d.Host:
    accelerators = table.count("accelerators", tray if domain % tray == 0 else domain)
    if domain % accelerators:
        raise InvalidInput(
            f"{table.where('accelerators')}: {accelerators} per host do not divide the domain of"
            f" {domain}"
        )
    host = d.Host(
        accelerators=accelerators,
        cpus=table.count("cpus", max(1, accelerators // 4), least=0),
        cpu=table.text("cpu", "x86"),
        wire=_wire(table, catalog, part.host_link),
    )
    table.finish()
    return host


def _nics(table: Table, part: Accelerator, catalog: Catalog, host: d.Host) -> d.Nics:
    per_host = table.count("per_host", host.accelerators)
    if host.accelerators % per_host and per_host % host.accelerators:
        raise InvalidInput(
            f"{table.where('per_host')}: {per_host} NICs cannot be shared evenly by"
            f" {host.accelerators} accelerators"
        )
    nics = d.Nics(
        per_host=per_host,
        part=table.text("part", "nic"),
        host_wire=_wire(table, catalog, host.wire.link, prefix="host_"),
        wire=_wire(table, catalog, None, medium="pluggable", length_m=20.0),
    )
    table.finish()
    return nics


def _fabric(
    table: Table, catalog: Catalog, nics: d.Nics, domain: int, host: d.Host
) -> d.Fabric | None:
    kind = cast(d.FabricKind, table.text("kind", choices=get_args(d.FabricKind)))
    if kind == "none":
        table.finish()
        return None
    per_unit = domain // host.accelerators * nics.per_host
    uplink = _wire(
        table,
        catalog,
        nics.wire.link,
        prefix="up",
        rate=nics.wire.bytes_per_s,
        medium=nics.wire.medium,
        length_m=50.0,
    )
    core_link = _wire(
        table,
        catalog,
        uplink.link,
        prefix="core_",
        rate=uplink.bytes_per_s,
        medium=uplink.medium,
        length_m=200.0,
    )
    leaf = _switch(table, catalog, "switch", None, min(nics.wire.bytes_per_s, uplink.bytes_per_s))
    spine = _switch(table, catalog, "spine_switch", leaf.part, uplink.bytes_per_s)
    core = _switch(table, catalog, "core_switch", spine.part, core_link.bytes_per_s)
    over = table.number("oversubscription", "1", 1.0)
    core_over = table.number("core_oversubscription", "1", 1.0)
    rails = table.count("rails", per_unit if kind != "single-switch" else 1)
    if per_unit % rails:
        raise InvalidInput(
            f"{table.where('rails')}: {rails} rails do not divide the {per_unit} NICs of a unit"
        )
    share = 1.0 if kind == "single-switch" else 1 + 1 / over
    ports = per_unit // rails
    fitting = int(leaf.ports / share + 1e-9) // ports
    pod_units = table.count("pod_units", max(1, fitting))
    spine_share = 1 + 1 / core_over
    group = max(1, int(spine.ports / spine_share + 1e-9) // rails)
    if kind in ("leaf-spine", "dragonfly", "rail-only", "single-switch"):
        group = 1
    fabric = d.Fabric(
        kind=kind,
        rails=rails,
        pod_units=pod_units,
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
    whole = pod_units * fabric.group_pods
    for units in (1, whole, whole + 1) if kind == "fat-tree" else (1,):
        d.plan_fabric(fabric, units, per_unit, where=f"{table.file}: fabric")  # ports suffice?
    return fabric
