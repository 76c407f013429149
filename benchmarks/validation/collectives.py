"""Bus bandwidths: measured beside predicted. `python -m benchmarks.validation.collectives`.

In:  a table with topology, gpus, collective, bytes, busbw_GBps and, where known, time_us; by
     default the curves that constants were fitted on.
Out: one line per curve, every row with --rows, and the mean absolute error over all sizes and from
     64 MB on.
Left out: judging; tests/published/test_collective_curves.py holds the limits.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rackmodel.network import bus_factor, run_collective
from rackmodel.topology import load_topology

PUBLISHED = Path(__file__).parents[2] / "tests" / "published" / "collectives.csv"
LARGE_BYTES = 64e6

Curve = tuple[str, int, str]


def measured(path: Path) -> Iterator[tuple[Curve, float, float]]:
    """Yield (topology, gpus, operation), bytes, busbw [bytes/s] of every row."""
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            size, gpus = float(row["bytes"]), int(row["gpus"])
            rate = float(row["busbw_GBps"]) * 1e9
            if row["time_us"]:  # finer than the printed two digits of a small bandwidth
                rate = size / float(row["time_us"]) * 1e6 * bus_factor(row["collective"], gpus)
            yield (row["topology"], gpus, row["collective"]), size, rate


def compared(path: Path) -> list[dict[str, Any]]:
    """Return the rows of `path` with what is predicted and the signed error."""
    curves: dict[Curve, list[tuple[float, float]]] = defaultdict(list)
    for key, size, rate in measured(path):
        curves[key].append((size, rate))
    rows = []
    for (topology, gpus, op), points in curves.items():
        made = run_collective(load_topology(topology), op, [size for size, _ in points], gpus)
        for row, (_, rate) in zip(made, points, strict=True):
            error = float(row["busbw_bytes_per_s"]) / rate - 1
            rows.append({**row, "topology": topology, "measured": rate, "error": error})
    return rows


def mean_error(rows: list[dict[str, Any]]) -> str:
    """Return the mean absolute error as text."""
    return f"{sum(abs(r['error']) for r in rows) / len(rows):6.1%}" if rows else "     –"


def show(path: Path, every: bool) -> None:
    """Print one table."""
    rows = compared(path)
    print(f"\n{path.name}: mean absolute error of busbw (measured, predicted in GB/s)")
    print(f"{'topology':<18} {'GPUs':>5} {'operation':<15} {'sizes':>5} {'all':>7} {'>= 64 MB':>9}")
    curves: dict[Curve, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        curves[row["topology"], row["gpus"], row["op"]].append(row)
    for (topology, gpus, op), own in curves.items():
        large = [row for row in own if row["bytes"] >= LARGE_BYTES]
        name = f"{topology:<18} {gpus:>5} {op:<15} {len(own):>5}"
        print(f"{name} {mean_error(own)}  {mean_error(large)}")
        for row in own if every else ():
            print(
                f"    {row['bytes']:>14,.0f} B {row['measured'] / 1e9:>9.3f}"
                f" {row['busbw_bytes_per_s'] / 1e9:>9.3f} {row['error']:>+8.1%}"
                f"  {row['algorithm']} {row['protocol']}; {row['binds']}"
            )
    large = [row for row in rows if row["bytes"] >= LARGE_BYTES]
    print(
        f"{'all':<18} {'':>5} {'':<15} {len(rows):>5} {mean_error(rows)}  {mean_error(large)}"
        f"   ({len(large)} of them from 64 MB on)"
    )


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description="Collectives: measured beside predicted.")
    parser.add_argument("file", nargs="*", type=Path, default=[PUBLISHED])
    parser.add_argument("--rows", action="store_true", help="every row and not only the curves")
    asked = parser.parse_args()
    for path in asked.file:
        show(path, asked.rows)


if __name__ == "__main__":
    main()
