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

A stand-in is a smaller machine with the same answers. A machine of equal pods repeats with a period
that arithmetic gives; what is left over stays whole. Each formula (2 (n - 1) / n, steps of latency)
keeps the true number of members, so what a stand-in has to show is the loads of links: of the ends,
of a period between them, which is like all others there, and of every place that a hop of a ring or
a tree can have in a period.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Bools, Floats, Ints, each_once, kinds_of
from rackmodel.network.arrays import Arrays, node_places

Colours = npt.NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_THREE = np.uint64(3)
_SPLITMIX = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)

PERIODS = 3  # of a stand-in: one at each end, and one between that stands for all the others
# A collective by itself has no ranks between the ends whose time has to be told apart, and the
# first and last of two periods are joined as any others are.
COLLECTIVE_PERIODS = 2
# Eight domains hold every place that a tree over any number of them has, so the fullest link is
# among theirs: enough for the time of a collective. In a step every link counts, with the number of
# those that it stands for, and over fewer than 24 domains links of trees are loaded in other
# proportions than over many. A collective takes the smaller number because it is quicker.
COLLECTIVE_DOMAINS = 8
STEP_DOMAINS = 24
MOST_ALIGNED = 4096  # accelerators that are kept so that a tree begins at every place of a pod


def mix(value: Colours) -> Colours:
    """Scatter 64-bit integers (splitmix64), so that sums of them stand for multisets."""
    mixed: Colours = value + _ODD
    for shift, factor in _SPLITMIX:
        mixed ^= mixed >> shift
        mixed *= factor
    mixed ^= mixed >> np.uint64(31)
    return mixed


def label(*columns: Floats | Ints | Bools) -> Colours:
    """One 64-bit label per row; equal rows, and practically only they, have equal labels."""
    total = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        bits = np.ascontiguousarray(column).astype(np.float64).view(np.uint64)
        total = mix(total * _THREE + mix(bits))
    return total


def sums(values: Colours, ends: Ints) -> Colours:
    """Return the sums of stretches that end before these places, modulo 2^64."""
    until = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(values)])
    return np.diff(until[ends], prepend=np.uint64(0))


class Groups(NamedTuple):
    """All groups that run one kind of exchange, with the flows of each.

    members : int[G, n], ranks. `ordered` if the places differ (sender, receiver).
    group_label : uint64[G]. owner : int[F], the group of each flow, ascending. flow_label :
        uint64[F].
    indptr, links, weights : the links of each flow, with the fraction of it that crosses each.
    on_rank, on_link : where groups, ranks and links stand for others, how often each place in a
        group, and each crossing of a link, is met by one of the ranks or links of its orbit, times
        one factor for all; None for once each.
    """

    members: Ints
    ordered: bool
    group_label: Colours
    owner: Ints
    flow_label: Colours
    indptr: Ints
    links: Ints
    weights: Floats
    on_rank: Ints | None = None  # int[G, n]
    on_link: Ints | None = None  # int, for each of `links`


class Partition(NamedTuple):
    """Class numbers, from 0 in each array, by first appearance."""

    rank: Ints
    link: Ints
    group: tuple[Ints, ...]  # one array per Groups
    flow: tuple[Ints, ...]


def pairs_of(first: Ints, second: Ints, labels: Colours) -> Groups:
    """Return directed pairs of ranks (or nodes) as groups of two that exchange nothing."""
    none = np.zeros(0, dtype=np.int64)
    return Groups(
        members=np.stack([first, second], axis=1),
        ordered=True,
        group_label=labels,
        owner=none,
        flow_label=none.astype(np.uint64),
        indptr=np.zeros(1, dtype=np.int64),
        links=none,
        weights=np.zeros(0),
    )


def trivial_partition(ranks: int, links: int, systems: Sequence[Groups]) -> Partition:
    """Every element is a class of its own: what `fold=False` simulates."""
    return Partition(
        rank=np.arange(ranks),
        link=np.arange(links),
        group=tuple(np.arange(len(g.members)) for g in systems),
        flow=tuple(np.arange(len(g.owner)) for g in systems),
    )


def refine(rank: Colours, link: Colours, systems: Sequence[Groups]) -> Partition:
    """Return the coarsest equitable partition that respects the given colours.

    rank : uint64[R], what tells ranks apart from the start (program, speed).
    link : uint64[L], likewise (capacity).
    """
    if not systems:
        return Partition(_dense(rank), _dense(link), (), ())
    w = _Wiring.of(systems)
    group = np.concatenate([g.group_label for g in systems])
    flow = np.concatenate([g.flow_label for g in systems])
    counts: tuple[int, ...] = ()
    while (now := tuple(len(each_once(c)) for c in (rank, link, group, flow))) != counts:
        counts, mixed = now, mix(flow)
        members, flows = mix(rank)[w.members] * w.place, sums(mixed, w.flow_ends)
        group = mix(group * _THREE + sums(members, w.member_ends) + flows)
        crossing, slots = (np.zeros(len(c), dtype=np.uint64) for c in (link, rank))
        np.add.at(crossing, w.links, mixed[w.flow_of] * w.on_link)
        link = mix(link * _THREE + crossing)
        path, mixed = sums(mix(link)[w.links] * w.odd, w.path_ends), mix(group)
        flow = mix(flow * _THREE + path + mixed[w.owner])
        np.add.at(slots, w.members, mix(mixed[w.group_of] * w.place) * w.on_rank)
        rank = mix(rank * _THREE + slots)
    ends = np.cumsum([(len(g.group_label), len(g.flow_label)) for g in systems], axis=0)[:-1]
    group_of, flow_of = (
        tuple(map(_dense, np.split(colour, ends[:, column])))
        for column, colour in enumerate((group, flow))
    )
    return Partition(_dense(rank), _dense(link), group_of, flow_of)


def _dense(colours: Colours) -> Ints:
    """Number colours by first appearance."""
    first, where = kinds_of(colours)
    return np.argsort(np.argsort(first))[where]


class _Wiring(NamedTuple):
    """Who is in which group and what crosses which link, of all `Groups` one after another."""

    members: Ints
    group_of: Ints  # of each member
    place: Colours  # of each member: one odd factor per place in an ordered group
    on_rank: Colours
    member_ends: Ints  # of each group
    owner: Ints
    flow_ends: Ints  # of each group
    links: Ints
    flow_of: Ints  # of each crossing
    odd: Colours  # of each crossing: one odd factor per fraction
    on_link: Colours  # the same times how often it is met
    path_ends: Ints  # of each flow

    @classmethod
    def of(cls, systems: Sequence[Groups]) -> "_Wiring":
        one = np.ones((), dtype=np.uint64)
        owner, places, on_rank, on_link = [], [], [], []
        groups = 0
        for g in systems:
            owner.append(g.owner + groups)
            groups += len(g.members)
            place = np.arange(g.members.shape[1] if g.ordered else 1, dtype=np.uint64)
            places.append(np.broadcast_to(mix(place) | one, g.members.shape).ravel())
            often = one if g.on_rank is None else g.on_rank.astype(np.uint64)
            on_rank.append(np.broadcast_to(often, g.members.shape).ravel())
            often = one if g.on_link is None else g.on_link.astype(np.uint64)
            on_link.append(np.broadcast_to(often, g.links.shape))
        each = np.repeat([g.members.shape[1] for g in systems], [len(g.members) for g in systems])
        width = np.concatenate([np.diff(g.indptr) for g in systems])
        owners, weights = np.concatenate(owner), np.concatenate([g.weights for g in systems])
        odd = mix(np.round(weights, 12).view(np.uint64)) | one
        return cls(
            members=np.concatenate([g.members.ravel() for g in systems]),
            group_of=np.repeat(np.arange(groups), each),
            place=np.concatenate(places),
            on_rank=np.concatenate(on_rank),
            member_ends=np.cumsum(each),
            owner=owners,
            flow_ends=np.searchsorted(owners, np.arange(groups), side="right"),
            links=np.concatenate([g.links for g in systems]),
            flow_of=np.repeat(np.arange(len(owners)), width),
            odd=odd,
            on_link=odd * np.concatenate(on_link),
            path_ends=np.cumsum(width),
        )


def colours(network: Arrays, marked: Bools, *, stars: bool = False) -> tuple[Ints, Ints]:
    """Colour nodes and links so that equal ones have equal surroundings.

    marked : bool[N], tells members from other nodes.
    stars : the links of a scale-up domain are as if they were not there, and its accelerators are
        joined to one hub; for traffic between domains where those inside are all alike.

    Returns int[N] and int[L], from 0; without its links a domain's links share a colour.
    """
    size = len(network.nodes)
    kinds = np.unique(np.array(network.node_kinds), return_inverse=True)[1].reshape(-1)
    node = label(kinds, marked)
    facts = label(network.capacity, network.latency_s, network.scale_up, _axes(network))
    use = ~network.scale_up if stars else np.ones(len(network.tail), dtype=bool)
    systems = [pairs_of(network.tail[use], network.head[use], facts[use])]
    if stars:
        hubs = np.arange(int(network.domain_of.max()) + 1)
        node = np.append(node, label(np.full(len(hubs), -1.0)))
        joined = label(np.zeros(len(network.domain_of)))
        systems.append(pairs_of(network.accelerator_nodes, size + network.domain_of, joined))
    found = refine(node, np.zeros(0, dtype=np.uint64), systems)
    colour = np.zeros(len(network.tail), dtype=np.int64)
    colour[use] = found.group[0] + stars
    return found.rank[:size], colour


def _axes(network: Arrays) -> Ints:
    """Return the dimension of a torus that each link runs along, -1 for other links."""
    axes = np.full(len(network.tail), -1, dtype=np.int64)
    if network.position is None:
        return axes
    place = node_places(network)
    differ = place[network.tail] != place[network.head]
    straight = differ.sum(axis=1) == 1
    axes[straight] = differ[straight].argmax(axis=1)
    return axes


def stand_in(
    size: int, period: int, domain: int | None = None, periods: int = COLLECTIVE_PERIODS
) -> int:
    """Return how many accelerators show the same as `size`: the remainder and a few periods.

    At least `periods` are kept, and eight scale-up domains (of `domain` accelerators): those hold
    every place that a tree over any number of them has. An even number of periods is left out,
    since even and odd numbers of domains have different trees. Which of a tree's hops leave a pod
    depends on where it begins, modulo a power of two; all such places are kept if `MOST_ALIGNED`
    accelerators hold them. Larger pods of an odd number of domains rely on uplinks that let through
    what the NICs below them send.

    >>> stand_in(1_000_080, 72), stand_in(1_000_080, 576, 72), stand_in(100, 72)
    (576, 1296, 100)
    >>> stand_in(1_000, 12, 4)  # pods of three domains
    112
    """
    whole = size // period
    each = max(1, period // (domain or period))  # domains of a period
    kept = max(periods, math.ceil(COLLECTIVE_DOMAINS / each))
    wide = 2 << (each - 1).bit_length()  # hops of this many domains and more leave any pod
    places = wide // math.gcd(wide, each)
    if each > 1 and places * period <= MOST_ALIGNED:
        kept = max(kept, places)
    kept += (whole - kept) % 2
    return min(size, size % period + kept * period)
