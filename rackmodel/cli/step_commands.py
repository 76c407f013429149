"""The commands about a training step: simulate, compare, search.

In:  the words of the command line.
Out: one result, results side by side, or ranked plans.
Left out: how tables look (`tables_step`), what the rooms do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rackmodel.cli import options as opt
from rackmodel.cli import room_options as room
from rackmodel.cli import rooms
from rackmodel.cli.output import Output, check_writable, note, whole_file
from rackmodel.cli.values import assignments, clip, count
from rackmodel.errors import CannotRun, InvalidInput

PLOT_SUFFIXES = (".png", ".svg", ".pdf")


def check_plot(path: Path | None, option: str = "--plot") -> None:
    """Refuse a picture file of an unknown kind or in no place to write."""
    if path is None:
        return
    if path.suffix.lower() not in PLOT_SUFFIXES:
        raise InvalidInput(
            f"{option}: wanted a file ending in {', '.join(PLOT_SUFFIXES)}; got {clip(path.name)!r}"
        )
    check_writable(path, option)


def simulate(
    topology: opt.TopologyArgument,
    model: opt.ModelOption,
    gpus: opt.GpusOption,
    global_batch: opt.BatchOption,
    seq_len: opt.SeqLenOption = None,
    precision: opt.PrecisionOption = "bf16",
    stack: opt.StackOption = None,
    cuda_graphs: opt.CudaGraphsOption = None,
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
    fold: Annotated[
        bool,
        typer.Option(
            "--fold/--no-fold", help="Simulate alike ranks once (exact), or every rank for itself."
        ),
    ] = True,
    power_cap: room.PowerCapOption = None,
    medium: room.MediumOption = None,
    supply_c: room.SupplyOption = None,
    rise_k: room.RiseOption = None,
    flow_lpm: room.FlowOption = None,
    pue: room.PueOption = None,
    usd_per_kwh: room.UsdPerKwhOption = None,
    run_tokens: room.RunTokensOption = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            help="Write the timeline as a Chrome trace: FILE.json or FILE.json.gz for Perfetto, "
            "or an existing directory for one file per rank class (HolisticTraceAnalysis).",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    plot: opt.PlotOption = None,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Simulate one training step: how fast, what binds, how hot, at what cost.

    \b
    Examples:
      rackmodel simulate gb200-nvl72 --model llama3.1-405b --gpus 576 --global-batch 576
      rackmodel simulate dgx-a100-80 --model gpt3-175b --gpus 64 --tp 8 --pp 8 --dp 1 \\
          --global-batch 64 --micro-batch 1 --precision fp16 --recompute full --json

    Times in s, bandwidths one direction in GB/s (1e9), peaks dense in TFLOP/s, HBM in GB (1e9).
    """
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    check_plot(plot)
    check_trace(trace)
    words = rooms.JobWords(
        model=model,
        gpus=gpus,
        global_batch=global_batch,
        seq_len=seq_len,
        precision=precision,
        stack=stack,
        cuda_graphs=cuda_graphs,
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
    where = room.site_fields(
        power_cap=power_cap,
        medium=medium,
        supply_c=supply_c,
        rise_k=rise_k,
        flow_lpm=flow_lpm,
        pue=pue,
        usd_per_kwh=usd_per_kwh,
        run_tokens=run_tokens,
    )
    parts = rooms.catalog(sets or (), catalog or ())
    result = rooms.simulate(topology, words, parts, fold=fold, site=where)
    payload = result.to_dict()
    if trace is not None:
        save_trace(result.events, trace, gpus, memory=result.memory_timeline)
    if plot is not None:
        from rackmodel.reporting.steps import compare_figure

        save_plot(compare_figure([payload]), plot)

    def tables() -> Any:
        from rackmodel.cli.tables_step import simulation_tables

        return simulation_tables(payload)

    output.write(payload, tables, [payload])


def check_trace(path: Path | None) -> None:
    """Refuse a `--trace` that is neither a trace file nor a directory to write."""
    if path is None or path.is_dir():
        return
    if not path.name.lower().endswith((".json", ".json.gz")):
        raise InvalidInput(
            f"--trace: wanted a .json or .json.gz file, or an existing directory; "
            f"got {clip(path.name)!r}"
        )
    check_writable(path, "--trace")


def save_trace(events: Any, path: Path, ranks: int, *, memory: Any = None) -> None:
    """Write the timeline to one file, or one file per rank class to a directory."""
    from rackmodel.reporting.trace import write_rank_traces, write_trace

    if path.is_dir():
        written = write_rank_traces(events, path, world_size=ranks)
        note(f"wrote {len(written)} files to {path}, one per rank class")
        return
    with whole_file(path, "--trace") as part:
        zipped = path.suffix.lower() == ".gz"
        write_trace(events, part, compress=zipped, world_size=ranks, memory=memory)
    note(f"wrote {path}; open it at https://ui.perfetto.dev")


def save_plot(figure: Any, path: Path) -> None:
    """Write a figure whole to `path` and tell so."""
    from rackmodel.reporting.style import save

    with whole_file(path, "--plot") as part:
        save(figure, part, path.suffix.lower().removeprefix("."))
    note(f"wrote {path}")


def compare(
    topologies: opt.TopologiesArgument,
    model: opt.ModelOption,
    gpus: opt.GpusOption,
    global_batch: opt.BatchOption,
    seq_len: opt.SeqLenOption = None,
    precision: opt.PrecisionOption = "bf16",
    stack: opt.StackOption = None,
    cuda_graphs: opt.CudaGraphsOption = None,
    plan: opt.PlanWordsOption = None,
    power_cap: room.PowerCapOption = None,
    medium: room.MediumOption = None,
    supply_c: room.SupplyOption = None,
    rise_k: room.RiseOption = None,
    flow_lpm: room.FlowOption = None,
    pue: room.PueOption = None,
    usd_per_kwh: room.UsdPerKwhOption = None,
    run_tokens: room.RunTokensOption = None,
    plot: opt.PlotOption = None,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Run the same job on several machines, each with its best plan, side by side.

    \b
    Example:
      rackmodel compare gb200-nvl72 dgx-h100 dgx-b200 --model gpt3-175b --gpus 1024 \\
          --global-batch 2048 --seq-len 2048 --plot compare.png

    A machine that cannot run the job gets a column with the reason; the exit code is 3 if none can.
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
        stack=stack,
        cuda_graphs=cuda_graphs,
        plan=rooms.plan_fields({}, plan or ()),
    )
    where = room.site_fields(
        power_cap=power_cap,
        medium=medium,
        supply_c=supply_c,
        rise_k=rise_k,
        flow_lpm=flow_lpm,
        pue=pue,
        usd_per_kwh=usd_per_kwh,
        run_tokens=run_tokens,
    )
    parts = rooms.catalog(sets or (), catalog or ())
    rows = []
    for name, answer in rooms.compare(topologies, words, parts, site=where):
        if isinstance(answer, CannotRun):
            note(f"{name}: {answer}")
            rows.append({"topology": name, "reason": str(answer)})
        else:
            rows.append(answer.to_dict())
    if all("reason" in row for row in rows):
        raise CannotRun(f"none of {', '.join(map(str, topologies))} can run this job")
    payload = {"model": model, "gpus": gpus, "global_batch": global_batch, "rows": rows}
    if plot is not None:
        from rackmodel.reporting.steps import compare_figure

        save_plot(compare_figure([row for row in rows if "reason" not in row]), plot)

    def tables() -> Any:
        from rackmodel.cli.tables_step import comparison_tables

        return comparison_tables(payload)

    output.write(payload, tables)


def search(
    topology: opt.TopologyArgument,
    model: opt.ModelOption,
    gpus: opt.GpusOption,
    global_batch: opt.BatchOption,
    seq_len: opt.SeqLenOption = None,
    precision: opt.PrecisionOption = "bf16",
    stack: opt.StackOption = None,
    cuda_graphs: opt.CudaGraphsOption = None,
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
    top: Annotated[
        str, typer.Option("--top", metavar="K", help="How many plans to simulate and list.")
    ] = "10",
    space: Annotated[
        Literal["sensible", "offload", "full", "full-without-offload"],
        typer.Option(
            "--space",
            help="Plans to try: sensible; offload: also optimizer or activations in host memory; "
            "full: every divisor, schedule, sharding, uneven chunks, sequence parallelism, "
            "overlaps and rank orders (millions of plans, minutes).",
            rich_help_panel="Plan (what is left out is searched)",
        ),
    ] = "sensible",
    plot: opt.PlotOption = None,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Rank the plans for one machine: the best ones, and why each is slower.

    \b
    Examples:
      rackmodel search gb200-nvl72 --model llama3.1-405b --gpus 576 --global-batch 576 --top 5
      rackmodel search dgx-a100-80 --model gpt3-175b --gpus 4096 --global-batch 4096 \\
          --seq-len 2048 --space full-without-offload

    Options of the plan that are given are kept; `--plot` draws MFU over tp and pp, misfits hatched.
    """
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    check_plot(plot)
    number = count(top, "--top", 10_000)
    words = rooms.JobWords(
        model=model,
        gpus=gpus,
        global_batch=global_batch,
        seq_len=seq_len,
        precision=precision,
        stack=stack,
        cuda_graphs=cuda_graphs,
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
    found = rooms.search(topology, words, parts, top=number, choices=space)
    payload = found.to_dict()
    if plot is not None:
        from rackmodel.reporting.study import mfu_heat_map

        save_plot(mfu_heat_map(found.heat_map().to_dict("records")).figure, plot)

    def tables() -> Any:
        from rackmodel.cli.tables_step import search_tables

        return search_tables(payload)

    output.write(payload, tables)


__all__ = ["assignments", "compare", "save_plot", "search", "simulate"]
