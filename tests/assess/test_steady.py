"""One kernel that runs on and on: what it draws, what a cap leaves it."""

import itertools
import math

import numpy as np
import pytest

from rackmodel.assess.chassis import chassis_of
from rackmodel.assess.steady import Kernel, steady
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
