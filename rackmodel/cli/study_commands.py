"""The commands that run many simulations: validate, sweep, sensitivity, claims.

In:  a table of published runs, a sweep's spec, a job.
Out: predicted beside measured; one row a job; what doubling each resource gains; verdicts.
Left out: the studies themselves (`rackmodel.study`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from rackmodel.cli import options as opt
from rackmodel.cli import rooms, study_rooms
from rackmodel.cli.output import Output, note, progress
from rackmodel.cli.step_commands import check_plot, save_plot
from rackmodel.errors import InvalidInput

WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers", metavar="N", parser=opt.counter("--workers", 1024), help="Local processes."
    ),
]

ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        parser=opt.counter("--workers", 1024),
        help="Local processes; one for each processor if left out.",
        show_default=False,
    ),
]


def validate(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.csv",
            help="Published runs, one a row: id, topology, gpus, model, ..., measured_step_s.",
            show_default=False,
        ),
    ],
    workers: ProcessesOption = None,
    plot: opt.PlotOption = None,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Predict published runs and compare with what was measured.

    \b
    Example:
      rackmodel validate throughput.csv --plot validation.png --assert "summary.core.mape<=0.06"

    Step times in seconds; errors are (predicted - measured) / measured; MAPE is their mean size.
    """
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    check_plot(plot)
    rooms.check_file(file, "FILE.csv")
    parts = rooms.catalog(sets or (), catalog or ())
    with progress("runs") as advance:
        processes = workers or os.cpu_count() or 1
        payload = study_rooms.validate(file, parts, workers=processes, progress=advance)
    if plot is not None:
        from rackmodel.reporting.study import validation_figure

        save_plot(validation_figure(payload["rows"]), plot)

    def tables() -> Any:
        from rackmodel.cli.tables_study import validation_tables

        return validation_tables(payload)

    output.write(payload, tables)


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
    workers: WorkersOption = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask",
            metavar="ADDRESS",
            help="A Dask scheduler, such as tcp://host:8786, instead of local processes.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what DIR holds; no row lost, none doubled.")
    ] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Also write results.parquet (extra `store`).")
    ] = False,
    plot: opt.PlotOption = None,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    demands: opt.AssertOption = None,
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
    output = Output(json_, csv_, None, tuple(demands or ()))
    output.check()
    check_plot(plot)
    rooms.check_file(spec, "SPEC.toml")
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"--out: wanted a directory; {out} is a file")
    payload = study_rooms.sweep(
        spec,
        out,
        sets=sets or (),
        catalogs=catalog or (),
        workers=workers,
        dask=dask,
        resume=resume,
        parquet=parquet,
    )
    if plot is not None:
        from rackmodel.reporting.study import sweep_plot

        save_plot(sweep_plot(payload["rows"]).figure, plot)

    def tables() -> Any:
        from rackmodel.cli.tables_study import sweep_tables

        return sweep_tables(payload)

    output.write(payload, tables)
    note(f"the rows are in {out}")


def sensitivity(
    topology: opt.TopologyArgument,
    model: opt.ModelOption,
    gpus: opt.GpusOption,
    global_batch: opt.BatchOption,
    seq_len: opt.SeqLenOption = None,
    precision: opt.PrecisionOption = "bf16",
    plan: opt.PlanWordsOption = None,
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
            parser=opt.counter("--draws", 65536),
            help="Draws of the constants for --against; both machines are simulated at each.",
        ),
    ] = 32,
    plot: opt.PlotOption = None,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
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
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    check_plot(plot)
    words = rooms.JobWords(
        model=model,
        gpus=gpus,
        global_batch=global_batch,
        seq_len=seq_len,
        precision=precision,
        plan=rooms.plan_fields({}, plan or ()),
    )
    parts = rooms.catalog(sets or (), catalog or ())
    with progress("draws") as advance:
        payload = study_rooms.sensitivity(
            topology, words, parts, against=against, draws=draws, progress=advance
        )
    if plot is not None:
        from rackmodel.reporting.study import tornado

        save_plot(tornado(payload["rows"]).figure, plot)

    def tables() -> Any:
        from rackmodel.cli.tables_study import sensitivity_tables

        return sensitivity_tables(payload)

    output.write(payload, tables)


def claims(
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
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Test each claim about scale-up and scale-out; print verdicts with numbers and bands.

    \b
    Example:
      rackmodel claims --quick
    """
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    with progress("claims") as advance:
        payload = study_rooms.claims(
            quick=quick,
            only=tuple(only or ()),
            study=study,
            workers=workers or os.cpu_count() or 1,
            progress=advance,
        )

    def tables() -> Any:
        from rackmodel.cli.tables_study import claims_tables

        return claims_tables(payload)

    output.write(payload, tables)
