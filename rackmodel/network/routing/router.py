"""Which links a byte crosses from one node to another, as fractions on links.

In:  a compiled `Network` and pairs of nodes.
Out: `Route` for one pair, `RouteTable` (sparse rows) for many.
Left out: enumerated paths. A flow that is sprayed over k equal paths is k fractions on links.

Accelerators do not forward for others unless the routing says so ("rail") or the graph leaves no
other way. Hosts are stripped first: accelerators with the same attachments share one search of the
core, so a hundred thousand of them cost as many searches as there are pairs of leaf switches in
use.
"""

from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.errors import NoRoute
from rackmodel.network.arrays import Arrays
from rackmodel.network.routing.core import Core, CoreRoute
from rackmodel.network.routing.dimension_order import dimension_order
from rackmodel.network.routing.grid import grid_of
from rackmodel.network.routing.rail import Rails
from rackmodel.network.routing.strategies import STRATEGIES
from rackmodel.network.routing.tree import tree_of
from rackmodel.topology.kinds import Kind

TREE_REGIONS = {"scale-up": 0, "fabric": 1}
# Where to look when a region does not join a pair; accelerators forward in the last of each row.
FALL_BACK = {
    "scale-up": "scale-up, forwarding",
    "fabric": "any",
    "any": "any, forwarding",
    "ends": "any, forwarding",
}


class Route(NamedTuple):
    """How one pair is joined."""

    links: Ints  # int[E]
    fractions: Floats  # float[E], of the flow's bytes
    latency_s: float  # mean over the paths, of all hops
    hops: int  # links crossed by one byte


class RouteTable(NamedTuple):
    """The routes of F pairs as sparse rows."""

    indptr: Ints  # int[F + 1]
    links: Ints  # int[E]
    fractions: Floats  # float[E]
    latency_s: Floats  # float[F]
    hops: Ints  # int[F]


class _Rows:
    """Collects blocks of routes and sorts them into one sparse table."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.owner: list[Ints] = []
        self.links: list[Ints] = []
        self.fractions: list[Floats] = []

    def add(self, pairs: Ints, links: Ints, fractions: Floats) -> None:
        """Add a block: `links` int[pairs, E]; `fractions` float[E], or like `links`."""
        self.owner.append(np.repeat(pairs, links.shape[1]))
        self.links.append(links.ravel())
        self.fractions.append(np.broadcast_to(fractions, links.shape).ravel())

    def add_ragged(self, pairs: Ints, counts: Ints, links: Ints) -> None:
        """Add routes of one path each: `counts` links per pair, one after another in `links`."""
        self.owner.append(np.repeat(pairs, counts))
        self.links.append(links)
        self.fractions.append(np.ones(len(links)))

    def add_joined(self, pairs: Ints, *parts: "_Rows") -> None:
        """Add routes that are the given parts one after another."""
        for part in parts:
            self.owner += [pairs[owner] for owner in part.owner]
            self.links += part.links
            self.fractions += part.fractions

    def table(self, network: Arrays) -> RouteTable:
        """Return everything as sparse rows in pair order."""
        blocks = [*zip(self.owner, self.links, self.fractions, strict=True)]
        in_order = sorted((one for one in blocks if len(one[0])), key=lambda one: int(one[0][0]))
        if all(one[0][-1] < other[0][0] for one, other in pairwise(in_order)):
            blocks = in_order  # no pair is in two of them
        nothing = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0)
        owner, links, fractions = map(np.concatenate, zip(nothing, *blocks, strict=True))
        if (owner[1:] < owner[:-1]).any():
            order = np.argsort(owner, kind="stable")
            owner, links, fractions = owner[order], links[order], fractions[order]
        counts = np.bincount(owner, minlength=self.rows)
        latency = np.bincount(
            owner, fractions * network.latency_s[links], minlength=self.rows
        ).astype(np.float64)
        hops = np.bincount(owner, fractions, minlength=self.rows)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return RouteTable(indptr, links, fractions, latency, np.rint(hops).astype(np.int64))


class Router:
    """Finds and remembers the routes of one network."""

    def __init__(self, network: Arrays) -> None:
        """Look at the network; routes are found when they are asked for."""
        self.network, self.strategy = network, STRATEGIES[network.routing]
        self.is_accelerator = np.zeros(len(network.nodes), dtype=bool)
        if Kind.ACCELERATOR in network.node_kinds:  # in a graph without kinds every node forwards
            self.is_accelerator[network.accelerator_nodes] = True
        self.tree = tree_of(network) if self.strategy.spread else None
        self.grid = grid_of(network) if self.strategy.spread else None
        self._cores: dict[str, Core] = {}
        self._rows: dict[tuple[int, int], Route] = {}

    def core(self, region: str) -> Core:
        """Return the search of "scale-up", "fabric", "any" (both) or "ends" (of flows inside)."""
        if region not in self._cores:
            inner = self.network.scale_up
            place, _, forwarding = region.partition(", ")
            links = {"scale-up": inner, "fabric": ~inner}.get(place, np.ones_like(inner))
            self._cores[region] = Core(
                self.network,
                links,
                np.zeros_like(self.is_accelerator) if forwarding else self.is_accelerator,
                self.network.home if place == "fabric" else None,
                chains=place != "ends",
            )
        return self._cores[region]

    @cached_property
    def _rails(self) -> Rails:
        return Rails(self.network, self.core("fabric"))

    def route(self, source: int, target: int) -> Route:
        """Return the route from node `source` to node `target` (by number).

        Raises
        ------
        NoRoute
            If no links join them.
        """
        key = (int(source), int(target))
        if key not in self._rows:
            table = self.routes(np.array([source]), np.array([target]))
            self._rows[key] = Route(
                table.links, table.fractions, float(table.latency_s[0]), int(table.hops[0])
            )
        return self._rows[key]

    def routes(self, sources: Ints, targets: Ints) -> RouteTable:
        """Return the routes of F pairs; a node to itself crosses nothing.

        Raises
        ------
        NoRoute
            If some pair is not joined.
        """
        sources, targets = np.asarray(sources, np.int64), np.asarray(targets, np.int64)
        rows = _Rows(len(sources))
        differ = sources != targets
        home = self.network.home
        same = (home[sources] == home[targets]) & (home[sources] >= 0) & differ
        inside, outside = np.flatnonzero(same), np.flatnonzero(differ & ~same)
        one_way = None
        if self.strategy.ordered:
            one_way = dimension_order(self.network, sources[inside], targets[inside])
        if one_way is not None:
            rows.add_ragged(inside, *one_way)
        elif self.grid is not None and len(inside):
            self._on_grid(rows, inside, sources, targets)
        else:
            self._search(rows, inside, sources, targets, "scale-up")
        if self.is_accelerator.any():  # to or from a switch or an adapter
            ends = self.is_accelerator[sources[outside]] & self.is_accelerator[targets[outside]]
            self._search(rows, outside[~ends], sources, targets, "ends")
            outside = outside[ends]
        if self.strategy.rails:
            outside = self._by_rail(rows, outside, sources, targets)
        self._search(rows, outside, sources, targets, "fabric")
        return rows.table(self.network)

    def _on_grid(self, rows: _Rows, pairs: Ints, sources: Ints, targets: Ints) -> None:
        """Route one pair of each offset and move its links to the others."""
        assert self.grid is not None
        for equal in _blocks(self.grid.offsets(sources[pairs], targets[pairs])):
            block = pairs[equal]
            one = block[:1]
            found = _Rows(1)
            self._search(found, np.zeros(1, np.int64), sources[one], targets[one], "scale-up")
            table = found.table(self.network)
            links = self.grid.moved(table.links, int(sources[one[0]]), sources[block])
            rows.add(block, links, table.fractions)

    def _search(self, rows: _Rows, pairs: Ints, sources: Ints, targets: Ints, region: str) -> None:
        """Route `pairs` in one region; fall back as the graph allows where it joins them not."""
        if not len(pairs):
            return
        if region in TREE_REGIONS and self.tree is not None:
            found_links = self.tree.links(sources[pairs], targets[pairs], TREE_REGIONS[region])
            if found_links is not None:
                rows.add_ragged(pairs, *found_links)
                return
        core = self.core(region)
        straight = core.direct(sources[pairs], targets[pairs])
        hit = straight >= 0
        if hit.any():
            rows.add(pairs[hit], straight[hit][:, None], np.ones(1))
            pairs = pairs[~hit]
            if not len(pairs):
                return
        source_key, target_key = core.keys(sources[pairs], targets[pairs])
        code = source_key * (core.key_count + 1) + target_key
        blocks = _blocks(code) if self.strategy.spread else np.arange(len(pairs))[:, None]
        lost = []
        for block in blocks:
            chosen = pairs[block]
            found = self._way(core, sources[chosen], targets[chosen])
            if found is None:
                lost.append(chosen)
            else:
                rows.add(chosen, *found)
        for pairs_left in lost:
            self._fall_back(rows, pairs_left, sources, targets, region)

    def _way(self, core: Core, sources: Ints, targets: Ints) -> tuple[Ints, Floats] | None:
        """Return links int[P, E] and fractions for pairs whose ends have equal attachments."""
        a, b = int(sources[0]), int(targets[0])
        if self.strategy.spread:
            found = core.between(a, b)
            return None if found is None else _compose(core, found, sources, targets)
        path = core.one_path(a, b, self.network.seed if self.strategy.hashed else None)
        return None if path is None else (np.array([path]), np.ones(len(path)))

    def _fall_back(
        self, rows: _Rows, pairs: Ints, sources: Ints, targets: Ints, region: str
    ) -> None:
        if region not in FALL_BACK:
            a, b = int(sources[pairs[0]]), int(targets[pairs[0]])
            names = self.network.nodes
            raise NoRoute(f"no links lead from {names[a]!r} to {names[b]!r}")
        if region == "any":
            # Rail-only fabrics: through the scale-up switch to the right rail, if that helps.
            pairs = self._by_rail(rows, pairs, sources, targets)
        self._search(rows, pairs, sources, targets, FALL_BACK[region])

    def _by_rail(self, rows: _Rows, pairs: Ints, sources: Ints, targets: Ints) -> Ints:
        """Route pairs over the accelerator of the source's domain that stands on the target's rail.

        Returns the pairs that need no such detour (or can't have one).
        """
        if not len(pairs):
            return pairs
        relay = self._rails.relays(sources[pairs], targets[pairs])
        via = pairs[relay >= 0]
        if not len(via):
            return pairs
        inner, outer = _Rows(len(via)), _Rows(len(via))
        every, between, ends = np.arange(len(via)), relay[relay >= 0], targets[via]
        self._search(inner, every, sources[via], between, "scale-up")
        core = self.core("fabric")
        source_key, target_key = core.keys(between, ends)
        _, first = np.unique(source_key * (core.key_count + 1) + target_key, return_index=True)
        if any(core.between(int(between[k]), int(ends[k])) is None for k in first.tolist()):
            return pairs
        self._search(outer, every, between, ends, "fabric")
        rows.add_joined(via, inner, outer)
        return pairs[relay < 0]


def _blocks(code: Ints) -> list[Ints]:
    """Return the places of equal numbers, one array for each number."""
    order = np.argsort(code, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(code[order])) + 1)


def _compose(core: Core, found: CoreRoute, s: Ints, t: Ints) -> tuple[Ints, Floats]:
    """Join each source's own links, the shared core, and each target's own links."""
    up, up_part = core.outgoing(s, found)
    down, down_part = core.incoming(t, found)
    middle = np.broadcast_to(found.links, (len(s), len(found.links)))
    return (
        np.concatenate([up, middle, down], axis=1),
        np.concatenate([up_part, found.fractions, down_part]),
    )
