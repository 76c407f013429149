"""Fit the constants that training steps decide, and say how well they hold on rows left out.

    python -m benchmarks.validation.fit [RUNS.csv] [--every N] [--cases FILE] [--write] [--folds]
        [--workers 2]

In:  a table of published runs (those that ship); parameters.toml; the constants as they stand.
Out: errors in fold; with --folds, on rows left out (at random, by topology, by stack, by model);
with --write, the new constants in the package. With --every N only each N-th run of a stack is
simulated and fitted, which is as much cheaper.
Left out: matrix products and attention alone (their efficiencies come from microbenchmarks).

Every run is simulated once with the constants as they stand; `surrogate.py` tells, as seconds by
class of kernel along its critical path, how the step moves with each of them. Priors are those of
parameters.toml, whatever stands; all rows of a stack together weigh n^0.6, so that a large stack
does not drown a small one. Deterministic. Fit again after --write, until nothing moves: the
derivatives are those of the constants that stand.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from benchmarks.validation.cases import Case, cases, every_nth, read_rows
from benchmarks.validation.errors import groups, report
from benchmarks.validation.parameters import Parameter, parameters, value, write
from benchmarks.validation.surrogate import CLASSES
from rackmodel.engine.overhead import expected_maximum
from rackmodel.kernels.kernel_constants import kernel_constants
from rackmodel.software import software_of
from rackmodel.validation.accuracy import RUNS

# Two equal runs differ by 0.04, but runs of one family of software are off together: of a constant
# they know a tenth of what as many runs each by itself would. Families that are left out are
# predicted best between 0.1 and 0.2.
NOISE = 0.12


class Fit:
    """Classes of seconds times factors, plus what a step costs as a whole.

    The vector of parameters holds the logarithms of their values.
    """

    def __init__(self, found: list[Case], wanted: list[Parameter] | None = None) -> None:
        self.cases = found
        every = parameters() if wanted is None else wanted
        self.seconds = np.stack([c.seconds for c in found])
        self.measured = np.array([c.row["measured_step_s"] for c in found])
        self.simulated_s = np.array([c.simulated_s for c in found])
        spread = float(kernel_constants()["step"]["spread"])
        self.slow = np.array([1.0 + spread * expected_maximum(int(c.row["gpus"])) for c in found])
        earlier = kernel_constants()["attention"]["foreign"]
        stacks = [software_of(c.stack) for c in found]
        self.design = np.zeros((len(found), len(CLASSES), len(every)))
        for i, (c, software) in enumerate(zip(found, stacks, strict=True)):
            foreign = c.family in earlier.get(software.attention_kernels, ())
            for j, name in enumerate(CLASSES):
                for k, parameter in enumerate(every):
                    self.design[i, j, k] = parameter.exponent(
                        name, c.family, c.part, software, foreign
                    )
        self.parameters = every
        self.stands = np.log([value(p) for p in every])
        self.prior = np.log([p.prior for p in every])
        self.deviation = np.array([p.deviation for p in every])
        self.fixed_s = float(kernel_constants()["step"]["fixed_s"])
        stacks = [c.row["stack"] for c in found]
        share = np.array([stacks.count(s) for s in stacks], dtype=float)
        core = np.array([c.row["tier"] == "core" for c in found])
        self.weight = np.sqrt(share**-0.4) * np.where(core, 1.0, 0.6)
        self.weight /= np.sqrt((self.weight**2).mean())

    def predict(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return predicted seconds of a step."""
        return self._predicted(x, rows)[0]

    def _predicted(self, x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return predicted seconds, and their derivatives by the parameters."""
        seconds, design = self.seconds[rows], self.design[rows]
        moved = seconds * np.exp(design @ (x - self.stands))
        scale = self.simulated_s[rows] * self.slow[rows] / seconds.sum(1)
        by = np.einsum("rc,rcp->rp", moved, design) * scale[:, None]
        return scale * moved.sum(1) + self.fixed_s, by

    def solve(self, rows: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """Return the parameters that fit some rows best.

        Outliers count by their size, not its square.
        """

        def residuals(x: np.ndarray) -> np.ndarray:
            error = np.log(self.predict(x, rows) / self.measured[rows])
            away = (x - self.prior) / self.deviation
            return np.concatenate([self.weight[rows] * error / NOISE, away])

        def slopes(x: np.ndarray) -> np.ndarray:
            seconds, by = self._predicted(x, rows)
            errors = (self.weight[rows] / NOISE / seconds)[:, None] * by
            return np.concatenate([errors, np.diag(1.0 / self.deviation)])

        begin = self.stands if start is None else start
        return least_squares(residuals, begin, slopes, loss="soft_l1", x_scale="jac", max_nfev=80).x

    def errors(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return signed relative errors."""
        return self.predict(x, rows) / self.measured[rows] - 1.0

    def left_out(self, names: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Return the error of every row when its whole group is left out of the fit."""
        errors = np.zeros(len(self.cases))
        for group in sorted(set(names)):
            inside, outside = np.where(names == group)[0], np.where(names != group)[0]
            errors[inside] = self.errors(self.solve(outside, start), inside)
        return errors

    def values(self, x: np.ndarray) -> dict[Parameter, float]:
        """Return a vector as values by parameter."""
        return {p: math.exp(v) for p, v in zip(self.parameters, x, strict=True)}


def main() -> None:
    """Fit, report, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=RUNS)
    parser.add_argument("--cases", type=Path, help="a file that keeps what was simulated")
    parser.add_argument("--every", type=int, default=1, help="only each N-th run of a stack")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--folds", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    runs = every_nth(read_rows(arguments.runs), arguments.every)
    fit = Fit(cases(runs, arguments.workers, arguments.cases))
    rows = [c.row for c in fit.cases]
    everything = np.arange(len(rows))
    report(rows, fit.errors(fit.stands, everything), "as the constants stand")
    x = fit.solve(everything)
    report(rows, fit.errors(x, everything), "in fold, by derivatives", full=True)
    print(f"{len(x)} parameters")
    away = (x - fit.prior) / fit.deviation
    for parameter, now, to, far in zip(fit.parameters, fit.stands, x, away, strict=True):
        print(
            f"  {parameter.name:42s} {math.exp(now):8.4g} -> {math.exp(to):8.4g}"
            f"  prior {parameter.prior:g}, {far:+.1f} deviations away"
        )
    if arguments.folds:
        for title, names in groups(rows).items():
            report(rows, fit.left_out(names, x), f"left out, by derivatives: {title}")
    if arguments.write:
        write(fit.values(x), None)


if __name__ == "__main__":
    main()
