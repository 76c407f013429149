"""What a collective library costs beside the wire: limits of copy engines, fixed times.

In:  flows of an algorithm, the group, the generation of the accelerators.
Out: the same flows with their own limits; seconds of launch, steps and pipeline fill.
Left out: which algorithm is best; see `tuner`. The constants; see `constants`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rackmodel.columns import Bools, Floats, Ints
from rackmodel.errors import InvalidInput
from rackmodel.network.arrays import remembered
from rackmodel.network.collectives.constants import Generation, generation, nccl
from rackmodel.network.collectives.flows import Flows
from rackmodel.network.collectives.groups import Group, port_rates
from rackmodel.network.collectives.registry import ALGORITHM, PASSES, SIMPLE, Reach, Steps
from rackmodel.network.graph import Network
from rackmodel.network.routing.tree import Chain

# Kernels move a member's own part from buffer to buffer as well, at the ports' rate: two members
# reach half of it on the wire, eight are bound by the ring.
OWN_PART_TOO = ("all-gather", "reduce-scatter", "all-to-all")
POSTED = "chunks that hosts post"  # what binds exchanges of domains that span hosts
LL_DOMAINS = 4  # from so many on the tuner has one limit of LL
HOST_MEMBERS = 8  # a larger scale-up domain spans hosts


@remembered
def _accelerators(network: Network) -> Bools:
    there = np.zeros(len(network.nodes), dtype=bool)
    there[network.accelerator_nodes] = True
    return there


@remembered
def outer_ports(network: Network) -> Floats:
    """Return float[N], the slowest link of each accelerator's own way to the fabric. [bytes/s]"""
    rates = port_rates(network)[1].copy()
    tree = network.router.tree
    if tree is not None and tree.chains[1].up.shape[1]:
        nodes, slowest = _tree_ports(network, tree.chains[1])
        rates[nodes] = slowest
        return rates
    core = network.router.core("fabric")
    for node in network.accelerator_nodes.tolist():
        chains = [
            network.nominal[list(chain)].min()
            for chain in core.host(node).out_chains
            if chain and not network.scale_up[chain[0]]
        ]
        if chains:
            rates[node] = float(sum(chains))
    return rates


def _tree_ports(network: Network, chain: Chain) -> tuple[Ints, Floats]:
    """Return accelerators in a fabric that is a tree, and the slowest link of their own way up.

    The way is one's own as long as the nodes on it join nothing else.
    """
    degree = np.bincount(network.tail[~network.scale_up], minlength=len(network.nodes))
    own = chain.up[:, 0] >= 0
    nodes = network.accelerator_nodes[own]
    slowest = network.nominal[chain.up[own, 0]]
    going = np.ones(len(nodes), dtype=bool)
    for level in range(1, chain.up.shape[1]):
        link = chain.up[own, level]
        going &= (degree[chain.node[own, level - 1]] == 2) & (link >= 0)
        slowest = np.where(going, np.minimum(slowest, network.nominal[link]), slowest)
    return nodes, slowest


def reach_of(network: Network, name: str, op: str) -> Reach:
    """Return what the kernels of an algorithm reach of a member's ports."""
    facts, known = generation(network.family), ALGORITHM[name]
    if known.reach is not None:
        return known.reach(facts, network.transport, op)
    outside = facts.network * network.transport.efficiency
    return Reach(inside=facts.p2p if known.copies else facts.ring, outside=outside)


def limit(
    network: Network,
    flows: Flows,
    name: str,
    group: Group,
    *,
    op: str = "",
    few_ports: bool | None = None,
    alone: bool = False,
) -> Flows:
    """Give each flow its part of what its sender's and receiver's copy engines reach.

    few_ports : only so many network ports of a domain are used, as trees between domains do (the
        library's tuner does not know); what is known of the algorithm if left out.
    alone : each flow is all that a group of its own does, one that lies as `group` does or nearer.
    """
    if not len(flows):
        return flows
    facts, known = generation(network.family), ALGORITHM[name]
    inner, outer = port_rates(network)[0], outer_ports(network)
    accelerators = _accelerators(network)
    ends = [accelerators[x] for x in (flows.source, flows.target)]
    inside = ~leaving(network, flows)
    most = max(map(len, group.parts))
    rack = most > HOST_MEMBERS
    nvls = facts.nvls_rack if rack else facts.nvls
    own = reach_of(network, name, op)
    passing = float(nccl("tree")) if known.few_ports else 1.0
    fan_in = facts.fan_in if known.few_ports and group.true_domains > 2 else 1.0
    copies = own.inside
    if op in OWN_PART_TOO and len(group.parts) == 1:
        copies = min(copies, 1 - 1 / group.true_size)
    near = np.where(ends[0] & ends[1], copies, nvls)
    reach = passing * np.where(inside & (not own.by_nic), near, own.outside * fan_in)
    tiers = ((inside, inner), (~inside, outer))
    if own.by_nic:
        tiers = ((np.zeros_like(inside), inner), (np.ones_like(inside), outer))
    used = np.ones(len(network.nodes))  # share of a member's network ports
    if known.few_ports if few_ports is None else few_ports:
        sizes = np.array([*map(len, group.parts)])
        least = np.minimum(1.0, nccl("tree_ports") / sizes)
        used[np.concatenate(group.parts)] = np.repeat(least, sizes)
    cap = flows.cap_bytes_per_s.copy()
    for is_accelerator, nodes in zip(ends, (flows.source, flows.target), strict=True):
        for tier, ports in tiers:
            here = tier & is_accelerator & (ports[nodes] > 0)
            if here.any():
                share = flows.share[here]
                own_nodes = np.arange(here.sum()) if alone else nodes[here]
                total = np.bincount(own_nodes, share)[own_nodes]
                rate = reach[here] * ports[nodes[here]]
                within = ports is inner
                rate = np.minimum(rate, own.most) if within else rate * used[nodes[here]]
                if name == "direct" and rack and not within:
                    rate = np.minimum(rate, _posted(facts))
                of_port = share / np.maximum(total, 1e-300)
                cap[here] = np.minimum(cap[here], rate * of_port)
    return replace(flows, cap_bytes_per_s=cap)


def _posted(facts: Generation) -> float:
    """Return what a host can post of sends and receives, chunk by chunk. [bytes/s]

    Inside a host NCCL gathers what goes to one rail at the accelerator beside it (PXN) and posts
    few large messages; where a domain spans hosts every accelerator sends to each partner by itself
    (PXN knows the ranks of a host only), 128 KB a post. GB300 racks with 800 Gb/s ports fell from
    670 GB/s in a rack to less than a tenth over two, a third of what their ports allow. The
    algorithm "rail" is what a library that gathers over the rack would reach.
    """
    chunk = float(nccl("net_chunk_bytes"))
    return chunk / (2 * facts.rack_chunk_s) if facts.rack_chunk_s > 0 else math.inf


def send_limits(network: Network, group: Group, name: str, op: str) -> tuple[float, float, str]:
    """Return what a member can send inside its domain and outside in an exchange. [bytes/s]

    Last what sets the limit outside.

    Raises
    ------
    InvalidInput
        If it sends through network ports only and has none.
    """
    own, node = reach_of(network, name, op), int(group.nodes[0])
    near, far = port_rates(network)[0][node], outer_ports(network)[node]
    if own.by_nic and far <= 0:
        raise InvalidInput(
            f"{name} sends every copy through network ports, and members of this group have none;"
            " use low-latency"
        )
    outside = own.outside * far if far > 0 else math.inf
    by = "copy engines (network)"
    if name == "direct" and max(map(len, group.parts)) > HOST_MEMBERS:
        posted = _posted(generation(network.family))
        if posted < outside:
            outside, by = posted, POSTED
    return (min(own.inside * near, own.most) if near > 0 else math.inf), outside, by


def wire(network: Network, flows: Flows, protocol: int, group: Group, op: str) -> Flows:
    """Add the protocol's flags to the bytes on the wire, and LL's limit of the bus bandwidth."""
    more = float(nccl("wire")[protocol])
    cap, size, share = flows.cap_bytes_per_s, group.true_size, flows.share * more
    if protocol == 0 and len(flows):
        facts, domains = generation(network.family), group.true_domains
        rate = facts.ll_rate[0 if domains == 1 else 1 if domains < LL_DOMAINS else 2]
        bus = PASSES.get(op, 1.0) * (size - 1) / size
        cap = np.minimum(cap, rate * share / bus)
    return replace(flows, share=share, cap_bytes_per_s=cap)


def beyond_s(
    network: Network, group: Group, rounds: Sequence[Flows], name: str
) -> tuple[float, float]:
    """Return what the wires of a step take beyond those of a reference path, inside and outside.

    Steps and messages were measured over some path: `hop_s` of the generation, `path_s` of the
    transport, a NIC, a leaf and a NIC. Around a ring a part crosses hop after hop, so their mean
    counts; exchanges end with their farthest pair, and levels of a tree are taken to be as far. A
    tier whose links have no latency says nothing of its wires.
    """
    known = ALGORITHM[name]
    hopping = known.passes_on and not known.few_ports
    weight = _stood_for(network, group) if hopping else None
    references = (generation(network.family).hop_s, network.transport.path_s)
    found, apart = [], [leaving(network, flows) for flows in rounds]
    for inner, reference in zip((True, False), references, strict=True):
        if not _delayed(network)[inner]:
            found.append(0.0)
            continue
        tier = [(flows, away != inner) for flows, away in zip(rounds, apart, strict=True)]
        spans = [_path_s(network, flows, here, weight) for flows, here in tier]
        own = [span for span in spans if span is not None]
        found.append(sum(own) / len(own) - reference if own else 0.0)
    return found[0], found[1]


@remembered
def _delayed(network: Network) -> tuple[bool, bool]:
    """Return whether any link has a latency outside of domains, and whether any has inside."""
    late = network.latency_s > 0
    return bool(late[~network.scale_up].any()), bool(late[network.scale_up].any())


def _stood_for(network: Network, group: Group) -> Floats:
    """Return float[N], members of the whole group that each node of a stand-in stands for.

    Where it is not known the middle period stands for all that are left out: its hops lead to a
    period like itself.
    """
    weight, here = np.ones(len(network.nodes)), len(group.nodes)
    if group.weight is not None:
        weight[group.nodes] = group.weight
    elif group.period is not None and group.true_size > here:
        start = here // group.period // 2 * group.period
        middle = group.nodes[start : start + group.period]
        weight[middle] += (group.true_size - here) / len(middle)
    return weight


def _path_s(network: Network, flows: Flows, tier: Bools, weight: Floats | None) -> float | None:
    """Return the latency of a round's paths in a tier; None if it has none there.

    tier : bool[F], the flows in it. weight : of each sender in their mean; the longest without.
    Members that meet at a switch that adds go up to it and down again.
    """
    here = tier & (flows.source != flows.target)
    if not here.any():
        return None
    accelerators = _accelerators(network)
    ends = [accelerators[x] for x in (flows.source, flows.target)]

    def span_s(some: Bools) -> float:
        if weight is None:
            return float(flows.latency_s[some].max())
        return float(np.average(flows.latency_s[some], weights=weight[flows.source[some]]))

    pairs = here & ends[0] & ends[1]
    if pairs.any():
        return span_s(pairs)
    return sum(span_s(here & end) for end in ends if (here & end).any())


def leaving(network: Network, flows: Flows) -> Bools:
    """Return which flows leave their domain, bool[F]."""
    outside = flows.owner[~network.scale_up[flows.links]]
    return np.bincount(outside, minlength=len(flows)) > 0


def fixed_s(
    network: Network,
    group: Group,
    op: str,
    name: str,
    protocol: int = SIMPLE,
    beyond: tuple[float, float] = (0.0, 0.0),
) -> float:
    """Return launch and steps, as NCCL's tuner counts them, whose wires it does not know. [s]

    beyond : what `beyond_s` says of the wires.
    """
    facts, known, (near_s, far_s) = generation(network.family), ALGORITHM[name], beyond
    post = float(nccl("post_s")) * (3 if protocol == SIMPLE else 1) + network.transport.step_s
    apart = len(group.parts) if op == "send" else group.true_domains
    steps = Steps(
        base_s=float(nccl("base_s")[known.table][protocol]) + facts.launch_s,
        inside_s=max(0.0, float(nccl("inside_s")[known.table][protocol]) + near_s),
        outside_s=max(0.0, float(nccl("outside_s")[known.table][protocol]) + post + far_s),
        post_s=post,
        peer_s=float(nccl("peer_s")),
        kernel_s=max(0.0, facts.kernel_s + near_s),
        sync_s=max(0.0, facts.sync_s + near_s),
        exchange_s=facts.exchange_s,
        message_s=network.transport.latency_s,
        near_s=near_s,
        far_s=far_s,
        op=op,
        members=group.true_size,
        domains=apart,
    )
    return known.steps_s(steps)


def fill_s(
    network: Network,
    group: Group,
    op: str,
    name: str,
    per_byte: float,
    byte_count: float,
    protocol: int = SIMPLE,
) -> float:
    """Return the time until the pipeline is full: a chunk per member of a domain, per tree level.

    Chunks grow with the message up to the library's buffers, which are small under LL. Algorithms
    that pass nothing on have none.
    per_byte : seconds of the flows, per byte.
    """
    facts = generation(network.family)
    chunk, ramp = facts.chunk_bytes, facts.ramp_bytes
    if protocol == 0:
        chunk, ramp = float(nccl("ll_chunk_bytes")), float(nccl("ll_ramp_bytes"))
    if group.true_domains > 1 and ALGORITHM[name].few_ports:  # goes up and down before the next
        chunk *= network.transport.chunks
    depth = max(map(len, group.parts))
    growth = byte_count / (byte_count + depth * ramp)
    levels = max(1.0, math.log2(group.true_domains)) if name == "nvls-tree" else 1.0
    if op != "all-reduce":
        levels /= 2  # one pass and not two
    return depth * chunk * per_byte * growth * levels
