"""The error table of served models in README.md and docs/serving.md, made anew.

    python -m benchmarks.serving.table [--workers 2] [--write]

In:  the serving runs that ship with the package.
Out: a table in Markdown; with --write, the same between the marks of docs/serving.md, its main rows
between those of README.md, and the record that the accuracy gate holds.
Left out: the errors themselves (`rackmodel.validation.serving_errors`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rackmodel.reporting.summary import error_groups
from rackmodel.validation.accuracy import EVERY, SERVED, SERVED_RECORD, record
from rackmodel.validation.serving_errors import summarise_serving, validate_serving

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "README.md", ROOT / "docs" / "serving.md")
BEGIN, END = "<!-- serving errors: begin -->", "<!-- serving errors: end -->"
WHOLE = ("core", "wide")
MAIN = (*WHOLE, "mode:")  # what README.md shows
FEWEST = 8  # runs of a group that has a row of its own
TITLES = ("runs", "number", "per token, median", "mean", "bias", "inside the band")
FIGURES = ("median", "mape", "bias", "inside_band", "ttft_median", "throughput_median")


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table: one row for core and wide, then the groups with enough runs."""
    titles = (*TITLES, "first token, median", "tokens/s, median")
    yield f"| {' | '.join(titles)} |"
    yield f"| --- |{' ---: |' * (len(titles) - 1)}"
    for name, group in error_groups(summary):
        if name in WHOLE or (":" in name and group["rows"] >= FEWEST):
            cells = [
                "–" if group[key] is None else f"{100 * group[key]:{'+' * (key == 'bias')}.1f}%"
                for key in FIGURES
            ]
            yield f"| {name} | {group['rows']:,} | {' | '.join(cells)} |"


def replaced(text: str, table: str) -> str:
    """Return the text with what stands between the marks replaced."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the error table of served models anew.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    found = validate_serving(SERVED, workers=options.workers)
    head, rule, *rows = lines(found["summary"])
    print("\n".join([head, rule, *rows]))
    if options.write:
        sample = summarise_serving(found["rows"][::EVERY])
        SERVED_RECORD.write_text(record({**found["summary"], "sample": sample}), encoding="utf-8")
        few = [row for row in rows if row.removeprefix("| ").startswith(MAIN)]
        for file, shown in zip(FILES, (few, rows), strict=True):
            text = replaced(file.read_text(encoding="utf-8"), "\n".join([head, rule, *shown]))
            file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
