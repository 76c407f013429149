"""The typer application: every command by its name.

In:  the functions of the `*_commands` modules.
Out: `app` and `main()`.
Left out: what the commands do.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from rackmodel.cli import (
    catalog_commands,
    design_commands,
    domains_command,
    file_commands,
    goodput_command,
    hall_command,
    network_commands,
    page_command,
    power_commands,
    report_commands,
    serving_commands,
    step_commands,
    study_commands,
)
from rackmodel.cli.options import expanded
from rackmodel.cli.runner import OneLineGroup


@functools.cache
def full(name: str) -> Any:
    """Return a command with all of its options."""
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    alone.command(name)(expanded(COMMANDS[name][1]))
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
COMMANDS: dict[str, tuple[str, Callable[..., None]]] = {
    "simulate": (_RUN, step_commands.simulate),
    "compare": (_RUN, step_commands.compare),
    "search": (_RUN, step_commands.search),
    "advise": (_RUN, step_commands.advise),
    "replay": (_RUN, step_commands.replay),
    "serve": (_RUN, serving_commands.serve),
    "front": (_RUN, serving_commands.front),
    "hall": (_RUN, hall_command.hall),
    "collective": (_RUN, network_commands.collective),
    "flows": (_RUN, network_commands.flows),
    "heat": (_RUN, power_commands.heat),
    "caps": (_RUN, power_commands.caps),
    "goodput": (_RUN, goodput_command.goodput),
    "list": (_KNOW, catalog_commands.list_),
    "show": (_KNOW, catalog_commands.show),
    "schema": (_KNOW, catalog_commands.schema),
    "draw": (_KNOW, catalog_commands.draw),
    "convert": (_KNOW, file_commands.convert),
    "new": (_KNOW, file_commands.new),
    "validate": (_STUDY, study_commands.validate),
    "sweep": (_STUDY, study_commands.sweep),
    "design": (_STUDY, design_commands.design),
    "sensitivity": (_STUDY, study_commands.sensitivity),
    "domains": (_STUDY, domains_command.domains),
    "claims": (_STUDY, study_commands.claims),
    "diff": (_STUDY, file_commands.diff),
    "report": (_STUDY, report_commands.report),
    "app": (_STUDY, page_command.page),
}


def _named(command: Callable[..., None]) -> Callable[[], None]:
    """Return what `rackmodel --help` needs of a command: its help, none of its options."""

    def stub() -> None:
        """Nothing: the command itself takes its place before it runs."""

    stub.__doc__ = command.__doc__
    return stub


for _name, (_panel, _command) in COMMANDS.items():
    app.command(_name, rich_help_panel=_panel)(_named(_command))


def main() -> None:
    """Run the command line; leaves by `SystemExit`."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # pictures go to files, never to a screen
    app(prog_name="rackmodel")
