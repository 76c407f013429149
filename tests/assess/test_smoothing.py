"""Laws of smoothing: energy conserved, limits kept, nothing slower, nothing for nothing."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

import rackmodel
from rackmodel.assess.series import rack_over_step, series_of
from rackmodel.assess.smoothing import (
    edges,
    floored,
    ramped,
    smoothed,
    stored,
    window_rows,
)
from rackmodel.assess.smoothing_settings import Smoothing
from rackmodel.errors import InvalidInput

SERIES = st.lists(st.floats(1e3, 150e3), min_size=2, max_size=64).map(np.array)
STEP_S = 2.0


@given(SERIES)
def test_no_smoothing_changes_nothing(power_w):
    found = smoothed(power_w, STEP_S, Smoothing(), 72)
    assert found.power_w is power_w
    assert found.burned_w == 0.0


@given(SERIES, st.floats(0.0, 1.0))
def test_a_floor_only_adds_and_never_above_the_peak(power_w, floor):
    found = floored(power_w, STEP_S / len(power_w), floor)
    assert (found >= power_w).all()
    assert found.max() == power_w.max()


@given(SERIES, st.floats(1e2, 1e7))
def test_a_ramp_is_kept_by_the_least_that_is_never_below(power_w, ramp):
    bin_s = STEP_S / len(power_w)
    found = ramped(power_w, bin_s, ramp)
    assert (found >= power_w - 1e-6).all()
    steps = np.abs(np.diff(np.append(found, found[0])))
    assert steps.max() <= ramp * bin_s * (1 + 1e-9) + 1e-6
    # Least: each value is the power itself, or as low as a neighbour and the ramp allow.
    near = np.maximum(np.roll(found, 1), np.roll(found, -1)) - ramp * bin_s
    assert np.allclose(found, np.maximum(power_w, near), rtol=1e-9, atol=1e-5)


@given(SERIES, st.floats(1.0, 1e6))
def test_storage_keeps_energy_and_its_ceiling(power_w, energy_j):
    bin_s = STEP_S / len(power_w)
    grid, ceiling = stored(power_w, bin_s, energy_j)
    assert grid.sum() == pytest.approx(power_w.sum(), rel=1e-9)
    assert grid.max() <= ceiling * (1 + 1e-9)
    assert power_w.mean() * (1 - 1e-9) <= ceiling <= power_w.max() * (1 + 1e-9)
    moved = np.cumsum((grid - power_w) * bin_s)
    assert moved.max() - moved.min() <= energy_j * (1 + 1e-6) + 1e-3  # no more than it holds


@given(SERIES, st.floats(1.0, 1e5), st.floats(1.0, 4.0))
def test_more_storage_never_leaves_a_higher_ceiling(power_w, energy_j, times):
    bin_s = STEP_S / len(power_w)
    less, more = (stored(power_w, bin_s, e)[1] for e in (energy_j, energy_j * times))
    assert more <= less * (1 + 1e-9)


@given(SERIES)
def test_windows_narrow_to_the_mean(power_w):
    rows = window_rows(power_w, STEP_S)
    assert rows[-1]["max_w"] == pytest.approx(power_w.mean(), rel=1e-9)
    for row in rows:
        assert row["min_w"] <= power_w.mean() * (1 + 1e-9) <= row["max_w"] * (1 + 2e-9)


def test_a_level_line_needs_what_lies_above_the_mean():
    power_w = np.array([120e3, 120e3, 60e3, 60e3])
    need_j = float(np.maximum(power_w - power_w.mean(), 0).sum()) * 0.5
    assert stored(power_w, 0.5, need_j)[1] == pytest.approx(90e3, rel=1e-9)
    assert stored(power_w, 0.5, 0.9 * need_j)[1] > 90e3


def test_a_job_that_ends_burns_half_its_change_over_the_ramp():
    found = edges(120e3, 40e3, Smoothing(ramp_w_per_s=20e3))
    assert found == {"start_s": 4.0, "stop_s": 4.0, "stop_burned_j": 160e3}


@pytest.mark.parametrize(
    "words", [{"floor": 1.2}, {"floor": -0.1}, {"ramp_w_per_s": 0.0}, {"battery_j": -1.0}]
)
def test_what_can_not_be_is_refused(words):
    with pytest.raises(InvalidInput, match="smoothing"):
        Smoothing(**words)


JOB = {"model": "llama3-70b", "gpus": 72, "global_batch": 144, "seq_len": 4096}
PLAN = {"tp": 4, "pp": 2, "micro_batch": 1, "sharding": "zero1"}
HOW = {"floor": 0.8, "ramp_w_per_s": 1e6, "capacitors_j": 65.0, "battery_j": 1e3}


@pytest.fixture(scope="module")
def plain():
    return rackmodel.simulate("gb300-nvl72", **JOB, plan=PLAN)


@pytest.fixture(scope="module")
def smooth():
    return rackmodel.simulate("gb300-nvl72", **JOB, plan=PLAN, site={"smoothing": HOW})


def test_a_site_that_smooths_pays_with_heat_and_not_with_time(plain, smooth):
    before, after = plain.assessment, smooth.assessment
    assert smooth.step_s == plain.step_s
    burned = after["racks"][0]["smoothing"]["burned_w"]
    assert after["racks"][0]["by_part_w"]["smoothing"] == burned > 0
    # More heat makes more coolant flow, which leaks a little less.
    whole = before["racks"][0]["heat_w"] + burned
    assert after["racks"][0]["heat_w"] == pytest.approx(whole, rel=3e-3)
    split = after["racks"][0]["liquid_w"] + after["racks"][0]["air_w"]
    assert split == pytest.approx(after["racks"][0]["heat_w"])
    assert after["racks"][0]["coolant"]["flow_lpm"] > before["racks"][0]["coolant"]["flow_lpm"]
    assert after["racks"][0]["junction_c"]["mean"] > before["racks"][0]["junction_c"]["mean"]
    assert after["cost"]["usd_per_mtoken"] > before["cost"]["usd_per_mtoken"]
    drawn = after["racks"][0]["smoothing"]["drawn_swing"]
    assert drawn == pytest.approx(before["racks"][0]["swing"], rel=5e-3)
    for name in ("swing_w", "ramp_w_per_s", "peak_1ms_w", "missing_j"):
        assert after["power"]["hall_swing"][name] < before["power"]["hall_swing"][name]


def test_smoothed_series_hold_the_energy_of_the_result_and_its_ceiling(smooth):
    series, rack = series_of(smooth), smooth.assessment["racks"][0]
    assert series.hall_w.mean() == pytest.approx(smooth.assessment["power"]["it_w"], rel=1e-9)
    assert series.racks_w[0].max() <= rack["smoothing"]["ceiling_w"] * (1 + 1e-9)
    over = rack_over_step(smooth)
    assert over["seen_w"].mean() - over["drawn_w"].mean() == pytest.approx(
        rack["smoothing"]["burned_w"]
    )


def test_smoothing_is_the_same_folded_and_unfolded():
    how = {"floor": 0.8, "ramp_w_per_s": 1e6, "capacitors_j": 5.0}
    words = {**JOB, "gpus": 16, "global_batch": 16, "plan": PLAN, "site": {"smoothing": how}}
    folded, whole = (
        rackmodel.simulate("gb300-nvl72", **words, fold=fold).assessment for fold in (True, False)
    )
    assert whole["power"]["it_w"] == pytest.approx(folded["power"]["it_w"], rel=1e-9)
    for name, watts in folded["power"]["hall_swing"].items():
        found = whole["power"]["hall_swing"][name]
        assert found == pytest.approx(watts, rel=1e-9, abs=1e-6), name


def test_a_site_that_can_not_smooth_is_refused_before_anything_runs():
    for how, told in (({"floor": 2.0}, "floor"), ({"flor": 0.5}, "floor"), ({"floor": "x"}, "x")):
        with pytest.raises(rackmodel.RackModelError, match=told):
            rackmodel.simulate("gb300-nvl72", **JOB, plan=PLAN, site={"smoothing": how})
    with pytest.raises(InvalidInput, match="training"):
        rackmodel.serve(
            "dgx-h100",
            model="llama3.1-70b",
            gpus=8,
            users=8,
            isl=64,
            osl=64,
            site={"smoothing": {"floor": 0.5}},
        )
