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

Links that can't bind are dropped: either the flows that cross them can't fill them even if each ran
as fast as it does alone, or the links next to the accelerators let through too little. Both are
bounds, so the rates stay exact. Source: the feasible region of max-min fairness is unchanged by a
constraint that the others imply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rackmodel.engine.folding import Groups, distinct, label
from rackmodel.engine.group_flows import PlacedFlows, Places, place
from rackmodel.network import Network, Pattern, pattern
from rackmodel.topology.kinds import Kind
from rackmodel.workload.operations import Collective, Operation, Program, Segment, Send

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NEAR = (Kind.ACCELERATOR, Kind.NIC)  # kinds of nodes whose links are gates to the rest
NOTHING_S = 1e-9  # a few bytes: their passing takes no time beside their latency
BRIEF_S = 1e-6  # bytes that pass more quickly are lost in the latency of any message
SLACK = 1 + 1e-9  # two sums of the same rates may differ in their last bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What tells one kind of exchange from another."""

    op: str
    axis: str  # for a send: "pp", with the two pipeline ranks
    bytes: float
    stages: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The flows of each group and round as one stream, S in all, in ascending order of their group.

    owner, round_ : int[S]. indptr, links, loads : CSR from streams to the links that can bind, with
    the bytes that cross each per byte of the collective. alone : bytes of the collective per second
    that the stream reaches at most.
    """

    owner: Ints
    round_: Ints
    indptr: Ints
    links: Ints
    loads: Floats
    alone: Floats


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


def exchanges(programs: Sequence[Program]) -> dict[Key, Bools]:
    """Return every kind of exchange, with the pipeline ranks that take part in it (bool[pp])."""
    found: dict[Key, Bools] = {}
    for program in programs:
        for operation in _distinct(program):
            key = key_of(operation, program.pipeline_rank)
            if key is not None:
                used = found.setdefault(key, np.zeros(len(programs), dtype=bool))
                used[program.pipeline_rank] = True
    return found


def key_of(operation: Operation, stage: int) -> Key | None:
    """Return the kind of exchange that an operation of pipeline rank `stage` begins, or None."""
    match operation:
        case Collective():
            return Key(op=operation.op, axis=operation.axis, bytes=operation.bytes)
        case Send():
            return Key(op="send", axis="pp", bytes=operation.bytes, stages=(stage, operation.peer))
    return None


def _distinct(program: Program) -> Iterator[Operation]:
    seen: set[int] = set()
    for item in program.items:
        if isinstance(item, Segment):
            if item.id not in seen:
                seen.add(item.id)
                yield from item.operations
        else:
            yield item


def build_system(
    network: Network,
    programs: Sequence[Program],
    *,
    pipeline: Ints,
    axis_members: Callable[[str], Ints],
    true_size: Callable[[str], int],
    algorithm_of: Callable[[str, str], str | None] = lambda op, axis: None,
    accelerator_of: Ints,
    weight: Floats,
) -> System:
    """Work out every group and flow of a job on a network.

    Parameters
    ----------
    pipeline : int[R / pp, pp], the ranks of each pipeline in stage order.
    axis_members : the groups of an axis, int[groups, size]. true_size : members in the whole
        machine.
    algorithm_of : of an operation along an axis, None for what the library would choose.
    accelerator_of : int[R], where each rank stands. weight : float[R], ranks that each stands for.
    """
    stage = np.empty(pipeline.size, dtype=np.int64)
    stage[pipeline] = np.arange(pipeline.shape[1])
    places = Places(network)
    weight_at = np.ones(len(network.accelerator_nodes))
    weight_at[accelerator_of] = weight
    drafts: list[tuple[Key, Ints, PlacedFlows]] = []
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
            domains = _true_domains(
                network.domain_of[row], np.ones(len(row)) if whole else weight_at[row]
            )
            return pattern(
                network,
                op,
                row,
                key.bytes,
                algorithm=algorithm_of(op, key.axis),
                true_size=true,
                true_domains=domains,
            )

        drafts.append((key, members, place(places, accelerator_of[members], pattern_of)))
    return _join(network, stage, drafts)


def _true_domains(domain: Ints, weight: Floats) -> int:
    """Count the domains that the members of a group lie in, in the whole machine.

    A domain stands for as many as its members do; where the stretch of replicas that stands for
    others begins or ends inside a domain, the two parts make one.
    """
    _, where, count = np.unique(domain, return_inverse=True, return_counts=True)
    return max(1, round(float((weight / count[where.reshape(-1)]).sum())))


def _join(network: Network, stage: Ints, drafts: list[tuple[Key, Ints, PlacedFlows]]) -> System:
    links = len(network.capacity)
    alone = [_alone(flows, network.capacity) for _, _, flows in drafts]
    whole = [
        _together(flows, rate, network.capacity)
        for (_, _, flows), rate in zip(drafts, alone, strict=True)
    ]
    lasting = [
        bool((key.bytes / streams.alone).max(initial=0.0) > BRIEF_S)
        for (key, _, _), streams in zip(drafts, whole, strict=True)
    ]
    contended = [_contended(network, key, flows) for key, _, flows in drafts]
    shared = [flows for flows, lasts in zip(contended, lasting, strict=True) if lasts]
    binding = _binding(
        network, shared, [rate for rate, lasts in zip(alone, lasting, strict=True) if lasts]
    )
    open_link = ~_private_links(shared, links) & binding
    channels = []
    for (key, members, paths), every, lasts in zip(drafts, whole, lasting, strict=True):
        used = binding if lasts else np.zeros(links, dtype=bool)
        if key.stages is not None:
            used = used & ~network.scale_up
        disturbed = np.zeros(len(members), dtype=bool)
        if lasts:
            disturbed[paths.owner[_spread(paths)][(open_link & used)[paths.links]]] = True
        streams = _kept(every, used)
        if (key.bytes / streams.alone).max(initial=0.0) < NOTHING_S:
            streams = replace(streams, alone=np.full(len(streams.alone), np.inf))
        channels.append(
            Channel(key=key, members=members, paths=paths, streams=streams, private=~disturbed)
        )
    users = np.zeros((len(channels), links), dtype=np.float32)
    for i, channel in enumerate(channels):
        users[i, channel.streams.links] = 1.0
    users = users[:, users.any(axis=0)]
    meet = (users @ users.T) > 0
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
    width = np.bincount(_spread(flows)[keep], minlength=len(flows.owner))
    return replace(
        flows,
        links=flows.links[keep],
        fractions=flows.fractions[keep],
        indptr=np.concatenate([[0], np.cumsum(width)]).astype(np.int64),
    )


def _spread(flows: PlacedFlows) -> Ints:
    """Return the flow of each incidence."""
    return np.repeat(np.arange(len(flows.owner)), np.diff(flows.indptr))


def _alone(flows: PlacedFlows, capacity: Floats) -> Floats:
    rate = flows.cap.copy()
    np.minimum.at(rate, _spread(flows), capacity[flows.links] / flows.fractions)
    return rate


def _binding(network: Network, all_flows: list[PlacedFlows], alone: list[Floats]) -> Bools:
    """Return which links can hold a flow back, bool[L]."""
    links = len(network.capacity)
    demand = np.zeros(links)
    for flows, rate in zip(all_flows, alone, strict=True):
        np.add.at(demand, flows.links, flows.fractions * rate[_spread(flows)])
    binding = demand > network.capacity * SLACK
    near = np.array([kind in NEAR for kind in network.node_kinds])
    gates = near[network.tail] | near[network.head]
    for out in (True, False):
        # a gate is never dropped for the sake of another gate: two could vouch for each other
        asked = binding & ~gates
        if asked.any():
            load = _gated(network, all_flows, alone, asked, out)
            binding &= gates | (load > network.capacity * SLACK)
    return binding


def _gated(
    network: Network, all_flows: list[PlacedFlows], alone: list[Floats], asked: Bools, out: bool
) -> Floats:
    """Bound the load of the `asked` links by what the links next to accelerators let through.

    The gate of a flow is the slowest link out of (or into) an accelerator or NIC on its way. What
    crosses a link through one gate is at most the gate's capacity times the largest ratio of the
    two fractions. A gate does not bound itself.
    """
    near = np.array([kind in NEAR for kind in network.node_kinds])
    end = network.tail if out else network.head
    gate_like = near[end]
    links = len(network.capacity)
    pairs: list[Ints] = []
    ratios: list[Floats] = []
    free = np.zeros(links)  # load of flows without a gate
    for flows, rate in zip(all_flows, alone, strict=True):
        if not asked[flows.links].any():
            continue
        flow = _spread(flows)
        usable = gate_like[flows.links]
        count = len(flows.owner)
        best = np.full(count, np.inf)
        width = network.capacity[flows.links] / flows.fractions
        np.minimum.at(best, flow[usable], width[usable])
        first = np.full(count, -1, dtype=np.int64)
        is_best = np.flatnonzero(usable & (width <= best[flow]))[::-1]
        first[flow[is_best]] = is_best  # the first such link of the flow
        here = np.flatnonzero(asked[flows.links])
        link, part, gate = flows.links[here], flows.fractions[here], first[flow[here]]
        has = (gate >= 0) & (flows.links[gate] != link)
        pairs.append(flows.links[gate[has]] * links + link[has])
        ratios.append(part[has] / flows.fractions[gate[has]])
        np.add.at(free, link[~has], (part * rate[flow[here]])[~has])
    if not pairs:
        return free
    pair, ratio = np.concatenate(pairs), np.concatenate(ratios)
    known, where = distinct(pair)
    largest = np.zeros(len(known))
    np.maximum.at(largest, where, ratio)
    np.add.at(free, known % links, largest * network.capacity[known // links])
    return free


def _together(paths: PlacedFlows, alone: Floats, capacity: Floats) -> Streams:
    """Put the flows of every group and round together; loads on one link add up."""
    rounds = max(1, paths.round_latency_s.shape[1])
    names, of_flow = distinct(paths.owner * rounds + paths.round_)
    rate = np.full(len(names), np.inf)
    np.minimum.at(rate, of_flow, alone / paths.share)
    flow, width = _spread(paths), len(capacity)
    pairs, where = distinct(of_flow[flow] * width + paths.links)
    amount = paths.fractions * paths.share[flow]
    load: Floats = np.bincount(where, amount, minlength=len(pairs)).astype(np.float64)
    stream, link = pairs // width, pairs % width
    np.minimum.at(rate, stream, capacity[link] / load)
    counts = np.bincount(stream, minlength=len(names))
    return Streams(
        owner=names // rounds,
        round_=names % rounds,
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        links=link,
        loads=load,
        alone=rate,
    )


def _kept(streams: Streams, kept: Bools) -> Streams:
    """Return the streams with some links only; what the others allow stays in `alone`."""
    keep = kept[streams.links]
    stream = np.repeat(np.arange(len(streams.owner)), np.diff(streams.indptr))
    counts = np.bincount(stream[keep], minlength=len(streams.owner))
    return replace(
        streams,
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        links=streams.links[keep],
        loads=streams.loads[keep],
    )


def _private_links(all_flows: list[PlacedFlows], links: int) -> Bools:
    """Return the links whose every flow starts at one and the same rank, or ends at one."""
    private = np.zeros(links, dtype=bool)
    for name in ("source", "target"):
        low = np.full(links, np.iinfo(np.int64).max)
        high = np.full(links, np.iinfo(np.int64).min)
        for flows in all_flows:
            end = getattr(flows, name)[_spread(flows)]
            np.minimum.at(low, flows.links, end)
            np.maximum.at(high, flows.links, end)
        private |= (low == high) & (low >= 0)
    return private
