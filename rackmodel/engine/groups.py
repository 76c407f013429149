"""The flows of every group of an axis at once, without asking the network for each group.

In:  a compiled network, the members of G groups of one axis, one collective.
Out: the flows of all groups as arrays, with the links that they cross.
Left out: fair shares, folding, time.

Groups that stand alike (the same members share a domain switch, a NIC, a leaf, a spine) use the
same collective on corresponding links. The network works it out for one of them; for the others the
links are looked up by their ends. On a torus groups stand alike that are moved: their links move
with them. Where several ways lead up, groups inside a scale-up domain stand alike in it, and pairs
whose routes are alike (`pairs`); other groups are worked out one by one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Bools, Ints, distinct, kinds_of, packed
from rackmodel.engine.pairs import kinds_of_pairs, moved_with_pairs
from rackmodel.engine.placed_flows import PlacedFlows, apart, joined
from rackmodel.network import Network, Pattern, sends
from rackmodel.network.arrays import remembered
from rackmodel.network.routing.tree import levels
from rackmodel.network.symmetry import mix

MOST_SIGNED = 64  # sets of groups whose signatures are kept, beside each network
MOST_PLACED = 5_000_000  # crossings of links in the flows kept beside it: about 200 MB


class _Chains(NamedTuple):
    """What is above each accelerator, -1 for nothing.

    above : int[n, levels], nodes, its own first. ways : for each level but the first the links to
    it from the accelerator or the level below, int[n].
    """

    above: Ints
    ways: list[Ints]


class AcceleratorTree:
    """Where accelerators stand: the chain of nodes above each one, and links by their ends."""

    def __init__(self, network: Network) -> None:
        self.network = network
        nodes = network.accelerator_nodes
        self.index_of = np.full(len(network.nodes), -1, dtype=np.int64)
        self.index_of[nodes] = np.arange(len(nodes))
        self.source = network.tail.astype(np.int64)
        self.target = network.head.astype(np.int64)
        key = self.source * len(network.nodes) + self.target
        self._order = np.argsort(key, kind="stable")
        self._keys = key[self._order]
        self._ways_up = self._chains(np.ones(len(self.source), dtype=bool))
        self.above = None if self._ways_up is None else self._ways_up.above
        self.grid = network.router.grid
        self._signed: dict[bytes, Ints] = {}  # by digest of the members of all groups
        # By those members and what runs on each kind of them: algorithm and rounds.
        self.placed: dict[tuple[bytes, tuple[object, ...]], tuple[PlacedFlows, ...]] = {}

    @staticmethod
    @remembered
    def of(network: Network) -> AcceleratorTree:
        """Return the tree of a network; the network keeps it."""
        return AcceleratorTree(network)

    @property
    def crossings(self) -> int:
        """How often the flows that are kept cross links."""
        return sum(len(one.links) for sets in self.placed.values() for one in sets)

    def trim(self, share: float = 1.0) -> None:
        """Forget flows, the oldest first, but for a share of what is left for the next step."""
        room = share * MOST_PLACED - self.crossings
        while room < 0:
            oldest = self.placed.pop(next(iter(self.placed)))
            room += sum(len(one.links) for one in oldest)

    def link_between(self, source: Ints, target: Ints) -> Ints:
        """Return the link from each source node to each target node, -1 where there is none."""
        key = source * len(self.network.nodes) + target
        at = np.minimum(np.searchsorted(self._keys, key), len(self._keys) - 1)
        return np.where(self._keys[at] == key, self._order[at], -1)

    def _chains(self, use: Bools) -> _Chains | None:
        """Return what is above each accelerator by some links; None if nothing or no tree."""
        count, nodes = len(self.network.nodes), self.network.accelerator_nodes
        first = np.full((count, 2), -1, dtype=np.int64)  # links to switches and NICs above
        links = np.flatnonzero(use & (self._rise > 0))
        links = links[np.argsort(self.source[links], kind="stable")]
        starts = np.searchsorted(self.source[links], np.arange(count))
        degree = np.bincount(self.source[links], minlength=count)
        if degree.max(initial=0) > 2 or (self.index_of[self.target[links]] >= 0).any():
            return None
        for slot in range(2):
            has = degree > slot
            first[has, slot] = links[starts[has] + slot]
        if (degree[levels(self.network) > 0] > 1).any():
            return None  # several ways up: not a tree of bundles
        columns, ways = [nodes], list[Ints]()
        for slot in range(2):
            way = first[nodes, slot]
            while (way >= 0).any():
                ways.append(way)
                columns.append(np.where(way >= 0, self.target[way], -1))
                way = np.where(way >= 0, first[columns[-1], 0], -1)
        # nothing above any: accelerators wired to each other alone
        return _Chains(np.stack(columns, axis=1), ways) if ways else None

    @cached_property
    def _rise(self) -> Ints:
        """How many levels each link leads up."""
        level = levels(self.network)
        return level[self.target] - level[self.source]

    @cached_property
    def _inside(self) -> _Chains | None:
        """What is above each accelerator in its scale-up domain; None where they are meshed."""
        inner = self.network.scale_up
        return None if (self._rise[inner] == 0).any() else self._chains(inner)

    def chains_of(self, members: Ints) -> _Chains | None:
        """Return what tells how groups stand in a tree; None if nothing does."""
        if self._ways_up is not None:
            return self._ways_up
        domain = self.network.domain_of[members]
        return self._inside if (domain == domain[:, :1]).all() else None

    def by_routes(self, members: Ints) -> bool:
        """Return whether groups are pairs that stand as their routes go, not as a tree tells."""
        if members.shape[1] != 2 or self.grid is not None:
            return False
        if self._ways_up is None:
            return self.chains_of(members) is None
        domain = self.network.domain_of[members]
        aside = (self._rise == 0) & ~self.network.scale_up
        return bool(aside.any() and (domain[:, 0] != domain[:, 1]).any())

    def signatures(self, members: Ints) -> Ints:
        """Return one number per group, equal for groups that stand alike.

        Kept: the same groups run collectives of several sizes.
        """
        known = digest(members)
        if known not in self._signed:
            if len(self._signed) >= MOST_SIGNED:
                self._signed.clear()
            made = self._signatures if self.grid is None else self._shapes
            by_routes = self.by_routes(members)
            self._signed[known] = (
                kinds_of_pairs(self.network, members) if by_routes else made(members)
            )
        return self._signed[known]

    def _shapes(self, members: Ints) -> Ints:
        """Tell groups on a grid apart by their shape and where it begins in the grid's period."""
        grid, nodes = self.grid, self.network.accelerator_nodes[members]
        assert grid is not None
        first = grid.place[nodes[:, 0]]
        shape = (grid.place[nodes] - first[:, None, :]).reshape(len(members), -1)
        known: dict[bytes, int] = {}
        rows = np.concatenate([shape, first % self._period()], axis=1)
        return np.array([known.setdefault(row.tobytes(), len(known)) for row in rows])

    def _period(self) -> Ints:
        """Return the steps along each dimension after which the links of the grid recur."""
        assert self.grid is not None
        kinds = self._link_class[self.grid.link[self.grid.node_at]]
        box = kinds.reshape(*self.grid.sizes, -1)
        found = []
        for axis, size in enumerate(self.grid.sizes.tolist()):
            steps = [step for step in range(1, size) if size % step == 0]
            same = (s for s in steps if (np.roll(box, s, axis) == box).all())
            found.append(next(same, size))
        return np.array(found)

    def moved(self, links: Ints, base: int, members: Ints) -> Ints | None:
        """Return links of the group of accelerator `base` where groups of others have them."""
        assert self.grid is not None
        if (self.grid.direction[links] < 0).any():
            return None
        nodes = self.network.accelerator_nodes
        found = self.grid.moved(links, int(nodes[base]), nodes[members])
        return None if (found < 0).any() else found

    def _signatures(self, members: Ints) -> Ints:
        chains = self.chains_of(members)
        assert chains is not None
        groups, size = members.shape
        rows = np.arange(groups)[:, None] * (len(self.network.nodes) + 1)
        parts: list[Ints] = []
        for above, way in zip(chains.above.T[1:], chains.ways, strict=True):
            node = above[members]
            # the place of the first member with the same node names the node within the group
            first, which = kinds_of((node + rows).ravel())
            name = (first % size)[which].reshape(node.shape)
            parts += [np.where(node >= 0, name, -1), self._link_class[way[members]]]
        told = np.concatenate(parts, axis=1).astype(np.uint64)
        odd = mix(np.arange(told.shape[1], dtype=np.uint64)) | np.uint64(1)
        return kinds_of((mix(told) * odd).sum(axis=1, dtype=np.uint64))[1]

    @cached_property
    def _link_class(self) -> Ints:
        """What tells links apart, one number each; last -1 for none."""
        classes = packed(kinds_of(self.network.capacity)[1], kinds_of(self.network.latency_s)[1])
        return np.append(classes, -1)


def kinds_of_groups(tree: AcceleratorTree, members: Ints) -> list[Ints]:
    """Return the places of the groups that stand alike, an array for each kind of group."""
    single = len(members) < 4 if tree.grid is None else len(members) < 2
    single |= tree.grid is None and tree.chains_of(members) is None and not tree.by_routes(members)
    which = np.arange(len(members)) if single else tree.signatures(members)
    return [np.flatnonzero(which == kind) for kind in range(int(which.max()) + 1)]


def flows_of_groups(
    tree: AcceleratorTree,
    sets: Sequence[Ints],
    pattern_of: Callable[[list[int]], Pattern],
    *,
    plain_sends: bool = False,
) -> tuple[PlacedFlows, ...]:
    """Return the flows of each set of groups; all of them ask the same of the library.

    sets : int[G, n] each, accelerator indices. pattern_of : works out one group. plain_sends : the
    groups are pairs that send as the library does: those are worked out together, even where no
    two stand alike.
    """
    members, sizes = np.concatenate(sets), tuple(map(len, sets))
    alike = [] if plain_sends and tree.by_routes(members) else kinds_of_groups(tree, members)
    if plain_sends and len(alike) in (0, len(members)):
        named = digest(members), (sizes, "send")
        if named not in tree.placed:
            _keep(tree, named, apart(_placed_sends(tree, members), sizes))
        return tree.placed[named]
    patterns = [pattern_of(members[same[0]].tolist()) for same in alike]
    # An operation of another size runs the same rounds; only their fixed times differ.
    key = digest(members), (sizes, *((one.algorithm, one.rounds) for one in patterns))
    if key in tree.placed:
        latency = np.zeros((len(members), max(len(p.latency_s) for p in patterns)))
        for same, pattern in zip(alike, patterns, strict=True):
            latency[same, : len(pattern.latency_s)] = pattern.latency_s
        each = np.split(latency, np.cumsum(sizes)[:-1])
        known = zip(tree.placed[key], each, strict=True)
        return tuple(flows._replace(round_latency_s=own) for flows, own in known)
    parts: list[tuple[Ints, PlacedFlows]] = []
    for same, pattern in zip(alike, patterns, strict=True):
        model = _placed(tree, pattern)
        if len(same) == 1:
            parts.append((same, model))
            continue
        used, where = distinct(model.links)  # many flows share a link
        links = moved_links(tree, members[same], used)
        if links is None:
            rows = [(np.array([g]), members[g].tolist()) for g in same]
            parts += [(one, _placed(tree, pattern_of(row))) for one, row in rows]
        else:
            links = np.take(links, where, axis=1)
            parts.append((same, _repeat(model, members[same[0]], members[same], links)))
    found = apart(joined(parts), sizes)
    if len(parts) == len(alike) <= MOST_SIGNED:
        _keep(tree, key, found)
    return found


def _keep(
    tree: AcceleratorTree, key: tuple[bytes, tuple[object, ...]], found: tuple[PlacedFlows, ...]
) -> None:
    if len(tree.placed) >= MOST_SIGNED:
        tree.placed.clear()
    tree.placed[key] = found


def digest(values: npt.NDArray[Any]) -> bytes:
    """Name an array, such as the members of all groups of an axis, by what is in it."""
    named = hashlib.blake2b(np.ascontiguousarray(values).data).digest()
    return named + bytes(f"{values.shape}{values.dtype}", "ascii")


def _placed_sends(tree: AcceleratorTree, pairs: Ints) -> PlacedFlows:
    """Return the flows of pairs, each a group of its own."""
    flows, fixed_s = sends(tree.network, pairs)
    groups = np.arange(len(pairs))
    return PlacedFlows(
        owner=groups,
        round_=np.zeros(len(pairs), dtype=np.int64),
        share=flows.share,
        cap=flows.cap_bytes_per_s,
        source=pairs[:, 0],
        target=pairs[:, 1],
        indptr=flows.indptr,
        links=flows.links,
        fractions=flows.fractions,
        round_latency_s=fixed_s[:, None],
        algorithm=("send",) * len(pairs),
        kind=groups,
    )


def _placed(tree: AcceleratorTree, pattern: Pattern) -> PlacedFlows:
    """Return the flows of one group by the pattern that it runs."""
    rounds = pattern.rounds
    sizes = [len(r.share) for r in rounds]
    indptr = np.concatenate(
        [np.zeros(1, dtype=np.int64)] + [np.diff(r.indptr).astype(np.int64) for r in rounds]
    ).cumsum()

    def ends(node: npt.NDArray[np.int64]) -> Ints:
        index = tree.index_of[node]
        return np.where(index >= 0, index, -1 - node)

    def together(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        if len(arrays) == 1:
            return arrays[0]
        return np.concatenate(arrays) if arrays else np.zeros(0)

    return PlacedFlows(
        owner=np.zeros(sum(sizes), dtype=np.int64),
        round_=np.repeat(np.arange(len(rounds)), sizes),
        share=together([r.share for r in rounds]),
        cap=together([r.cap_bytes_per_s for r in rounds]),
        source=ends(together([r.source for r in rounds]).astype(np.int64, copy=False)),
        target=ends(together([r.target for r in rounds]).astype(np.int64, copy=False)),
        indptr=indptr,
        links=together([r.links for r in rounds]).astype(np.int64, copy=False),
        fractions=together([r.fractions for r in rounds]),
        round_latency_s=np.array([pattern.latency_s], dtype=np.float64),
        algorithm=(pattern.algorithm,),
        kind=np.zeros(1, dtype=np.int64),
    )


def moved_links(tree: AcceleratorTree, members: Ints, used: Ints) -> Ints | None:
    """Return where groups that stand alike have these links of the first one, int[G, L].

    None if some node is above no member.
    """
    if tree.grid is not None:
        return tree.moved(used, int(members[0, 0]), members[:, 0])
    if tree.by_routes(members):
        return moved_with_pairs(tree.network, members, used)
    chains = tree.chains_of(members)
    assert chains is not None
    chain = chains.above[members[0]]  # [n, levels]
    flat = chain.ravel()
    order = np.argsort(flat, kind="stable")
    ends = []
    for node in (tree.source[used], tree.target[used]):
        at = np.minimum(np.searchsorted(flat[order], node), len(flat) - 1)
        if (flat[order][at] != node).any():
            return None
        spot = order[at]
        member, level = spot // chain.shape[1], spot % chain.shape[1]
        ends.append(chains.above[members[:, member], level])
    links = tree.link_between(ends[0].ravel(), ends[1].ravel()).reshape(ends[0].shape)
    return None if (links < 0).any() else links


def _repeat(model: PlacedFlows, base: Ints, members: Ints, links: Ints) -> PlacedFlows:
    groups, flows = len(members), len(model.owner)
    order = np.argsort(base, kind="stable")

    def ends(index: Ints) -> Ints:
        spot = order[np.minimum(np.searchsorted(base[order], index), len(base) - 1)]
        place = np.where(base[spot] == index, spot, -1)
        moved = np.take(members, np.maximum(place, 0), axis=1)
        return np.where(place >= 0, moved, -1 - np.arange(groups)[:, None]).ravel()

    starts = np.arange(groups)[:, None] * len(model.links) + model.indptr[:-1]
    return PlacedFlows(
        owner=np.repeat(np.arange(groups), flows),
        round_=np.tile(model.round_, groups),
        share=np.tile(model.share, groups),
        cap=np.tile(model.cap, groups),
        source=ends(model.source),
        target=ends(model.target),
        indptr=np.append(starts.ravel(), groups * len(model.links)),
        links=links.ravel(),
        fractions=np.tile(model.fractions, groups),
        round_latency_s=np.repeat(model.round_latency_s, groups, axis=0),
        algorithm=model.algorithm * groups,
        kind=np.zeros(groups, dtype=np.int64),
    )
