"""Read and check graphs that users made: files of other tools (`formats`), NetworkX objects.

In:  nodes with id and kind, edges with bytes_per_s (one direction) and optionally the facts of a
link.
Out: a directed graph as DESIGN section 3 has it, wrapped as a `Topology` of fixed size.
Left out: descriptions in TOML (`toml_file`); pickle and anything else that runs code.

Missing facts: latency 0, payload_efficiency 1 (the rate is taken as it stands), count 1.
Accelerators are ordered by `index` if all have one, else as they stand in the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rackmodel import gate
from rackmodel.annotations import DiGraph, Graph
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware import load_catalog
from rackmodel.topology.check import (
    as_directed,
    check_topology,
    kinds_of,
)
from rackmodel.topology.files import content_of, text_of
from rackmodel.topology.kinds import FABRIC_SWITCHES, Kind
from rackmodel.topology.topology import Topology

DEFAULTS = {
    "latency_s": 0.0,
    "payload_efficiency": 1.0,
    "count": 1,
    "kind": "",
    "medium": "",
    "link": "",
    "length_m": 0.0,
    "lanes": 1,
}
"""Facts of a link that a user's graph leaves out."""


def parse_graph(text: str, path: Path, maps: Mapping[str, str] | None = None) -> DiGraph[Any]:
    """Return the graph that a text holds, in rackmodel's words, not yet checked.

    Parameters
    ----------
    maps : what keys of the file mean, as `formats.words.normalised` takes it.

    Raises
    ------
    InvalidInput
        If it is not valid, of no format that is read, names a node twice, or declares XML entities.
    """
    from rackmodel.topology.formats import graph_of, words

    return words.normalised(graph_of(text, path), str(path), maps)


def read_flow_graph(path: Path, maps: Mapping[str, str] | None = None) -> DiGraph[Any]:
    """Read a graph that only carries flows: see `bare` of `check_topology`.

    Raises
    ------
    InvalidInput
        As `parse_graph` and `check_topology`, or if the file is too large.
    """
    graph = parse_graph(text_of(content_of(path), path), path, maps)
    check_topology(graph, file=str(path), bare=True)
    for _, data in graph.nodes(data=True):
        data["kind"] = data.get("kind") or ""
    if Kind.ACCELERATOR in kinds_of(graph).values():
        for index, node in enumerate(_ordered(graph, str(path))):
            graph.nodes[node]["index"] = index
    return graph


def from_graph(
    graph: Graph[Any], *, accelerator: str | None = None, name: str = "", file: str = ""
) -> Topology:
    """Check a graph, fill in what it leaves out, and wrap it as a machine of fixed size.

    Parameters
    ----------
    graph : nodes with `kind`; edges with `bytes_per_s`. It is copied, not changed.
    accelerator : catalog id of the accelerators, where neither graph nor nodes say.

    Raises
    ------
    InvalidInput
        As `check_topology`; also if the accelerators are of several parts, or unknown ones.
    """
    from rackmodel.topology.formats.words import normalised

    for method in ("nodes", "edges", "is_directed", "is_multigraph"):
        if not hasattr(graph, method):
            raise InvalidInput(
                f"expected a name, a path or a NetworkX graph, found {gate.shown(graph)}"
            )
    name = name or str(graph.graph.get("name") or "graph")[:200]
    file = file or name
    own = normalised(as_directed(graph, file), file)
    check_topology(own, file=file)
    nodes = _ordered(own, file)
    for index, node in enumerate(nodes):
        own.nodes[node]["index"] = index
    part = _part(own, nodes, accelerator, file)
    domain = _number_domains(own, nodes)
    _fill_in(own, part)
    in_rack = max(Counter(own.nodes[node]["rack"] for node in nodes).values())
    own.graph.update(
        name=name,
        accelerator=part,
        accelerators=len(nodes),
        domain=domain,
        rack_accelerators=in_rack,
        reduction=own.graph.get("reduction", False),
        fabric_reduction=own.graph.get("fabric_reduction", False),
        bundled=False,
    )
    holds = "accelerator" if len(nodes) == 1 else "accelerators"
    return Topology(
        name=name,
        title=str(own.graph.get("title", f"graph of {len(nodes)} {holds}"))[:200],
        accelerator=part,
        scale_up=None,
        host=None,
        nics=None,
        fabric=None,
        chassis=str(own.graph.get("chassis", "")),
        chassis_accelerators=domain,
        rack_accelerators=in_rack,
        own_graph=own,
    )


def _number_domains(graph: DiGraph[Any], nodes: list[Hashable]) -> int:
    """Give accelerators that reach each other by scale-up links and switches alone one `domain`.

    Returns the accelerators of the largest.
    """
    import networkx as nx

    local = (Kind.ACCELERATOR, Kind.SCALE_UP_SWITCH)
    inner = graph.subgraph(node for node, kind in kinds_of(graph).items() if kind in local)
    parts = enumerate(nx.weakly_connected_components(inner))
    part = {node: number for number, members in parts for node in members}
    numbers: dict[int, int] = {}
    for node in nodes:
        graph.nodes[node]["domain"] = numbers.setdefault(part[node], len(numbers))
    return max(Counter(graph.nodes[node]["domain"] for node in nodes).values())


def _fill_in(graph: DiGraph[Any], part: str) -> None:
    """Put in the facts of nodes and edges that the user left out."""
    for _, data in graph.nodes(data=True):
        outside = data["kind"] in FABRIC_SWITCHES
        data.setdefault("rack", data.get("domain", -1 if outside else 0))
        if data["kind"] == Kind.ACCELERATOR and part:
            data.setdefault("part", part)
    for _, _, data in graph.edges(data=True):
        for key, default in DEFAULTS.items():
            data.setdefault(key, default)


def _ordered(graph: DiGraph[Any], file: str) -> list[Hashable]:
    nodes = [n for n, kind in kinds_of(graph).items() if kind == Kind.ACCELERATOR]
    indices = [graph.nodes[n].get("index") for n in nodes]
    if all(index is None for index in indices):
        return nodes
    if sorted(i for i in indices if isinstance(i, int)) != list(range(len(nodes))):
        raise InvalidInput(
            f"{file}: 'index' of the {len(nodes)} accelerators has to run from 0 to"
            f" {len(nodes) - 1}, each once; or leave it out everywhere"
        )
    return sorted(nodes, key=lambda n: graph.nodes[n]["index"])


def _part(graph: DiGraph[Any], nodes: Iterable[Hashable], given: str | None, file: str) -> str:
    parts = {graph.nodes[n]["part"] for n in nodes if graph.nodes[n].get("part")}
    stated = given or graph.graph.get("accelerator")
    if len(parts) > 1 and not given:
        raise InvalidInput(
            f"{file}: accelerators of several parts ({', '.join(sorted(parts)[:4])});"
            " give one part a graph"
        )
    part = str(stated) if stated else next(iter(parts), "")
    known = load_catalog().accelerators
    if part and part not in known:
        raise UnknownName(f"{file}: {UnknownName.among('accelerator', part, known)}")
    return part
