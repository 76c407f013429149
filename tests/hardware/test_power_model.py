"""What one accelerator draws: formats and their energy, the clock that a cap leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rackmodel.errors import InvalidInput
from rackmodel.hardware import Accelerator, accelerator, load_catalog
from rackmodel.hardware.power_model import (
    best_flops_per_s,
    flop_energy_j,
    highest_clock,
    number_format,
    peak_flops_per_s,
    sustained_clock,
    voltage_ratio,
)

TRAINING = {"duty": 0.85, "hbm_bytes_per_flop": 1.2e-3, "hot": 1.3}


# Their peak of fp8 is that of bf16: operands are widened, and the units do the work of bf16.
@pytest.mark.parametrize("name", ["tpu-v5p", "tpu-v6e", "gaudi3"])
def test_a_format_that_is_widened_costs_what_the_wider_one_costs(name):
    part = accelerator(name)
    assert peak_flops_per_s(part, "fp8") == (part.flops_per_s["bf16"], "bf16")
    assert flop_energy_j(part, "fp8-mx") == flop_energy_j(part, "bf16")
    assert best_flops_per_s(part, "fp8") == best_flops_per_s(part, "bf16")


def test_weights_of_four_bits_times_eight_cost_less_than_eight_times_eight():
    """A third of the way from 4 x 4 bits; where units know no four bits, they do the wider work."""
    b200, h100 = accelerator("b200"), accelerator("h100")
    narrow, mixed, wide = (flop_energy_j(b200, name) for name in ("nvfp4", "fp8-mxfp4", "fp8"))
    assert mixed - narrow == pytest.approx((wide - narrow) / 3.0)
    assert narrow < mixed < wide
    assert flop_energy_j(h100, "fp8-mxfp4") == pytest.approx(flop_energy_j(h100, "fp8"))


def test_a_part_without_a_format_runs_the_nearest_wider_one():
    a100, h100 = accelerator("a100-80"), accelerator("h100")
    assert flop_energy_j(a100, "fp8") == flop_energy_j(a100, "bf16")
    assert flop_energy_j(h100, "nvfp4") == flop_energy_j(h100, "fp8")
    assert number_format("mxfp8") == number_format("fp8-block") == "fp8"
    with pytest.raises(InvalidInput, match="no peak for 'ternary'"):
        peak_flops_per_s(h100, "ternary")


def test_every_part_knows_peak_rate_and_energy_of_16_bits():
    for part in load_catalog().accelerators.values():
        peak, _ = peak_flops_per_s(part, "bf16")
        assert 0 < best_flops_per_s(part, "bf16") <= peak / part.power.peak_clock_ratio
        watts = flop_energy_j(part, "bf16") * best_flops_per_s(part, "bf16")
        assert 0.05 * part.power_w < watts < 4.0 * part.power_w, part.name


def test_the_clock_at_a_cap_draws_the_cap():
    part = accelerator("h100")
    power = part.power
    clock = sustained_clock(part, "bf16", **TRAINING) * power.peak_clock_ratio
    volts = float(voltage_ratio(np.array(clock), power))
    flops_per_s = best_flops_per_s(part, "bf16") * TRAINING["duty"]
    flop_w = flop_energy_j(part, "bf16") * flops_per_s
    fixed = power.idle_w * TRAINING["hot"]
    fixed += power.e_hbm_j_per_byte * TRAINING["hbm_bytes_per_flop"] * flops_per_s * clock
    assert clock < power.clock_max_ratio
    drawn = fixed + (power.act_w + flop_w) * clock * volts**2
    assert drawn == pytest.approx(part.power_w, rel=1e-9)


def test_a_cap_that_does_not_bind_leaves_the_fastest_clock():
    power = accelerator("h100").power
    one = np.array([1.0])
    free = highest_clock(fixed=one, act=one, flop=one, cap=1e3 * one, power=power)
    assert free.tolist() == [power.clock_max_ratio]


@pytest.mark.parametrize("name", sorted(load_catalog().accelerators))
@pytest.mark.parametrize("precision", ["bf16", "fp8", "nvfp4"])
def test_more_of_anything_never_slows_matrix_products_down(name, precision):
    part = accelerator(name)

    def rate(better: Accelerator) -> float:
        peak, _ = peak_flops_per_s(better, precision)
        return peak * sustained_clock(better, precision, **TRAINING)

    more_flops = {key: 1.5 * peak for key, peak in part.flops_per_s.items()}
    assert rate(replace(part, flops_per_s=more_flops)) > rate(part)
    for more in (1.25, 4.0):
        wider = replace(part, hbm_bytes_per_s=more * part.hbm_bytes_per_s)
        assert rate(wider) == rate(part)  # what no product moves costs no watts
        assert rate(replace(part, power_w=more * part.power_w)) >= rate(part)
