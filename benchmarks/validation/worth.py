"""What each fitted constant is worth: the error that it leaves when it is held off its value.

    python benchmarks/validation/worth.py RUNS.csv [--out FILE.md] [--workers 2]

In:  a table of published runs; the constants as they stand.
Out: a table in Markdown: constant, value, deviation of its prior, mean error of the core runs with
the constant 20% off and all others fitted again; above it the errors in fold and on rows left out.
Left out: choosing constants (`fit.py`).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from fit import Fit, cases

from rackmodel.simulate.kernel_constants import kernel_constants
from rackmodel.simulate.stacks import stack_table

OFF = math.log(1.2)


def value(name: str) -> str:
    """Return what the catalog holds under the name of a parameter."""
    for table in (kernel_constants().table, stack_table()):
        found: object = table
        for word in name.split("."):
            found = found.get(word) if isinstance(found, dict) else None
        if found is not None:
            return str(found)
    return "–"


def core_error(fit: Fit, x: np.ndarray) -> float:
    """Return the mean error of the core runs."""
    core = np.array([c.row["tier"] == "core" for c in fit.cases])
    return float(np.abs(fit.errors(x, np.flatnonzero(core))).mean())


def held(fit: Fit, x: np.ndarray, index: int) -> np.ndarray:
    """Fit again with one parameter 20% off."""
    wanted, deviation = x.copy(), fit.deviation.copy()
    wanted[index] += OFF
    fit.deviation[index], fit.center[index] = 1e-4, wanted[index]
    try:
        return fit.solve(np.arange(len(fit.cases)), wanted)
    finally:
        fit.deviation[:], fit.center[index] = deviation, 0.0


def lines(fit: Fit) -> Iterator[str]:
    """Yield the tables."""
    everything = np.arange(len(fit.cases))
    x = fit.solve(everything)
    rows = pd.DataFrame([c.row for c in fit.cases])
    core = (rows.tier == "core").to_numpy()
    columns = ["topology", "model", "gpus", "tp", "pp", "ep", "precision"]
    keys = rows[columns].fillna(-1).astype(str).agg("|".join, axis=1).to_numpy()
    order = np.random.default_rng(0).permutation(sorted(set(keys)))
    fold = {key: number % 5 for number, key in enumerate(order)}
    yield "| errors of | core | 90th percentile | bias | wide |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    groups = {
        "five random folds over configurations": np.array([fold[key] for key in keys]),
        "one topology left out": rows.topology.to_numpy(),
        "one stack left out": rows["stack"].to_numpy(),
    }
    found = {"all rows in fold": fit.errors(x, everything)}
    found |= {title: fit.left_out(group, x) for title, group in groups.items()}
    for title, errors in found.items():
        size = np.abs(errors)
        yield (
            f"| {title} | {size[core].mean():.1%} | {np.quantile(size[core], 0.9):.1%}"
            f" | {errors[core].mean():+.1%} | {size[~core].mean():.1%} |"
        )
    yield ""
    yield f"{len(x)} parameters. Core error with all of them: {core_error(fit, x):.2%}."
    yield ""
    yield "| constant | value | prior, 1 deviation | core error with it 20% off |"
    yield "| --- | ---: | ---: | ---: |"
    for index, name in enumerate(fit.names):
        error = core_error(fit, held(fit, x, index))
        yield f"| {name} | {value(name)} | {fit.deviation[index]:.0%} | {error:.2%} |"
    for kind in fit.kinds:
        yield f"| step.fixed_s.{kind} | {value('step.fixed_s.' + kind)} | 40% | – |"
    yield f"| step.spread | {value('step.spread')} | 50% | – |"


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    text = "\n".join(lines(Fit(cases(arguments.runs, arguments.workers)))) + "\n"
    if arguments.out:
        arguments.out.write_text(text, "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
