"""What a site gives a machine through the front door: a power cap, coolant, cables, prices."""

from __future__ import annotations

import json
import math

import pytest

from rackmodel.api import simulate
from rackmodel.assess.site import Site
from rackmodel.errors import CannotRun, InvalidInput, RackModelError, UnknownName

NODE = {
    "model": "llama3-8b",
    "gpus": 8,
    "global_batch": 32,
    "seq_len": 8192,
    "plan": {"tp": 1, "pp": 1, "dp": 8, "micro_batch": 1, "sharding": "zero3"},
    "default_plan": True,
}
RACK = {
    "model": "gpt3-13b",
    "gpus": 72,
    "global_batch": 144,
    "seq_len": 2048,
    "plan": {"tp": 4, "pp": 1, "micro_batch": 1},
    "default_plan": True,
}


def under(cap_w):
    return simulate("dgx-h100", check_memory=False, power_cap_w=cap_w, **NODE)


@pytest.fixture(scope="module")
def usual():
    return under(None)


# Published: H100 at 500 W train about 9 % slower; the power model's own steps lose 10.4 to 11.
def test_an_h100_at_500_w_trains_a_tenth_slower(usual):
    capped = under(500.0)
    power = capped.assessment["power"]
    assert 0.08 < 1 - capped.tokens_per_s / usual.tokens_per_s < 0.12
    assert power["cap_slows"]
    assert 0.8 < power["cap_clock"] < 0.95
    assert power["cap_simulations"] <= 6
    assert power["accelerator_w"] <= 500.5
    assert any("500 W leave" in note for note in capped.assessment["notes"])


def test_tables_tell_the_cap_and_the_run(usual, racks):
    from rackmodel.reporting.summary import cap_text, run_text

    capped = under(400.0)
    row = capped.to_dict()
    assert cap_text(row).startswith("400 W leave ")
    assert any("no measurements" in note for note in row["notes"])
    assert cap_text(usual.to_dict()) == run_text(row) == "–"
    assert "days" in run_text(racks["plain"])


def test_lower_caps_are_slower_and_cooler(usual):
    results = [under(cap) for cap in (400.0, 550.0, 700.0)]
    assert [r.step_s for r in results] == sorted((r.step_s for r in results), reverse=True)
    heat = [r.assessment["power"]["it_w"] for r in results]
    assert heat == sorted(heat)
    assert results[-1].step_s == usual.step_s


def test_a_cap_that_never_binds_changes_nothing():
    """A small model waits for its host and its gradients most of the time."""
    job = {**NODE, "model": "gpt3-125m", "seq_len": 256}
    free, capped = (
        simulate("dgx-h100", check_memory=False, power_cap_w=cap, **job) for cap in (None, 690.0)
    )
    assert free.assessment["power"]["accelerator_w"] < 690.0
    assert capped.step_s == free.step_s
    assert not capped.assessment["power"]["cap_slows"]


def in_air_of(supply_c, **site):
    return simulate("dgx-h100", check_memory=False, site={"supply_c": supply_c, **site}, **NODE)


# 0.06 K/W and half of a rise of 12 K: an H100 of 700 W passes 87 C in air above 39 C.
def test_a_hot_site_throttles_the_step(usual):
    mild, hot, hotter = (in_air_of(supply_c) for supply_c in (35.0, 45.0, 55.0))
    assert mild.step_s == usual.step_s
    assert mild.assessment["power"]["thermal_cap_w"] is None
    assert usual.step_s < hot.step_s < hotter.step_s
    for result in (hot, hotter):
        found = result.assessment
        assert found["power"]["cap_slows"]
        assert found["power"]["cap_w"] == 700.0
        assert found["power"]["accelerator_w"] <= found["power"]["thermal_cap_w"] + 0.5
        assert max(rack["junction_c"]["peak"] for rack in found["racks"]) <= 87.6
        assert "throttles" in found["notes"][0]
        json.dumps(found, allow_nan=False)
    assert hot.assessment["power"]["thermal_cap_w"] == pytest.approx((87 - 45 - 6) / 0.06, rel=0.02)


def test_a_cap_below_what_the_coolant_leaves_decides(usual):
    capped, both = under(500.0), in_air_of(45.0, power_cap_w=500.0)
    assert both.step_s == capped.step_s
    assert both.assessment["power"]["thermal_cap_w"] is None


def test_coolant_too_hot_to_work_in_is_refused_with_the_power_that_it_leaves():
    with pytest.raises(CannotRun, match=r"coolant leaves gb200 \d+ W at its limit"):
        simulate("gb200-nvl72", site={"supply_c": 70.0}, **RACK)
    with pytest.raises(InvalidInput, match="between -30 and 60 C"):
        in_air_of(70.0)


def test_impossible_coolant_is_refused_before_anything_runs(monkeypatch):
    from rackmodel.engine import step

    monkeypatch.setattr(step, "simulate_step", None)  # nothing may ask for it
    for site, words in (
        ({"flow_lpm": 1.0}, "raise the flow"),
        ({"supply_c": 99.0}, "outside 2-80 C"),
        ({"rise_k": 60.0}, "outside 2-80 C"),
    ):
        with pytest.raises(InvalidInput, match=words):
            simulate("gb200-nvl72", site=site, **RACK)


def test_a_trickle_of_coolant_throttles_and_more_of_it_does_not():
    few, many = (
        simulate("gb200-nvl72", site={"flow_lpm": flow, "supply_c": 40.0}, **RACK)
        for flow in (50.0, 300.0)
    )
    assert many.step_s <= few.step_s
    cold, warm = (r.assessment["racks"][0]["coolant"]["return_c"] for r in (many, few))
    assert cold < warm


@pytest.mark.parametrize(
    ("site", "error", "words"),
    [
        ({"power_cap_w": 50.0}, InvalidInput, "up to 700 W"),
        ({"power_cap_w": 900.0}, InvalidInput, "up to 700 W"),
        ({"power_cap_w": math.nan}, InvalidInput, "power_cap_w"),
        ({"power_cap_w": 110.0}, CannotRun, "lowest clock"),
        ({"facility_pue": 0.9}, InvalidInput, "facility_pue"),
        ({"usd_per_kwh": -1.0}, InvalidInput, "usd_per_kwh"),
        ({"supply_k": 300.0}, UnknownName, "supply_c"),
        ({"flow_lpm": 60.0}, InvalidInput, "cooled by air"),
        ({"rise_k": 90.0}, InvalidInput, "expected 1 to 60 K"),
        ({"media": {"scale-out": "copper"}}, CannotRun, "longer than its reach of 1 m"),
        ({"media": {"scale-up": "papyrus"}}, UnknownName, "papyrus"),
    ],
)
def test_an_impossible_site_is_refused_with_the_reason(site, error, words):
    with pytest.raises(error, match=words):
        simulate("dgx-h100", check_memory=False, site=site, **NODE)


@pytest.fixture(scope="module")
def racks():
    sites = {
        "plain": {},
        "optics": {"media": {"scale-up": "pluggable"}},
        "cool": {"supply_c": 20.0},
        "warm": {"supply_c": 40.0},
        "dear": {"usd_per_kwh": 0.3, "facility_pue": 1.5},
    }
    return {
        name: simulate("gb200-nvl72", site={**site, "run_tokens": 15e12}, **RACK).to_dict()
        for name, site in sites.items()
    }


def test_pluggables_add_16_to_21_kw_to_a_rack_of_72(racks):
    plain, optics = (racks[name]["racks"][0] for name in ("plain", "optics"))
    at_dc = optics["by_part_w"]["optics"]
    assert 16e3 < at_dc < 21e3
    assert at_dc < optics["heat_w"] - plain["heat_w"] < 21e3  # conversion, fans
    assert optics["air_w"] - plain["air_w"] > at_dc  # modules have no cold plates
    assert racks["optics"]["cost"]["usd_per_mtoken"] > racks["plain"]["cost"]["usd_per_mtoken"]


def test_warmer_coolant_is_a_warmer_junction(racks):
    junctions = [
        racks[name]["racks"][0]["junction_c"]["peak"] for name in ("cool", "plain", "warm")
    ]
    assert junctions == sorted(junctions)
    assert junctions[2] - junctions[0] == pytest.approx(20.0, abs=3.0)


def test_power_and_pue_have_their_price(racks):
    plain, dear = (racks[name] for name in ("plain", "dear"))
    assert dear["power"]["pue"] == 1.5
    assert dear["cost"]["usd_per_mtoken"] > plain["cost"]["usd_per_mtoken"]
    assert dear["run"]["energy_mwh"] > plain["run"]["energy_mwh"]


def leaves(value, path=""):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from leaves(part, path)
    else:
        yield path, value


def test_json_is_finite_and_complete(racks):
    row = racks["plain"]
    json.dumps(row, allow_nan=False)
    numbers = [(path, v) for path, v in leaves(row) if isinstance(v, float)]
    assert len(numbers) > 150
    assert all(math.isfinite(v) for _, v in numbers)
    for key in ("racks", "energy_j_per_token", "power", "cost", "reliability", "run", "notes"):
        assert key in row
    balance = sum(rack["count"] * sum(rack["by_part_w"].values()) for rack in row["racks"])
    split = sum(rack["count"] * (rack["liquid_w"] + rack["air_w"]) for rack in row["racks"])
    assert balance == pytest.approx(split, rel=1e-9)
    assert balance == pytest.approx(row["power"]["racks_w"], rel=1e-9)


def test_a_site_is_made_of_its_fields():
    site = Site.of({"supply_c": 20.0}, power_cap_w=500.0, media=None)
    assert Site.of(site, run_tokens=1e12).supply_c == 20.0
    with pytest.raises(RackModelError, match="supply_c"):
        Site.of({"suply_c": 20.0})
    for number in (float("nan"), -1.0):
        with pytest.raises(RackModelError, match="usd_per_kwh: expected a number of 0 or more"):
            Site.of({"usd_per_kwh": number})
