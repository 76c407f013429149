"""A machine's graph, compiled to arrays.

In:  a networkx graph (directed, or undirected meaning both directions) with `bytes_per_s` on edges.
Out: `Network`: numbered nodes and links, payload capacities, latencies, scale-up domains, routes.
Left out: what the nodes compute, and any traffic; a network is the same before and after a run.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.topology.kinds import Kind

if TYPE_CHECKING:
    import networkx as nx

    from rackmodel.network.routes import Route, Router, RouteTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Routing: TypeAlias = Literal["spray", "paths", "ecmp", "single", "dimension-order", "rail"]
ROUTINGS: tuple[Routing, ...] = ("spray", "paths", "ecmp", "single", "dimension-order", "rail")


class Lists(Protocol):
    """A directed graph as lists: at most one edge from a node to another."""

    graph: dict[str, Any]
    nodes: Any  # mapping from nodes, in order, to their facts
    number: Any  # mapping from nodes to their places
    tail: list[int]
    head: list[int]
    facts: list[dict[str, Any]]  # of each edge; many may share one


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Network:
    """A compiled graph: N nodes, L links (one direction each), n accelerators.

    Accelerators are ordered by their node attribute `index` (by node order where it is missing).
    """

    name: str
    nodes: tuple[Hashable, ...]
    node_kinds: tuple[str, ...]
    number: Mapping[Hashable, int]  # node -> its number
    tail: Ints  # int[L], node that sends
    head: Ints  # int[L], node that receives
    capacity: Floats  # float[L], payload bytes/s
    nominal: Floats  # float[L], bytes/s as the data sheet gives them
    latency_s: Floats  # float[L]
    count: Ints  # int[L], parallel cables in the bundle
    link_kinds: tuple[str, ...]
    scale_up: NDArray[np.bool_]  # bool[L], inside a scale-up domain
    accelerator_nodes: Ints  # int[n]
    domain_of: Ints  # int[n], scale-up domain of each accelerator
    position: tuple[tuple[int, ...], ...] | None  # torus coordinates of the accelerators
    reduction: bool  # the scale-up switches reduce (NVLS)
    fabric_reduction: bool  # the fabric's switches reduce (SHARP)
    family: str  # generation of the accelerator, for library constants; "" if unknown
    host_reach: int  # accelerators that one host (or tray) holds
    routing: Routing
    seed: int
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

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
        return _compile(cls, graph, routing, seed)

    @classmethod
    def from_lists(cls, graph: Lists, *, routing: Routing = "spray", seed: int = 0) -> Network:
        """Compile a graph that is given as lists; the same as `from_graph` of that graph."""
        return _compile_lists(cls, graph, routing, seed)

    @property
    def link_names(self) -> tuple[str, ...]:
        """The links as "from -> to", in order."""
        if "link_names" not in self._cache:
            pairs = zip(self.tail.tolist(), self.head.tolist(), strict=True)
            self._cache["link_names"] = tuple(
                f"{self.nodes[a]} -> {self.nodes[b]}" for a, b in pairs
            )
        names: tuple[str, ...] = self._cache["link_names"]
        return names

    @property
    def router(self) -> Router:
        """The routes of this network, found on demand and remembered."""
        if "router" not in self._cache:
            from rackmodel.network.routes import Router

            self._cache["router"] = Router(self)
        router: Router = self._cache["router"]
        return router

    def route(self, source: int, target: int) -> Route:
        """Return the route between two nodes given by number; see `Router.route`."""
        return self.router.route(source, target)

    def routes(self, sources: Ints, targets: Ints) -> RouteTable:
        """Return the routes of many pairs at once; see `Router.routes`."""
        return self.router.routes(sources, targets)

    def node(self, name: Hashable) -> int:
        """Return the number of a node, by its name in the graph or by that name as text.

        Where no node is called so, a number is the place of an accelerator: "0" is the first.

        Raises
        ------
        UnknownName
            With the nearest names.
        """
        if name in self.number:
            return self.number[name]
        if "by_text" not in self._cache:
            self._cache["by_text"] = {str(node): i for i, node in enumerate(self.nodes)}
        by_text: dict[str, int] = self._cache["by_text"]
        if str(name) in by_text:
            return by_text[str(name)]
        place = str(name)
        if (
            place.isascii()
            and place.isdecimal()
            and len(place) < 10
            and int(place) < len(self.accelerator_nodes)
        ):
            return int(self.accelerator_nodes[int(place)])
        raise UnknownName.among("node", str(name), by_text)


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


def _edges(graph: nx.Graph[Any]) -> list[tuple[Hashable, Hashable, dict[str, Any]]]:
    edges = list(graph.edges(data=True))
    if not graph.is_directed():
        edges += [(b, a, facts) for a, b, facts in edges if a != b]
    return [(a, b, facts) for a, b, facts in edges if a != b]


def _compile(cls: type[Network], graph: nx.Graph[Any], routing: Routing, seed: int) -> Network:
    if routing not in ROUTINGS:
        raise UnknownName.among("routing", str(routing), ROUTINGS)
    nodes = tuple(graph.nodes)
    if not nodes:
        raise InvalidInput("the graph has no nodes")
    number = {node: i for i, node in enumerate(nodes)}
    kinds = tuple(str(facts.get("kind", "")) for _, facts in graph.nodes(data=True))

    tail: list[int] = []
    head: list[int] = []
    told: list[_Told] = []
    for a, b, facts in _edges(graph):
        tail.append(number[a])
        head.append(number[b])
        told.append(_told(facts, a, b))
    every = np.arange(len(told))
    return _assemble(
        cls,
        graph,
        nodes,
        number,
        kinds,
        np.array(tail, dtype=np.int64),
        np.array(head, dtype=np.int64),
        told,
        every,
        routing,
        seed,
    )


def _compile_lists(cls: type[Network], graph: Lists, routing: Routing, seed: int) -> Network:
    if routing not in ROUTINGS:
        raise UnknownName.among("routing", str(routing), ROUTINGS)
    nodes = tuple(graph.nodes)
    kinds = tuple(str(facts.get("kind", "")) for facts in graph.nodes.values())
    tail = np.array(graph.tail, dtype=np.int64)
    order = np.argsort(tail, kind="stable")  # as networkx lists its edges
    place: dict[int, int] = {}
    which = np.array([place.setdefault(id(f), len(place)) for f in graph.facts], dtype=np.int64)
    first = np.unique(which, return_index=True)[1] if len(which) else which
    told = [
        _told(graph.facts[i], nodes[graph.tail[i]], nodes[graph.head[i]]) for i in first.tolist()
    ]
    head = np.array(graph.head, dtype=np.int64)
    return _assemble(
        cls,
        graph,
        nodes,
        graph.number,
        kinds,
        tail[order],
        head[order],
        told,
        which[order],
        routing,
        seed,
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What a graph says of an edge, checked."""

    rate: float
    payload: float
    latency_s: float
    cables: int
    kind: str


def _told(facts: Mapping[str, Any], a: Hashable, b: Hashable) -> _Told:
    where = f"edge {a!r} -> {b!r}"
    if "bytes_per_s" not in facts:
        raise InvalidInput(f"{where}: bytes_per_s is missing")
    rate = _number(facts["bytes_per_s"], where, "bytes_per_s", zero=False)
    payload = _number(facts.get("payload_efficiency", 1.0), where, "payload_efficiency", zero=False)
    if payload > 1:
        raise InvalidInput(f"{where}: payload_efficiency must be at most 1, got {payload!r}")
    delay = _number(facts.get("latency_s", 0.0), where, "latency_s", zero=True)
    cables = max(1, round(_number(facts.get("count", 1), where, "count", zero=False)))
    return _Told(rate, payload, delay, cables, str(facts.get("kind", "")))


def _assemble(
    cls: type[Network],
    graph: Any,
    nodes: tuple[Hashable, ...],
    number: Mapping[Hashable, int],
    kinds: tuple[str, ...],
    tail: Ints,
    head: Ints,
    told: list[_Told],
    which: Ints,
    routing: Routing,
    seed: int,
) -> Network:
    """Build the arrays; edge e from tail[e] to head[e] is what told[which[e]] says."""
    switch = np.array([kind == Kind.SCALE_UP_SWITCH for kind in kinds])
    part = np.array([kind == Kind.ACCELERATOR for kind in kinds])
    # Links between accelerators are the domain's own, whatever runs on them (Gaudi: Ethernet).
    inner = switch[tail] | switch[head] | (part[tail] & part[head])
    cables = np.array([t.cables for t in told], dtype=np.int64)[which]
    # A hashed flow takes one cable of a bundle; a sprayed one takes all.
    split = np.where(inner, 1, cables) if routing == "ecmp" else np.ones(len(which), dtype=np.int64)
    rate = np.array([t.rate for t in told], dtype=np.float64)[which]
    payload = np.array([t.payload for t in told], dtype=np.float64)[which]
    latency = np.array([t.latency_s for t in told], dtype=np.float64)[which]

    def cut(column: Any) -> Any:
        return np.repeat(column, split)

    link_kinds = [told[i].kind for i in cut(which).tolist()]
    tail, head, scale_up = cut(tail), cut(head), cut(inner)
    accelerators = _accelerators(graph, nodes, kinds)
    facts = graph.graph
    network = cls(
        name=str(facts.get("name", "graph")),
        nodes=nodes,
        node_kinds=kinds,
        number=number,
        tail=tail,
        head=head,
        capacity=cut(rate * payload / split),
        nominal=cut(rate / split),
        latency_s=cut(latency),
        count=cut(cables // split),
        link_kinds=tuple(link_kinds),
        scale_up=scale_up,
        accelerator_nodes=accelerators,
        domain_of=_domains(accelerators, kinds, tail, head, scale_up),
        position=_positions(graph, nodes, accelerators),
        reduction=bool(facts.get("reduction", False)),
        fabric_reduction=bool(facts.get("fabric_reduction", False)),
        family=_family(graph, nodes, accelerators),
        host_reach=int(facts.get("host_accelerators", 0) or 0),
        routing=routing,
        seed=seed,
    )
    return network


def _accelerators(
    graph: nx.Graph[Any], nodes: tuple[Hashable, ...], kinds: tuple[str, ...]
) -> Ints:
    found = [i for i, kind in enumerate(kinds) if kind == Kind.ACCELERATOR]
    if not found:  # a bare graph without kinds: every node that is not named a switch may send
        found = [i for i, kind in enumerate(kinds) if kind == ""]
    order = {i: graph.nodes[nodes[i]].get("index") for i in found}
    if all(isinstance(place, (int, np.integer)) for place in order.values()):
        if len(set(order.values())) < len(order):
            raise InvalidInput("two accelerators of the graph have the same index")
        found.sort(key=lambda i: int(order[i] or 0))
    return np.array(found, dtype=np.int64)


def _domains(
    accelerators: Ints, kinds: tuple[str, ...], tail: Ints, head: Ints, inner: Any
) -> Ints:
    """Number the parts that scale-up links join, in order of their first accelerator."""
    member = np.array([kind in (Kind.ACCELERATOR, Kind.SCALE_UP_SWITCH) for kind in kinds])
    joins = inner & member[tail] & member[head]
    a, b = tail[joins], head[joins]
    name = np.arange(len(kinds))  # of the part that a node is known to belong to
    while len(a) and not np.array_equal(name[a], name[b]):
        low = np.minimum(name[a], name[b])
        for end in (a, b):
            np.minimum.at(name, name[end], low)
        while not np.array_equal(name, name[name]):
            name = name[name]
    seen: dict[int, int] = {}
    return np.array(
        [seen.setdefault(r, len(seen)) for r in name[accelerators].tolist()], dtype=np.int64
    )


def _positions(
    graph: nx.Graph[Any], nodes: tuple[Hashable, ...], accelerators: Ints
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


def _from_shape(graph: nx.Graph[Any], count: int) -> tuple[tuple[int, ...], ...] | None:
    """Number the places of tori whose `shape` the graph states; the last dimension runs fastest."""
    shape = graph.graph.get("shape")
    if not isinstance(shape, (tuple, list)) or not shape or count % math.prod(shape):
        return None
    sizes = tuple(int(length) for length in shape)
    units = count // math.prod(sizes)
    whole = sizes if units == 1 else (units, *sizes)
    return tuple(
        zip(*(axis.tolist() for axis in np.unravel_index(np.arange(count), whole)), strict=True)
    )


def _family(graph: nx.Graph[Any], nodes: tuple[Hashable, ...], accelerators: Ints) -> str:
    if graph.graph.get("accelerator"):
        return str(graph.graph["accelerator"])
    if len(accelerators):
        return str(graph.nodes[nodes[int(accelerators[0])]].get("part", ""))
    return ""
