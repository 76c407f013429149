"""Errors on rows left out, by simulation: fit without a group, then simulate the group.

    python -m benchmarks.validation.folds RUNS.csv [--workers 2] [--csv OUT.csv]

In:  a table of published runs; parameters.toml; the constants as they stand.
Out: errors by way of leaving out; with --csv, every row's.
Left out: the derivatives that the fit of a fold moves along are those of the constants that stand.

For every group the constants are fitted on all other rows, from the priors of parameters.toml;
they are written to a folder, and the simulator runs the rows of the group with them.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from benchmarks.validation.cases import cases, read_rows, with_constants
from benchmarks.validation.errors import groups, report
from benchmarks.validation.fit import Fit
from benchmarks.validation.parameters import write

WAYS = ("five random folds over configurations", "one topology", "one stack")


def simulated(fit: Fit, names: np.ndarray, folder: Path, workers: int) -> np.ndarray:
    """Return the error of every row, simulated with constants fitted without its group."""
    tasks, order = [], []
    start = fit.solve(np.arange(len(names)))
    for number, group in enumerate(sorted(set(names))):
        inside, outside = np.where(names == group)[0], np.where(names != group)[0]
        own = folder / str(number)
        write(fit.values(fit.solve(outside, start)), own)
        tasks += [(own, fit.cases[i].row) for i in inside]
        order += list(inside)
    errors = np.full(len(names), np.nan)
    with ProcessPoolExecutor(workers) as pool:
        answers = pool.map(with_constants, tasks, chunksize=2)
        found = list(track(answers, "simulating rows left out", total=len(tasks)))
    errors[order] = np.array(found) / fit.measured[order] - 1.0
    return errors


def main() -> None:
    """Fit, simulate, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    fit = Fit(cases(read_rows(arguments.runs), arguments.workers))
    rows = [c.row for c in fit.cases]
    table = pd.DataFrame(rows)[["id", "tier", "stack", "topology"]]
    known = groups(rows)
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            errors = simulated(fit, known[way], Path(folder), arguments.workers)
        report(rows, errors, f"left out, by simulation: {way}")
        table[way] = errors
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
