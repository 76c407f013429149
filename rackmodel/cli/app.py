"""The typer application: every command by its name.

In:  the functions of the `*_commands` modules.
Out: `app` and `main()`.
Left out: what the commands do.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from rackmodel.cli import (
    catalog_commands,
    design_commands,
    goodput_command,
    network_commands,
    report_commands,
    step_commands,
    study_commands,
)
from rackmodel.cli.runner import OneLineGroup

app = typer.Typer(
    name="rackmodel",
    cls=OneLineGroup,
    no_args_is_help=True,
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
    """How fast, how hot and at what cost racks of accelerators train large models.

    \b
    Start here:
      rackmodel compare gb200-nvl72 dgx-h100 dgx-b200 --model gpt3-175b --gpus 1024 \\
          --global-batch 2048 --seq-len 2048

    Results go to stdout (a table, --json or --csv), all else to stderr. Exit codes: 0 done,
    2 the input is wrong, 3 the job cannot run, 4 an --assert missed, 130 interrupted.
    """


_RUN, _KNOW, _STUDY = "Simulate", "Look up", "Study and show"
app.command("simulate", rich_help_panel=_RUN)(step_commands.simulate)
app.command("compare", rich_help_panel=_RUN)(step_commands.compare)
app.command("search", rich_help_panel=_RUN)(step_commands.search)
app.command("collective", rich_help_panel=_RUN)(network_commands.collective)
app.command("flows", rich_help_panel=_RUN)(network_commands.flows)
app.command("heat", rich_help_panel=_RUN)(report_commands.heat)
app.command("goodput", rich_help_panel=_RUN)(goodput_command.goodput)
app.command("list", rich_help_panel=_KNOW)(catalog_commands.list_)
app.command("show", rich_help_panel=_KNOW)(catalog_commands.show)
app.command("draw", rich_help_panel=_KNOW)(catalog_commands.draw)
app.command("validate", rich_help_panel=_STUDY)(study_commands.validate)
app.command("sweep", rich_help_panel=_STUDY)(study_commands.sweep)
app.command("design", rich_help_panel=_STUDY)(design_commands.design)
app.command("sensitivity", rich_help_panel=_STUDY)(study_commands.sensitivity)
app.command("claims", rich_help_panel=_STUDY)(study_commands.claims)
app.command("report", rich_help_panel=_STUDY)(report_commands.report)


def main() -> None:
    """Run the command line; leaves by `SystemExit`."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # pictures go to files, never to a screen
    app(prog_name="rackmodel")
