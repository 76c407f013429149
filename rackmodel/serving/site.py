"""Power, heat and cost of a job that is served, by the models that assess training.

In:  a serving result, its machine and site.
Out: racks, energy per token, tokens per second and megawatt, dollars per million tokens.
Left out: swings between prompts and answers; the clock under a power cap.

The mean step of a worker is assessed: a decode step and the prompts that come with it. Workers that
run prompts only stand apart from those that decode (`ServingJob.begins`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rackmodel.assess.site import GENERIC_CHASSIS, Site
from rackmodel.assess.step import StepFrames, assess_step
from rackmodel.columns import Columns, joined
from rackmodel.engine.step import Step
from rackmodel.hardware import Catalog
from rackmodel.hardware.power_model import peak_flops_per_s
from rackmodel.result.link_usage import rack_classes, rack_columns
from rackmodel.result.timeline import stretches
from rackmodel.serving.outcome import ServingResult, kernels_of
from rackmodel.topology import Topology
from rackmodel.workload.operations import PRODUCTS
from rackmodel.workload.serving.job import ServingJob
from rackmodel.workload.serving.memory import host_bytes

SCALED = ("start_s", "end_s", "flops", "hbm_bytes", "bare_hbm_s", "wire_bytes")


def assess_serving(
    result: ServingResult, machine: Topology, catalog: Catalog, site: Site
) -> dict[str, Any]:
    """Return racks, energy_j_per_token, tokens_per_s_per_mw, power, cost and notes.

    power also has accelerators_w, of all accelerators of the racks, idle ones included;
    accelerator_w is that of one that works.
    """
    job, tokens_per_s = result.job, result.output_tokens_per_s
    timeline, counts, racks, length = _frames(result, max(1, machine.rack_accelerators))
    step = StepFrames(
        timeline=timeline,
        rank_counts=counts,
        racks=racks,
        accelerators=job.gpus,
        step_s=length,
        tokens=length * tokens_per_s,
        units_held=held_share(result),
        work="serving",
    )
    found: dict[str, Any] = dict(
        assess_step(
            step,
            result.accelerator,
            machine.chassis or GENERIC_CHASSIS,
            machine.parts(result.decode.rank_map.slots(job.gpus)),
            catalog,
            site,
        )
    )
    parts = (rack["count"] * rack["by_part_w"].get("accelerator", 0.0) for rack in found["racks"])
    return {
        "racks": found["racks"],
        "energy_j_per_token": found["energy_j_per_token"],
        "tokens_per_s_per_mw": found["power"]["tokens_per_s_per_mw"],
        "power": {**found["power"], "accelerators_w": math.fsum(parts)},
        "cost": found["cost"],
        "notes": found["notes"],
    }


def held_share(result: ServingResult) -> float:
    """Return the share of the kernels' time in which HBM or matrix units do all that they can.

    Kernels of few rows mostly wait for their own latency, and hold no unit meanwhile.
    """
    state, times = result.steady, result.kernels
    part = times.accelerator
    shares = [(result.decode, 1.0)]
    if result.job.prefill is None:
        extra = max(0.0, state.mixed_s - state.decode_s)
        shares.append((result.prompt, state.mixed * extra / result.prompt.step_s))
    useful = whole = 0.0
    for step, share in shares:
        for kernel, count in kernels_of(step).items():
            peak = peak_flops_per_s(part, kernel.precision)[0]
            seconds = times.kernel_s(kernel)
            moved = times.traffic.moved_bytes(kernel)
            best = max(moved / part.hbm_bytes_per_s, kernel.flops / peak)
            useful += share * count * min(seconds, best)
            whole += share * count * seconds
    return useful / whole


def padded(rows: float, tile: float) -> float:
    """Return the rows that tiles hold over those of a product.

    >>> padded(8, 64.0), padded(65, 64.0) * 65, padded(0.5, 64.0)
    (8.0, 128.0, 64.0)
    """
    rows = max(1.0, rows)
    return math.ceil(rows / tile - 1e-9) * tile / rows


def padding(step: Step, rows: float) -> dict[str, float]:
    """Return FLOPs that matrix units do over those that are asked, by number format.

    rows : that a unit works on at once; products of fewer are padded to them, each expert's apart.
    """
    asked: dict[str, float] = {}
    done: dict[str, float] = {}
    for kernel, count in kernels_of(step).items():
        ratio = 1.0
        if kernel.family in PRODUCTS:
            groups = kernel.shape[3] if kernel.family == "grouped_gemm" else 1
            ratio = padded(kernel.shape[0] / groups, rows)
        asked[kernel.precision] = asked.get(kernel.precision, 0.0) + count * kernel.flops
        done[kernel.precision] = done.get(kernel.precision, 0.0) + count * kernel.flops * ratio
    return {name: done[name] / flops if flops else 1.0 for name, flops in asked.items()}


def _frames(result: ServingResult, rack: int) -> tuple[Columns, list[int], Columns, float]:
    """Return timeline, ranks of each class and racks of a mean step, and its seconds."""
    job, state = result.job, result.steady
    decode, prompt = result.decode, result.prompt
    copied = job.worker.pp * host_bytes(job, job.worker)
    rows, count = [_rows(result, decode, 1.0, 0.0, 0, copied)], decode.rank_count.tolist()
    # With pipeline stages a simulated step holds as many batches as there are stages.
    cycle_s = max(state.decode_s, decode.step_s)
    racks = rack_columns(decode, rack)
    if job.prefill is None:
        length = cycle_s + state.mixed * max(0.0, state.mixed_s - state.decode_s)
        share = (length - cycle_s) / prompt.step_s
        if share > 0:
            rows.append(_rows(result, prompt, share, cycle_s, 0))
    else:
        length = cycle_s
        at_once = job.prefill_gpus / job.prefill.tp * max(1.0, state.prompt.prompts)
        busy = min(1.0, state.requests_per_s * state.prompt_s / at_once)
        copied = job.prefill.pp * host_bytes(job, job.prefill)
        share = busy * length / max(prompt.step_s, job.prefill.pp * result.prompt_copied_s)
        rows.append(_rows(result, prompt, share, 0.0, len(count), copied))
        racks = _racks_apart(job, prompt, decode, rack)
        count += prompt.rank_count.tolist()
    return joined(rows), count, racks, length


def _racks_apart(job: ServingJob, prompt: Step, decode: Step, rack: int) -> Columns:
    """Return which rank classes stand in racks; classes of prompts come after those of decode.

    Workers that come second stand where the first leave room, spares of their racks before others.
    """
    placed: list[tuple[np.ndarray, np.ndarray]] = []
    prompts, answers = (prompt, len(decode.rank_count)), (decode, 0)
    taken = np.zeros(0, dtype=np.int64)
    for step, first_class in (answers, prompts) if job.begins[0] else (prompts, answers):
        ranks = int(step.rank_count.sum())
        classes = np.resize(step.rank_class, ranks)  # replicas follow one another
        if not np.array_equal(np.bincount(classes), step.rank_count):
            classes = np.repeat(np.arange(len(step.rank_count)), step.rank_count)
        spots = step.rank_map.accelerators(ranks)
        if len(taken):
            spots = np.setdiff1d(np.arange(taken.max() + 1 + ranks), taken)[:ranks]
        placed.append((spots, first_class + classes))
        taken = spots
    where, classes = (np.concatenate(column) for column in zip(*placed, strict=True))
    return rack_classes(where // rack, classes, np.ones(len(where)))


def _rows(
    result: ServingResult,
    step: Step,
    share: float,
    at: float,
    first_class: int,
    copied: float = 0.0,
) -> Columns:
    """Return what happens in a step, times and work scaled by a share, from an instant on.

    FLOPs are those that matrix units do, padded to their rows. copied : bytes that come to each
    rank from host memory meanwhile; over links an exchange of as many bytes sends and takes, twice
    that, through HBM at both ends.
    """
    table = stretches(step, result.kernels.traffic)
    form = padding(step, result.accelerator.power.matrix_rows)
    formats = table["precision"]
    more = np.array([*(form.get(name, 1.0) for name in formats.names), 1.0])[formats.codes]
    table["flops"] = table["flops"] * more
    spans = table["end_s"] - table["start_s"]
    came = copied * spans / np.bincount(table["rank_class"], spans)[table["rank_class"]]
    table["wire_bytes"] = table["wire_bytes"] + came / 2.0
    for name in SCALED:
        table[name] = table[name] * share
    for name in ("start_s", "end_s"):
        table[name] = table[name] + at
    table["rank_class"] = table["rank_class"] + first_class
    return table
