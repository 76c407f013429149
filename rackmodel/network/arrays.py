"""A machine as arrays: numbered nodes and links, and what each of them is.

In:  what `graph` has read.
Out: `Arrays`, which routes and collectives work on; the parts that links join.
Left out: how a graph becomes arrays, see `graph`; routes, see `routing`.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np

from rackmodel.columns import Bools, Floats, Ints
from rackmodel.errors import UnknownName
from rackmodel.hardware import Transport
from rackmodel.topology.kinds import Kind

Routing: TypeAlias = Literal["spray", "paths", "ecmp", "single", "dimension-order", "rail"]
ROUTINGS: tuple[Routing, ...] = get_args(Routing)


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)
class Arrays:
    """A compiled graph: N nodes, L links (one direction each), n accelerators.

    Accelerators are ordered by their node attribute `index` (by node order where it is missing).
    """

    name: str
    nodes: Sequence[Hashable]
    node_kinds: tuple[str, ...]
    tail: Ints  # int[L], node that sends
    head: Ints  # int[L], node that receives
    capacity: Floats  # float[L], payload bytes/s
    nominal: Floats  # float[L], bytes/s as the data sheet gives them
    latency_s: Floats  # float[L]
    count: Ints  # int[L], parallel cables in the bundle
    link_kinds: tuple[str, ...]
    scale_up: Bools  # bool[L], inside a scale-up domain
    accelerator_nodes: Ints  # int[n]
    domain_of: Ints  # int[n], scale-up domain of each accelerator
    position: tuple[tuple[int, ...], ...] | None  # torus coordinates of the accelerators
    reduction: bool  # the scale-up switches reduce (NVLS)
    fabric_reduction: bool  # the fabric's switches reduce (SHARP)
    transport: Transport  # of the network ports
    family: str  # generation of the accelerator, for library constants; "" if unknown
    routing: Routing
    seed: int
    _cache: dict[object, Any] = field(default_factory=dict, repr=False)

    @property
    def link_names(self) -> tuple[str, ...]:
        """The links as "from -> to", in order."""
        return _link_names(self)

    @property
    def number(self) -> Mapping[Hashable, int]:
        """The number of each node, by its name."""
        return _number(self)

    @property
    def home(self) -> Ints:
        """int[N], the scale-up domain of each node that is an accelerator, -1 for the others."""
        return _home(self)

    def of_kind(self, kind: Kind) -> Bools:
        """Return bool[N], which nodes are of a kind."""
        return _of_kinds(self)[kind].copy()  # the caller's own

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
        by_text, place = _by_text(self), str(name)
        if place in by_text:
            return by_text[place]
        decimal = place.isascii() and place.isdecimal() and len(place) < 10
        if decimal and int(place) < len(self.accelerator_nodes):
            return int(self.accelerator_nodes[int(place)])
        raise UnknownName.among("node", place, by_text)


A = TypeVar("A", bound=Arrays)
T = TypeVar("T")


def remembered(work_out: Callable[[A], T]) -> Callable[[A], T]:
    """Work out a function of a network once; the network keeps the answer."""

    @wraps(work_out)
    def ask(network: A) -> T:
        if work_out not in network._cache:
            network._cache[work_out] = work_out(network)
        answer: T = network._cache[work_out]
        return answer

    return ask


@remembered
def _link_names(network: Arrays) -> tuple[str, ...]:
    pairs = zip(network.tail.tolist(), network.head.tolist(), strict=True)
    return tuple(f"{network.nodes[a]} -> {network.nodes[b]}" for a, b in pairs)


@remembered
def _home(network: Arrays) -> Ints:
    home = np.full(len(network.nodes), -1, dtype=np.int64)
    home[network.accelerator_nodes] = network.domain_of
    return home


@remembered
def _of_kinds(network: Arrays) -> dict[str, Bools]:
    known = {kind: i for i, kind in enumerate(dict.fromkeys(network.node_kinds))}
    codes = np.array(list(map(known.__getitem__, network.node_kinds)), dtype=np.int64)
    return {kind: codes == known.get(kind, -1) for kind in (*known, *Kind)}


@remembered
def _number(network: Arrays) -> dict[Hashable, int]:
    return {node: i for i, node in enumerate(network.nodes)}


@remembered
def _by_text(network: Arrays) -> dict[str, int]:
    return {str(node): i for i, node in enumerate(network.nodes)}


@remembered
def link_between(network: Arrays) -> dict[tuple[int, int], int]:
    """Return {(node, node): link}."""
    pairs = zip(network.tail.tolist(), network.head.tolist(), strict=True)
    return {pair: i for i, pair in enumerate(pairs)}


@remembered
def torus_shape(network: Arrays) -> tuple[int, ...]:
    """Return the size of the torus or mesh along each dimension; () where it is none.

    >>> import networkx as nx
    >>> from rackmodel.network.graph import Network
    >>> graph = nx.Graph()
    >>> graph.add_nodes_from((i, {"kind": "accelerator", "coordinates": (i,)}) for i in range(3))
    >>> graph.add_edges_from([(0, 1), (1, 2), (2, 0)], bytes_per_s=1.0)
    >>> torus_shape(Network.from_graph(graph))
    (3,)
    """
    if network.position is None:
        return ()
    return tuple(1 + max(line) for line in zip(*network.position, strict=True))


@remembered
def node_places(network: Arrays) -> Ints:
    """Return int[N, D], where each accelerator stands on a torus or mesh; -1 for other nodes."""
    place = np.full((len(network.nodes), len(torus_shape(network))), -1, dtype=np.int64)
    if network.position is not None:
        place[network.accelerator_nodes] = network.position
    return place


def lattice_steps(tail: Ints, head: Ints, sizes: Ints) -> tuple[Ints, Ints, Bools] | None:
    """Tell how links run on a torus or mesh, from the places int[L, D] of their ends.

    Returns the difference of places, the dimension along which each link runs, and whether it leads
    downwards; None if some link does not lead from a place to a neighbour.
    """
    step = head - tail
    around = np.where(np.abs(step) == sizes - 1, -np.sign(step), step)
    if min(tail.min(initial=0), head.min(initial=0)) < 0 or (np.abs(around).sum(1) != 1).any():
        return None
    axis = np.abs(around).argmax(axis=1)
    return step, axis, (around[np.arange(len(axis)), axis] < 0) & (sizes[axis] > 2)


def components(count: int, tail: Ints, head: Ints) -> Ints:
    """Return int[count], the lowest node of the connected part that each node is in.

    Links join both ways. (scipy.sparse.csgraph does the same, but loading it takes longer than most
    simulations.)

    >>> components(5, np.array([1, 4]), np.array([3, 3])).tolist()
    [0, 1, 2, 1, 1]
    """
    name = np.arange(count)  # of the part that a node is known to belong to
    while len(tail) and not np.array_equal(name[tail], name[head]):
        low = np.minimum(name[tail], name[head])
        for end in (tail, head):
            np.minimum.at(name, name[end], low)
        while not np.array_equal(name, name[name]):
            name = name[name]
    return name
