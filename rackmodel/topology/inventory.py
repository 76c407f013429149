"""Count the parts of a machine: by arithmetic from its description, or node by node in a graph.

In:  a `Topology` and a number of accelerators, or a graph.
Out: a frame with one row per part and place; copper pairs and the power of optics from a graph.
Left out: prices, watts and failures of the parts (`assess`).
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from rackmodel.errors import UnknownName
from rackmodel.topology import description as d
from rackmodel.topology.check import kinds_of
from rackmodel.topology.kinds import Tier, tier_of

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

    from rackmodel.hardware import Catalog
    from rackmodel.topology.topology import Topology

COLUMNS = [
    "part_kind",
    "part",
    "tier",
    "medium",
    "link",
    "count",
    "per",
    "bytes_per_s",
    "lanes",
    "length_m",
]
"""Columns of an inventory; the last three describe one link, one direction (0 for other parts)."""


class _Row(NamedTuple):
    part_kind: str
    part: str
    tier: str = ""
    medium: str = ""
    link: str = ""
    bytes_per_s: float = 0.0
    lanes: int = 0
    length_m: float = 0.0


def _cable(tier: str, wire: d.Wire) -> _Row:
    return _Row(
        "cable",
        wire.medium,
        tier,
        wire.medium,
        wire.link,
        wire.bytes_per_s,
        wire.lanes,
        wire.length_m,
    )


def _records(counts: Counter[_Row]) -> list[dict[str, Any]]:
    optical = _optical_media()
    rows = Counter(counts)
    for row, count in counts.items():
        if row.part_kind == "cable" and row.medium in optical:
            rows[row._replace(part_kind="transceiver")] += 2 * count  # one at either end
    return [
        {
            **row._asdict(),
            "count": count,
            "per": "fabric" if row.tier and Tier(row.tier).in_fabric else "rack",
        }
        for row, count in sorted(rows.items())
        if count
    ]


def _frame(counts: Counter[_Row]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(_records(counts), columns=COLUMNS)


def _optical_media() -> frozenset[str]:
    from rackmodel.hardware import load_catalog

    return frozenset(name for name, m in load_catalog().media.items() if m.kind == "optical")


def reckoned(topology: Topology, accelerators: int) -> pd.DataFrame:
    """Count the parts of `Topology.inventory` without building a graph."""
    return _frame(_reckon(topology, accelerators))


def reckoned_rows(topology: Topology, accelerators: int) -> list[dict[str, Any]]:
    """Return the rows of `reckoned` as plain data, for those who must not wait for pandas."""
    return _records(_reckon(topology, accelerators))


def _reckon(topology: Topology, accelerators: int) -> Counter[_Row]:
    counts: Counter[_Row] = Counter()
    present = topology.present(accelerators)
    units = topology.units(accelerators)
    _count_boxes(counts, topology, present)
    _count_domain(counts, topology, accelerators, present, units)
    host, nics, fabric = topology.host, topology.nics, topology.fabric
    assert host is not None
    trays = max(1, present // host.accelerators)
    counts[_Row("cpu", host.cpu, "host")] += trays * host.cpus
    if host.cpus:
        counts[_cable("host", host.wire)] += present
    if nics is not None:
        many = max(1, nics.per_host // host.accelerators)
        if many > 1:
            cards = present * many
        elif present < host.accelerators:
            cards = (present - 1) * nics.per_host // host.accelerators + 1
        else:
            cards = trays * nics.per_host
        counts[_Row("nic", nics.part, "host", "", nics.wire.link)] += cards
        counts[_cable("host", nics.host_wire)] += present * many
        if fabric is not None:
            counts[_cable("nic_leaf", nics.wire)] += cards
    if fabric is not None:
        plan = topology.plan(accelerators)
        assert plan is not None
        _count_fabric(counts, fabric, plan)
    return counts


def _count_boxes(counts: Counter[_Row], topology: Topology, present: int) -> None:
    counts[_Row("accelerator", topology.accelerator)] += present
    counts[_Row("rack", topology.chassis)] += -(-present // topology.rack_accelerators)
    counts[_Row("chassis", topology.chassis)] += -(-present // topology.chassis_accelerators)


def _count_domain(
    counts: Counter[_Row], topology: Topology, accelerators: int, present: int, units: int
) -> None:
    match topology.scale_up:
        case d.Switched() as s:
            chips = len(s.links)
            counts[_cable("scale_up", s.wire)] += present * sum(s.links)
            counts[_Row("switch", s.switch, "scale_up")] += units * s.groups * chips
            counts[_Row("switch", s.switch, "scale_up_top")] += units * s.spines * chips
            if s.upper is not None:
                pairs = s.groups * (s.groups - 1) // 2 * s.cross_links
                upward = s.groups * s.spines * s.spine_links
                counts[_cable("scale_up_top", s.upper)] += units * chips * (pairs + upward)
        case d.Mesh() as m:
            pairs = m.accelerators * (m.accelerators - 1) // 2
            counts[_cable("scale_up", m.wire)] += units * pairs * m.links
        case d.Torus() as t:
            shape = topology.slice_shape(accelerators) if units == 1 else t.shape
            assert shape is not None
            for i, (length, wire) in enumerate(zip(shape, t.wires, strict=True)):
                lines = units * math.prod(shape) // length
                wrap = int(t.wraps(shape, i))
                far = ((length - 1) // t.cube if t.cube else 0) + wrap
                counts[_cable("scale_up", t.far or wire)] += lines * far
                counts[_cable("scale_up", wire)] += lines * (length - 1 + wrap - far)
            counts[_Row("switch", t.ocs, "ocs")] += units * circuit_switches(t, shape)


def circuit_switches(torus: d.Torus, shape: tuple[int, ...]) -> int:
    """Count the optical circuit switches that a slice's cubes are wired to.

    The two faces of a cube in one dimension have cube^(D-1) fibres each at equal positions; one
    switch serves one position of all cubes. Source: Jouppi et al., "TPU v4", ISCA 2023, sec. 2.
    """
    if not torus.ocs or not torus.cube:
        return 0
    face = math.prod([torus.cube] * (len(shape) - 1))
    cubes = math.prod(shape) // (face * torus.cube)
    return len(shape) * face * math.ceil(2 * cubes / torus.ocs_ports)


def _count_fabric(counts: Counter[_Row], fabric: d.Fabric, plan: d.FabricPlan) -> None:
    leaves = plan.pods * fabric.rails
    counts[_Row("switch", fabric.leaf.part, "leaf")] += leaves
    if fabric.kind == "dragonfly" and fabric.uplink:
        pairs = fabric.rails * (fabric.rails - 1) // 2
        counts[_cable("leaf_leaf", fabric.uplink)] += plan.pods * pairs * fabric.local_links
        wide = fabric.core_link or fabric.uplink
        between = plan.pods * (plan.pods - 1) // 2
        counts[_cable("leaf_leaf", wide)] += between * fabric.global_links
    if not plan.spines or fabric.spine is None or fabric.uplink is None:
        return
    counts[_Row("switch", fabric.spine.part, "spine")] += plan.groups * plan.spines
    counts[_cable("leaf_spine", fabric.uplink)] += leaves * plan.leaf_up
    if plan.cores and fabric.core is not None and fabric.core_link is not None:
        counts[_Row("switch", fabric.core.part, "core")] += (
            plan.spines * plan.cores * plan.core_switches
        )
        links = plan.groups * plan.spines * plan.spine_up
        counts[_cable("spine_core", fabric.core_link)] += links


def counted(graph: nx.DiGraph[Any], topology: Topology | None = None) -> pd.DataFrame:
    """Count the parts of a full graph node by node and edge by edge; the frame of `reckoned`."""
    counts: Counter[_Row] = Counter()
    kinds = kinds_of(graph)
    present = 0
    for node, data in graph.nodes(data=True):
        kind, part = kinds[node], str(data.get("part", ""))
        number = int(data.get("count", 1))
        if kind == "accelerator":
            present += 1
            counts[_Row("accelerator", part or str(graph.graph.get("accelerator", "")))] += 1
        elif kind == "cpu":
            counts[_Row("cpu", part, "host")] += number
        elif kind == "nic":
            links = [
                e.get("link", "") for _, v, e in graph.out_edges(node, True) if _is_leaf(kinds[v])
            ]
            link = str(links[0]) if links else topology.nic_link if topology else ""
            counts[_Row("nic", part, "host", "", link)] += number
        else:
            tier = kind
            if kind == "scale_up_switch":
                tier = "scale_up" if data.get("tier", 1) == 1 else "scale_up_top"
            counts[_Row("switch", part, tier)] += number
    if graph.graph.get("ocs"):
        counts[_Row("switch", str(graph.graph["ocs_part"]), "ocs")] += int(graph.graph["ocs"])
    cables: Counter[_Row] = Counter()
    for a, b, data in graph.edges(data=True):
        number = int(data.get("count", 1))
        cables[
            _Row(
                "cable",
                str(data.get("medium", "")),
                tier_of(kinds[a], kinds[b]),
                str(data.get("medium", "")),
                str(data.get("link", "")),
                float(data["bytes_per_s"]) / number,
                int(data.get("lanes", 1)),
                float(data.get("length_m", 0.0)),
            )
        ] += number
    for row, ends in cables.items():
        counts[row] += -(-ends // 2)  # an edge is one direction; a one-way link is one cable
    racks = {
        data.get("rack", 0) for _, data in graph.nodes(data=True) if data["kind"] == "accelerator"
    }
    per_chassis = topology.chassis_accelerators if topology else 1
    chassis = topology.chassis if topology else ""
    counts[_Row("rack", chassis)] += len(racks)
    counts[_Row("chassis", chassis)] += -(-present // per_chassis)
    return _frame(counts)


def _is_leaf(kind: str) -> bool:
    return kind in ("leaf", "spine", "core")


def copper_pairs_of(rows: list[dict[str, Any]]) -> float:
    """Count the electrical pairs of copper cables: lanes of both directions of every link."""
    return float(
        sum(
            2 * row["lanes"] * row["count"]
            for row in rows
            if (row["part_kind"], row["medium"]) == ("cable", "copper")
        )
    )


def copper_pairs(graph: nx.DiGraph[Any]) -> int:
    """Count the copper pairs in a graph: `lanes` of every copper link, each direction its own."""
    return sum(
        int(data["count"]) * int(data["lanes"])
        for _, _, data in graph.edges(data=True)
        if data["medium"] == "copper"
    )


def scale_up_bytes_per_s(graph: nx.DiGraph[Any]) -> float:
    """Sum the rates of all accelerators' scale-up links, both directions, as makers print it."""
    kinds = kinds_of(graph)
    return sum(
        float(data["bytes_per_s"]) * [kinds[a], kinds[b]].count("accelerator")
        for a, b, data in graph.edges(data=True)
        if tier_of(kinds[a], kinds[b]) == "scale_up"
    )


def optics_power_w(
    graph: nx.DiGraph[Any],
    medium: str = "pluggable",
    *,
    tier: str = "scale_up",
    catalog: Catalog | None = None,
) -> float:
    """Return the power of the modules if every link of a tier ran over `medium`. [W]

    Energy per bit x rate x both ends. Modules draw it all the time; the electrical drivers on
    either side are needed with copper too and are left out. Copper itself gives 0.

    Raises
    ------
    UnknownName
        If the catalog has no such medium.
    """
    from rackmodel.hardware import load_catalog

    media = (catalog or load_catalog()).media
    if medium not in media:
        raise UnknownName.among("medium", medium, media)
    kinds = kinds_of(graph)
    bytes_per_s = sum(
        float(data["bytes_per_s"])
        for a, b, data in graph.edges(data=True)
        if tier_of(kinds[a], kinds[b]) == tier
    )
    return 8.0 * bytes_per_s * media[medium].joule_per_bit_per_end
