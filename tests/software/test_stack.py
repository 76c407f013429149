"""Software stacks by name, and what a step adds to its kernels."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest

from rackmodel.engine.certainty import FILLED, band
from rackmodel.engine.overhead import expected_maximum, overhead_s
from rackmodel.errors import UnknownName
from rackmodel.software import software_of, stack_or_unknown
from rackmodel.software.stack import families, interpolate


@pytest.mark.parametrize(
    ("stack", "family", "kind", "year", "attention"),
    [
        ("megatron-bridge-26.04", "nemo", "megatron", 2026, "flash4"),
        ("Megatron-Bridge-26.04", "nemo", "megatron", 2026, "flash4"),
        ("nemo2407", "nemo", "megatron", 2024, "flash3"),
        ("nvidia-nemo", "nemo", "megatron", 2026, "flash4"),
        ("mlm-2020", "megatron", "megatron", 2020, "unfused"),
        ("mlm-a100jan", "mlm-a100", "megatron", 2021, "unfused"),
        ("mlperf-v5.0-nvidia", "mlperf", "megatron-tuned", 2025, "flash3"),
        ("mlperf-v5.1-amd", "mlperf-amd", "rocm", 2025, "flash3"),
        ("mlperf-v3.1-habana", "habana", "habana", 2023, "flash2"),
        ("mlperf-v4.1-google", "mlperf-google", "jax", 2024, "flash3"),
        ("bloom-prequel", "bloom-prequel", "megatron-deepspeed", 2021, "unfused"),
        ("megatron-deepspeed-vtrain", "vtrain", "megatron-traced", 2023, "unfused"),
        ("mpt", "mpt", "fsdp", 2023, "flash1"),
        ("llm-foundry", "mpt", "fsdp", 2023, "flash1"),
        ("titan", "torchtitan", "fsdp", 2024, "flash2"),
        ("torchtitan", "torchtitan", "fsdp", 2024, "flash2"),
        ("titan-h200", "titan-h200", "fsdp", 2025, "flash2"),
        ("fsdp", "fsdp", "fsdp", 2024, "flash2"),
        ("deepspeed", "deepspeed", "fsdp", 2024, "flash2"),
        ("google-maxtext", "maxtext", "jax", 2024, "flash3"),
        ("v5p-maxtext-2025-08", "maxtext", "jax", 2025, "flash4"),
        ("trillium", "trillium", "jax", 2024, "flash3"),
    ],
)
def test_a_stack_is_known_by_its_name(stack, family, kind, year, attention):
    software = software_of(stack)
    assert software.known
    assert (software.family, software.kind) == (family, kind)
    assert (int(software.date), software.attention_kernels) == (year, attention)


@pytest.mark.parametrize(("one", "other"), [("titan", "torchtitan"), ("MPT", "llm-foundry")])
def test_two_names_of_a_family_are_one_software(one, other):
    assert replace(software_of(one), stack="") == replace(software_of(other), stack="")


def test_habits_follow_the_date():
    assert software_of("megatron-lm-2020").gradients == "bf16"
    assert software_of("megatron-lm-2024").gradients == "fp32"
    old, new = software_of("megatron-lm-2021"), software_of("megatron-lm-2024")
    assert (old.attention, old.sequence_parallel, old.sharding) == ("unfused", False, "none")
    assert (new.attention, new.sequence_parallel, new.sharding) == ("fused", True, "zero1")


def test_an_unknown_stack_is_refused_with_what_to_say():
    with pytest.raises(UnknownName, match=r"did you mean 'torchtitan'.*unknown-2024-06"):
        software_of("torchtitn")
    assert stack_or_unknown("somebody's trainer of 2024-05") == "unknown-2024-05"
    unknown, latest = software_of("unknown"), software_of("default")
    assert not unknown.known
    assert latest.known
    assert (unknown.attention, unknown.factors) == (latest.attention, latest.factors)
    assert int(software_of("unknown-2022-11").date) == 2022


def test_unknown_software_has_the_habits_of_the_mainstream_of_its_date():
    told = {date: software_of(f"unknown-{date}") for date in ("2023-07", "2024-07", "2026-07")}
    assert [s.tp_overlap for s in told.values()] == ["no", "yes", "yes"]
    assert {s.gradients for s in told.values()} == {"bf16"}  # as its libraries do unless told
    for date, software in told.items():
        leading = software_of(f"megatron-{date}")
        assert software.attention_kernels == leading.attention_kernels
        assert software.ep_overlap == leading.ep_overlap


def test_tokens_go_by_fused_kernels_only_where_recipes_turn_them_on():
    """No date alone does it: an option that a library leaves off is on in a family that says so."""
    blackwell = "nvidia-blackwell"
    told = ("megatron-bridge-26.04", "default", "unknown-2026-04", "megatron-2026-04")
    assert [blackwell in software_of(name).fused_dispatch for name in told] == [True] + [False] * 3
    assert not software_of("nemo-25.02").fused_dispatch  # before Megatron-Bridge


def test_how_unknown_software_takes_tokens_to_experts_is_told_as_odds():
    """None before there were such kernels, more on Blackwell later, and by a few points a month."""
    months = [f"unknown-{y}-{m:02d}" for y in (2025, 2026) for m in range(1, 13)]
    for family, last in (("nvidia-hopper", 0.5), ("nvidia-blackwell", 0.67)):
        odds = [software_of(name).fused_odds(family) for name in months]
        assert (odds[0], odds[-1]) == (0.0, last)
        assert all(0.0 <= after - before < 0.05 for before, after in itertools.pairwise(odds))
    assert software_of("unknown-fsdp-2026-07").fused_odds("nvidia-hopper") == 0.5
    assert software_of("unknown-xla-2026-07").fused_odds("tpu") == 0.0
    for known, odds in (("megatron-bridge-26.04", 1.0), ("default", 0.0), ("titan", 0.0)):
        assert software_of(known).fused_odds("nvidia-blackwell") == odds


def test_launches_are_captured_only_where_recipes_turn_it_on():
    """As fused dispatch: an option that libraries leave off is on in families that say so."""
    told = {
        name: [software_of(name).captures_graphs("nvidia-blackwell", mixed) for mixed in (0, 1)]
        for name in ("megatron-bridge-25.09", "megatron-bridge-26.06", "megatron-recipes")
    }
    assert list(told.values()) == [[True, False], [True, True], [True, True]]
    for name in ("default", "unknown-2026-07", "megatron-2026-07", "nemo-25.02", "titan"):
        assert not any(software_of(name).captures_graphs("nvidia-blackwell", x) for x in (0, 1))
    assert not software_of("megatron-recipes").captures_graphs("nvidia-hopper", True)


def test_every_alias_names_its_own_family():
    for row in families():
        for alias in row["aliases"].split(", "):
            assert software_of(alias).family == row["name"]


def test_releases_move_on_a_line():
    assert interpolate([[2020, 2.0], [2024, 1.0]], 2023) == pytest.approx(1.25)
    assert interpolate([[2020, 2.0], [2024, 1.0]], 1990) == 2.0
    assert interpolate([[2020, 2.0], [2024, 1.0]], 2050) == 1.0


def test_newer_releases_are_never_slower():
    old, new = software_of("megatron-bridge-25.09"), software_of("megatron-bridge-26.06")
    assert old.launch_s >= new.launch_s
    assert old.factors["permute"] > new.factors["permute"]


def job(gpus=1024, stack="megatron-bridge-26.04", experts=0, sharded=False):
    model, plan = SimpleNamespace(experts=experts), SimpleNamespace(sharded_parameters=sharded)
    return SimpleNamespace(gpus=gpus, stack=stack, model=model, plan=plan)


def test_more_accelerators_wait_longer_for_the_slowest():
    assert overhead_s(job(8), 1.0) < overhead_s(job(1024), 1.0) < overhead_s(job(65536), 1.0)
    assert expected_maximum(1) == 0.0
    assert overhead_s(job(8, stack="vtrain"), 1.0) == 0.0  # a sum of profiles, not a run


def test_bands_hold_the_prediction_and_widen_where_less_is_known():
    def width(**changes):
        family, filled = changes.pop("family", "nvidia-hopper"), changes.pop("filled", ())
        sure = band(2.0, job(**changes), family, filled=filled)
        assert sure.low_s < 2.0 < sure.high_s
        told = filled or family == "ascend" or {*changes} - {"sharded"}
        assert sure.reason.startswith("wide") is bool(told)
        return sure.high_s / sure.low_s

    assert width() < width(experts=64)  # 10th and 90th percentiles of published runs say so
    assert width() < width(stack="unknown-2026-06") < width(stack="unknown-2026-06", experts=64)
    assert width() < width(family="ascend")
    assert width() < width(filled=["recompute"]) < width(filled=["recompute", "tp"])
    assert width(filled=["tp"]) == width(filled=FILLED["plan"])  # one search, one doubt
    # Whole layers run again or none where weights are gathered: more to doubt than elsewhere.
    assert width() < width(sharded=True)
    unsaid = [width(sharded=x, filled=["recompute"]) / width(sharded=x) for x in (False, True)]
    assert 1.0 < unsaid[0] < 1.05 < 1.15 < unsaid[1]
    assert width(sharded=True, experts=8) == width(experts=8)


def test_products_in_8_bits_got_quicker_on_hopper_with_cublas_of_october_2024():
    """By a few points a month, whoever knows the software, in no other format or architecture."""
    months = [f"megatron-{y}-{m:02d}" for y in (2024, 2025) for m in range(1, 13)]
    times = [software_of(name).products["nvidia-hopper"]["fp8"] for name in months]
    assert (times[0], times[-1]) == (1.125, 1.0)
    assert all(0.0 <= before - after < 0.03 for before, after in itertools.pairwise(times))
    early = software_of("unknown-2023-06").products
    assert early == {"nvidia-hopper": {"fp8": 1.125}}
