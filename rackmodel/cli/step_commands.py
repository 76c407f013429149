"""The commands about a training step: simulate, compare, search.

In:  the words of the command line.
Out: one result, results side by side, or ranked plans.
Left out: how tables look (`tables_step`), what verbs do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import rackmodel
from rackmodel.cli import complete, groups
from rackmodel.cli.files import name_or_file
from rackmodel.cli.output import note
from rackmodel.cli.tables_plan import advice_tables, replay_tables
from rackmodel.cli.tables_step import comparison_tables, search_tables, simulation_tables
from rackmodel.cli.values import clip, count
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.files import check_writable, is_folder


def _trace(word: object) -> Path | None:
    """Refuse a `--trace` that is neither a trace file nor a directory to write."""
    path = Path(str(word))
    if is_folder(path):
        return path
    if not path.name.lower().endswith((".json", ".json.gz", ".et")):
        raise InvalidInput(
            f"--trace: wanted a .json, .json.gz or .et file, or an existing directory; "
            f"got {clip(path.name)!r}"
        )
    check_writable(path, "--trace")
    return path


def simulate(
    topology: groups.Topology,
    job: groups.JobOptions,
    engine: groups.EngineWords,
    site: groups.SiteOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            metavar="FILE",
            parser=_trace,
            help="Write the timeline as a Chrome trace: FILE.json or FILE.json.gz for Perfetto, "
            "or an existing directory for one file per rank class (HolisticTraceAnalysis); "
            "FILE.et for Chakra execution traces, one a stage.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    emit: Annotated[
        Literal["megatron", "nemo", "torchtitan", "deepspeed", "maxtext"] | None,
        typer.Option(
            "--emit",
            help="Print what to launch this plan with, instead of the table.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Simulate one training step: how fast, what binds, how hot, at what cost.

    \b
    Examples:
      rackmodel simulate gb200-nvl72 --model llama3.1-405b --gpus 576 --global-batch 576
      rackmodel simulate dgx-a100-80 --model gpt3-175b --gpus 64 --tp 8 --pp 8 --dp 1 \\
          --global-batch 64 --micro-batch 1 --precision fp16 --recompute full --json
      rackmodel simulate dgx-h100 --from train_gpt3_175b.sh --gpus 1024
      rackmodel simulate dgx-h100 --model llama3-8b --gpus 64 --global-batch 64 --emit megatron

    Times in s, bandwidths one direction in GB/s (1e9), peaks dense in TFLOP/s, HBM in GB (1e9).
    """
    machine, catalog = parts.with_machine(name_or_file(topology, "TOPOLOGY"))

    # an execution trace has all micro-batches
    if trace is not None and trace.suffix.lower() == ".et" and engine["repeat"] == "exact":
        engine = {**engine, "repeat": "all"}
    result = rackmodel.simulate(machine, **job, **engine, site=site, catalog=catalog)
    payload = result.to_dict()
    if trace is not None:
        files = [path.name for path in result.write_trace(trace)]
        note(
            f"wrote {', '.join(files[:4])}{' ...' * (len(files) > 4)}; .json opens in"
            " https://ui.perfetto.dev, all in `rackmodel replay`"
        )
    output.draw(result.plot)
    if emit is not None:
        output.write_text(rackmodel.emit(result, emit), payload)
        return
    output.write(payload, simulation_tables)


def compare(
    topologies: Annotated[
        list[str],
        typer.Argument(
            metavar="TOPOLOGY...",
            help="Names, TOML files or graphs.",
            autocompletion=complete.machines,
            show_default=False,
        ),
    ],
    job: groups.JobOptions,
    engine: groups.EngineWords,
    site: groups.SiteOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
) -> None:
    """Run the same job on several machines, each with its best plan, side by side.

    \b
    Example:
      rackmodel compare gb200-nvl72 dgx-h100 dgx-b200 --model gpt3-175b --gpus 1024 \\
          --global-batch 2048 --seq-len 2048 --plot compare.png

    A machine that cannot run the job gets a column with the reason; the exit code is 3 if none can.
    """
    names = [name_or_file(word, "TOPOLOGY") for word in topologies]
    machines, catalog = parts.with_machines(names)

    found = rackmodel.compare(machines, **job, **engine, site=site, catalog=catalog)
    rows = found.rows
    for row in rows:
        if "reason" in row:
            note(f"{row['topology']}: {row['reason']}")
    good = [row for row in rows if "reason" not in row]
    if not good:
        raise CannotRun(f"none of {', '.join(map(str, topologies))} can run this job")
    output.show(found, comparison_tables)


def advise(
    topology: groups.Topology,
    job: groups.JobOptions,
    engine: groups.EngineWords,
    site: groups.SiteOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
) -> None:
    """Tell what a plan wastes and what each single change gains; or what would fit, as flags.

    \b
    Examples:
      rackmodel advise dgx-h100 --model gpt3-13b --gpus 8 --global-batch 32 --seq-len 2048 \\
          --tp 8 --recompute full
      rackmodel advise dgx-h100 --from train_gpt3_175b.sh --gpus 1024

    A change sets one choice of the plan anew while all others stay; every time is simulated. Where
    the plan is refused, the changes are those that make it run.
    """
    machine, catalog = parts.with_machine(name_or_file(topology, "TOPOLOGY"))

    found = rackmodel.advise(machine, {**job, **engine, "site": site}, catalog=catalog)
    output.show(found, advice_tables)


def replay(
    traces: Annotated[
        list[Path],
        typer.Argument(
            metavar="TRACE...",
            help="torch.profiler's traces (.json, .json.gz), ours (simulate --trace), or Chakra's "
            "(.et): one with all ranks, one for each, or a directory.",
            show_default=False,
        ),
    ],
    on: Annotated[
        str,
        typer.Option("--on", metavar="TOPOLOGY", help="The machine. Example: --on gb200-nvl72"),
    ],
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
    recorded_on: Annotated[
        str | None,
        typer.Option(
            "--recorded-on",
            metavar="TOPOLOGY",
            help="The machine of the trace. Default: what the trace says; only ours do.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tell how long a recorded step takes on another machine.

    \b
    Examples:
      rackmodel replay step.json.gz --on gb200-nvl72
      rackmodel replay profiles/ --recorded-on dgx-h100 --on dgx-b200 --plot replay.png

    Kernels take as much longer as the models of both machines say, exchanges as their collectives
    on both networks; groups, order and time of the host stay as recorded.
    """
    names = [name_or_file(on, "--on")]
    names += [name_or_file(recorded_on, "--recorded-on")] if recorded_on else []
    machines, catalog = parts.with_machines(names)

    source = machines[1] if recorded_on else None
    found = rackmodel.replay(traces, machines[0], recorded_on=source, catalog=catalog)
    output.show(found, replay_tables)


def search(
    topology: groups.Topology,
    job: groups.JobOptions,
    engine: groups.EngineWords,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
    top: Annotated[str, typer.Option("--top", metavar="K", help="How many plans to list.")] = "10",
    space: Annotated[
        Literal["sensible", "offload", "full", "full-without-offload"],
        typer.Option(
            "--space",
            help="Plans to try: sensible (schedules 1f1b and interleaved); offload: also optimizer "
            "or activations in host memory; full: every divisor, schedule, sharding, uneven "
            "chunks, sequence parallelism, overlaps and rank orders (millions of plans, minutes).",
            rich_help_panel="Plan (what is left out is searched)",
        ),
    ] = "sensible",
    objective: Annotated[
        Literal["tokens", "usd", "watts"],
        typer.Option(
            "--objective",
            help="What makes a plan the best: tokens/s per accelerator; USD per million tokens; "
            "watts: joules per token. Plans are ranked by estimates, the first are simulated until "
            "the others are likely to be 2% worse, eight at most.",
        ),
    ] = "tokens",
) -> None:
    """Rank the plans for one machine: the best ones, and why each is slower.

    \b
    Examples:
      rackmodel search gb200-nvl72 --model llama3.1-405b --gpus 576 --global-batch 576 --top 5
      rackmodel search dgx-a100-80 --model gpt3-175b --gpus 4096 --global-batch 4096 \\
          --seq-len 2048 --space full-without-offload
      rackmodel search dgx-h100 --model gpt3-13b --gpus 16 --global-batch 64 --objective watts

    Options of the plan that are given are kept; `--plot` draws MFU over tp and pp, misfits hatched.
    """
    number = count(top, "--top", 10_000)
    machine, catalog = parts.with_machine(name_or_file(topology, "TOPOLOGY"))

    if job.pop("default_plan", False):
        raise InvalidInput("--default-plan: a search has no use for it; give it to simulate")
    how: Any = {"top": number, "choices": space, "objective": objective}
    found = rackmodel.search(machine, **job, **engine, **how, catalog=catalog)
    output.show(found, search_tables)
