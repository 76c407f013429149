"""Does the error follow a size? `python -m benchmarks.validation.slopes [RUNS.csv] [--stack mpt]`.

In:  a table of runs (those that ship), of software whose name holds a word; composed rows too.
Out: how much the error grows with each doubling of micro-batch, hidden size, tp and pp, all at
     once, with its standard error; `*` where it is beyond 1% and twice its standard error.
Left out: what else differs between machines and software, which have a level each.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.validation.cases import every_nth
from rackmodel.validation.accuracy import RUNS
from rackmodel.validation.errors import validate

SIZES = ("micro_batch", "hidden", "tp", "pp")
MOST = 0.01  # a doubling


def slopes(rows: pd.DataFrame) -> Iterator[tuple[str, float, float]]:
    """Yield (size, ln of predicted over measured by doubling, its standard error) of what varies.

    Runs of one micro-batch, hidden size and tp share their layer's kernels, so that they err
    together: composed rows are 32 profiles, however many they are. The standard error is that of
    so many groups.

    rows : error (signed, relative), the sizes, and topology and stack, which have a level each.
    """
    rows = rows.dropna(subset=["error", *SIZES])
    level = pd.get_dummies(rows["topology"] + rows["stack"], dtype=float).to_numpy()
    sizes = np.log2(rows[list(SIZES)].to_numpy(dtype=float))
    inside = sizes - level @ (np.linalg.pinv(level) @ sizes)
    varies = (inside**2).sum(axis=0) > 1e-6
    design, error = np.hstack([sizes[:, varies], level]), np.log1p(rows["error"].to_numpy())
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ error
    alike = rows.groupby(["topology", "stack", *SIZES[:3]]).ngroup().to_numpy()
    pulls = np.zeros((alike.max() + 1, design.shape[1]))
    np.add.at(pulls, alike, design * (error - design @ found)[:, None])
    free = max(1, len(pulls) - np.linalg.matrix_rank(design))
    spread = np.sqrt(np.diag(inverse @ pulls.T @ pulls @ inverse) * len(pulls) / free)
    names = np.array(SIZES)[varies].tolist()
    yield from zip(names, found.tolist(), spread.tolist(), strict=False)  # levels come last


def main() -> None:
    """Simulate, regress, print."""
    parser = argparse.ArgumentParser(description="Slopes of the error")
    parser.add_argument("runs", type=Path, nargs="?", default=RUNS)
    parser.add_argument("--stack", default="mpt", help="runs of software whose name holds this")
    parser.add_argument("--every", type=int, default=1, help="only each N-th run")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    runs = pd.read_csv(asked.runs, low_memory=False)
    runs = runs[runs["stack"].str.contains(asked.stack)]
    runs = pd.DataFrame(every_nth(runs.to_dict("records"), asked.every))
    if runs.empty:
        parser.error(f"no run of {asked.stack!r} in {asked.runs}; give another --stack")
    answers = pd.DataFrame(validate(runs, workers=asked.workers)["rows"])
    print(f"{asked.stack}: {len(runs)} runs, {answers['error'].abs().mean():.1%} off in the mean")
    for name, slope, uncertain in slopes(runs.assign(error=answers["error"].to_numpy(dtype=float))):
        mark = " *" if abs(slope) > max(MOST, 2 * uncertain) else ""
        print(f"  {name:<12} {slope:+6.1%} a doubling (+- {uncertain:.1%}){mark}")


if __name__ == "__main__":
    main()
