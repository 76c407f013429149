"""Design search: vary the hardware, keep what the constraints allow, and show the trade-offs.

In:  a base job, knobs (any field of a job or ``set.`` value), constraints, objectives.
Out: one row per design, which of them are on the Pareto front.
Left out: what a design means (`jobs`).

Every design is a flat job as in a sweep, so whatever a SPEC.toml can vary a design search can, and
its rows can be kept in a sweep's directory.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import qmc

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.sweeps.api import sweep
from rackmodel.sweeps.design_spec import DesignSpec
from rackmodel.sweeps.filters import parse_filter
from rackmodel.sweeps.run import JobFunction, Progress
from rackmodel.sweeps.spec import FlatJob, SweepSpec


def run_designs(
    wanted: DesignSpec,
    *,
    job: JobFunction | None = None,
    out: Path | str | None = None,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> pd.DataFrame:
    """Simulate designs and mark those that no other one beats in every objective.

    Parameters
    ----------
    wanted : what `design_spec.read_design` reads, or `DesignSpec.of` makes.
    job : other than `jobs.simulate_job`. out, workers : keep rows in a sweep's directory, resumed
        if it exists, run by so many processes.

    Returns
    -------
    One row per design: knobs, status, reason, figures, `allowed` (runs and meets every constraint)
    and `pareto`.

    Raises
    ------
    InvalidInput
        If an objective or a constraint names a column that rows don't have.
    """
    designs = _designs(wanted)
    if not designs:
        raise InvalidInput("the filters leave no design; loosen one")
    names = list(dict.fromkeys(name for design in designs for name in design))
    walk = {name: tuple(design[name] for design in designs) for name in names}
    spec = SweepSpec({}, (walk,), (), "design search")
    with tempfile.TemporaryDirectory() as folder:  # a sweep has workers and resumes
        frame = sweep(spec, out or folder, job, workers=workers, resume=True, progress=progress)
    done = frame["status"] == "done"
    columns = list(frame.columns)
    missing = [name for name in wanted.objectives if name not in columns]
    if missing and done.any():
        raise UnknownName(
            f"{wanted.spec.source}: objectives: {UnknownName.among('column', missing[0], columns)}"
        )
    filters = [
        parse_filter(text, columns, where=f"{wanted.spec.source}: constraints[{number}]")
        for number, text in enumerate(wanted.constraints)
        if done.any()
    ]
    records: list[Any] = frame.to_dict("records")
    frame["allowed"] = [
        bool(ok) and all(f.keeps(row) for f in filters)
        for ok, row in zip(done, records, strict=True)
    ]
    frame["pareto"] = False
    allowed = frame.index[frame["allowed"]]
    if len(allowed):
        frame.loc[allowed, "pareto"] = pareto_front(
            frame.loc[allowed, list(wanted.objectives)].to_numpy(dtype=float),
            list(wanted.objectives.values()),
        )
    return frame


def _designs(wanted: DesignSpec) -> list[FlatJob]:
    """All designs, or an even sample of them."""
    spec = wanted.spec
    if spec.combinations <= wanted.most:
        return list(spec.jobs())
    # Base-2 sequences are balanced at powers of two; a few points may fall on the same design.
    steps = [list(zip(*axis.values(), strict=True)) for axis in spec.axes]
    sampler = qmc.Sobol(d=len(steps), rng=wanted.seed)
    points = qmc.scale(
        sampler.random_base2(math.floor(math.log2(wanted.most))),
        [0] * len(steps),
        [len(step) for step in steps],
    )
    found: dict[tuple[int, ...], FlatJob] = {}
    for point in points:
        place = tuple(int(x) for x in point)
        design = dict(spec.base)
        for axis, step, at in zip(spec.axes, steps, place, strict=True):
            design.update(zip(axis, step[at], strict=True))
        if all(test.keeps(design) for test in spec.filters):
            found.setdefault(place, design)
    return list(found.values())


def pareto_front(figures: Any, senses: Sequence[str]) -> Any:
    """Which rows no other row beats: bool[N].

    A row is beaten if another is at least as good in every column and better in one.

    >>> pareto_front([[1.0, 5.0], [2.0, 6.0], [2.0, 4.0]], ["max", "min"]).tolist()
    [False, False, True]
    """
    signs = np.where(np.array(senses) == "max", -1.0, 1.0)
    low = np.asarray(figures, dtype=float) * signs
    best = np.ones(len(low), dtype=bool)
    for row in range(len(low)):
        as_good = (low <= low[row]).all(axis=1)
        better = (low < low[row]).any(axis=1)
        best[row] = not (as_good & better).any()
    return best
