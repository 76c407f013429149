"""The options that several commands share, each with its unit in the help text.

In:  nothing; typer reads these types from the signatures of the commands.
Out: one `Annotated` type per option; values are parsed and bounded where they are read.
Left out: what the options do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from rackmodel.cli import values
from rackmodel.cli.values import MAX_ACCELERATORS


def counter(where: str, limit: int = MAX_ACCELERATORS) -> Callable[[object], int]:
    """Return a typer parser for whole numbers above 0 that names its option in errors."""

    def parse(word: object) -> int:
        return values.count(str(word), where, limit)

    return parse


def _sequence(word: object) -> int:
    return values.tokens(str(word), "--seq-len")


_PLAN = "Plan (what is left out is searched)"
_OUTPUT = "Output"
_CATALOG = "Catalog"
_JOB = "Job"


def _plan_option(name: str, text: str, limit: int = MAX_ACCELERATORS) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        name,
        help=text,
        metavar="N",
        parser=counter(name, limit),
        rich_help_panel=_PLAN,
        show_default=False,
    )
    return option


# What is simulated
TopologyArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="TOPOLOGY",
        help="A name (see `list topologies`), a TOML file, or a graph: node-link JSON, GraphML.",
        show_default=False,
    ),
]
TopologiesArgument: TypeAlias = Annotated[
    list[str],
    typer.Argument(metavar="TOPOLOGY...", help="Names, TOML files or graphs.", show_default=False),
]
ModelOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="A name (`rackmodel list models`), a TOML file, or a Hugging Face config.json.",
        rich_help_panel=_JOB,
        show_default=False,
    ),
]
GpusOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--gpus",
        metavar="N",
        parser=counter("--gpus"),
        help="Accelerators used; racks are filled in order. 1024, 1,024, 100k, 1e6.",
        rich_help_panel=_JOB,
        show_default=False,
    ),
]
BatchOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--global-batch",
        metavar="B",
        parser=counter("--global-batch", values.MAX_COUNT),
        help="Sequences per step, over all accelerators.",
        rich_help_panel=_JOB,
        show_default=False,
    ),
]
SeqLenOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--seq-len",
        metavar="S",
        parser=_sequence,
        help="Tokens per sequence; 8k is 8,192. Default: 4,096.",
        rich_help_panel=_JOB,
        show_default=False,
    ),
]
PrecisionOption: TypeAlias = Annotated[
    Literal["fp16", "bf16", "fp8", "fp8-cs", "fp8-rowwise", "fp8-block", "fp8-mx", "nvfp4", "int8"],
    typer.Option("--precision", help="Number format of the matrix products.", rich_help_panel=_JOB),
]
StackOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--stack",
        metavar="ERA",
        help="Software and its release, such as megatron-bridge-26.06 (rackmodel list stacks).",
        rich_help_panel=_JOB,
        show_default=False,
    ),
]
CudaGraphsOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--cuda-graphs/--no-cuda-graphs",
        help="Launch captured graphs. Default: as the software does.",
        rich_help_panel=_JOB,
        show_default=False,
    ),
]

# The plan
TpOption: TypeAlias = Annotated[int | None, _plan_option("--tp", "Tensor parallel ranks.")]
PpOption: TypeAlias = Annotated[int | None, _plan_option("--pp", "Pipeline stages.")]
VppOption: TypeAlias = Annotated[
    int | None, _plan_option("--vpp", "Model chunks per pipeline stage (interleaving).")
]
CpOption: TypeAlias = Annotated[int | None, _plan_option("--cp", "Context parallel ranks.")]
EpOption: TypeAlias = Annotated[int | None, _plan_option("--ep", "Expert parallel ranks.")]
EtpOption: TypeAlias = Annotated[
    int | None, _plan_option("--etp", "Tensor parallel ranks inside an expert.")
]
DpOption: TypeAlias = Annotated[int | None, _plan_option("--dp", "Replicas of the model.")]
MicroBatchOption: TypeAlias = Annotated[
    int | None, _plan_option("--micro-batch", "Sequences per micro-batch.", values.MAX_COUNT)
]
ShardingOption: TypeAlias = Annotated[
    Literal["none", "zero1", "zero2", "zero3", "hsdp"] | None,
    typer.Option(
        "--sharding", help="What replicas split.", rich_help_panel=_PLAN, show_default=False
    ),
]
RecomputeOption: TypeAlias = Annotated[
    Literal["none", "selective", "full"] | None,
    typer.Option(
        "--recompute",
        help="Activations computed again in backward.",
        rich_help_panel=_PLAN,
        show_default=False,
    ),
]
ScheduleOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="NAME",
        help="Order of micro-batches: 1f1b, gpipe, interleaved, zb-h1, dualpipe or your own.",
        rich_help_panel=_PLAN,
        show_default=False,
    ),
]
PlanWordsOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--plan",
        metavar="FIELD=VALUE",
        help="Any other field of the plan, such as ep_overlap=true or rank_order=tp-cp-ep-dp-pp; "
        "also token_routing, routing_skew, routing_seed, capacity_factor, attention.",
        rich_help_panel=_PLAN,
        show_default=False,
    ),
]

# The catalog
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value: accelerators.gb200.hbm_bytes_per_s='10 TB/s'. Repeatable.",
        rich_help_panel=_CATALOG,
        show_default=False,
    ),
]
CatalogOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--catalog",
        metavar="FILE",
        help="A TOML file with parts to add or override. Repeatable.",
        rich_help_panel=_CATALOG,
        show_default=False,
    ),
]

# The output
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="JSON in SI units.", rich_help_panel=_OUTPUT)
]
CsvOption: TypeAlias = Annotated[
    bool, typer.Option("--csv", help="CSV in SI units, one row each.", rich_help_panel=_OUTPUT)
]
OutOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="Write the result to FILE (whole or not at all) instead of stdout.",
        rich_help_panel=_OUTPUT,
        show_default=False,
    ),
]
AssertOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--assert",
        metavar="TEST",
        help="Exit 4 unless a number of the result passes, such as 'mfu>=0.4'. Repeatable.",
        rich_help_panel=_OUTPUT,
        show_default=False,
    ),
]
PlotOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        help="Draw the result to a .png, .svg or .pdf file.",
        rich_help_panel=_OUTPUT,
        show_default=False,
    ),
]
