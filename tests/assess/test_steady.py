"""One kernel that runs on and on: what it draws, what a cap leaves it."""

import itertools
import math

import numpy as np
import pytest

from rackmodel.assess.chassis import chassis_of
from rackmodel.assess.steady import Kernel, edge_w, steady
from rackmodel.hardware import accelerator
from rackmodel.hardware.power_model import voltage_ratio
from rackmodel.serving.site import padded

PRODUCT = Kernel(precision="bf16")


def settled(catalog, name, kernel, topology="dgx-b300", **more):
    return steady(accelerator(name), kernel, chassis=chassis_of(catalog, topology), **more)


# gpu-power-lab, B300 of 1,100 W in air: products in bf16 under caps, against 2,032 MHz.
@pytest.mark.parametrize(
    ("cap_w", "speed"), [(900, 0.947), (700, 0.770), (550, 0.613), (450, 0.496)]
)
def test_caps_of_blackwell_leave_what_was_measured(catalog, cap_w, speed):
    free = settled(catalog, "b300-1100w", PRODUCT).clock
    held = settled(catalog, "b300-1100w", PRODUCT, cap_w=cap_w)
    assert held.power_w == pytest.approx(cap_w, rel=1e-3)
    assert held.clock / free == pytest.approx(speed, rel=0.06)


def test_a_stream_an_idle_part_and_products_draw_what_was_measured(catalog):
    kernels = {765: Kernel(hbm_share=0.9), 183: Kernel(active=0.0), 1060: PRODUCT}
    for watts, kernel in kernels.items():
        found = settled(catalog, "b300-1100w", kernel)
        assert found.power_w == pytest.approx(watts, rel=0.08)


@pytest.mark.parametrize("name", ["b200", "h100", "mi300x"])
def test_voltage_rises_with_the_clock_ever_faster(name):
    power = accelerator(name).power
    clock = np.linspace(0.2, power.clock_max_ratio, 300)
    volts = voltage_ratio(clock, power)
    slope = np.diff(volts)
    assert (slope >= -1e-12).all()
    assert (np.diff(slope) >= -1e-9).all()
    assert float(voltage_ratio(np.array(1.0), power)) == 1.0


def test_a_lower_cap_never_speeds_up_nor_heats(catalog):
    found = [settled(catalog, "b200", PRODUCT, "dgx-b200", cap_w=w) for w in (1000, 800, 600, 400)]
    for more, less in itertools.pairwise(found):
        assert less.clock < more.clock
        assert less.junction_c < more.junction_c


@pytest.mark.parametrize("rows", [1, 8, 64, 65, 128, 1000])
def test_products_are_padded_to_whole_tiles(rows):
    done = rows * padded(rows, 64.0)
    assert done == pytest.approx(64 * math.ceil(rows / 64))


# gpu-power-lab, B300: peaks of samples of 13 ms over a cap, products on and off, then in a step.
@pytest.mark.parametrize(
    ("cap_w", "toggles", "peak", "near"),
    [(500, 1.0, 1.43, 0.05), (700, 1.0, 1.22, 0.05), (1100, 1.8, 1.17, 0.08)],
)
def test_a_kernel_that_begins_passes_its_cap_until_the_controller_acts(
    catalog, cap_w, toggles, peak, near
):
    part, chassis = accelerator("b300-1100w"), chassis_of(catalog, "dgx-b300")
    kernel = Kernel(precision="bf16", toggles=toggles)
    found = [
        edge_w(part, kernel, chassis=chassis, window_s=window_s, cap_w=cap_w) / cap_w
        for window_s in (1e-3, 13e-3, 1.0, 100.0)
    ]
    assert found[1] == pytest.approx(peak, abs=near)
    assert sorted(found, reverse=True) == found
    assert found[0] * cap_w <= part.power.peak_ratio * part.power_w * (1 + 1e-9)
    assert found[-1] == pytest.approx(1.0, abs=1e-3)


def test_operands_that_toggle_more_leave_less_under_a_cap(catalog):
    """Calibrated on products of a B300 at 1,422 MHz under 1,082 W; GB300 at 500 W is another
    source: 0.28 to 0.39 of its speed at 1,400 W."""
    much = Kernel(precision="bf16", toggles=1.8)
    found = settled(catalog, "b300-1100w", much, cap_w=1082)
    reference = accelerator("b300").power.clock_ref_hz
    assert found.clock * reference == pytest.approx(1.422e9, rel=0.03)
    few, more = (
        settled(catalog, "gb300", much, "gb300-nvl72", cap_w=cap_w).clock for cap_w in (500, 1400)
    )
    assert 0.28 <= few / more <= 0.40
    plain = settled(catalog, "gb300", PRODUCT, "gb300-nvl72", cap_w=500).clock
    assert few < plain
