"""Find machines: by name among the files that ship, by path, or as a graph in memory.

In:  a name, a path to TOML, node-link JSON or GraphML, or a NetworkX graph.
Out: a `Topology`, or its full graph; tables of what there is.
Left out: what the files say (`toml_file`, `graph_file`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel import units
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.topology import description as d
from rackmodel.topology.topology import Topology

if TYPE_CHECKING:
    import networkx as nx

    from rackmodel.hardware import Catalog

GRAPH_SUFFIXES = (".json", ".graphml", ".xml")


@functools.cache
def _folder() -> Path:
    """Return the folder of shipped files: in the wheel, else in the source checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "topologies", package.parent / "topologies"):
        if folder.is_dir():
            return folder
    raise InvalidInput("the folder of topology files is missing; install rackmodel again")


def topology_names() -> list[str]:
    """Return the names of all machines that ship, sorted."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load_topology(
    name: str | Path | nx.Graph[Any] | Topology,
    *,
    overrides: Mapping[str, object] | None = None,
    catalog: Catalog | None = None,
    accelerator: str | None = None,
) -> Topology:
    """Return a machine by name, from a file, or from a graph.

    Parameters
    ----------
    name : a name of `topology_names()`; a path to .toml, .json (node-link) or .graphml; a NetworkX
        graph; or a Topology, returned as it is.
    overrides : values put over those of a TOML file, {"fabric.oversubscription": 2}.
    catalog : parts to build from, if not the shipped ones.
    accelerator : part of the accelerators of a graph that does not say.

    Raises
    ------
    UnknownName
        If no machine has that name; with the nearest one.
    InvalidInput
        If the file or graph is not what it has to be.
    """
    if isinstance(name, Topology):
        return name
    if not isinstance(name, (str, Path)):
        from rackmodel.topology.graph_file import from_graph

        return from_graph(name, accelerator=accelerator)
    if overrides is None and catalog is None:
        return _load_once(str(name), accelerator, _stamp(str(name)))
    return _load(str(name), accelerator, overrides, catalog)


def _stamp(name: str) -> float:
    """Return the time at which a user's file changed, so that it is read again."""
    path = Path(name)
    try:
        return path.stat().st_mtime if path.suffix and path.is_file() else 0.0
    except (OSError, ValueError):
        return 0.0


@functools.lru_cache(maxsize=256)
def _load_once(name: str, accelerator: str | None, stamp: float) -> Topology:
    return _load(name, accelerator, None, None)


def _load(
    name: str,
    accelerator: str | None,
    overrides: Mapping[str, object] | None,
    catalog: Catalog | None,
) -> Topology:
    from rackmodel.hardware import load_catalog
    from rackmodel.topology.toml_file import MOST_BYTES, parse_toml

    path = _find(name)
    if path.suffix.lower() in GRAPH_SUFFIXES:
        from rackmodel.topology.graph_file import from_graph, read_graph_file

        if overrides:
            raise InvalidInput(f"{path}: overrides apply to TOML files; edit the graph instead")
        return from_graph(
            read_graph_file(path), accelerator=accelerator, name=path.stem, file=str(path)
        )
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InvalidInput(f"{path}: {path.stat().st_size:,} bytes is no topology file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read as text: {error}") from None
    shipped = path.parent == _folder()
    file = f"topologies/{path.name}" if shipped else str(path)
    return parse_toml(
        text, file, name=path.stem, catalog=catalog or load_catalog(), overrides=overrides
    )


def _find(name: str) -> Path:
    suffixes = (".toml", *GRAPH_SUFFIXES)
    if "\0" in name or len(name) > 4000:
        raise InvalidInput(f"{name[:60]!r} is no name and no path")
    path = Path(name)
    if path.suffix.lower() in suffixes or len(path.parts) > 1:
        try:
            if path.is_file():
                if path.suffix.lower() not in suffixes:
                    raise InvalidInput(f"{name}: expected one of {', '.join(suffixes)}")
                return path
        except OSError as error:
            raise InvalidInput(f"{name[:200]}: {error.strerror}") from None
        raise InvalidInput(f"{name[:200]}: no such file")
    if name not in topology_names():
        raise UnknownName.among("topology", name[:200], topology_names())
    return _folder() / f"{name}.toml"


def read_topology(name: str | Path | nx.Graph[Any], racks: int = 1) -> nx.DiGraph[Any]:
    """Return the full graph, planes spelled out, of some of the racks that a file describes.

    Parameters
    ----------
    name : as for `load_topology`.
    racks : how many of what the file describes: nodes, racks, pods or whole domains. A user's graph
        is one.

    Raises
    ------
    InvalidInput, CannotRun
        If there is no such machine, or it has fewer racks.
    """
    topology = load_topology(name)
    if isinstance(racks, bool) or not isinstance(racks, int) or racks < 1:
        raise InvalidInput(f"racks: expected a whole number of at least 1, found {racks!r:.40}")
    if topology.own_graph is not None:
        return topology.graph(int(topology.max_accelerators or 1) * racks)
    return topology.graph(topology.domain_accelerators * racks)


def topology_rows() -> list[dict[str, object]]:
    """Return one row for every machine that ships, for `rackmodel list topologies`."""
    rows: list[dict[str, object]] = []
    for name in topology_names():
        topology = load_topology(name)
        scale_up = topology.scale_up
        rows.append(
            {
                "name": name,
                "year": topology.year,
                "accelerator": topology.accelerator,
                "domain_accelerators": topology.domain_accelerators,
                "scale_up_bytes_per_s": scale_up.accelerator_bytes_per_s if scale_up else 0.0,
                "nic_bytes_per_s": topology.nic_bytes_per_s,
                "fabric": topology.fabric.kind if topology.fabric else "none",
                "max_accelerators": topology.max_accelerators,
                "title": topology.title,
            }
        )
    return rows


MOST_COUNTED = 1152
"""Accelerators of the largest domain whose graph `describe` counts."""


def describe(topology: Topology) -> list[tuple[str, str, str]]:
    """Return (what, value, source or note) lines on a machine, for `rackmodel show`."""
    rate = "bytes_per_s"
    lines = [("name", topology.name, ""), ("what", topology.title, "")]
    if topology.year:
        lines.append(("year", str(topology.year), ""))
    lines.append(("accelerator", topology.accelerator or "not stated", ""))
    scale_up = topology.scale_up
    lines.append(
        ("scale-up domain", f"{topology.domain_accelerators} accelerators", _shape(scale_up))
    )
    if scale_up is not None:
        shown = units.show(scale_up.accelerator_bytes_per_s, rate)
        lines.append(("scale-up per accelerator", shown, "one direction"))
    lines.append(("accelerators per rack", str(topology.rack_accelerators), topology.chassis))
    if topology.host is not None:
        host = topology.host
        note = f"{host.wire.link} to each accelerator"
        lines.append(("CPUs", f"{host.cpus} {host.cpu} for {host.accelerators} accelerators", note))
    if topology.nics is not None:
        nics = topology.nics
        each = units.show(nics.wire.bytes_per_s, rate)
        lines.append(("NICs", f"{topology.nics_per_accelerator:g} per accelerator", nics.part))
        lines.append(("NIC rate", each, f"{nics.wire.link}, one direction"))
    lines += _fabric_lines(topology)
    most = topology.max_accelerators
    lines.append(("largest machine", f"{most:,} accelerators" if most else "no limit", ""))
    lines += _counted_lines(topology)
    lines += _published_lines(topology)
    return lines


def _shape(scale_up: object) -> str:
    match scale_up:
        case d.Switched(groups=groups, links=links, switch=switch, spines=spines):
            top = f", {spines * len(links)} more above" if spines else ""
            return f"{sum(links)} links each to {groups * len(links)} switch chips ({switch}){top}"
        case d.Mesh(links=links):
            return f"all pairs, {links} link{'s' if links > 1 else ''} each"
        case d.Torus(shape=shape):
            return "torus " + " x ".join(map(str, shape))
        case _:
            return "as the graph has it"


def _fabric_lines(topology: Topology) -> list[tuple[str, str, str]]:
    fabric = topology.fabric
    if fabric is None:
        return []
    pod = fabric.pod_units * topology.domain_accelerators
    lines = [
        ("fabric", fabric.kind, f"{fabric.rails} rails"),
        ("leaf pod", f"{pod:,} accelerators", f"{fabric.rails} x {fabric.leaf.part}"),
    ]
    if fabric.spine is not None:
        lines.append(("leaf oversubscription", f"{fabric.oversubscription:g}:1", fabric.spine.part))
    if fabric.core is not None:
        group = pod * fabric.group_pods
        note = f"{fabric.core_oversubscription:g}:1, {fabric.core.part}"
        lines.append(("core above", f"{group:,} accelerators", note))
    return lines


def _counted_lines(topology: Topology) -> list[tuple[str, str, str]]:
    """Totals of one switched domain, counted in its graph, and what optics would draw in it."""
    from rackmodel.topology.inventory import optics_power_w
    from rackmodel.topology.published import published_facts

    size = topology.domain_accelerators
    if not isinstance(topology.scale_up, d.Switched) or size > MOST_COUNTED:
        return []
    facts = published_facts(topology, size)
    note = f"one domain of {size}; what its graph holds"
    lines = []
    for key in ("scale_up_links", "copper_pairs", "scale_up_bytes_per_s"):
        value = facts.get(key, 0.0)
        if value:
            whole = f"{value:,.0f}"
            shown = units.show(value, "bytes_per_s") if key.endswith("_per_s") else whole
            lines.append((f"counted {key}", shown, note))
    if facts.get("copper_pairs"):
        graph = topology.graph(size)
        watts = {medium: optics_power_w(graph, medium) for medium in ("cpo", "lpo", "pluggable")}
        each = ", ".join(f"{medium} {value / 1e3:.1f} kW" for medium, value in watts.items())
        lines.append(("optics for copper would add", each, note))
    return lines


def _published_lines(topology: Topology) -> list[tuple[str, str, str]]:
    source = str(topology.published.get("source", ""))
    lines = []
    for key, value in topology.published.items():
        if key in ("source", "at", "note"):
            continue
        shown = units.show(value, "bytes_per_s") if key.endswith("_per_s") else f"{value:,}"
        lines.append((f"published {key}", shown, source))
    return lines
