"""The groups of options that several commands share.

In:  the fields of `Job`, `Plan`, `Site`, `EngineOptions` and `Output`.
Out: `Annotated` types, one a group; each gives a command one value, checked.
Left out: how an option is made of a field (`options`), how words are read (`values`).
"""

from __future__ import annotations

from collections.abc import Sequence, Set as AbstractSet
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

import rackmodel
from rackmodel.cli import complete, part_words
from rackmodel.cli.catalog_words import CatalogWords, catalog_options, catalog_words
from rackmodel.cli.files import check_file, name_or_file
from rackmodel.cli.options import Group, Words, fields_options, of_dataclass, parameter
from rackmodel.cli.output import Output
from rackmodel.cli.request_words import request_options, request_words
from rackmodel.cli.site_words import HALL, RACK, site_options
from rackmodel.cli.values import clip, counter
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.fields import MOST_WHOLE, PLAN_PANEL, kinds_of, setting

_USERS = "Serving (with --serve)"
_LISTS = ("stage_layers", "offload", "recompute_modules")  # fields of a plan: "a,b"
_TRAINED = ("optimizer", "lora", "lora_targets", "freeze")
_MODEL_HELP = (
    "A name (`rackmodel list models`), a TOML file, a Hugging Face config.json or its directory."
)
_GPUS_HELP = "Accelerators used; racks are filled in order. 1024, 1,024, 100k, 1e6."
_PLAN_HELP = (
    "Any other field of the plan, such as ep_overlap=true or rank_order=tp-cp-ep-dp-pp; "
    "also token_routing, routing_skew, routing_seed, capacity_factor, attention, transposes."
)


Topology: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="TOPOLOGY",
        autocompletion=complete.machines,
        help="A name (see `list topologies`), a TOML file, or a graph: node-link JSON, GraphML, "
        "NCCL dump, InfraGraph, ASTRA-sim, SimAI, SimGrid (docs/formats.md).",
        show_default=False,
    ),
]
Model: TypeAlias = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="MODEL",
        autocompletion=complete.models,
        help=f"{_MODEL_HELP} Example: --model gpt3-175b",
        rich_help_panel="Job",
    ),
]
Gpus: TypeAlias = Annotated[
    int,
    typer.Option(
        "--gpus", metavar="N", parser=counter("--gpus"), help=_GPUS_HELP, rich_help_panel="Job"
    ),
]
Batch: TypeAlias = Annotated[
    int,
    typer.Option(
        "--global-batch",
        metavar="B",
        parser=counter("--global-batch", MOST_WHOLE),
        help="Sequences per step, over all accelerators. Example: --global-batch 2048",
        rich_help_panel="Job",
    ),
]
PlanWords: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--plan",
        metavar="FIELD=VALUE",
        help=_PLAN_HELP,
        rich_help_panel=PLAN_PANEL,
        show_default=False,
    ),
]

DefaultPlan: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--default-plan",
        help="Defaults for what is left out of the plan, instead of a search.",
        rich_help_panel=PLAN_PANEL,
    ),
]


Launched: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="A launch file that says what is not given here: a Megatron-LM script or arguments, a "
        "Megatron-Bridge or NeMo recipe, torchtitan TOML, DeepSpeed JSON, MaxText YAML. With "
        "a script may stand what it is run with: 'TP=4 run.sh dlc 8'. Example: --from train.sh",
        rich_help_panel="Job",
        show_default=False,
    ),
]


def _job_options() -> list[Parameter]:

    return [
        parameter("model", Model, None),
        parameter("gpus", Gpus, None),
        parameter("global_batch", Batch, None),
        parameter("launch", Launched, None),
        *fields_options(
            rackmodel.Job,
            "Job",
            ("seq_len", "token_routing", "document_len", *_TRAINED, "precision"),
            left_out="open",  # a launch file may say them
        ),
        *fields_options(rackmodel.Job, "Job", ("stack", "cuda_graphs")),
        *fields_options(rackmodel.Plan, PLAN_PANEL, left_out="searched"),
        parameter("more", PlanWords, None),
        parameter("default_plan", DefaultPlan, False),
    ]


def _job_words(words: Words) -> Words:
    """Return the words of the front door: those of the job, `plan` with the fields given."""

    job, plan = kinds_of(rackmodel.Job).keys() | {"gpus", "default_plan"}, kinds_of(rackmodel.Plan)
    read: Words = {}
    fields = {name: value for name, value in words.items() if name in plan}
    if "launch" in words:
        from rackmodel.workload.launch import parts_of

        check_file(parts_of(words["launch"])[0], "--from")
        given = words.get("gpus")
        launch = rackmodel.read_launch(words["launch"], with_model="model" not in words, gpus=given)
        gpus = words.get("gpus", launch.words.get("gpus"))
        read = launch.words if gpus is None else launch.on(gpus)
        _in_catalog(read.get("model"), words)
        fields = launch.plan | fields
    words = read | words
    for name in ("model", "gpus", "global_batch"):
        if name not in words:
            option, silent = f"--{name.replace('_', '-')}", words.get("launch")
            remedy = f"{silent} does not say it" if silent else "or a launch file by --from"
            raise InvalidInput(f"{option}: missing; give it, {remedy}")
    more = _assigned(words.get("more", ()), {*fields, *(words.keys() & {"token_routing"})})
    known = {*plan, *(job - {"model", "plan", "gpus", "seq_len", "global_batch", "default_plan"})}
    for name in more:
        UnknownName.check("field of the plan", name, known)
    found = part_words.collected({k: v for k, v in words.items() if k in job})
    found |= {name: value for name, value in more.items() if name in job}
    if isinstance(found["model"], str):
        found["model"] = name_or_file(found["model"], "--model")
    return {**found, "plan": fields | {k: v for k, v in more.items() if k in plan}}


def _in_catalog(model: object, words: Words) -> None:
    """Refuse a model that a launch file only names, where nothing has that name or replaces it."""

    if isinstance(model, str) and "model" not in words:
        try:
            rackmodel.load_model(model)
        except UnknownName as error:
            told = str(error).partition(" (known")[0]
            raise UnknownName(
                f"{words['launch']}: {told}; give --model: a name (rackmodel list models), a"
                " config.json or a TOML file"
            ) from None


def _assigned(words: Sequence[str], given: set[str]) -> Words:
    """Return {field: value} of `--plan FIELD=VALUE`."""
    found: Words = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier() or not text.strip():
            raise InvalidInput(f"--plan: wanted FIELD=VALUE; got {clip(word)!r}")
        if name in given or name in found:
            raise InvalidInput(f"--plan: {name} is given twice")
        # Also as Python has it, and as refusals print it: ["a", "b"].
        parts = [part.strip().strip("'\"") for part in text.strip().strip("[]()").split(",")]
        listed = [_value(part) for part in parts if part and parts != ["none"]]
        found[name] = listed if name in _LISTS else _value(text.strip())
    return found


def _value(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "yes", "on", "false", "no", "off"):
        return text.lower() in ("true", "yes", "on")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _engine(*only: str) -> Group:
    """Return the options of the engine as words of the front door."""

    def options() -> list[Parameter]:
        from rackmodel.engine.options import EngineOptions

        return fields_options(EngineOptions, "Simulation", only)

    return Group(options, part_words.collected)


def _output(*only: str) -> Group:
    """Return the options of the output, checked before anything else is."""
    group = of_dataclass(Output, "Output", only)

    def collect(words: Words) -> Output:
        output: Output = group.collect(words)
        output.check()
        return output

    return Group(group.options, collect)


@dataclass(frozen=True, kw_only=True)
class ServingWords:
    """Where a model is served, and how fast it has to be for its users."""

    gpus: int | None = setting(
        None, "Accelerators used. Default: those of one scale-up domain.", option="--gpus"
    )
    decode_gpus: int | None = setting(
        None,
        "Accelerators that decode, where others run the prompts.",
        option="--decode-gpus",
    )
    disaggregated: bool = setting(
        True,
        "Where no worker is given, also search plans whose prompts run on accelerators of their "
        "own.",
        option="--disaggregated",
    )
    serve: bool = setting(
        False,
        "Serve the model to users who see a speed, instead of training it.",
        option="--serve",
    )
    tokens_per_s_per_user: float | None = setting(
        None,
        "Tokens/s that each user sees at least.",
        100,
        option="--tokens-per-s-per-user",
    )


_SERVED_ONLY = ("isl", "osl", "weights", "kv", "cached", "mtp", "acceptance")


def _served(*but: str) -> list[Parameter]:
    """Return the options of a served job and its workers."""
    from rackmodel.workload.serving.job import ServingJob, Worker

    job = fields_options(ServingJob, left_out="open")
    return [
        *fields_options(ServingWords, "Job", ("gpus",)),
        *fields_options(Worker, PLAN_PANEL, left_out="searched"),
        *(one for one in job if one.name not in but),
    ]


def _serving_options() -> list[Parameter]:
    return [
        parameter("model", Model),
        *_served(),
        *fields_options(ServingWords, PLAN_PANEL, ("decode_gpus", "disaggregated")),
        *request_options(),
    ]


def _front_options() -> list[Parameter]:
    from rackmodel.workload.serving.job import ServingJob

    told = ("isl", "osl")
    return [
        parameter("model", Model),
        *fields_options(ServingJob, "Job", told),
        *_served("users", *told),
        *request_options(("requests", "slo")),
    ]


def _serving_words(words: Words) -> Words:
    return {**words, "model": name_or_file(words["model"], "--model")}


def _domain_options() -> list[Parameter]:
    """Return the options of a job that is trained or, with --serve, served."""
    from rackmodel.workload.serving.job import ServingJob, Worker

    open_words = {one.name: one for one in fields_options(rackmodel.Job, "Job", left_out="open")}
    trained = [open_words.get(one.name, one) for one in _job_options()]
    return [
        *trained,
        *fields_options(ServingWords, _USERS, ("serve", "tokens_per_s_per_user")),
        *fields_options(ServingJob, _USERS, (*_SERVED_ONLY, "chunk"), left_out="open"),
        *fields_options(Worker, _USERS, ("dp_attention",), left_out="searched"),
        *fields_options(ServingJob, _USERS, ("prefill_gpus",), left_out="open"),
        *fields_options(ServingWords, _USERS, ("disaggregated",)),
    ]


def _domain_words(words: Words) -> Words:
    """Return the words of `domains`, or with `serve` those of `domains_serving`."""
    served = words.pop("serve")
    users = {"tokens_per_s_per_user", "dp_attention", "prefill_gpus", "chunk", *_SERVED_ONLY}
    if not served:
        apart = set() if words.pop("disaggregated") else {"no-disaggregated"}
        _refuse(words.keys() & users | apart, "about serving; it needs --serve")
        return _job_words(words)
    if not words["default_plan"]:
        del words["default_plan"]
    shared = {"model", "gpus", "stack", "tp", "pp", "ep", "disaggregated"}
    _refuse(words.keys() - users - shared, "about training; leave it out with --serve")
    for name in ("model", "gpus", "isl", "osl", "tokens_per_s_per_user"):
        if name not in words:
            raise InvalidInput(f"--{name.replace('_', '-')}: missing; --serve needs it")
    return {**_serving_words(words), "serve": True}


def _refuse(names: AbstractSet[str], why: str) -> None:
    for name in sorted(names):
        option = {"launch": "from", "more": "plan"}.get(name, name.replace("_", "-"))
        raise InvalidInput(f"--{option}: {why}")


_PRINTED = ("json", "csv", "demands")
JobOptions: TypeAlias = Annotated[Words, Group(_job_options, _job_words)]
DomainOptions: TypeAlias = Annotated[Words, Group(_domain_options, _domain_words)]
ServingOptions: TypeAlias = Annotated[
    Words, Group(_serving_options, lambda words: _serving_words(request_words(words)))
]
FrontOptions: TypeAlias = Annotated[Words, Group(_front_options, _serving_words)]
SiteOptions: TypeAlias = Annotated[Words, site_options()]
ServedSite: TypeAlias = Annotated[Words, site_options(*RACK[:-1], *HALL)]
HeatOptions: TypeAlias = Annotated[Words, site_options(*RACK)]
MediaOptions: TypeAlias = Annotated[Words, site_options("media")]
EngineWords: TypeAlias = Annotated[Words, _engine()]
PlacingWords: TypeAlias = Annotated[Words, _engine("fold", "slow", "routing", "seed", "packed")]
NetworkOptions: TypeAlias = Annotated[Words, _engine("routing", "seed")]
CatalogOptions: TypeAlias = Annotated[CatalogWords, Group(catalog_options, catalog_words)]
OutputOptions: TypeAlias = Annotated[Output, _output(*_PRINTED, "out")]
PlotOptions: TypeAlias = Annotated[Output, _output(*_PRINTED, "out", "plot")]
FolderOptions: TypeAlias = Annotated[Output, _output(*_PRINTED, "plot")]
FileOptions: TypeAlias = Annotated[Output, _output("json", "out")]
JsonOption: TypeAlias = Annotated[Output, _output("json")]
