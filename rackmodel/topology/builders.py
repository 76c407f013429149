"""What a topology file's `builder = "name"` may say: functions that read [shape].

In:  the table [shape], the accelerator and the hardware catalog.
Out: a scale-up domain, or a NetworkX graph of the whole machine.
Left out: hosts, NICs and the fabric around a domain (`toml_file`).

A builder of your own is one decorated function; a file names it once its module is imported:

>>> @builder("pair")
... def pair(shape, accelerator, catalog):
...     return BUILDERS["mesh"].build(Table({"accelerators": 2}, shape.file), accelerator, catalog)
>>> "pair" in BUILDERS and BUILDERS.pop("pair").build is pair
True
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from rackmodel.annotations import Graph
from rackmodel.errors import InvalidInput
from rackmodel.gate import Table
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.topology.catalog_parts import find_part, switch_of, wire_like, wire_of
from rackmodel.topology.shapes import Mesh, ScaleUp, Switched, Torus

Build: TypeAlias = "Callable[[Table, Accelerator, Catalog], ScaleUp | Graph[Any]]"


class Builder(NamedTuple):
    """A function that reads [shape], and the accelerators of a tray; None: all of the domain."""

    build: Build
    tray: int | None = None


BUILDERS: dict[str, Builder] = {}
"""Builders by the name that files use, in the order in which messages list them."""


def builder(name: str, *, tray: int | None = None) -> Callable[[Build], Build]:
    """Register a function as a builder of that name.

    Parameters
    ----------
    name : what `builder` in a file says; a second one of a name takes the place of the first.
    tray : accelerators of a tray where neither file nor catalog says; None: all of the domain.

    Notes
    -----
    The function takes (shape, accelerator, catalog): the `Table` of [shape], whose getters check
    what they read, and parts with their figures. It returns a `Switched`, `Mesh` or `Torus`, to
    which the file adds [host], [nics] and [fabric]; or a NetworkX graph of the whole machine.
    """

    def register(build: Build) -> Build:
        BUILDERS[name] = Builder(build, tray)
        return build

    return register


@builder("scale_up_rack", tray=4)
@builder("node")
@builder("nvl_rack", tray=4)
def switch_planes(table: Table, part: Accelerator, catalog: Catalog) -> Switched:
    """Switch planes: every accelerator has links to every chip of its group."""
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
        wanted = f"expected {switches}, one for each switch chip of a group"
        raise InvalidInput(f"{table.where('links')}: {wanted}, found {len(links)}")
    rate = part.scale_up_bytes_per_s / sum(links)
    wire = wire_of(table, catalog, part.scale_up_link, rate=rate, length_m=0.6)
    use = switch_of(table, catalog, "switch", None, wire.bytes_per_s)
    cross = table.count("cross_links", 0, least=0)
    spines = table.count("spines", 0, least=0)
    down = accelerators // groups * max(links)
    spine_links = table.count("spine_links", max(1, down // spines) if spines else 0, least=0)
    upper = None
    if cross or spines:
        upper = wire_like(wire, table, catalog, "upper_", 2.0)
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
    return Switched(
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


@builder("mesh")
def mesh(table: Table, part: Accelerator, catalog: Catalog) -> Mesh:
    """All pairs of accelerators are joined."""
    accelerators = table.count("accelerators", least=2, most=1024)
    links = table.count("links", max(1, part.scale_up_links // (accelerators - 1)))
    rate = part.scale_up_bytes_per_s / max(links * (accelerators - 1), 1)
    wire = wire_of(table, catalog, part.scale_up_link, rate=rate)
    return Mesh(accelerators=accelerators, links=links, wire=wire)


@builder("torus", tray=4)
def torus(table: Table, part: Accelerator, catalog: Catalog) -> Torus:
    """Neighbours on a grid are joined, around it where it closes."""
    shape = table.counts("dimensions")
    if len(shape) > 6:
        raise InvalidInput(
            f"{table.where('dimensions')}: {len(shape)} dimensions; 1 to 6 make sense"
        )
    rate = part.scale_up_bytes_per_s / (2 * len(shape))
    wire = wire_of(table, catalog, part.scale_up_link, rate=rate, medium="copper", length_m=1.0)
    ocs = table.text("ocs", "")
    far = None
    ports = 0
    if table.has("far_medium"):
        far = wire_like(wire, table, catalog, "far_", 30.0)
    if ocs:
        ports = find_part(catalog.switches, ocs, "switch", table, "ocs").radix
    first = None
    if table.has("first_link"):  # the slowest dimension may use other links: between boards
        first = wire_of(table, catalog, wire.link, prefix="first_", medium="copper", length_m=2.0)
    cube = table.count("cube", 0, least=0, most=1024)
    return Torus(
        shape=shape,
        wires=((first,) if first else (wire,)) + (wire,) * (len(shape) - 1),
        far=far,
        cube=cube,
        wrap_multiple=table.count("wrap_multiple", cube or 1),
        fixed=table.flag("fixed", False),
        ocs=ocs,
        ocs_ports=table.count("ocs_ports", ports or 1),
    )
