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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rackmodel.engine.binding import (
    binding_links,
    flow_of_incidence,
    private_links,
    rates_alone,
)
from rackmodel.engine.groups import AcceleratorTree, PlacedFlows, flows_of_groups
from rackmodel.engine.streams import Streams, streams_on, streams_together
from rackmodel.network import Network, Pattern, pattern, quickest
from rackmodel.network.symmetry import Groups, label
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Operation,
    Program,
    Recv,
    Segment,
    Send,
    Transfer,
    Wait,
)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NOTHING_S = 1e-9  # a few bytes: their passing takes no time beside their latency
IDLE = (Compute, Wait, Recv)  # exchange nothing, or what the sender's end tells
BRIEF_S = 1e-6  # bytes that pass more quickly are lost in the latency of any message


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What tells one kind of exchange from another."""

    op: str
    axis: str  # for a send: "pp", with the two pipeline ranks
    bytes: float
    stages: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """All groups that run one kind of exchange.

    members : int[G, n], ranks. paths : their flows, hop by hop. streams : the same, put together.
    private : bool[G], True if no rank outside the group can slow it down.
    """

    key: Key
    members: Ints
    paths: PlacedFlows
    streams: Streams
    private: Bools

    def pace(self, slower: float = 1.0) -> float:
        """Return the bytes of a collective over the time of its quickest group. [bytes/s]

        slower : time of its bytes over that of an idle network.
        """
        size, alone = self.key.bytes, self.streams.alone
        moving = slower * size * np.bincount(self.streams.owner, 1.0 / alone, minlength=1)
        latency = self.paths.round_latency_s.sum(axis=1)
        seconds = float((moving + latency[: len(moving)]).min(initial=np.inf))
        return size / seconds if seconds > 0.0 else 0.0

    @property
    def sent_bytes(self) -> float:
        """Bytes that one rank sends in one exchange.

        Flows that a switch sends (in-switch reduction) count for the rank that receives them.
        """
        ranks = self.members.size if self.key.stages is None else len(self.members)
        return float(self.paths.share.sum()) * self.key.bytes / ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeKind:
    """One kind of exchange as it is told: pace_bytes_per_s of a collective, 0 of a send."""

    key: Key
    algorithm: str
    pace_bytes_per_s: float
    sent_bytes: float  # by one rank in one exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Ranks, channels and the capacities of the links that they share."""

    stage: Ints  # pipeline rank of each rank
    channels: tuple[Channel, ...]
    index: dict[Key, int]
    capacity: Floats
    conflicts: tuple[frozenset[int], ...]  # channels that share a link that can bind

    def groups(self) -> list[Groups]:
        """Return the channels as colour refinement wants them."""
        result = []
        for number, channel in enumerate(self.channels):
            streams = channel.streams
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
                )
            )
        return result


def exchange_kinds(system: System, slower: float) -> tuple[ExchangeKind, ...]:
    """Return what there is to tell of every channel; slower : as for `Channel.pace`."""
    return tuple(
        ExchangeKind(
            key=channel.key,
            algorithm=channel.paths.algorithm[0],
            pace_bytes_per_s=channel.pace(slower) if channel.key.stages is None else 0.0,
            sent_bytes=channel.sent_bytes,
        )
        for channel in system.channels
    )


def exchanges(programs: Sequence[Program]) -> dict[Key, Bools]:
    """Return every kind of exchange, with the pipeline ranks that take part in it (bool[pp])."""
    used_by: dict[Key, Bools] = {}
    inside: dict[int, dict[Key, None]] = {}  # by id of a segment whose exchanges name no stage
    for program in programs:
        stage = program.pipeline_rank
        known: set[tuple[type[object], int, float]] = set()  # kinds of transfers of this rank
        for item in {item.id: item for item in program.items}.values():
            if isinstance(item, Transfer):  # most items, of very few kinds
                way = type(item), item.peer, item.bytes
                if way in known:
                    continue
                known.add(way)
            keys = inside.get(item.id)
            if keys is None:
                operations = item.operations if isinstance(item, Segment) else (item,)
                found = {key_of(one, stage): None for one in operations if type(one) not in IDLE}
                keys = {key: None for key in found if key is not None}
                if isinstance(item, Segment) and all(key.stages is None for key in keys):
                    inside[item.id] = keys
            for key in keys:
                if key not in used_by:
                    used_by[key] = np.zeros(len(programs), dtype=bool)
                used_by[key][stage] = True
    return used_by


def key_of(operation: Operation, stage: int) -> Key | None:
    """Return the kind of exchange that an operation of pipeline rank `stage` takes part in."""
    match operation:
        case Collective():
            return Key(op=operation.op, axis=operation.axis, bytes=operation.bytes)
        case Send():
            ends = (stage, operation.peer)
        case Recv():
            ends = (operation.peer, stage)
        case _:
            return None
    return Key(op="send", axis="pp", bytes=operation.bytes, stages=ends)


Draft: TypeAlias = tuple[Key, Ints, PlacedFlows]  # of a channel: its key, groups, their flows


def build_system(
    network: Network,
    programs: Sequence[Program],
    *,
    pipeline: Ints,
    axis_members: Callable[[str], Ints],
    true_size: Callable[[str], int],
    algorithm_of: Callable[[str, str], str | Sequence[str] | None] = lambda op, axis: None,
    accelerator_of: Ints,
    weight: Floats,
) -> System:
    """Work out every group and flow of a job on a network.

    Parameters
    ----------
    pipeline : int[R / pp, pp], the ranks of each pipeline in stage order.
    axis_members : the groups of an axis, int[groups, size]. true_size : members in the whole
        machine.
    algorithm_of : of an operation along an axis, or several, of which the quickest runs; None for
        what the library would choose.
    accelerator_of : int[R], where each rank stands. weight : float[R], ranks that each stands for.
    """
    drafts = drafts_of(
        network,
        programs,
        pipeline=pipeline,
        axis_members=axis_members,
        true_size=true_size,
        algorithm_of=algorithm_of,
        accelerator_of=accelerator_of,
        weight=weight,
    )
    return joined_system(network, stages_of(pipeline), drafts)


def stages_of(pipeline: Ints) -> Ints:
    """Return the pipeline rank of each rank."""
    stage = np.empty(pipeline.size, dtype=np.int64)
    stage[pipeline] = np.arange(pipeline.shape[1])
    return stage


def drafts_of(
    network: Network,
    programs: Sequence[Program],
    *,
    pipeline: Ints,
    axis_members: Callable[[str], Ints],
    true_size: Callable[[str], int],
    algorithm_of: Callable[[str, str], str | Sequence[str] | None],
    accelerator_of: Ints,
    weight: Floats,
) -> list[Draft]:
    """Work out the groups and flows of one job; words as in `build_system`."""
    stage = stages_of(pipeline)
    tree = AcceleratorTree.of(network)
    weight_at = np.ones(len(network.accelerator_nodes))
    weight_at[accelerator_of] = weight
    drafts: list[Draft] = []
    for key, used in exchanges(programs).items():
        if key.stages is not None:
            members, true = pipeline[:, list(key.stages)], 2
        else:
            members, true = axis_members(key.axis), true_size(key.axis)
            members = members[used[stage[members]].all(axis=1)]
        if members.shape[1] < 2 or not len(members) or key.bytes <= 0:
            continue

        def pattern_of(row: list[int], key: Key = key, true: int = true) -> Pattern:
            op = "send" if key.stages is not None else key.op
            # a group that is whole lies where it lies, however many others it stands for
            whole = true == len(row)
            stand_for = np.ones(len(row)) if whole else weight_at[row]
            domains = _true_domains(network.domain_of[row], stand_for)
            size = stand_for if not whole and round(stand_for.sum()) == true else true
            sizes: dict[str, Any] = {"true_size": size, "true_domains": domains}
            named = algorithm_of(op, key.axis)
            if named is None or isinstance(named, str):
                return pattern(network, op, row, key.bytes, algorithm=named, **sizes)
            return quickest(network, op, row, key.bytes, named, **sizes)

        drafts.append((key, members, flows_of_groups(tree, accelerator_of[members], pattern_of)))
    return drafts


def _true_domains(domain: Ints, weight: Floats) -> int:
    """Count the domains that the members of a group lie in, in the whole machine.

    A domain stands for as many as its members do; where the stretch of replicas that stands for
    others begins or ends inside a domain, the two parts make one.
    """
    _, where, count = np.unique(domain, return_inverse=True, return_counts=True)
    return max(1, round(float((weight / count[where.reshape(-1)]).sum())))


def joined_system(network: Network, stage: Ints, drafts: Sequence[Draft]) -> System:
    """Return everything that is exchanged; what binds follows from all flows together."""
    links = len(network.capacity)
    same: list[PlacedFlows] = []  # as placed: flows that are alike carry bytes of several sizes
    for _, _, flows in drafts:
        same.append(next((one for one in same if one.indptr is flows.indptr), flows))
    rates = {one: rates_alone(one, network.capacity) for one in dict.fromkeys(same)}
    joint = {one: streams_together(one, rate, network.capacity) for one, rate in rates.items()}
    alone, streams_of = [rates[one] for one in same], [joint[one] for one in same]
    lasting = [
        bool((key.bytes / streams.alone).max(initial=0.0) > BRIEF_S)
        for (key, _, _), streams in zip(drafts, streams_of, strict=True)
    ]
    contended = [_contended(network, key, flows) for key, _, flows in drafts]
    shared = [flows for flows, lasts in zip(contended, lasting, strict=True) if lasts]
    binding = binding_links(
        network, shared, [rate for rate, lasts in zip(alone, lasting, strict=True) if lasts]
    )
    open_link = ~private_links(shared, links) & binding
    channels = []
    for (key, members, paths), every, lasts in zip(drafts, streams_of, lasting, strict=True):
        used = binding if lasts else np.zeros(links, dtype=bool)
        if key.stages is not None:
            used = used & ~network.scale_up
        disturbed = np.zeros(len(members), dtype=bool)
        if lasts:
            disturbed[paths.owner[flow_of_incidence(paths)][(open_link & used)[paths.links]]] = True
        streams = streams_on(every, used)
        if (key.bytes / streams.alone).max(initial=0.0) < NOTHING_S:
            streams = replace(streams, alone=np.full(len(streams.alone), np.inf))
        channels.append(
            Channel(key=key, members=members, paths=paths, streams=streams, private=~disturbed)
        )
    users = np.zeros((len(channels), links), dtype=bool)
    for i, channel in enumerate(channels):
        users[i, channel.streams.links] = True
    bits = np.packbits(users[:, users.any(axis=0)], axis=1)
    meet = np.array([(bits & row).any(axis=1) for row in bits]).reshape(len(bits), len(bits))
    return System(
        stage=stage,
        channels=tuple(channels),
        index={channel.key: i for i, channel in enumerate(channels)},
        capacity=network.capacity,
        conflicts=tuple(frozenset(np.flatnonzero(row).tolist()) for row in meet),
    )


def _contended(network: Network, key: Key, flows: PlacedFlows) -> PlacedFlows:
    """Return the flows with the links that they compete for: sends only for those of the fabric."""
    if key.stages is None:
        return flows
    keep = ~network.scale_up[flows.links]
    width = np.bincount(flow_of_incidence(flows)[keep], minlength=len(flows.owner))
    return replace(
        flows,
        links=flows.links[keep],
        fractions=flows.fractions[keep],
        indptr=np.concatenate([[0], np.cumsum(width)]).astype(np.int64),
    )
