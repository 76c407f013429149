"""Shortest routes through a network's core, with hosts stripped.

In:  the links of one region of a `Network` and the nodes that may not forward there.
Out: fractions on links between attachments, found by one breadth-first search per target
     attachment.
Left out: capacities; among equally short ways, parts go by the number of cables.
"""

from typing import NamedTuple, TypeAlias

import numpy as np

from rackmodel.columns import Bools, Floats, Ints
from rackmodel.network.arrays import Arrays
from rackmodel.network.routing.region import Region
from rackmodel.network.routing.strategies import STRATEGIES

Ways: TypeAlias = tuple[list[int], list[int], list[int]]  # links, cables, nodes after

CACHED_DISTANCES = 8_000_000  # entries kept of searches; older ones are forgotten
CACHED_WAYS = 200_000


class CoreRoute(NamedTuple):
    """The way from one set of attachments to another."""

    leaving: Floats  # float[source attachments], part of the flow
    links: Ints  # int[E], core links
    fractions: Floats  # float[E]
    arriving: Floats  # float[target attachments]


class Core(Region):
    """Shortest ways through a region."""

    def __init__(
        self,
        network: Arrays,
        use: Bools,
        terminal: Bools,
        domain: Ints | None = None,
        *,
        chains: bool = True,
    ) -> None:
        """Search nothing yet; parameters as `Region` has them."""
        super().__init__(network, use, terminal, domain, chains=chains)
        self.by_path = STRATEGIES[network.routing].by_path
        self._seen = np.zeros(len(network.nodes), dtype=np.int64)
        self.distances: dict[int, Ints] = {}
        self.ways: dict[tuple[int, int], Ways] = {}
        self.found: dict[tuple[int, int], CoreRoute | None] = {}
        self.counts: dict[tuple[int, int], int] = {}

    def outgoing(self, nodes: Ints, found: CoreRoute) -> tuple[Ints, Floats]:
        """Return the nodes' own links towards the core, int[nodes, E], and their fractions."""
        return self._own_links(nodes, found.leaving, "out_chains")

    def incoming(self, nodes: Ints, found: CoreRoute) -> tuple[Ints, Floats]:
        """Return the nodes' own links from the core, int[nodes, E], and their fractions."""
        return self._own_links(nodes, found.arriving, "in_chains")

    def _own_links(self, nodes: Ints, part: Floats, chains: str) -> tuple[Ints, Floats]:
        used = np.flatnonzero(part > 0).tolist()
        own, which = np.unique(nodes, return_inverse=True)
        rows = [[getattr(self.host(n), chains)[i] for i in used] for n in own.tolist()]
        links = np.array([[k for chain in row for k in chain] for row in rows], dtype=np.int64)
        return links.reshape(len(own), -1)[which], np.repeat(part[used], list(map(len, rows[0])))

    def between(self, source: int, target: int) -> CoreRoute | None:
        """Return the core route, or None if this region does not join the two."""
        pair = (self._number(source), self._number(target))
        if pair not in self.found:
            self.found[pair] = self._solve(source, target)
        return self.found[pair]

    def distance(self, target: int) -> Ints:
        """Return each forwarding node's hops to `target` (a large number if there is no way)."""
        number = self._number(target)
        if number not in self.distances:
            if sum(map(len, self.distances.values())) > CACHED_DISTANCES:
                self.distances.clear()
            self.distances[number] = self._search(target)
        return self.distances[number]

    def _search(self, target: int) -> Ints:
        """Breadth first from the target's attachments, against the direction of the links."""
        far = np.iinfo(np.int32).max
        steps = np.full(len(self.network.nodes), far, dtype=np.int64)
        ends = self.host(target).key
        if not ends:
            return steps
        hops = min(h for _, h, _ in ends)
        last = max(h for _, h, _ in ends)
        front = np.zeros(0, dtype=np.int64)
        while len(front) or hops <= last:
            seeds = np.array([node for node, h, _ in ends if h == hops], dtype=np.int64)
            front = np.concatenate([front, seeds])
            front = front[steps[front] == far]
            steps[front] = hops
            order = np.arange(len(front))
            self._seen[front] = order  # of those that stand twice, the last one stays
            front = front[self._seen[front] == order]
            starts, stops = self.in_ptr[front], self.in_ptr[front + 1]
            sizes = stops - starts
            place = np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
            before = self.network.tail[self.in_order[place]]
            front = before[(steps[before] == far) & ~self.terminal[before]]
            hops += 1
        return steps

    def _choices(self, node: int, target: int, steps: Ints) -> Ways:
        """Return the equally short ways on from `node`: links, or -1 - attachment; with cables."""
        key = (self._number(target), node)
        if key in self.ways:
            return self.ways[key]
        out = self.out_order[self.out_ptr[node] : self.out_ptr[node + 1]]
        after = self.network.head[out]
        on = ~self.terminal[after] & (steps[after] == steps[node] - 1)
        ways, onward = out[on].tolist(), after[on].tolist()
        cables = self.network.count[out[on]].tolist()
        for i, (at, hops, number) in enumerate(self.host(target).key):
            if at == node and hops == steps[node]:
                ways.append(-1 - i)
                cables.append(number)
                onward.append(-1)
        if len(self.ways) > CACHED_WAYS:
            self.ways.clear()
        self.ways[key] = (ways, cables, onward)
        return self.ways[key]

    def _solve(self, source: int, target: int) -> CoreRoute | None:
        starts, ends = self.host(source).key, self.host(target).key
        straight = self._straight(source, target)
        if straight:
            return straight
        if not starts or not ends:
            return None
        steps = self.distance(target)
        total = [hops + int(steps[at]) for at, hops, _ in starts]
        best = min(total)
        if best >= np.iinfo(np.int32).max:
            return None
        weight = [
            c * self._paths(at, target, steps) if d == best else 0
            for d, (at, _, c) in zip(total, starts, strict=True)
        ]
        leaving = np.array([part / sum(weight) for part in weight])
        mass: dict[int, float] = {}
        for part, (at, _, _) in zip(leaving.tolist(), starts, strict=True):
            if part > 0:
                mass[at] = mass.get(at, 0.0) + part
        arriving = np.zeros(len(ends))
        links: dict[int, float] = {}
        level = {int(steps[at]) for at in mass}
        for far in range(max(level), -1, -1):
            for node in [k for k in mass if steps[k] == far]:
                ways, cables, onward = self._choices(node, target, steps)
                if self.by_path:
                    cables = [
                        c * (self._paths(after, target, steps) if after >= 0 else 1)
                        for c, after in zip(cables, onward, strict=True)
                    ]
                amount, whole = mass.pop(node), sum(cables)
                for way, number, after in zip(ways, cables, onward, strict=True):
                    part = amount * number / whole
                    if way < 0:
                        arriving[-1 - way] += part
                    else:
                        links[way] = links.get(way, 0.0) + part
                        mass[after] = mass.get(after, 0.0) + part
        return CoreRoute(
            leaving, np.array(list(links), np.int64), np.array(list(links.values())), arriving
        )

    def _paths(self, node: int, target: int, steps: Ints) -> int:
        """Return how many shortest paths lead on, cable by cable, if parts go by them; else 1."""
        if not self.by_path:
            return 1
        number = self._number(target)
        stack = [node]
        while stack:  # no recursion: paths may be as long as the graph
            at = stack[-1]
            _, cables, onward = self._choices(at, target, steps)
            if waiting := [a for a in onward if a >= 0 and (number, a) not in self.counts]:
                stack += waiting
                continue
            self.counts[number, at] = sum(
                c * (self.counts[number, a] if a >= 0 else 1)
                for c, a in zip(cables, onward, strict=True)
            )
            stack.pop()
        return self.counts[number, node]

    def _straight(self, source: int, target: int) -> CoreRoute | None:
        """Two hosts joined by links of their own (a mesh) use those and nothing else."""
        if not (self.terminal[source] and self.terminal[target]):
            return None
        links = self.joining.get((source, target))
        if not links:
            return None
        cables = self.network.count[links].astype(float)
        a, b = len(self.host(source).key), len(self.host(target).key)
        return CoreRoute(np.zeros(a), np.array(links), cables / cables.sum(), np.zeros(b))

    def one_path(self, source: int, target: int, seed: int | None) -> list[int] | None:
        """Return one of the equally short paths: at each node by a seeded hash, or the first."""

        def draw(number: int, node: int) -> int:
            return 0 if seed is None else _hash(seed, source, target, node) % number

        straight = self._straight(source, target)
        if straight:
            return [int(straight.links[draw(len(straight.links), source)])]
        from_host, to_host = self.host(source), self.host(target)
        if not from_host.key or not to_host.key:
            return None
        steps = self.distance(target)
        total = [hops + int(steps[at]) for at, hops, _ in from_host.key]
        best = min(total)
        if best >= np.iinfo(np.int32).max:
            return None
        first = [i for i, d in enumerate(total) if d == best]
        start = first[draw(len(first), source)]
        path, node = list(from_host.out_chains[start]), from_host.key[start][0]
        while True:
            ways, _, onward = self._choices(node, target, steps)
            pick = draw(len(ways), node)
            if ways[pick] < 0:
                return path + list(to_host.in_chains[-1 - ways[pick]])
            path.append(ways[pick])
            node = onward[pick]


def _hash(*parts: int) -> int:
    """Mix small integers to 64 evenly spread bits (splitmix64), the same on every machine."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part + 0x632BE59BD9B4E019)) & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state
