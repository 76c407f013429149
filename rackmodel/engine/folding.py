"""Which ranks, groups, flows and links do the same, so that each kind is simulated once.

In:  the system as arrays: the program of each rank, the members of each group, the links of each
     flow.
Out: a class for every rank, group, flow and link (an equitable partition), coarse enough to be
     small and fine enough to be exact.
Left out: time. Colours are worked out once, over all flows that will ever exist, before the clock
     starts.

Colour refinement (1-WL): a group learns the colours of its members and flows, a link those of its
flows, a flow those of its links and its group, a rank those of its groups, until nothing new is
learnt. Max-min rates are unique, so elements of one class have the same rates, and by induction the
same times. A collective is a star: ring order stays out of the colours of ranks, else every
distance from an irregularity would be a class of its own. Source: Grohe, Kersting, Mladenov,
Selman, "Dimension reduction via colour refinement", ESA 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Colours = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_THREE = np.uint64(3)

MANY = 20_000  # numbers beyond which hashing beats sorting


def distinct(numbers: Ints) -> tuple[Ints, Ints]:
    """Return what numpy's `unique` does with `return_inverse`; of many numbers by hashing them.

    >>> [found.tolist() for found in distinct(np.array([7, 3, 7]))]
    [[3, 7], [1, 0, 1]]
    """
    if len(numbers) < MANY:
        found, where = np.unique(numbers, return_inverse=True)
        return found, where.reshape(-1)
    import pandas as pd

    codes, met = pd.factorize(numbers)
    order = np.argsort(met)
    rank = np.empty(len(met), dtype=np.int64)
    rank[order] = np.arange(len(met))
    return np.asarray(met)[order], rank[codes]


def mix(value: Colours) -> Colours:
    """Scatter 64-bit integers (splitmix64), so that sums of them stand for multisets."""
    value = value + _ODD
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Colours = value ^ (value >> np.uint64(31))
    return mixed


def label(*columns: npt.NDArray[np.float64] | Ints) -> Colours:
    """One 64-bit label per row; equal rows, and practically only they, have equal labels."""
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        bits = np.ascontiguousarray(column).astype(np.float64).view(np.uint64)
        total = mix(total * _THREE + mix(bits))
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """All groups that run one kind of exchange, with the flows of each.

    members : int[G, n], ranks. `ordered` if the places differ (sender, receiver).
    group_label : uint64[G]. owner : int[F], the group of each flow, ascending. flow_label :
        uint64[F].
    indptr, links, weights : the links of each flow, with the fraction of it that crosses each.
    """

    members: Ints
    ordered: bool
    group_label: Colours
    owner: Ints
    flow_label: Colours
    indptr: Ints
    links: Ints
    weights: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Class numbers, from 0 in each array, by first appearance."""

    rank: Ints
    link: Ints
    group: tuple[Ints, ...]  # one array per Groups
    flow: tuple[Ints, ...]
    rounds: int


def trivial_partition(ranks: int, links: int, systems: Sequence[Groups]) -> Partition:
    """Every element is a class of its own: what `fold=False` simulates."""
    return Partition(
        rank=np.arange(ranks),
        link=np.arange(links),
        group=tuple(np.arange(len(g.members)) for g in systems),
        flow=tuple(np.arange(len(g.owner)) for g in systems),
        rounds=0,
    )


def refine(rank: Colours, link: Colours, systems: Sequence[Groups]) -> Partition:
    """Return the coarsest equitable partition that respects the given colours.

    rank : uint64[R], what tells ranks apart from the start (program, speed).
    link : uint64[L], likewise (capacity).
    """
    wired = [_Wiring.of(g) for g in systems]
    group = [g.group_label for g in systems]
    flow = [g.flow_label for g in systems]
    counts: tuple[int, ...] = ()
    rounds = 0
    while True:
        now = tuple(len(np.unique(c)) for c in (rank, link, *group, *flow))
        if now == counts:
            break
        counts, rounds = now, rounds + 1
        group = [
            mix(group[i] * _THREE + w.members_sum(rank) + w.flows_sum(flow[i]))
            for i, w in enumerate(wired)
        ]
        crossing = np.zeros(len(link), dtype=np.uint64)
        for i, w in enumerate(wired):
            w.add_to_links(crossing, flow[i])
        link = mix(link * _THREE + crossing)
        mixed = mix(link)
        flow = [
            mix(flow[i] * _THREE + w.path_sum(mixed) + mix(group[i])[w.groups.owner])
            for i, w in enumerate(wired)
        ]
        slots = np.zeros(len(rank), dtype=np.uint64)
        for i, w in enumerate(wired):
            w.add_to_ranks(slots, group[i])
        rank = mix(rank * _THREE + slots)
    return Partition(
        rank=_dense(rank),
        link=_dense(link),
        group=tuple(_dense(c) for c in group),
        flow=tuple(_dense(c) for c in flow),
        rounds=rounds,
    )


def _dense(colours: Colours) -> Ints:
    import pandas as pd

    return pd.factorize(colours)[0].astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Wiring:
    """The incidences of one `Groups`, sorted both ways."""

    groups: Groups
    place: Colours  # one odd factor per place in an ordered group
    odd: Colours  # one odd factor per fraction
    by_link: Ints  # incidences sorted by link
    link_starts: Ints
    link_ids: Ints
    flow_of: Ints  # flow of each incidence
    group_starts: Ints

    @classmethod
    def of(cls, groups: Groups) -> _Wiring:
        flow_of = np.repeat(np.arange(len(groups.owner)), np.diff(groups.indptr))
        by_link = np.argsort(groups.links, kind="stable")
        sorted_links = groups.links[by_link]
        link_ids, link_starts = np.unique(sorted_links, return_index=True)
        places = groups.members.shape[1] if groups.ordered else 1
        return cls(
            groups,
            mix(np.arange(places, dtype=np.uint64)) | np.uint64(1),
            mix(np.round(groups.weights, 12).view(np.uint64)) | np.uint64(1),
            by_link,
            link_starts.astype(np.int64),
            link_ids,
            flow_of,
            np.searchsorted(groups.owner, np.arange(len(groups.members))),
        )

    def members_sum(self, rank: Colours) -> Colours:
        mixed = mix(rank)[self.groups.members]
        if self.groups.ordered:
            mixed = mixed * self.place
        total: Colours = mixed.sum(axis=1, dtype=np.uint64)
        return total

    def flows_sum(self, flow: Colours) -> Colours:
        if not len(flow):
            return np.zeros(len(self.groups.members), dtype=np.uint64)
        ends = np.append(self.group_starts, len(flow))
        running = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(mix(flow))])
        total: Colours = running[ends[1:]] - running[ends[:-1]]
        return total

    def add_to_links(self, crossing: Colours, flow: Colours) -> None:
        if len(self.by_link):
            spread = (mix(flow)[self.flow_of] * self.odd)[self.by_link]
            crossing[self.link_ids] += np.add.reduceat(spread, self.link_starts)

    def path_sum(self, mixed_links: Colours) -> Colours:
        spread = mixed_links[self.groups.links] * self.odd
        running = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(spread)])
        total: Colours = running[self.groups.indptr[1:]] - running[self.groups.indptr[:-1]]
        return total

    def add_to_ranks(self, slots: Colours, group: Colours) -> None:
        told = mix(
            mix(group)[:, None] * (self.place if self.groups.ordered else np.ones(1, np.uint64))
        )
        np.add.at(slots, self.groups.members, np.broadcast_to(told, self.groups.members.shape))
