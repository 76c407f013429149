"""Software eras by name, and what a step adds to its kernels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rackmodel.engine.overhead import band, expected_maximum, overhead_s
from rackmodel.software.stacks import interpolate, read_stack


@pytest.mark.parametrize(
    ("stack", "family", "year", "attention"),
    [
        ("megatron-bridge-26.04", "megatron", 2026, "flash4"),
        ("nemo2407", "megatron", 2024, "flash3"),
        ("mlm-2020", "megatron", 2020, "unfused"),
        ("mlperf-v5.0-nvidia", "megatron-tuned", 2025, "flash3"),
        ("mlperf-v5.1-amd", "rocm", 2025, "flash3"),
        ("bloom-prequel", "megatron-deepspeed", 2021, "unfused"),
        ("mpt", "fsdp", 2023, "flash1"),
        ("titan-h200", "fsdp", 2024, "flash2"),
        ("trillium", "jax", 2024, "flash3"),
    ],
)
def test_a_stack_is_known_by_its_name(stack, family, year, attention):
    era = read_stack(stack)
    assert era.known
    assert (era.family, int(era.date), era.attention) == (family, year, attention)


def test_an_unknown_stack_is_the_latest_and_says_so():
    unknown, latest = read_stack("somebody's trainer"), read_stack("default")
    assert not unknown.known
    assert latest.known
    assert (unknown.attention, unknown.factors) == (latest.attention, latest.factors)


def test_releases_move_on_a_line():
    assert interpolate([[2020, 2.0], [2024, 1.0]], 2023) == pytest.approx(1.25)
    assert interpolate([[2020, 2.0], [2024, 1.0]], 1990) == 2.0
    assert interpolate([[2020, 2.0], [2024, 1.0]], 2050) == 1.0


def test_newer_releases_are_never_slower():
    old, new = read_stack("megatron-bridge-25.09"), read_stack("megatron-bridge-26.06")
    assert old.launch_s >= new.launch_s
    assert old.factors["permute"] > new.factors["permute"]


def job(gpus=1024, stack="megatron-bridge-26.04", experts=0):
    return SimpleNamespace(gpus=gpus, stack=stack, model=SimpleNamespace(experts=experts))


def test_more_accelerators_wait_longer_for_the_slowest():
    assert overhead_s(job(8), 1.0) < overhead_s(job(1024), 1.0) < overhead_s(job(65536), 1.0)
    assert expected_maximum(1) == 0.0


def test_bands_hold_the_prediction_and_widen_where_less_is_known():
    def width(**changes):
        family = changes.pop("family", "nvidia-hopper")
        low, high = band(2.0, job(**changes), family)
        assert low < 2.0 < high
        return high / low

    assert width() < width(experts=64)
    assert width() < width(stack="somebody's trainer")
    assert width() < width(family="ascend")
