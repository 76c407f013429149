"""Machines as files of other tools: GraphML, node-link JSON, InfraGraph, SimGrid.

In:  a directed graph in rackmodel's words.
Out: the text of a file; read again, it is the same graph, as far as the format can say it.
Left out: TOML descriptions, which say more than a graph does.

SimGrid: accelerators are hosts, all else routers, each pair of neighbours one route of one link;
Floyd's routing finds the ways; rates are those of payload, since SimGrid knows no headers.
InfraGraph: each node is an instance of a device of its kind with one component of it, each link a
`links` entry by its rate and the mean of its latencies there and back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from rackmodel.annotations import DiGraph
from rackmodel.errors import InvalidInput
from rackmodel.topology.kinds import Kind

WRITTEN = {
    ".graphml": "GraphML",
    ".json": "node-link JSON",
    ".infragraph.json": "InfraGraph",
    ".infragraph.yaml": "InfraGraph",
    ".xml": "a SimGrid platform",
}
HOST_SPEED = "1Gf"  # SimGrid wants one; rackmodel's kernels are not SimGrid's


def text_for(graph: DiGraph[Any], path: Path) -> str:
    """Return the text of a graph in the format that the name of a file asks for.

    Raises
    ------
    InvalidInput
        If the name ends in none of `WRITTEN`.
    """
    name = path.name.lower()
    if name.endswith((".infragraph.json", ".infragraph.yaml", ".infragraph.yml")):
        data = infragraph(graph)
        if name.endswith(".json"):
            return json.dumps(data, indent=1) + "\n"
        import yaml

        return str(yaml.safe_dump(data, sort_keys=False))
    if name.endswith(".graphml"):
        return _graphml(graph)
    if name.endswith(".json"):
        import networkx as nx

        return json.dumps(nx.node_link_data(graph, edges="edges"), default=str) + "\n"
    if name.endswith(".xml"):
        return simgrid(graph)
    endings = ", ".join(f"{ending} ({what})" for ending, what in WRITTEN.items())
    raise InvalidInput(f"{path}: wanted a file that ends in {endings}")


def _graphml(graph: DiGraph[Any]) -> str:
    """GraphML holds numbers and texts; lists become their text, nothing is left out."""
    import networkx as nx

    plain: DiGraph[Any] = nx.DiGraph()
    plain.graph.update({k: v for k, v in graph.graph.items() if _simple(v)})
    for node, data in graph.nodes(data=True):
        facts = {k: str(v) if isinstance(v, str) else v for k, v in data.items() if _simple(v)}
        plain.add_nodes_from([(node, facts)])
    for a, b, data in graph.edges(data=True):
        plain.add_edges_from([(a, b, {k: v for k, v in data.items() if _simple(v)})])
    return "\n".join(nx.generate_graphml(plain)) + "\n"


def _simple(value: object) -> bool:
    return isinstance(value, str | int | float)


def simgrid(graph: DiGraph[Any]) -> str:
    """Return a SimGrid 4 platform."""
    lines = [
        '<?xml version="1.0"?>',
        '<platform version="4.1">',
        ' <zone id="machine" routing="Floyd">',
    ]
    for node, data in graph.nodes(data=True):
        name = quoteattr(str(node))
        if data.get("kind") == Kind.ACCELERATOR:
            lines.append(f'  <host id={name} speed="{HOST_SPEED}"/>')
        else:
            kind = quoteattr(str(data.get("kind", "")))
            lines.append(f'  <router id={name}><prop id="kind" value={kind}/></router>')
    routes = []
    for number, (a, b, data, both) in enumerate(_pairs(graph, _ALIKE)):
        rate = data["bytes_per_s"] * data.get("payload_efficiency", 1.0)
        delay_s = data.get("latency_s", 0.0)
        policy = "SPLITDUPLEX" if both else "SHARED"
        lines.append(
            f'  <link id="l{number}" bandwidth="{rate!r}Bps" latency="{delay_s!r}s"'
            f' sharing_policy="{policy}"/>'
        )
        turn = ' direction="UP"' if both else ""
        way = "YES" if both else "NO"
        routes.append(
            f"  <route src={quoteattr(str(a))} dst={quoteattr(str(b))} symmetrical="
            f'"{way}"><link_ctn id="l{number}"{turn}/></route>'
        )
    return "\n".join([*lines, *routes, " </zone>", "</platform>"]) + "\n"


def _pairs(
    graph: DiGraph[Any], alike: tuple[str, ...]
) -> Iterator[tuple[Any, Any, dict[str, Any], bool]]:
    """Each link once: its ends, facts, and whether those named `alike` are the same both ways."""
    done: set[tuple[Any, Any]] = set()
    for a, b, data in graph.edges(data=True):
        if (a, b) in done:
            continue
        back = graph.edges[b, a] if graph.has_edge(b, a) else None
        both = back is not None and all(back.get(key) == data.get(key) for key in alike)
        if both:
            done.add((b, a))
        yield a, b, data, both


_ALIKE = ("bytes_per_s", "latency_s", "payload_efficiency")
_CHOICES = {Kind.ACCELERATOR: "xpu", Kind.NIC: "nic", Kind.CPU: "cpu"}


def infragraph(graph: DiGraph[Any]) -> dict[str, Any]:
    """Return an InfraGraph infrastructure as plain data.

    Raises
    ------
    InvalidInput
        If a link leads one way, or back at another rate: InfraGraph's edges have no direction.
    """
    number: dict[Any, tuple[str, int]] = {}
    counts: dict[str, int] = {}
    for node, data in graph.nodes(data=True):
        kind = str(data.get("kind") or "switch")
        number[node] = kind, counts.get(kind, 0)
        counts[kind] = counts.get(kind, 0) + 1
    links: dict[tuple[float, float], str] = {}
    edges = []
    for a, b, data, both in _pairs(graph, ("bytes_per_s",)):
        if not both:
            raise InvalidInput(
                f"the link from {a} to {b} has another rate back, which InfraGraph can't say;"
                " write GraphML"
            )
        delays = [facts.get("latency_s", 0.0) for facts in (data, graph.edges[b, a])]
        rate = float(data["bytes_per_s"]), sum(delays) / 2
        name = links.setdefault(rate, f"link-{len(links)}")
        ends = [
            {"instance": f"{number[end][0]}[{number[end][1]}]", "component": number[end][0]}
            for end in (a, b)
        ]
        edges.append({"ep1": ends[0], "ep2": ends[1], "scheme": "one2one", "link": name})
    return {
        "name": str(graph.graph.get("name") or "machine"),
        "description": "written by rackmodel; names of devices are kinds of nodes",
        "devices": [_device(kind) for kind in counts],
        "links": [_link(name, *rate) for rate, name in links.items()],
        "instances": [
            {"name": kind, "device": kind, "count": count} for kind, count in counts.items()
        ],
        "edges": edges,
    }


def _device(kind: str) -> dict[str, Any]:
    choice = _CHOICES.get(Kind(kind) if kind in list(Kind) else Kind.LEAF, "switch")
    return {"name": kind, "components": [{"name": kind, "choice": choice, "count": 1}]}


def _link(name: str, bytes_per_s: float, latency_s: float) -> dict[str, Any]:
    bandwidth = {"choice": "gigabytes_per_second", "gigabytes_per_second": bytes_per_s / 1e9}
    latency = {"choice": "ns", "ns": latency_s * 1e9}
    return {"name": name, "physical": {"bandwidth": bandwidth, "latency": latency}}
