"""Machines and graphs as small tables in a notebook.

In:  a graph, or the lines that describe a machine.
Out: `MachineGraph`, a NetworkX graph that shows itself; HTML of a table.
Left out: pictures (`draw`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import networkx as nx

from rackmodel import units


def table_html(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; everything is escaped.

    >>> table_html("a < b", ["x"], [["1"]])
    '<table><caption>a &lt; b</caption><tr><th>x</th></tr><tr><td>1</td></tr></table>'
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    top = f"<tr>{head}</tr>" if head else ""
    return f"<table><caption>{escape(title)}</caption>{top}{body}</table>"


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
