"""A hall over time: each job alone and with the others, and what its racks draw.

In:  a spec.
Out: `Hall`, with everything that `rackmodel hall --json` prints.
Left out: how things look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from rackmodel import hardware
from rackmodel.annotations import Axes, DataFrame, Figure
from rackmodel.assess.chassis import chassis_of
from rackmodel.assess.rack_power import idle_chassis_w
from rackmodel.assess.site import GENERIC_CHASSIS, Site
from rackmodel.assess.step import frames_of, powered
from rackmodel.columns import Floats
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.tenants import Stay, simulate_tenants
from rackmodel.halls.occupants import Occupant, horizon_s, occupant_of, turns
from rackmodel.halls.parts import means
from rackmodel.halls.spec import HallSpec
from rackmodel.hardware import Catalog
from rackmodel.hardware.identity import made_with
from rackmodel.result.hall_records import HallRecord
from rackmodel.result.link_usage import rack_columns
from rackmodel.result.notebook import Framed, drawn
from rackmodel.result.timeline import stretches
from rackmodel.serving.outcome import ServingResult
from rackmodel.serving.steps import Slowdowns
from rackmodel.stages import tell
from rackmodel.topology import Topology

BINS = 200  # of the time that all jobs run
MOST_TURNS = 5000  # steps of one job
UNCHANGED = 1.0 + 1e-9  # a slowdown up to this is none
LEAST_WINDOW = 0.95  # of the time of the slowest job, that all jobs run


@dataclass(frozen=True, kw_only=True, repr=False)
class Hall(Framed):
    """What became of the jobs of a hall."""

    payload: Mapping[str, Any]

    @property
    def frame(self) -> DataFrame:
        """The jobs, one row each."""
        import pandas as pd

        rows = [{k: v for k, v in row.items() if k != "steps"} for row in self.payload["rows"]]
        return pd.DataFrame(rows)

    @property
    def over_time(self) -> DataFrame:
        """The power of racks and hall, one row for each bin of time."""
        import pandas as pd

        racks = {f"rack_{row['rack']}_w": row["power_w"] for row in self.payload["racks"]}
        return pd.DataFrame({**self.payload["over_time"], **racks})

    def plot(self, ax: Axes | None = None) -> Axes | Figure:
        """Draw the steps of the jobs and the power of the hall; on `ax`, the steps alone."""
        if ax is None:
            return cast("Figure", drawn("halls.hall_figure", self.payload))
        return cast("Axes", drawn("halls.slowdowns", self.payload, ax))

    def to_dict(self) -> HallRecord:
        """Return everything that `rackmodel hall --json` prints; SI units."""
        return cast(HallRecord, dict(self.payload))

    def __repr__(self) -> str:
        """Say who is slowed by how much."""
        told = ", ".join(f"{row['job']} {row['slowdown']:.3g}x" for row in self.payload["rows"])
        return f"<Hall: {self.payload['topology']}: {told}>"


def run_hall(
    machine: Topology,
    spec: HallSpec,
    *,
    catalog: Catalog | None = None,
    site: Site | None = None,
    options: EngineOptions | None = None,
) -> Hall:
    """Simulate the jobs of a hall, each by itself and all at once.

    Raises
    ------
    InvalidInput, UnknownName, CannotRun
        If a job can't run on its racks, with its name.
    """
    options = options or EngineOptions()
    parts = catalog or hardware.load_catalog()
    jobs = []
    for number, job in enumerate(spec.jobs):
        tell("jobs", number, len(spec.jobs))
        jobs.append(occupant_of(machine, job, catalog, options))
    tell("jobs", len(jobs), len(jobs))
    tell("all at once")
    counts, together = _at_once(machine, jobs, spec.steps, options)
    alone = [
        _stays(machine, [one], [count], options)[0] for one, count in zip(jobs, counts, strict=True)
    ]
    window_s = min(stay.ends_s[-1] for stays in together for stay in stays)
    rows = [
        _row(one, apart, stays, window_s)
        for one, apart, stays in zip(jobs, alone, together, strict=True)
    ]
    for number, row in enumerate(rows):
        tell(f"{row['job']} beside each other one")
        apart = alone[number]
        row["slowed_by"] = _culprits(machine, jobs, counts, number, row, apart, options)
    racks = _racks(machine, jobs, together, rows, window_s, parts, site or Site())
    watts = np.sum([np.asarray(rack["power_w"]) for rack in racks], axis=0)
    return Hall(
        payload={
            "topology": machine.name,
            "window_s": window_s,
            "rows": rows,
            "racks": racks,
            "over_time": {
                "time_s": (np.arange(BINS) * (window_s / BINS)).tolist(),
                "racks_w": watts.tolist(),
            },
            "racks_mean_w": float(watts.mean()),
            "racks_peak_w": float(watts.max()),
            **made_with(catalog),
        }
    )


def _at_once(
    machine: Topology, jobs: Sequence[Occupant], steps: int, options: EngineOptions
) -> tuple[list[list[int]], list[list[Stay]]]:
    """Simulate jobs at once for so many of the longest steps; return the steps of each part too."""
    counts = turns(jobs, horizon_s(jobs, steps), MOST_TURNS)
    together = _stays(machine, jobs, counts, options)
    ends = [
        stay.ends_s[-1]
        for one, stays in zip(jobs, together, strict=True)
        for part, stay in zip(one.parts, stays, strict=True)
        if part.name != "caches"  # of which a round may last beyond the others
    ]
    last_s = max(ends)
    if min(ends) >= LEAST_WINDOW * last_s:
        return counts, together
    # who is not slowed ran too few steps: all go on until those who are have done theirs
    longer = turns(jobs, last_s, MOST_TURNS)
    counts = [
        [
            max(count, math.ceil(count * last_s / stay.ends_s[-1] - 1e-9) if more > count else 1)
            for count, stay, more in zip(*each, strict=True)
        ]
        for each in zip(counts, together, longer, strict=True)
    ]
    return counts, _stays(machine, jobs, counts, options)


def _stays(
    machine: Topology,
    jobs: Sequence[Occupant],
    counts: Sequence[Sequence[int]],
    options: EngineOptions,
) -> list[list[Stay]]:
    """Simulate jobs at once, so many steps of each of their parts; return the stays of each job."""
    tenants = [part.tenant for one in jobs for part in one.parts]
    steps = [count for each in counts for count in each]
    found = iter(simulate_tenants(machine, tenants, steps, options))
    return [[next(found) for _ in one.parts] for one in jobs]


def _phases(
    one: Occupant, apart: Sequence[Stay], stays: Sequence[Stay], window_s: float
) -> dict[str, dict[str, float]]:
    """Return what each part of a job takes alone and beside the others, while all still run."""
    inside = [part.inside(stay, window_s) for part, stay in zip(one.parts, stays, strict=True)]
    before, after = means(one.parts, apart, inside), means(one.parts, stays, inside)
    return {
        name: {
            "alone_s": alone_s,
            "step_s": after[name],
            "slowdown": after[name] / alone_s if after[name] != alone_s else 1.0,
        }
        for name, alone_s in before.items()
    }


def _row(
    one: Occupant, apart: Sequence[Stay], stays: Sequence[Stay], window_s: float
) -> dict[str, Any]:
    """Return how a job fares: of the steps that end while all others still run."""
    phases = _phases(one, apart, stays, window_s)
    part = one.parts[0]
    inside = part.inside(stays[0], window_s)
    before, after = (
        [length - part.pause_s for length in stay.steps_s[:inside]] for stay in (apart[0], stays[0])
    )
    steps = [
        {"end_s": end, "alone_s": alone_s, "step_s": step_s, "slowdown": step_s / alone_s}
        for end, alone_s, step_s in zip(stays[0].ends_s[:inside], before, after, strict=True)
    ]
    mean, served = phases["steps"], isinstance(one.result, ServingResult)
    late_s = mean["step_s"] - mean["alone_s"]
    tokens_per_s = one.tokens / one.step_s
    found: dict[str, Any] = {
        "job": one.spec.name,
        "kind": "serving" if served else "training",
        "racks": list(one.spec.racks),
        "gpus": one.gpus,
        "steps_run": inside,
        "step_alone_s": mean["alone_s"],
        "step_s": mean["step_s"],
        "slowdown": mean["slowdown"],
        "tokens_per_s_alone": tokens_per_s,
        "tokens_per_s": tokens_per_s * one.step_s / (one.step_s + late_s),
        "steps": steps,
    }
    if isinstance(one.result, ServingResult):
        found |= _served_row(one, one.result, phases, late_s)
    return found


def _served_row(
    one: Occupant, result: ServingResult, phases: Mapping[str, Mapping[str, float]], late_s: float
) -> dict[str, Any]:
    """Return what users see of a served job, alone and beside the others."""
    decode = phases["steps"]["slowdown"]
    slower = Slowdowns(decode=decode, prompts=decode)
    found: dict[str, Any] = {
        "tpot_alone_s": result.tpot_s,
        "tpot_s": result.tpot_s + late_s / result.job.tokens_a_step,
    }
    if result.job.prefill is not None:
        prompts, caches = (phases[name]["slowdown"] for name in ("prompts", "caches"))
        slower = Slowdowns(decode=decode, prompts=prompts, caches=caches)
        state = result.steady
        found |= {"ttft_alone_s": state.ttft_s, "ttft_s": state.ttft_s, "phases": phases}
        found["tokens_per_s_alone"] = found["tokens_per_s"] = result.output_tokens_per_s
        if max(decode, prompts, caches) > UNCHANGED:
            state = one.settled(slower)
            found |= {"tpot_s": state.tpot_s, "ttft_s": state.ttft_s}
            found["tokens_per_s"] = state.requests_per_s * result.job.osl
    found["requests_alone"] = found["requests"] = one.requests(Slowdowns())
    if max(slower.decode, slower.prompts, slower.caches) > UNCHANGED:
        found["requests"] = one.requests(slower)
    return found


def _culprits(
    machine: Topology,
    jobs: Sequence[Occupant],
    counts: Sequence[Sequence[int]],
    number: int,
    row: Mapping[str, Any],
    apart: Sequence[Stay],
    options: EngineOptions,
) -> dict[str, float]:
    """Return the slowdown of a job by each single other one; none where it is not slowed.

    Of a job whose prompts run apart it is that of what is slowed most.
    """
    phases = row.get("phases", {"steps": row})
    worst = max(phase["slowdown"] for phase in phases.values())
    if worst <= UNCHANGED:
        return {}
    if len(jobs) == 2:
        return {jobs[1 - number].spec.name: worst}
    found, mine = {}, jobs[number]
    for other, one in enumerate(jobs):
        if other == number:
            continue
        stays = _stays(machine, [mine, one], [counts[number], counts[other]], options)
        window_s = min(stay.ends_s[-1] for stay in stays[1])
        window_s = min(window_s, row["steps"][-1]["end_s"])
        alone = _phases(mine, apart, stays[0], window_s)
        slowdown = max(phase["slowdown"] for phase in alone.values())
        if slowdown > UNCHANGED:
            found[one.spec.name] = slowdown
    return found


def _racks(
    machine: Topology,
    jobs: Sequence[Occupant],
    stays: Sequence[Sequence[Stay]],
    rows: Sequence[Mapping[str, Any]],
    window_s: float,
    catalog: Catalog,
    site: Site,
) -> list[dict[str, Any]]:
    """Return the power of each rack in equal bins of the time that all jobs run."""
    found = []
    for one, (stay, *_), row in zip(jobs, stays, rows, strict=True):
        if isinstance(one.result, ServingResult):
            watts = _served_w(one.result, row["slowdown"], machine, catalog, site)
        else:
            watts = _trained_w(one, stay, window_s, machine, catalog, site)
        for rack, series in zip(one.spec.racks, watts, strict=False):
            found.append(
                {
                    "rack": rack,
                    "job": one.spec.name,
                    "mean_w": float(series.mean()),
                    "peak_w": float(series.max()),
                    "power_w": series.tolist(),
                }
            )
    return sorted(found, key=lambda row: int(row["rack"]))


def _served_w(
    result: ServingResult,
    slowdown: float,
    machine: Topology,
    catalog: Catalog,
    site: Site,
) -> list[Floats]:
    """Return the power of racks that serve: their mean; what waits for links longer idles more."""
    chassis = site.at(chassis_of(catalog, machine.chassis or GENERIC_CHASSIS))
    series: list[Floats] = []
    for rack in result.assessment["racks"]:
        idle = rack["chassis"] * idle_chassis_w(chassis, result.accelerator)
        watts = idle + (rack["heat_w"] - idle) / slowdown
        series += [np.full(BINS, watts)] * max(1, round(rack["count"]))
    return series


def _trained_w(
    one: Occupant,
    stay: Stay,
    window_s: float,
    machine: Topology,
    catalog: Catalog,
    site: Site,
) -> list[Floats]:
    """Return the power of racks that train, by what their ranks did beside the other jobs."""
    result, step, size = one.result, stay.step, max(1, machine.rack_accelerators)
    assert not isinstance(result, ServingResult)
    frames = replace(
        frames_of(result),
        timeline=stretches(step, result.kernels.traffic),
        rank_counts=step.rank_count.tolist(),
        racks=rack_columns(step, size),
        step_s=step.step_s,
        tokens=one.tokens * len(stay.ends_s),
    )
    slots = step.rank_map.slots(one.gpus)
    done, _ = powered(
        frames,
        result.accelerator,
        machine.chassis or GENERIC_CHASSIS,
        machine.parts(slots),
        catalog,
        site,
    )
    by_class = {rack.rack_class: rack.hall_w for rack in done.racks}
    rack_of = step.rank_map.accelerators(len(step.rank_class)) // size
    content = np.zeros((int(rack_of.max()) + 1, len(step.rank_count)), dtype=np.int64)
    np.add.at(content, (rack_of, step.rank_class), 1)
    _, which = np.unique(content, axis=0, return_inverse=True)
    return [_binned(by_class[kind], step.step_s, window_s) for kind in which.reshape(-1).tolist()]


def _binned(watts: Floats, length_s: float, window_s: float) -> Floats:
    """Return means over equal bins of the first `window_s`; keeps the energy."""
    energy = np.concatenate(([0.0], np.cumsum(watts))) * (length_s / len(watts))
    edges = np.linspace(0.0, window_s, BINS + 1)
    kept = np.interp(edges, np.linspace(0.0, length_s, len(energy)), energy)
    return np.asarray(np.diff(kept) / (window_s / BINS))
