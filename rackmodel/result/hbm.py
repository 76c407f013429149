"""HBM over time: when each rank class runs which pass, and so what it holds.

In:  a simulated step.
Out: one frame of HBM by kind and time for all rank classes, and its peaks.
Left out: how many bytes a pass keeps (`workload.memory`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np

from rackmodel.annotations import DataFrame, Series
from rackmodel.columns import Floats, Ints
from rackmodel.engine.step import Step
from rackmodel.result.records import HbmRecord
from rackmodel.workload import Action, Job, Segment, memory_timeline, peak_memory, rank_actions
from rackmodel.workload.memory import KINDS
from rackmodel.workload.schedules.schedule import schedule_of

Bytes = TypeVar("Bytes", float, Floats, "Series[float]")


def hbm_record(
    used: Iterable[Mapping[str, float]], job: Job, capacity_bytes: float, busy: float
) -> HbmRecord:
    """Return what is said of HBM; used : by kind, of each rank; busy : its bandwidth, 0 to 1."""
    fullest = max(used, key=lambda kinds: sum(kinds.values()))
    found: HbmRecord = {
        "capacity_bytes": capacity_bytes,
        "used_bytes": {kind: float(size) for kind, size in fullest.items()},
        "bandwidth_utilisation": busy,
    }
    if job.plan.recompute != "none":
        kept = job.replace(recompute="none", recompute_modules=(), recompute_layers=0)
        found["without_recompute_bytes"] = float(sum(peak_memory(kept)[1].values()))
    if job.plan.offload:
        held = job.replace(offload=())
        found["without_offload_bytes"] = float(sum(peak_memory(held)[1].values()))
    return found


def passes(step: Step, number: int) -> list[tuple[Action, float, float]]:
    """Return the passes of a rank class with their start and end, in order. [s]"""
    stage = int(step.rank_stage[number])
    program, splice = step.programs[stage], step.splice_of(number)
    segments = [i for i, item in enumerate(program.items) if isinstance(item, Segment)]
    directions = schedule_of(step.job.plan.order).directions  # each counts its own
    batches = (max(program.micro_batches) + 1) * directions
    # Segments stand in the program in the schedule's order, one for each of its passes.
    actions = dict(zip(segments, rank_actions(step.job, stage, batches), strict=True))
    spans: dict[int, tuple[float, float]] = {}
    for entry in step.logs[number]:
        if entry.item in actions and entry.kind != "async":
            start, end = spans.get(entry.item, (entry.start_s, entry.end_s))
            spans[entry.item] = (min(start, entry.start_s), max(end, entry.end_s))
    timed = [(actions[item], *span) for item, span in spans.items()]
    if splice is None:
        return timed
    begin, at = splice.at_s - splice.period_s, splice.at_s * (1 - 1e-12)
    before = [one for one in timed if one[1] < at]
    again = [one for one in before if one[1] >= begin * (1 - 1e-12)]
    out = list(before)
    for turn in range(1, splice.times + 1):
        shift = turn * splice.period_s
        out += [(action, start + shift, end + shift) for action, start, end in again]
    shift = splice.added_s
    return out + [(a, start + shift, end + shift) for a, start, end in timed if start >= at]


def hbm_timeline(step: Step) -> DataFrame:
    """Return HBM by kind over the step: one row a change of each rank class.

    Columns rank_class, stage, time_s, the kinds of `workload.KINDS` and total. [s, bytes]
    """
    import pandas as pd

    parts = []
    for number, stage in enumerate(step.rank_stage.tolist()):
        frame = memory_timeline(step.job, passes(step, number), stage)
        frame.insert(0, "stage", stage)
        frame.insert(0, "rank_class", number)
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def hbm_peaks(timeline: DataFrame) -> DataFrame:
    """Return HBM at its peak: columns rank_class, stage, kind, bytes, peak_s (when that is)."""
    rows = timeline.loc[timeline.groupby("rank_class")["total"].idxmax()]
    return (
        rows.rename(columns={"time_s": "peak_s"})
        .melt(
            id_vars=["rank_class", "stage", "peak_s"],
            value_vars=list(KINDS),
            var_name="kind",
            value_name="bytes",
        )[["rank_class", "stage", "kind", "bytes", "peak_s"]]
        .sort_values("rank_class", kind="stable", ignore_index=True)
    )


def hbm_moved(hbm_bytes: Bytes, wire_bytes: Bytes) -> Bytes:
    """Return the bytes that HBM moves for kernels and traffic.

    A byte on the wire is read where it is sent from and written where it arrives.
    """
    return hbm_bytes + 2 * wire_bytes


def hbm_rates(operations: DataFrame, rank_count: Ints, hbm_bytes_per_s: float) -> DataFrame:
    """Return HBM bandwidth over the step; hbm_bytes_per_s : of the part.

    Columns as of `Result.hbm_bandwidth`. operations : one row per operation. rank_count : ranks of
    each rank class.
    """
    moved = hbm_moved(operations["hbm_bytes"], operations["wire_bytes"])
    busy = (moved > 0) & (operations["end_s"] > operations["start_s"])
    rows = operations[busy]
    rate = moved[busy] / (rows["end_s"] - rows["start_s"])
    return rows[["rank_class", "start_s", "end_s"]].assign(
        count=rank_count[rows["rank_class"]],
        bytes_per_s=rate,
        utilisation=np.minimum(rate / hbm_bytes_per_s, 1.0),
    )
