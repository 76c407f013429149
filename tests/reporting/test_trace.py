"""Traces: what Perfetto needs, what HolisticTraceAnalysis needs, and nothing lost."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise

import pandas as pd
import pytest

from rackmodel.reporting.trace import write_rank_traces, write_trace


@pytest.fixture
def events() -> pd.DataFrame:
    rows = []
    for rank_class in (0, 1):
        for step in range(4):
            start = 0.01 * step + 0.001 * rank_class
            rows += [
                (
                    rank_class,
                    rank_class,
                    "compute",
                    "compute",
                    "forward",
                    "",
                    "gemm",
                    start,
                    start + 0.006,
                ),
                (
                    rank_class,
                    rank_class,
                    "tp",
                    "collective",
                    "forward",
                    "tp",
                    "qkv",
                    start,
                    start + 0.002,
                ),
                (
                    rank_class,
                    rank_class,
                    "compute",
                    "wait",
                    "other",
                    "pp",
                    "",
                    start + 0.006,
                    start + 0.01,
                ),
            ]
    names = ["rank_class", "stage", "stream", "kind", "phase", "axis", "name", "start_s", "end_s"]
    frame = pd.DataFrame(rows, columns=names)
    for name in ("stream", "kind", "phase", "axis", "name"):
        frame[name] = frame[name].astype("category")
    return frame.assign(flops=1e12, hbm_bytes=1e9, wire_bytes=0.0, micro_batch=0)


def read(path):
    raw = path.read_bytes()
    return json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)


@pytest.mark.parametrize("name", ["t.json", "t.json.gz"])
def test_every_event_is_there_with_its_times(events, tmp_path, name):
    path = tmp_path / name
    write_trace(events, path, compress=name.endswith("gz"), world_size=64)
    trace = read(path)
    kernels = [e for e in trace["traceEvents"] if e.get("cat") in ("kernel", "wait")]
    assert len(kernels) == len(events)
    total_us = sum(e["dur"] for e in kernels)
    assert total_us == pytest.approx(1e6 * (events["end_s"] - events["start_s"]).sum())
    assert {e["pid"] for e in kernels} == {0, 1}
    assert trace["distributedInfo"] == {"backend": "nccl", "rank": 0, "world_size": 64}
    collectives = [e for e in kernels if e["name"].startswith("nccl")]
    assert len(collectives) == (events["kind"] == "collective").sum()


def test_events_of_one_stream_never_overlap(events, tmp_path):
    write_trace(events, tmp_path / "t.json")
    lanes: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for e in read(tmp_path / "t.json")["traceEvents"]:
        if e.get("cat") in ("kernel", "wait"):
            lanes.setdefault((e["pid"], e["tid"]), []).append((e["ts"], e["ts"] + e["dur"]))
    for spans in lanes.values():
        spans.sort()
        assert all(a[1] <= b[0] + 1e-6 for a, b in pairwise(spans))


def test_one_step_and_one_that_closes_it(events, tmp_path):
    write_trace(events, tmp_path / "t.json")
    steps = [e for e in read(tmp_path / "t.json")["traceEvents"] if "ProfilerStep" in e["name"]]
    assert [e["name"] for e in steps] == ["ProfilerStep#1", "ProfilerStep#2"] * 2
    assert steps[1]["ts"] == steps[0]["ts"] + steps[0]["dur"]


def test_one_file_per_rank_class(events, tmp_path):
    paths = write_rank_traces(events, tmp_path)
    assert [path.name for path in paths] == ["rank-0.json.gz", "rank-1.json.gz"]
    assert [read(path)["distributedInfo"]["rank"] for path in paths] == [0, 1]
    assert b'"rank": 1' in gzip.decompress(paths[1].read_bytes())  # HTA wants the blank


def test_equal_events_give_equal_bytes(events, tmp_path):
    for name in ("a.json.gz", "b.json.gz"):
        write_trace(events, tmp_path / name, compress=True)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_hbm_over_time_is_a_counter_of_each_process(events, tmp_path):
    memory = pd.DataFrame(
        {
            "rank_class": [0, 0, 1],
            "stage": 0,
            "time_s": [0.0, 0.01, 0.0],
            "weights": 5e9,
            "activations": [1e9, 2e9, 0.0],
            "total": [6e9, 7e9, 5e9],
        }
    )
    write_trace(events, tmp_path / "t.json", memory=memory)
    counters = [e for e in read(tmp_path / "t.json")["traceEvents"] if e["ph"] == "C"]
    assert [(e["pid"], e["ts"]) for e in counters] == [(0, 0.0), (0, 10_000.0), (1, 0.0)]
    assert counters[1]["args"] == {"weights": 5.0, "activations": 2.0}
