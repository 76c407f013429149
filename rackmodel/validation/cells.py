"""Cells of a table of published runs: empty, a whole number, a word, yes or no.

In:  a row and the name of a column.
Out: its value, None or a default where the cell says nothing.
Left out: what the columns mean (`published_runs`, `open_plans`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rackmodel import gate
from rackmodel.errors import InvalidInput
from rackmodel.gate import is_empty


def whole(row: Mapping[str, Any], key: str) -> int | None:
    """Return a cell as a positive whole number, None where it is empty."""
    value = row.get(key)
    if is_empty(value):
        return None
    return gate.whole(value, f"column {key!r}", most=10**12)


def needed(row: Mapping[str, Any], key: str) -> int:
    """Return a cell as a positive whole number, or refuse the row."""
    value = whole(row, key)
    if value is None:
        raise InvalidInput(f"column {key!r} is empty; a run can't be predicted without it: give it")
    return value


def text(row: Mapping[str, Any], key: str) -> str:
    """Return a cell as text, "" where it is empty."""
    value = row.get(key)
    return "" if is_empty(value) else str(value).strip()


def flag(row: Mapping[str, Any], key: str, default: bool) -> bool:
    """Return a cell that says yes or no, a default where it is empty."""
    value = row.get(key)
    if is_empty(value):
        return default
    word = str(value).strip().lower()
    if word in ("1", "1.0", "true", "yes"):
        return True
    if word in ("0", "0.0", "false", "no"):
        return False
    raise InvalidInput(f"column {key!r} must be 0 or 1, found {gate.shown(value)}")
