"""The commands about files of users: convert a machine, begin a file, compare two results.

In:  a topology and the name of a file; a kind of file; results of --json.
Out: files of other tools; commented templates that run as they are; what differs.
Left out: pictures and results (`draw`, `--out` of other commands).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import typer

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import name_or_file
from rackmodel.cli.output import note
from rackmodel.cli.tables_catalog import difference_tables
from rackmodel.cli.values import counter
from rackmodel.errors import InvalidInput
from rackmodel.fields import MOST_RANKS
from rackmodel.files import check_writable, whole_file


def convert(
    topology: groups.Topology,
    parts: groups.CatalogOptions,
    output: groups.JsonOption,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Its ending says the format: .graphml, .json (node-link), .infragraph.json or "
            ".infragraph.yaml, .xml (a SimGrid platform).",
            show_default=False,
        ),
    ],
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            metavar="N",
            parser=counter("--gpus", MOST_RANKS),
            help="Accelerators to expand a named topology to. Default: one rack.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a machine as a graph for other tools: GraphML, node-link, InfraGraph, SimGrid.

    \b
    Examples:
      rackmodel convert gb200-nvl72 --out nvl72.graphml
      rackmodel convert dgx-h100 --gpus 64 --out nodes.infragraph.yaml
      rackmodel convert nccl_topo.xml --out node.xml

    What is written is read again as the same graph, by every command.
    """
    from rackmodel.topology.formats.write import text_for

    check_writable(out, "--out")
    machine = rackmodel.load_topology(parts.with_machine(name_or_file(topology, "TOPOLOGY"))[0])
    wanted = gpus if gpus is not None else machine.rack_accelerators
    if machine.own_graph is not None and gpus is None:
        wanted = machine.max_accelerators or wanted
    graph = machine.graph(wanted)
    text = text_for(graph, out)
    with whole_file(out, "--out") as part:
        part.write_text(text, encoding="utf-8")
    if output.json:
        sizes = {"nodes": len(graph), "edges": graph.number_of_edges()}
        output.write({"topology": topology, "file": str(out), **sizes}, list)
    else:
        note(f"wrote {out}: {len(graph):,} nodes, {graph.number_of_edges():,} edges")


def diff(
    before: Annotated[
        Path, typer.Argument(metavar="A.json", help="What --json printed.", show_default=False)
    ],
    after: Annotated[
        Path, typer.Argument(metavar="B.json", help="What --json printed.", show_default=False)
    ],
    output: groups.PlotOptions,
    least: Annotated[
        str,
        typer.Option(
            "--least",
            metavar="SHARE",
            help="Leave out figures that moved by less: 0.01 or 1%.",
        ),
    ] = "0",
) -> None:
    """Compare two results: which inputs differ, and which figures moved by how much.

    \b
    Example:
      rackmodel simulate dgx-h100 --model llama3-8b --gpus 64 --global-batch 64 --json > a.json
      rackmodel simulate dgx-h200 --model llama3-8b --gpus 64 --global-batch 64 --json > b.json
      rackmodel diff a.json b.json --least 1%

    Inputs (plan, version and catalog included) come first, then figures, the largest change first.
    """
    found = rackmodel.diff(before, after, least=_share(least))
    output.draw(found.plot)
    output.write({"before": str(before), "after": str(after), **found}, difference_tables)


def _share(text: str) -> float:
    number = text.strip().removesuffix("%")
    try:
        share = float(number) / (100.0 if text.strip().endswith("%") else 1.0)
    except ValueError:
        share = -1.0
    if not 0.0 <= share < 1e6:
        raise InvalidInput(f"--least: wanted a share such as 0.01 or 1%; got {text!r:.40}")
    return share


_TEMPLATES = {"topology": "topology.toml", "model": "model.toml", "stack": "stack.py"}


def new(
    kind: Annotated[
        Literal["topology", "model", "stack"],
        typer.Argument(help="Which file to begin.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where to write it. Default: stdout.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Begin a file of your own: a commented template that runs as it is.

    \b
    Examples:
      rackmodel new topology --out my-machine.toml
      rackmodel new model > my-model.toml
      rackmodel new stack --out my-stack.py
    """
    text = (files("rackmodel.cli") / "templates" / _TEMPLATES[kind]).read_text(encoding="utf-8")
    if out is None:
        typer.echo(text, nl=False)
        return
    check_writable(out, "--out")
    with whole_file(out, "--out") as part:
        part.write_text(text, encoding="utf-8")
    note(f"wrote {out}; edit it, then see its first lines for the command that runs it")
