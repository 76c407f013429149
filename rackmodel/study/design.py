"""Design search: vary the hardware, keep what the constraints allow, and show the trade-offs.

In:  a base job, knobs (any field of a job or ``set.`` value), constraints, objectives.
Out: one row per design, which of them are on the Pareto front; the optimum of one figure.
Left out: what a design means (`jobs`); the optimisers are SciPy's.

Every design is a flat job as in a sweep, so whatever a SPEC.toml can vary a design search can, and
its rows can be kept in a sweep's directory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel.errors import CannotRun, InvalidInput, RackModelError
from rackmodel.study.filters import Value, parse_filter
from rackmodel.study.spec import FlatJob

if TYPE_CHECKING:
    import pandas as pd

Knob = Sequence[Value] | tuple[float, float]
JobFunction = Callable[[FlatJob], Mapping[str, Value]]


def design_search(
    base: FlatJob,
    knobs: Mapping[str, Sequence[Value]],
    objectives: Mapping[str, str],
    *,
    constraints: Sequence[str] = (),
    most: int = 256,
    seed: int = 0,
    job: JobFunction | None = None,
    out: Path | str | None = None,
    workers: int = 1,
) -> pd.DataFrame:
    """Simulate designs and mark those that no other one beats in every objective.

    Parameters
    ----------
    base : a flat job (see `jobs`). knobs : {name: values to try}.
    objectives : {column of a row: "max" or "min"}, such as {"tokens_per_s": "max",
        "cost.usd_per_mtoken": "min"}.
    constraints : filters over columns, such as "rack_heat_w <= 120000".
    most : designs to simulate; beyond it a low-discrepancy sample of all combinations is taken.
    job : other than `jobs.simulate_job`. out, workers : keep rows in a sweep's directory, resumed
        if it exists, run by so many processes.

    Returns
    -------
    One row per design: knobs, status, reason, figures, `allowed` (runs and meets every constraint)
    and `pareto`.

    Raises
    ------
    InvalidInput
        If a knob has no values, or an objective is neither "max" nor "min".
    """
    import pandas as pd

    for name, sense in objectives.items():
        if sense not in ("max", "min"):
            raise InvalidInput(f"objective {name} = {sense!r} has to be 'max' or 'min'")
    designs = _designs(base, knobs, most, seed)
    if job is None:
        from rackmodel.study.jobs import simulate_job

        job = simulate_job
    frame = _kept(designs, job, out, workers) if out else pd.DataFrame(_rows(designs, job))
    missing = [name for name in objectives if name not in frame]
    done = frame["status"] == "done"
    if missing and done.any():
        raise InvalidInput(
            f"objective {missing[0]!r} is no column of the rows; they have "
            + ", ".join(frame.columns[:40])
        )
    filters = [parse_filter(text, list(frame.columns), where="constraint") for text in constraints]
    records: list[Any] = frame.to_dict("records")
    frame["allowed"] = [
        bool(ok) and all(f.keeps(row) for f in filters)
        for ok, row in zip(done, records, strict=True)
    ]
    frame["pareto"] = False
    allowed = frame.index[frame["allowed"]]
    if len(allowed):
        frame.loc[allowed, "pareto"] = pareto_front(
            frame.loc[allowed, list(objectives)].to_numpy(dtype=float), list(objectives.values())
        )
    return frame


def _designs(
    base: FlatJob, knobs: Mapping[str, Sequence[Value]], most: int, seed: int
) -> list[FlatJob]:
    for name, values in knobs.items():
        if not values:
            raise InvalidInput(f"knob {name} has no values; give some, or leave it out")
    combinations = math.prod(len(values) for values in knobs.values())
    if combinations <= most:
        return [
            base | dict(zip(knobs, values, strict=True))
            for values in itertools.product(*knobs.values())
        ]
    from scipy.stats import qmc

    # Base-2 sequences are balanced at powers of two; a few points may fall on the same design.
    sampler = qmc.Sobol(d=len(knobs), rng=seed)
    points = qmc.scale(
        sampler.random_base2(math.floor(math.log2(most))),
        [0] * len(knobs),
        [len(values) for values in knobs.values()],
    )
    found: dict[tuple[int, ...], FlatJob] = {}
    for point in points:
        place = tuple(int(x) for x in point)
        values = [options[i] for options, i in zip(knobs.values(), place, strict=True)]
        found.setdefault(place, base | dict(zip(knobs, values, strict=True)))
    return list(found.values())


def _rows(designs: Sequence[FlatJob], job: JobFunction) -> list[dict[str, Value]]:
    from rackmodel.study.sweep import attempt

    return [attempt(job, design) for design in designs]


def _kept(
    designs: Sequence[FlatJob], job: JobFunction, out: Path | str, workers: int
) -> pd.DataFrame:
    from rackmodel.study.spec import SweepSpec
    from rackmodel.study.sweep import sweep

    names = list(dict.fromkeys(name for design in designs for name in design))
    columns = {name: tuple(design[name] for design in designs) for name in names}
    spec = SweepSpec({}, (columns,), (), "design search")
    from rackmodel.study.jobs import simulate_job

    own = None if job is simulate_job else job
    return sweep(spec, out, own, workers=workers, resume=True)


def pareto_front(figures: Any, senses: Sequence[str]) -> Any:
    """Which rows no other row beats: bool[N].

    A row is beaten if another is at least as good in every column and better in one.

    >>> pareto_front([[1.0, 5.0], [2.0, 6.0], [2.0, 4.0]], ["max", "min"]).tolist()
    [False, False, True]
    """
    import numpy as np

    signs = np.where(np.array(senses) == "max", -1.0, 1.0)
    low = np.asarray(figures, dtype=float) * signs
    best = np.ones(len(low), dtype=bool)
    for row in range(len(low)):
        as_good = (low <= low[row]).all(axis=1)
        better = (low < low[row]).any(axis=1)
        best[row] = not (as_good & better).any()
    return best


def optimise(
    base: FlatJob,
    ranges: Mapping[str, tuple[float, float]],
    objective: str,
    sense: str = "max",
    *,
    constraints: Sequence[tuple[str, float]] = (),
    most: int = 60,
    seed: int = 0,
    job: JobFunction | None = None,
) -> dict[str, Value]:
    """Return the row of the best design over continuous knobs.

    Parameters
    ----------
    ranges : {knob: (low, high)}. objective : column to maximise ("max") or minimise ("min").
    constraints : (column, most allowed), such as ("rack_heat_w", 120e3).
    most : simulations, about.

    Raises
    ------
    CannotRun
        If no design that was tried runs and meets the constraints.

    Notes
    -----
    `scipy.optimize.differential_evolution`; designs that can't run or break a constraint count as
    worse than all others.
    """
    from scipy.optimize import differential_evolution

    if sense not in ("max", "min"):
        raise InvalidInput(f"sense {sense!r} has to be 'max' or 'min'")
    if job is None:
        from rackmodel.study.jobs import simulate_job

        job = simulate_job
    names = list(ranges)
    sign = -1.0 if sense == "max" else 1.0
    seen: dict[tuple[float, ...], dict[str, Value]] = {}

    def cost(point: Any) -> float:
        values = tuple(float(x) for x in point)
        design = base | dict(zip(names, values, strict=True))
        try:
            row = dict(job(design))
        except RackModelError:
            return math.inf
        if any(_figure(row, column) > limit for column, limit in constraints):
            return math.inf
        seen[values] = design | row
        return sign * _figure(row, objective)

    population = max(5, 15 // max(1, len(names))) * len(names)
    bounds: Any = list(ranges.values())
    differential_evolution(
        cost,
        bounds,
        maxiter=max(1, most // population - 1),
        popsize=population // len(names),
        rng=seed,
        polish=False,
        tol=1e-3,
    )
    if not seen:
        raise CannotRun("no design that was tried runs and meets the constraints; widen the ranges")
    return min(seen.values(), key=lambda row: sign * _figure(row, objective))


def _figure(row: Mapping[str, Value], column: str) -> float:
    value = row.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{column!r} is no figure of a row; it has {', '.join(list(row)[:40])}")
    return float(value)
