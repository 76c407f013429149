"""NetworkX node-link JSON.

In:  nodes with an id, edges with source and target.
Out: a directed graph with the file's own keys.
Left out: what the keys mean (`words`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rackmodel import gate
from rackmodel.annotations import DiGraph
from rackmodel.errors import InvalidInput
from rackmodel.topology.check import MOST_EDGES


def from_node_link(data: Mapping[str, Any], file: str) -> DiGraph[Any]:
    """Return the graph of a node-link table."""
    import networkx as nx

    nodes = data["nodes"]
    edges: Any = data["edges"] if "edges" in data else data.get("links")
    for key, found in (("nodes", nodes), ("edges", edges)):
        if not isinstance(found, list):
            raise InvalidInput(
                f"{file}: {key}: expected a list of objects, found {gate.shown(found)}"
            )
    if not nodes:
        raise InvalidInput(f"{file}: nodes: the list is empty; add nodes")
    if len(edges) > MOST_EDGES:
        raise InvalidInput(
            f"{file}: {len(edges):,} edges; give at most {MOST_EDGES:,}: more are refused"
        )
    facts = data.get("graph", {})
    graph: DiGraph[Any] = nx.DiGraph()
    if not isinstance(facts, dict):
        raise InvalidInput(f"{file}: graph: expected an object, found {gate.shown(facts)}")
    graph.graph.update(facts)
    directed = gate.flag(data.get("directed", False), f"{file}: directed")
    texts: set[str] = set()
    for i, node in enumerate(nodes):
        if not isinstance(node, dict) or "id" not in node:
            raise InvalidInput(
                f"{file}: nodes[{i}]: expected an object with 'id', found {gate.shown(node)}"
            )
        name = node["id"]
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise InvalidInput(
                f"{file}: nodes[{i}].id: expected text or a number, found {gate.shown(name)}"
            )
        if name in graph or str(name) in texts:
            raise InvalidInput(
                f"{file}: nodes[{i}].id: {gate.shown(name)} stands twice; ids must be unique"
                " (1 and '1' are one name in a table of flows)"
            )
        texts.add(str(name))
        graph.add_nodes_from([(name, {k: v for k, v in node.items() if k != "id"})])
    for i, edge in enumerate(edges):
        _add_edge(graph, edge, directed, f"{file}: edges[{i}]")
    return graph


def _add_edge(graph: DiGraph[Any], edge: object, directed: bool, where: str) -> None:
    if not isinstance(edge, dict) or "source" not in edge or "target" not in edge:
        raise InvalidInput(
            f"{where}: expected 'source', 'target', 'bytes_per_s', found {gate.shown(edge)}"
        )
    a, b = edge["source"], edge["target"]
    for end in (a, b):
        if not isinstance(end, (str, int)) or end not in graph:
            raise InvalidInput(
                f"{where}: no node {gate.shown(end)}; add it to 'nodes' or mend the name"
            )
    if a == b:
        raise InvalidInput(f"{where}: {gate.shown(a)} cannot be linked to itself; remove the edge")
    facts = {k: v for k, v in edge.items() if k not in ("source", "target", "key")}
    for u, v in ((a, b),) if directed else ((a, b), (b, a)):
        if graph.has_edge(u, v):
            raise InvalidInput(
                f"{where}: a second edge from {u!r} to {v!r}; give one edge with 'count' and the"
                " rate of the whole bundle"
            )
        graph.add_edges_from([(u, v, facts)])
