"""Which links a byte crosses from one node to another, as fractions on links.

In:  a compiled `Network` and pairs of nodes.
Out: `Route` for one pair, `RouteTable` (sparse rows) for many.
Left out: enumerated paths. A flow that is sprayed over k equal paths is k fractions on links.

Accelerators do not forward for others unless the routing says so ("rail") or the graph leaves no
other way. Hosts are stripped first: accelerators with the same attachments share one search of the
core, so a hundred thousand of them cost as many searches as there are pairs of leaf switches in
use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rackmodel.errors import NoRoute
from rackmodel.network.core_search import Core, CoreRoute
from rackmodel.network.grid import grid_of
from rackmodel.network.tree import tree_of
from rackmodel.topology.kinds import Kind

if TYPE_CHECKING:
    from rackmodel.network.graph import Network

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TREE_REGIONS = {"scale-up": 0, "fabric": 1}


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """How one pair is joined."""

    links: Ints  # int[E]
    fractions: Floats  # float[E], of the flow's bytes
    latency_s: float  # mean over the paths, of all hops
    hops: int  # links crossed by one byte


@dataclass(frozen=True, slots=True, eq=False)
class RouteTable:
    """The routes of F pairs as sparse rows."""

    indptr: Ints  # int[F + 1]
    links: Ints  # int[E]
    fractions: Floats  # float[E]
    latency_s: Floats  # float[F]
    hops: Ints  # int[F]


class Router:
    """Finds and remembers the routes of one network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        is_accelerator = np.zeros(len(network.nodes), dtype=bool)
        is_accelerator[network.accelerator_nodes] = True
        if not any(kind == Kind.ACCELERATOR for kind in network.node_kinds):
            is_accelerator[:] = False  # a graph without kinds: every node forwards
        self.is_accelerator = is_accelerator
        self.domain = np.full(len(network.nodes), -1)
        self.domain[network.accelerator_nodes] = network.domain_of
        inner = network.scale_up
        nobody = np.zeros(len(network.nodes), dtype=bool)
        self.cores = {
            "scale-up": Core(network, inner, is_accelerator),
            "fabric": Core(network, ~inner, is_accelerator, self.domain),
            "any": Core(network, np.ones(len(inner), dtype=bool), is_accelerator),
            "ends": Core(network, np.ones(len(inner), dtype=bool), is_accelerator, chains=False),
            "scale-up, forwarding": Core(network, inner, nobody),
            "forwarding": Core(network, np.ones(len(inner), dtype=bool), nobody),
        }
        self.tree = tree_of(network) if network.routing in ("spray", "paths", "rail") else None
        self.grid = grid_of(network) if network.routing in ("spray", "paths") else None
        self._rows: dict[tuple[int, int], Route] = {}
        self._rails: tuple[Ints, dict[tuple[int, int], Ints], Ints] | None = None

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
        same = (self.domain[sources] == self.domain[targets]) & (self.domain[sources] >= 0) & differ
        if self.network.routing == "dimension-order" and self.network.position is not None:
            from rackmodel.network.torus import dimension_order

            rest = np.flatnonzero(same)
            done = dimension_order(self.network, sources[rest], targets[rest])
            if done is not None:
                rows.add_ragged(rest, *done)
                same[rest] = False
                differ[rest] = False
        rest = np.flatnonzero(same)
        if self.grid is not None and len(rest):
            self._on_grid(rows, rest, sources, targets)
        else:
            self._search(rows, rest, sources, targets, "scale-up")
        outside = np.flatnonzero(differ & ~same)
        if self.is_accelerator.any():  # to or from a switch or an adapter
            inner = ~(self.is_accelerator[sources] & self.is_accelerator[targets])
            self._search(rows, np.flatnonzero(differ & ~same & inner), sources, targets, "ends")
            outside = np.flatnonzero(differ & ~same & ~inner)
        if self.network.routing == "rail":
            outside = self._by_rail(rows, outside, sources, targets)
        self._search(rows, outside, sources, targets, "fabric")
        return rows.table(self.network)

    def _on_grid(self, rows: _Rows, pairs: Ints, sources: Ints, targets: Ints) -> None:
        """Route one pair of each offset and move its links to the others."""
        assert self.grid is not None
        kind = self.grid.offsets(sources[pairs], targets[pairs])
        order = np.argsort(kind, kind="stable")
        starts = np.flatnonzero(np.diff(kind[order], prepend=-1))
        for block in np.split(pairs[order], starts[1:]):
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
        core = self.cores[region]
        straight = core.direct(sources[pairs], targets[pairs])
        hit = straight >= 0
        if hit.any():
            rows.add(pairs[hit], straight[hit][:, None], np.ones(1))
            pairs = pairs[~hit]
            if not len(pairs):
                return
        source_key, target_key = core.keys(sources[pairs], targets[pairs])
        code = source_key * (core.key_count + 1) + target_key
        order = np.argsort(code, kind="stable")
        starts = np.flatnonzero(np.diff(code[order], prepend=-1))
        lost = []
        for block in np.split(order, starts[1:]):
            chosen = pairs[block]
            s, t = sources[chosen], targets[chosen]
            if self.network.routing in ("ecmp", "single"):
                seed = self.network.seed if self.network.routing == "ecmp" else None
                for pair, a, b in zip(chosen, s.tolist(), t.tolist(), strict=True):
                    path = core.one_path(a, b, seed)
                    if path is None:
                        lost.append(np.array([pair]))
                    else:
                        rows.add(np.array([pair]), np.array([path]), np.ones(len(path)))
                continue
            found = core.between(int(s[0]), int(t[0]))
            if found is None:
                lost.append(chosen)
            else:
                rows.add(chosen, *_compose(core, found, s, t))
        for pairs_left in lost:
            self._fall_back(rows, pairs_left, sources, targets, region)

    def _fall_back(
        self, rows: _Rows, pairs: Ints, sources: Ints, targets: Ints, region: str
    ) -> None:
        if region == "scale-up":
            self._search(rows, pairs, sources, targets, "scale-up, forwarding")
        elif region == "fabric":
            self._search(rows, pairs, sources, targets, "any")
        elif region == "ends":
            self._search(rows, pairs, sources, targets, "forwarding")
        elif region == "any":
            # Rail-only fabrics: through the scale-up switch to the right rail, if that helps.
            rest = self._by_rail(rows, pairs, sources, targets)
            self._search(rows, rest, sources, targets, "forwarding")
        else:
            a, b = int(sources[pairs[0]]), int(targets[pairs[0]])
            names = self.network.nodes
            raise NoRoute(f"no links lead from {names[a]!r} to {names[b]!r}")

    def _by_rail(self, rows: _Rows, pairs: Ints, sources: Ints, targets: Ints) -> Ints:
        """Route pairs over the accelerator of the source's domain that stands on the target's rail.

        Returns the pairs that need no such detour (or can't have one).
        """
        if not len(pairs):
            return pairs
        rail, standing, ordinal = self._rail_table()
        s, t = sources[pairs], targets[pairs]
        relay = np.full(len(pairs), -1, dtype=np.int64)
        detour = (self.domain[s] >= 0) & (self.domain[t] >= 0) & (rail[s] != rail[t])
        wanted = np.flatnonzero(detour)
        code = self.domain[s[wanted]] * (rail.max() + 1) + rail[t[wanted]]
        for one in np.unique(code).tolist():
            candidates = standing.get((one // int(rail.max() + 1), one % int(rail.max() + 1)))
            if candidates is not None:
                here = wanted[code == one]
                relay[here] = candidates[ordinal[t[here]] % len(candidates)]
        via = np.flatnonzero(relay >= 0)
        if not len(via):
            return pairs
        inner, outer = _Rows(len(via)), _Rows(len(via))
        every = np.arange(len(via))
        self._search(inner, every, s[via], relay[via], "scale-up")
        core = self.cores["fabric"]
        source_key, target_key = core.keys(relay[via], t[via])
        _, first = np.unique(source_key * (core.key_count + 1) + target_key, return_index=True)
        if any(core.between(int(relay[via[k]]), int(t[via[k]])) is None for k in first.tolist()):
            return pairs
        self._search(outer, every, relay[via], t[via], "fabric")
        rows.add_joined(pairs[via], inner, outer)
        return pairs[relay < 0]

    def _rail_table(self) -> tuple[Ints, dict[tuple[int, int], Ints], Ints]:
        """Return rail[node], {(domain, rail): accelerators}, ordinal[node] among those."""
        if self._rails is None:
            nodes = self.network.accelerator_nodes
            core = self.cores["fabric"]
            rail = np.full(len(self.network.nodes), -1, dtype=np.int64)
            ordinal = np.zeros(len(self.network.nodes), dtype=np.int64)
            standing: dict[tuple[int, int], list[int]] = {}
            leaves: dict[int, dict[object, int]] = {}
            for node in nodes.tolist():
                domain = int(self.domain[node])
                seen = leaves.setdefault(domain, {})
                key = core.host(node).key
                rail[node] = seen.setdefault(key, len(seen))
                group = standing.setdefault((domain, int(rail[node])), [])
                ordinal[node] = len(group)
                group.append(node)
            self._rails = (rail, {k: np.array(v) for k, v in standing.items()}, ordinal)
        return self._rails


def _compose(core: Core, found: CoreRoute, s: Ints, t: Ints) -> tuple[Ints, Floats]:
    """Join each source's own links, the shared core, and each target's own links."""
    up, up_part = core.outgoing(s, found)
    down, down_part = core.incoming(t, found)
    middle = np.broadcast_to(found.links, (len(s), len(found.links)))
    return (
        np.concatenate([up, middle, down], axis=1),
        np.concatenate([up_part, found.fractions, down_part]),
    )


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

    def add_joined(self, pairs: Ints, *parts: _Rows) -> None:
        """Add routes that are the given parts one after another."""
        for part in parts:
            self.owner += [pairs[owner] for owner in part.owner]
            self.links += part.links
            self.fractions += part.fractions

    def table(self, network: Network) -> RouteTable:
        """Return everything as sparse rows in pair order."""
        empty = np.zeros(0, dtype=np.int64)
        owner = np.concatenate([empty, *self.owner])
        links = np.concatenate([empty, *self.links])
        fractions = np.concatenate([np.zeros(0), *self.fractions])
        if len(self.owner) > 1:
            order = np.argsort(owner, kind="stable")
            owner, links, fractions = owner[order], links[order], fractions[order]
        counts = np.bincount(owner, minlength=self.rows)
        latency = np.bincount(
            owner, fractions * network.latency_s[links], minlength=self.rows
        ).astype(np.float64)
        hops = np.bincount(owner, fractions, minlength=self.rows)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return RouteTable(indptr, links, fractions, latency, np.rint(hops).astype(np.int64))
