"""Machines as small tables in a notebook.

In:  the lines that describe a machine or a graph.
Out: HTML of a table.
Left out: pictures (`draw`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


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
