"""What no algorithm can beat: bytes through the tightest cut over its capacity.

In:  a network and a group.
Out: the bound and the cut that gives it; the link that binds a pattern.
Left out: latencies. The bound holds for any algorithm, so it is below every time.

Cuts looked at: around each accelerator, each scale-up domain, each domain with its network ports,
each pod (what is joined below the spines), each group of pods (below the cores), and what is joined
within so many hops of the accelerators.
"""

import numpy as np

from rackmodel.columns import Bools
from rackmodel.network.arrays import components, remembered
from rackmodel.network.collectives.costs import reach_of
from rackmodel.network.collectives.flows import Pattern, link_load, own_s, pace_s
from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.wide_exchange import heights
from rackmodel.network.graph import Network
from rackmodel.topology.kinds import Kind


@remembered
def _kinds_of_cut(network: Network) -> list[tuple[str, Bools]]:
    """Return the kinds of cut, each with bool[L], the links that join what is on one side."""
    kinds = np.array(network.node_kinds)
    ends = (kinds[network.tail], kinds[network.head])
    top = (ends[0] == Kind.CORE) | (ends[1] == Kind.CORE)
    above = (Kind.CORE, Kind.SPINE, Kind.OCS)
    upper = np.isin(ends[0], above) | np.isin(ends[1], above)
    height = heights(network)
    low = np.maximum(height[network.tail], height[network.head])
    alone = [("accelerator", np.zeros(len(low), dtype=bool))]
    inner = [("domain", network.scale_up), ("ports", network.scale_up | (low < 2))]
    levels = [("pod", ~upper), ("group", ~top)]
    levels += [(f"{most} hops up", low <= most) for most in range(2, int(low.max(initial=0)))]
    return alone + inner + levels


@remembered
def _known(network: Network) -> dict[object, tuple[float, str]]:
    return {}


def bound_s(network: Network, op: str, group: Group, byte_count: float) -> tuple[float, str]:
    """Return the least time that the links allow, and the kind of cut that sets it. [s]"""
    if group.true_size < 2 or byte_count <= 0:
        return 0.0, "none"
    known, key = _known(network), (op, group.nodes.tobytes(), group.true_size)
    if key not in known:
        known[key] = _bound_per_byte(network, op, group)
    per_byte, by = known[key]
    return per_byte * byte_count, by


def _bound_per_byte(network: Network, op: str, group: Group) -> tuple[float, str]:
    """Return the least seconds per byte, and the kind of cut that sets them."""
    n, size, byte_count = group.true_size, len(network.nodes), 1.0
    best, by = 0.0, "none"
    open_links = _usable(network, group)
    for name, joining in _kinds_of_cut(network):
        keep = joining & open_links
        labels = components(size, network.tail[keep], network.head[keep])
        sides = labels[group.nodes]
        names, members = np.unique(sides, return_counts=True)
        if len(names) == 1 and n == len(group.nodes):
            continue  # the whole group is on one side
        crossing = open_links & (labels[network.tail] != labels[network.head])
        leaving = np.bincount(labels[network.tail[crossing]], network.nominal[crossing])
        arriving = np.bincount(labels[network.head[crossing]], network.nominal[crossing])
        for side, inside in zip(names.tolist(), members.tolist(), strict=True):
            out, into = _must_cross(op, inside, n, byte_count)
            if op in ("broadcast", "send"):
                first = sides[0] == side
                out, into = (byte_count, 0.0) if first else (0.0, byte_count)
                if op == "send" and not first and sides[-1] != side:
                    continue
            for amount, ports in ((out, leaving), (into, arriving)):
                room = float(ports[side]) if side < len(ports) else 0.0
                if amount > 0 and room > 0 and amount / room > best:
                    best, by = amount / room, name
    if op == "all-reduce" and not (network.reduction or network.fabric_reduction):
        # Ends that add for themselves send 2 (n - 1) buffers together, whoever sends how much.
        for ends in (network.tail, network.head):
            room = float(network.nominal[np.isin(ends, group.nodes)].sum()) / len(group.nodes)
            if room > 0 and (least := 2 * (n - 1) / n * byte_count / room) > best:
                best, by = least, "accelerator"
    return best, by


def _usable(network: Network, group: Group) -> Bools:
    """Return bool[L], the links that a group may use: accelerators outside it forward nothing.

    But where accelerators are wired to each other they pass on what is not theirs.
    """
    part = network.of_kind(Kind.ACCELERATOR)
    if (part[network.tail] & part[network.head]).any():
        return np.ones(len(network.tail), dtype=bool)
    part[group.nodes] = False
    return ~(part[network.tail] | part[network.head])


def _must_cross(op: str, inside: int, n: int, byte_count: float) -> tuple[float, float]:
    """Return the bytes that have to leave and enter a side with `inside` of n members."""
    outside = n - inside
    match op:
        case "all-gather":
            return byte_count * inside / n, byte_count * outside / n
        case "reduce-scatter":
            return byte_count * outside / n, byte_count * inside / n
        case "all-to-all" | "dispatch" | "combine":
            return byte_count * inside * outside / n, byte_count * inside * outside / n
        case "all-reduce":
            return byte_count, byte_count  # a sum crosses a cut once
        case _:
            return 0.0, 0.0


def binding(network: Network, made: Pattern, byte_count: float) -> str:
    """Return what sets the time of a pattern: a kind of link, a copy engine, or the fixed times."""
    if not made.rounds or byte_count <= 0:
        return "latency"
    spans = [pace_s(network, flows) * byte_count for flows in made.rounds]
    if sum(made.latency_s) > sum(spans):
        return "latency"
    flows = made.rounds[int(np.argmax(spans))]
    if not len(flows):
        return "latency"
    used = link_load(network, flows) / network.capacity
    link = int(np.argmax(used))
    own = own_s(flows)
    flow = int(np.argmax(own))
    if own[flow] > used[link] * (1 + 1e-9):
        inner = flows.indptr[flow]
        kind = network.link_kinds[int(flows.links[inner])] or "link"
        if reach_of(network, made.algorithm, "").by_nic:
            kind = "network"
        return f"copy engines ({kind})"
    ends = (network.node_kinds[network.tail[link]], network.node_kinds[network.head[link]])
    return f"{network.link_kinds[link] or 'link'} {ends[0] or 'node'} -> {ends[1] or 'node'}"
