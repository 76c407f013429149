"""Collectives: measured beside predicted. `python -m benchmarks.validation.collectives`.

In:  a table with topology, gpus, collective, bytes, busbw_GBps and, where known, time_us,
     algorithm, quality; of dispatch and combine tokens, copies, token_bytes instead of bytes.
Out: the factor by which time is off, exp(mean |ln(predicted / measured)|), in three bands of size
     and by source, topology and operation; every row with --rows.
Left out: judging; tests/published/test_collective_curves.py holds the limits.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.network import bus_factor, run_collective
from rackmodel.topology import load_topology

PUBLISHED = Path(__file__).parents[2] / "tests" / "published" / "collectives.csv"
BANDS = (">= 64 MB", "2 to 64 MB", "< 2 MB")
EXCHANGES = ("dispatch", "combine")
# Not fitted on and not counted: faults, software that its makers call slow, prints of two digits.
UNHEALTHY = (
    *("host-bound-small", "questioned", "coarse-print", "machine-inferred", "slow-software"),
    "definition-unclear",
)


@dataclass(frozen=True)
class Row:
    """One measured point."""

    system: str
    topology: str
    gpus: int
    op: str
    bytes: float  # of one rank; all copies in a dispatch or combine
    measured_s: float
    algorithm: str
    source: str
    quality: str
    predicted_s: float = math.nan
    chosen: str = ""

    @property
    def off(self) -> float:
        """Natural logarithm of predicted over measured time."""
        return math.log(self.predicted_s / self.measured_s)

    @property
    def band(self) -> str:
        """Which band of sizes it is in; exchanges of tokens are one by themselves."""
        if self.op in EXCHANGES:
            return f"{self.op}, {self.algorithm}"
        return BANDS[0] if self.bytes >= 64e6 else BANDS[1] if self.bytes >= 2e6 else BANDS[2]


def measured(path: Path) -> Iterator[Row]:
    """Yield the rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            op, gpus = row["collective"], int(row["gpus"])
            size = float(row["bytes"] or 0)
            if op in EXCHANGES:
                size = float(row["tokens"]) * float(row["copies"]) * float(row["token_bytes"])
            if row["time_us"]:  # finer than the printed two digits of a small bandwidth
                time_s = float(row["time_us"]) * 1e-6
            elif op in EXCHANGES:
                continue
            else:
                time_s = size * bus_factor(op, gpus) / (float(row["busbw_GBps"]) * 1e9)
            yield Row(
                system=row.get("system", ""),
                topology=row["topology"],
                gpus=gpus,
                op=op,
                bytes=size,
                measured_s=time_s,
                algorithm=row.get("algorithm", ""),
                source=row["source"],
                quality=row.get("quality", ""),
            )


def compared(path: Path, *, healthy: bool = True) -> tuple[list[Row], list[str]]:
    """Return the rows with what is predicted, and why some curves could not be."""
    curves: dict[tuple[str, int, str, str], list[Row]] = defaultdict(list)
    for row in measured(path):
        if not (healthy and row.quality in UNHEALTHY):
            curves[row.topology, row.gpus, row.op, row.algorithm].append(row)
    rows, skipped = [], []
    for (topology, gpus, op, algorithm), points in curves.items():
        try:
            made = run_collective(
                load_topology(topology),
                op,
                [point.bytes for point in points],
                gpus,
                algorithm if op in EXCHANGES else None,
            )
        except (InvalidInput, UnknownName) as error:
            skipped.append(f"{len(points)} rows of {topology}, {gpus} GPUs, {op}: {error}")
            continue
        for point, found in zip(points, made, strict=True):
            time_s, chosen = (
                float(str(found["time_s"])),
                f"{found['algorithm']} {found['protocol']}",
            )
            new = {"predicted_s": time_s, "chosen": f"{chosen}; {found['binds']}"}
            rows.append(Row(**{**point.__dict__, **new}))
    return rows, skipped


def factor(rows: Iterable[Row]) -> tuple[float, float, int]:
    """Return exp(mean |ln|), exp(mean ln) and the number of rows."""
    off = [row.off for row in rows]
    if not off:
        return math.nan, math.nan, 0
    return (
        math.exp(sum(map(abs, off)) / len(off)),
        math.exp(sum(off) / len(off)),
        len(off),
    )


def _line(name: str, rows: list[Row], bands: Iterable[str]) -> str:
    cells = []
    for band in bands:
        spread, bias, count = factor(row for row in rows if row.band == band)
        cells.append(f"{spread:6.2f} {bias:6.2f} {count:>4}" if count else f"{'':18}")
    return f"{name:<58.58} {'  '.join(cells)}"


def show(path: Path, every: bool, healthy: bool) -> None:
    """Print one table."""
    rows, skipped = compared(path, healthy=healthy)
    plain = [row for row in rows if row.op not in EXCHANGES]
    tokens = [row for row in rows if row.op in EXCHANGES]
    print(f"{path.name}: factor by which time is off, predicted over measured, number of rows")
    groups: tuple[tuple[str, Callable[[Row], str]], ...] = (
        ("by source and machine", lambda r: f"{r.topology} {r.gpus} {r.op} | {r.system}"),
        ("by topology", lambda r: r.topology),
        ("by operation", lambda r: r.op),
    )
    for part, bands in (
        (plain, BANDS),
        (tokens, tuple(dict.fromkeys(row.band for row in tokens))),
    ):
        print(f"\n{'':<58} {'  '.join(f'{band:>18}' for band in bands)}")
        print(_line("all", part, bands))
        for title, key in groups:
            print(title)
            for name in dict.fromkeys(map(key, part)):
                print(_line(f"  {name}", [row for row in part if key(row) == name], bands))
    for row in rows if every else ():
        print(
            f"{row.topology:<16} {row.gpus:>5} {row.op:<14} {row.bytes:>14,.0f} B"
            f" {row.measured_s * 1e6:>10.1f} {row.predicted_s * 1e6:>10.1f} us"
            f" {math.exp(row.off):6.2f}  {row.chosen} | {row.system[:30]}"
        )
    for line in skipped:
        print(f"left out: {line}")


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description="Collectives: measured beside predicted.")
    parser.add_argument("file", nargs="*", type=Path, default=[PUBLISHED])
    parser.add_argument("--rows", action="store_true", help="every row and not only the curves")
    parser.add_argument("--all", action="store_true", help="rows with faults too")
    asked = parser.parse_args()
    for path in asked.file:
        show(path, asked.rows, not asked.all)


if __name__ == "__main__":
    main()
