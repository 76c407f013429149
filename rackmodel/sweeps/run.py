"""Run many jobs into a directory, on local processes or a Dask cluster, killed and resumed at will.

In:  a `SweepSpec`, a directory, a function that turns a job into a row.
Out: one row per job, the same to the last bit whatever the number of workers or their order.
Left out: what a job means (jobs.py), how rows are kept (store.py).

Only the process that called `sweep` writes; workers hand their rows back. Any number of such
processes may fill the same directory: each starts at another place and skips what the others have
finished.
"""

from __future__ import annotations

import hashlib
import os
import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rackmodel.errors import CannotRun, InvalidInput, RackModelError
from rackmodel.sweeps.filters import Value
from rackmodel.sweeps.spec import FlatJob, SweepSpec
from rackmodel.sweeps.store import Row, Store, canonical, table
from rackmodel.sweeps.workers import Workers, dask_workers, local_workers

if TYPE_CHECKING:
    import pandas as pd

JobFunction: TypeAlias = Callable[[FlatJob], Mapping[str, Value]]

TELL_EVERY_S = 0.5
LOOK_EVERY_S = 1.0  # for rows of other writers in the same directory


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is."""

    done: int  # rows there are, earlier ones included
    total: int
    earlier: int  # rows that were there at the start
    misfits: int  # of those done: jobs that can't run
    elapsed_s: float

    @property
    def rate_per_s(self) -> float:
        """Jobs per second since the start of this run."""
        return (self.done - self.earlier) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float:
        """Time left at this rate; infinite before the first job has ended."""
        rate = self.rate_per_s
        return (self.total - self.done) / rate if rate > 0 else float("inf")


@dataclass(slots=True)
class _Work:
    """What is known of the jobs of this run."""

    jobs: dict[str, FlatJob]
    rows: dict[str, Row] = field(default_factory=dict)
    misfits: int = 0

    def add(self, key: str, row: Row) -> None:
        if key in self.jobs and self.rows.get(key, {}).get("status", "lost") == "lost":
            self.rows[key] = row
            self.misfits += row["status"] != "done"


def job_key(job: Mapping[str, Value], salt: str = "") -> str:
    """Name of a job by its content: equal jobs share it, on every machine.

    >>> job_key({"tp": 1, "pp": 2}) == job_key({"pp": 2, "tp": 1})
    True
    """
    return hashlib.blake2b((salt + canonical(dict(job))).encode(), digest_size=16).hexdigest()


def sweep(
    spec: SweepSpec | Mapping[str, object] | Path | str,
    out: Path | str,
    job: JobFunction | None = None,
    *,
    overrides: Mapping[str, object] | None = None,
    catalogs: Sequence[Path] = (),
    salt: str = "",
    workers: int = 1,
    dask: str | None = None,
    resume: bool = False,
    parquet: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> pd.DataFrame:
    """Run every job of `spec` that `out` does not hold yet.

    Parameters
    ----------
    spec : what to run: a SPEC.toml, the same as a dict, or a `SweepSpec` (see `spec.py`).
    out : the directory; results.csv (and results.parquet) are written there at the end.
    job : importable function from a job to its row, for a `SweepSpec`; a `RackModelError` makes a
        row with the reason, anything else is a bug and stops the sweep (finished rows stay). Left
        out, every job is a training step: `jobs.simulate_job`.
    overrides, catalogs : values and files that change the catalog for all jobs.
    salt : what else a row depends on (version of the code, content of files): rows under another
        salt are left alone and not counted.
    workers : local processes; 1 runs in this process.
    dask : address of a Dask scheduler, such as "tcp://127.0.0.1:8786"; `workers` is then ignored.
    resume : go on in a directory that holds rows.
    parquet : also write results.parquet (extra `store`).
    progress : called about twice a second.

    Returns
    -------
    One row per job in the order of the spec: its fields, `status` ("done", "infeasible", "invalid",
    "lost": its worker died twice over it), `reason`, then what `job` returned.

    Raises
    ------
    InvalidInput
        If the directory can't be used, or the Dask scheduler can't be reached.
    CannotRun
        If the scheduler is lost on the way.
    """
    if workers < 1:
        raise InvalidInput(f"workers = {workers} has to be 1 or more")
    if parquet:
        _need_parquet()
    if job is None:
        from rackmodel.sweeps.jobs import (
            base_fields,
            code_digest,
            files_digest,
            read_job_spec,
            simulate_job,
        )

        if not isinstance(spec, SweepSpec):
            spec = read_job_spec(spec)
        spec = replace(spec, base=base_fields(overrides or {}, catalogs) | spec.base)
        job, salt = simulate_job, salt + code_digest() + files_digest(spec)
    elif not isinstance(spec, SweepSpec):
        raise InvalidInput("a spec needs its fields to be read; give read_spec(...) along with job")
    jobs = {job_key(flat, salt): flat for flat in spec.jobs()}
    work = _Work(jobs)
    with Store(Path(out), resume=resume) as store:
        store.describe({"format": 1, "title": spec.title, "jobs": len(jobs), "salt": salt})
        for key, row in store.fresh():
            work.add(key, row)
        for key in [key for key, row in work.rows.items() if row["status"] == "lost"]:
            del work.rows[key]  # its worker died; another try may live
            work.misfits -= 1
        left = [key for key in jobs if key not in work.rows]
        if left:
            crew = dask_workers(dask) if dask else local_workers(min(workers, len(left)))
            with crew:
                _run(work, left, store, crew, job, progress)
        frame = table(work.rows, list(jobs))
        store.write_tables(frame, parquet=parquet)
    return frame


def _run(
    work: _Work,
    left: list[str],
    store: Store,
    crew: Workers,
    job: JobFunction,
    progress: Callable[[Progress], None] | None,
) -> None:
    started_s = time.monotonic()
    told_s = looked_s = started_s
    earlier = len(work.rows)
    # Several sweeps of one directory start at unlike places; alone, one keeps the spec's order.
    start = os.getpid() % len(left) if store.others() else 0
    waiting = deque(left[start:] + left[:start])
    suspects: deque[str] = deque()  # were running when a worker died: tried again one at a time
    alone: set[str] = set()
    running: dict[Future[Row], str] = {}
    ended: queue.SimpleQueue[Future[Row]] = queue.SimpleQueue()

    def tell() -> None:
        if progress is not None:
            elapsed_s = time.monotonic() - started_s
            progress(Progress(len(work.rows), len(work.jobs), earlier, work.misfits, elapsed_s))

    def keep(key: str, row: Row) -> None:
        store.append(key, row)
        work.add(key, row)

    while waiting or suspects or running:
        while (waiting or suspects) and len(running) < (1 if suspects or alone else crew.window):
            key = suspects.popleft() if suspects else waiting.popleft()
            if key in work.rows:  # another writer was faster
                alone.discard(key)
                continue
            begun = crew.submit(attempt, job, work.jobs[key])
            running[begun] = key
            begun.add_done_callback(ended.put)
        if running:
            try:
                future: Future[Row] | None = ended.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                future = None
            if future is not None and (key := running.pop(future, "")):
                try:
                    keep(key, future.result())
                    alone.discard(key)
                except BrokenProcessPool:
                    crew.renew()
                    broken = [key, *running.values()]
                    running.clear()
                    ended = queue.SimpleQueue()
                    if key in alone:
                        keep(key, _lost(work.jobs[key]))
                        alone.discard(key)
                        broken.remove(key)
                    suspects.extend(broken)
                    alone.update(broken)
                except Exception as error:  # whoever is not to blame raises it again
                    if not crew.blames_job(error):
                        raise
                    keep(key, _lost(work.jobs[key]))
        now_s = time.monotonic()
        if now_s - looked_s > LOOK_EVERY_S:
            looked_s = now_s
            for key, row in store.fresh():
                work.add(key, row)
        if now_s - told_s > TELL_EVERY_S:
            told_s = now_s
            tell()
    tell()


def attempt(job: JobFunction, flat: FlatJob) -> Row:
    """One job's row; runs in the worker."""
    row: Row = dict(flat)
    try:
        found = job(dict(flat))
    except RackModelError as error:
        status = "infeasible" if isinstance(error, CannotRun) else "invalid"
        return row | {"status": status, "reason": " ".join(str(error).split())}
    return row | {"status": "done", "reason": None} | dict(found)


def _lost(flat: FlatJob) -> Row:
    return dict(flat) | {"status": "lost", "reason": "its worker died twice; --resume tries again"}


def _need_parquet() -> None:
    try:
        import pyarrow  # noqa: F401  # only whether it is there
    except ImportError:
        raise InvalidInput(
            "Parquet needs pyarrow; pip install 'rackmodel[store]', or leave it out"
        ) from None


def read_results(out: Path | str) -> pd.DataFrame:
    """The table of a finished sweep.

    Raises
    ------
    InvalidInput
        If there is none.
    """
    import pandas as pd

    path = Path(out) / "results.csv"
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file; run the sweep to its end first")
    return pd.read_csv(path)


def progress_lines() -> Callable[[Progress], None]:
    """A progress callback that rewrites one line on stderr."""
    import sys

    def show(now: Progress) -> None:
        left = (
            f"{now.left_s:,.0f} s left" if now.left_s < float("inf") else "time left not known yet"
        )
        end = "\n" if now.done == now.total else ""
        line = f"{now.done:,} of {now.total:,} jobs, {now.rate_per_s:,.1f}/s, {left}"
        line += f", {now.misfits:,} can't run"
        sys.stderr.write(f"\r{line:<79}{end}")
        sys.stderr.flush()

    return show
