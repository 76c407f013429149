"""The command that searches over hardware: design.

In:  a SPEC.toml with a base job, what may vary, objectives and constraints.
Out: every design with its figures, those on the Pareto front marked.
Left out: the search itself (`rackmodel.sweeps.design_search`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import check_file
from rackmodel.cli.study_commands import WorkersOption
from rackmodel.cli.tables_study import design_tables
from rackmodel.files import check_folder
from rackmodel.stages import tell


def design(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC.toml",
            help="As of a sweep (base, axes, zips, filters), with objectives and constraints.",
            show_default=False,
        ),
    ],
    output: groups.FolderOptions,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Keep the rows there, as a sweep does; run again, it goes on.",
            show_default=False,
        ),
    ] = None,
    workers: WorkersOption = 1,
) -> None:
    """Search over hardware: which designs does no other one beat, within watts and dollars?

    \b
    Example:
      rackmodel design racks.toml --plot front.png

    \b
    racks.toml:
      constraints = \\["rack_peak_w <= 140e3", "cost.capital_usd <= 12e6"]
      objectives = {tokens_per_s = "max", "cost.usd_per_mtoken" = "min"}
      base = {model = "gpt3-13b", gpus = 144, global_batch = 288}
      axes.topology = \\["gb200-nvl72", "dgx-b200"]
      axes.set.accelerators.b200.hbm_bytes = \\["180 GB", "288 GB"]

    Knobs: any field of a job, any value of catalog (set.accelerators...) or topology
    (set.topology.shape.accelerators, .nics.per_host, .fabric.oversubscription ...). Every design
    has its best plan. Columns are those of a sweep; --json has all of them.
    """
    check_file(spec, "SPEC.toml")
    if out is not None:
        check_folder(out, "--out")

    found = rackmodel.design(
        spec, out=out, workers=workers, progress=lambda now: tell("designs", now.done, now.total)
    )
    output.show(found, design_tables)
