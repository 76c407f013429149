"""What all tables for people look like.

In:  titles of columns.
Out: `grid`, a table without lines; `filled`, one with its rows; `fitted`, for a narrow terminal;
     `left_out`, what a long table does not show.
Left out: what the tables hold (`tables_*`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from rich.console import RenderableType as RenderableType
    from rich.table import Column, Table
else:  # a name for annotations: rich is loaded by whoever prints
    RenderableType = Any

Payload: TypeAlias = Mapping[str, Any]  # keys of `--json`
GAP = 2  # between columns
WHOLE = 14  # characters of a cell that is never broken
MOST_ROWS = 60  # of a table for people; --csv has all


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


def left_out(rows: Sequence[object]) -> Iterator[str]:
    """Yield how many rows are not shown, where there are more than `MOST_ROWS`."""
    if len(rows) > MOST_ROWS:
        yield f"... {len(rows) - MOST_ROWS:,} more rows: --csv has all"


def fitted(table: Table, width: int) -> list[str]:
    """Let columns go, the last first, until no number of the others is cut.

    Returns
    -------
    The titles of those that went.
    """
    gone: list[str] = []
    natural = (max(map(len, (str(c.header), *map(str, c.cells)))) for c in table.columns)
    if sum(natural) + GAP * len(table.columns) <= width:
        return gone
    least = [_least_width(column) for column in table.columns]
    while table.show_header and len(least) > 2 and sum(least) + GAP * len(least) > width:
        gone.insert(0, str(table.columns.pop().header))
        least.pop()
    for column, wide in zip(table.columns, least, strict=True):
        if column.justify == "right":
            column.width = wide  # rich would take from all in proportion
    return gone


def _least_width(column: Column) -> int:
    """Return the characters that a column needs: whole numbers, and whole words of its title."""
    words = str(column.header).split()
    for cell in map(str, column.cells):
        number = column.justify == "right" and len(cell) <= WHOLE
        words += [cell] if number or column.no_wrap else cell.split()
    return max((len(word) for word in words), default=1)
