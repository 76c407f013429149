"""The error table of README.md and benchmarks/README.md, made anew from published runs.

    python -m benchmarks.validation.table [--workers 2] [--write]

In:  the core and wide runs that ship with the package, or what `rackmodel validate --json` wrote
     of them.
Out: a table in Markdown; with --write, the same between the marks of benchmarks/README.md, its
main rows between those of README.md, and the record that the accuracy gate holds.
Left out: the errors themselves (`rackmodel.validation.errors`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import rackmodel
from rackmodel.reporting.summary import error_groups
from rackmodel.validation.accuracy import HELD, RECORD, RUNS, record
from rackmodel.validation.errors import validate

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
BEGIN, END = "<!-- errors: begin -->", "<!-- errors: end -->"
MAIN = (*HELD, "experts", "gpus")  # what README.md shows
FEWEST = 8  # runs of a group that has a row of its own


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table: one row for core and wide, then the groups with enough runs."""
    yield "| runs | number | mean error | median | 90th percentile | bias | inside the band |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    groups = list(error_groups(summary))
    for name, group in groups:
        if name in HELD or (":" in name and group.get("rows", 0) >= FEWEST):
            shares = [group.get(key) for key in ("mape", "median", "p90")]
            cells = [_percent(share) for share in shares]
            bias = group.get("bias")
            cells.append("–" if bias is None else f"{100 * bias:+.1f}%")
            cells.append(_percent(group.get("inside_band"), 0))
            yield f"| {name} | {group.get('rows', 0):,} | {' | '.join(cells)} |"


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def replaced(text: str, table: str) -> str:
    """Return the text with what stands between the marks replaced.

    Raises
    ------
    ValueError
        If the text does not hold both marks, once each and in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"wanted one {BEGIN} before one {END}")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def written(summary: Mapping[str, Any], *, into_files: bool = True) -> None:
    """Print the table; put it between the marks of both files, and the summary into the record."""
    head, rule, *rows = lines(summary)
    version = ["", f"rackmodel {rackmodel.__version__}."]
    print("\n".join([head, rule, *rows, *version]))
    if not into_files:
        return
    RECORD.write_text(record(summary), encoding="utf-8")
    few = [row for row in rows if row.removeprefix("| ").startswith(MAIN)]
    for file, shown in zip(FILES, (few, rows), strict=True):
        table = "\n".join([head, rule, *shown, *version])
        file.write_text(replaced(file.read_text(encoding="utf-8"), table), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the error table anew.")
    parser.add_argument("runs", type=Path, nargs="?", help="what `rackmodel validate --json` wrote")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"into {FILES[0].name} and the other")
    options = parser.parse_args()
    if options.runs is not None:
        found = json.loads(options.runs.read_text(encoding="utf-8"))
    else:
        found = validate(RUNS, tiers=HELD, workers=options.workers)
    written(found["summary"], into_files=options.write)


if __name__ == "__main__":
    main()
