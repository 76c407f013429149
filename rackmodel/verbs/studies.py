"""Verbs that run many simulations: validate, sensitivity, claims, design.

In:  tables, a job, a spec.
Out: `Answer`.
Left out: the studies themselves (`validation`, `study`, `argument`, `sweeps`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.verbs.answer import Answer, checked

if TYPE_CHECKING:
    import pandas as pd

    from rackmodel.hardware import Catalog
    from rackmodel.sweeps.run import Progress as Rows
    from rackmodel.topology import Topology
    from rackmodel.workload import Job

Progress = Callable[[int, int], None]


@checked
def validate(
    runs: str | Path | pd.DataFrame | None = None,
    *,
    serving: bool = False,
    tiers: Sequence[str] = (),
    workers: int = 1,
    catalog: Catalog | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Predict published runs and compare with what was measured.

    runs : a table or a file of them, of training or of serving, as its columns tell; None takes
    those that ship, of training or, with serving, of serving. tiers : "core", "wide",
    "composed"; empty for all. workers : processes. progress : called with (done, all).

    Returns
    -------
    rows {id, measured_step_s, predicted_step_s, error, step_s_low, step_s_high, reason, ...};
    summary {core, wide, all, by_...} with mean absolute errors and shares inside the band. Of
    serving: measured_tpot_s, predicted_tpot_s, tpot_s_low, tpot_s_high, ... in place of steps.
    """
    from rackmodel.validation import errors
    from rackmodel.validation.accuracy import RUNS, SERVED
    from rackmodel.validation.serving_errors import is_serving, validate_serving

    if serving and runs is not None:
        raise InvalidInput(
            "serving takes the runs that ship; leave it out: columns of a table tell its kind"
        )
    if serving or (runs is not None and is_serving(runs)):
        served = validate_serving(
            SERVED if runs is None else runs,
            tiers=tiers,
            catalog=catalog,
            progress=progress,
            workers=workers,
        )
        return Answer(served, "serving.validation_scatter")

    found = errors.validate(
        RUNS if runs is None else runs,
        tiers=tiers,
        catalog=catalog,
        workers=workers,
        progress=progress,
    )
    return Answer(found, "validation.validation_figure")


@checked
def sensitivity(
    topology: str | Path | Topology,
    job: Job | Mapping[str, Any],
    *,
    against: str | Path | Topology | None = None,
    draws: int = 32,
    catalog: Catalog | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Tell what doubling each resource gains, and how sure the ratio to another machine is.

    job : a `Job`, or the words of `simulate` that describe one. against : another machine; adds
    `ratio`, a band of tokens/s over its tokens/s from `draws` of the constants, with Sobol
    indices. progress : called with (done, all).

    Returns
    -------
    rows {resource, gain, loss, elasticity, worth_usd, worth_w, ...}, most gain first.
    """
    from rackmodel.study import shadow_prices
    from rackmodel.study.uncertainty import check_draws
    from rackmodel.topology import load_topology

    if against is not None:
        check_draws(draws)
        against = load_topology(against, catalog=catalog)
    found = shadow_prices.sensitivity(topology, job, catalog=catalog)
    own = found.pop("job")
    if against is not None:
        found["ratio"] = _ratio((topology, own), (against, job), catalog, draws, progress)
    return Answer(found, "levers.tornado")


def _ratio(
    one: tuple[Any, Any], rival: tuple[Any, Any], catalog: Any, draws: int, progress: Any
) -> dict[str, Any]:
    """Return the band of the ratio of tokens/s to another machine with its own best plan."""
    from rackmodel import api
    from rackmodel.hardware import load_catalog
    from rackmodel.study.uncertainty import ratio_error_bars
    from rackmodel.topology import load_topology

    parts = catalog or load_catalog()
    mine, other = load_topology(one[0], catalog=parts), rival[0]
    words = rival[1]
    theirs = api.job_of(other, **words, catalog=parts) if isinstance(words, Mapping) else words
    pairs = (mine, one[1]), (other, theirs)
    found = ratio_error_bars(*pairs, parts, draws=draws, progress=progress)
    return {"against": other.name, **found}


@checked
def claims(
    only: Sequence[str] = (),
    *,
    quick: bool = False,
    study: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Answer:
    """Test each claim about scale-up and scale-out; return verdicts with numbers and bands.

    only : ids of claims; empty for all. quick : smaller machines. study : a directory that
    `rackmodel study` wrote, whose points are not looked at again.
    workers : processes; None takes one for each processor.

    Returns
    -------
    rows {id, verdict, ...}; frames {id: the rows that the verdict rests on}.
    """
    from rackmodel.argument.verdicts import run_claims

    folder = None if study is None else Path(study)
    verdicts = run_claims(tuple(only), quick, progress, workers or os.cpu_count() or 1, folder)
    return Answer(
        {
            "rows": [verdict.to_dict() for verdict in verdicts],
            "frames": {verdict.id: verdict.rows() for verdict in verdicts},
        },
        "validation.verdict_bars",
    )


@checked
def design(
    spec: str | Path,
    *,
    out: str | Path | None = None,
    workers: int = 1,
    progress: Callable[[Rows], None] | None = None,
) -> Answer:
    """Search over hardware: which designs does no other one beat, within watts and dollars?

    spec : a TOML file with base, axes, objectives and constraints. out : a directory that keeps
    the rows; run again, it goes on. progress : called with `sweeps.run.Progress`.

    Returns
    -------
    rows, one for each design, with allowed and pareto; objectives, constraints, knobs.

    Raises
    ------
    CannotRun
        If no design that runs meets every constraint.
    """
    from rackmodel.sweeps.design_search import run_designs
    from rackmodel.sweeps.design_spec import read_design

    wanted = read_design(Path(spec))
    folder = None if out is None else Path(out)
    frame = run_designs(wanted, out=folder, workers=workers, progress=progress)
    rows: list[Any] = frame.astype(object).where(frame.notna(), None).to_dict("records")
    if not frame["allowed"].any():
        reasons = [str(row["reason"]) for row in rows if row.get("reason")]
        kept = "no design runs" if reasons and len(reasons) == len(rows) else ""
        raise CannotRun(
            f"{spec}: {kept or 'no design that runs meets every constraint'}"
            + (f"; the first: {reasons[0]}" if kept else "; loosen one, or add designs")
        )
    knobs = [name for axis in wanted.spec.axes for name in axis]
    payload = {
        "objectives": wanted.objectives,
        "constraints": list(wanted.constraints),
        "knobs": knobs,
        "combinations": wanted.spec.combinations,
        "rows": rows,
    }
    words = {"objectives": wanted.objectives, "knobs": knobs}
    return Answer(payload, "designs.design_front", words)
