"""Where the command line calls `study`: validation, sweeps, sensitivities, claims.

In:  checked words and paths.
Out: payloads as `--json` prints them.
Left out: parsing of words, printing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel.cli.rooms import JobWords, check_file, name_or_file
from rackmodel.cli.values import assignments

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog

Advance = Callable[[int, int], None]


def validate(
    path: Path, parts: Catalog | None, *, workers: int, progress: Advance
) -> dict[str, Any]:
    """Return {rows, summary} of published runs."""
    check_file(path, "FILE.csv")
    from rackmodel.study.validation import validate as run

    answer: dict[str, Any] = run(path, catalog=parts, workers=workers, progress=progress)
    return answer


def sweep(
    spec: Path,
    out: Path,
    *,
    sets: Sequence[str],
    catalogs: Sequence[Path],
    workers: int,
    dask: str | None,
    resume: bool,
    parquet: bool,
) -> dict[str, Any]:
    """Return {rows} of a finished sweep."""
    check_file(spec, "SPEC.toml")
    overrides = assignments(sets)
    for path in catalogs:
        check_file(path, "--catalog")
    from rackmodel.study.jobs import (
        base_fields,
        code_digest,
        files_digest,
        read_job_spec,
        simulate_job,
    )  # fmt: skip
    from rackmodel.study.sweep import progress_lines
    from rackmodel.study.sweep import sweep as run

    jobs = read_job_spec(spec)
    jobs = replace(jobs, base={**base_fields(overrides, catalogs), **jobs.base})
    frame = run(
        jobs,
        out,
        simulate_job,
        salt=code_digest() + files_digest(jobs),
        workers=workers,
        dask=dask,
        resume=resume,
        parquet=parquet,
        progress=progress_lines() if sys.stderr.isatty() else None,
    )
    return {"rows": frame.to_dict("records")}


def sensitivity(topology: str, words: JobWords, parts: Catalog | None) -> dict[str, Any]:
    """Return {rows: [{resource, gain, ...}]} of doubling each resource."""
    name = name_or_file(topology, "TOPOLOGY")
    from rackmodel.study.sensitivity import sensitivity as run

    answer: dict[str, Any] = run(name, words, catalog=parts)
    return answer


def claims(*, quick: bool, only: Sequence[str], workers: int, progress: Advance) -> dict[str, Any]:
    """Return {rows: [{id, claim, verdict, value, low, high, unit, words, command}], frames}."""
    from rackmodel.study.claims import run_claims

    verdicts = run_claims(only, quick, progress, workers)
    return {
        "rows": [verdict.to_dict() for verdict in verdicts],
        "frames": {verdict.id: verdict.rows() for verdict in verdicts},
    }
