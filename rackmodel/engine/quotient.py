"""The folded system: one rank, group, flow and link for each class.

In:  the system as arrays and a partition of it.
Out: tables that the simulation reads: who meets whom, which flow classes a meeting sends, how much
     each flow class puts on a link class.
Left out: time. With the trivial partition this is the whole system, class by class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Ints, distinct, each_once, kinds_of
from rackmodel.engine.system import Channel, System
from rackmodel.network.symmetry import Partition


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeetingKind:
    """What happens when the members of one class of groups meet.

    members : distinct rank classes. rounds : per round, (flow class, bytes) of each flow class.
    round_latency_s : time added after each round. private : nobody else can slow it down.
    """

    channel: int
    index: int  # among the meetings of the channel
    members: tuple[int, ...]
    rounds: tuple[tuple[tuple[int, float], ...], ...]
    round_latency_s: tuple[float, ...]
    private: bool
    algorithm: str


class Quotient(NamedTuple):
    """The tables of the folded system.

    first_rank : one rank of each class. meetings : per channel, one kind per class of groups.
    joined : per channel and rank class, the meeting kind that it joins; for a send as the sender.
    received : likewise as the receiver of a send. loads, capacity, cap : see `FluidNetwork`.
    """

    first_rank: Ints
    meetings: tuple[tuple[MeetingKind, ...], ...]
    joined: tuple[dict[int, int], ...]
    received: tuple[dict[int, int], ...]
    loads: list[list[tuple[int, float]]]
    capacity: list[float]
    cap: list[float]
    axis: tuple[str, ...]  # per channel

    def kind_of(self, channel: int, number: int) -> MeetingKind:
        """Return what happens where a rank class joins a channel."""
        return self.meetings[channel][self.joined[channel][number]]


def fold(system: System, partition: Partition) -> Quotient:
    """Build the tables of `system` under `partition`."""
    ranks = partition.rank
    first_rank, first_link = kinds_of(ranks)[0], kinds_of(partition.link)[0]
    loads: list[list[tuple[int, float]]] = []
    cap: list[float] = []
    meetings: list[tuple[MeetingKind, ...]] = []
    joined: list[dict[int, int]] = []
    received: list[dict[int, int]] = []
    for number, channel in enumerate(system.channels):
        flow_class = partition.flow[number]
        offset = len(loads)
        count = int(flow_class.max()) + 1 if len(flow_class) else 0
        share = system.shares(channel)
        loads.extend(_loads(channel, share, flow_class, count, first_link, partition.link))
        first_flow = kinds_of(flow_class)[0]
        cap.extend(float(rate) for rate in channel.streams.alone[first_flow])
        group_class = partition.group[number]
        first_group = kinds_of(group_class)[0]
        starts = np.searchsorted(channel.streams.owner, np.arange(len(channel.members) + 1))
        meetings.append(
            tuple(
                _meeting(number, index, channel, int(g), starts, flow_class, offset, ranks)
                for index, g in enumerate(first_group)
            )
        )
        if channel.key.stages is None:
            joined.append(_joins(ranks, channel.members, group_class))
            received.append({})
        else:
            joined.append(_joins(ranks, channel.members[:, :1], group_class))
            received.append(_joins(ranks, channel.members[:, 1:], group_class))
    return Quotient(
        first_rank=first_rank,
        meetings=tuple(meetings),
        joined=tuple(joined),
        received=tuple(received),
        loads=loads,
        capacity=[float(c) for c in system.capacity[first_link]],
        cap=cap,
        axis=tuple(channel.key.axis for channel in system.channels),
    )


def _joins(ranks: Ints, members: Ints, group_class: Ints) -> dict[int, int]:
    groups = int(group_class.max(initial=0)) + 1
    pairs = each_once(ranks[members] * groups + group_class[:, None])
    return {pair // groups: pair % groups for pair in pairs.tolist()}


def _loads(
    channel: Channel,
    share: npt.NDArray[np.float64],
    flow_class: Ints,
    count: int,
    first_link: Ints,
    link_class: Ints,
) -> list[list[tuple[int, float]]]:
    """Return what all flows of each class put on the representative of each link class.

    share : what each crossing counts for on one link of its orbit.
    """
    streams = channel.streams
    stream = np.repeat(np.arange(len(streams.owner)), np.diff(streams.indptr))
    chosen = np.zeros(len(link_class), dtype=bool)
    chosen[first_link] = True
    on = chosen[streams.links]
    key = flow_class[stream[on]] * len(first_link) + link_class[streams.links[on]]
    pairs, where = distinct(key)
    weight = np.bincount(where, weights=(streams.loads * share)[on], minlength=len(pairs))
    result: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for pair, w in zip(pairs, weight, strict=True):
        result[int(pair) // len(first_link)].append((int(pair) % len(first_link), float(w)))
    return result


def _meeting(
    number: int,
    index: int,
    channel: Channel,
    group: int,
    starts: Ints,
    flow_class: Ints,
    offset: int,
    ranks: Ints,
) -> MeetingKind:
    streams, paths = channel.streams, channel.paths
    rounds: list[list[tuple[int, float]]] = [[] for _ in range(paths.round_latency_s.shape[1])]
    for row in range(int(starts[group]), int(starts[group + 1])):
        kind = offset + int(flow_class[row])
        rounds[int(streams.round_[row])].append((kind, channel.key.bytes))
    return MeetingKind(
        channel=number,
        index=index,
        members=tuple(sorted({int(r) for r in ranks[channel.members[group]]})),
        rounds=tuple(tuple(flows) for flows in rounds),
        round_latency_s=tuple(float(x) for x in paths.round_latency_s[group]),
        private=bool(channel.private[group]),
        algorithm=paths.algorithm[group],
    )
