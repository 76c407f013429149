"""Run many jobs into a directory, on local processes or a Dask cluster, killed and resumed at will.

In:  a `SweepSpec`, a directory, a function that turns a job into a row.
Out: one row per job, the same to the last bit whatever the number of workers or their order.
Left out: how jobs are handed out (run.py), what a job means (jobs.py), how rows are kept
     (store.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from rackmodel import gate
from rackmodel.errors import InvalidInput
from rackmodel.sweeps.jobs import (
    base_fields,
    code_digest,
    files_digest,
    read_job_spec,
    simulate_job,
)
from rackmodel.sweeps.run import JobFunction, Progress, Run, job_key
from rackmodel.sweeps.spec import SweepSpec
from rackmodel.sweeps.store import Store, table
from rackmodel.sweeps.workers import dask_workers, local_workers


@gate.called
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
    workers = gate.whole(workers, "workers", words=False)
    if parquet and find_spec("pyarrow") is None:
        raise InvalidInput("Parquet needs pyarrow; pip install 'rackmodel[store]', or leave it out")
    if job is None:
        if not isinstance(spec, SweepSpec):
            spec = read_job_spec(spec)
        spec = replace(spec, base=base_fields(overrides or {}, catalogs) | spec.base)
        job, salt = simulate_job, salt + code_digest() + files_digest(spec)
    elif not isinstance(spec, SweepSpec):
        raise InvalidInput("a spec needs its fields to be read; give read_spec(...) along with job")
    jobs = {job_key(flat, salt): flat for flat in spec.jobs()}
    with Store(Path(out), resume=resume) as store:
        store.describe({"format": 1, "title": spec.title, "jobs": len(jobs), "salt": salt})
        run = Run(jobs, store, job, progress)
        if left := run.left():
            with dask_workers(dask) if dask else local_workers(min(workers, len(left))) as crew:
                run.work(left, crew)
        frame = table(run.rows, list(jobs))
        store.write_tables(frame, parquet=parquet)
    return frame
