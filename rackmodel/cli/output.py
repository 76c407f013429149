"""Where results go: a table for people, JSON or CSV for programs, to stdout or whole to a file.

In:  a payload (plain dicts and lists in SI units), rows, and a function that makes tables of it.
Out: text on stdout or a file that is either complete or untouched.
Left out: what the tables hold (`rackmodel.cli.tables_*`).
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackmodel.cli.runner import AssertionMissed, complain
from rackmodel.cli.tables import RenderableType
from rackmodel.cli.values import clip, numbers_at, thresholds
from rackmodel.cli.waiting import clear
from rackmodel.errors import InvalidInput
from rackmodel.fields import setting
from rackmodel.files import check_writable, safe_cell, whole_file, write_whole
from rackmodel.gate import leaves
from rackmodel.stages import tell

PLOT_SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class Output:
    """The output options of one command."""

    plot: Path | None = setting(
        None, "Draw the result to a .png, .svg or .pdf file.", "r.png", option="--plot"
    )
    json: bool = setting(False, "JSON in SI units.", option="--json")
    csv: bool = setting(False, "CSV in SI units, one row each.", option="--csv")
    out: Path | None = setting(
        None,
        "Write the result to FILE (whole or not at all) instead of stdout; .json, .csv: as such.",
        "result.json",
        option="--out -o",
    )
    demands: tuple[str, ...] = setting(
        (),
        "Exit 4 unless a number of the result passes, such as 'mfu>=0.4'. Repeatable.",
        unit="test",
        option="--assert",
    )

    def check(self) -> None:
        """Refuse contradictions and unwritable files before any work is done."""
        if self.json and self.csv:
            raise InvalidInput("--json and --csv exclude each other; give one")
        if self.out is not None and str(self.out) != "-":
            check_writable(self.out, "--out")
        thresholds(self.demands)
        check_picture(self.plot, "--plot")

    def draw(self, picture: Callable[[], Any]) -> None:
        """Draw a picture where `--plot` asks for it, and tell so."""
        if self.plot is None:
            return
        tell("drawing")
        found = picture()
        save_picture(getattr(found, "figure", found), self.plot, "--plot")
        note(f"wrote {self.plot}")

    def show(self, found: Any, tables: Callable[[Any], Iterable[RenderableType]]) -> None:
        """Draw what a verb of the front door found where asked, and write it."""
        self.draw(found.plot)
        self.write(found.to_dict(), tables)

    def write(
        self,
        payload: Mapping[str, Any],
        tables: Callable[[Any], Iterable[RenderableType]],
        rows: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Write the result in the form asked for; `rows` : its own, or itself the only one.

        Raises
        ------
        AssertionMissed
            After the result is written, if a demand of `--assert` is not met.
        """
        ending = "" if self.json or self.csv or self.to_stdout else str(self.out).lower()
        if self.json or ending.endswith(".json"):
            text = to_json(payload)
        elif self.csv or ending.endswith(".csv"):
            text = to_csv(rows if rows is not None else payload.get("rows", [payload]))
        else:
            text = render(tables(payload), terminal=self.to_stdout and sys.stdout.isatty())
        self.write_text(text, payload)

    def write_text(self, text: str, payload: Mapping[str, Any]) -> None:
        """Write ready text, then check the demands of `--assert` against `payload`."""
        if self.to_stdout:
            clear()
            sys.stdout.write(text)
            sys.stdout.flush()
        elif self.out is not None:
            write_whole(self.out, text.encode("utf-8", "backslashreplace"), "--out")
        check_demands(payload, self.demands)

    @property
    def to_stdout(self) -> bool:
        """Whether the result goes to stdout."""
        return self.out is None or str(self.out) == "-"


def check_picture(path: Path | None, option: str) -> None:
    """Refuse a picture file of an unknown kind or in no place to write."""
    if path is None:
        return
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise InvalidInput(
            f"{option}: wanted a file ending in {', '.join(PLOT_SUFFIXES)}; got {clip(path.name)!r}"
        )
    check_writable(path, option)


def save_picture(figure: Any, path: Path, option: str) -> None:
    """Write a figure whole to `path`."""
    from rackmodel.reporting.style import save

    with whole_file(path, option) as part:
        save(figure, part, path.suffix.lower().removeprefix("."))


def check_demands(payload: Mapping[str, Any], demands: Sequence[str]) -> None:
    """Raise `AssertionMissed` with every number that misses a demand of `--assert`."""
    missed = []
    for demand in thresholds(demands):
        numbers = numbers_at(payload, demand.field)
        if not numbers:
            raise InvalidInput(
                f"--assert: no number {demand.field!r} in this result; it has: "
                + clip(", ".join(sorted(payload)), 300)
            )
        missed += [
            f"{where} is {number:.6g}, not {demand.comparison} {demand.value:g}"
            for where, number in numbers
            if not demand.met_by(number)
        ]
    if missed:
        raise AssertionMissed("--assert missed: " + "; ".join(missed))


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: numpy numbers plain, NaN and infinity as null.

    >>> plain({"a": float("nan"), "b": (1, 2.5)})
    {'a': None, 'b': [1, 2.5]}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(member) for key, member in value.items()}
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a frame
        return plain(value.to_dict("records"))
    if isinstance(value, Iterable):
        return [plain(member) for member in value]
    return str(value)


def to_json(payload: Mapping[str, Any]) -> str:
    """Return `payload` as indented JSON with a closing line break."""
    return json.dumps(plain(payload), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, one column per field of any row, numbers to full precision.

    Nested mappings are dotted columns, lists stay as JSON.
    """
    import csv

    flat = [
        {k: json.dumps(v) if isinstance(v, list) else v for k, v in leaves(plain(row))}
        for row in rows
    ]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writerow({key: safe_cell(key) for key in columns})
    for row in flat:
        writer.writerow({key: safe_cell(value) for key, value in row.items()})
    return text.getvalue()


def render(tables: Iterable[RenderableType], *, terminal: bool) -> str:
    """Return tables as text: coloured on a terminal, wide and plain elsewhere."""
    from rich.console import Console
    from rich.table import Table

    from rackmodel.cli.tables import fitted

    text = io.StringIO()
    width = None if terminal else _plain_width()
    console = Console(
        file=text, force_terminal=terminal, width=width, highlight=False, emoji=False, markup=False
    )
    for table in tables:
        gone = fitted(table, console.width) if isinstance(table, Table) else []
        console.print(table)
        if gone:
            console.print(f"left out, for the width: {', '.join(gone)}; --csv has all")
    lines = text.getvalue().splitlines()
    return "".join(line.rstrip() + "\n" for line in lines)


def _plain_width() -> int:
    """Return the width off a terminal: what COLUMNS says, else wide enough not to wrap."""
    wish = os.environ.get("COLUMNS", "")
    return max(80, int(wish)) if wish.isdecimal() and len(wish) < 6 else 400


def note(message: str) -> None:
    """Tell something on stderr, in the same form as an error."""
    complain(message)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield `advance(done, total)`, which tells how far `what` is."""
    yield lambda done, total: tell(what, done, total)
