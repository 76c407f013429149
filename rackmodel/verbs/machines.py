"""Verbs about a machine: a collective, its heat, failures, a drawing.

In:  a machine or a result.
Out: `Answer`, a figure.
Left out: many jobs at once (`studies`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel.assess.smoothing import Smoothing, edges, smoothed, told
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.fields import record
from rackmodel.verbs.answer import Answer

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from rackmodel.assess.series import Series
    from rackmodel.assess.stops import Stops
    from rackmodel.hardware import Catalog
    from rackmodel.network.arrays import Routing
    from rackmodel.result.result import Result
    from rackmodel.topology import Topology


def collective(
    topology: str | Path | Topology,
    op: str,
    bytes: float | Sequence[float],
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
    or many. gpus : accelerators, racks filled in order. algorithm : None takes what the library
    would choose. weights : (gpus, gpus), shares of what each rank sends to each, over the fullest
    rank; for an all-to-all with uneven sizes. routing, seed : of packets, as in `simulate`.

    Returns
    -------
    rows with op, bytes, gpus, algorithm, time_s, algbw_bytes_per_s, busbw_bytes_per_s, bound_s,
    bound_by.

    Raises
    ------
    InvalidInput, UnknownName, CannotRun
        For words that the operation or the machine does not take.
    """
    from rackmodel.network import Network, all_to_allv, run_collective
    from rackmodel.topology import load_topology

    machine = load_topology(topology, catalog=catalog)
    if machine.max_accelerators is not None and gpus > machine.max_accelerators:
        raise InvalidInput(
            f"gpus {gpus:,}: topology {machine.name[:60]!r} has at most"
            f" {machine.max_accelerators:,} accelerators; ask for fewer"
        )
    sizes = [float(bytes)] if isinstance(bytes, (int, float)) else list(bytes)
    if weights is None:
        timed = run_collective(
            machine, op, sizes, gpus, algorithm=algorithm, routing=routing, seed=seed
        )
        rows = [dict(row) for row in timed]
    elif op != "all-to-all":
        raise InvalidInput(f"weights: only all-to-all has uneven sizes, not {op}; leave them out")
    else:
        graph = Network.from_graph(machine.graph(gpus, bundled=True), routing=routing, seed=seed)
        rows = [all_to_allv(graph, range(gpus), weights * size) for size in sizes]
    label = f"{op}, {machine.name}, {gpus:,} accelerators"
    payload = {"topology": machine.name, "op": op, "gpus": gpus, "rows": rows}
    return Answer(payload, "network.busbw_plot", {"label": label})


def heat(
    result: Result,
    *,
    smoothing: Smoothing | Mapping[str, Any] | None = None,
    windows: bool = False,
) -> Answer:
    """Return the heat of the hottest rack by tray while a step runs, and how its power swings.

    result : of `simulate`. smoothing : what stands between the rack and the hall, fields of
    `rackmodel.assess.smoothing.Smoothing`; windows : tell its swings, smoothed or not.

    Returns
    -------
    rows, one for each tray, with watts by part, liquid and air, temperatures; heat_w, liquid_w,
    air_w, peak_w, by_part_w, coolant, air, junction_c, swing of the rack; title in words. With
    windows or smoothing also power: windows (max_w, min_w, swing_w, ramp_w_per_s over 1 ms to a
    step, as drawn and smoothed_), burned_w, burned_share, stored_j, ceiling_w, edges of a job.
    """
    from rackmodel.assess.series import series_of

    found: Any = result.assessment
    if "trays" not in found:
        assess: Any = result.assess
        site = replace(assess.keywords["site"], trays=True)
        found = partial(assess.func, **{**assess.keywords, "site": site})(result)
    payload = _hottest_rack(result.topology, found)
    if not windows and smoothing is None:
        return Answer(payload, "racks.rack_elevation", {"title": result.topology})
    how = (
        smoothing
        if isinstance(smoothing, Smoothing)
        else record(Smoothing, smoothing or {}, "smoothing")
    )
    power, series = _power_of(series_of(result), how)
    words = {"series": series, "power": power, "title": result.topology}
    return Answer({**payload, "power": power}, "power.heat_figure", words)


def _power_of(found: Series, how: Smoothing) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return figures of the hottest rack's power as drawn and smoothed, and both series."""
    name = found.hottest
    drawn = found.racks_w[name]
    after = smoothed(drawn, found.step_s, how, found.rack_accelerators[name])
    power = {
        **told(drawn, after, found.step_s),
        "smoothing": asdict(how),
        "edges": edges(float(after.power_w.mean()), found.idle_w[name], how),
    }
    return power, {"step_s": found.step_s, "drawn_w": drawn, "seen_w": after.power_w}


def _hottest_rack(topology: str, found: Mapping[str, Any]) -> dict[str, Any]:
    rack = max(found["racks"], key=lambda one: one["heat_w"])
    loop, air = rack["coolant"], rack["air"]
    ways = []
    if loop["flow_lpm"]:
        ways.append(
            f"{rack['liquid_w'] / rack['heat_w']:.0%} to liquid: {loop['flow_lpm']:,.0f} L/min of "
            f"{loop['fluid']}, {loop['supply_c']:.0f} to {loop['return_c']:.0f} degC, "
            f"{loop['drop_pa'] / 1e3:.0f} kPa, pumps {loop['pump_w']:,.0f} W, "
            f"facility water up to {loop['facility_c']:.0f} degC ({loop['water_class']})"
        )
    if rack["air_w"] > 0:
        ways.append(
            f"{rack['air_w'] / rack['heat_w']:.0%} to air: {air['flow_m3_per_s']:.2f} m3/s "
            f"({air['flow_cfm']:,.0f} CFM), {air['inlet_c']:.0f} to {air['outlet_c']:.0f} degC, "
            f"fans {rack['by_part_w'].get('fan', 0.0):,.0f} W"
        )
    return {
        "topology": topology,
        "rack_class": rack["rack"],
        "racks_alike": rack["count"],
        **{key: rack[key] for key in ("heat_w", "liquid_w", "air_w", "peak_w")},
        "by_part_w": rack["by_part_w"],
        "coolant": loop,
        "air": air,
        "junction_c": rack["junction_c"],
        "swing": rack["swing"],
        "title": "\n".join(
            [f"{topology}: {rack['heat_w'] / 1e3:,.1f} kW of heat, mean over a step", *ways]
        ),
        "rows": [row for row in found["trays"] if row["rack_class"] == rack["rack"]],
        "notes": found["notes"],
    }


def step_picture(result: Result) -> Figure:
    """Draw a step: where it goes, stages, power, HBM capacity and bandwidth, heat per rack."""
    from rackmodel.assess.series import power_over_time
    from rackmodel.reporting.step_figure import step_figure

    return step_figure(
        result.to_dict(),
        events=result.events,
        memory=result.memory_timeline,
        hbm=result.hbm_bandwidth,
        power=power_over_time(result),
    )


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
    goodput, mtbf_s, interval_s ...; rows, one for each part that stops a job; domains, one for
    each number of spares. See `rackmodel.assess.availability`.
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
    return Answer({"topology": machine.name, **found})


def draw(topology: str | Path | Topology, what: str = "both", *, gpus: int | None = None) -> Figure:
    """Draw a machine: "rack" with its trays, "fabric" that joins racks, or "both".

    gpus : accelerators of the fabric to draw; None takes a few racks.
    """
    from rackmodel.reporting.style import new_figure
    from rackmodel.topology import load_topology
    from rackmodel.topology.pictures import fabric_picture, rack_picture

    if what not in ("both", "rack", "fabric"):
        raise UnknownName.among("drawing", what, ("both", "rack", "fabric"))
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
