"""What all tables for people look like.

In:  titles of columns.
Out: `grid`, a table without lines; `filled`, one with its rows.
Left out: what the tables hold (`tables_*`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def grid(*titles: str) -> Table:
    """Return a table without lines; the titles after the first are right-aligned."""
    from rich.table import Table

    table = Table(
        box=None, padding=(0, 2, 0, 0), show_header=True, header_style="bold", pad_edge=False
    )
    for index, title in enumerate(titles):
        table.add_column(title, justify="left" if index == 0 else "right", no_wrap=index == 0)
    return table


def filled(titles: Sequence[str], rows: Iterable[Sequence[str]], *left: str) -> Table:
    """Return a grid with its rows; titles of `left` come last where a row has text."""
    cells = list(rows)
    told = [
        at
        for at in range(len(titles) + len(left))
        if at < len(titles) or any(row[at] for row in cells)
    ]
    table = grid(*titles)
    for at in told[len(titles) :]:
        table.add_column(left[at - len(titles)])
    for row in cells:
        table.add_row(*(row[at] for at in told))
    return table
