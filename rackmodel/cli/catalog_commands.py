"""The commands about what there is: list, show, draw.

In:  a kind, a name, a topology.
Out: tables of parts with sources and grades; pictures.
Left out: what the numbers mean for a job (`step_commands`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

import rackmodel
from rackmodel.cli import complete, groups
from rackmodel.cli.files import name_or_file
from rackmodel.cli.lookup import REGISTERED, look_up
from rackmodel.cli.output import check_picture, note, save_picture, to_json
from rackmodel.cli.tables_catalog import facts_tables, listing_tables
from rackmodel.cli.values import count
from rackmodel.fields import MOST_RANKS


def list_(
    kind: Annotated[
        Literal[
            "topologies",
            "accelerators",
            "links",
            "transports",
            "switches",
            "media",
            "models",
            "stacks",
            "schedules",
            "collectives",
            "builders",
        ],
        typer.Argument(help="What to list.", show_default=False),
    ],
    parts: groups.CatalogOptions,
    output: groups.OutputOptions,
) -> None:
    """List what the catalog holds, with the main values and their units.

    \b
    Examples:
      rackmodel list accelerators
      rackmodel list topologies --json
      rackmodel list schedules                # also collectives, builders: those of extensions too
    """
    catalog = parts.load()
    found: Iterable[Mapping[str, Any]]
    if kind == "models":
        from rackmodel.workload.catalog import model_rows

        found = model_rows()
    elif kind == "topologies":
        from rackmodel.topology.names import topology_rows

        found = topology_rows()
    elif kind == "stacks":
        from rackmodel.validation.accuracy import stack_rows

        found = stack_rows()
    elif kind in REGISTERED:
        found = REGISTERED[kind]()
    else:
        from rackmodel.hardware import catalog_rows

        found = catalog_rows(kind, catalog)
    output.write({"kind": kind, "rows": [dict(row) for row in found]}, listing_tables)


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            autocompletion=complete.anything,
            help="A topology, part or model, by name or file; links.nvlink5 if two share a name.",
            show_default=False,
        ),
    ],
    parts: groups.CatalogOptions,
    output: groups.OutputOptions,
) -> None:
    """Show everything known about one thing, each value with its source and grade.

    \b
    Examples:
      rackmodel show gb200
      rackmodel show gb200-nvl72
      rackmodel show llama3.1-405b --json

    Grades: datasheet, measured, derived, assumed. Values overridden by --set are marked so.
    """
    output.write(look_up(name_or_file(name, "NAME"), parts), facts_tables)


Kind: TypeAlias = Literal[
    "topology", "parts", "models", "sweep", "design", "result", "serving", "requests", "hall"
]


def schema(
    kind: Annotated[
        Kind,
        typer.Argument(
            help="Which file; result: of `simulate --json`, serving: of `serve --json`, hall: "
            "of `hall --json`.",
            show_default=False,
        ),
    ],
    output: groups.FileOptions,
) -> None:
    """Print the JSON Schema of a file that you write, or of what `simulate` or `serve` prints.

    \b
    Examples:
      rackmodel schema topology
      rackmodel schema result --out result.schema.json
    """
    from rackmodel import schema

    found = schema.schema(kind)
    output.write_text(to_json(found), found)


def draw(
    topology: groups.Topology,
    output: groups.JsonOption,
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
) -> None:
    """Draw a machine: its rack with trays, and the fabric that joins racks.

    \b
    Example:
      rackmodel draw gb200-nvl72 --out nvl72.svg
    """
    check_picture(out, "--out")
    number = None if gpus is None else count(gpus, "--gpus", MOST_RANKS)
    name = name_or_file(topology, "TOPOLOGY")

    save_picture(rackmodel.draw(name, what, gpus=number), out, "--out")
    if output.json:
        output.write({"topology": topology, "file": str(out), "what": what}, list)
    else:
        note(f"wrote {out}")
