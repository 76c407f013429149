"""Laws of margins, edges, halls and caps."""

import numpy as np
import pytest

import rackmodel
from rackmodel.assess.halls import diversity, hall_power, idle_w
from rackmodel.assess.margins import margins, warnings
from rackmodel.assess.series import Series, heat_over_time, power_over_time, powered_of, series_of
from rackmodel.errors import InvalidInput
from rackmodel.hardware import load_catalog

JOB = {"model": "llama3-70b", "gpus": 72, "global_batch": 72, "seq_len": 4096}
PLAN = {"tp": 4, "pp": 2, "micro_batch": 1, "sharding": "zero1"}


@pytest.fixture(scope="module")
def trained():
    return rackmodel.simulate("gb200-nvl72", **JOB, plan=PLAN)


def square(step_s=1.0, low=50.0, high=150.0, bins=200):
    watts = np.where(np.arange(bins) < bins // 2, high, low)
    return Series(
        step_s=step_s,
        racks_w={0: watts},
        counts={0: 1.0},
        rack_accelerators={0: 72},
        idle_w={0: 20.0},
        ranks_w={0: watts / 72},
        ranks={0: 72.0},
        hall_w=watts,
    )


def test_the_series_holds_the_energy_of_the_result(trained):
    power, series = trained.assessment["power"], series_of(trained)
    assert series.hall_w.mean() == pytest.approx(power["it_w"], rel=1e-9)
    ranks = sum(series.ranks[name] * w.mean() for name, w in series.ranks_w.items())
    assert ranks / sum(series.ranks.values()) == pytest.approx(power["accelerator_w"], rel=1e-9)
    sampled = power_over_time(trained, every_s=20e-3)
    hall = sampled[sampled["what"] == "hall"]["power_w"]
    assert hall.mean() == pytest.approx(power["it_w"], rel=1e-9)


def test_margins_are_shares_of_limits_and_the_fullest_comes_first(trained):
    done, _ = powered_of(trained)
    rows = margins(done)
    shares = [row["share"] for row in rows]
    assert shares == sorted(shares, reverse=True)
    known = {row["part"]: row for row in rows}
    assert {"power shelf", "busbar", "breaker", "CDU", "air", "junction"} <= set(known)
    # POWER_DYNAMICS: 118 kW are 2.2 kA.
    per_w = known["busbar"]["load"] / known["power shelf"]["load"]
    assert 118e3 * per_w == pytest.approx(2.2e3, rel=0.02)
    assert warnings(done) == []


def test_a_rack_without_enough_supplies_says_what_helps():
    few = rackmodel.hardware.load_catalog(
        overrides={"chassis.gb200-nvl72.psu_installed_w": "90 kW"}
    )
    result = rackmodel.simulate("gb200-nvl72", **JOB, plan=PLAN, catalog=few)
    (note, *_) = [n for n in result.assessment["notes"] if n.startswith("power shelf")]
    assert "90,000 W" in note
    assert "--power-cap" in note


def test_temperatures_rise_to_those_of_the_step_and_fall_back(trained):
    up, down = (heat_over_time(trained, seconds=1000.0, stops=stops) for stops in (False, True))
    assert up["junction_c"].is_monotonic_increasing
    assert down["junction_c"].is_monotonic_decreasing
    means = [rack["junction_c"]["mean"] for rack in trained.assessment["racks"]]
    assert up["junction_c"].iloc[-1] == pytest.approx(max(means), abs=2.0)
    after_s = up["time_s"][up["return_c"] > up["return_c"].iloc[-1] - 4.0].iloc[0]
    assert 30.0 < after_s < 200.0  # the loop takes minutes, the die a second
    with pytest.raises(rackmodel.InvalidInput, match="heat over time"):
        heat_over_time(trained, seconds=-1.0)


def test_a_hall_keeps_the_energy_of_its_jobs():
    jobs = [square(), square(step_s=0.7), square(step_s=1.3, low=90.0)]
    total = hall_power(jobs, seconds=0.7 * 13 * 100, every_s=0.05)
    assert total.mean() == pytest.approx(sum(job.hall_w.mean() for job in jobs), rel=1e-9)


def test_equal_jobs_in_phase_add_and_staggered_ones_rise_one_by_one():
    together = hall_power([square()] * 3, seconds=4.0, every_s=0.005, seed=None)
    assert (together.min(), together.max()) == pytest.approx((150.0, 450.0))
    late = hall_power([square()] * 2, seconds=6.0, every_s=1.0, starts_s=[0.0, 3.0])
    assert late.tolist() == pytest.approx([120.0] * 3 + [200.0] * 3)
    with pytest.raises(rackmodel.InvalidInput, match="hall"):
        hall_power([], seconds=1.0)


def test_a_hall_over_time_holds_the_mean_of_its_jobs_and_starts_one_by_one(trained):
    series = series_of(trained)
    running = rackmodel.hall_over_time(trained, 8, seconds=400 * trained.step_s, every_s=0.5)
    assert running["power_w"].mean() == pytest.approx(8 * series.hall_w.mean(), rel=0.01)
    late = rackmodel.hall_over_time(trained, 3, stagger_s=100.0, every_s=20.0)
    power = late["power_w"].to_numpy()
    assert late["time_s"].iloc[-1] + 20.0 == pytest.approx(260.0)
    full, idle = series.hall_w.mean(), idle_w(series)
    means = [power[:5].mean(), power[5:10].mean(), power[10:].mean()]
    wanted = [n * full + (3 - n) * idle for n in (1, 2, 3)]
    assert means == pytest.approx(wanted, rel=0.02)
    again = rackmodel.hall_over_time(trained, 3, stagger_s=100.0, every_s=20.0)
    assert again.equals(late)
    for bad in ({"jobs": 0}, {"jobs": 2, "stagger_s": -1.0}, {"jobs": 2, "every_s": 0.0}):
        with pytest.raises(rackmodel.InvalidInput, match=r"jobs|stagger|hall"):
            rackmodel.hall_over_time(trained, **bad)


def test_swings_of_many_jobs_fall_with_the_root_of_their_number():
    rows = diversity(square(), (1, 4, 16, 64), draws=16)
    for row in rows:
        assert row["std_share"] * row["jobs"] ** 0.5 == pytest.approx(0.5, rel=0.2)
        assert row["swing_share"] <= row["in_phase_share"] * (1 + 1e-9)


def test_a_lower_cap_slows_a_job_and_saves_power(trained):
    found = rackmodel.caps(trained, caps_w=[1200.0, 1000.0, 700.0], megawatts=10.0)
    rows = found["rows"]
    assert [row["cap_w"] for row in rows] == [700.0, 1000.0, 1200.0]
    speeds, watts = ([row[key] for row in rows] for key in ("speed", "accelerator_w"))
    assert speeds == sorted(speeds)
    assert watts == sorted(watts)
    assert speeds[-1] == pytest.approx(1.0, rel=1e-6)
    # arXiv 2605.24461, training: 1,200 to 1,000 W costs 5%, a site's power then gives 9% more.
    assert speeds[1] == pytest.approx(0.95, abs=0.03)
    assert rows[1]["site_tokens_per_s"] > 1.04 * rows[2]["site_tokens_per_s"]
    with pytest.raises(rackmodel.InvalidInput, match="idle"):
        rackmodel.caps(trained, caps_w=[100.0])


def test_supplies_that_cannot_carry_the_rated_power_are_refused():
    words = {"model": "gpt3-1.3b", "gpus": 8, "global_batch": 8, "seq_len": 2048}
    catalog = load_catalog(overrides={"chassis.dgx-h100.psu_installed_w": 1e-300})
    with pytest.raises(InvalidInput, match="psu_installed_w: supplies of 1e-300 W"):
        rackmodel.simulate("dgx-h100", **words, catalog=catalog)
