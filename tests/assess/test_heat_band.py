"""Laws of the band of a rack's heat."""

import math

import numpy as np
import pytest

import rackmodel
from rackmodel.assess.chassis import chassis_of
from rackmodel.assess.heat_band import LEVELS, accelerator_width, heat_bands
from rackmodel.assess.rack_power import conversion_w
from rackmodel.assess.series import powered_of
from rackmodel.reporting.summary import heat_text

JOB = {"model": "gpt3-1.3b", "gpus": 16, "global_batch": 16, "seq_len": 1024}
PLAN = {"tp": 2, "pp": 1, "micro_batch": 1}


@pytest.fixture(scope="module")
def trained():
    return rackmodel.simulate("dgx-h100", plan=PLAN, **JOB)


@pytest.fixture(scope="module")
def done(trained):
    return powered_of(trained)[0]


def bands(done, catalog, width, cap_w=math.inf):
    return heat_bands(done, catalog, width, cap_w)[done.racks[0].rack_class]


def test_a_band_without_doubt_in_accelerators_is_the_bounds_of_all_else(done, catalog):
    (rack,) = done.racks
    low, high = bands(done, catalog, (0.0, 0.0))
    for level, told in zip(LEVELS, (low, high), strict=True):
        chassis = chassis_of(catalog, done.chassis.name, level)
        fixed = {**done.chassis.part_w, **chassis.part_w}
        around = sum(fixed.values()) * rack.chassis
        added = conversion_w(chassis, rack.chassis, np.array([rack.accelerator_w.mean()]))
        total = rack.accelerator_w.mean() + around + sum(float(w[0]) for w in added.values())
        assert told == pytest.approx(total, rel=0.02)  # conversion follows what stands around
    assert low < rack.heat_w < high


@pytest.mark.parametrize("width", [0.05, 0.1, 0.3])
def test_a_wider_doubt_widens_both_sides_and_never_beyond_accelerators_own(done, catalog, width):
    (rack,) = done.racks
    plain, wide = (bands(done, catalog, (w, w)) for w in (0.0, width))
    assert wide[0] < plain[0] < plain[1] < wide[1]
    # All heat off by `width` beside the bounds of the rest is more than accelerators alone.
    most = [math.hypot(math.log(end / rack.heat_w), width) for end in plain]
    assert rack.heat_w * math.exp(-most[0]) < wide[0]
    assert wide[1] < rack.heat_w * math.exp(most[1])


def test_no_accelerator_passes_its_cap(done, catalog):
    (rack,) = done.racks
    mean_w = rack.accelerator_w.mean() / rack.accelerators
    at_cap = bands(done, catalog, (0.3, 0.3), cap_w=mean_w)
    assert at_cap[1] == pytest.approx(bands(done, catalog, (0.3, 0.0))[1], rel=1e-12)
    assert at_cap[0] == pytest.approx(bands(done, catalog, (0.3, 0.3))[0], rel=1e-12)
    near = bands(done, catalog, (0.3, 0.3), cap_w=1.1 * mean_w)
    assert near[1] == pytest.approx(bands(done, catalog, (0.3, math.log(1.1)))[1], rel=1e-9)


def test_serving_and_parts_that_nobody_metered_are_less_sure():
    known = accelerator_width("nvidia-hopper", "training")
    assert accelerator_width("nvidia-hopper", "serving") > known
    assert accelerator_width("tpu", "training") > known


def test_a_band_is_told_beside_the_heat(trained):
    told = trained.to_dict()
    text = heat_text(told)
    low, high = (f"{end:.3g}" for end in trained.rack_kw_band)
    assert f"({low} - {high})" in text
    frame = rackmodel.compare(["dgx-h100"], plan=PLAN, **JOB).frame
    assert frame["heat_w_per_rack_low"][0] == pytest.approx(trained.rack_kw_band[0] * 1e3, rel=1e-9)


def test_folded_and_unfolded_jobs_have_the_same_band(trained):
    whole = rackmodel.simulate("dgx-h100", plan=PLAN, fold=False, **JOB)
    assert whole.rack_kw_band == pytest.approx(trained.rack_kw_band, rel=1e-9)
