"""Bus bandwidths that others measured, beside those that the model predicts."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from rackmodel.network import bus_factor, run_collective
from rackmodel.topology import load_topology

LARGE_BYTES = 64e6


def measured_rows():
    with (Path(__file__).parent / "collectives.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            size, gpus = float(row["bytes"]), int(row["gpus"])
            rate = float(row["busbw_GBps"]) * 1e9
            if row["time_us"]:  # finer than the printed two digits of a small bandwidth
                rate = size / float(row["time_us"]) * 1e6 * bus_factor(row["collective"], gpus)
            yield (row["topology"], gpus, row["collective"]), size, rate


@pytest.fixture(scope="module")
def errors():
    curves = defaultdict(list)
    for key, size, rate in measured_rows():
        curves[key].append((size, rate))
    found = []
    for (topology, gpus, op), points in curves.items():
        rows = run_collective(load_topology(topology), op, [size for size, _ in points], gpus)
        for row, (size, rate) in zip(rows, points, strict=True):
            found.append((size, abs(row["busbw_bytes_per_s"] / rate - 1)))
    return found


def test_large_messages_within_eight_percent(errors):
    large = [error for size, error in errors if size >= LARGE_BYTES]
    assert len(large) > 40
    assert sum(large) / len(large) <= 0.08


def test_all_sizes_within_twenty_percent(errors):
    assert len(errors) == 99
    assert sum(error for _, error in errors) / len(errors) <= 0.20


def row(topology, op, gpus, size=2.0**34):
    return run_collective(load_topology(topology), op, [size], gpus)[0]


def busbw(op, gpus):
    return row("gb300-nvl72", op, gpus)["busbw_bytes_per_s"] / 1e9


# GB300 racks with 800 Gb/s per accelerator: about 670 GB/s inside a rack, under a tenth over two.
def test_all_to_all_falls_off_a_cliff_at_the_edge_of_the_rack():
    assert busbw("all-to-all", 64) == pytest.approx(670, rel=0.08)
    assert busbw("all-to-all", 144) < 0.1 * busbw("all-to-all", 72)


def test_all_reduce_falls_only_by_a_fifth():
    assert 0.75 < busbw("all-reduce", 144) / busbw("all-reduce", 72) < 0.9


# coreweave/nccl-tests README.md (NCCL 2.26.2), 2 and 20 racks of GB200; stas00/ml-engineering
# network/README.md, 4 nodes of H200 with 400 Gb/s per accelerator, where the ring was chosen.
@pytest.mark.parametrize(
    ("topology", "gpus", "size", "measured", "algorithm"),
    [
        ("gb200-nvl72", 144, 2.0**33, 792, "nvls-tree"),
        ("gb200-nvl72", 144, 2.0**34, 820.36, "nvls-tree"),
        ("gb200-nvl72", 1440, 2.0**33, 382, "nvls-tree"),
        ("gb200-nvl72", 1440, 2.0**34, 404.77, "nvls-tree"),
        ("dgx-h200", 32, 2.0**32, 364.87, "ring"),
    ],
)
def test_the_tuner_chooses_between_domains_as_it_was_seen_to(
    topology, gpus, size, measured, algorithm
):
    found = row(topology, "all-reduce", gpus, size)
    assert found["algorithm"] == algorithm
    assert found["busbw_bytes_per_s"] / 1e9 == pytest.approx(measured, rel=0.13)
