"""What joins the units of a machine: NICs, leaves, spines, cores.

In:  the part of a machine that is asked for.
Out: groups of NICs, switches and links.
Left out: links inside a unit (`scale_up`), how many switches there are (`fabric`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from rackmodel.columns import Ints
from rackmodel.topology.fabric import Fabric, FabricPlan
from rackmodel.topology.kinds import Kind, Tier
from rackmodel.topology.nodes_and_links import Asked, Links, Nodes, pairs
from rackmodel.topology.shapes import Host, Nics


def scale_out_groups(asked: Asked, first: int) -> Iterator[Nodes | Links]:
    """Yield NICs, switches of the fabric and their links; `first` is the number of a first node."""
    machine = asked.machine
    if machine.nics is not None and machine.host is not None:
        yield from _nics(asked, machine.nics, machine.host, first)


def _nics(asked: Asked, nics: Nics, host: Host, first: int) -> Iterator[Nodes | Links]:
    """Yield NICs and what they lead to, numbered in the order in which accelerators meet them."""
    fabric, plan = asked.machine.fabric, asked.plan
    size, many = host.accelerators, max(1, nics.per_host // host.accelerators)
    each = many if asked.bundled else 1
    per_host, nodes = nics.per_host // each, many // each  # of a host, of an accelerator
    unit_nics = max(1, asked.size // size) * nics.per_host
    leaves = plan.pods * fabric.rails if plan is not None and fabric is not None else 0

    def owned(index: Ints) -> Ints:
        """Return the first NIC of accelerators; several of these may share one."""
        return index // size * per_host + index % size * per_host // size

    def owner(nic: Ints) -> Ints:
        """Return the first accelerator of NICs."""
        place = nic % per_host * size
        return nic // per_host * size + (place // per_host if nodes > 1 else -(-place // per_host))

    count = int(owned(np.array(asked.present - 1))) + nodes

    def leaf_of(nic: Ints) -> Ints:
        """Return the leaf of NICs: that of the pod and the rail."""
        assert fabric is not None
        unit = owner(nic) // asked.size
        rail = (nic * each - unit * unit_nics) // many % fabric.rails
        return unit // fabric.pod_units * fabric.rails + rail

    @functools.cache
    def before() -> Ints:
        return _met(leaf_of(np.arange(count)), leaves) if leaves else np.zeros(0, dtype=np.int64)

    def number(nic: Ints) -> Ints:
        return first + nic + np.searchsorted(before(), nic)

    def facts(nic: Ints) -> dict[str, Ints | int]:
        return {"rack": asked.rack(owner(nic)), "tray": owner(nic) // size, "count": each}

    def inner(index: Ints, which: Ints) -> tuple[Ints, Ints]:
        return index, number(owned(index) + which)

    def leaf(leaf: Ints) -> Ints:
        return first + before()[leaf] + 1 + leaf

    def outward(nic: Ints) -> tuple[Ints, Ints]:
        return number(nic), leaf(leaf_of(nic))

    link = nics.wire.link
    yield Nodes(Kind.NIC, nics.part, Tier.HOST, (count,), "nic-{}", number, facts, each, link)
    yield Links(Tier.HOST, nics.host_wire, (asked.present, nodes), inner, each)
    if fabric is not None and plan is not None:
        delay_s = fabric.leaf.latency_s
        yield Links(Tier.NIC_LEAF, nics.wire, (count,), outward, each, down_s=delay_s)
        yield from _leaves(fabric, plan, leaf)
        if fabric.kind == "dragonfly":
            yield from _dragonfly(fabric, plan.pods, leaf)
        elif plan.spines:
            yield from _spines(fabric, plan, asked.bundled, leaf, first + count + leaves)


def _met(leaf_of: Ints, leaves: int) -> Ints:
    """Return the NIC after which each leaf comes; leaves that no NIC leads to come last."""
    met = np.full(leaves, len(leaf_of) - 1)
    used, nic = np.unique(leaf_of, return_index=True)
    met[used] = nic
    return met


def _leaves(fabric: Fabric, plan: FabricPlan, leaf: Callable[[Ints], Ints]) -> Iterator[Nodes]:
    def number(pod: Ints, rail: Ints) -> Ints:
        return leaf(pod * fabric.rails + rail)

    def facts(pod: Ints, rail: Ints) -> dict[str, Ints | int]:
        return {"rack": -1, "count": 1, "pod": pod, "rail": rail}

    sizes = (plan.pods, fabric.rails)
    yield Nodes(Kind.LEAF, fabric.leaf.part, Tier.LEAF, sizes, "leaf-{}-{}", number, facts)


def _dragonfly(fabric: Fabric, groups: int, leaf: Callable[[Ints], Ints]) -> Iterator[Links]:
    """Join the routers of a group all to all, and every pair of groups by `global_links`.

    Link k from group g to group h leaves by router ((h - g - 1) global_links + k) mod routers, so
    that every router carries the same number. Source: Kim et al., "Technology-Driven,
    Highly-Scalable Dragonfly Topology", ISCA 2008.
    """
    assert fabric.uplink is not None
    routers, links, delay_s = fabric.rails, fabric.global_links, fabric.leaf.latency_s
    (near, far), (low, high) = pairs(routers), pairs(groups)

    def local(group: Ints, pair: Ints) -> tuple[Ints, Ints]:
        return leaf(group * routers + near[pair]), leaf(group * routers + far[pair])

    def between(start: int, pair: Ints, k: Ints) -> tuple[Ints, Ints]:
        g, h = low[pair], high[pair]
        out = ((h - g - 1) * links + start + k) % routers
        into = ((g - h - 1) % groups * links + start + k) % routers
        return leaf(g * routers + out), leaf(h * routers + into)

    tier, delays = Tier.LEAF_LEAF, (delay_s, delay_s)
    yield Links(tier, fabric.uplink, (groups, len(near)), local, fabric.local_links, *delays)
    wide = fabric.core_link or fabric.uplink
    each, more = divmod(links, routers)  # beyond a link from every router they start anew
    for start, count, cables in ((0, more, each + 1), (more, routers - more, each)):
        if cables:
            join = functools.partial(between, start)
            yield Links(tier, wide, (len(low), count), join, cables, *delays)


def _spines(
    fabric: Fabric, plan: FabricPlan, bundled: bool, leaf: Callable[[Ints], Ints], first: int
) -> Iterator[Nodes | Links]:
    """Yield spines in sets, and cores in planes that the spines of a set take in turns."""
    assert fabric.spine is not None
    assert fabric.uplink is not None
    spines, planes, cores = (1, 1, 1) if bundled else (plan.spines, plan.planes, plan.cores)
    each = plan.spines // spines

    def spine(group: Ints, spine: Ints) -> Ints:
        return first + group * spines + spine

    def facts(group: Ints, spine: Ints) -> dict[str, Ints | int]:
        return {"rack": -1, "group": group, "count": each}

    def upward(pod: Ints, rail: Ints, top: Ints) -> tuple[Ints, Ints]:
        group = pod // fabric.group_pods if plan.groups > 1 else 0 * pod
        group = rail if fabric.kind == "rail-only" else group
        return leaf(pod * fabric.rails + rail), spine(group, top)

    leaf_s, spine_s = fabric.leaf.latency_s, fabric.spine.latency_s
    sizes, part = (plan.groups, spines), fabric.spine.part
    yield Nodes(Kind.SPINE, part, Tier.SPINE, sizes, "spine-{}-{}", spine, facts, each)
    grid, links = (plan.pods, fabric.rails, spines), plan.leaf_up // spines
    yield Links(Tier.LEAF_SPINE, fabric.uplink, grid, upward, links, leaf_s, spine_s)
    if not plan.cores or fabric.core is None or fabric.core_link is None:
        return
    inner = plan.planes // planes * (plan.cores // cores) * plan.core_switches

    def core(plane: Ints, core: Ints) -> Ints:
        return first + plan.groups * spines + plane * cores + core

    def core_facts(plane: Ints, core: Ints) -> dict[str, Ints | int]:
        return {"rack": -1, "count": inner}

    def to_core(below: Ints, top: Ints, group: Ints) -> tuple[Ints, Ints]:
        return spine(group, below), core(below % planes, top)

    sizes, part = (planes, cores), fabric.core.part
    yield Nodes(Kind.CORE, part, Tier.CORE, sizes, "core-{}-{}", core, core_facts, inner)
    grid, links = (spines, cores, plan.groups), plan.spine_up * each // cores
    core_s = fabric.core.latency_s
    yield Links(Tier.SPINE_CORE, fabric.core_link, grid, to_core, links, spine_s, core_s)
