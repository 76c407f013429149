"""Print measured power beside predicted: `python -m benchmarks.power [ID ...] [--csv FILE]`.

In:  `benchmarks.power.rows`.
Out: a table, and the exit code 1 if a figure is outside its bar.
Left out: how figures are predicted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.power.rows import table


def text(value: Any, unit: str = "") -> str:
    """Return a number with its unit, a dash for none."""
    if value is None or value != value:
        return "-"
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{digits} {unit}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description="Measured power of machines beside predicted.")
    parser.add_argument("ids", nargs="*", help="of published.csv; all by default")
    parser.add_argument("--csv", type=Path, help="also write the table with sources and notes")
    options = parser.parse_args()
    rows = table(options.ids or None)
    width = max(len(what) for what in rows["what"])
    print(f"{'':{width}}  {'measured':>17}  {'predicted':>17}  {'error':>7}  {'bar':>6}")
    for row in rows.to_dict("records"):
        error = (
            "-" if row["error"] != row["error"] or row["error"] is None else f"{row['error']:+.1%}"
        )
        bar = "-" if row["bar"] != row["bar"] or row["bar"] is None else f"{row['bar']:.1%}"
        mark = {True: "", False: "  OUTSIDE"}.get(row["within"], "")
        measured, predicted = (text(row[name], row["unit"]) for name in ("measured", "predicted"))
        print(f"{row['what']:{width}}  {measured:>17}  {predicted:>17}  {error:>7}  {bar:>6}{mark}")
        if error == "-":
            print(f"{'':4}{row['notes']}")
    judged = [row for row in rows["within"] if row is not None]
    print(f"{sum(judged)} of {len(judged)} figures within their bars")
    if options.csv:
        rows.to_csv(options.csv, index=False)
    return 0 if all(judged) else 1


if __name__ == "__main__":
    sys.exit(main())
