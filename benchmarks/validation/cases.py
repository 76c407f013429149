"""Published runs as cases of the fit: the step as simulated, and its seconds by class.

In:  a table of published runs; the constants that stand in this process.
Out: a `Case` a run: the fastest of the jobs that its row may have been.
Left out: moving constants (`fit.py`).
"""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.validation.surrogate import Machine, Surrogate
from rackmodel.api import simulate
from rackmodel.engine.overhead import expected_maximum
from rackmodel.engine.simulation import TooSlow
from rackmodel.errors import RackModelError
from rackmodel.hardware import accelerator
from rackmodel.kernels.kernel_constants import kernel_constants
from rackmodel.kernels.kernel_time import KernelTimes, graphs_by_default
from rackmodel.software.constant_files import use_constants
from rackmodel.validation.errors import by_floor
from rackmodel.validation.published_runs import machine_of, read_run
from rackmodel.workload import Job


@dataclass(frozen=True)
class Case:
    """A published run with its critical path."""

    row: dict
    part: str
    family: str
    seconds: np.ndarray
    step_s: float
    simulated_s: float  # the step less what it adds as a whole
    stack: str  # as the job has it: unknown software has a kind and a date
    experts: bool
    filled: tuple[str, ...]  # columns that nobody stated


def read_rows(path: Path) -> list[dict]:
    """Return the rows of a table that are not composed."""
    frame = pd.read_csv(path, low_memory=False)
    return frame[frame.tier != "composed"].to_dict("records")


def cases(rows: list[dict], workers: int) -> list[Case]:
    """Work out every row; rows that can't run are named."""
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(case, rows, chunksize=4))
    for row, answer in zip(rows, found, strict=True):
        if isinstance(answer, str):
            print(f"left out: {row['id']}: {answer}")
    return [c for c in found if isinstance(c, Case)]


def fastest(row: dict) -> tuple[float, Job, tuple[str, ...]] | str:
    """Return step time, job and filled columns of the fastest that a row may have been, or why not.

    Why not is a text.
    """
    try:
        topology = machine_of(row)
        part = accelerator(topology.accelerator)
        run = read_run(row, topology.domain_accelerators, part.family, part.host_link, part.year)
    except RackModelError as error:
        return str(error)
    best: tuple[float, Job, tuple[str, ...]] | None = None
    reasons: dict[int, str] = {}
    for floor_s, number, job in by_floor(topology, run, part, None, reasons):
        if best is not None and floor_s >= best[0]:
            break
        try:
            limit_s = best[0] if best else math.inf
            step_s = simulate(
                topology, job, check_memory=False, repeat="estimate", limit_s=limit_s
            ).step_s
        except (RackModelError, TooSlow) as error:
            reasons[number] = str(error)
            continue
        if best is None or step_s < best[0]:
            best = (step_s, job, run.filled)
    return best or (reasons[min(reasons)] if reasons else "no plan can run")


def case(row: dict) -> Case | str:
    """Return a row as a case, or why it can't run."""
    best = fastest(row)
    if isinstance(best, str):
        return best
    step_s, job, filled = best
    topology = machine_of(row)
    part = accelerator(topology.accelerator)
    times = KernelTimes(part, job.stack, cuda_graphs=graphs_by_default(job, part))
    seconds = Surrogate(job, Machine.of(topology, part, job), times).step()
    step = kernel_constants()["step"]
    slow = 1.0 + step["spread"] * expected_maximum(job.gpus)
    inner_s = (step_s - step["fixed_s"]) / slow
    told = (job.stack, job.model.experts > 0, filled)
    return Case(row, part.name, part.family, seconds, step_s, inner_s, *told)


def with_constants(task: tuple[Path, dict]) -> float:
    """Return the step time of a row with the constants of a folder, NaN where it can't run."""
    folder, row = task
    use_constants(folder)
    best = fastest(row)
    return float("nan") if isinstance(best, str) else best[0]
