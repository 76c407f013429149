"""The command hall.

In:  a SPEC.toml.
Out: its jobs, alone and together.
Left out: how tables look (`tables_hall`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import check_file
from rackmodel.cli.tables_hall import hall_tables


def hall(
    spec: Annotated[
        Path, typer.Argument(metavar="SPEC.toml", help="Machine, jobs, racks.", show_default=False)
    ],
    fold: Annotated[
        bool,
        typer.Option(
            "--fold/--no-fold",
            help="Simulate alike ranks once (exact), or every rank for itself.",
            rich_help_panel="Simulation",
        ),
    ] = True,
    *,
    output: groups.PlotOptions,
) -> None:
    """Run several jobs on racks of one machine: who slows whom, power of racks over time.

    \b
    Example:
      rackmodel hall examples/hall.toml

    Training and serving jobs share leaves and spines under max-min shares. The file has machine,
    steps and \\[\\[jobs]] with name, racks and the words of simulate or, with users, of serve; with
    prefill_gpus prompts run on workers of their own, and caches cross the leaves too.
    """
    path = check_file(spec, "SPEC.toml")

    found = rackmodel.hall(path, fold=fold)
    output.show(found, hall_tables)
