"""What two results have different: what went in, and what came out.

In:  two results as `--json` writes them.
Out: rows of (part, field, before, after, change), inputs before outputs, the largest change first.
Left out: why a figure moved; clock time of the simulation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

INPUTS = (
    *("topology", "model", "gpus", "seq_len", "global_batch", "precision", "stack", "accelerator"),
    *("plan", "placement", "version", "catalog", "site", "op", "isl", "osl", "users"),
)
CLOCK = ("simulation.wall_s", "wall_s", "simulation.events", "simulation.engine")
ROUNDING = 1e-9


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any], *, least: float = 0.0
) -> list[dict[str, Any]]:
    """Return one row for every field that is not the same in both results.

    Parameters
    ----------
    before, after : results as mappings; lists of rows are matched by their names, else by place.
    least : relative changes of figures below it are left out.

    Examples
    --------
    >>> rows = difference({"gpus": 8, "step_s": 2.0}, {"gpus": 16, "step_s": 1.0})
    >>> [(row["part"], row["field"], row["change"]) for row in rows]
    [('input', 'gpus', 1.0), ('output', 'step_s', -0.5)]
    """
    one, other = dict(_leaves(before)), dict(_leaves(after))
    rows = []
    for field in dict.fromkeys((*one, *other)):
        a, b = one.get(field), other.get(field)
        if _same(a, b) or field in CLOCK:
            continue
        change = _change(a, b)
        head, last = re.split(r"[.\[]", field)[0], field.rpartition(".")[2]
        part = "input" if head in INPUTS or last == "version" else "output"
        if part == "output" and change is not None and abs(change) < least:
            continue
        rows.append({"part": part, "field": field, "before": a, "after": b, "change": change})
    return sorted(rows, key=lambda row: (row["part"], row["part"] == "output" and _rank(row)))


def _rank(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Figures at the top of a result before those inside it, large changes first."""
    size = abs(row["change"]) if row["change"] is not None else math.inf
    return "." in row["field"], -size


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{_name(inner, place)}]")
    else:
        yield path, value


def _name(row: Any, place: int) -> str:
    """What names a row of a table: its id, or its words; else its place."""
    if not isinstance(row, Mapping):
        return str(place)
    if "id" in row:
        return str(row["id"])
    words = [str(row[key]) for key in ("rack", "tier", "kind", "axis", "op", "stage") if key in row]
    return " ".join(words) or str(place)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float | int) and isinstance(b, float | int):
        return a == b or math.isclose(a, b, rel_tol=ROUNDING)
    return bool(a == b)


def _change(a: Any, b: Any) -> float | None:
    """Relative change of a figure; None where it has none."""
    plain = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    return b / a - 1.0 if plain and a else None
