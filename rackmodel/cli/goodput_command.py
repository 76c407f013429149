"""The command about failures: goodput.

In:  a machine and how many accelerators a job uses.
Out: interruptions by part, checkpoint interval, goodput in closed form and played out, spares.
Left out: how fast the job is while it runs (`simulate`).
"""

from __future__ import annotations

from typing import Annotated

import typer

import rackmodel
from rackmodel.assess.stops import Stops
from rackmodel.cli import groups
from rackmodel.cli.files import name_or_file
from rackmodel.cli.options import of_dataclass
from rackmodel.cli.tables_failures import goodput_tables


def goodput(
    topology: groups.Topology,
    gpus: groups.Gpus,
    failures: Annotated[Stops, of_dataclass(Stops, "Failures")],
    site: groups.MediaOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
    spares: Annotated[
        list[int] | None,
        typer.Option(
            "--spares",
            metavar="N",
            min=0,
            help="Idle accelerators in each scale-up domain. Repeatable.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Tell how often failures stop a job, when to save, what time counts, what spares buy.

    \b
    Examples:
      rackmodel goodput grand-teton-h100-500w --gpus 16384 --days 54
      rackmodel goodput gb200-nvl72 --gpus 9216 --spares 0 --spares 8 --repair 4h
      rackmodel goodput gb200-nvl72 --gpus 9216 --medium scale-up=pluggable
      rackmodel goodput gb200-nvl72 --gpus 73728 --recovery spares --in-memory

    Interruptions come at random at the rates of the parts; goodput is the share of the time that
    advances the job, by Daly's closed form and by playing it out.
    """
    name, catalog = parts.with_machine(name_or_file(topology, "TOPOLOGY"))

    found = rackmodel.goodput(
        name, gpus=gpus, stops=failures, spares=spares, catalog=catalog, **site
    )
    output.show(found, goodput_tables)
