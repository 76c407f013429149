"""Tables as plain columns: what packages hand each other without loading pandas.

In:  arrays of equal length by name; a column of few words as `Words`. A DataFrame is a `Table` too.
Out: numbers, words, rows and records of a table; a DataFrame where a user asks for one;
     `table_html` for notebooks.
Left out: what the columns mean.

Loading pandas takes longer than most simulations; frames are made when users read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from rackmodel.annotations import DataFrame

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Columns: TypeAlias = dict[str, Any]
"""Arrays (or `Words`) of equal length by name, in the order of a frame's columns."""


def each_once(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what numpy's `unique` does, which loads masked arrays: longer than a small step.

    >>> each_once(np.array([[7, 3], [7, 5]])).tolist()
    [3, 5, 7]
    """
    if values.size == 1:
        return values.reshape(1)
    ordered = np.sort(values, axis=None)
    new = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered[new]


def kinds_of(values: npt.NDArray[Any]) -> tuple[Ints, Ints]:
    """Return the place of the first of each kind of number, in their order, and the kind of each.

    What numpy's `unique` does in several times as long for a few.

    >>> first, which = kinds_of(np.array([7, 3, 7, 5]))
    >>> first.tolist(), which.tolist()
    ([1, 3, 0], [2, 0, 2, 1])
    """
    if len(values) == 1:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    new = np.ones(len(values), dtype=bool)
    if (values[1:] >= values[:-1]).all():
        np.not_equal(values[1:], values[:-1], out=new[1:])
        return np.flatnonzero(new), np.cumsum(new) - 1
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    which = np.empty(len(order), dtype=np.int64)
    which[order] = np.cumsum(new) - 1
    return order[new], which


def distinct(numbers: Ints) -> tuple[Ints, Ints]:
    """Return what numpy's `unique` does with `return_inverse`, at once where they ascend.

    >>> [found.tolist() for found in distinct(np.array([7, 3, 7]))]
    [[3, 7], [1, 0, 1]]
    >>> [found.tolist() for found in distinct(np.array([3, 3, 7]))]
    [[3, 7], [0, 0, 1]]
    """
    if len(numbers) and numbers.min() >= 0 and numbers.max() < 2 * len(numbers):
        there = np.zeros(int(numbers.max()) + 1, dtype=bool)
        there[numbers] = True  # a fifth of the time of sorting them
        return np.flatnonzero(there), (np.cumsum(there) - 1)[numbers]
    first, which = kinds_of(numbers)
    return numbers[first], which


def packed(*columns: Ints) -> Ints:
    """Return one number for each row, the same for rows that are; columns : none below zero.

    >>> packed(np.array([7, 3, 7]), np.array([0, 1, 0])).tolist()
    [14, 7, 14]
    """
    key = columns[0]
    if len(key) == 1:
        return key
    for column in columns[1:]:
        key = key * (int(column.max(initial=0)) + 1) + column
    return key


class Table(Protocol):
    """Columns by name: a dict of arrays, or a DataFrame."""

    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: object, /) -> bool: ...
    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """A column of few distinct words.

    codes [N] : index into names, -1 where there is no word.
    """

    codes: Ints
    names: tuple[str, ...]

    @classmethod
    def of(cls, column: Any) -> Words:
        """Return the words of any column; what is missing or not a number has none."""
        if isinstance(column, Words):
            return column
        known: dict[str, int] = {}
        codes = [
            -1 if word is None or word != word else known.setdefault(str(word), len(known))
            for word in np.asarray(column, dtype=object).tolist()
        ]
        return cls(np.array(codes, dtype=np.int64), tuple(known))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Words:
        """Return the words of some rows."""
        return Words(self.codes[rows], self.names)

    def among(self, *words: str) -> Bools:
        """Tell which rows hold one of these words."""
        chosen = np.array([*(name in words for name in self.names), False], dtype=bool)
        return chosen[self.codes]

    def tolist(self) -> list[str | None]:
        """Return one word a row, None where there is none."""
        names = (*self.names, None)
        return [names[code] for code in self.codes.tolist()]


def floats(table: Table, name: str) -> Floats:
    """Return a column as numbers."""
    return np.asarray(table[name], dtype=float)


def ints(table: Table, name: str) -> Ints:
    """Return a column as whole numbers."""
    return np.asarray(table[name], dtype=np.int64)


def missing(table: Table, names: set[str]) -> list[str]:
    """Return the names of columns that a table lacks."""
    return sorted(name for name in names if name not in table)


def picked(table: Table, names: Sequence[str], rows: Any) -> Columns:
    """Return some rows of the named columns; rows : a mask or indices."""
    return {
        name: (column if isinstance(column, Words) else np.asarray(column))[rows]
        for name, column in ((name, table[name]) for name in names)
    }


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the rows of several tables with the same columns, one table after the other."""
    found: Columns = {}
    for name, column in parts[0].items():
        if isinstance(column, Words):
            names = tuple(dict.fromkeys(word for part in parts for word in part[name].names))
            place = {word: code for code, word in enumerate(names)}
            moved = [
                np.array([*(place[word] for word in part[name].names), -1])[part[name].codes]
                for part in parts
            ]
            found[name] = Words(np.concatenate(moved), names)
        else:
            found[name] = np.concatenate([part[name] for part in parts])
    return found


def of_records(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Columns:
    """Return the columns of rows; numbers become arrays of numbers, all else objects.

    >>> of_records([{"part": "nic", "count": 8}], ["part", "count"])["count"]
    array([8])
    """
    found: Columns = {}
    for name in names:
        values = [row[name] for row in rows]
        kind = object if any(isinstance(one, str) or one is None for one in values) else None
        found[name] = np.array(values, dtype=kind)
    return found


def records(table: Table, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a table as dicts of plain values."""
    lists = []
    for name in names:
        column = table[name]
        lists.append((column if isinstance(column, Words) else np.asarray(column)).tolist())
    return [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]


def frame_of(columns: Mapping[str, Any]) -> DataFrame:
    """Return columns as a DataFrame; `Words` as a categorical column."""
    import pandas as pd

    return pd.DataFrame(
        {
            name: pd.Categorical.from_codes(column.codes, categories=pd.Index(column.names))
            if isinstance(column, Words)
            else column
            for name, column in columns.items()
        }
    )


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
