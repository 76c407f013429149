"""The commands that show: report (one page) and heat (one rack).

In:  machines and a job.
Out: an HTML page that needs nothing else; a rack by tray.
Left out: how pages and pictures look (`rackmodel.reporting`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rackmodel.cli import options as opt
from rackmodel.cli import room_options as room
from rackmodel.cli import rooms
from rackmodel.cli.output import Output, check_writable, note, write_whole
from rackmodel.cli.step_commands import check_plot, save_plot
from rackmodel.cli.values import clip
from rackmodel.errors import CannotRun, InvalidInput

DEFAULT_MACHINES = ["gb200-nvl72", "dgx-b200", "dgx-h100"]


def heat(
    topology: opt.TopologyArgument,
    model: opt.ModelOption,
    gpus: opt.GpusOption,
    global_batch: opt.BatchOption,
    seq_len: opt.SeqLenOption = None,
    precision: opt.PrecisionOption = "bf16",
    tp: opt.TpOption = None,
    pp: opt.PpOption = None,
    vpp: opt.VppOption = None,
    cp: opt.CpOption = None,
    ep: opt.EpOption = None,
    etp: opt.EtpOption = None,
    dp: opt.DpOption = None,
    micro_batch: opt.MicroBatchOption = None,
    sharding: opt.ShardingOption = None,
    recompute: opt.RecomputeOption = None,
    schedule: opt.ScheduleOption = None,
    plan: opt.PlanWordsOption = None,
    power_cap: room.PowerCapOption = None,
    medium: room.MediumOption = None,
    supply_c: room.SupplyOption = None,
    rise_k: room.RiseOption = None,
    flow_lpm: room.FlowOption = None,
    plot: opt.PlotOption = None,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Show the heat of a rack by tray while it trains: watts by part, liquid and air, temperatures.

    \b
    Example:
      rackmodel heat gb200-nvl72 --model llama3.1-405b --gpus 576 --global-batch 576 --plot rack.png

    Heat in kW, temperatures in degC, coolant in L/min.
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
        plan=rooms.plan_fields(
            {
                "tp": tp,
                "pp": pp,
                "vpp": vpp,
                "cp": cp,
                "ep": ep,
                "etp": etp,
                "dp": dp,
                "micro_batch": micro_batch,
                "sharding": sharding,
                "recompute": recompute,
                "schedule": schedule,
            },
            plan or (),
        ),
    )
    parts = rooms.catalog(sets or (), catalog or ())
    where = room.site_fields(
        power_cap=power_cap, medium=medium, supply_c=supply_c, rise_k=rise_k, flow_lpm=flow_lpm
    )
    payload = rooms.heat(topology, words, parts, site=where)
    if plot is not None:
        from rackmodel.reporting.racks import rack_elevation

        save_plot(rack_elevation(payload["rows"], title=topology).figure, plot)

    def tables() -> Any:
        from rackmodel.cli.tables_step import heat_tables

        return heat_tables(payload)

    output.write(payload, tables)


def report(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE.html", help="The page.", show_default=False),
    ],
    topologies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TOPOLOGY...]",
            help=f"Machines to compare. Default: {' '.join(DEFAULT_MACHINES)}.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="MODEL", help="A name or a file.")
    ] = "gpt3-175b",
    gpus: Annotated[
        int, typer.Option("--gpus", metavar="N", parser=opt.counter("--gpus"), help="Accelerators.")
    ] = 1024,
    global_batch: Annotated[
        int,
        typer.Option(
            "--global-batch",
            metavar="B",
            parser=opt.counter("--global-batch"),
            help="Sequences per step.",
        ),
    ] = 2048,
    seq_len: opt.SeqLenOption = None,
    precision: opt.PrecisionOption = "bf16",
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            metavar="FILE",
            help="Published runs (.csv) or what `validate --json` wrote: adds the error tables.",
            show_default=False,
        ),
    ] = None,
    claims: Annotated[
        Path | None,
        typer.Option(
            "--claims",
            metavar="FILE.json",
            help="What `claims --json` wrote: adds the verdicts.",
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            metavar="DIR",
            help="What benchmarks.scale_up_vs_scale_out wrote: adds its answers and pictures.",
            show_default=False,
        ),
    ] = None,
    brief: Annotated[
        bool,
        typer.Option("--brief", help="Only the results: no plan map, no collectives, no rack."),
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Also what doubling each resource gains; minutes more."),
    ] = False,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
) -> None:
    """Write one page that says what was asked, assumed and found, and how sure we are.

    \b
    Examples:
      rackmodel report --out report.html
      rackmodel report gb200-nvl72 dgx-h100 --model llama3.1-405b --gpus 1024 \\
          --global-batch 1024 --out report.html

  rackmodel report --out report.html --claims claims.json --validation runs.csv --study runs/study

    The page holds its pictures and scripts and needs no network.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(f"--out: wanted a file ending in .html; got {clip(out.name)!r}")
    check_writable(out, "--out")
    machines = topologies or DEFAULT_MACHINES
    words = rooms.JobWords(
        model=model, gpus=gpus, global_batch=global_batch, seq_len=seq_len, precision=precision
    )
    from rackmodel.cli.report_parts import read_json, report_parts

    verdicts = read_json(claims, "--claims") if claims is not None else None
    errors = None
    if validation is not None:
        errors = rooms.check_file(validation, "--validation")
    parts = rooms.catalog(sets or (), catalog or ())
    content = report_parts(
        machines,
        words,
        parts,
        verdicts=verdicts,
        validation=errors,
        study=study,
        brief=brief,
        gains=sensitivity,
    )
    if not content["rows"]:
        raise CannotRun(f"none of {', '.join(machines)} can run this job")
    from rackmodel.reporting.html import page

    write_whole(out, page(content).encode())
    if json_:
        Output(json=True).write({"file": str(out), "machines": machines}, list)
    else:
        note(f"wrote {out}")
