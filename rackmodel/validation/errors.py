"""Published runs, predicted: how far the simulator is from what was measured.

In:  a CSV of runs (one a row; empty cells are not stated) or a frame of the same columns.
Out: predicted beside measured step times with signed errors, and a summary by group.
Left out: fitting (benchmarks/validation), plots (report).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

from rackmodel.annotations import DataFrame, Series
from rackmodel.errors import CannotRun, InvalidInput, RackModelError
from rackmodel.extend import load_all
from rackmodel.files import read_csv
from rackmodel.gate import is_empty
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.topology import Topology
from rackmodel.validation.published_runs import Run, filled_in, machine_of, read_run
from rackmodel.workload import Job

Progress = Callable[[int, int], None]
NEEDED = ("topology", "gpus", "layers", "hidden", "heads", "vocab", "seq_len", "global_batch")
MOST_ROWS = 200_000


def validate(
    source: str | Path | DataFrame,
    *,
    tiers: Sequence[str] = (),
    catalog: Catalog | None = None,
    progress: Progress | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Predict published runs and compare them with what was measured.

    Parameters
    ----------
    source : a CSV file or a frame; columns as in a published-runs file (topology, gpus, layers,
    ...). tiers : only rows of these ("core", "wide", "composed"; rows without one are core).
    catalog : parts to use in place of the shipped ones.
    progress : called with (rows done, rows in all).
    workers : processes.

    Returns
    -------
    {"rows": one dictionary a row (id, measured_step_s, predicted_step_s, error, step_s_low,
    step_s_high, reason, ...), "summary": {core, wide, composed, all, by_...}}. Errors are
    (predicted - measured) / measured. A row that can't run has predicted_step_s None and says why
    in `reason`.

    Raises
    ------
    InvalidInput
        If the file can't be read or lacks a column that nothing can replace.
    """
    frame, summary = validation_frame(
        source, tiers=tiers, catalog=catalog, progress=progress, workers=workers
    )
    rows = [
        {str(k): (None if is_empty(v) else v) for k, v in row.items()}
        for row in frame.to_dict("records")
    ]
    return {"rows": rows, "summary": summary}


def validation_frame(
    source: str | Path | DataFrame,
    *,
    tiers: Sequence[str] = (),
    catalog: Catalog | None = None,
    progress: Progress | None = None,
    workers: int = 1,
) -> tuple[DataFrame, dict[str, Any]]:
    """Return the rows as a frame, and the summary; see `validate`."""
    frame = read_runs(source)
    if tiers:
        frame = frame[tier_of(frame).isin(tiers)]
        if frame.empty:
            raise InvalidInput(
                f"no rows of tier {' or '.join(tiers)}; leave --tier out, or give another"
            )
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    # Equal configurations are simulated once; the order of first appearance keeps runs repeatable.
    keys = [_key(row) for row in rows]
    distinct: dict[tuple[Any, ...], int] = {}
    for index, key in enumerate(keys):
        distinct.setdefault(key, index)
    waiting = [rows[index] for index in distinct.values()]
    share = {key: sum(1 for k in keys if k == key) for key in distinct} if len(rows) < 5000 else {}
    answers: dict[tuple[Any, ...], dict[str, Any]] = {}
    done = 0
    if progress is not None:
        progress(0, len(rows))
    for key, answer in zip(distinct, _predict_all(waiting, catalog, workers), strict=True):
        answers[key] = answer
        done += share.get(key, 1)
        if progress is not None:
            progress(min(done, len(rows)), len(rows))
    return compared(rows, [answers[key] for key in keys])


def compared(
    rows: Sequence[Mapping[str, Any]], answers: Sequence[Mapping[str, Any]]
) -> tuple[DataFrame, dict[str, Any]]:
    """Return rows beside what was predicted of them (see `predict`), and the summary."""
    import pandas as pd

    table = pd.DataFrame([_compared(*both) for both in zip(rows, answers, strict=True)])
    return table, summarise(table)


def read_runs(source: str | Path | DataFrame) -> DataFrame:
    """Return a table of runs with every needed column, or say what is missing."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        frame = source.copy()
        where = "the frame"
    else:
        where = str(source)
        frame = read_csv(Path(source), dtype={"id": str})  # names, digits too
    needed = ", ".join(NEEDED)
    missing = [column for column in NEEDED if column not in frame.columns]
    if missing:
        raise InvalidInput(f"{where} lacks the column {missing[0]!r}; add it (needed: {needed})")
    if len(frame) > MOST_ROWS:
        raise InvalidInput(f"{where} has {len(frame):,} rows; give at most {MOST_ROWS:,}")
    if frame.empty:
        raise InvalidInput(f"{where} has no rows; give one for each run")
    if "id" not in frame.columns:
        frame.insert(0, "id", [f"row {i + 1}" for i in range(len(frame))])
    return frame


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a prediction may depend on; never the id, the source or what was measured."""
    aside = {"id", "source", "measured_step_s", "uncertainty", "measured_mem_gb", "tier", "quality"}
    return tuple(
        (k, None if is_empty(v) else str(v)) for k, v in sorted(row.items()) if k not in aside
    )


def _predict_all(
    rows: Sequence[dict[str, Any]], catalog: Catalog | None, workers: int
) -> Iterator[dict[str, Any]]:
    """Predict rows in order, in this process or in several."""
    if workers <= 1 or len(rows) < 4:
        for row in rows:
            yield predict(row, catalog)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=load_all) as pool:
        chunk = max(1, min(16, len(rows) // (4 * workers)))
        yield from pool.map(predict, rows, repeat(catalog), chunksize=chunk)


def predict(row: Mapping[str, Any], catalog: Catalog | None = None) -> dict[str, Any]:
    """Predict one row; a row that can't run gets a `reason` instead of an exception."""
    try:
        return fastest(row, catalog)[1]
    except RackModelError as error:
        return {"predicted_step_s": None, "reason": str(error)}


def fastest(row: Mapping[str, Any], catalog: Catalog | None = None) -> tuple[Job, dict[str, Any]]:
    """Return the quickest of the jobs that a row may have been, and what is predicted of it.

    Raises
    ------
    CannotRun
        If none can run, with the reason of the first.
    """
    from rackmodel.engine.simulation import TooSlow
    from rackmodel.hardware import accelerator, load_catalog

    machine = machine_of(row, catalog)
    part = accelerator(machine.accelerator, catalog or load_catalog())
    run = read_run(row, machine.domain_accelerators, part.family, part.host_link, part.year)
    best: tuple[float, int, Job, dict[str, Any]] | None = None
    reasons: dict[int, str] = {}
    many = len(run.jobs) > 1
    for floor_s, number, job in by_floor(machine, run, part, catalog, reasons):
        limit_s = best[0] if best and many else math.inf
        if floor_s >= limit_s:
            break
        try:
            answer = _simulated(machine, run, job, catalog, limit_s)
        except TooSlow:
            continue
        except RackModelError as error:
            reasons[number] = str(error)
            continue
        found = (answer["predicted_step_s"], number, job, answer)
        best = min(best or found, found, key=lambda entry: entry[:2])
    if best is None:
        raise CannotRun(reasons[min(reasons)] if reasons else "no plan can run")
    return best[2], {**best[3], "reason": "", "filled": " ".join(run.filled)}


def by_floor(
    machine: Topology,
    run: Run,
    part: Accelerator,
    catalog: Catalog | None,
    reasons: dict[int, str],
) -> list[tuple[float, int, Job]]:
    """Return (least seconds, number, job) of the plans that a row may have run, the least first.

    Plans that can't run leave their reason instead. A single plan needs no bound.
    """
    from rackmodel.assess.run import kernels_s
    from rackmodel.workload import settled

    found = []
    for number, job in enumerate(run.jobs):
        try:
            job = filled_in(run, settled(job, part, machine.domain_accelerators), part)
            floor_s = kernels_s(machine, job, catalog) if len(run.jobs) > 1 else 0.0
        except RackModelError as error:
            reasons[number] = str(error)
            continue
        found.append((floor_s, number, job))
    return sorted(found, key=lambda entry: entry[:2])


def _simulated(
    machine: Topology, run: Run, job: Job, catalog: Catalog | None, limit_s: float
) -> dict[str, Any]:
    from rackmodel import api
    from rackmodel.workload import printed_bytes

    # A published run did fit: an estimate of memory that says otherwise can't refuse it.
    result = api.simulate(
        machine, job, catalog=catalog, check_memory=False, repeat="estimate", limit_s=limit_s
    ).filled_in(run.filled)
    plan = job.plan
    return {
        "predicted_step_s": result.step_s,
        "step_s_low": result.step_s_low,
        "step_s_high": result.step_s_high,
        "band_reason": result.band_reason,
        # As the software counts it: published figures are of what its logs print.
        "predicted_mem_gb": max(printed_bytes(job, used) for used in result.hbm_used) / 1e9,
        "recompute_used": plan.recompute,
        "plan": f"tp {plan.tp} pp {plan.pp} vpp {plan.vpp} cp {plan.cp} ep {plan.ep} dp {plan.dp}"
        f" mb {plan.micro_batch} {plan.sharding}",
    }


def _told(cell: Any) -> Any:
    """Return a cell as it is, but no whole number that no float holds."""
    return None if isinstance(cell, int) and abs(cell) > sys.float_info.max else cell


def _compared(row: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    measured = _number(row.get("measured_step_s"))
    memory = _number(row.get("measured_mem_gb"))
    predicted = answer.get("predicted_step_s")
    low, high = answer.get("step_s_low"), answer.get("step_s_high")
    memory_gb = answer.get("predicted_mem_gb")
    kept = ("stack", "topology", "gpus", "model", "precision", "tier", "quality", "uncertainty")
    return {
        "id": row.get("id"),
        **{key: _told(row[key]) for key in kept if key in row},
        "experts": _number(row.get("experts")) is not None,
        "measured_step_s": measured,
        "predicted_step_s": predicted,
        "error": predicted / measured - 1.0 if predicted and measured else None,
        "step_s_low": low,
        "step_s_high": high,
        "band_reason": answer.get("band_reason", ""),
        "inside": low <= measured <= high if predicted and measured and low and high else None,
        "measured_mem_gb": memory,
        "predicted_mem_gb": memory_gb,
        "memory_error": memory_gb / memory - 1.0 if memory_gb and memory else None,
        "plan": answer.get("plan", ""),
        "recompute_used": answer.get("recompute_used", ""),
        "filled": answer.get("filled", ""),
        "reason": answer.get("reason", ""),
    }


def _number(value: object) -> float | None:
    """Return a positive finite number, else None."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def figures(table: DataFrame) -> dict[str, Any]:
    """Return the error figures of a group: fractions.

    Over rows with a prediction and a measurement.
    """
    import numpy as np

    errors = table["error"].dropna().to_numpy(dtype=float)
    size = np.abs(errors)
    failed = int(table["predicted_step_s"].isna().sum())
    inside = table["inside"].dropna()
    memory = table["memory_error"].dropna().to_numpy(dtype=float)
    known = len(errors) > 0
    return {
        "rows": len(table),
        "failures": failed,
        "mape": float(size.mean()) if known else None,
        "median": float(np.median(size)) if known else None,
        "p90": float(np.quantile(size, 0.9)) if known else None,
        "bias": float(errors.mean()) if known else None,
        "inside_band": float(inside.astype(float).mean()) if len(inside) else None,
        "memory_mape": float(np.abs(memory).mean()) if len(memory) else None,
    }


def tier_of(table: DataFrame) -> Series[str]:
    """Return the tier of each row; one that says none is core."""
    if "tier" not in table.columns:
        return table["id"].map(lambda _: "core")
    return table["tier"].astype(object).fillna("core")


GPU_BINS = ((1, 8), (9, 64), (65, 256), (257, 999), (1000, 10**9))


def summarise(table: DataFrame) -> dict[str, Any]:
    """Return figures over core and wide, and over groups of both; composed rows stay apart."""
    tier = tier_of(table)
    single = table[tier != "composed"]
    summary: dict[str, Any] = {"all": figures(single)}
    summary |= {name: figures(table[tier == name]) for name in ("core", "wide", "composed")}
    core = table[tier == "core"]
    summary["core_dense"] = figures(core[~core["experts"].astype(bool)])
    summary["core_moe"] = figures(core[core["experts"].astype(bool)])
    if "topology" in core.columns:
        nvl72 = core["topology"].isin(["gb200-nvl72", "gb300-nvl72"])
        summary["core_nvl72"] = figures(core[nvl72])
    for column in ("topology", "stack", "precision"):
        if column in single.columns:
            groups = single.groupby(single[column].astype(object).fillna("not stated"), sort=True)
            summary[f"by_{column}"] = {str(name): figures(part) for name, part in groups}
    summary["by_experts"] = {
        "dense": figures(single[~single["experts"].astype(bool)]),
        "moe": figures(single[single["experts"].astype(bool)]),
    }
    if "gpus" in single.columns:
        count = single["gpus"].map(_number).fillna(0)
        summary["by_gpus"] = {
            (f"{low}-{high}" if high < 10**9 else f">= {low}"): figures(
                single[(count >= low) & (count <= high)]
            )
            for low, high in GPU_BINS
        }
    return summary
