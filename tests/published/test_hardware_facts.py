"""Facts about parts as makers and measurers print them."""

import numpy as np
import pytest

from rackmodel.hardware import accelerator, load_catalog
from rackmodel.hardware.power_model import voltage_ratio
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.workload.kernels import gemm

CATALOG = load_catalog()


# NVIDIA data sheets (dense is half of the printed sparse figure), makers' pages for the others.
@pytest.mark.parametrize(
    ("name", "number_format", "dense_tflops"),
    [
        ("v100", "fp16", 125),
        ("a100-80", "bf16", 312),
        ("h100", "bf16", 1979 / 2),
        ("h100", "fp8", 3958 / 2),
        ("gb200", "bf16", 5000 / 2),
        ("gb200", "fp8", 10000 / 2),
        ("gb200", "nvfp4", 20000 / 2),
        ("mi300x", "bf16", 1307.4),
        ("tpu-v5p", "bf16", 459),
        ("tpu-v7x", "fp8", 4614),
    ],
)
def test_dense_peaks(name, number_format, dense_tflops):
    peak = accelerator(name).flops_per_s[number_format]
    assert peak == pytest.approx(dense_tflops * 1e12, rel=1e-3)


# Printed per accelerator in both directions.
@pytest.mark.parametrize(
    ("name", "both_ways_gb_per_s"),
    [("v100", 300), ("a100-80", 600), ("h100", 900), ("b200", 1800), ("vr200", 3000)],
)
def test_nvlink_is_printed_both_ways(name, both_ways_gb_per_s):
    part = accelerator(name)
    rate = CATALOG.links[part.scale_up_link].bytes_per_s
    assert 2 * part.scale_up_links * rate == pytest.approx(both_ways_gb_per_s * 1e9, rel=1e-9)


# As drivers tell it, in MiB (nvidia-smi); where none is at hand, the GB of a data sheet as GiB.
@pytest.mark.parametrize(
    ("name", "mebibytes", "terabytes_per_s"),
    [
        ("a100-40", 40_960, 1.6),
        ("a100-80", 81_920, 2.039),
        ("h100", 81_559, 3.35),
        ("h200", 141 * 1024, 4.8),
        ("b200", 182_630, 7.7),
        ("gb200", 186 * 1024, 8.0),
        ("mi300x", 192 * 1024, 5.3),
    ],
)
def test_memory(name, mebibytes, terabytes_per_s):
    part = accelerator(name)
    assert part.hbm_bytes == mebibytes * 2**20
    assert part.hbm_bytes_per_s == terabytes_per_s * 1e12


def test_nvl72_rack_moves_130_tb_per_s():
    # NVIDIA prints 130 TB/s, both directions, for 72 GPUs on 18 chips of 72 ports.
    both_ways = 2 * 72 * accelerator("gb200").scale_up_bytes_per_s
    assert both_ways == pytest.approx(130e12, rel=0.01)
    chip = CATALOG.switches["nvswitch4"]
    assert 18 * chip.radix * chip.port_bytes_per_s == 72 * accelerator("gb200").scale_up_bytes_per_s


def test_optics_for_nvl72_would_draw_16_to_21_kw():
    # NVIDIA, GTC 2024: about 20 kW saved by copper; 1,296 links, two ends each.
    for name in ("pluggable", "pluggable-1600g"):
        watts = 1296 * 2 * 50e9 * 8 * CATALOG.media[name].joule_per_bit_per_end
        assert 16e3 <= watts <= 21e3
    assert CATALOG.media["copper"].joule_per_bit_per_end == 0


def test_peaks_follow_from_units_and_clock():
    # FLOP per clock and SM: 1,024 (V100), 2,048 (A100), 4,096 (H100), 8,192 (B200), dense 16-bit.
    for name, per_clock in [("v100", 1024), ("a100-80", 2048), ("h100", 4096), ("b200", 8192)]:
        part = accelerator(name)
        assert part.clock_hz is not None
        peak = part.compute_units * part.clock_hz * per_clock
        assert peak == pytest.approx(part.flops_per_s["fp16"], rel=3e-3)


def test_gb200_runs_at_most_at_the_highest_clock_of_its_silicon():
    # The 2,500 TFLOP/s of print need a clock that the B200 silicon does not reach.
    power = accelerator("gb200").power
    assert power.peak_clock_ratio > power.clock_max_ratio
    reference = accelerator("gb200").flops_per_s["bf16"] / power.peak_clock_ratio
    assert reference == pytest.approx(accelerator("b200").flops_per_s["bf16"], rel=1e-3)


def test_remote_read_through_an_nvlink5_switch():
    # Oracle, GB300: 20,525 ns for 12 pairs of request and response.
    one_way = 2 * CATALOG.links["nvlink5"].latency_s + CATALOG.switches["nvswitch4"].latency_s
    assert 2 * one_way == pytest.approx(20525e-9 / 12, rel=0.02)


def test_rdma_write_latency_over_one_and_three_switches():
    # Oracle, GB300, 8-byte writes on 400G RoCE: 1.85 us in the rack, 2.78 us within the block.
    ends = 2 * CATALOG.links["pcie5-x16"].latency_s
    wire, chip = (
        CATALOG.links["roce-400-cx8"].latency_s,
        CATALOG.switches["sn5600"].latency_s,
    )
    assert ends + 2 * wire + chip == pytest.approx(1.85e-6, rel=0.1)
    assert ends + 4 * wire + 3 * chip == pytest.approx(2.78e-6, rel=0.1)


def best_gemm(name, number_format, shape):
    """Return the FLOP/s of a GEMM at the highest clock that keeps the cap."""
    part = accelerator(name)
    power = part.power
    size = 1 if number_format == "fp8" else 2
    product = gemm("product", shape, form=number_format, read=size)
    bytes_per_flop = KernelTimes(part).traffic.moved_bytes(product) / product.flops
    reference = part.flops_per_s[number_format] / power.peak_clock_ratio
    best_cooling = min(part.thermal.r_k_per_w.values())
    leak = 1 + power.leak_per_k * (30 + best_cooling * part.power_w - 35)
    low, high = 0.2, power.clock_max_ratio
    for _ in range(50):
        clock = (low + high) / 2
        volts = float(voltage_ratio(np.array(clock), power))
        rate = power.gemm_eta[number_format] * reference * clock
        memory_w = power.e_hbm_j_per_byte * bytes_per_flop * rate
        dynamic = power.act_w * clock + power.e_flop_j[number_format] * rate
        if power.idle_w * leak + memory_w + dynamic * volts**2 > part.power_w:
            high = clock
        else:
            low = clock
    return power.gemm_eta[number_format] * reference * low


# Best measured GEMM and its shape: S. Bekman, Machine Learning Engineering, accelerators.
@pytest.mark.parametrize(
    ("name", "number_format", "shape", "tflops"),
    [
        ("a100-80", "bf16", (1024, 10240, 5120), 271.2),
        ("h100", "bf16", (2048, 2048, 13312), 794.5),
        ("h100", "fp8", (1024, 9216, 14336), 1402.6),
        ("h200", "fp8", (1280, 4096, 12032), 1453.4),
        ("b200", "bf16", (1792, 16128, 3072), 1745),
        ("b200", "fp8", (15360, 4096, 3072), 3432.5),
        ("gb200", "bf16", (4096, 9728, 2048), 1822),
        ("gb200", "fp8", (19456, 5120, 1536), 3615.6),
        ("b300", "bf16", (12288, 18432, 1024), 1769),
        ("mi300x", "bf16", (10240, 15360, 8192), 668.4),
        ("mi325x", "bf16", (13312, 10240, 8192), 784.9),
        ("mi355x", "bf16", (12288, 8192, 8192), 1565),
    ],
)
def test_power_constants_reproduce_the_best_gemm_at_the_cap(name, number_format, shape, tflops):
    assert best_gemm(name, number_format, shape) == pytest.approx(tflops * 1e12, rel=0.06)
