"""Traces: what Perfetto needs, what HolisticTraceAnalysis needs, and nothing lost."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise

import pandas as pd
import pytest

import rackmodel
from rackmodel.reporting.trace import write_rank_traces, write_trace
from tests.reporting.perfetto import losses


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
    entries = read(tmp_path / "t.json")["traceEvents"]
    counters = [e for e in entries if e["ph"] == "C"]
    first = min(e["ts"] for e in entries if e.get("cat") == "kernel")
    times = [(e["pid"], e["ts"] - first) for e in counters]
    assert times == [(0, 0.0), (0, 10_000.0), (1, 0.0)]
    assert counters[1]["args"] == {"weights": 5.0, "activations": 2.0}


@pytest.fixture(scope="module")
def step():
    """A step of more rank classes than the first stream's thread has a number."""
    plan = {"tp": 2, "pp": 10, "dp": 1}
    words = {"gpus": 20, "global_batch": 10, "plan": plan, "check_memory": False}
    return rackmodel.simulate("dgx-h100", model="gpt3-125m", default_plan=True, **words)


@pytest.mark.parametrize("whole", [True, False])
def test_perfetto_drops_nothing_of_a_step(step, tmp_path, whole):
    files = step.write_trace(tmp_path / "t.json.gz" if whole else tmp_path)
    traces = [read(file)["traceEvents"] for file in files]
    kernels = [e for trace in traces for e in trace if e.get("cat") == "kernel"]
    assert len({e["pid"] for e in kernels}) == 10
    assert {e["ph"] for trace in traces for e in trace} == (
        {"M", "X", "C"} if whole else {"M", "X"}
    )
    assert [losses(trace) for trace in traces] == [{}] * len(files)


def test_perfetto_reads_the_calls_of_kernels_shorter_than_calls(events, tmp_path):
    brief = events.assign(start_s=events["start_s"] / 7919, end_s=events["end_s"] / 7919)
    write_trace(brief, tmp_path / "t.json")
    assert losses(read(tmp_path / "t.json")["traceEvents"]) == {}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"ts": -1.0}, "trace_sorter_negative_timestamp_dropped"),
        ({"ts": None}, "json_tokenizer_failure"),
        ({"ph": ""}, "json_tokenizer_failure"),
        ({"dur": None}, "json_parser_failure"),
        ({"dur": -1.0}, "slice_negative_duration"),
        ({"ts": 5.0}, "slice_drop_overlapping_complete_event"),
        ({"ts": 5.0, "pid": 3, "tid": 0}, "slice_drop_overlapping_complete_event"),
        ({"ph": "C", "args": {"weights": "many"}}, "json_parser_failure"),
        ({"ph": "s"}, "flow_invalid_id"),
        ({"ph": "f", "bp": "e", "id": 1, "ts": 50.0}, "flow_no_enclosing_slice"),
        ({"ph": "M", "name": "thread_name"}, "names lost"),
    ],
)
def test_each_rule_of_perfetto_finds_its_fault(changes, rule):
    good = {"ph": "X", "name": "a", "pid": 3, "tid": 3, "ts": 0.0, "dur": 10.0}
    after = {**good, "ts": 10.0}
    assert losses([good, {**good, "dur": 4.0}, after]) == {}
    assert rule in losses([good, {**good, "name": "b", **changes}, after])
