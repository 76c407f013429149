"""A machine's graph, compiled to arrays.

In:  a networkx graph (directed, or undirected meaning both directions) with `bytes_per_s` on edges.
Out: `Network`: numbered nodes and links, payload capacities, latencies, scale-up domains, routes.
Left out: what the nodes compute, and any traffic; a network is the same before and after a run.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.network.arrays import (
    ROUTINGS,
    Arrays,
    Bools,
    Ints,
    Routing,
    components,
    remembered,
)
from rackmodel.network.routing import Route, Router, RouteTable
from rackmodel.topology.kinds import Kind

if TYPE_CHECKING:
    import networkx as nx


class Lists(Protocol):
    """A directed graph as lists: at most one edge from a node to another."""

    graph: dict[str, Any]
    nodes: Any  # mapping from nodes, in order, to their facts
    number: Any  # mapping from nodes to their places
    tail: list[int]
    head: list[int]
    facts: list[dict[str, Any]]  # of each edge; many may share one


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Network(Arrays):
    """A compiled graph that knows its routes; the same before and after a run."""

    @classmethod
    def from_graph(
        cls, graph: nx.Graph[Any], *, routing: Routing = "spray", seed: int = 0
    ) -> Network:
        """Compile `graph`.

        Parameters
        ----------
        graph : nodes with `kind` (and `index`, `coordinates`), edges with `bytes_per_s` and, where
            known, `latency_s`, `payload_efficiency`, `count`, `kind`.
        routing : how bytes choose among shortest paths: "spray" (at every node equal parts over the
            cables of all next hops), "paths" (equal parts over all paths, counted to the end),
            "ecmp" (one of them by a seeded hash; a bundle is as many links as it has cables),
            "single" (one, by the order of links in the graph), "dimension-order" (tori), "rail"
            (first to the accelerator on the right rail, then out).
        seed : of the hash.

        Raises
        ------
        InvalidInput
            If a capacity, latency or efficiency is not a sensible number, or routing is unknown.
        """
        if routing in ROUTINGS and not len(graph):
            raise InvalidInput("the graph has no nodes")
        return _compile(cls, _listed(graph), routing, seed)

    @classmethod
    def from_lists(cls, graph: Lists, *, routing: Routing = "spray", seed: int = 0) -> Network:
        """Compile a graph that is given as lists; the same as `from_graph` of that graph."""
        return _compile(cls, graph, routing, seed)

    @property
    def router(self) -> Router:
        """The routes of this network, found on demand and remembered."""
        return _router(self)

    def route(self, source: int, target: int) -> Route:
        """Return the route between two nodes given by number; see `Router.route`."""
        return self.router.route(source, target)

    def routes(self, sources: Ints, targets: Ints) -> RouteTable:
        """Return the routes of many pairs at once; see `Router.routes`."""
        return self.router.routes(sources, targets)


@remembered
def _router(network: Network) -> Router:
    return Router(network)


@remembered
def by_rail(network: Network) -> Network:
    """Return the same network, routed over rails."""
    return replace(network, routing="rail", _cache={})


def _number(value: object, where: str, what: str, *, zero: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number, str)):
        raise InvalidInput(f"{where}: {what} must be a number, got {value!r}")
    try:
        number = float(value)
    except ValueError:
        raise InvalidInput(f"{where}: {what} must be a number, got {value!r}") from None
    if not math.isfinite(number) or number < 0 or (number == 0 and not zero):
        wanted = "finite and not negative" if zero else "finite and above 0"
        raise InvalidInput(f"{where}: {what} must be {wanted}, got {value!r}")
    return number


@dataclass(slots=True)
class _Listed:
    """A networkx graph as lists."""

    graph: dict[str, Any]
    nodes: Any
    number: dict[Hashable, int]
    tail: list[int]
    head: list[int]
    facts: list[dict[str, Any]]


def _listed(graph: nx.Graph[Any]) -> _Listed:
    edges = list(graph.edges(data=True))
    if not graph.is_directed():
        edges += [(b, a, facts) for a, b, facts in edges]
    edges = [(a, b, facts) for a, b, facts in edges if a != b]
    number = {node: i for i, node in enumerate(graph.nodes)}
    tail, head = [number[a] for a, _, _ in edges], [number[b] for _, b, _ in edges]
    return _Listed(graph.graph, graph.nodes, number, tail, head, [facts for _, _, facts in edges])


# What a graph says of an edge, checked.
EDGE = np.dtype(
    [("rate", "f8"), ("payload", "f8"), ("latency_s", "f8"), ("cables", "i8"), ("kind", "O")]
)


def _edge(facts: Mapping[str, Any], a: Hashable, b: Hashable) -> tuple[object, ...]:
    where = f"edge {a!r} -> {b!r}"
    if "bytes_per_s" not in facts:
        raise InvalidInput(f"{where}: bytes_per_s is missing")
    rate = _number(facts["bytes_per_s"], where, "bytes_per_s", zero=False)
    payload = _number(facts.get("payload_efficiency", 1.0), where, "payload_efficiency", zero=False)
    if payload > 1:
        raise InvalidInput(f"{where}: payload_efficiency must be at most 1, got {payload!r}")
    delay = _number(facts.get("latency_s", 0.0), where, "latency_s", zero=True)
    cables = max(1, round(_number(facts.get("count", 1), where, "count", zero=False)))
    return rate, payload, delay, cables, str(facts.get("kind", ""))


def _compile(cls: type[Network], graph: Lists, routing: Routing, seed: int) -> Network:
    """Check the facts of the graph and build the arrays."""
    if routing not in ROUTINGS:
        raise UnknownName.among("routing", str(routing), ROUTINGS)
    nodes = tuple(graph.nodes)
    kinds = tuple(str(graph.nodes[node].get("kind", "")) for node in nodes)
    tail, head = np.array(graph.tail, dtype=np.int64), np.array(graph.head, dtype=np.int64)
    place: dict[int, int] = {}  # edges that share their facts are checked once
    which = np.array([place.setdefault(id(f), len(place)) for f in graph.facts], dtype=np.int64)
    first = np.unique(which, return_index=True)[1].tolist() if len(which) else []
    edges = [_edge(graph.facts[i], nodes[tail[i]], nodes[head[i]]) for i in first]
    order = np.argsort(tail, kind="stable")  # as networkx lists its edges
    tail, head, told = tail[order], head[order], np.array(edges, dtype=EDGE)[which[order]]
    switch = np.array([kind == Kind.SCALE_UP_SWITCH for kind in kinds])
    part = np.array([kind == Kind.ACCELERATOR for kind in kinds])
    # Links between accelerators are the domain's own, whatever runs on them (Gaudi: Ethernet).
    inner = switch[tail] | switch[head] | (part[tail] & part[head])
    # A hashed flow takes one cable of a bundle; a sprayed one takes all.
    one = np.ones(len(told), dtype=np.int64)
    split = np.where(inner, 1, told["cables"]) if routing == "ecmp" else one
    link = np.repeat(np.arange(len(told)), split)
    tail, head, inner, told, split = tail[link], head[link], inner[link], told[link], split[link]
    accelerators = _accelerators(graph, nodes, kinds)
    facts = graph.graph
    return cls(
        name=str(facts.get("name", "graph")),
        nodes=nodes,
        node_kinds=kinds,
        number=graph.number,
        tail=tail,
        head=head,
        capacity=told["rate"] * told["payload"] / split,
        nominal=told["rate"] / split,
        latency_s=told["latency_s"].copy(),
        count=told["cables"] // split,
        link_kinds=tuple(told["kind"].tolist()),
        scale_up=inner,
        accelerator_nodes=accelerators,
        domain_of=_domains(accelerators, switch | part, tail[inner], head[inner]),
        position=_positions(graph, nodes, accelerators),
        reduction=bool(facts.get("reduction", False)),
        fabric_reduction=bool(facts.get("fabric_reduction", False)),
        family=_family(graph, nodes, accelerators),
        host_reach=int(facts.get("host_accelerators", 0) or 0),
        routing=routing,
        seed=seed,
    )


def _accelerators(graph: Lists, nodes: tuple[Hashable, ...], kinds: tuple[str, ...]) -> Ints:
    found = [i for i, kind in enumerate(kinds) if kind == Kind.ACCELERATOR]
    if not found:  # a bare graph without kinds: every node that is not named a switch may send
        found = [i for i, kind in enumerate(kinds) if kind == ""]
    order = {i: graph.nodes[nodes[i]].get("index") for i in found}
    if all(isinstance(place, (int, np.integer)) for place in order.values()):
        if len(set(order.values())) < len(order):
            raise InvalidInput("two accelerators of the graph have the same index")
        found.sort(key=lambda i: int(order[i] or 0))
    return np.array(found, dtype=np.int64)


def _domains(accelerators: Ints, member: Bools, tail: Ints, head: Ints) -> Ints:
    """Number the parts that scale-up links join, in order of their first accelerator."""
    joins = member[tail] & member[head]
    part = components(len(member), tail[joins], head[joins])[accelerators].tolist()
    number = {name: i for i, name in enumerate(dict.fromkeys(part))}
    return np.array([number[name] for name in part], dtype=np.int64)


def _positions(
    graph: Lists, nodes: tuple[Hashable, ...], accelerators: Ints
) -> tuple[tuple[int, ...], ...] | None:
    places: list[tuple[int, ...]] = []
    for i in accelerators.tolist():
        facts = graph.nodes[nodes[i]]
        place = facts.get("coordinates", facts.get("position"))
        if not isinstance(place, (tuple, list)) or not place:
            return _from_shape(graph, len(accelerators))
        places.append(tuple(int(x) for x in place))
    if len({len(place) for place in places}) != 1 or len(set(places)) < len(places):
        return None
    return tuple(places)


def _from_shape(graph: Lists, count: int) -> tuple[tuple[int, ...], ...] | None:
    """Number the places of tori whose `shape` the graph states; the last dimension runs fastest."""
    shape = graph.graph.get("shape")
    if not isinstance(shape, (tuple, list)) or not shape or count % math.prod(shape):
        return None
    sizes = tuple(int(length) for length in shape)
    units = count // math.prod(sizes)
    return tuple(product(*map(range, sizes if units == 1 else (units, *sizes))))


def _family(graph: Lists, nodes: tuple[Hashable, ...], accelerators: Ints) -> str:
    if graph.graph.get("accelerator"):
        return str(graph.graph["accelerator"])
    if len(accelerators):
        return str(graph.nodes[nodes[int(accelerators[0])]].get("part", ""))
    return ""
