"""Machines in the files that other tools write: which format a text is of, and its reader.

In:  a text and the name of its file.
Out: a graph in rackmodel's words, not yet checked.
Left out: TOML descriptions (`toml_file`); checks (`check`).

Read are NetworkX node-link JSON and GraphML, NCCL_TOPO_DUMP_FILE XML, SimGrid platform XML,
InfraGraph JSON or YAML, ASTRA-sim network YAML, and the topology files of SimAI and ns-3. A text is
known by what stands in it; the ending of its name only says how it is spelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rackmodel.annotations import DiGraph
from rackmodel.errors import InvalidInput
from rackmodel.files import json_of, yaml_of
from rackmodel.gate import shown
from rackmodel.topology.formats.astra import from_astra
from rackmodel.topology.formats.graphml import from_graphml
from rackmodel.topology.formats.infragraph import from_infragraph
from rackmodel.topology.formats.markup import parse_xml
from rackmodel.topology.formats.nccl import from_nccl
from rackmodel.topology.formats.node_link import from_node_link
from rackmodel.topology.formats.simai import from_simai
from rackmodel.topology.formats.simgrid import from_simgrid

READ = (
    "node-link JSON, GraphML, NCCL_TOPO_DUMP_FILE, SimGrid platforms, InfraGraph, ASTRA-sim network"
    " files, SimAI and ns-3 topologies"
)
_XML: dict[str, Callable[[Any, str], DiGraph[Any]]] = {
    "system": from_nccl,
    "platform": from_simgrid,
}


def graph_of(text: str, path: Path) -> DiGraph[Any]:
    """Return the graph that a text holds.

    Raises
    ------
    InvalidInput
        If it is of no format that is read, or not what its format has to be.
    """
    file, ending = str(path), path.suffix.lower()
    start = text.lstrip()[:1]
    if ending in (".xml", ".graphml") or start == "<":
        root = parse_xml(text, file)
        tag = root.tag.rpartition("}")[2]
        if tag == "graphml":
            return from_graphml(text, file)
        if tag not in _XML:
            raise InvalidInput(f"{file}: XML of <{tag[:40]}> is not read (expected {READ})")
        return _XML[tag](root, file)
    if ending == ".json" or start in ("{", "["):
        return _of_table(json_of(text, file), file)
    if ending in (".yml", ".yaml"):
        return _of_table(yaml_of(text, file), file)
    if start.isdecimal():
        return from_simai(text, file)
    raise InvalidInput(f"{file}: it holds no machine that can be read (expected {READ}, or TOML)")


def _of_table(data: object, file: str) -> DiGraph[Any]:
    """A table of keys: InfraGraph and ASTRA-sim have keys of their own."""
    if isinstance(data, Mapping) and "instances" in data and "devices" in data:
        return from_infragraph(data, file)
    if isinstance(data, Mapping) and "npus_count" in data:
        return from_astra(data, file)
    if not isinstance(data, Mapping) or "nodes" not in data:
        raise InvalidInput(
            f"{file}: expected node-link JSON: an object with 'nodes' and 'edges', or InfraGraph's"
            f" 'devices' and 'instances', or ASTRA-sim's 'npus_count'; found {shown(data)}"
        )
    return from_node_link(data, file)
