"""Count the parts of a machine from its elements, or node by node in a graph.

In:  a `Description` and a number of accelerators, or a graph.
Out: columns with one row per part and place; copper pairs and the power of optics from a graph.
Left out: prices, watts and failures of the parts (`assess`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from rackmodel.annotations import DiGraph
from rackmodel.columns import Columns, of_records
from rackmodel.hardware import load_catalog
from rackmodel.topology.check import kinds_of
from rackmodel.topology.description import Description
from rackmodel.topology.elements import elements
from rackmodel.topology.kinds import FABRIC_SWITCHES, Kind, Tier, tier_of

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


def _node(kind: str, part: str, tier: str, link: str) -> _Row:
    """Return the row of a node: parts of the hosts by their kind, all others are switches."""
    if kind == Kind.ACCELERATOR:
        return _Row(kind, part)
    if kind in (Kind.CPU, Kind.NIC):
        return _Row(kind, part, Tier.HOST.value, "", link)
    return _Row("switch", part, str(tier))


def _boxes(machine: Description | None, racks: int, accelerators: int) -> Counter[_Row]:
    chassis, size = (machine.chassis, machine.chassis_accelerators) if machine else ("", 1)
    boxes = {_Row("rack", chassis): racks, _Row("chassis", chassis): -(-accelerators // size)}
    return Counter(boxes)


def _records(counts: Counter[_Row]) -> list[dict[str, Any]]:
    optical = {name for name, medium in load_catalog().media.items() if medium.kind == "optical"}
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


def inventory_rows(machine: Description, accelerators: int) -> list[dict[str, Any]]:
    """Return the rows of `Topology.inventory` as plain data, without spelling anything out."""
    parts = elements(machine, accelerators)
    present = machine.present(accelerators)
    counts = _boxes(machine, -(-present // machine.rack_accelerators), present)
    for group in parts.nodes:
        counts[_node(group.kind, group.part, group.tier, group.link)] += group.count * group.each
    if parts.facts.get("ocs"):
        counts[_Row("switch", parts.facts["ocs_part"], Tier.OCS.value)] += parts.facts["ocs"]
    for links in parts.links:
        wire = links.wire
        figures = (wire.bytes_per_s, wire.lanes, wire.length_m)
        tier = links.tier.value
        counts[_Row("cable", wire.medium, tier, wire.medium, wire.link, *figures)] += links.cables
    return _records(counts)


def _edges(graph: DiGraph[Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the kinds of both ends and the facts of every edge."""
    kinds = kinds_of(graph)
    for a, b, data in graph.edges(data=True):
        yield kinds[a], kinds[b], data


def counted(graph: DiGraph[Any], machine: Description | None = None) -> Columns:
    """Count the parts of a full graph node by node and edge by edge, as `Topology.parts`."""
    counts: Counter[_Row] = Counter()
    kinds = kinds_of(graph)
    for node, data in graph.nodes(data=True):
        kind, part, tier, link = kinds[node], str(data.get("part", "")), kinds[node], ""
        if kind == Kind.ACCELERATOR:
            part = part or str(graph.graph.get("accelerator", ""))
        elif kind == Kind.SCALE_UP_SWITCH:
            tier = Tier.SCALE_UP if data.get("tier", 1) == 1 else Tier.SCALE_UP_TOP
        elif kind == Kind.NIC:
            out = graph.out_edges(node, data="link", default="")
            up = [str(link) for _, head, link in out if kinds[head] in FABRIC_SWITCHES]
            link = up[0] if up else machine.nic_link if machine else ""
        counts[_node(kind, part, tier, link)] += int(data.get("count", 1))
    if graph.graph.get("ocs"):
        row = _Row("switch", str(graph.graph["ocs_part"]), Tier.OCS.value)
        counts[row] += int(graph.graph["ocs"])
    ends: Counter[_Row] = Counter()
    for kind_a, kind_b, data in _edges(graph):
        number, medium = int(data.get("count", 1)), str(data.get("medium", ""))
        row = _Row(
            "cable",
            medium,
            tier_of(kind_a, kind_b).value,
            medium,
            str(data.get("link", "")),
            float(data["bytes_per_s"]) / number,
            int(data.get("lanes", 1)),
            float(data.get("length_m", 0.0)),
        )
        ends[row] += number
    for row, number in ends.items():
        counts[row] += -(-number // 2)  # an edge is one direction; a one-way link is one cable
    places = [
        data.get("rack", 0) for n, data in graph.nodes(data=True) if kinds[n] == "accelerator"
    ]
    return of_records(_records(counts + _boxes(machine, len(set(places)), len(places))), COLUMNS)


def copper_pairs_of(rows: list[dict[str, Any]]) -> float:
    """Count the electrical pairs of copper cables: lanes of both directions of every link."""
    cables = [row for row in rows if (row["part_kind"], row["medium"]) == ("cable", "copper")]
    return float(sum(2 * row["lanes"] * row["count"] for row in cables))


def copper_pairs(graph: DiGraph[Any]) -> int:
    """Count the copper pairs in a graph: `lanes` of every copper link, each direction its own."""
    edges = [data for *_, data in graph.edges(data=True) if data["medium"] == "copper"]
    return sum(int(data["count"]) * int(data["lanes"]) for data in edges)


def scale_up_bytes_per_s(graph: DiGraph[Any]) -> float:
    """Sum the rates of all accelerators' scale-up links, both directions, as makers print it."""
    return sum(
        float(data["bytes_per_s"]) * (kind_a, kind_b).count(Kind.ACCELERATOR)
        for kind_a, kind_b, data in _edges(graph)
        if tier_of(kind_a, kind_b) == Tier.SCALE_UP
    )
