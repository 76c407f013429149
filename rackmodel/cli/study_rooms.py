"""Where the command line calls `study`: validation, sweeps, sensitivities, claims.

In:  checked words and paths.
Out: payloads as `--json` prints them.
Left out: parsing of words, printing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
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
    from rackmodel.validation.errors import validate as run

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
    from rackmodel.sweeps.api import sweep as run
    from rackmodel.sweeps.run import progress_lines

    frame = run(
        spec,
        out,
        overrides=overrides,
        catalogs=catalogs,
        workers=workers,
        dask=dask,
        resume=resume,
        parquet=parquet,
        progress=progress_lines() if sys.stderr.isatty() else None,
    )
    return {"rows": frame.to_dict("records")}


def sensitivity(
    topology: str,
    words: JobWords,
    parts: Catalog | None,
    *,
    against: str | None = None,
    draws: int = 32,
    progress: Advance | None = None,
) -> dict[str, Any]:
    """Return {rows: [{resource, gain, ...}]} of doubling each resource.

    With `against` also {ratio: {value, low, high, rows}} of tokens/s to that machine.
    """
    name = name_or_file(topology, "TOPOLOGY")
    rival = None if against is None else name_or_file(against, "--against")
    from rackmodel.study.shadow_prices import sensitivity as run

    if rival is not None:  # refused before anything runs
        from rackmodel.study.uncertainty import check_draws
        from rackmodel.topology import load_topology

        check_draws(draws)
        load_topology(rival, catalog=parts)
    answer: dict[str, Any] = run(name, words, catalog=parts)
    job = answer.pop("job")
    if rival is not None:
        from rackmodel import api
        from rackmodel.hardware import load_catalog
        from rackmodel.study.uncertainty import ratio_error_bars

        catalog = parts or load_catalog()
        one, other = (load_topology(each, catalog=catalog) for each in (name, rival))
        its_job = api.job_of(
            other,
            model=words.model,
            gpus=words.gpus,
            global_batch=words.global_batch,
            seq_len=words.seq_len,
            precision=words.precision,
            plan=words.plan,
            catalog=catalog,
        )
        answer["ratio"] = {
            "against": other.name,
            **ratio_error_bars(
                (one, job), (other, its_job), catalog, draws=draws, progress=progress
            ),
        }
    return answer


def claims(
    *, quick: bool, only: Sequence[str], study: Path | None, workers: int, progress: Advance
) -> dict[str, Any]:
    """Return {rows: [{id, claim, verdict, value, low, high, unit, words, command}], frames}."""
    from rackmodel.argument.claims import run_claims

    verdicts = run_claims(only, quick, progress, workers, study)
    return {
        "rows": [verdict.to_dict() for verdict in verdicts],
        "frames": {verdict.id: verdict.rows() for verdict in verdicts},
    }
