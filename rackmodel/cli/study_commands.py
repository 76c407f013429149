"""The commands that run many simulations: validate, sweep, sensitivity, claims, study.

In:  a table of published runs, a sweep's spec, a job.
Out: predicted beside measured; one row a job; what doubling each resource gains; verdicts.
Left out: the studies themselves (`rackmodel.study`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import check_file, name_or_file
from rackmodel.cli.options import of_dataclass
from rackmodel.cli.output import note, progress
from rackmodel.cli.tables_serving import serving_validation_tables
from rackmodel.cli.tables_study import (
    claims_tables,
    sensitivity_tables,
    sweep_tables,
    validation_tables,
)
from rackmodel.cli.values import counter
from rackmodel.cli.waiting import clear
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.fields import setting
from rackmodel.files import check_folder
from rackmodel.stages import tell

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
            help="Published runs, one a row: id, topology, gpus, model, ..., measured_step_s; or "
            "of serving: id, system, gpus, catalog_model, isl, osl, concurrency, ..., tpot_ms. "
            "Left out: the runs that ship with rackmodel, with their sources.",
            show_default=False,
        ),
    ] = None,
    serving: Annotated[
        bool,
        typer.Option("--serving", help="Take the serving runs that ship, not the training runs."),
    ] = False,
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
      rackmodel validate --serving --tier core
      rackmodel validate runs.csv --assert "summary.core.mape<=0.06"

    Step times in seconds; errors are (predicted - measured) / measured; MAPE is their mean size.
    """
    if file is not None:
        check_file(file, "FILE.csv")
    catalog = parts.load()

    with progress("runs") as advance:
        found = rackmodel.validate(
            file,
            serving=serving,
            tiers=tier or (),
            catalog=catalog,
            workers=workers or os.cpu_count() or 1,
            progress=advance,
        )
    output.draw(found.plot)
    payload = found.to_dict()
    tokens = "measured_tpot_s" in next(iter(payload["rows"]), {})
    output.write(payload, serving_validation_tables if tokens else validation_tables)


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
    check_folder(out, "--out")

    found = rackmodel.sweep(
        spec,
        out,
        overrides={**parts.overrides, **{f"topology.{k}": v for k, v in parts.changes.items()}},
        catalogs=parts.files,
        workers=workers,
        dask=how.dask,
        resume=how.resume,
        parquet=how.parquet,
        progress=lambda now: tell("jobs", now.done, now.total),
    )
    output.show(found, sweep_tables)
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

    with progress("draws") as advance:
        found = rackmodel.sensitivity(
            machine, job, against=rival, draws=draws, catalog=catalog, progress=advance
        )
    output.show(found, sensitivity_tables)


def claims(
    output: groups.OutputOptions,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Fewer plans, models and parts: two minutes of one processor."
        ),
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
            help="What `rackmodel study --out DIR` wrote: its points are not looked at again.",
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

    with progress("claims") as advance:
        found = rackmodel.claims(
            only or (), quick=quick, study=study, workers=workers, progress=advance
        )
    output.write(found.to_dict(), claims_tables)


def study(
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Tables, pictures, answers.md.", show_default=False
        ),
    ],
    quick: Annotated[bool, typer.Option("--quick", help="Six points, under a minute.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="SPEC",
            help="Only this spec, such as domain, nics, media. Repeatable.",
            show_default=False,
        ),
    ] = None,
    workers: ProcessesOption = None,
) -> None:
    """Run the study of scale-up against scale-out, one thing varied at a time; answer in words.

    \b
    Examples:
      rackmodel study --quick --out runs/quick
      rackmodel study --out runs/study

    May be killed and run again: points that are there are not looked at again. `claims --study DIR`
    and `report --study DIR` read it.
    """
    check_folder(out, "--out")  # before all that the study loads
    from rackmodel.verbs.scale_up_study import FULL, write_study

    for name in only or ():
        UnknownName.check("spec of the study", name, FULL)
    if quick and only:
        raise InvalidInput("--only: --quick has points of its own; give one of the two")
    names = ("quick",) if quick else tuple(only or FULL)
    text, told = write_study(names, out, workers or os.cpu_count() or 1)
    clear()
    print(text)
    note(f"{told}; tables and pictures in {out}")
