"""Everything that will ever exchange bytes in a step: ranks, groups, flows and links, as arrays.

In:  a compiled network, the programs of the pipeline ranks, the plan's groups.
Out: one `Channel` per kind of exchange (axis, operation, size), and the links that can bind.
Left out: time, classes.

A round of a collective is a pipeline: a ring's hops, a tree's edges pass on what they receive,
chunk by chunk, and an all-to-all ends with its busiest port. So the flows of a group and round are
one stream that goes at the pace of its slowest link; alone it takes exactly as long as its separate
flows. Messages whose bytes pass within a microsecond load no link: they are all latency. Pipeline
sends take the time that scale-up links give them but leave those links to the collectives: they use
a hundredth of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Bools, Floats, Ints, each_once
from rackmodel.engine.alike import Alike
from rackmodel.engine.binding import Crossing, binding_links, private_links
from rackmodel.engine.drafts import Asked, Axes, Draft, drafts_of, stages_of
from rackmodel.engine.exchanges import Key
from rackmodel.engine.orbits import Orbits, orbits_of
from rackmodel.engine.placed_flows import PlacedFlows, flow_of_incidence, rates_alone
from rackmodel.engine.streams import NOTHING_S, Streams, streams_on
from rackmodel.network import Network
from rackmodel.network.symmetry import Groups, label


class Channel(NamedTuple):
    """All groups that run one kind of exchange.

    members : int[G, n], orbits of ranks. copies : int[G], groups that each stands for. paths :
    their flows, hop by hop. streams : the same, put together, on the links of `System`. private :
    bool[G], True if no rank outside the group can slow it down. asked : by its first group.
    """

    key: Key
    members: Ints
    copies: Ints
    paths: PlacedFlows
    streams: Streams
    private: Bools
    asked: Asked

    def pace(self, slower: float = 1.0, fixed: float = 1.0) -> float:
        """Return the bytes of a collective over the time of its quickest group. [bytes/s]

        slower : time of its bytes over that of an idle network. fixed : its latency over its own.
        """
        size, alone = self.key.bytes, self.streams.alone
        moving = slower * size * np.bincount(self.streams.owner, 1.0 / alone, minlength=1)
        latency = fixed * self.paths.round_latency_s.sum(axis=1)
        seconds = float((moving + latency[: len(moving)]).min(initial=np.inf))
        return size / seconds if seconds > 0.0 else 0.0

    @property
    def sent_bytes(self) -> float:
        """Bytes that one rank sends in one exchange.

        Flows that a switch sends (in-switch reduction) count for the rank that receives them.
        """
        ranks = self.members.shape[1] if self.key.stages is None else 1
        shares = float((self.paths.share * self.copies[self.paths.owner]).sum())
        return shares * self.key.bytes / float(self.copies.sum() * ranks)


class ExchangeKind(NamedTuple):
    """One kind of exchange as it is told: pace_bytes_per_s of a collective, 0 of a send.

    crowding : by how much longer it takes while each of the others is in flight: 1 for twice.
    """

    key: Key
    algorithm: str
    pace_bytes_per_s: float
    sent_bytes: float  # by one rank in one exchange
    crowding: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Orbits of ranks and of links that can bind, and the channels that use them.

    stage : pipeline rank of each orbit of ranks. capacity, link_size : of each orbit of links, and
    its links.
    """

    orbits: Orbits
    stage: Ints
    channels: tuple[Channel, ...]
    index: dict[Key, int]
    capacity: Floats
    link_size: Ints
    conflicts: tuple[frozenset[int], ...]  # channels that share a link that can bind

    def groups(self) -> list[Groups]:
        """Return the channels as colour refinement wants them."""
        result = []
        for number, channel in enumerate(self.channels):
            streams, order = channel.streams, self.orbits.order
            stream = np.repeat(channel.copies[streams.owner], np.diff(streams.indptr))
            on_rank = channel.copies[:, None] * order // self.orbits.rank_size[channel.members]
            result.append(
                Groups(
                    members=channel.members,
                    ordered=channel.key.stages is not None,
                    group_label=label(
                        np.full(len(channel.members), number),
                        *channel.paths.round_latency_s.T,
                    ),
                    owner=streams.owner,
                    flow_label=label(
                        np.full(len(streams.owner), number), streams.round_, streams.alone
                    ),
                    indptr=streams.indptr,
                    links=streams.links,
                    weights=streams.loads,
                    on_rank=None if order == 1 else on_rank,
                    on_link=None if order == 1 else stream * order // self.link_size[streams.links],
                )
            )
        return result

    def shares(self, channel: Channel) -> Floats:
        """Return what each crossing of a stream counts for on one link of its orbit."""
        streams = channel.streams
        count = np.repeat(channel.copies[streams.owner], np.diff(streams.indptr))
        return np.asarray(count / self.link_size[streams.links], dtype=np.float64)


def exchange_kinds(system: System, slower: float) -> tuple[ExchangeKind, ...]:
    """Return what there is to tell of every channel; slower : as for `Channel.pace`."""
    return tuple(
        ExchangeKind(
            key=channel.key,
            algorithm=channel.paths.algorithm[0],
            pace_bytes_per_s=channel.pace(slower) if channel.key.stages is None else 0.0,
            sent_bytes=channel.sent_bytes,
            crowding=tuple(crowd),
        )
        for channel, crowd in zip(system.channels, _crowding(system).tolist(), strict=True)
    )


def _crowding(system: System) -> Floats:
    """Return by how much longer a collective takes beside another, [channels, channels].

    On the link where both by themselves would take most over its capacity; none beside a send.
    """
    count = len(system.channels)
    found, used = np.zeros((count, count)), dict[int, Floats]()
    for number, channel in enumerate(system.channels):
        if channel.key.stages is not None or system.conflicts[number] <= {number}:
            continue
        streams = channel.streams
        width = np.diff(streams.indptr)
        pace = np.repeat(np.where(np.isfinite(streams.alone), streams.alone, 0.0), width)
        load = streams.loads * system.shares(channel) * pace / system.capacity[streams.links]
        rounds = np.repeat(streams.round_, width)
        every = [
            np.bincount(streams.links[own], load[own], len(system.capacity))
            for own in (rounds == round_ for round_ in each_once(streams.round_))
        ]
        used[number] = np.minimum(1.0, np.max(every, axis=0))
    for one, other in ((i, j) for i in used for j in system.conflicts[i] if j in used):
        both = used[one] + used[other]
        met = (used[one] > 0) & (used[other] > 0)
        found[one, other] = max(0.0, float(both[met].max(initial=1.0)) - 1.0)
    return found


def build_system(
    network: Network,
    groups: Sequence[tuple[Key, Ints, int]],
    axes: Axes,
    accelerator_of: Ints,
    weight: Floats,
    columns: Sequence[npt.NDArray[Any]] | None = None,
) -> System:
    """Work out every group and flow of a job on a network; of what is alike, one.

    Parameters
    ----------
    groups : of `Axes.groups`.
    accelerator_of : int[R], where each rank stands. weight : float[R], ranks that each stands for.
    columns : what tells ranks apart, beside their stage and weight; None to build every group.
    """
    stage = stages_of(axes.pipeline)
    job = network, groups, axes.algorithm, accelerator_of, weight
    if columns is not None:
        rows = [members for _, members, _ in groups]
        orbits = orbits_of(network, accelerator_of, (stage, weight, *columns), rows)
        drafts = drafts_of(*job, orbits)
        if all(orbits.hold(network, draft.members, draft.parts) for draft in drafts if draft.lasts):
            return joined_system(network, stage, drafts, orbits)
    alone = Orbits.none(network, len(stage))
    return joined_system(network, stage, drafts_of(*job, alone), alone)


def joined_system(network: Network, stage: Ints, drafts: Sequence[Draft], orbits: Orbits) -> System:
    """Return everything that is exchanged; what binds follows from all flows together."""
    shared = _crossings(network, drafts, orbits)
    binding = binding_links(network, shared, orbits)
    open_link = binding & ~private_links(shared, orbits, binding)
    channels = []
    for draft in drafts:
        key, paths, lasts = draft.key, draft.flows, draft.lasts
        used = binding if lasts else np.zeros(len(binding), dtype=bool)
        if key.stages is not None:
            used = used & ~network.scale_up
        disturbed = np.zeros(len(draft.members), dtype=bool)
        if lasts:
            for part in draft.parts:
                set_, place = np.nonzero((open_link & used)[part.links])
                disturbed[part.groups[set_, part.owner[place]]] = True
        streams = streams_on(draft.streams, used, orbits.link)
        if (key.bytes / streams.alone).max(initial=0.0) < NOTHING_S:
            streams = streams._replace(alone=np.full(len(streams.alone), np.inf))
        channels.append(
            Channel(
                key=key,
                members=orbits.rank[draft.members],
                copies=draft.copies,
                paths=paths,
                streams=streams,
                private=~disturbed,
                asked=draft.asked,
            )
        )
    seen = np.zeros(len(binding), dtype=bool)
    for channel in channels:
        seen[channel.streams.links] = True
    links, place = np.flatnonzero(seen), np.cumsum(seen) - 1
    channels = [
        one._replace(streams=one.streams._replace(links=place[one.streams.links]))
        for one in channels
    ]
    return System(
        orbits=orbits,
        stage=stage[orbits.first],
        channels=tuple(channels),
        index={channel.key: i for i, channel in enumerate(channels)},
        capacity=network.capacity[links],
        link_size=orbits.link_size[links],
        conflicts=_conflicts(channels, len(links)),
    )


def _conflicts(channels: Sequence[Channel], links: int) -> tuple[frozenset[int], ...]:
    """Return, for each channel, those that use one of its links."""
    users = np.zeros((len(channels), links), dtype=bool)
    for i, channel in enumerate(channels):
        users[i, channel.streams.links] = True
    bits = np.packbits(users, axis=1)
    meet = np.array([(bits & row).any(axis=1) for row in bits]).reshape(len(bits), len(bits))
    return tuple(frozenset(np.flatnonzero(row).tolist()) for row in meet)


def _crossings(network: Network, drafts: Sequence[Draft], orbits: Orbits) -> list[Crossing]:
    """Return what crosses links for long: once where exchanges of several sizes run alike."""
    found: list[tuple[Draft, int]] = []
    for draft in drafts:
        if not draft.lasts:
            continue
        for place, (one, times) in enumerate(found):
            alike = one.flows.indptr is draft.flows.indptr
            if alike and np.array_equal(one.copies, draft.copies):
                found[place] = one, times + 1
                break
        else:
            found.append((draft, 1))
    return [
        Crossing.of(part, draft.copies, orbits, times)
        for draft, times in found
        for part in _contended(network, draft)
    ]


def _contended(network: Network, draft: Draft) -> tuple[Alike, ...]:
    """Return the flows with the links that they compete for: sends only for those of the fabric."""
    flows = draft.flows
    if draft.key.stages is None:
        return draft.parts
    keep = ~network.scale_up[flows.links]
    width = np.bincount(flow_of_incidence(flows)[keep], minlength=len(flows.owner))
    fewer = flows._replace(
        links=flows.links[keep],
        fractions=flows.fractions[keep],
        indptr=np.concatenate([[0], np.cumsum(width)]).astype(np.int64),
    )
    return (Alike.alone(fewer, rates_alone(flows, network.capacity)),)
