"""What no algorithm can beat: bytes through the tightest cut over its capacity.

In:  a network and a group.
Out: the bound and the cut that gives it; the link that binds a pattern.
Left out: latencies. The bound holds for any algorithm, so it is below every time.

Cuts looked at: around each accelerator, each scale-up domain, each pod (what is joined below the
spines) and each group of pods (below the cores).
"""

import numpy as np

from rackmodel.network.arrays import Ints, components, remembered
from rackmodel.network.collectives.flows import Pattern, link_load, own_s, pace_s
from rackmodel.network.collectives.groups import Group
from rackmodel.network.graph import Network
from rackmodel.topology.kinds import Kind


@remembered
def cuts(network: Network) -> list[tuple[str, Ints]]:
    """Return the kinds of cut, each with a label of every node (equal label: same side)."""
    kinds = np.array(network.node_kinds)
    ends = (kinds[network.tail], kinds[network.head])
    top = (ends[0] == Kind.CORE) | (ends[1] == Kind.CORE)
    above = (Kind.CORE, Kind.SPINE, Kind.OCS)
    upper = np.isin(ends[0], above) | np.isin(ends[1], above)
    found = [("accelerator", np.arange(len(kinds)))]
    for name, keep in (("domain", network.scale_up), ("pod", ~upper), ("group", ~top)):
        labels = components(len(kinds), network.tail[keep], network.head[keep])
        if len(np.unique(labels[network.accelerator_nodes])) > 1:
            found.append((name, labels))
    return found


def bound_s(network: Network, op: str, group: Group, byte_count: float) -> tuple[float, str]:
    """Return the least time that the links allow, and the kind of cut that sets it. [s]"""
    n = group.true_size
    best, by = 0.0, "none"
    if n < 2 or byte_count <= 0:
        return best, by
    for name, labels in cuts(network):
        sides = labels[group.nodes]
        names, members = np.unique(sides, return_counts=True)
        if len(names) == 1 and n == len(group.nodes):
            continue  # the whole group is on one side
        crossing = labels[network.tail] != labels[network.head]
        leaving = np.bincount(labels[network.tail[crossing]], network.nominal[crossing])
        arriving = np.bincount(labels[network.head[crossing]], network.nominal[crossing])
        for side, inside in zip(names.tolist(), members.tolist(), strict=True):
            out, into = _must_cross(op, inside, n, network, byte_count)
            if op in ("broadcast", "send"):
                first = sides[0] == side
                out, into = (byte_count, 0.0) if first else (0.0, byte_count)
                if op == "send" and not first and sides[-1] != side:
                    continue
            for amount, ports in ((out, leaving), (into, arriving)):
                room = float(ports[side]) if side < len(ports) else 0.0
                if amount > 0 and room > 0 and amount / room > best:
                    best, by = amount / room, name
    return best, by


def _must_cross(
    op: str, inside: int, n: int, network: Network, byte_count: float
) -> tuple[float, float]:
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
            # Ends that add for themselves send 2 (n - 1) / n on the mean; a sum crosses a cut once.
            alone = inside == 1 and not (network.reduction or network.fabric_reduction)
            least = byte_count * (2 * (n - 1) / n if alone else 1.0)
            return least, least
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
        return f"copy engines ({kind})"
    ends = (network.node_kinds[network.tail[link]], network.node_kinds[network.head[link]])
    return f"{network.link_kinds[link] or 'link'} {ends[0] or 'node'} -> {ends[1] or 'node'}"
