"""Every constant that training steps had a say in: value, prior, source, and what it is worth.

    python -m benchmarks.validation.worth [RUNS.csv] [--cases FILE] [--out FILE.md] [--workers 2]

In:  a table of published runs (those that ship); the constants as they stand.
Out: tables in Markdown: errors in fold, and of releases and families left out by derivatives; each
fitted constant with the error that is left when it is held at its prior and all others are
fitted again; the constants chosen by hand; what was tried without gain.
Left out: choosing constants (`fit.py`).
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.validation.cases import cases, read_rows
from benchmarks.validation.coverage import family_of
from benchmarks.validation.fit import Fit
from benchmarks.validation.parameters import HERE, value
from rackmodel.validation.accuracy import RUNS


def errors_of(fit: Fit, x: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean error of some runs."""
    return float(np.abs(fit.errors(x, np.flatnonzero(mask))).mean())


def held(fit: Fit, x: np.ndarray, index: int) -> np.ndarray:
    """Fit again with one parameter held at its prior."""
    wanted, deviation = x.copy(), fit.deviation.copy()
    wanted[index] = fit.prior[index]
    fit.deviation[index] = 1e-4
    try:
        return fit.solve(np.arange(len(fit.cases)), wanted)
    finally:
        fit.deviation[:] = deviation


def summary(name: str, errors: np.ndarray, core: np.ndarray, moe: np.ndarray) -> str:
    """Return one row of the table of errors."""
    size = np.abs(errors)
    return (
        f"| {name} | {size[core].mean():.1%} | {np.quantile(size[core], 0.9):.1%}"
        f" | {errors[core].mean():+.1%} | {size[core & ~moe].mean():.1%}"
        f" | {size[core & moe].mean():.1%} | {size[~core].mean():.1%} |"
    )


def lines(fit: Fit) -> Iterator[str]:
    """Yield the tables."""
    everything = np.arange(len(fit.cases))
    rows = pd.DataFrame([c.row for c in fit.cases])
    core, moe = (rows.tier == "core").to_numpy(), (rows.experts.fillna(0) > 0).to_numpy()
    yield "| errors of the simulator | core | 90th percentile | bias | dense | MoE | wide |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    stands = np.array([c.step_s for c in fit.cases]) / fit.measured - 1.0
    yield summary("in fold, simulated", stands, core, moe)
    x = fit.solve(everything)
    families = np.array([family_of(row) for row in rows.to_dict("records")])
    for what, names in (("release", rows["stack"].to_numpy()), ("family", families)):
        title = f"left out: one {what} of software, by derivatives"
        yield summary(title, fit.left_out(names, x), core, moe)
    yield ""
    whole = {"core": core, "MoE": core & moe, "wide": ~core}
    base = {name: errors_of(fit, x, mask) for name, mask in whole.items()}
    yield (
        f"{len(x)} constants are fitted. With all of them: "
        + ", ".join(f"{name} {error:.2%}" for name, error in base.items())
        + "."
    )
    yield ""
    yield "| fitted constant | value | prior | deviation | core | MoE | wide | prior from |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    for index, parameter in enumerate(fit.parameters):
        y = held(fit, x, index)
        changes = [f"{errors_of(fit, y, mask) - base[name]:+.2%}" for name, mask in whole.items()]
        yield (
            f"| {parameter.name} | {value(parameter):.4g} | {parameter.prior:g}"
            f" | {parameter.deviation:.0%} | {' | '.join(changes)} | {parameter.source} |"
        )
    table = tomllib.loads((HERE / "chosen.toml").read_text("utf-8"))
    chosen = table["constant"]
    yield ""
    yield (
        f"{sum(row['count'] for row in chosen)} more were chosen by hand, from documentation or by"
        " looking at runs of these tables, and are not moved by the fit:"
    )
    yield ""
    yield "| constant chosen by hand | values | value | why |"
    yield "| --- | ---: | --- | --- |"
    for row in chosen:
        yield f"| {row['name']} | {row['count']} | {row['value']} | {row['why']} |"
    yield "\n| tried without gain | what came of it |\n| --- | --- |"
    for row in table["tried"]:
        yield f"| {row['what']} | {row['result']} |"


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=RUNS)
    parser.add_argument("--cases", type=Path, help="a file that keeps what was simulated")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    head = (
        "# Constants that training steps had a say in\n\nMade by `python -m"
        " benchmarks.validation.worth --out benchmarks/validation/constants.md`.\nThe columns core,"
        " MoE and wide say by how much the mean error grows when a constant is held at its prior\n"
        "and all others are fitted again (by the derivatives of `surrogate.py`). Families left out"
        " keep their aliases,\ndates and habits here; `coverage.py` takes those away too. Constants"
        " of kernels alone, of collectives and of\npower are measured apart: `kernels.py`,"
        " `gemm_tables.py`, `collectives.py`, `benchmarks/power.py`.\n\n"
    )
    fit = Fit(cases(read_rows(arguments.runs), arguments.workers, arguments.cases))
    text = head + "\n".join(lines(fit)) + "\n"
    if arguments.out:
        arguments.out.write_text(text, "utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
