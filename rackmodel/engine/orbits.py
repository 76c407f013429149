"""A symmetry of machine and job, found before anything is built: one rail stands for all.

In:  a compiled network, where the ranks stand, the groups of each axis.
Out: `Orbits`: what turning the ranks of every block by one place takes into one another; which
     groups have to be built.
Left out: flows, classes (`network.symmetry` finds those among what was built).

Ranks of a tensor-parallel group stand on as many rails that are all alike. Turning them by a place
in every group at once takes the machine into itself, and each group into another, or itself. So
one group of each orbit is built, and counts for all. Every part of this is checked on the arrays,
nothing is assumed of the machine; where some part does not hold every rank is an orbit of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Bools, Floats, Ints, distinct, kinds_of
from rackmodel.engine.alike import Alike
from rackmodel.engine.groups import AcceleratorTree
from rackmodel.engine.placed_flows import PlacedFlows, rates_alone
from rackmodel.network import Network
from rackmodel.network.routing.tree import levels
from rackmodel.network.symmetry import label, mix, sums

FEWEST_RANKS = 64  # below this, looking costs more than it saves
WIDEST = 128  # places that are turned: what is kept of every link
NEARLY = 1e-12  # loads that differ by less are sums of the same terms


class Orbits(NamedTuple):
    """What a symmetry takes into one another.

    ranks, accelerators, links : int[order, n], where each is after so many turns. rank : int[R],
    the orbit of each rank. first : int[K], the first rank of each orbit, rank_size : its ranks.
    link : int[L], the first link of the orbit of each, link_size : how many links that has.
    turns : int[L], after how many turns a link is there. inside : bool[L], links that were looked
    at: those between accelerators and nodes above them.
    """

    ranks: Ints
    accelerators: Ints
    links: Ints
    rank: Ints
    first: Ints
    rank_size: Ints
    link: Ints
    link_size: Ints
    turns: Ints
    inside: Bools

    @classmethod
    def of(cls, ranks: Ints, accelerators: Ints, links: Ints, inside: Bools) -> Orbits:
        """Return the orbits of a symmetry by where it takes everything, turn by turn."""
        first, rank, rank_size = np.unique(
            ranks.min(axis=0), return_inverse=True, return_counts=True
        )
        stays = np.count_nonzero(links == links[0], axis=0)
        link, turns = links.min(axis=0), np.zeros(links.shape[1], dtype=np.int64)
        for turn in range(len(links) - 1, 0, -1):
            turns[links[turn] == link] = turn
        turns[links[0] == link] = 0
        return cls(
            ranks=ranks,
            accelerators=accelerators,
            links=links,
            rank=rank.reshape(-1),
            first=first,
            rank_size=rank_size,
            link=link,
            link_size=len(links) // stays,
            turns=turns,
            inside=inside,
        )

    @classmethod
    def none(cls, network: Network, ranks: int) -> Orbits:
        """Return the orbits where nothing is alike: one of each rank and link."""
        counts = ranks, len(network.accelerator_nodes), len(network.capacity)
        each, accelerators, links = (np.arange(count)[None, :] for count in counts)
        return cls.of(each, accelerators, links, np.ones(counts[-1], dtype=bool))

    @property
    def order(self) -> int:
        """After how many turns everything is where it was."""
        return len(self.ranks)

    def share(self, links: Ints, count: Ints) -> Floats:
        """Return how often each crossing of a link, of so many like it, is on one of its orbit."""
        return np.asarray(count / self.link_size[links], dtype=np.float64)

    def onto_first(self, links: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Yield all ways to turn crossings onto the first links of their orbits.

        Each as the crossings that have this way, and by how many turns.
        """
        size = self.link_size[links]
        for way in range(self.order):
            chosen = np.flatnonzero(way * size < self.order)
            if not len(chosen):
                return
            yield chosen, (self.turns[links[chosen]] + way * size[chosen]) % self.order

    def groups(self, members: Ints) -> tuple[Ints, Ints]:
        """Return the groups of an axis to build, and how many each stands for.

        members : int[G, n], ranks.
        """
        after = np.arange(len(members)) if self.order == 1 else self._after(members)
        assert after is not None, "the orbits of other groups"
        lowest = at = np.arange(len(members))
        for _ in range(1, self.order):
            at = after[at]
            lowest = np.minimum(lowest, at)
        first, which = kinds_of(lowest)
        return lowest[first], np.bincount(which)

    def _after(self, members: Ints) -> Ints | None:
        """Return which group each one becomes; None if groups don't become groups.

        A group becomes another one member by member, or itself with its members in other places.
        """
        number = np.arange(len(members))
        owner = np.full(self.ranks.shape[1], -1, dtype=np.int64)
        owner[members] = number[:, None]
        image = self.ranks[1][members]
        to = owner[image]
        after = to[:, 0]
        whole = (to == after[:, None]).all() and (owner[members] == number[:, None]).all()
        if not whole or (after < 0).any():
            return None
        in_order = (members[after] == image).all(axis=1)
        return after if (in_order | (after == number)).all() else None

    def hold(self, network: Network, members: Ints, parts: Sequence[Alike]) -> bool:
        """Return whether flows of groups are what turning makes of those of others.

        Those of groups that become themselves, with members in other places, must be the same.
        """
        if self.order == 1:
            return True
        image = self.ranks[1][members]
        turned = (image != members).any(axis=1)
        turned &= (np.sort(image, axis=1) == np.sort(members, axis=1)).all(axis=1)
        tree = AcceleratorTree.of(network)
        ends = tree.index_of[tree.source] >= 0, tree.index_of[tree.target] >= 0
        once = self.links[1]
        if not all(self.inside[part.links].all() for part in parts):
            return False
        if not all(_turn_alike(part, turned, once) for part in parts):
            whole = parts[0].whole
            parts = (Alike.alone(whole, rates_alone(whole, network.capacity)),)
        return all(
            _turn_into_themselves(part, turned[part.groups[0]], once, ends[0] | ends[1])
            for part in parts
        )


def orbits_of(
    network: Network,
    accelerator_of: Ints,
    columns: Sequence[npt.NDArray[Any]],
    groups: Sequence[Ints],
) -> Orbits:
    """Find a symmetry; where there is none, every rank and link is an orbit of its own.

    columns : what tells ranks apart. groups : int[G, n] of each axis, ranks.
    """
    tree, ranks = AcceleratorTree.of(network), len(accelerator_of)
    sizes = {rows.shape[1] for rows in groups if (np.diff(rows, axis=1) == 1).all()}
    inner = min(sizes - {1}, default=ranks)
    inside = _inside(tree) if ranks >= FEWEST_RANKS else None
    for block in range(min(inner, WIDEST), 1, -1):
        if inside is not None and inner % block == 0 and ranks % block == 0:
            found = _turning(tree, accelerator_of, columns, block, inside)
            if found and all(found._after(rows) is not None for rows in groups):
                return found
    return Orbits.none(network, ranks)


def _turning(
    tree: AcceleratorTree,
    accelerator_of: Ints,
    columns: Sequence[npt.NDArray[Any]],
    block: int,
    inside: Bools,
) -> Orbits | None:
    """Return what turning every block of ranks by one place does, if the machine allows it."""
    turned = _turned(len(accelerator_of), block)
    if any((column[turned] != column).any() for column in columns):
        return None
    have = len(tree.network.accelerator_nodes)
    idle = np.ones(have // block * block, dtype=bool)
    idle[accelerator_of[accelerator_of < len(idle)]] = False
    idle = np.repeat(idle.reshape(-1, block).all(axis=1), block)  # whole blocks of them turn, too
    accelerators = np.arange(have)
    accelerators[: len(idle)][idle] = _turned(len(idle), block)[idle]
    accelerators[accelerator_of] = accelerator_of[turned]
    links = _links_turned(tree, accelerators, inside)
    if links is None:
        return None
    return Orbits.of(
        _powers(turned, block), _powers(accelerators, block), _powers(links, block), inside
    )


def _links_turned(tree: AcceleratorTree, accelerators: Ints, inside: Bools) -> Ints | None:
    """Return where each link goes with the accelerators; None if the machine is another then."""
    assert tree.above is not None
    network, above = tree.network, tree.above
    there = np.arange(len(network.nodes))
    for node, image in zip(above.T, above[accelerators].T, strict=True):
        if ((node < 0) != (image < 0)).any():
            return None
        there[node[node >= 0]] = image[node >= 0]
        if (there[node[node >= 0]] != image[node >= 0]).any():
            return None
    links = np.arange(len(inside))
    links[inside] = tree.link_between(there[tree.source[inside]], there[tree.target[inside]])
    if (links < 0).any() or (np.bincount(links, minlength=len(links)) != 1).any():
        return None
    facts = network.capacity, network.nominal, network.latency_s, network.scale_up, network.count
    return None if any((fact[links] != fact).any() for fact in facts) else links


def _inside(tree: AcceleratorTree) -> Bools | None:
    """Return the links between accelerators and nodes above them, bool[L]; None if no tree.

    Only on trees there is one way between two accelerators, and so the same one for all that turn.
    """
    network = tree.network
    if tree.above is None or network.routing in ("rail", "ecmp"):
        return None
    above = np.zeros(len(network.nodes) + 1, dtype=bool)  # the last for "none above"
    above[tree.above] = True
    above[-1] = False
    inside: Bools = above[tree.source] & above[tree.target]
    level = levels(network)
    aside = level[tree.source[inside]] == level[tree.target[inside]]
    return None if aside.any() else inside


def _turned(count: int, block: int) -> Ints:
    place = np.arange(count)
    turned: Ints = place // block * block + (place % block + 1) % block
    return turned


def _powers(once: Ints, order: int) -> Ints:
    powers = np.empty((order, len(once)), dtype=np.int64)
    powers[0] = np.arange(len(once))
    for turns in range(1, order):
        powers[turns] = once[powers[turns - 1]]
    return powers


def _turn_alike(part: Alike, turned: Bools, once: Ints) -> bool:
    """Return whether what turning does to one set of groups, it does to all of its part."""
    first = part.links[0]
    if len(part.links) == 1:
        return True
    place = np.minimum(np.searchsorted(first, once[first]), len(first) - 1)
    same = turned[part.groups] == turned[part.groups[0]]
    return bool(same.all() and (part.links[:, place] == once[part.links]).all())


def _turn_into_themselves(part: Alike, groups: Bools, once: Ints, near: Bools) -> bool:
    """Return whether the flows of some groups of a part's first set are the same when turned.

    groups : bool[G]. once : int[L], where each link is after a turn. near : bool[L], links at
    accelerators: on these what loads each link is enough, whichever flows bring it.
    """
    if not groups.any():
        return True
    flows, flow = part.flows, part.flow
    here = groups[flows.owner[flow]]
    flow, links, fractions = flow[here], flows.links[here], flows.fractions[here]
    rounds = int(flows.round_.max()) + 1
    stream = flows.owner * rounds + flows.round_
    if _paths_stay(flows, groups, stream, here, once):
        return True
    if not near[links].all():
        return False
    width, rate = len(once), part.rate
    names, where = distinct(stream[flow] * width + links)
    image = names // width * width + once[names % width]
    at = np.minimum(np.searchsorted(names, image), len(names) - 1)
    loads = (np.bincount(where, fractions * per_flow[flow]) for per_flow in (flows.share, rate))
    same = all(np.allclose(load[at], load, rtol=NEARLY, atol=0.0) for load in loads)
    return same and bool((names[at] == image).all())


def _paths_stay(flows: PlacedFlows, groups: Bools, stream: Ints, here: Bools, once: Ints) -> bool:
    """Return whether every stream of some groups has the same flows on the same paths when turned.

    stream : int[F]. here : bool[I], crossings of these groups. In whatever order: of a stream the
    hashes of its flows are added, of a flow those of its links.
    """
    chosen, links = groups[flows.owner], flows.links[here]
    odd = mix(np.round(flows.fractions[here], 12).view(np.uint64)) | np.uint64(1)
    what = label(flows.share, flows.cap)[chosen] * np.uint64(3)
    paths = np.cumsum(np.diff(flows.indptr)[chosen])
    order = np.argsort(stream[chosen], kind="stable")
    ends = np.append(np.flatnonzero(np.diff(stream[chosen][order])), len(order) - 1) + 1

    def told(on: Ints) -> npt.NDArray[np.uint64]:
        path = sums(mix(on.astype(np.uint64)) * odd, paths)
        return sums(mix(what + mix(path))[order], ends)

    return np.array_equal(told(links), told(once[links]))
