"""Published serving runs, predicted: how far the simulator is from what was measured.

In:  a CSV of serving runs (one a row; empty cells are not stated) or a frame of the same columns.
Out: predicted beside measured times and rates with signed errors, and a summary by group. Steps are
those of searches: kernels, and exchanges simulated at some sizes (`serving.quick_steps`).
Left out: fitting (benchmarks/serving), plots.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from rackmodel.annotations import DataFrame
from rackmodel.errors import InvalidInput, RackModelError
from rackmodel.files import read_csv
from rackmodel.hardware import Catalog
from rackmodel.serving.phases import decode_phase, prefill_phase
from rackmodel.serving.plans import search_plans
from rackmodel.serving.quick_steps import QuickSteps
from rackmodel.serving.run import band_of, running, settle, steps_of
from rackmodel.serving.steps import Steps
from rackmodel.topology import load_topology
from rackmodel.validation.serving_runs import (
    MARKS,
    PREFILL_TOKENS,
    Case,
    case_of,
    number,
    text,
)

MOST_ROWS = 200_000
TOGETHER = 64  # rows that one process predicts at a time, machine by machine
UNSTATED = 0.3  # half width of the band where users, replicas or drafts are not stated (assumed)
_Task: TypeAlias = "tuple[Sequence[dict[str, Any]], Catalog | None]"
GROUPS = ("source", "system", "model", "software", "mode", "users")


def is_serving(source: str | Path | DataFrame) -> bool:
    """Return whether a table holds serving runs: its columns tell."""
    import pandas as pd

    try:
        columns = (
            source.columns if isinstance(source, pd.DataFrame) else pd.read_csv(source, nrows=0)
        )
    except (OSError, UnicodeDecodeError, ValueError):
        return False
    return set(columns) >= MARKS


def validate_serving(
    source: str | Path | DataFrame,
    *,
    tiers: Sequence[str] = (),
    catalog: Catalog | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Predict published serving runs and compare them with what was measured.

    Parameters
    ----------
    source : a CSV file or a frame with the columns of `docs/results.md`. tiers : only rows of
        these; rows without one are core. catalog : parts in place of the shipped ones.
    progress : called with (rows done, rows in all). workers : processes.

    Returns
    -------
    {"rows": one dictionary a row (id, measured_tpot_s, predicted_tpot_s, tpot_s_low, tpot_s_high,
    error, measured_ttft_s, predicted_ttft_s, measured_tokens_per_s_per_gpu, ..., reason),
    "summary": errors of core, wide, all, and by source, system, model, software, mode, users}.

    Raises
    ------
    InvalidInput
        If the file can't be read or has no rows.
    """
    frame = read_csv(Path(source), dtype={"id": str}) if isinstance(source, str | Path) else source
    if "tier" in frame and tiers:
        frame = frame[frame["tier"].fillna("core").isin(tiers)]
    if frame.empty or len(frame) > MOST_ROWS:
        raise InvalidInput(f"the table has {len(frame):,} rows; expected 1 to {MOST_ROWS:,}")
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    order = sorted(range(len(rows)), key=lambda n: _place(rows[n]))
    parts = [order[at : at + TOGETHER] for at in range(0, len(order), TOGETHER)]
    tasks = [([rows[n] for n in part], catalog) for part in parts]
    answers: dict[int, dict[str, Any]] = {}
    if progress is not None:
        progress(0, len(rows))
    for part, some in zip(parts, _predict_all(tasks, workers), strict=True):
        answers |= zip(part, some, strict=True)
        if progress is not None:
            progress(len(answers), len(rows))
    found = [compared(row, answers[n]) for n, row in enumerate(rows)]
    return {"rows": found, "summary": summarise_serving(found)}


def _predict_all(tasks: Sequence[_Task], workers: int) -> Iterator[list[dict[str, Any]]]:
    """Predict rows in order, in this process or in several."""
    if workers == 1 or len(tasks) == 1:
        yield from map(_predict_some, tasks)
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_predict_some, tasks)


def _place(row: Mapping[str, Any]) -> tuple[str, str]:
    return text(row, "system") or text(row, "topology"), text(row, "model")


def _predict_some(task: _Task) -> list[dict[str, Any]]:
    """Predict rows that come machine by machine: only the last one's steps are kept."""
    rows, catalog = task
    machines: dict[str, Steps] = {}
    found = []
    for row in rows:
        if _place(row)[0] not in machines:
            machines.clear()
        found.append(predict_serving(row, machines, catalog))
    return found


def predict_serving(
    row: Mapping[str, Any], machines: dict[str, Steps], catalog: Catalog | None = None
) -> dict[str, Any]:
    """Predict one row; a row that can't run gets a `reason` instead of an exception.

    machines : steps simulated so far, by machine; added to.
    """
    try:
        name = text(row, "system") or text(row, "topology")
        if name not in machines:
            steps = steps_of(load_topology(name, catalog=catalog), catalog)
            machines[name] = QuickSteps.of(steps)
        found = _predicted(case_of(row), machines[name])
        return {**widened(found, row), "reason": ""}
    except RackModelError as error:
        return {"reason": str(error)}


def _predicted(case: Case, steps: Steps) -> dict[str, Any]:
    job, part = case.job, steps.part
    if case.open_plan:
        return _searched(case, steps)
    tokens = job.isl + job.osl
    most = float(running(job, part))
    if case.kind == "prefill":
        return {"tokens_per_s_per_gpu": prefill_phase(job, steps, PREFILL_TOKENS)}
    low, high = band_of(job, part)
    if case.kind == "decode":
        tpot_s, rate = decode_phase(job, steps, case.sequences or most)
        return _told(tpot_s, low, high) | {"tokens_per_s_per_gpu": rate}
    if most < 1:
        raise InvalidInput(
            f"not one sequence of {tokens:,} tokens fits beside the weights; give more accelerators"
        )
    if case.kind == "full":
        job = job.replace(users=max(1, int(most * job.workers)))
    if case.kind == "rate":  # so many ran
        most = max(most, job.users / job.workers)
    state = settle(job, steps, most, case.rounds)
    return {
        **_told(state.tpot_s, low, high),
        "ttft_s": state.ttft_s,
        "tokens_per_s_per_gpu": state.requests_per_s * job.osl / job.gpus,
    }


def widened(found: dict[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a prediction with a wider band where a row leaves open what it hangs on."""
    doubted = any(word in text(row, "quality") for word in ("assumed", "maybe", "inferred"))
    if "tpot_s" not in found or not (doubted or math.isnan(number(row, "concurrency"))):
        return found
    width = math.hypot(found["tpot_s_high"] / found["tpot_s"] - 1.0, UNSTATED)
    high, low = found["tpot_s"] * (1.0 + width), found["tpot_s"] / (1.0 + width)
    return {**found, "tpot_s_low": low, "tpot_s_high": high}


def _told(tpot_s: float, low: float, high: float) -> dict[str, Any]:
    return {"tpot_s": tpot_s, "tpot_s_low": tpot_s * low, "tpot_s_high": tpot_s * high}


def _searched(case: Case, steps: Steps) -> dict[str, Any]:
    """Predict a row that does not state its plan: the best one, as its authors chose theirs."""
    job, part = case.job, steps.part
    if case.kind in ("decode", "prefill"):
        raise InvalidInput("the plan of a phase is not stated; give it")
    search = partial(
        search_plans, steps.machine, fixed=case.fixed, steps=steps, disaggregated=case.apart
    )
    if case.kind == "full":  # as many users as a small plan holds: throughput hardly depends on it
        job = job.replace(users=max(1, 256 * job.gpus))
        for _ in range(6):
            try:
                best = search(job)[0]
                break
            except RackModelError:
                job = job.replace(users=max(1, job.users // 3))
        else:
            raise InvalidInput("no plan holds the model; give more accelerators")
    else:
        best = search(job)[0]
    low, high = band_of(best.job, part)
    return {
        **_told(best.state.tpot_s, low, high),
        "ttft_s": best.state.ttft_s,
        "tokens_per_s_per_gpu": best.tokens_per_s / job.gpus,
        "filled": "plan",
    }


def compared(row: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured beside what was predicted, with signed relative errors."""
    kind = text(row, "tokens_kind")
    rate = number(row, "tokens_per_s_per_gpu")
    isl, osl = number(row, "isl"), number(row, "osl")
    if kind == "total":
        rate *= osl / (isl + osl)
    measured = {
        "tpot_s": number(row, "tpot_ms") / 1e3,
        "ttft_s": number(row, "ttft_ms") / 1e3,
        "tokens_per_s_per_gpu": rate,
    }
    found: dict[str, Any] = {"id": row.get("id")}
    kept = ("source", "system", "model", "software", "mode", "tier", "quality", "gpus")
    found |= {name: row.get(name) for name in kept if name in row}
    found["users"] = _bin(number(row, "concurrency"))
    for name, value in measured.items():
        predicted = answer.get(name)
        found[f"measured_{name}"] = None if math.isnan(value) else value
        found[f"predicted_{name}"] = predicted
        found["error" if name == "tpot_s" else f"error_{name}"] = (
            predicted / value - 1.0 if predicted is not None and value > 0 else None
        )
    found |= {name: answer.get(name) for name in ("tpot_s_low", "tpot_s_high")}
    low, high, tpot_s = found["tpot_s_low"], found["tpot_s_high"], found["measured_tpot_s"]
    found["inside"] = low <= tpot_s <= high if low and tpot_s else None
    found["filled"], found["reason"] = answer.get("filled", ""), answer.get("reason", "")
    return {name: None if value != value else value for name, value in found.items()}


def _bin(users: float) -> str:
    """Return the range of users that a number falls into."""
    if math.isnan(users):
        return "unstated"
    for most in (4, 16, 64, 256, 1024):
        if users <= most:
            return f"to {most}"
    return "above 1024"


def summarise_serving(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return errors over core, wide and all rows, and by group of core rows."""
    core = [row for row in rows if (row.get("tier") or "core") == "core"]
    plain = [
        row
        for row in core
        if not any(word in str(row.get("quality")) for word in ("queued", "speculative", "twin"))
    ]
    found: dict[str, Any] = {
        "core": _figures(plain),
        "core_all": _figures(core),
        "wide": _figures([row for row in rows if row.get("tier") == "wide"]),
        "all": _figures(rows),
    }
    for group in GROUPS:
        names = sorted({str(row.get(group)) for row in plain})
        found[f"by_{group}"] = {
            name: _figures([row for row in plain if str(row.get(group)) == name]) for name in names
        }
    return found


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    import numpy as np

    def errors(name: str) -> Any:
        return np.array([row[name] for row in rows if row.get(name) is not None], dtype=float)

    tpot, inside = errors("error"), errors("inside")
    size, known = np.abs(tpot), len(tpot) > 0
    more = {
        f"{name}_median": float(np.median(np.abs(found))) if len(found) else None
        for name, found in (
            ("ttft", errors("error_ttft_s")),
            ("throughput", errors("error_tokens_per_s_per_gpu")),
        )
    }
    return {
        "rows": len(rows),
        "failures": sum(bool(row.get("reason")) for row in rows),
        "mape": float(size.mean()) if known else None,
        "median": float(np.median(size)) if known else None,
        "p90": float(np.quantile(size, 0.9)) if known else None,
        "bias": float(tpot.mean()) if known else None,
        "inside_band": float(inside.mean()) if len(inside) else None,
        **more,
    }
