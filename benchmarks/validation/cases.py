"""Published runs as cases of the fit: the step as simulated, and its seconds by class.

In:  a table of published runs; the constants that stand in this process.
Out: a `Case` a run: the fastest of the jobs that its row may have been.
Left out: moving constants (`fit.py`).
"""

from __future__ import annotations

import hashlib
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

import rackmodel
from benchmarks.validation.surrogate import Machine, Surrogate
from rackmodel.engine.certainty import kind_of
from rackmodel.engine.overhead import expected_maximum
from rackmodel.errors import RackModelError
from rackmodel.files import write_whole
from rackmodel.hardware import accelerator
from rackmodel.kernels.kernel_constants import kernel_constants
from rackmodel.kernels.kernel_time import KernelTimes, graphs_by_default
from rackmodel.software.constant_files import use_constants
from rackmodel.validation.errors import fastest, predict
from rackmodel.validation.published_runs import machine_of

MACHINES = Path(__file__).parents[2] / "topologies"
KEEP = 16  # cases between two writes of the file that keeps them


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
    band: str  # its kind: `rackmodel.engine.certainty.kind_of`
    filled: tuple[str, ...]  # columns that nobody stated
    answer: dict  # as `rackmodel.validation.errors.predict` tells it


def read_rows(path: Path) -> list[dict]:
    """Return the rows of a table that are not composed."""
    frame = pd.read_csv(path, low_memory=False)
    return frame[frame.tier != "composed"].to_dict("records")


def every_nth(rows: list[dict], n: int) -> list[dict]:
    """Return each n-th run of every stack, the first of each among them."""
    number = pd.DataFrame(rows).groupby("stack").cumcount()
    return [row for row, count in zip(rows, number, strict=True) if count % n == 0]


def cases(rows: list[dict], workers: int, kept: Path | None = None) -> list[Case]:
    """Work out every row; rows that can't run are named.

    kept : a file where cases are kept as they come, and found again by a run of the same code and
    constants: what was stopped goes on, and what is simulated once serves fit, coverage and worth.
    """
    known = _read(kept)
    waiting = {_key(row): row for row in rows if _key(row) not in known}
    with ProcessPoolExecutor(workers) as pool:
        for number, (key, answer) in enumerate(
            zip(waiting, pool.map(case, waiting.values(), chunksize=4), strict=True), 1
        ):
            known[key] = answer
            if kept and (number % KEEP == 0 or number == len(waiting)):
                write_whole(kept, pickle.dumps((_digest(), known)))
    found = [known[_key(row)] for row in rows]
    for row, answer in zip(rows, found, strict=True):
        if isinstance(answer, str):
            print(f"left out: {row['id']}: {answer}")
    return [c for c in found if isinstance(c, Case)]


def _key(row: dict) -> str:
    return repr(sorted(row.items()))


def _read(kept: Path | None) -> dict[str, Case | str]:
    """Return the cases of a file that the same code and constants wrote; none otherwise."""
    if kept is None or not kept.exists():
        return {}
    digest, known = pickle.loads(kept.read_bytes())
    return known if digest == _digest() else {}


@cache
def _digest() -> str:
    """Return a digest of the package and its machines: what a case depends on beside its row."""
    root, found = Path(rackmodel.__file__).parent, hashlib.sha256()
    for file in sorted([*root.rglob("*.py"), *root.rglob("*.toml"), *MACHINES.rglob("*.toml")]):
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


def case(row: dict) -> Case | str:
    """Return a row as a case, or why it can't run."""
    try:
        job, answer = fastest(row)
    except RackModelError as error:
        return str(error)
    step_s, topology = answer["predicted_step_s"], machine_of(row)
    part = accelerator(topology.accelerator)
    times = KernelTimes(part, job.stack, cuda_graphs=graphs_by_default(job, part))
    seconds = Surrogate(job, Machine.of(topology, part, job), times).step()
    step = kernel_constants()["step"]
    slow = 1.0 + step["spread"] * expected_maximum(job.gpus)
    inner_s = (step_s - step["fixed_s"]) / slow
    told = (job.stack, kind_of(job), tuple(answer["filled"].split()), answer)
    return Case(row, part.name, part.family, seconds, step_s, inner_s, *told)


def with_constants(task: tuple[Path, dict]) -> float:
    """Return the step time of a row with the constants of a folder, NaN where it can't run."""
    folder, row = task
    use_constants(folder)
    return float(predict(row)["predicted_step_s"] or "nan")
