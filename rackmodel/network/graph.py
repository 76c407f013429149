"""A machine's graph, compiled to arrays.

In:  a networkx graph (directed, or undirected meaning both directions) with `bytes_per_s` on edges.
Out: `Network`: numbered nodes and links, payload capacities, latencies, scale-up domains, routes.
Left out: what the nodes compute, and any traffic; a network is the same before and after a run.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rackmodel import gate
from rackmodel.annotations import Graph
from rackmodel.columns import Bools, Ints
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.hardware import Transport, load_catalog
from rackmodel.hardware.parts import DEFAULT_TRANSPORT
from rackmodel.network.arrays import ROUTINGS, Arrays, Routing, components, remembered
from rackmodel.network.routing import Route, Router, RouteTable
from rackmodel.topology.kinds import Kind
from rackmodel.topology.nodes_and_links import Elements, Names, grid
from rackmodel.units import dimension_of


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Network(Arrays):
    """A compiled graph that knows its routes; the same before and after a run."""

    @classmethod
    def from_graph(cls, graph: Graph[Any], *, routing: Routing = "spray", seed: int = 0) -> Network:
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
            raise InvalidInput("the graph has no nodes; add some")
        return _compile(cls, _read_graph(graph), routing, seed)

    @classmethod
    def from_elements(
        cls, elements: Elements, *, routing: Routing = "spray", seed: int = 0
    ) -> Network:
        """Compile a machine's elements; the same as `from_graph` of their graph."""
        return _compile(cls, _read_elements(elements), routing, seed)

    @classmethod
    def of_machine(
        cls, machine: Any, accelerators: int, *, routing: Routing = "spray", seed: int = 0
    ) -> Network:
        """Compile a `Topology`, or anything with its `graph`, as used by so many accelerators."""
        ask = getattr(machine, "elements", None)
        elements = None if ask is None else ask(accelerators, bundled=True)
        if elements is not None:  # the same as the graph, in a fraction of the time
            return cls.from_elements(elements, routing=routing, seed=seed)
        graph = machine.graph(accelerators, bundled=True)
        return cls.from_graph(graph, routing=routing, seed=seed)

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


def domains_of(network: Network) -> Ints:
    """Return the scale-up domain of each accelerator, as the links join them now."""
    member = network.of_kind(Kind.SCALE_UP_SWITCH) | network.of_kind(Kind.ACCELERATOR)
    inner = network.scale_up
    return _domains(network.accelerator_nodes, member, network.tail[inner], network.head[inner])


@remembered
def _router(network: Network) -> Router:
    return Router(network)


@remembered
def by_rail(network: Network) -> Network:
    """Return the same network, routed over rails."""
    return replace(network, routing="rail", _cache={})


# What a graph says of an edge, checked.
EDGE = np.dtype(
    [("rate", "f8"), ("payload", "f8"), ("latency_s", "f8"), ("cables", "i8"), ("kind", "O")]
)


def _edge(facts: Mapping[str, Any], a: Hashable, b: Hashable) -> tuple[object, ...]:
    where = f"edge {a!r} -> {b!r}"
    if "bytes_per_s" not in facts:
        raise InvalidInput(f"{where}: bytes_per_s is missing; add the rate of one direction")

    def number(key: str, dimension: str, default: float, *, most: float, positive: bool) -> float:
        value, at = facts.get(key, default), f"{where}: {key}"
        return gate.number(value, dimension, at, most=most, positive=positive)

    return (
        number("bytes_per_s", "bytes_per_s", 0.0, most=math.inf, positive=True),
        number("payload_efficiency", "1", 1.0, most=1.0, positive=True),
        number("latency_s", "s", 0.0, most=math.inf, positive=False),
        max(1, round(number("count", "1", 1, most=1e9, positive=True))),
        str(facts.get("kind", "")),
    )


class _Read(NamedTuple):
    """What a graph or elements say, checked: N nodes, E edges in order of their tail.

    edges : those that differ; which : int[E], the one that each edge is like.
    """

    facts: Mapping[str, Any]
    nodes: Sequence[Hashable]
    kinds: tuple[str, ...]
    accelerators: Ints
    position: tuple[tuple[int, ...], ...] | None
    part: str  # of the accelerators, where the facts do not say
    tail: Ints  # int[E]
    head: Ints  # int[E]
    edges: NDArray[np.void]  # EDGE
    which: Ints


def _read_graph(graph: Graph[Any]) -> _Read:
    nodes = tuple(graph.nodes)
    number = {node: i for i, node in enumerate(nodes)}
    kinds = tuple(str(graph.nodes[node].get("kind", "")) for node in nodes)
    edges = list(graph.edges(data=True))
    if not graph.is_directed():
        edges += [(b, a, facts) for a, b, facts in edges]
    edges = sorted((e for e in edges if e[0] != e[1]), key=lambda edge: number[edge[0]])
    accelerators = _accelerators(graph, nodes, kinds)
    first = graph.nodes[nodes[int(accelerators[0])]] if len(accelerators) else {}
    return _Read(
        graph.graph,
        nodes,
        kinds,
        accelerators,
        _positions(graph, nodes, accelerators),
        str(first.get("part", "")),
        np.array([number[a] for a, _, _ in edges], dtype=np.int64),
        np.array([number[b] for _, b, _ in edges], dtype=np.int64),
        np.array([_edge(facts, a, b) for a, b, facts in edges], dtype=EDGE),
        np.arange(len(edges)),
    )


def _read_elements(elements: Elements) -> _Read:
    kinds = np.empty(len(elements), dtype=object)
    for group in elements.nodes:
        kinds[group.number(*grid(group.sizes))] = group.kind.value
    tails, heads = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    told: list[tuple[object, ...]] = []  # distinct edges
    which = [np.zeros(0, dtype=np.int64)]  # and which of them each is
    for links in elements.links:
        for tail, head, delay_s in links.directed():
            edge = links.wire.edge(links.each, delay_s)
            tails.append(tail)
            heads.append(head)
            which.append(np.full(len(tail), len(told), dtype=np.int64))
            told.append(_edge(edge, "", ""))
    order = np.argsort(np.concatenate(tails), kind="stable")
    accelerators = np.arange(elements.nodes[0].count)
    return _Read(
        elements.facts,
        Names(elements),
        tuple(kinds.tolist()),
        accelerators,
        _from_shape(elements.facts.get("shape"), len(accelerators)),
        elements.nodes[0].part,
        np.concatenate(tails)[order],
        np.concatenate(heads)[order],
        np.array(told, dtype=EDGE),
        np.concatenate(which)[order],
    )


def _compile(cls: type[Network], read: _Read, routing: Routing, seed: int) -> Network:
    """Build the arrays."""
    UnknownName.check("routing", str(routing), ROUTINGS)
    tail, head, told, which, facts = read.tail, read.head, read.edges, read.which, read.facts
    named = {word: i for i, word in enumerate(dict.fromkeys(read.kinds))}
    code = np.fromiter(map(named.__getitem__, read.kinds), dtype=np.int64, count=len(read.kinds))
    switch, part = (
        code == named.get(one.value, -1) for one in (Kind.SCALE_UP_SWITCH, Kind.ACCELERATOR)
    )
    # Links between accelerators are the domain's own, whatever runs on them (Gaudi: Ethernet).
    inner = switch[tail] | switch[head] | (part[tail] & part[head])
    split: Ints | int = 1
    if routing == "ecmp":  # a hashed flow takes one cable of a bundle; a sprayed one takes all
        cables = np.where(inner, 1, told["cables"][which])
        tail, head, inner, which, split = (
            column.repeat(cables) for column in (tail, head, inner, which, cables)
        )
    kinds = told["kind"][which]
    return cls(
        name=str(facts.get("name", "graph")),
        nodes=read.nodes,
        node_kinds=read.kinds,
        tail=tail,
        head=head,
        capacity=(told["rate"] * told["payload"])[which] / split,
        nominal=told["rate"][which] / split,
        latency_s=told["latency_s"][which],
        count=np.asarray(told["cables"][which] // split, dtype=np.int64),
        link_kinds=tuple(kinds.tolist()),
        scale_up=inner,
        accelerator_nodes=read.accelerators,
        domain_of=_domains(read.accelerators, switch | part, tail[inner], head[inner]),
        position=read.position,
        reduction=bool(facts.get("reduction", False)),
        fabric_reduction=bool(facts.get("fabric_reduction", False)),
        transport=_transport(facts, dict.fromkeys(kinds[~inner].tolist())),
        family=str(facts.get("accelerator") or read.part),
        routing=routing,
        seed=seed,
    )


def _transport(facts: Mapping[str, Any], kinds: Iterable[str]) -> Transport:
    """Return the transport that a graph states, by name or with values of its own.

    A graph that says nothing has that of its links outside domains: links of kind "infiniband" have
    the transport of that name.
    """
    known = load_catalog().transports
    usual = next((kind for kind in kinds if kind in known), DEFAULT_TRANSPORT)
    name = str(facts.get("transport", usual))
    UnknownName.check("transport", name, known)
    own: dict[str, Any] = {
        key: gate.number(facts[f"transport_{key}"], dimension_of(key), f"graph: transport_{key}")
        for key in (field.name for field in fields(Transport))
        if f"transport_{key}" in facts
    }
    return replace(known[name], **own)


def _accelerators(graph: Graph[Any], nodes: tuple[Hashable, ...], kinds: tuple[str, ...]) -> Ints:
    found = [i for i, kind in enumerate(kinds) if kind == Kind.ACCELERATOR]
    if not found:  # a bare graph without kinds: every node that is not named a switch may send
        found = [i for i, kind in enumerate(kinds) if kind == ""]
    order = {i: graph.nodes[nodes[i]].get("index") for i in found}
    if all(isinstance(place, (int, np.integer)) for place in order.values()):
        if len(set(order.values())) < len(order):
            raise InvalidInput(
                "two accelerators of the graph have the same index; give each its own"
            )
        found.sort(key=lambda i: int(order[i] or 0))
    return np.array(found, dtype=np.int64)


def _domains(accelerators: Ints, member: Bools, tail: Ints, head: Ints) -> Ints:
    """Number the parts that scale-up links join, in order of their first accelerator."""
    joins = member[tail] & member[head]
    part = components(len(member), tail[joins], head[joins])[accelerators].tolist()
    number = {name: i for i, name in enumerate(dict.fromkeys(part))}
    return np.array([number[name] for name in part], dtype=np.int64)


def _positions(
    graph: Graph[Any], nodes: tuple[Hashable, ...], accelerators: Ints
) -> tuple[tuple[int, ...], ...] | None:
    places: list[tuple[int, ...]] = []
    for i in accelerators.tolist():
        facts = graph.nodes[nodes[i]]
        place = facts.get("coordinates", facts.get("position"))
        if not isinstance(place, (tuple, list)) or not place:
            return _from_shape(graph.graph.get("shape"), len(accelerators))
        places.append(gate.wholes(place, f"node {nodes[i]!r}: coordinates", least=0))
    if len({len(place) for place in places}) != 1 or len(set(places)) < len(places):
        return None
    return tuple(places)


def _from_shape(shape: object, count: int) -> tuple[tuple[int, ...], ...] | None:
    """Number the places of tori whose `shape` the graph states; the last dimension runs fastest."""
    if not isinstance(shape, (tuple, list)) or not shape:
        return None
    sizes = gate.wholes(shape, "graph: shape")
    if count % math.prod(sizes):
        return None
    units = count // math.prod(sizes)
    return tuple(product(*map(range, sizes if units == 1 else (units, *sizes))))
