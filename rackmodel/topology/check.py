"""Check a graph before anything runs on it.

In:  a NetworkX graph from a file or from a user's script.
Out: nothing, or an `InvalidInput` that names the node or edge, the value and the remedy.
Left out: reading files and filling in missing facts (`graph_file`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeAlias

from rackmodel import gate
from rackmodel.annotations import DiGraph, Graph
from rackmodel.errors import InvalidInput
from rackmodel.topology.kinds import Kind

Reader: TypeAlias = Callable[[object, str], Any]

MOST_EDGES = 5_000_000
LEAST_BYTES_PER_S, MOST_BYTES_PER_S = 1.0, 1e18
MOST_LATENCY_S = 10.0


def kinds_of(graph: Graph[Any]) -> dict[Any, str]:
    """Return {node: kind}."""
    return {node: str(data.get("kind") or "") for node, data in graph.nodes(data=True)}


def as_directed(graph: Graph[Any], file: str = "graph") -> DiGraph[Any]:
    """Return a directed copy; an undirected edge is both directions, parallel ones are refused."""
    import networkx as nx

    if graph.is_multigraph():
        ends: set[tuple[object, object]] = set()
        for u, v in graph.edges():
            if (u, v) in ends or (not graph.is_directed() and (v, u) in ends):
                raise InvalidInput(
                    f"{file}: parallel edges from {u!r} to {v!r}; give one with 'count' and"
                    " the rate of the whole bundle"
                )
            ends.add((u, v))
    directed: DiGraph[Any] = nx.DiGraph()
    directed.graph.update(graph.graph)
    directed.add_nodes_from((n, dict(data)) for n, data in graph.nodes(data=True))
    directed.add_edges_from((u, v, dict(data)) for u, v, data in graph.edges(data=True))
    if not graph.is_directed():
        directed.add_edges_from((v, u, dict(data)) for u, v, data in graph.edges(data=True))
    return directed


def check_topology(graph: Graph[Any], *, file: str = "graph", bare: bool = False) -> None:
    """Refuse a graph that rackmodel cannot run, naming the node or edge, its value and the remedy.

    Checks kinds, capacities (finite, above 0), latencies, counts, self-loops, sizes, and that every
    accelerator reaches every other.

    Parameters
    ----------
    bare : the graph only carries flows between named nodes. Nodes need no kind, accelerators may
        be missing, and links may lead one way, as long as the accelerators hang together.

    Raises
    ------
    InvalidInput
        At the first thing that is wrong.
    """
    if graph.is_multigraph() or not graph.is_directed():
        graph = as_directed(graph, file)
    if graph.number_of_edges() > MOST_EDGES:
        raise InvalidInput(f"{file}: {graph.number_of_edges():,} edges; at most {MOST_EDGES:,}")
    _read_facts(graph.graph, GRAPH, f"{file}: graph")
    accelerators = []
    for node, data in graph.nodes(data=True):
        where = f"{file}: node {gate.shown(node)}"
        _check_kind(data, where, bare=bare)
        _read_facts(data, NODE, where)
        if data.get("kind") == Kind.ACCELERATOR:
            accelerators.append(node)
    if not accelerators and not bare:
        raise InvalidInput(f"{file}: no node of kind 'accelerator'; give those that compute it")
    for a, b, data in graph.edges(data=True):
        where = f"{file}: edge {gate.shown(a)} -> {gate.shown(b)}"
        if a == b:
            raise InvalidInput(f"{where}: a node cannot be linked to itself; remove the edge")
        _check_edge(data, where)
    if not bare:
        _check_connected(graph, accelerators, file)
    elif accelerators:
        _check_whole(graph, accelerators, file)


def _check_kind(data: Mapping[str, Any], where: str, *, bare: bool) -> None:
    kind = data.get("kind")
    if kind in list(Kind) or (bare and kind in (None, "", "switch")):
        return
    near = "; did you mean 'scale_up_switch' or 'leaf'?" if kind == "switch" else ""
    if "kind" not in data:
        near = "; give it in the file, or to all by --map kind=accelerator"
    found = f"kind {gate.shown(kind)}" if "kind" in data else "no kind"
    raise InvalidInput(f"{where}: {found}{near} (known: {', '.join(Kind)})")


def _places(least: int) -> Reader:
    """Return what reads places on a torus, and its lengths: whole numbers; other values are left.

    A position may be what a layout made of it, such as text.
    """

    def read(value: object, where: str) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return list(gate.wholes(value, where, least=least, most=MOST_EDGES))

    return read


def _whole(least: int, most: int = 1_000_000) -> Reader:
    return lambda value, where: gate.whole(value, where, least=least, most=most, words=False)


def _number(dimension: str, least: float = 0.0, most: float = math.inf) -> Reader:
    return lambda value, where: gate.number(value, dimension, where, least=least, most=most)


#: Facts that rackmodel reads, each with what reads it; others are the user's own and are left.
GRAPH: dict[str, Reader] = {
    "accelerator": gate.text,
    "name": gate.text,
    "title": gate.text,
    "chassis": gate.text,
    "shape": _places(1),
    "reduction": gate.flag,
    "fabric_reduction": gate.flag,
    "ocs": _whole(0),
    "ocs_part": gate.text,
}
NODE: dict[str, Reader] = {
    "kind": gate.text,
    "part": gate.text,
    "index": _whole(0, MOST_EDGES),
    "rack": _whole(-1, MOST_EDGES),
    "domain": _whole(-1, MOST_EDGES),
    "count": _whole(1),
    "tier": _whole(0),
    "coordinates": _places(0),
    "position": _places(0),
}
EDGE: dict[str, Reader] = {
    "bytes_per_s": _number("bytes_per_s", least=LEAST_BYTES_PER_S, most=MOST_BYTES_PER_S),
    "latency_s": _number("s", most=MOST_LATENCY_S),
    "payload_efficiency": _number("1", least=1e-12, most=1.0),
    "count": _whole(1),
    "lanes": _whole(1),
    "length_m": _number("m"),
    "kind": gate.text,
    "medium": gate.text,
    "link": gate.text,
}


def _read_facts(data: dict[str, Any], known: Mapping[str, Reader], where: str) -> None:
    """Read the facts that are known in place; one that is null is not given."""
    for key in known.keys() & data.keys():
        if data[key] is None and key != "bytes_per_s":  # which is needed
            del data[key]
        else:
            data[key] = known[key](data[key], f"{where}: {key}")


def _check_edge(data: dict[str, Any], where: str) -> None:
    _read_facts(data, EDGE, where)
    if "bytes_per_s" not in data:
        remedy = "add the rate of one direction, such as 50e9 or '400 Gb/s'"
        raise InvalidInput(f"{where}: no bytes_per_s; {remedy}")
    share = data.get("payload_efficiency", 1.0)
    if share * data["bytes_per_s"] < LEAST_BYTES_PER_S:
        raise InvalidInput(
            f"{where}: payload_efficiency: {share!r} leaves less than {LEAST_BYTES_PER_S:g} byte/s;"
            " give a larger share"
        )


def _check_connected(graph: Graph[Any], accelerators: list[Hashable], file: str) -> None:
    """Every accelerator has to reach the first one and be reached by it, CPUs not forwarding."""
    import networkx as nx

    first = accelerators[0]
    forwards = graph.subgraph(n for n, kind in kinds_of(graph).items() if kind != Kind.CPU)
    reached, reaching = nx.descendants(forwards, first), nx.ancestors(forwards, first)
    for node in accelerators[1:]:
        if node not in reached or node not in reaching:
            a, b = (node, first) if node in reached else (first, node)
            raise InvalidInput(
                f"{file}: no path from accelerator {gate.shown(a)} to {gate.shown(b)}; join them by"
                " links (an edge of a directed graph is one direction)"
            )


def _check_whole(graph: Graph[Any], accelerators: list[Hashable], file: str) -> None:
    """Every accelerator has to hang together with the first one, whichever way links lead."""
    import networkx as nx

    first = accelerators[0]
    joined = nx.node_connected_component(graph.to_undirected(as_view=True), first)
    for node in accelerators:
        if node not in joined:
            raise InvalidInput(
                f"{file}: no path between accelerators {gate.shown(first)} and {gate.shown(node)};"
                " join them by links"
            )
