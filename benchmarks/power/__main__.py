"""Print measured power beside predicted: `python -m benchmarks.power [ID ...] [--dynamics FILE]`.

In:  `benchmarks.power.rows`; with a table of power over time also `dynamics`, `bands`, `series`.
Out: tables, every bar beside its figure, and the exit code 1 if one is missed.
Left out: how figures are predicted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.power import bands, dynamics, series
from benchmarks.power.rows import table


def text(value: Any, unit: str = "") -> str:
    """Return a number with its unit, a dash for none."""
    if value is None or value != value:
        return "-"
    digits = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{digits} {unit}".rstrip()


def metered(ids: list[str], csv: Path | None) -> bool:
    """Print nodes and racks beside predicted; return whether all are within their bars."""
    rows = table(ids or None)
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
    if csv:
        rows.to_csv(csv, index=False)
    return all(judged)


def over_time(source: Path) -> Iterator[tuple[str, float, float, bool]]:
    """Print power over time beside predicted; yield (what, figure, bar, whether it is met)."""
    found, bare = dynamics.table(source)
    print("", *dynamics.lines(found), sep="\n")
    print(f"{bare} rows state no phase that is predicted here")
    sure = bands.left_out(bands.measured(found))
    print("", *bands.lines(sure), sep="\n")
    for what, figure, bar in dynamics.bars(found):
        yield what, figure, bar, figure <= bar
    inside = float(sure["inside"].mean())
    yield (
        f"heat inside its band, source left out ({len(sure)} rows)",
        inside,
        bands.BAR,
        (inside >= bands.BAR),
    )
    for what, figure, bar in series.bars():
        yield what, figure, bar, figure <= bar


def main() -> int:
    parser = argparse.ArgumentParser(description="Measured power of machines beside predicted.")
    parser.add_argument("ids", nargs="*", help="of published.csv; all by default")
    parser.add_argument("--csv", type=Path, help="also write the table with sources and notes")
    parser.add_argument("--dynamics", type=Path, help="with the columns of power_dynamics.csv")
    options = parser.parse_args()
    good = metered(options.ids, options.csv)
    for what, figure, bar, met in over_time(options.dynamics) if options.dynamics else ():
        print(f"{what:82} {figure:.3g} of {bar:.3g}{'' if met else '  MISSED'}")
        good &= met
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
