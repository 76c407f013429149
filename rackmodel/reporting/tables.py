"""Tables of a page: cells escaped, numbers right-aligned with their raw value kept for sorting.

In:  columns and rows of plain values.
Out: HTML.
Left out: what stands in the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from rackmodel.reporting.words import MISSING, known, three

VERDICTS = ("supported", "consistent", "refuted", "depends")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, whether it holds numbers, whether it names the row."""

    heading: str
    number: bool = False
    row_heading: bool = False


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Any]],
    *,
    name: str = "",
    caption: str = "",
    sortable: bool = False,
    filterable: bool = False,
    stack: bool = False,
) -> str:
    """Return a table; `stack` turns rows into blocks on a phone, `name` is its id on the page.

    >>> "<b>" in table([Column("x")], [["<b>"]])
    False
    """
    kinds = [kind for kind, wanted in (("sort", sortable), ("stack", stack)) if wanted]
    heads = "".join(_head(column, sortable) for column in columns)
    body = "".join(
        "<tr>"
        + "".join(_cell(column, value) for column, value in zip(columns, row, strict=True))
        + "</tr>\n"
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = f' id="{escape(name)}"' if name else ""
    search = ""
    if filterable:
        search = (
            f'<div><input type="search" data-filters="{escape(name)}" placeholder="filter rows" '
            f'aria-label="Filter the rows of {escape(name)}"><span class="count"></span></div>'
        )
    return (
        f'{search}<div class="table"><table{label} class="{" ".join(kinds)}">{title}'
        f"<thead><tr>{heads}</tr></thead><tbody>\n{body}</tbody></table></div>\n"
    )


def _head(column: Column, sortable: bool) -> str:
    text = escape(column.heading)
    kind = ' class="n"' if column.number else ""
    if sortable and text:
        text = f'<button type="button">{text}</button>'
    return f'<th scope="col"{kind}>{text}</th>'


def _cell(column: Column, value: Any) -> str:
    label = f' data-label="{escape(column.heading)}"' if column.heading else ""
    if column.row_heading:
        return f'<th scope="row">{escape(str(value or ""))}</th>'
    if column.number:
        if not known(value):
            text = MISSING if value is None else escape(str(value))
            return f'<td class="n"{label} data-value="">{text}</td>'
        return f'<td class="n"{label} data-value="{float(value)!r}">{three(float(value))}</td>'
    text = "" if value is None else str(value)
    if text in VERDICTS:
        return f'<td class="verdict {text}"{label}>{text}</td>'
    wide = ' class="plan"' if column.heading == "plan" else ""
    return f"<td{wide}{label}>{escape(text)}</td>"
