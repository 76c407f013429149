"""Verbs about a machine: a collective, failures, a drawing.

In:  a machine or a result.
Out: `Answer`, a figure.
Left out: many jobs at once (`studies`), power and heat (`power`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel import units
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.fields import record
from rackmodel.reporting.style import Axes, Figure
from rackmodel.sizes import sizes
from rackmodel.verbs.answer import Answer, checked

if TYPE_CHECKING:
    import numpy as np

    from rackmodel.assess.stops import Stops
    from rackmodel.hardware import Catalog
    from rackmodel.network.arrays import Routing
    from rackmodel.result.result import Result
    from rackmodel.topology import Topology


@checked
def collective(
    topology: str | Path | Topology,
    op: str,
    bytes: float | str | Sequence[float | str],
    *,
    gpus: int,
    algorithm: str | None = None,
    weights: np.ndarray | None = None,
    routing: Routing = "spray",
    seed: int = 0,
    catalog: Catalog | None = None,
) -> Answer:
    """Time a collective operation on a machine, beside its physical bound.

    topology : as `simulate` takes it. op : all-reduce, all-gather, reduce-scatter, all-to-all,
    dispatch, combine, broadcast or send. bytes : of the result as nccl-tests counts them, one size
    ("1 GB"), many, or a sweep as the command has it ("8:8G:x2"). gpus : accelerators, racks filled
    in order. algorithm : None takes what the library would choose. weights : (gpus, gpus), shares
    of what each rank sends to each, over the fullest rank; for an all-to-all with uneven sizes.
    routing, seed : of packets, as in `simulate`.

    Returns
    -------
    rows with op, bytes, gpus, algorithm, time_s, algbw_bytes_per_s, busbw_bytes_per_s, bound_s,
    bound_by.

    Raises
    ------
    InvalidInput, UnknownName, CannotRun
        For words that the operation or the machine does not take.
    """
    from rackmodel.hardware.identity import made_with
    from rackmodel.network import Network, all_to_allv, run_collective
    from rackmodel.topology import load_topology

    machine = load_topology(topology, catalog=catalog)
    if machine.max_accelerators is not None and gpus > machine.max_accelerators:
        raise InvalidInput(
            f"gpus {gpus:,}: topology {machine.name[:60]!r} has at most"
            f" {machine.max_accelerators:,} accelerators; ask for fewer"
        )
    asked = list[float]()
    for one in [bytes] if isinstance(bytes, (int, float, str)) else bytes:
        if isinstance(one, str):
            asked += sizes(one)
        else:
            asked.append(units.parse(one, "bytes", where="bytes", positive=True))
    if weights is None:
        timed = run_collective(
            machine, op, asked, gpus, algorithm=algorithm, routing=routing, seed=seed
        )
        rows = [dict(row) for row in timed]
    elif op != "all-to-all":
        raise InvalidInput(f"weights: only all-to-all has uneven sizes, not {op}; leave them out")
    else:
        graph = Network.from_graph(machine.graph(gpus, bundled=True), routing=routing, seed=seed)
        rows = [all_to_allv(graph, range(gpus), weights * size) for size in asked]
    label = f"{op}, {machine.name}, {gpus:,} accelerators"
    payload: dict[str, Any] = {"topology": machine.name, "op": op, "gpus": gpus, "rows": rows}
    payload |= made_with(catalog)
    return Answer(payload, "network.busbw_plot", {"label": label})


def step_picture(result: Result, ax: Axes | None = None) -> Axes | Figure:
    """Draw a step: where it goes, stages, power, HBM capacity and bandwidth, heat per rack.

    ax : draw only where it goes, on these axes.
    """
    if ax is not None:
        from rackmodel.reporting.steps import step_breakdown

        return step_breakdown([{**result.to_dict()}], ax)
    from rackmodel.assess.series import power_over_time
    from rackmodel.reporting.step_figure import step_figure

    return step_figure(
        result.to_dict(),
        events=result.events,
        memory=result.memory_timeline,
        hbm=result.hbm_bandwidth,
        power=power_over_time(result),
    )


@checked
def goodput(
    topology: str | Path | Topology,
    *,
    gpus: int,
    stops: Stops | Mapping[str, Any] | None = None,
    spares: Sequence[int] | None = None,
    media: Mapping[str, str] | None = None,
    lengths_m: Mapping[str, float] | None = None,
    catalog: Catalog | None = None,
) -> Answer:
    """Tell how often failures stop a job, when to save, what of the time counts, what spares buy.

    stops : how it saves and restarts, fields of `rackmodel.assess.stops.Stops`. spares : idle
    accelerators in each scale-up domain to compare. media, lengths_m : of links by tier.

    Returns
    -------
    goodput, mtbf_s, interval_s, shares (of the time) ...; rows, one for each part that
    stops a job; domains, one for each number of spares. See `rackmodel.assess.availability`.
    """
    from rackmodel.assess import stops as how
    from rackmodel.assess.availability import availability
    from rackmodel.assess.site import Site
    from rackmodel.hardware import load_catalog
    from rackmodel.topology import load_topology

    parts = catalog or load_catalog()
    machine = load_topology(topology, catalog=catalog)
    found = availability(
        parts,
        machine.inventory(gpus),
        accelerators=gpus,
        domain=0 if machine.slice_shape(gpus) else machine.domain_accelerators,
        spares=spares,
        stops=record(how.Stops, stops, "stops") if isinstance(stops, Mapping) else stops,
        site=Site.of({"media": dict(media or {}), "lengths_m": dict(lengths_m or {})}),
    )
    return Answer({"topology": machine.name, **found}, "levers.lost_time", {"found": found})


@checked
def draw(topology: str | Path | Topology, what: str = "both", *, gpus: int | None = None) -> Figure:
    """Draw a machine: "rack" with its trays, "fabric" that joins racks, or "both".

    gpus : accelerators of the fabric to draw; None takes a few racks.
    """
    from rackmodel.reporting.style import new_figure
    from rackmodel.topology import load_topology
    from rackmodel.topology.pictures import fabric_picture, rack_picture

    UnknownName.check("drawing", what, ("both", "rack", "fabric"))
    machine = load_topology(topology)
    if what == "both":
        figure, (left, right) = new_figure(14, 8, columns=2, widths=(1, 1.4))
        rack_picture(machine, ax=left)
        fabric_picture(machine, ax=right, accelerators=gpus)
        return figure
    figure, (only,) = new_figure(8, 8)
    if what == "rack":
        rack_picture(machine, ax=only)
    else:
        fabric_picture(machine, ax=only, accelerators=gpus)
    return figure
