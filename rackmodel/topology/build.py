"""Spell a description out as a NetworkX graph, plane by plane or with parallel parts bundled.

In:  a `Topology` and how many accelerators are used.
Out: a directed graph; an edge is one direction of a link, or of `count` equal parallel links.
Left out: routes, counts of parts.

Node ids read as "accelerator-17", "switch-0-3" (domain, chip), "nic-17", "cpu-4", "leaf-2-7" (pod,
rail), "spine-0-5" (group, number), "core-3-1" (plane, number).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from rackmodel.topology import description as d
from rackmodel.topology.inventory import circuit_switches
from rackmodel.topology.plain import PlainGraph

if TYPE_CHECKING:
    import networkx as nx

    from rackmodel.topology.topology import Topology

Facts = dict[str, object]
Edge = tuple[str, str, Facts]
Node = tuple[str, Facts]
Graph: TypeAlias = "nx.DiGraph[Any] | PlainGraph"


def build_graph(topology: Topology, accelerators: int, *, bundled: bool) -> nx.DiGraph[Any]:
    """Build the graph of `Topology.graph`, which says what it holds."""
    from rackmodel.topology.notebook import MachineGraph

    graph: nx.DiGraph[Any] = MachineGraph()
    _fill(graph, topology, accelerators, bundled)
    return graph


def build_plain(topology: Topology, accelerators: int) -> PlainGraph:
    """Build the same graph, bundled, as lists."""
    graph = PlainGraph()
    _fill(graph, topology, accelerators, True)
    return graph


def _fill(graph: Graph, topology: Topology, accelerators: int, bundled: bool) -> None:
    scale_up = topology.scale_up
    assert scale_up is not None
    units = topology.units(accelerators)
    shape = topology.slice_shape(accelerators)
    unit_size = math.prod(shape) if shape and units == 1 else topology.domain_accelerators
    graph.graph.update(
        name=topology.name,
        accelerator=topology.accelerator,
        accelerators=accelerators,
        domain=unit_size,
        rack_accelerators=topology.rack_accelerators,
        reduction=isinstance(scale_up, d.Switched) and scale_up.reduction,
        fabric_reduction=topology.fabric is not None and topology.fabric.leaf.reduction,
        bundled=bundled,
    )
    if isinstance(scale_up, d.Torus) and shape is not None:
        graph.graph["shape"] = shape if units == 1 else scale_up.shape
        graph.graph["ocs_part"] = scale_up.ocs
        graph.graph["ocs"] = units * circuit_switches(scale_up, graph.graph["shape"])
    tray = topology.host.accelerators if topology.host else unit_size
    graph.add_nodes_from(
        (
            f"accelerator-{i}",
            {
                "kind": "accelerator",
                "index": i,
                "part": topology.accelerator,
                "rack": i // topology.rack_accelerators,
                "tray": i // tray,
                "domain": i // unit_size,
            },
        )
        for i in range(units * unit_size)
    )
    for unit in range(units):
        _add_domain(graph, topology, unit, unit_size, shape, bundled)
    if not bundled:
        _add_cpus(graph, topology, units * unit_size)
    plan = topology.plan(accelerators)
    if topology.nics is not None:
        _add_nics(graph, topology, units, unit_size, plan, bundled)
    if plan is not None:
        _add_fabric(graph, topology, plan, bundled)


def both(a: str, b: str, facts: Facts, switch_latency_s: float = 0.0) -> Iterator[Edge]:
    """Yield both directions of a link; leaving `b`, a switch, costs its latency besides."""
    yield a, b, facts
    yield b, a, later(facts, switch_latency_s)


def later(facts: Facts, latency_s: float) -> Facts:
    """Return the facts of an edge with more latency."""
    if not latency_s:
        return facts
    return {**facts, "latency_s": cast(float, facts["latency_s"]) + latency_s}


def _add_domain(
    graph: Graph,
    topology: Topology,
    unit: int,
    size: int,
    shape: tuple[int, ...] | None,
    bundled: bool,
) -> None:
    first = unit * size
    match topology.scale_up:
        case d.Switched() as switched:
            _add_planes(graph, switched, unit, first, topology.rack_accelerators, bundled)
        case d.Mesh() as mesh:
            facts = mesh.wire.edge(mesh.links)
            names = [f"accelerator-{first + i}" for i in range(size)]
            graph.add_edges_from((a, b, facts) for a in names for b in names if a != b)
        case d.Torus() as torus:
            assert shape is not None
            graph.add_edges_from(torus_edges(torus, shape, first))


def _add_planes(
    graph: Graph, switched: d.Switched, unit: int, first: int, rack: int, bundled: bool
) -> None:
    delay = switched.switch_latency_s
    links = (sum(switched.links),) if bundled else switched.links
    planes = len(switched.links) if bundled else 1
    size = switched.group_accelerators
    up = [switched.wire.edge(count) for count in links]
    down = [later(facts, delay) for facts in up]
    per_tray = -(-len(switched.links) // switched.trays)
    for group in range(switched.groups):
        start = first + group * size
        ids = [f"accelerator-{start + i}" for i in range(size)]
        for chip, (into, out) in enumerate(zip(up, down, strict=True)):
            name = f"switch-{unit}-{group}-{chip}"
            place = {"rack": start // rack, "tray": chip // per_tray, "domain": unit}
            graph.add_node(
                name, kind="scale_up_switch", part=switched.switch, tier=1, count=planes, **place
            )
            graph.add_edges_from((a, name, into) for a in ids)
            graph.add_edges_from((name, a, out) for a in ids)
    if switched.upper is None:
        return
    if switched.cross_links:
        facts = later(switched.upper.edge(switched.cross_links * planes), delay)
        for chip in range(len(links)):
            names = [f"switch-{unit}-{group}-{chip}" for group in range(switched.groups)]
            graph.add_edges_from((a, b, facts) for a in names for b in names if a != b)
    spines = 1 if bundled else switched.spines
    if switched.spines:
        total = planes * (switched.spines if bundled else 1)
        facts = later(switched.upper.edge(switched.spine_links * total), delay)
        for chip in range(len(links)):
            for spine in range(spines):
                top = f"switch-{unit}-top-{chip}-{spine}"
                graph.add_node(
                    top,
                    kind="scale_up_switch",
                    part=switched.switch,
                    tier=2,
                    count=total,
                    rack=first // rack,
                    domain=unit,
                )
                for group in range(switched.groups):
                    graph.add_edges_from(both(f"switch-{unit}-{group}-{chip}", top, facts))


def torus_edges(torus: d.Torus, shape: tuple[int, ...], first: int = 0) -> Iterator[Edge]:
    """Yield both directions of every link of a slice; index runs fastest along the last dimension.

    A dimension of length 2 has one link between the two; wrap-around needs `wrap_multiple`.
    Links between cubes and wrap-arounds leave the cube by `far`, where the pod has one.
    """
    size = math.prod(shape)
    stride = size
    for dimension, (length, wire) in enumerate(zip(shape, torus.wires, strict=True)):
        stride //= length
        near = wire.edge()
        far = torus.far.edge() if torus.far else near
        wraps = torus.wraps(shape, dimension)
        for index in range(size):
            place = index // stride % length
            if place == length - 1 and not wraps:
                continue
            to = index + stride if place < length - 1 else index - stride * (length - 1)
            leaves = place == length - 1 or (torus.cube and (place + 1) % torus.cube == 0)
            a, b = f"accelerator-{first + index}", f"accelerator-{first + to}"
            yield from both(a, b, far if leaves else near)


def _add_cpus(graph: Graph, topology: Topology, present: int) -> None:
    host = topology.host
    if host is None or not host.cpus:
        return
    facts = host.wire.edge()
    for tray in range(present // host.accelerators or 1):
        first = tray * host.accelerators
        for cpu in range(host.cpus):
            name = f"cpu-{tray * host.cpus + cpu}"
            rack = first // topology.rack_accelerators
            graph.add_node(name, kind="cpu", part=host.cpu, rack=rack, tray=tray)
        for i in range(min(host.accelerators, present - first)):
            cpu = tray * host.cpus + i * host.cpus // host.accelerators
            graph.add_edges_from(both(f"accelerator-{first + i}", f"cpu-{cpu}", facts))


def nic_of(index: int, host: d.Host, nics: d.Nics) -> int:
    """Return the first NIC of an accelerator, for hosts with at most one NIC each."""
    tray, place = divmod(index, host.accelerators)
    return tray * nics.per_host + place * nics.per_host // host.accelerators


def _add_nics(
    graph: Graph,
    topology: Topology,
    units: int,
    size: int,
    plan: d.FabricPlan | None,
    bundled: bool,
) -> None:
    nics, host, fabric = topology.nics, topology.host, topology.fabric
    assert nics is not None
    assert host is not None
    many = max(1, nics.per_host // host.accelerators)  # NICs of one accelerator
    bundle = many if bundled else 1
    rack, tray = topology.rack_accelerators, host.accelerators
    inner = nics.host_wire.edge(bundle)
    port = nics.wire.edge(bundle)
    out = later(port, fabric.leaf.latency_s) if fabric else port
    unit_nics = max(1, size // tray) * nics.per_host
    for index in range(units * size):
        a = f"accelerator-{index}"
        if many > 1:
            mine = [index * many // bundle + k for k in range(many // bundle)]
        else:
            mine = [nic_of(index, host, nics)]
        for nic in mine:
            name = f"nic-{nic}"
            graph.add_edges_from(((a, name, inner), (name, a, inner)))
            node = graph.nodes[name]
            if node:
                continue  # shared, and joined to its leaf already
            node.update(
                kind="nic", part=nics.part, rack=index // rack, tray=index // tray, count=bundle
            )
            if plan is not None and fabric is not None:
                unit = index // size
                slot = nic * bundle - unit * unit_nics
                leaf = f"leaf-{unit // fabric.pod_units}-{slot // many % fabric.rails}"
                graph.add_edges_from(((name, leaf, port), (leaf, name, out)))


def _add_fabric(graph: Graph, topology: Topology, plan: d.FabricPlan, bundled: bool) -> None:
    fabric = topology.fabric
    assert fabric is not None
    leaf = {"kind": "leaf", "part": fabric.leaf.part, "rack": -1, "count": 1}
    graph.add_nodes_from(
        (f"leaf-{pod}-{rail}", {**leaf, "pod": pod, "rail": rail})
        for pod in range(plan.pods)
        for rail in range(fabric.rails)
    )
    if fabric.kind == "dragonfly":
        graph.add_edges_from(_dragonfly_edges(fabric, plan.pods))
        return
    if not plan.spines or fabric.spine is None or fabric.uplink is None:
        return
    by_rail = fabric.kind == "rail-only"
    spines = 1 if bundled else plan.spines
    per_spine = plan.leaf_up // spines
    up = later(fabric.uplink.edge(per_spine), fabric.leaf.latency_s)
    down = later(fabric.uplink.edge(per_spine), fabric.spine.latency_s)
    for group in range(plan.groups):
        for spine in range(spines):
            graph.add_node(
                f"spine-{group}-{spine}",
                kind="spine",
                part=fabric.spine.part,
                rack=-1,
                group=group,
                count=plan.spines // spines,
            )
    for pod in range(plan.pods):
        for rail in range(fabric.rails):
            name = f"leaf-{pod}-{rail}"
            group = rail if by_rail else (pod // fabric.group_pods if plan.groups > 1 else 0)
            names = [f"spine-{group}-{spine}" for spine in range(spines)]
            graph.add_edges_from((name, top, up) for top in names)
            graph.add_edges_from((top, name, down) for top in names)
    if plan.cores:
        graph.add_edges_from(_core_edges(graph, fabric, plan, bundled))


def _core_edges(
    graph: Graph, fabric: d.Fabric, plan: d.FabricPlan, bundled: bool
) -> Iterator[Edge]:
    assert fabric.core is not None
    assert fabric.core_link is not None
    assert fabric.spine is not None
    planes = 1 if bundled else plan.spines
    cores = 1 if bundled else plan.cores
    count = plan.spines * plan.spine_up if bundled else plan.core_links
    up = later(fabric.core_link.edge(count), fabric.spine.latency_s)
    down = later(fabric.core_link.edge(count), fabric.core.latency_s)
    total = plan.spines * plan.cores // (planes * cores) * plan.core_switches
    for plane in range(planes):
        for core in range(cores):
            name = f"core-{plane}-{core}"
            graph.add_node(name, kind="core", part=fabric.core.part, rack=-1, count=total)
            for group in range(plan.groups):
                yield f"spine-{group}-{plane}", name, up
                yield name, f"spine-{group}-{plane}", down


def _dragonfly_edges(fabric: d.Fabric, groups: int) -> Iterator[Edge]:
    """Join the routers of a group all to all, and every pair of groups by `global_links`.

    Link k from group g to group h leaves by router ((h - g - 1) global_links + k) mod routers, so
    that
    every router carries the same number. Source: Kim et al., "Technology-Driven, Highly-Scalable
    Dragonfly Topology", ISCA 2008.
    """
    assert fabric.uplink is not None
    delay = fabric.leaf.latency_s
    local = later(fabric.uplink.edge(fabric.local_links), delay)
    wide = fabric.core_link or fabric.uplink
    routers = fabric.rails
    for g in range(groups):
        names = [f"leaf-{g}-{r}" for r in range(routers)]
        yield from ((a, b, local) for a in names for b in names if a != b)
    counts: dict[tuple[str, str], int] = {}
    for g in range(groups):
        for h in range(g + 1, groups):
            for k in range(fabric.global_links):
                out = ((h - g - 1) * fabric.global_links + k) % routers
                into = ((g - h - 1) % groups * fabric.global_links + k) % routers
                pair = (f"leaf-{g}-{out}", f"leaf-{h}-{into}")
                counts[pair] = counts.get(pair, 0) + 1
    for (a, b), count in counts.items():
        facts = later(wide.edge(count), delay)
        yield a, b, facts
        yield b, a, facts
