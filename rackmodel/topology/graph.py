"""A machine's elements as a NetworkX graph.

In:  `Elements`.
Out: `MachineGraph`, a directed graph that shows itself in a notebook; an edge is one direction of a
link, or of `count` equal parallel links.
Left out: graphs that users made (`graph_file`), arrays (`network`).
"""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np

from rackmodel import units
from rackmodel.columns import table_html
from rackmodel.topology.nodes_and_links import Elements, grid


def build_graph(elements: Elements) -> MachineGraph:
    """Spell all nodes and links out."""
    graph = MachineGraph(**elements.facts)
    names = elements.names()
    facts: list[dict[str, Any]] = [{}] * len(names)
    for group in elements.nodes:
        ids = grid(group.sizes)
        columns = group.facts(*ids)
        values = np.broadcast_arrays(*columns.values(), ids[0])[:-1]
        same = {"kind": group.kind.value, "part": group.part}
        rows = zip(*(column.tolist() for column in values), strict=True)
        for number, row in zip(group.number(*ids).tolist(), rows, strict=True):
            facts[number] = {**same, **dict(zip(columns, row, strict=True))}
    graph.add_nodes_from(zip(names, facts, strict=True))
    for links in elements.links:
        for tails, heads, delay_s in links.directed():
            edge = links.wire.edge(links.each, delay_s)
            ends = zip(tails.tolist(), heads.tolist(), strict=True)
            graph.add_edges_from((names[tail], names[head], edge) for tail, head in ends)
    return graph


# networkx has no type parameters when it runs, only in its stubs
class MachineGraph(nx.DiGraph):  # type: ignore[type-arg]
    """A directed graph that shows itself in a notebook: what it holds, what joins it."""

    def _repr_html_(self) -> str:
        """Count nodes by kind, and links with their rate by kind and medium, one direction."""
        parts: dict[str, int] = {}
        for _, facts in self.nodes(data=True):
            kind = str(facts.get("kind", "node")).replace("_", " ")
            parts[kind] = parts.get(kind, 0) + int(facts.get("count", 1))
        links: dict[tuple[str, str], list[float]] = {}
        for _, _, facts in self.edges(data=True):
            key = str(facts.get("kind", "link")), str(facts.get("medium", ""))
            found = links.setdefault(key, [0.0, 0.0])
            found[0] += float(facts.get("count", 1))
            found[1] += float(facts.get("bytes_per_s", 0.0))
        rows = [[kind, f"{count:,}", ""] for kind, count in parts.items()]
        rows += [
            [
                f"{kind} links" + (f" on {medium}" if medium else ""),
                f"{count / 2:,.0f}",
                units.show(rate / 2, "bytes_per_s", digits=3),
            ]
            for (kind, medium), (count, rate) in links.items()
        ]
        name = str(self.graph.get("name") or "graph")
        accelerator = str(self.graph.get("accelerator") or "")
        title = f"{name} ({accelerator})" if accelerator else name
        return table_html(title, ("part", "count", "all of them, one way"), rows)
