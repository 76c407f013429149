"""InfraGraph infrastructures (Keysight and MLCommons; PyPI `infragraph`).

In:  `devices` with components and edges, `instances` of devices, `edges` between instances, `links`
with a physical bandwidth and latency.
Out: a directed graph: xpu, nic, cpu and switch are nodes, `instance.number.component.number`.
Left out: memory; annotations.

Ports, slots and PCIe switches have no kind here: what they join is joined directly, at the lower of
the rates on the way. A switch in a device that has xpu's is one of the scale-up domain. Source:
infragraph.proto 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rackmodel.annotations import DiGraph, Graph
from rackmodel.errors import InvalidInput
from rackmodel.gate import shown, whole
from rackmodel.topology.formats.joined import Joined
from rackmodel.topology.kinds import Kind
from rackmodel.units import parse

_KINDS = {"xpu": Kind.ACCELERATOR, "nic": Kind.NIC, "cpu": Kind.CPU, "switch": Kind.LEAF}
_RATES = {"gigabits_per_second": 1e9 / 8, "gigabytes_per_second": 1e9}
_DELAYS = {"ms": 1e-3, "us": 1e-6, "ns": 1e-9}
MOST_NODES = 500_000


class _Edge(NamedTuple):
    """A link before ports are taken out: its name, rate (None: not said) and latency."""

    name: str
    bytes_per_s: float | None
    latency_s: float


def from_infragraph(data: Mapping[str, Any], file: str) -> DiGraph[Any]:
    """Return the graph of an infrastructure; links without a rate keep their name as `link`."""
    import networkx as nx

    devices = {str(one.get("name")): one for one in _tables(data, "devices", file)}
    raw: Graph[Any] = nx.Graph()
    counts: dict[str, int] = {}
    for instance in _tables(data, "instances", file):
        name, device = str(instance.get("name")), str(instance.get("device"))
        if device not in devices:
            raise InvalidInput(f"{file}: instance {shown(name)}: no device {shown(device)}; add it")
        counts[name] = _count(instance, f"{file}: instance {shown(name)}")
        for number in range(counts[name]):
            _device(raw, f"{name}.{number}", devices[device], data, file)
    for edge in _tables(data, "edges", file):
        _between(raw, edge, counts, data, file)
    _contract(raw)
    return _directed(raw)


def _device(
    raw: Graph[Any], name: str, device: Mapping[str, Any], data: Mapping[str, Any], file: str
) -> None:
    """Add the components of one instance of a device, and its inner edges."""
    components = _tables(device, "components", file)
    local = any(one.get("choice") == "xpu" for one in components)
    sizes = {}
    for component in components:
        kind = _kind(component, local, file)
        sizes[str(component.get("name"))] = size = _count(component, f"{file}: {name}")
        if len(raw) + size > MOST_NODES:
            raise InvalidInput(f"{file}: give at most {MOST_NODES:,} nodes: more are refused")
        raw.add_nodes_from(
            (f"{name}.{component.get('name')}.{number}", {"kind": kind}) for number in range(size)
        )
    for edge in _tables(device, "edges", file):
        ends: list[list[str]] = []
        for which in ("ep1", "ep2"):
            point = edge.get(which) or {}
            part, numbers = _slice(str(point.get("component", "")), sizes, file)
            ends.append([f"{name}.{part}.{number}" for number in numbers])
        _join(raw, ends, edge, _link(edge, (device, data), file), file)


def _kind(component: Mapping[str, Any], local: bool, file: str) -> str:
    """The kind of a component; empty for what is taken out."""
    choice = str(component.get("choice", ""))
    if choice == "device":
        raise InvalidInput(
            f"{file}: component {shown(component.get('name'))}: devices inside devices are not"
            " read; write their components"
        )
    if str(component.get("name")) in list(Kind):
        return str(component["name"])  # as `write.infragraph` names them
    words = f"{component.get('name', '')} {component.get('description', '')}".lower()
    if choice == "switch" and ("pci" in words or not local):
        return "" if "pci" in words else Kind.LEAF.value
    if choice == "switch":
        return Kind.SCALE_UP_SWITCH.value
    return _KINDS[choice].value if choice in _KINDS else ""


def _between(
    raw: Graph[Any],
    edge: Mapping[str, Any],
    counts: dict[str, int],
    data: Mapping[str, Any],
    file: str,
) -> None:
    """Add an edge between instances."""
    ends = []
    for which in ("ep1", "ep2"):
        point = edge.get(which) or {}
        instance, numbers = _slice(str(point.get("instance", "")), counts, file)
        found = []
        for number in numbers:
            prefix = f"{instance}.{number}."
            name = re.sub(r"\[.*", "", str(point.get("component", "")))
            size = 0
            while f"{prefix}{name}.{size}" in raw:
                size += 1
            component, members = _slice(str(point.get("component", "")), {name: size}, file)
            found += [f"{prefix}{component}.{member}" for member in members]
        ends.append(found)
    _join(raw, ends, edge, _link(edge, (data,), file), file)


def _join(
    raw: Graph[Any], ends: list[list[str]], edge: Mapping[str, Any], link: _Edge, file: str
) -> None:
    first, second = ends
    for a, b in _pairs(str(edge.get("scheme", "")), first, second, file):
        for node in (a, b):
            if node not in raw:
                raise InvalidInput(
                    f"{file}: an edge names {shown(node)}, which no device has; mend the name"
                )
        if a != b:
            raw.add_edge(a, b, link=link)


def _pairs(
    scheme: str, first: list[str], second: list[str], file: str
) -> Iterator[tuple[str, str]]:
    if scheme == "many2many":
        return ((a, b) for a in first for b in second)
    if scheme == "ring":
        return ((a, first[(i + 1) % len(first)]) for i, a in enumerate(first))
    if scheme != "one2one":
        raise InvalidInput(
            f"{file}: scheme {shown(scheme)} is not read (known: one2one, many2many, ring)"
        )
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise InvalidInput(
            f"{file}: one2one joins {len(first)} to {len(second)} ends; give as many"
        )
    n = max(len(first), len(second))
    return ((first[i % len(first)], second[i % len(second)]) for i in range(n))


def _slice(text: str, sizes: Mapping[str, int], file: str) -> tuple[str, list[int]]:
    """ "port[0:4]" as the name and numbers of ends; [a:b] ends before b as in Python."""
    found = re.fullmatch(r"\s*([\w./-]+)\s*(?:\[\s*(\d{0,7})\s*(:?)\s*(\d{0,7})\s*\])?\s*", text)
    if not found or found[1] not in sizes:
        raise InvalidInput(f"{file}: no instance or component {shown(text)}; add it")
    name, first, colon, last = found.groups()
    size = sizes[name]
    if first is None or (not first and not last):
        return name, list(range(size))
    start = int(first or 0)
    stop = (int(last) if last else size) if colon else start + 1
    if stop > size or start >= stop:
        raise InvalidInput(f"{file}: {shown(text)} has to be below the {size} of {shown(name)}")
    return name, list(range(start, stop))


def _link(edge: Mapping[str, Any], tables: tuple[Mapping[str, Any], ...], file: str) -> _Edge:
    """The link that an edge names: of its device, or of the infrastructure."""
    name = str(edge.get("link", ""))
    for table in tables:
        for link in _tables(table, "links", file):
            if link.get("name") == name:
                physical = link.get("physical") or {}
                rate = _quantity(physical.get("bandwidth") or {}, _RATES, f"{file}: link {name}")
                delay = _quantity(physical.get("latency") or {}, _DELAYS, f"{file}: link {name}")
                return _Edge(name, rate, delay or 0.0)
    return _Edge(name, None, 0.0)


def _quantity(table: Mapping[str, Any], units: Mapping[str, float], where: str) -> float | None:
    for unit, si in units.items():
        if table.get(unit) is not None:
            return si * parse(table[unit], "1", where=f"{where}: {unit}")
    return None


def _contract(raw: Graph[Any]) -> None:
    """Take out nodes without a kind; what they join is joined at the lower of two rates."""
    for node in [n for n, kind in raw.nodes(data="kind") if not kind]:
        near = [(other, data["link"]) for other, data in raw[node].items()]
        raw.remove_node(node)
        for i, (a, one) in enumerate(near):
            for b, other in near[i + 1 :]:
                rates = [link.bytes_per_s for link in (one, other) if link.bytes_per_s]
                slow = one if not other.bytes_per_s or one.bytes_per_s in rates[:1] else other
                through = _Edge(
                    slow.name, min(rates, default=None), one.latency_s + other.latency_s
                )
                if not raw.has_edge(a, b):
                    raw.add_edge(a, b, link=through)


def _directed(raw: Graph[Any]) -> DiGraph[Any]:
    """The graph in rackmodel's words, with switches of the fabric placed by level."""
    joined = Joined()
    for node, data in raw.nodes(data=True):
        joined.add(node, data["kind"])
    kinds = dict(raw.nodes(data="kind"))
    for a, b, data in raw.edges(data=True):
        if {kinds[a], kinds[b]} == {Kind.CPU.value, Kind.SCALE_UP_SWITCH.value}:
            continue  # a management port carries nothing
        link: _Edge = data["link"]
        joined.link(a, b, link.bytes_per_s or 0.0, link.latency_s)
        for u, v in ((a, b), (b, a)):
            facts = joined.graph.edges[u, v]
            facts["link"] = link.name
            if link.bytes_per_s is None:
                del facts["bytes_per_s"]
    joined.place_switches([n for n, kind in kinds.items() if kind == Kind.LEAF.value])
    return joined.graph


def _tables(data: Mapping[str, Any], key: str, file: str) -> list[Mapping[str, Any]]:
    value = data.get(key) or []
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise InvalidInput(f"{file}: {key}: expected a list of tables, found {shown(value)}")
    return value


def _count(table: Mapping[str, Any], where: str) -> int:
    return whole(table.get("count", 1), f"{where}: count", most=MOST_NODES, words=False)
