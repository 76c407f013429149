"""Find machines: by name among the files that ship, by path, or as a graph in memory.

In:  a name, a path to TOML, node-link JSON or GraphML, or a NetworkX graph.
Out: a `Topology`, or its full graph; tables of what there is.
Left out: what the files say (`toml_file`, `graph_file`).
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from rackmodel import gate
from rackmodel.annotations import DiGraph, Graph
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.files import is_file, is_folder
from rackmodel.hardware import Catalog, load_catalog
from rackmodel.topology.files import content_of, is_graph, text_of
from rackmodel.topology.graph_file import from_graph, parse_graph
from rackmodel.topology.set_rates import at_set_rates
from rackmodel.topology.toml_file import parse_toml
from rackmodel.topology.topology import Topology

MOST_KEPT = 256  # machines
_ENDINGS = (".toml", ".json", ".graphml", ".xml", ".yml", ".yaml", ".txt")  # of files, not names

_kept: OrderedDict[tuple[str, str | None, bytes], Topology] = OrderedDict()


@functools.cache
def _folder() -> Path:
    """Return the folder of shipped files: in the wheel, else in the source checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "topologies", package.parent / "topologies"):
        if is_folder(folder):
            return folder
    raise InvalidInput("the folder of topology files is missing; install rackmodel again")


def topology_names() -> list[str]:
    """Return the names of all machines that ship, sorted."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


@gate.called
def load_topology(
    name: str | Path | Graph[Any] | Topology,
    *,
    overrides: Mapping[str, object] | None = None,
    catalog: Catalog | None = None,
    accelerator: str | None = None,
    maps: Mapping[str, str] | None = None,
) -> Topology:
    """Return a machine by name, from a file, or from a graph.

    Parameters
    ----------
    name : a name of `topology_names()`; a path to .toml or a file of another tool (node-link JSON,
        GraphML, NCCL, InfraGraph, ASTRA-sim, SimAI, SimGrid); a NetworkX graph; or a Topology,
        returned as it is.
    overrides : values put over those of a TOML file, {"fabric.oversubscription": 2}.
    catalog : parts to build from, if not the shipped ones.
    accelerator : part of the accelerators of a graph that does not say.
    maps : what keys of a graph's file mean, {"bytes_per_s": "LinkSpeedRaw/8"}.

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
        return from_graph(name, accelerator=accelerator)
    path = _find(str(name))
    content = content_of(path)
    if overrides is not None or catalog is not None or maps:
        return _parse(path, content, accelerator, overrides, catalog, maps)
    # By what the file says: one that is edited within a tick of the clock is read again.
    key = (str(name), accelerator, sha256(content).digest())
    if key not in _kept:
        _kept[key] = _parse(path, content, accelerator, None, None)
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key]


def changed(
    machine: Topology, overrides: Mapping[str, object], catalog: Catalog | None = None
) -> Topology:
    """Return a machine that was read from a TOML file with other values, {"shape.links": 2}.

    What was changed before stays, and so does the file: it is not looked up again by its name.

    Raises
    ------
    InvalidInput
        If the machine is a graph, or the values make none that can be built.
    """
    if not machine.source_text or machine.own_graph is not None:
        raise InvalidInput(f"{machine.name}: overrides apply to TOML files; edit the graph instead")
    return parse_toml(
        machine.source_text,
        machine.name,
        name=machine.name,
        catalog=catalog or load_catalog(),
        overrides={**machine.changes, **overrides},
    )


def forget_topologies() -> None:
    """Drop the machines that are kept from files read before."""
    _kept.clear()


def _parse(
    path: Path,
    content: bytes,
    accelerator: str | None,
    overrides: Mapping[str, object] | None,
    catalog: Catalog | None,
    maps: Mapping[str, str] | None = None,
) -> Topology:
    text = text_of(content, path)
    if maps and not is_graph(path):
        raise InvalidInput(
            f"{path}: --map says what keys of a graph mean; this is a description; leave it out"
        )
    if is_graph(path):
        if overrides:
            raise InvalidInput(f"{path}: overrides apply to TOML files; edit the graph instead")
        graph = parse_graph(text, path, maps)
        machine = from_graph(graph, accelerator=accelerator, name=path.stem, file=str(path))
        return at_set_rates(machine, catalog or load_catalog())
    shipped = path.parent == _folder()
    file = f"topologies/{path.name}" if shipped else str(path)
    return parse_toml(
        text, file, name=path.stem, catalog=catalog or load_catalog(), overrides=overrides
    )


def _find(name: str) -> Path:
    if "\0" in name or len(name) > 4000:
        raise InvalidInput(f"{name[:60]!r} is no name and no path; give one")
    path = Path(name)
    shipped = name in topology_names()
    if not shipped and is_file(path):
        return path
    written = path.suffix.lower() in _ENDINGS or len(path.parts) > 1
    if not shipped and written and not is_folder(path):
        raise InvalidInput(f"{name[:200]}: no such file; check the name, or give another")
    if not shipped and is_folder(path):
        raise InvalidInput(f"{name[:200]} is a directory; give the file of a machine in it")
    if not shipped:
        raise UnknownName.among("topology", name[:200], topology_names())
    return _folder() / f"{name}.toml"


@gate.called
def read_topology(name: str | Path | Graph[Any], racks: int = 1) -> DiGraph[Any]:
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
    racks = gate.whole(racks, "racks", words=False)
    if topology.own_graph is not None:
        return topology.graph(topology.max_accelerators * racks)
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
