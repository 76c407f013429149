"""The commands about the network alone: collective and flows.

In:  a topology or any graph; an operation and sizes, or a table of flows.
Out: times with the physical bound beside them; the flows with their ends.
Left out: models and plans; these two commands have never heard of a transformer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rackmodel.cli import network_rooms, rooms
from rackmodel.cli import options as opt
from rackmodel.cli.output import Output, progress
from rackmodel.cli.step_commands import check_plot, save_plot
from rackmodel.cli.values import sizes

Operation = Literal["all-reduce", "all-gather", "reduce-scatter", "all-to-all", "broadcast", "send"]
RoutingOption = Annotated[
    Literal["spray", "paths", "ecmp", "single", "dimension-order", "rail"],
    typer.Option(
        "--routing",
        help="Which of several shortest ways. spray: all; at every node equal parts over the "
        "cables of the next hops. paths: all, in equal parts by whole way. ecmp: one, by a seeded "
        "hash at every node; a bundle counts as its cables. single: one, the first in the order of "
        "the links in the file. dimension-order: on tori, one dimension after another. rail: first "
        "inside the scale-up domain to the accelerator on the target's rail, then out (PXN).",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of the ECMP hash.")
]


def collective(
    topology: opt.TopologyArgument,
    op: Annotated[Operation, typer.Option("--op", help="The operation.", show_default=False)],
    bytes_: Annotated[
        str,
        typer.Option(
            "--bytes",
            metavar="SIZE",
            help="Bytes as nccl-tests counts them: 1GB (1e9), a list 1MB,1GB, "
            "or a sweep 8:8G:x2 (K, M, G are binary).",
            show_default=False,
        ),
    ],
    gpus: opt.GpusOption,
    algorithm: Annotated[
        str | None,
        typer.Option(
            "--algorithm",
            metavar="A",
            help="ring, bidirectional-ring, tree (double binary), halving-doubling, direct, nvls "
            "(in the scale-up switches), nvls-tree, sharp (in the fabric's switches), "
            "hierarchical, torus (all dimensions at once); all-to-all: direct, gpu-initiated "
            "(as DeepEP sends), rail (PXN), hierarchical; broadcast: chain. Default: what the "
            "library would choose.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            "--split",
            metavar="FILE.csv",
            help="all-to-all with uneven sizes (all-to-allv): a table of N x N weights without a "
            "head, row i for what rank i sends to each rank; the fullest row is --bytes.",
            show_default=False,
        ),
    ] = None,
    routing: RoutingOption = "spray",
    seed: SeedOption = 0,
    plot: opt.PlotOption = None,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Time a collective operation, as nccl-tests prints it, beside its physical bound.

    \b
    Examples:
      rackmodel collective gb200-nvl72 --op all-reduce --bytes 1GB --gpus 72
      rackmodel collective dgx-h100 --op all-to-all --bytes 8:8G:x2 --gpus 64 --plot busbw.png

    Time in us, algbw and busbw in GB/s (1e9 bytes); --json and --csv in SI units.
    """
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    check_plot(plot)
    wanted = sizes(bytes_)
    parts = rooms.catalog(sets or (), catalog or ())
    if split is not None:
        rows = network_rooms.uneven(
            topology, op, wanted, gpus, split, routing=routing, seed=seed, parts=parts
        )
    else:
        rows = network_rooms.collective(
            topology, op, wanted, gpus, algorithm=algorithm, routing=routing, seed=seed, parts=parts
        )
    payload = {"topology": topology, "op": op, "gpus": gpus, "rows": rows}
    if plot is not None:
        from rackmodel.reporting.network import busbw_plot

        save_plot(busbw_plot(rows, label=f"{op}, {topology}, {gpus:,} accelerators").figure, plot)

    def tables() -> Any:
        from rackmodel.cli.tables_network import collective_tables

        return collective_tables(payload)

    output.write(payload, tables)


def flows(
    topology: opt.TopologyArgument,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FLOWS.csv",
            help="Columns source, target, bytes, start_s; nodes by id or accelerator number.",
            show_default=False,
        ),
    ],
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            metavar="N",
            parser=opt.counter("--gpus"),
            help="Accelerators to expand a named topology to. Default: one rack.",
            show_default=False,
        ),
    ] = None,
    routing: RoutingOption = "spray",
    seed: SeedOption = 0,
    sets: opt.SetOption = None,
    catalog: opt.CatalogOption = None,
    json_: opt.JsonOption = False,
    csv_: opt.CsvOption = False,
    out: opt.OutOption = None,
    demands: opt.AssertOption = None,
) -> None:
    """Run flows over a graph at their max-min fair rates; tell when each ends and what holds it.

    \b
    Example:
      rackmodel flows gb200-nvl72 flows.csv --csv > finished.csv

    Adds finish_s (s), mean_bytes_per_s (bytes/s), hops and bottleneck; rows
    keep their order. finish_s is when the last byte arrives: the end of the
    fluid flow plus the latency of all links on its way, once. Flows without
    bytes, or from a node to itself, end when they start.

    \b
    Ways have the fewest hops (on fat trees: up, then down), after two rules:
      - Accelerators of one scale-up domain (joined by a scale_up_switch or by
        links of their own) talk inside it, even if a way outside is as short;
        those of different domains talk outside.
      - Accelerators forward for others only where the graph leaves no other
        way, or with --routing rail.
    Where no node has a kind, every node forwards and only hops count. Of
    several shortest ways --routing chooses; by default all are used at once.

    \b
    An undirected edge is one link each way, each with its own bytes_per_s;
    count tells how many cables share that rate, and weighs parts of a spray.
    Parallel edges have to be put together so, and all accelerators have to
    hang together: a graph with one that stands alone is refused.
    """
    output = Output(json_, csv_, out, tuple(demands or ()))
    output.check()
    rooms.name_or_file(topology, "TOPOLOGY")  # before the table, which may be long
    table = network_rooms.read_flows(file)
    parts = rooms.catalog(sets or (), catalog or ())
    with progress("flows") as advance:
        frame = network_rooms.flows(
            topology, table, gpus=gpus, routing=routing, seed=seed, parts=parts, progress=advance
        )
    if csv_:
        output.write_text(
            frame.to_csv(index=False, lineterminator="\n"),
            {"rows": frame.to_dict("records") if demands else []},
        )
        return
    payload = {"topology": topology, "rows": frame.to_dict("records")}

    def tables() -> Any:
        from rackmodel.cli.tables_network import flows_tables

        return flows_tables(payload)

    output.write(payload, tables)
