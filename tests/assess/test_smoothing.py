"""Laws of smoothing: energy conserved, limits kept, nothing slower, nothing for nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackmodel.assess.smoothing import (
    Smoothing,
    edges,
    floored,
    ramped,
    smoothed,
    stored,
    window_rows,
)
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
