"""Collectives on switched domains and fabrics, as flows.

In:  a group on a network and an operation.
Out: rounds of flows, each flow with its share of the collective's bytes.
Left out: fixed times, protocols and the choice among algorithms; see `library`.

Every formula that counts members uses the group's true size, so that a stand-in of a longer group
has the flows, links and times of the real one. Recursive halving-doubling has a module of its own.
Sources: Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in
MPICH", 2005 (ring); Sanders, Speck, Traeff, "Two-tree algorithms for full bandwidth broadcast,
reduction and scan", 2009 (double binary tree); Klenk et al., "An in-network architecture for
accelerating shared-memory multiprocessor collectives", ISCA 2020 (in-switch reduction).
"""

from collections.abc import Iterator

import numpy as np

from rackmodel.errors import InvalidInput
from rackmodel.network.arrays import Floats, Ints, link_between, remembered
from rackmodel.network.graph import Network
from rackmodel.network.groups import Group, overlaps
from rackmodel.network.patterns import Flows, flows_between, join
from rackmodel.topology.kinds import Kind

Hops = tuple[Ints, Ints, Floats]

PASSES = {"all-reduce": 2.0, "all-gather": 1.0, "reduce-scatter": 1.0}


def ring(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round: rings over all members, as many as there are network ports in a domain.

    Inside a switched domain any number of rings loads each port like one. Between domains the rings
    cross on all ports of the smaller side: each byte enters a domain at one member, visits the
    others and leaves, so an inner hop carries (g - 1) / g of it and the g outer hops share it. In a
    mesh the rings take different orders and so use all its links: see `_inside`.
    """
    size = group.true_size
    share = PASSES[op] * (size - 1) / size
    return (_pairs(network, _ring_hops(network, group, share, close=True)),)


def bidirectional_ring(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round: the rings of `ring`, half of the bytes each way around.

    Worth it where neighbours are joined by links of their own; a switch port is as full either way.
    """
    size = group.true_size
    hops = _ring_hops(network, group, PASSES[op] * (size - 1) / size / 2, close=True)
    return (_pairs(network, hops + [(after, before, share) for before, after, share in hops]),)


def broadcast(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round: a pipelined chain over all members, domain by domain."""
    return (_pairs(network, _ring_hops(network, group, 1.0, close=False)),)


def tree(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round: two complementary binary trees over domains, chains inside; reduce and broadcast.

    Each tree carries half of the bytes up and down; a domain is a leaf in one and inner in the
    other.
    """
    hops = list(_tree_hops(group))
    for part in group.parts:
        if len(part) > 1:
            up, down, one = _inside(network, group, part, 1.0, close=False)
            hops += [(up, down, one), (down, up, one)]
    return (_pairs(network, hops),)


def nvls(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round: the scale-up switches add and multicast (one domain)."""
    return (in_switch(network, group, op),)


def nvls_tree(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round: in-switch reduction inside domains, double binary trees over the rails between."""
    return (join(in_switch(network, group, op), _pairs(network, list(_tree_hops(group)))),)


def sharp(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round: reduction inside domains, then in the fabric's switches; each byte goes up once.

    Above the first switch a reduced stream is at most what enters it, so only the members' own
    links are charged.
    """
    core = network.router.core("fabric")
    source, target, share, links, parts = [], [], [], [], []
    for part in group.parts:
        for node in part.tolist():
            host = core.host(node)
            outer = [i for i, (at, _, _) in enumerate(host.key) if _is_outer(network, at)]
            if not outer:
                raise InvalidInput(f"{network.nodes[node]!r} has no link to the fabric")
            cables = np.array([host.key[i][2] for i in outer], dtype=float)
            for chains in (host.out_chains, host.in_chains):
                row = [
                    (k, w)
                    for i, w in zip(outer, cables / cables.sum(), strict=True)
                    for k in chains[i]
                ]
                links.append(np.array([k for k, _ in row], dtype=np.int64))
                parts.append(np.array([w for _, w in row]))
            at = host.key[outer[0]][0]
            source += [node, at]
            target += [at, node]
            share += [1.0 / len(part)] * 2
    outside = from_rows(network, source, target, share, links, parts)
    if network.reduction and all(len(part) > 1 for part in group.parts):
        return (join(in_switch(network, group, op), outside),)
    hops = [
        _inside(network, group, part, 2.0 * (len(part) - 1) / len(part)) for part in group.parts
    ]
    return (join(_pairs(network, hops), outside),)


def in_switch(network: Network, group: Group, op: str) -> Flows:
    """Flows between members and the scale-up switches that add or copy for them.

    All-reduce: each member's whole buffer is pulled once by the switches, the sum of its g-th part
    comes back to it and is multicast: (g + 1) / g up and down. Reduce-scatter: 1 up, 1 / g down;
    all-gather: the reverse.
    """
    source, target, share, links, parts = [], [], [], [], []
    out_to, into = _switch_links(network)
    for part in group.parts:
        if len(part) < 2:
            continue
        whole, piece = 1.0, 1.0 / len(part)
        up, down = {
            "all-reduce": (whole + piece, whole + piece),
            "reduce-scatter": (whole, piece),
            "all-gather": (piece, whole),
        }[op]
        for node in part.tolist():
            if not out_to.get(node):
                raise InvalidInput(f"{network.nodes[node]!r} has no link to a scale-up switch")
            at = int(network.head[out_to[node][0]])
            source += [node, at]
            target += [at, node]
            share += [up, down]
            for own in (out_to[node], into[node]):
                rate = network.nominal[own]
                links.append(np.array(own, dtype=np.int64))
                parts.append(rate / rate.sum())
    return from_rows(network, source, target, share, links, parts)


def direct(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round: every member exchanges its part with every other one.

    In a stand-in, pairs in different domains carry the parts of all that they stand for.
    """
    size, here = group.true_size, len(group.nodes)
    a, b = np.divmod(np.arange(here**2), here)
    keep = a != b
    a, b = a[keep], b[keep]
    share = np.full(len(a), PASSES.get(op, 1.0) / size)
    if len(group.parts) > 1:
        share *= group.stands_for(a, b)
    return (flows_between(network, group.nodes[a], group.nodes[b], share),)


def hierarchical(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """Rounds: reduce-scatter inside domains, then over the rails between, all-gather inside.

    An all-to-all has two: see `exchange`.
    """
    if op == "all-to-all":
        return exchange(network, group)
    inner = [_inside(network, group, p, (len(p) - 1) / len(p)) for p in group.parts if len(p) > 1]
    domains = group.true_domains
    outer = list(_between_hops(group, PASSES[op] * (domains - 1) / domains, close=True))
    inside = (_pairs(network, inner),) if inner else ()
    between = (_pairs(network, outer),) if outer else ()
    if op == "reduce-scatter":
        return inside + between
    if op == "all-gather":
        return between + inside
    return inside + between + inside


def exchange(network: Network, group: Group) -> tuple[Flows, ...]:
    """Rounds of an all-to-all: inside domains to the member in the target's place, then outside.

    A member that stands in place q of its domain sends to place q of the others only (q modulo the
    size of its domain, where they differ), so messages between domains are larger and stay on their
    rail. Source: Rajbhandari et al., "DeepSpeed-MoE", 2022, sec. 5.3 (hierarchical all-to-all).
    """
    size, place = group.true_size, np.zeros(len(network.nodes), dtype=np.int64)
    place[group.nodes] = np.arange(len(group.nodes))
    inner: list[Hops] = []
    outer: list[Hops] = []
    for i, part in enumerate(group.parts):
        own = len(part)
        targets = np.ones(own)  # what each member has to pass on: for itself, and for outside
        for k, other in enumerate(group.parts):
            if k != i:
                relay = np.arange(len(other)) % own
                many = group.stands_for(place[part[relay]], place[other])
                targets += np.bincount(relay, many, minlength=own)
                outer.append((part[relay], other, own * many / size))
        a, b = np.divmod(np.arange(own**2), own)
        a, b = a[a != b], b[a != b]
        inner.append((part[a], part[b], targets[b] / size))
    return tuple(_pairs(network, hops) for hops in (inner, outer) if any(len(h[0]) for h in hops))


def send(network: Network, group: Group, op: str) -> tuple[Flows, ...]:
    """One round: the first member sends everything to the last."""
    return (_pairs(network, [(group.nodes[:1], group.nodes[-1:], np.ones(1))]),)


def from_rows(
    network: Network,
    source: list[int],
    target: list[int],
    share: list[float],
    links: list[Ints],
    parts: list[Floats],
) -> Flows:
    """Build flows whose links are already known."""
    sizes = [len(row) for row in links]
    flat = np.concatenate([np.zeros(0, dtype=np.int64), *links])
    fractions = np.concatenate([np.zeros(0), *parts])
    owner = np.repeat(np.arange(len(links)), sizes)
    return Flows(
        np.array(source, dtype=np.int64),
        np.array(target, dtype=np.int64),
        np.array(share, dtype=np.float64),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        flat,
        fractions,
        np.bincount(owner, fractions * network.latency_s[flat], minlength=len(links)).astype(float),
        np.full(len(links), np.inf),
    )


def _pairs(network: Network, hops: list[Hops]) -> Flows:
    if not hops:
        nothing = np.zeros(0, dtype=np.int64)
        return flows_between(network, nothing, nothing, np.zeros(0))
    source, target, share = (np.concatenate(column) for column in zip(*hops, strict=True))
    return flows_between(network, source, target, share)


def _inside(
    network: Network, group: Group, part: Ints, share: float, *, close: bool = True
) -> Hops:
    """Return the hops of rings (or chains) through a domain, each hop carrying `share`.

    Where all members are joined pairwise, as many rings run in different orders as there are
    members (the complete digraph falls into such ways), so each pair carries an equal part.
    """
    size = len(part)
    if not group.switched and _meshed(network, part):
        a, b = np.divmod(np.arange(size**2), size)
        a, b = a[a != b], b[a != b]
        hops = size if close else size - 1
        return part[a], part[b], np.full(len(a), share * hops / len(a))
    if close:
        return part, np.roll(part, -1), np.full(size, share)
    return part[:-1], part[1:], np.full(size - 1, share)


def _meshed(network: Network, part: Ints) -> bool:
    joined = link_between(network)
    members = part.tolist()
    return len(members) > 2 and all((a, b) in joined for a in members for b in members if a != b)


def _ring_hops(network: Network, group: Group, share: float, *, close: bool) -> list[Hops]:
    if len(group.parts) == 1:
        return [_inside(network, group, group.nodes, share, close=close)]
    hops = [
        _inside(network, group, p, share * (len(p) - 1) / len(p)) for p in group.parts if len(p) > 1
    ]
    return hops + list(_between_hops(group, share, close=close))


def _between_hops(group: Group, share: float, *, close: bool) -> Iterator[Hops]:
    """Yield hops from each domain to the next, spread evenly over the members of both."""
    count = len(group.parts)
    for i in range(count if close else count - 1):
        here, after = group.parts[i], group.parts[(i + 1) % count]
        if count > 1:
            a, b, part = overlaps(len(here), len(after))
            yield here[a], after[b], share * part


def _tree_hops(group: Group) -> Iterator[Hops]:
    """Yield the hops of both trees, up and down, each spread evenly over the members."""
    count = len(group.parts)
    for second in (False, True):
        for child in range(1, count):
            up = _parent(child, count)
            a, b = child, up
            if second and count % 2 == 0:  # mirrored: odd ranks, the leaves, become inner ones
                a, b = count - 1 - child, count - 1 - up
            elif second:  # shifted by one does the same for an odd number
                a, b = (child + 1) % count, (up + 1) % count
            i, j, part = overlaps(len(group.parts[a]), len(group.parts[b]))
            lower, upper = group.parts[a][i], group.parts[b][j]
            yield lower, upper, part / 2
            yield upper, lower, part / 2


def _parent(rank: int, count: int) -> int:
    """Return the parent in the in-order binary tree rooted at 0 (odd ranks are leaves)."""
    bit = rank & -rank
    up = (rank ^ bit) | (bit << 1)
    return rank ^ bit if up >= count else up


def _is_outer(network: Network, node: int) -> bool:
    return network.node_kinds[node] != Kind.SCALE_UP_SWITCH


@remembered
def _switch_links(network: Network) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Return each accelerator's links to and from scale-up switches."""
    tables: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
    switch, part = network.of_kind(Kind.SCALE_UP_SWITCH), network.of_kind(Kind.ACCELERATOR)
    both_ways = ((network.tail, network.head), (network.head, network.tail))
    for table, (near, far) in zip(tables, both_ways, strict=True):
        links = np.flatnonzero(part[near] & switch[far])
        for link, node in zip(links.tolist(), near[links].tolist(), strict=True):
            table.setdefault(node, []).append(link)
    return tables
