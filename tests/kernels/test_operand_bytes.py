"""HBM bytes of products: laws of tiles and caches, and what caches keep as measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.hardware import accelerator, load_catalog
from rackmodel.kernels.kernel_constants import kernel_constants
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.kernels.operand_bytes import Traffic, kept_share
from rackmodel.workload.kernels import elementwise, gemm, weight_gemm

PARTS = sorted(load_catalog().accelerators)
SIDES = st.integers(64, 40_000)
SHAPES = st.tuples(SIDES, SIDES, SIDES)


def traffic_of(part):
    return Traffic.of(part, kernel_constants().gemm(part.family))


def product(shape, groups=0, form="bf16"):
    return gemm("product", shape, form=form, read=1.0 if form == "fp8" else 2.0, groups=groups)


def once(kernel):
    return kernel.read_bytes + kernel.write_bytes


@given(st.sampled_from(PARTS), SHAPES, st.sampled_from(["bf16", "fp8"]))
@settings(deadline=None, max_examples=200)
def test_bytes_lie_between_each_operand_once_and_no_reuse_at_all(name, shape, form):
    part, kernel = accelerator(name), product(shape, form=form)
    side = min(kernel_constants().gemm(part.family).tile)
    m, n, k = shape
    tiles = math.ceil(m / side) * math.ceil(n / side)
    every_tile = tiles * 2 * side * k * (1.0 if form == "fp8" else 2.0)
    moved = traffic_of(part).moved_bytes(kernel)
    assert once(kernel) <= moved <= max(once(kernel), every_tile + kernel.write_bytes)


@given(st.sampled_from(PARTS), SHAPES, st.integers(0, 2), st.floats(1.0, 4.0))
@settings(deadline=None, max_examples=300)
def test_larger_products_never_move_fewer_bytes(name, shape, side, more):
    traffic = traffic_of(accelerator(name))
    larger = tuple(round(x * more) if i == side else x for i, x in enumerate(shape))
    small, large = (traffic.moved_bytes(product(one)) for one in (shape, larger))
    assert large >= small * (1 - 1e-9)


@given(st.sampled_from(PARTS), SHAPES, st.floats(1.0, 8.0))
@settings(deadline=None, max_examples=200)
def test_more_cache_never_moves_more_bytes_nor_takes_longer(name, shape, more):
    part, kernel = accelerator(name), product(shape)
    grown = replace(part, l2_bytes=more * part.l2_bytes)
    less, moved = (traffic_of(one).moved_bytes(kernel) for one in (grown, part))
    assert less <= moved * (1 + 1e-9)
    sooner_s, usual_s = (KernelTimes(one).kernel_s(kernel) for one in (grown, part))
    assert sooner_s <= usual_s * (1 + 1e-9)


@pytest.mark.parametrize("name", PARTS)
def test_what_fits_the_cache_is_read_once(name):
    part = accelerator(name)
    gemm_constants = kernel_constants().gemm(part.family)
    share = 0.5 / part.compute_units if gemm_constants.scratchpad else gemm_constants.cache_share
    side = int(math.sqrt(share * part.l2_bytes / 4.0))
    for kernel in (product((side, side, side)), product((8 * side, side, side), groups=8)):
        assert traffic_of(part).moved_bytes(kernel) == once(kernel)


def test_a_part_that_names_no_cache_reads_operands_once_a_wave():
    bare = replace(accelerator("h100"), l2_bytes=None)
    kernel = product((16384, 16384, 8192))
    waves = 16384 / math.sqrt(132 * 256 * 128)  # of each operand
    expected = kernel.read_bytes * waves + kernel.write_bytes
    assert traffic_of(bare).moved_bytes(kernel) == pytest.approx(expected)
    assert traffic_of(accelerator("h100")).moved_bytes(kernel) < expected


def test_weight_gradients_read_their_sums_once():
    shape = (8192, 8192, 8192)
    plain = product(shape)
    grad = weight_gemm("grad", shape, form="bf16", read=2.0, written=4.0)
    again = [traffic_of(accelerator("h100")).moved_bytes(one) - once(one) for one in (plain, grad)]
    assert again[0] == pytest.approx(again[1])
    assert again[0] > 0


def test_only_what_arithmetic_leaves_over_holds_hbm_alone():
    traffic = traffic_of(accelerator("h100"))
    norm = elementwise("norm", 1e9, 1e9)
    assert traffic.moved_bytes(norm) == 2e9
    assert traffic.bare_s(norm) == pytest.approx(2e9 / 3.35e12)
    assert traffic.bare_s(product((8192, 8192, 8192))) == 0.0
    narrow = product((16, 8192, 8192))  # bound by its weights
    full_s = traffic.moved_bytes(narrow) / 3.35e12
    assert 0.9 * full_s < traffic.bare_s(narrow) < full_s


# te42kyfo/gpu-benches @3088b33, gpu-l2-cache (all units read one set over and over, [kB], [GB/s]);
# what misses passes at the rate of sets that no cache holds: the share that hits is at least
# 1 - that rate over the measured one.
@pytest.mark.parametrize(
    ("name", "rate", "measured"),
    [
        ("a100-80", 1875.0, {33792: 3622, 40448: 2462, 48128: 2027, 63488: 1895}),
        ("h200", 3888.0, {52736: 6467, 57856: 5054, 63488: 4464, 83456: 3947}),
    ],
)
def test_caches_keep_what_was_measured_under_repeated_reads(name, rate, measured):
    cache_bytes = traffic_of(accelerator(name)).cache_bytes
    for kilobytes, found in measured.items():
        held = kept_share(cache_bytes, kilobytes * 1024)
        assert held == pytest.approx(1 - rate / found, abs=0.18)
    assert kept_share(cache_bytes, 0.9 * cache_bytes) == 1.0


@given(st.floats(0.01, 50.0), st.floats(1.001, 3.0))
def test_a_share_solves_its_law_and_falls_with_the_set(size, more):
    held, less = kept_share(1.0, size), kept_share(1.0, size * more)
    assert 0.0 <= less <= held <= 1.0
    if size > 1.0:
        assert held == pytest.approx(math.exp(-(1 - held) * size), abs=1e-6)
