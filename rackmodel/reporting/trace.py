"""The timeline as a trace that Perfetto, chrome://tracing and HolisticTraceAnalysis open.

In:  the events or operations frame of a step (rank_class, stream, kind, axis, name, start_s,
     end_s, ...), and HBM by kind over time.
Out: Chrome/Kineto JSON: one process per rank class, one thread per stream, times in us from the
     host's first call; or one file per rank class in a directory, as HolisticTraceAnalysis wants.
Left out: power over time.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rackmodel.annotations import DataFrame, Series
from rackmodel.files import write_whole

HOST = 1  # thread of the host in every process; Perfetto takes 0 for the thread numbered as its pid
LAUNCH_NS = 4_000  # of a call of the host: assumed; it only draws
QUEUE = 1024  # calls that wait in a CUDA stream at most: assumed; it only draws
_COLUMNS = (
    "rank_class",
    "stream",
    "kind",
    "axis",
    "name",
    "phase",
    "start_s",
    "end_s",
)
_ARGUMENTS = ("micro_batch", "stage", "flops", "hbm_bytes", "wire_bytes", "precision", "tier")


def write_trace(
    events: DataFrame,
    path: Path,
    *,
    compress: bool = False,
    world_size: int | None = None,
    memory: DataFrame | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write all rank classes to one file.

    memory : columns rank_class, time_s, one for each kind of HBM in bytes, total; drawn as a
    counter of each process. facts : what `rackmodel replay` has to know beside the events.

    Kernels and collectives are GPU events, with names that HolisticTraceAnalysis tells apart
    (those of collectives begin with "nccl"). Waits are drawn
    but are no kernels: the stream is idle.
    """
    classes = sorted(events["rank_class"].unique().tolist())
    calls = _launch_times(events)
    text = _text(events, classes[0], world_size or len(classes), calls, memory, facts)
    path.write_bytes(_zipped(text) if compress else text)


def write_rank_traces(
    events: DataFrame,
    folder: Path,
    *,
    world_size: int | None = None,
    facts: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write one compressed file per rank class to `folder`, named rank-N.json.gz.

    N counts classes, so that a reader that takes each file for a rank shows each kind of rank once.
    """
    paths, calls = [], _launch_times(events)
    for rank_class in sorted(events["rank_class"].unique().tolist()):
        path = folder / f"rank-{rank_class}.json.gz"
        mine = events[events["rank_class"] == rank_class]
        write_whole(
            path, _zipped(_text(mine, rank_class, world_size or 1, calls, None, facts)), "--trace"
        )
        paths.append(path)
    return paths


def _zipped(text: bytes) -> bytes:
    """Compress without a time stamp in the heading: equal input gives equal bytes."""
    return gzip.compress(text, compresslevel=6, mtime=0)


def _text(
    events: DataFrame,
    rank: int,
    world_size: int,
    calls: _Calls,
    memory: DataFrame | None,
    facts: Mapping[str, Any] | None,
) -> bytes:
    """Return the whole trace, one event a line."""
    heading: dict[str, Any] = {
        "schemaVersion": 1,
        "distributedInfo": {
            "backend": "nccl",
            "rank": int(rank),
            "world_size": int(world_size),
        },
        "displayTimeUnit": "ms",
        "traceName": "rackmodel",
        **({} if facts is None else {"rackmodel": facts}),
    }
    step_s = 0.0 if facts is None else float(facts["step_s"])
    counters = () if memory is None else _counters(memory, calls.lead_ns)
    entries = itertools.chain(_entries(events, step_s, calls), counters)
    lines = ",\n".join(
        json.dumps(event, separators=(",", ":"), ensure_ascii=False) for event in entries
    )
    head = json.dumps(heading)[:-1]  # with blanks: HolisticTraceAnalysis looks for `"rank": N`
    return f'{head},"traceEvents":[\n{lines}\n]}}\n'.encode()


def _entries(events: DataFrame, step_s: float, calls: _Calls) -> Iterator[dict[str, Any]]:
    """Yield names of processes and threads, the step, then every event."""
    correlation = 0
    for rank_class, mine in events.groupby("rank_class", sort=True):
        pid = int(str(rank_class))
        stage = int(mine["stage"].iloc[0]) if "stage" in mine else 0
        yield _name("process_name", pid, HOST, f"rank class {pid} (pipeline stage {stage})")
        yield {**_name("process_sort_index", pid, HOST, ""), "args": {"sort_index": pid}}
        yield _name("thread_name", pid, HOST, "host")
        streams = _threads(mine)
        for stream, tid in streams.items():
            yield _name("thread_name", pid, tid, f"stream {tid} ({stream})")
        rows = list(_rows(mine, calls.lead_ns))
        yield from _steps(pid, rows, calls.at_ns[pid], round(step_s * 1e9) + calls.lead_ns)
        launched = iter(calls.at_ns[pid])
        for row in rows:
            correlation += 1
            yield _event(row, pid, streams[row["stream"]], correlation)
            if row["kind"] != "wait":
                yield _launch(next(launched), pid, correlation)


class _Calls(NamedTuple):
    """When the host calls each kernel, from its first call on. [ns]

    at_ns : {rank class: times, in the kernels' order}. lead_ns : when the step's first event is.
    """

    at_ns: dict[int, list[int]]
    lead_ns: int


def _launch_times(events: DataFrame) -> _Calls:
    """Return when the host calls each kernel, and how far that leads.

    The host calls one after another, as far ahead as the queue lets it, and none late. Times are
    whole nanoseconds of at least 0: Perfetto drops an event before 0 and one that overlaps another.
    """
    found = {}
    for rank_class, mine in events.groupby("rank_class", sort=True):
        begin = _whole_ns(mine["start_s"])[(mine["kind"] != "wait").to_numpy()]
        spaced = np.arange(len(begin)) * LAUNCH_NS
        after = np.concatenate([begin[:1] - LAUNCH_NS * QUEUE, begin])
        room = after[np.maximum(np.arange(len(begin)) - QUEUE, 0)] if len(begin) else begin
        early = np.maximum.accumulate(room - spaced) + spaced
        late = np.minimum.accumulate((begin - spaced)[::-1])[::-1] + spaced - LAUNCH_NS
        found[int(str(rank_class))] = np.minimum(early, late)
    lead_ns = -min([0, *(int(at[0]) for at in found.values() if len(at))])
    return _Calls({one: (at + lead_ns).tolist() for one, at in found.items()}, lead_ns)


def _whole_ns(seconds: Series) -> np.ndarray:
    """Return times in whole nanoseconds."""
    return (seconds.to_numpy() * 1e9).round().astype(np.int64)


def _counters(memory: DataFrame, lead_ns: int) -> Iterator[dict[str, Any]]:
    """Yield HBM by kind in GB as a stacked counter of each process."""
    kinds = [c for c in memory if c not in ("rank_class", "stage", "time_s", "total")]
    columns = {name: memory[name].to_numpy() for name in (*kinds, "rank_class", "time_s")}
    for row in range(len(memory)):
        yield {
            "ph": "C",
            "name": "HBM (GB)",
            "pid": int(columns["rank_class"][row]),
            "tid": HOST,
            "ts": (round(float(columns["time_s"][row]) * 1e9) + lead_ns) / 1e3,
            "args": {kind: round(float(columns[kind][row]) / 1e9, 3) for kind in kinds},
        }


def _threads(events: DataFrame) -> dict[str, int]:
    """Return {stream: thread}, compute first."""
    names = sorted(
        events["stream"].astype(str).unique(), key=lambda name: (name != "compute", name)
    )
    return {name: 7 + index for index, name in enumerate(names)}


def _rows(events: DataFrame, lead_ns: int) -> Iterator[dict[str, Any]]:
    """Yield rows as plain dicts, times as whole nanoseconds so that neighbours don't overlap."""
    plain = {
        name: events[name].astype(object).to_numpy()
        for name in (*_COLUMNS, *_ARGUMENTS)
        if name in events
    }
    begin = (_whole_ns(events["start_s"]) + lead_ns).tolist()
    end = (_whole_ns(events["end_s"]) + lead_ns).tolist()
    for index in range(len(events)):
        row = {name: values[index] for name, values in plain.items()}
        row["begin_ns"], row["end_ns"] = begin[index], end[index]
        yield row


def _name(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": {"name": name}}


def _steps(
    pid: int, rows: Sequence[Mapping[str, Any]], calls: Sequence[int], end_ns: int
) -> Iterator[dict[str, Any]]:
    """Yield the step on the host, and an empty one that closes it: readers drop the last step.

    calls : of the host. [ns] end_ns : where the step ends, if that is after the last event.
    """
    begin = min([*calls[:1], *(row["begin_ns"] for row in rows)])
    end = max([end_ns, *(row["end_ns"] for row in rows)])
    for number, (start_ns, long_ns) in enumerate(((begin, end - begin), (end, 1000)), 1):
        yield {
            "ph": "X",
            "cat": "user_annotation",
            "name": f"ProfilerStep#{number}",
            "pid": pid,
            "tid": HOST,
            "ts": start_ns / 1e3,
            "dur": long_ns / 1e3,
            "args": {},
        }


def _event(row: Mapping[str, Any], pid: int, tid: int, correlation: int) -> dict[str, Any]:
    arguments: dict[str, Any] = {"phase": str(row["phase"])}
    for name in _ARGUMENTS:
        value = row.get(name)
        if value is not None and value == value and value != 0 and value != "":
            arguments[name] = value.item() if hasattr(value, "item") else value
    moves = row["kind"] in ("collective", "send") and str(row["stream"]) == "compute"
    if moves and not row.get("wire_bytes", 1.0):
        arguments["exposed"] = 1  # kernels wait here for bytes that another stream moves
    if row["kind"] != "wait":
        arguments |= {"stream": tid, "correlation": correlation, "device": pid}
    return {
        "ph": "X",
        "cat": "wait" if row["kind"] == "wait" else "kernel",
        "name": _label(row),
        "pid": pid,
        "tid": tid,
        "ts": row["begin_ns"] / 1e3,
        "dur": (row["end_ns"] - row["begin_ns"]) / 1e3,
        "args": arguments,
    }


def _launch(at_ns: int, pid: int, correlation: int) -> dict[str, Any]:
    """Return the host's side of a kernel: without it, HTA knows no launch to tie the kernel to."""
    return {
        "ph": "X",
        "cat": "cuda_runtime",
        "name": "cudaLaunchKernel",
        "pid": pid,
        "tid": HOST,
        "ts": at_ns / 1e3,
        "dur": LAUNCH_NS / 1e3,
        "args": {"correlation": correlation},
    }


def _label(row: Mapping[str, Any]) -> str:
    """Return the name of an event: what runs, or which group waits or talks."""
    name, axis = str(row["name"] or row["phase"]), str(row["axis"] or "")
    match row["kind"]:
        case "collective":
            return f"ncclDevKernel {axis} {name}".strip()
        case "send":
            return f"ncclDevKernel_SendRecv {axis} {name}".strip()
        case "wait":
            return f"wait for {axis or name}"
        case _:
            return name
