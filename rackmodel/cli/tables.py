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
    """Return a grid with its rows; the titles of `left` come last, left-aligned."""
    table = grid(*titles)
    for title in left:
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    return table
