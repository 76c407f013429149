"""A graph while it is put together: links that run side by side become one, with a count.

In:  nodes with kinds, links with a rate and a latency.
Out: a directed graph.
Left out: which format they come from.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from rackmodel.annotations import DiGraph
from rackmodel.topology.kinds import Kind


class Joined:
    """Nodes and links, one by one."""

    def __init__(self) -> None:
        import networkx as nx

        self.graph: DiGraph[Any] = nx.DiGraph()

    def add(self, node: Hashable, kind: str, **facts: Any) -> None:
        """Add a node."""
        self.graph.add_nodes_from([(node, {"kind": str(kind), **facts})])

    def link(
        self,
        a: Hashable,
        b: Hashable,
        bytes_per_s: float,
        latency_s: float = 0.0,
        *,
        count: int = 1,
        both: bool = True,
    ) -> None:
        """Join two nodes by `count` links of that rate together, in both directions or one."""
        for u, v in ((a, b), (b, a)) if both else ((a, b),):
            if self.graph.has_edge(u, v):
                facts = self.graph.edges[u, v]
                facts["bytes_per_s"] += bytes_per_s
                facts["count"] = facts.get("count", 1) + count
            else:
                facts = {"bytes_per_s": bytes_per_s, "latency_s": latency_s, "count": count}
                self.graph.add_edges_from([(u, v, facts)])

    def place_switches(self, switches: list[Any]) -> None:
        """Name switches of a fabric by how far above the accelerators and NICs they stand."""
        level = {
            node: 0
            for node, data in self.graph.nodes(data=True)
            if data["kind"] in (Kind.ACCELERATOR, Kind.NIC)
        }
        waiting, names = set(switches), (Kind.LEAF, Kind.SPINE, Kind.CORE)
        for kind in names:
            near = {s for s in waiting if any(n in level for n in self.graph.predecessors(s))}
            for switch in near or (waiting if kind == names[-1] else ()):
                self.graph.nodes[switch]["kind"] = str(kind)
            level.update(dict.fromkeys(near, 1))
            waiting -= near
        for switch in waiting:
            self.graph.nodes[switch]["kind"] = str(Kind.CORE)
