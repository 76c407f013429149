"""The commands about the network alone: collective and flows.

In:  a topology or any graph; an operation and sizes, or a table of flows.
Out: times with the physical bound beside them; the flows with their ends.
Left out: models and plans; these two commands have never heard of a transformer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

import rackmodel
from rackmodel.cli import groups
from rackmodel.cli.files import name_or_file
from rackmodel.cli.flow_tables import read_flows, read_weights
from rackmodel.cli.options import of_dataclass
from rackmodel.cli.output import progress
from rackmodel.cli.tables_network import collective_tables, flows_tables
from rackmodel.cli.values import counter
from rackmodel.errors import InvalidInput
from rackmodel.fields import about, setting
from rackmodel.files import csv_text, is_file

OPERATIONS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all"),
    *("dispatch", "combine", "broadcast", "send"),
)


ALGORITHMS = (
    "ring, bidirectional-ring, tree (double binary), halving-doubling, direct, nvls "
    "(in the scale-up switches), nvls-tree, sharp (in the fabric's switches), "
    "hierarchical, torus (all dimensions at once); all-to-all: direct, gpu-initiated "
    "(as DeepEP sends), rail (PXN), hierarchical; broadcast: chain; one kernel inside a "
    "domain, as serving runs: one-shot, two-shot, two-shot-multicast (switches copy); dispatch, "
    "combine: low-latency, low-latency-nic (by RDMA inside a host too, as DeepEP's first "
    "release)."
)


def algorithms_in_words() -> str:
    """Return the algorithms of collectives for the manual, those of extensions too."""
    from rackmodel.network.collectives.registry import ALGORITHM

    own = [name for name in ALGORITHM if name not in ALGORITHMS]
    more = f" Of extensions: {', '.join(own)}." if own else ""
    return f"{ALGORITHMS}{more} Default: what the library would choose."


@dataclass(frozen=True, kw_only=True)
class CollectiveWords:
    """What is to be timed."""

    op: str = field(metadata=about("The operation.", choices=OPERATIONS, option="--op"))
    bytes: Any = field(  # one word of one size or many
        metadata=about(
            "Bytes as nccl-tests counts them: 1GB (1e9), a list 1MB,1GB, "
            "or a sweep 8:8G:x2 (K, M, G are binary). Dispatch and combine (of tokens to experts): "
            "all copies that one rank sends.",
            unit="size",
            option="--bytes",
        )
    )
    gpus: int = field(
        metadata=about(
            "Accelerators used; racks are filled in order. 1024, 1,024, 100k, 1e6.", option="--gpus"
        )
    )
    algorithm: str | None = setting(
        None,
        algorithms_in_words,
        unit="A",
        option="--algorithm",
    )
    split: Path | None = setting(
        None,
        "all-to-all with uneven sizes (all-to-allv): a table of N x N weights without a "
        "head, row i for what rank i sends to each rank; the fullest row is --bytes.",
        "weights.csv",
        option="--split",
    )


def collective(
    topology: groups.Topology,
    what: Annotated[CollectiveWords, of_dataclass(CollectiveWords, "Operation")],
    network: groups.NetworkOptions,
    parts: groups.CatalogOptions,
    output: groups.PlotOptions,
) -> None:
    """Time a collective operation, as nccl-tests prints it, beside its physical bound.

    \b
    Examples:
      rackmodel collective gb200-nvl72 --op all-reduce --bytes 1GB --gpus 72
      rackmodel collective dgx-h100 --op dispatch --bytes 7.57MB --gpus 64
      rackmodel collective dgx-h100 --op all-to-all --bytes 8:8G:x2 --gpus 64 --plot busbw.png

    Time in us, algbw and busbw in GB/s (1e9 bytes); --json and --csv in SI units.
    """
    name, catalog = parts.with_machine(name_or_file(topology, "TOPOLOGY"))
    if what.split is not None and what.op != "all-to-all":
        raise InvalidInput(f"--split: only all-to-all has uneven sizes, not {what.op}")
    weights = None if what.split is None else read_weights(what.split, what.gpus)

    found = rackmodel.collective(
        name,
        what.op,
        what.bytes,
        gpus=what.gpus,
        algorithm=what.algorithm,
        weights=weights,
        catalog=catalog,
        **network,
    )
    output.draw(found.plot)
    output.write({**found, "topology": topology}, collective_tables)


def flows(
    topology: groups.Topology,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FLOWS.csv",
            help="Columns source, target, bytes, start_s; nodes by id or accelerator number.",
            show_default=False,
        ),
    ],
    network: groups.NetworkOptions,
    parts: groups.CatalogOptions,
    output: groups.OutputOptions,
    gpus: Annotated[
        int | None,
        typer.Option(
            "--gpus",
            metavar="N",
            parser=counter("--gpus"),
            help="Accelerators to expand a named topology to. Default: one rack.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run flows over a graph at max-min fair rates; tell when each ends and what holds it.

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
    word = name_or_file(topology, "TOPOLOGY")  # before the table, which may be long
    table = read_flows(file)
    from rackmodel.network import Network, simulate_flows
    from rackmodel.topology.files import is_graph
    from rackmodel.topology.graph_file import read_flow_graph

    with progress("flows") as advance:
        path = Path(word[:300])
        if is_file(path) and is_graph(path) and gpus is None:
            if parts.overrides or parts.files or parts.changes:
                raise InvalidInput(f"{word}: --set and --catalog can't act on a graph; edit it")
            graph = read_flow_graph(path, parts.maps)
        else:
            machine = rackmodel.load_topology(parts.with_machine(word)[0])
            graph = machine.graph(gpus if gpus is not None else machine.rack_accelerators)
        frame = simulate_flows(Network.from_graph(graph, **network), table, progress=advance)
    if not output.csv:
        output.write({"topology": topology, "rows": frame.to_dict("records")}, flows_tables)
        return
    output.write_text(
        csv_text(frame),
        {"rows": frame.to_dict("records") if output.demands else []},
    )
