"""Stored figures: one file a job, 12 digits, small enough to review in a diff.

In:  nested figures.
Out: files in results/; `moved(before, after)`: which figures differ, largest change first.
Left out: running jobs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
RELATIVE = 1e-9
ABSOLUTE = 1e-15  # differences of equal sums leave a few last bits where 0 is meant
DIGITS = 12
WIDTH = 100
MISSING = "(missing)"


@dataclass(frozen=True, slots=True)
class Move:
    """One figure that differs. `relative` is inf where it is no change of a number."""

    path: str
    before: Any
    after: Any
    relative: float

    def __str__(self) -> str:
        size = f"{self.relative:+.3e}" if math.isfinite(self.relative) else "changed"
        return f"{size:>12}  {self.path}: {self.before!r} -> {self.after!r}"


def flat(figures: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every figure; an empty list or table is a figure itself."""
    if isinstance(figures, dict) and figures:
        for key, value in figures.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    elif isinstance(figures, list) and figures:
        for number, value in enumerate(figures):
            yield from flat(value, f"{path}[{number}]")
    else:
        yield path, figures


def moved(before: Any, after: Any) -> list[Move]:
    """Return the figures that differ, largest relative change first."""
    old, new = dict(flat(before)), dict(flat(after))
    moves = []
    for path in [*old, *(path for path in new if path not in old)]:
        was, now = old.get(path, MISSING), new.get(path, MISSING)
        change = difference(was, now)
        if change:
            moves.append(Move(path, was, now, change))
    return sorted(moves, key=lambda move: -abs(move.relative))


def difference(was: Any, now: Any) -> float:
    """Return the relative change of a number beyond the tolerance, inf for other changes, or 0."""
    if is_number(was) and is_number(now):
        if was == now or (math.isnan(was) and math.isnan(now)):
            return 0.0
        size = max(abs(was), abs(now))
        if not math.isfinite(size):
            return math.inf
        if abs(now - was) <= max(ABSOLUTE, RELATIVE * size):
            return 0.0
        return (now - was) / abs(was) if was else math.inf
    return 0.0 if type(was) is type(now) and was == now else math.inf


def is_number(value: Any) -> bool:
    """Whether a figure is a number; True and False are words."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def path_of(name: str) -> Path:
    """Return the file of a job."""
    return RESULTS / f"{name}.json"


def read(name: str) -> Any:
    """Return the stored figures of a job; none yet where it has no file."""
    path = path_of(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write(name: str, figures: Any) -> None:
    """Store the figures of a job."""
    RESULTS.mkdir(exist_ok=True)
    path_of(name).write_text(dumps(figures) + "\n", encoding="utf-8")


def dumps(figures: Any, indent: str = "") -> str:
    """Return JSON with short tables on one line each, so that files stay small.

    >>> dumps({"a": {"b": 1 / 3}})
    '{"a": {"b": 0.333333333333}}'
    """
    line = json.dumps(rounded(figures), ensure_ascii=False)
    if len(indent) + len(line) <= WIDTH or not isinstance(figures, dict | list) or not figures:
        return line
    deeper = indent + " "
    if isinstance(figures, dict):
        parts = [f"{json.dumps(key)}: {dumps(value, deeper)}" for key, value in figures.items()]
        left, right = "{", "}"
    else:
        parts = [dumps(value, deeper) for value in figures]
        left, right = "[", "]"
    return f"{left}\n{deeper}" + f",\n{deeper}".join(packed(parts)) + f"\n{indent}{right}"


def packed(parts: list[str]) -> list[str]:
    """Put short neighbours on one line."""
    lines: list[str] = []
    for part in parts:
        fits = lines and "\n" not in part + lines[-1] and len(lines[-1]) + len(part) < WIDTH - 8
        if fits:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines


def rounded(figures: Any) -> Any:
    """Round every number to 12 digits."""
    if isinstance(figures, dict):
        return {key: rounded(value) for key, value in figures.items()}
    if isinstance(figures, list):
        return [rounded(value) for value in figures]
    if isinstance(figures, float) and math.isfinite(figures):
        return float(f"{figures:.{DIGITS}g}")
    return figures
