"""A graph as lists, for machines too large to spend a dictionary on every edge.

In:  the calls by which `build` fills a NetworkX graph.
Out: `PlainGraph`: nodes with facts, edges as numbers of their ends, facts shared by many edges.
Left out: whatever networkx can do with a graph; `Topology.graph` gives that one.

A NetworkX edge costs some 400 bytes and copies its facts; here it costs 24 and shares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Facts = dict[str, Any]


class PlainGraph:
    """Directed, at most one edge from a node to another; nodes and edges in order of insertion."""

    def __init__(self) -> None:
        self.graph: Facts = {}
        self.nodes: dict[str, Facts] = {}
        self.number: dict[str, int] = {}
        self.tail: list[int] = []
        self.head: list[int] = []
        self.facts: list[Facts] = []

    def add_node(self, name: str, **facts: Any) -> None:
        """Add a node, or facts to one that is there."""
        self._node(name)
        self.nodes[name].update(facts)

    def add_nodes_from(self, nodes: Iterable[tuple[str, Facts]]) -> None:
        """Add nodes, each with its facts."""
        for name, facts in nodes:
            self._node(name)
            self.nodes[name].update(facts)

    def add_edges_from(self, edges: Iterable[tuple[str, str, Facts]]) -> None:
        """Add edges (from, to, facts); no pair may come twice. The facts are not copied."""
        number, tail, head, kept = self.number, self.tail, self.head, self.facts
        for a, b, facts in edges:
            i = number.get(a)
            j = number.get(b)
            tail.append(self._node(a) if i is None else i)
            head.append(self._node(b) if j is None else j)
            kept.append(facts)

    def _node(self, name: str) -> int:
        number = self.number.get(name)
        if number is None:
            number = self.number[name] = len(self.number)
            self.nodes[name] = {}
        return number
