"""The typer application: every command by its name.

In:  the functions of the `*_commands` modules, imported when one is asked for.
Out: `app` and `main()`.
Left out: what the commands do.
"""

from __future__ import annotations

import atexit
import functools
import gc
import os
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer

from rackmodel.cli.light_options import LightCommand
from rackmodel.cli.runner import OneLineGroup


class Command(NamedTuple):
    """What `--help` prints of a command, and where its function is: importing a package is dear.

    panel : its heading. at : "module:function" below `rackmodel.cli`. told : the first line of the
    function's docstring.
    """

    panel: str
    at: str
    told: str

    @property
    def function(self) -> Callable[..., None]:
        """Return the function, imported now."""
        module, _, function = self.at.partition(":")
        found: Callable[..., None] = getattr(import_module(f"rackmodel.cli.{module}"), function)
        return found


@functools.cache
def full(name: str) -> Any:
    """Return a command with all of its options."""
    from rackmodel.cli.options import expanded

    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    alone.command(name, cls=LightCommand)(expanded(COMMANDS[name].function))
    return typer.main.get_command(alone)


class LazyGroup(OneLineGroup):
    """A group whose commands get their options when one is asked for: `--help` stays fast."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Return the name of the command, the command, and the rest of the words."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, full(str(name)), rest


app = typer.Typer(
    name="rackmodel",
    cls=LazyGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110},
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    from rackmodel import __version__

    typer.echo(f"rackmodel {__version__}")
    raise typer.Exit()


def _load_extensions(files: list[str] | None) -> list[str] | None:
    """Load extensions before any command reads what they add."""
    from rackmodel import extend

    for file in files or ():
        extend.load(file)
    extend.load_all()
    return files


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
    extend: Annotated[
        list[str] | None,
        typer.Option(
            "--extend",
            metavar="FILE.py",
            help="A Python file of your own that registers parts (docs/extending.md); it is run. "
            "May be repeated.",
            is_eager=True,
            callback=_load_extensions,
            show_default=False,
        ),
    ] = None,
) -> None:
    """How fast, how hot and at what cost racks of accelerators train and serve large models.

    \b
    Start here:
      rackmodel compare gb200-nvl72 dgx-h100 dgx-b200 --model gpt3-175b --gpus 1024 \\
          --global-batch 2048 --seq-len 2048

    Results go to stdout (a table, --json or --csv), all else to stderr. Exit codes: 0 done,
    2 the input is wrong, 3 the job cannot run, 4 an --assert missed, 130 interrupted.
    """


_RUN, _KNOW, _STUDY = "Simulate", "Look up", "Study and show"
COMMANDS = {
    "simulate": Command(
        _RUN,
        "step_commands:simulate",
        "Simulate one training step: how fast, what binds, how hot, at what cost.",
    ),
    "compare": Command(
        _RUN,
        "step_commands:compare",
        "Run the same job on several machines, each with its best plan, side by side.",
    ),
    "search": Command(
        _RUN,
        "step_commands:search",
        "Rank the plans for one machine: the best ones, and why each is slower.",
    ),
    "advise": Command(
        _RUN,
        "step_commands:advise",
        "Tell what a plan wastes and what each single change gains; or what would fit, as flags.",
    ),
    "replay": Command(
        _RUN,
        "step_commands:replay",
        "Tell how long a recorded step takes on another machine.",
    ),
    "serve": Command(
        _RUN,
        "serving_commands:serve",
        "Serve a model: time per token, throughput, what binds, cost; percentiles of requests.",
    ),
    "front": Command(
        _RUN,
        "serving_commands:front",
        "Draw tokens/s per accelerator against tokens/s per user: the best plans of each machine.",
    ),
    "hall": Command(
        _RUN,
        "hall_command:hall",
        "Run several jobs on racks of one machine: who slows whom, power of racks over time.",
    ),
    "collective": Command(
        _RUN,
        "network_commands:collective",
        "Time a collective operation, as nccl-tests prints it, beside its physical bound.",
    ),
    "flows": Command(
        _RUN,
        "network_commands:flows",
        "Run flows over a graph at max-min fair rates; tell when each ends and what holds it.",
    ),
    "heat": Command(
        _RUN,
        "power_commands:heat",
        "Show the heat of a rack by tray in training: watts by part, liquid and air, temperatures.",
    ),
    "caps": Command(
        _RUN,
        "power_commands:caps",
        "Tell what caps of the accelerators leave of a job, and which serves a site's power best.",
    ),
    "goodput": Command(
        _RUN,
        "goodput_command:goodput",
        "Tell how often failures stop a job, when to save, what time counts, what spares buy.",
    ),
    "list": Command(
        _KNOW,
        "catalog_commands:list_",
        "List what the catalog holds, with the main values and their units.",
    ),
    "show": Command(
        _KNOW,
        "catalog_commands:show",
        "Show everything known about one thing, each value with its source and grade.",
    ),
    "schema": Command(
        _KNOW,
        "catalog_commands:schema",
        "Print the JSON Schema of a file that you write, or of what `simulate` or `serve` prints.",
    ),
    "draw": Command(
        _KNOW,
        "catalog_commands:draw",
        "Draw a machine: its rack with trays, and the fabric that joins racks.",
    ),
    "convert": Command(
        _KNOW,
        "file_commands:convert",
        "Write a machine as a graph for other tools: GraphML, node-link, InfraGraph, SimGrid.",
    ),
    "new": Command(
        _KNOW,
        "file_commands:new",
        "Begin a file of your own: a commented template that runs as it is.",
    ),
    "validate": Command(
        _STUDY,
        "study_commands:validate",
        "Predict published runs and compare with what was measured.",
    ),
    "sweep": Command(
        _STUDY,
        "study_commands:sweep",
        "Run many jobs into a directory; kill it at any moment and go on with --resume.",
    ),
    "design": Command(
        _STUDY,
        "design_commands:design",
        "Search over hardware: which designs does no other one beat, within watts and dollars?",
    ),
    "sensitivity": Command(
        _STUDY,
        "study_commands:sensitivity",
        'Tell what doubling each resource gains: "double the NIC rate and gain 11%".',
    ),
    "domains": Command(
        _STUDY,
        "domains_command:domains",
        "Tell what a larger scale-up domain buys: speed, waits, HBM, heat, cost of each size.",
    ),
    "claims": Command(
        _STUDY,
        "study_commands:claims",
        "Test each claim about scale-up and scale-out; print verdicts with numbers and bands.",
    ),
    "study": Command(
        _STUDY,
        "study_commands:study",
        "Run the study of scale-up against scale-out, one thing varied at a time; answer in words.",
    ),
    "diff": Command(
        _STUDY,
        "file_commands:diff",
        "Compare two results: which inputs differ, and which figures moved by how much.",
    ),
    "report": Command(
        _STUDY,
        "report_commands:report",
        "Write one page that says what was asked, assumed and found, and how sure we are.",
    ),
    "app": Command(
        _STUDY,
        "page_command:page",
        "Open a local page with sliders: machine, model, batch, power, prices; keep and compare.",
    ),
}


for _name, _command in COMMANDS.items():
    app.command(_name, rich_help_panel=_command.panel, help=_command.told)(lambda: None)


def main() -> None:
    """Run the command line; leaves by `SystemExit`."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # pictures go to files, never to a screen
    gc.set_threshold(200_000, 20, 20)  # looking for cycles 700 objects apart takes an eighth of all
    atexit.register(gc.freeze)  # nor are any looked for when Python ends: 3% of a small command
    app(prog_name="rackmodel")
