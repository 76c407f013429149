"""Check a graph before anything runs on it.

In:  a NetworkX graph from a file or from a user's script.
Out: nothing, or an `InvalidInput` that names the node or edge, the value and the remedy.
Left out: reading files and filling in missing facts (`graph_file`).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from rackmodel import units
from rackmodel.errors import InvalidInput
from rackmodel.topology.kinds import Kind

if TYPE_CHECKING:
    import networkx as nx

MOST_EDGES = 5_000_000
LEAST_BYTES_PER_S, MOST_BYTES_PER_S = 1.0, 1e18
MOST_LATENCY_S = 10.0


def kinds_of(graph: nx.Graph[Any]) -> dict[Any, str]:
    """Return {node: kind}."""
    return {node: str(data.get("kind") or "") for node, data in graph.nodes(data=True)}


def as_directed(graph: nx.Graph[Any], file: str = "graph") -> nx.DiGraph[Any]:
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
    directed: nx.DiGraph[Any] = nx.DiGraph()
    directed.graph.update(graph.graph)
    directed.add_nodes_from((n, dict(data)) for n, data in graph.nodes(data=True))
    directed.add_edges_from((u, v, dict(data)) for u, v, data in graph.edges(data=True))
    if not graph.is_directed():
        directed.add_edges_from((v, u, dict(data)) for u, v, data in graph.edges(data=True))
    return directed


def check_topology(graph: nx.Graph[Any], *, file: str = "graph", bare: bool = False) -> None:
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
    if graph.graph.get("host_accelerators"):
        whole(graph.graph, "host_accelerators", f"{file}: graph")
    _check_places(graph.graph.get("shape"), f"{file}: graph: shape", least=1)
    accelerators = []
    for node, data in graph.nodes(data=True):
        kind = data.get("kind")
        if kind not in list(Kind) and not (bare and kind in (None, "", "switch")):
            near = (
                "; did you mean 'accelerator'?" if kind in ("gpu", "tpu", "npu", "device") else ""
            )
            if kind == "switch":
                near = "; did you mean 'scale_up_switch' or 'leaf'?"
            found = f"kind {short(kind)}" if "kind" in data else "no kind"
            raise InvalidInput(
                f"{file}: node {short(node)}: {found}{near} (known: {', '.join(Kind)})"
            )
        rack = data.get("rack", 0)
        if isinstance(rack, bool) or not isinstance(rack, numbers.Integral):
            raise InvalidInput(
                f"{file}: node {short(node)}: rack: expected a whole number, found {short(rack)}"
            )
        for key in ("coordinates", "position"):
            _check_places(data.get(key), f"{file}: node {short(node)}: {key}", least=0)
        if kind == Kind.ACCELERATOR:
            accelerators.append(node)
    if not accelerators and not bare:
        raise InvalidInput(f"{file}: no node of kind 'accelerator'")
    for a, b, data in graph.edges(data=True):
        where = f"{file}: edge {short(a)} -> {short(b)}"
        if a == b:
            raise InvalidInput(f"{where}: a node cannot be linked to itself; remove the edge")
        _check_edge(data, where)
    if not bare:
        _check_connected(graph, accelerators, file)
    elif accelerators:
        _check_whole(graph, accelerators, file)


def _check_places(value: object, where: str, *, least: int) -> None:
    """Places on a torus, and its lengths, are lists of whole numbers; other values are no such."""
    if not isinstance(value, (list, tuple)):
        return
    for place in value:
        fits = isinstance(place, numbers.Integral) and not isinstance(place, bool)
        if not fits or not least <= int(place) <= MOST_EDGES:
            raise InvalidInput(
                f"{where}: expected whole numbers from {least} to {MOST_EDGES:,},"
                f" found {short(value)}"
            )


def _check_edge(data: dict[str, Any], where: str) -> None:
    if "bytes_per_s" not in data:
        remedy = "add the rate of one direction, such as 50e9 or '400 Gb/s'"
        raise InvalidInput(f"{where}: no bytes_per_s; {remedy}")
    rate = _number(data, "bytes_per_s", "bytes_per_s", where)
    if not LEAST_BYTES_PER_S <= rate <= MOST_BYTES_PER_S:
        raise InvalidInput(
            f"{where}: bytes_per_s: {data['bytes_per_s']!r} is outside {LEAST_BYTES_PER_S:g} to"
            f" {MOST_BYTES_PER_S:g} bytes/s"
        )
    data["bytes_per_s"] = rate
    if "latency_s" in data:
        data["latency_s"] = _number(data, "latency_s", "s", where)
        if data["latency_s"] > MOST_LATENCY_S:
            raise InvalidInput(f"{where}: latency_s: {data['latency_s']!r} s; the unit is seconds")
    if "payload_efficiency" in data:
        share = _number(data, "payload_efficiency", "1", where)
        if not 0 < share <= 1:
            raise InvalidInput(
                f"{where}: payload_efficiency: {share!r} is not above 0 and at most 1"
            )
        if share * rate < LEAST_BYTES_PER_S:
            raise InvalidInput(
                f"{where}: payload_efficiency: {share!r} leaves less than"
                f" {LEAST_BYTES_PER_S:g} byte/s"
            )
        data["payload_efficiency"] = share
    for key in ("count", "lanes"):
        if key in data:
            data[key] = whole(data, key, where)
    if "length_m" in data:
        data["length_m"] = _number(data, "length_m", "m", where)


def whole(data: Mapping[str, Any], key: str, where: str, *, most: int = 1_000_000) -> int:
    """Return a whole number from 1 to `most`, or say what stands there instead."""
    number = _number(data, key, "1", where)
    if number != int(number) or not 1 <= number <= most:
        raise InvalidInput(f"{where}: {key}: expected 1 to {most:,}, found {short(data[key])}")
    return int(number)


def _number(data: Mapping[str, Any], key: str, dimension: str, where: str) -> float:
    value = data[key]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()  # a numpy scalar
    number = units.parse(value, dimension, where=f"{where}: {key}")
    if not math.isfinite(number):
        raise InvalidInput(f"{where}: {key}: {value!r} is not finite")
    return number


def _check_connected(graph: nx.Graph[Any], accelerators: list[Hashable], file: str) -> None:
    """Every accelerator has to reach the first one and be reached by it, CPUs not forwarding."""
    import networkx as nx

    first = accelerators[0]
    forwards = graph.subgraph(n for n, kind in kinds_of(graph).items() if kind != Kind.CPU)
    reached, reaching = nx.descendants(forwards, first), nx.ancestors(forwards, first)
    for node in accelerators[1:]:
        if node not in reached or node not in reaching:
            a, b = (node, first) if node in reached else (first, node)
            raise InvalidInput(
                f"{file}: no path from accelerator {short(a)} to {short(b)}; join them by links"
                " (an edge of a directed graph is one direction)"
            )


def _check_whole(graph: nx.Graph[Any], accelerators: list[Hashable], file: str) -> None:
    """Every accelerator has to hang together with the first one, whichever way links lead."""
    import networkx as nx

    first = accelerators[0]
    joined = nx.node_connected_component(graph.to_undirected(as_view=True), first)
    for node in accelerators:
        if node not in joined:
            raise InvalidInput(
                f"{file}: no path between accelerators {short(first)} and {short(node)};"
                " join them by links"
            )


def short(value: object) -> str:
    """Return a value for a message, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
