"""The commands about what there is: list, show, draw.

In:  a kind, a name, a topology.
Out: tables of parts with sources and grades; pictures.
Left out: what the numbers mean for a job (`step_commands`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rackmodel.cli import network_rooms, rooms
from rackmodel.cli import options as opt
from rackmodel.cli.output import Output, note, whole_file
from rackmodel.cli.step_commands import PLOT_SUFFIXES, check_plot
from rackmodel.cli.values import clip, count
from rackmodel.errors import InvalidInput


def list_(
    kind: Annotated[
        Literal["topologies", "accelerators", "links", "switches", "media", "models"],
        typer.Argument(help="What to list.", show_default=False),
    ],
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """List what the catalog holds, with the main values and their units.

    \b
    Examples:
      rackmodel list accelerators
      rackmodel list topologies --json
    """
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    rows = rooms.listing(kind, rooms.catalog(sets or (), catalog or ()))
    payload = {"kind": kind, "rows": rows}

    def tables() -> Any:
        from rackmodel.cli.tables_catalog import listing_tables

        return listing_tables(kind, rows)

    output.write(payload, tables)


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A topology, part or model, by name or file; links.nvlink5 if two share a name.",
            show_default=False,
        ),
    ],
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Show everything known about one thing, each value with its source and grade.

    \b
    Examples:
      rackmodel show gb200
      rackmodel show gb200-nvl72
      rackmodel show llama3.1-405b --json

    Grades: datasheet, measured, derived, assumed. Values overridden by --set are marked so.
    """
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    payload = rooms.everything_about(name, rooms.catalog(sets or (), catalog or ()))

    def tables() -> Any:
        from rackmodel.cli.tables_catalog import facts_tables

        return facts_tables(payload)

    output.write(payload, tables)


def draw(
    topology: opt.TopologyArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FILE", help="A .png, .svg or .pdf file.", show_default=False
        ),
    ],
    what: Annotated[
        Literal["both", "rack", "fabric"],
        typer.Option("--what", help="The rack with its trays, the fabric between racks, or both."),
    ] = "both",
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus", metavar="N", help="Accelerators of the fabric to draw.", show_default=False
        ),
    ] = None,
    json_: opt.JsonOption = False,
) -> None:
    """Draw a machine: its rack with trays, and the fabric that joins racks.

    \b
    Example:
      rackmodel draw gb200-nvl72 --out nvl72.svg
    """
    if out.suffix.lower() not in PLOT_SUFFIXES:
        raise InvalidInput(
            f"--out: wanted a file ending in {', '.join(PLOT_SUFFIXES)}; got {clip(out.name)!r}"
        )
    check_plot(out, "--out")
    number = None if gpus is None else count(gpus, "--gpus", 10_000_000)
    figure = network_rooms.drawing(topology, what, number)
    from rackmodel.reporting.style import save

    with whole_file(out) as part:
        save(figure, part, out.suffix.lower().removeprefix("."))
    if json_:
        Output(json=True).write({"topology": topology, "file": str(out), "what": what}, list)
    else:
        note(f"wrote {out}")
