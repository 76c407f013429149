"""The commands that run many simulations: validate, sweep, sensitivity, claims.

In:  a table of published runs, a sweep's spec, a job.
Out: predicted beside measured; one row a job; what doubling each resource gains; verdicts.
Left out: the studies themselves (`rackmodel.study`).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from rackmodel.cli import groups
from rackmodel.cli.files import check_file, name_or_file
from rackmodel.cli.options import Words, of_dataclass
from rackmodel.cli.output import note, progress
from rackmodel.cli.tables_study import (
    claims_tables,
    sensitivity_tables,
    sweep_tables,
    validation_tables,
)
from rackmodel.cli.values import counter
from rackmodel.errors import InvalidInput
from rackmodel.fields import setting

WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers", metavar="N", parser=counter("--workers", 1024), help="Local processes."
    ),
]

ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        parser=counter("--workers", 1024),
        help="Local processes; one for each processor if left out.",
        show_default=False,
    ),
]


def validate(
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE.csv]",
            help="Published runs, one a row: id, topology, gpus, model, ..., measured_step_s. "
            "Left out: the runs that ship with rackmodel, with their sources.",
            show_default=False,
        ),
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(
            "--tier",
            metavar="TIER",
            help="Only rows of this tier: core, wide, composed; may be repeated.",
            show_default=False,
        ),
    ] = None,
    workers: ProcessesOption = None,
) -> None:
    """Predict published runs and compare with what was measured.

    \b
    Example:
      rackmodel validate --tier core --tier wide --plot validation.png
      rackmodel validate runs.csv --assert "summary.core.mape<=0.06"

    Step times in seconds; errors are (predicted - measured) / measured; MAPE is their mean size.
    """
    if file is not None:
        check_file(file, "FILE.csv")
    catalog = parts.load()
    from rackmodel.validation import errors
    from rackmodel.validation.accuracy import RUNS

    with progress("runs") as advance:
        processes = workers or os.cpu_count() or 1
        payload = errors.validate(
            file or RUNS, tiers=tier or (), catalog=catalog, workers=processes, progress=advance
        )

    output.draw("validation.validation_figure", payload["rows"])
    output.write(payload, validation_tables)


@dataclass(frozen=True, kw_only=True)
class SweepWords:
    """How a sweep runs."""

    dask: str | None = setting(
        None,
        "A Dask scheduler instead of local processes.",
        "tcp://host:8786",
        unit="address",
        option="--dask",
    )
    resume: bool = setting(
        False, "Go on with what DIR holds; no row lost, none doubled.", option="--resume"
    )
    parquet: bool = setting(
        False, "Also write results.parquet (extra `store`).", option="--parquet"
    )


def sweep(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC.toml",
            help="Tables base (the job), axes (lists or ranges), zips (columns that walk "
            "together), and filters.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Directory that any number of workers may fill; made if missing.",
            show_default=False,
        ),
    ],
    how: Annotated[SweepWords, of_dataclass(SweepWords, "Run")],
    parts: groups.CatalogOptions,
    output: groups.FolderOptions,
    workers: WorkersOption = 1,
) -> None:
    """Run many jobs into a directory; kill it at any moment and go on with --resume.

    \b
    Example:
      rackmodel sweep nics.toml --out runs/nics --workers 2

    \b
    nics.toml:
      base.model = "gpt3-13b"
      base.global_batch = 512
      axes.topology = \\["dgx-h100", "gb200-nvl72"]
      axes.gpus = {from = 64, to = 512, times = 2}

    One row per job in SI units; a job that cannot run is a row with its reason.
    """
    check_file(spec, "SPEC.toml")
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"--out: wanted a directory; {out} is a file")
    from rackmodel.sweeps import api
    from rackmodel.sweeps.run import progress_lines

    frame = api.sweep(
        spec,
        out,
        overrides={**parts.overrides, **{f"topology.{k}": v for k, v in parts.changes.items()}},
        catalogs=parts.files,
        workers=workers,
        dask=how.dask,
        resume=how.resume,
        parquet=how.parquet,
        progress=progress_lines() if sys.stderr.isatty() else None,
    )
    payload: dict[str, Any] = {"rows": frame.to_dict("records")}

    output.draw("study.sweep_plot", payload["rows"])
    output.write(payload, sweep_tables)
    note(f"the rows are in {out}")


def sensitivity(
    topology: groups.Topology,
    job: groups.JobOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="TOPOLOGY",
            help="Also tell how sure the ratio of tokens/s to this machine is: a band, and Sobol "
            "indices of the constants that nobody knows exactly.",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            "--draws",
            metavar="N",
            parser=counter("--draws", 65536),
            help="Draws of the constants for --against; both machines are simulated at each.",
        ),
    ] = 32,
) -> None:
    """Tell what doubling each resource gains: "double the NIC rate and gain 11%".

    \b
    Examples:
      rackmodel sensitivity gb200-nvl72 --model llama3.1-405b --gpus 576 --global-batch 576
      rackmodel sensitivity gb200-nvl72 --model gpt3-13b --gpus 64 --global-batch 128 \\
          --against dgx-h100

    Shadow prices (worth): what the same gain costs in more of the same machine, in $ and W per
    accelerator. --plot draws a tornado.
    """
    name = name_or_file(topology, "TOPOLOGY")
    rival = None if against is None else name_or_file(against, "--against")
    machine, catalog = parts.with_machine(name)
    from rackmodel.study import shadow_prices

    with progress("draws") as advance:
        if rival is not None:
            _check_rival(rival, draws, catalog)
        payload = shadow_prices.sensitivity(machine, job, catalog=catalog)
        own = payload.pop("job")
        if rival is not None:
            payload["ratio"] = _ratio((machine, own), (rival, job), catalog, draws, advance)

    output.draw("study.tornado", payload["rows"])
    output.write(payload, sensitivity_tables)


def _check_rival(rival: str, draws: int, catalog: Any) -> None:
    """Refuse a machine or draws that can't be, before anything runs."""
    from rackmodel.study.uncertainty import check_draws
    from rackmodel.topology import load_topology

    check_draws(draws)
    load_topology(rival, catalog=catalog)


def _ratio(
    one: tuple[Any, Any], rival: tuple[str, Words], catalog: Any, draws: int, progress: Any
) -> dict[str, Any]:
    """Return the band of the ratio of tokens/s to another machine with its own best plan."""
    from rackmodel import api
    from rackmodel.hardware import load_catalog
    from rackmodel.study.uncertainty import ratio_error_bars
    from rackmodel.topology import load_topology

    parts = catalog or load_catalog()
    mine, other = (load_topology(name, catalog=parts) for name in (one[0], rival[0]))
    pairs = (mine, one[1]), (other, api.job_of(other, **rival[1], catalog=parts))
    found = ratio_error_bars(*pairs, parts, draws=draws, progress=progress)
    return {"against": other.name, **found}


def claims(
    output: groups.OutputOptions,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller machines, under a minute.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="ID", help="Only this claim. Repeatable.", show_default=False
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            metavar="DIR",
            help="What `python -m benchmarks.scale_up_vs_scale_out.study --out DIR` wrote: its "
            "points are not looked at again.",
            show_default=False,
        ),
    ] = None,
    workers: ProcessesOption = None,
) -> None:
    """Test each claim about scale-up and scale-out; print verdicts with numbers and bands.

    \b
    Example:
      rackmodel claims --quick
    """
    from rackmodel.argument.claims import run_claims

    processes = workers or os.cpu_count() or 1
    with progress("claims") as advance:
        verdicts = run_claims(tuple(only or ()), quick, advance, processes, study)
    payload = {
        "rows": [verdict.to_dict() for verdict in verdicts],
        "frames": {verdict.id: verdict.rows() for verdict in verdicts},
    }
    output.write(payload, claims_tables)
