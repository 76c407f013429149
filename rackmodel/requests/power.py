"""Power over time of the racks that serve, from what their workers are busy with.

In:  a run, a machine, its site.
Out: `power_over_time`: watts of each rack and of the hall.
Left out: swings within a step (`assess.series` has them for training).

A worker that runs a decode step, or a prompt, draws what the assessment of such a step alone says;
one that waits holds its weights and idles. In a step that runs both, prompts have what they add.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rackmodel.assess.chassis import chassis_of
from rackmodel.assess.rack_power import idle_chassis_w
from rackmodel.assess.site import GENERIC_CHASSIS, Site
from rackmodel.columns import Floats
from rackmodel.hardware import Catalog
from rackmodel.requests.cluster import SHOWN
from rackmodel.requests.run import Run
from rackmodel.result.facts import placement_of
from rackmodel.result.records import PlacementRecord
from rackmodel.serving.outcome import ServingResult
from rackmodel.serving.run import serve_job
from rackmodel.serving.site import assess_serving
from rackmodel.topology import Topology


@dataclass(frozen=True, kw_only=True)
class Power:
    """Watts at the plugs of each rack, and of all with the fabric between them.

    time_s : begin of each bin. accelerator_w : a rack's power over its accelerators in use while
    they idle, decode, run prompts. placement : of the accelerators in use.
    """

    time_s: Floats
    racks_w: tuple[Floats, ...]
    hall_w: Floats
    accelerator_w: Mapping[str, float]
    placement: PlacementRecord


def power_over_time(run: Run, machine: Topology, catalog: Catalog, site: Site) -> Power:
    """Return the power of racks and hall in the bins of a run."""
    job, levels = run.job, run.cluster.levels
    whole = serve_job(machine, job, catalog=catalog, site=site, steps=run.steps)
    each, fabric_w = _states(whole, machine, catalog, site)
    means = levels.means()
    busy = np.clip(means[:, SHOWN:], 0.0, 1.0).reshape(len(means), -1, 2)
    if run.alike > 1:
        busy = np.repeat(busy, run.alike, axis=1)
    prefill = job.prefill.gpus if job.prefill is not None else 0
    first = job.prefill_gpus // prefill if prefill else 0
    prompts = [(n, prefill) for n in range(first)]
    answers = [(n, job.worker.gpus) for n in range(first, busy.shape[1])]
    order = answers + prompts if job.begins[0] else prompts + answers
    owner = np.repeat([n for n, _ in order], [size for _, size in order])
    size = max(1, machine.rack_accelerators)
    racks = []
    for begin in range(0, len(owner), size):
        inside = np.bincount(owner[begin : begin + size], minlength=busy.shape[1])
        share = busy * inside[None, :, None]
        idle = inside.sum() * each["idle"]
        racks.append(
            idle
            + share[:, :, 0].sum(axis=1) * (each["decode"] - each["idle"])
            + share[:, :, 1].sum(axis=1) * (each["prompts"] - each["idle"])
        )
    return Power(
        time_s=np.arange(len(means), dtype=np.float64) * levels.bin_s,
        racks_w=tuple(racks),
        hall_w=np.sum(racks, axis=0) + fabric_w,
        accelerator_w=each,
        placement=placement_of(whole.decode.rank_map, job.decode_gpus, job.prefill_gpus),
    )


def _states(
    whole: ServingResult, machine: Topology, catalog: Catalog, site: Site
) -> tuple[dict[str, float], float]:
    """Return a rack's power per accelerator by what it does, and the power of the fabric."""
    chassis = site.at(chassis_of(catalog, machine.chassis or GENERIC_CHASSIS))
    found: dict[str, float] = {}
    fabric_w = 0.0
    for name, step in (("decode", whole.decode), ("prompts", whole.prompt)):
        alone = replace(
            whole,
            job=whole.job.replace(prefill=None, prefill_gpus=0, gpus=int(step.rank_count.sum())),
            decode=step,
            steady=replace(whole.steady, decode_s=step.step_s, mixed=0.0, mixed_s=step.step_s),
        )
        told = assess_serving(alone, machine, catalog, site)
        used = math.fsum(rack["count"] * rack["accelerators"] for rack in told["racks"])
        count = math.fsum(rack["count"] * rack["chassis"] for rack in told["racks"])
        found["idle"] = count * idle_chassis_w(chassis, whole.accelerator) / used
        found[name] = told["power"]["racks_w"] / used
        fabric_w = max(fabric_w, told["power"]["fabric_w"])
    return found, fabric_w
