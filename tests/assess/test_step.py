import json

import pandas as pd
import pytest
from machines import (
    frame,
    gpt3_step,
    h100_cluster,
    nvl72_inventory,
    one_kind_of_rack,
    one_rank_class,
    piece,
)

from rackmodel.assess.site import Site
from rackmodel.assess.step import StepFrames, assess_step
from rackmodel.errors import InvalidInput, UnknownName

WORK = frame(piece("compute", 0, 1, flops=1.2e15, hbm=3e12))


def assess(
    timeline, classes, racks, accelerators, catalog, part, chassis, parts, *, step_s, tokens, **site
):
    step = StepFrames(
        timeline=timeline,
        rank_counts=None if classes is None else classes["count"].tolist(),
        racks=racks,
        accelerators=accelerators,
        step_s=step_s,
        tokens=tokens,
    )
    return assess_step(step, catalog.accelerators[part], chassis, parts, catalog, Site.of(site))


def nvl72(catalog, **options):
    return assess(
        WORK,
        one_rank_class(144),
        one_kind_of_rack(72, 2),
        144,
        catalog,
        "gb200",
        "gb200-nvl72",
        nvl72_inventory(2),
        step_s=1.0,
        tokens=1e5,
        **options,
    )


def test_contract_of_simulate_json(catalog):
    result = nvl72(catalog, run_tokens=1e12)
    (rack,) = result["racks"]
    assert {"rack", "count", "heat_w", "liquid_w", "air_w", "peak_w", "by_part_w"} <= set(rack)
    assert {"flow_lpm", "supply_c", "return_c"} <= set(rack["coolant"])
    assert rack["count"] == 2
    assert rack["heat_w_low"] < rack["heat_w"] < rack["heat_w_high"]
    assert rack["peak_w"] >= rack["heat_w"] * (1 - 1e-12)
    assert result["cost"]["usd_per_mtoken"] > 0
    assert result["run"]["days"] > 0
    assert result["notes"] == []
    json.dumps(result)


def test_totals_are_racks_and_fabric(catalog):
    result = nvl72(catalog)
    power = result["power"]
    racks = sum(rack["count"] * rack["heat_w"] for rack in result["racks"])
    assert power["racks_w"] == pytest.approx(racks, rel=1e-12)
    assert sum(power["by_part_w"].values()) == pytest.approx(racks, rel=1e-9)
    assert power["it_w"] == pytest.approx(racks + power["fabric_w"], rel=1e-12)
    assert power["liquid_w"] + power["air_w"] == pytest.approx(power["it_w"], rel=1e-12)
    assert result["energy_j_per_token"] == pytest.approx(power["it_w"] / 1e5)
    assert power["hall_swing"]["mean_w"] == pytest.approx(power["it_w"], rel=1e-9)
    causes = sum(power["accelerator_by_cause_w"].values())
    assert causes * 144 == pytest.approx(power["by_part_w"]["accelerator"], rel=1e-9)


# The seeds' claim: optics in place of the copper cartridge add 16-21 kW a rack.
def test_pluggables_heat_an_nvl72_by_18_kilowatts_of_air(catalog):
    copper, optics = nvl72(catalog), nvl72(catalog, media={"scale-up": "pluggable"})
    before, after = copper["racks"][0], optics["racks"][0]
    added = after["heat_w"] - before["heat_w"]
    assert 16e3 < added < 21e3  # 17.6 kW DC, and conversion
    assert after["by_part_w"]["optics"] == pytest.approx(648 * 27.2, rel=1e-6)  # 1.6T modules
    assert after["air_w"] - before["air_w"] > 0.95 * added
    assert optics["cost"]["usd_per_mtoken"] > copper["cost"]["usd_per_mtoken"]
    assert optics["reliability"]["mtbf_s"] < copper["reliability"]["mtbf_s"]
    provisioned = [one["power"]["provisioned_w"] for one in (copper, optics)]
    assert provisioned[1] - provisioned[0] == pytest.approx(2 * added, rel=0.03)
    assert optics["power"]["tokens_per_s_per_mw"] < 0.9 * copper["power"]["tokens_per_s_per_mw"]


# Press: 100,000 H100 take 150 MW.
def test_a_hundred_thousand_h100_are_of_the_150_megawatt_class(catalog):
    result = assess(
        gpt3_step(),
        one_rank_class(100_000),
        one_kind_of_rack(32, 3125),
        100_000,
        catalog,
        "h100",
        "dgx-h100",
        h100_cluster(),
        step_s=10.78,
        tokens=2048 * 2048,
    )
    power = result["power"]
    assert 125e6 < power["facility_w"] < 165e6
    assert 0.05 < power["fabric_w"] / power["racks_w"] < 0.13
    assert 0.75 < result["reliability"]["goodput"] < 0.81


def test_a_power_cap_needs_a_smaller_hall(catalog):
    free, capped = nvl72(catalog), nvl72(catalog, power_cap_w=1000.0)
    saved = free["power"]["provisioned_w"] - capped["power"]["provisioned_w"]
    assert 144 * 200.0 < saved < 1.06 * 144 * 200.0
    assert capped["cost"]["hall_usd"] < free["cost"]["hall_usd"]


def test_capital_by_part_has_its_bounds(catalog):
    cost = nvl72(catalog, media={"scale-up": "pluggable"})["cost"]
    low, mid, high = (cost[f"capital_by_part_usd{end}"] for end in ("_low", "", "_high"))
    assert set(low) == set(mid) == set(high)
    assert all(low[part] <= mid[part] <= high[part] for part in mid)
    for end, parts in (("_low", low), ("", mid), ("_high", high)):
        whole = cost[f"capital_usd{end}"] + cost[f"hall_usd{end}"]
        assert sum(parts.values()) == pytest.approx(whole, rel=1e-12)


# A cable with a retimer in each end costs 150 USD an 800 Gb/s end; the copper that it replaces
# stands in the price of the rack.
def test_swapped_cables_add_the_difference_of_their_prices(catalog):
    copper, active = nvl72(catalog), nvl72(catalog, media={"scale-up": "aec"})
    added = active["cost"]["capital_usd"] - copper["cost"]["capital_usd"]
    ends = 2 * 2 * 1296
    assert added == pytest.approx(ends * (150 / 2 - 5 * 2), rel=0.01)  # cooling moves a little
    assert "scale_up_links" in active["cost"]["capital_by_part_usd"]


def test_several_rank_and_rack_classes(catalog):
    """Two racks that hold unlike ranks, worked out from each rank class alone."""
    busy = piece("compute", 0, 1, flops=1.0e15, hbm=3e12)
    timeline = frame(busy, piece("bubble", 0, 1, rank_class=1))
    racks = pd.DataFrame(
        [
            {"rack_class": 0, "count": 3, "rank_class": 0, "ranks": 72},
            {"rack_class": 1, "count": 1, "rank_class": 0, "ranks": 36},
            {"rack_class": 1, "count": 1, "rank_class": 1, "ranks": 36},
        ]
    )
    classes = pd.DataFrame({"rank_class": [0, 1], "count": [252, 36]})
    result = assess(
        timeline, classes, racks, 288, catalog, "gb200", "gb200-nvl72", None, step_s=1.0, tokens=1e5
    )
    full, half = result["racks"]
    assert (full["count"], half["count"]) == (3, 1)
    assert full["heat_w"] > half["heat_w"]
    only_waiting = assess(
        frame(piece("bubble", 0, 1, rank_class=1)),
        pd.DataFrame({"rank_class": [1], "count": [72]}),
        pd.DataFrame([{"rack_class": 0, "count": 1, "rank_class": 1, "ranks": 72}]),
        72,
        catalog,
        "gb200",
        "gb200-nvl72",
        None,
        step_s=1.0,
        tokens=1e5,
    )["racks"][0]
    middle = (full["by_part_w"]["accelerator"] + only_waiting["by_part_w"]["accelerator"]) / 2
    assert half["by_part_w"]["accelerator"] == pytest.approx(middle, rel=0.01)
    assert "reliability" not in result


def test_racks_that_miss_ranks_are_told(catalog):
    result = assess(
        WORK,
        one_rank_class(144),
        one_kind_of_rack(72, 1),
        144,
        catalog,
        "gb200",
        "gb200-nvl72",
        None,
        step_s=1.0,
        tokens=1e5,
    )
    assert any("racks hold 72 ranks" in note for note in result["notes"])


def test_bad_names_and_coolants_are_one_clear_line(catalog):
    with pytest.raises(UnknownName, match="no chassis 'gb200-nvl27'"):
        assess(
            WORK,
            one_rank_class(72),
            one_kind_of_rack(72),
            72,
            catalog,
            "gb200",
            "gb200-nvl27",
            None,
            step_s=1.0,
            tokens=1e5,
        )
    with pytest.raises(InvalidInput, match="coolant"):
        nvl72(catalog, supply_c=99.0)


def test_a_small_job_on_a_big_domain_bears_its_own_part(catalog):
    """Inventories come in whole domains: here two racks, of which the job fills one."""
    one = assess(
        WORK,
        one_rank_class(72),
        one_kind_of_rack(72),
        72,
        catalog,
        "gb200",
        "gb200-nvl72",
        nvl72_inventory(2),
        step_s=1.0,
        tokens=1e5,
    )
    both = nvl72(catalog)
    assert one["power"]["fabric_w"] == pytest.approx(both["power"]["fabric_w"] / 2)
    assert one["racks"][0]["heat_w"] == pytest.approx(both["racks"][0]["heat_w"])
    assert one["reliability"]["mtbf_s"] == pytest.approx(2 * both["reliability"]["mtbf_s"])


def test_a_timeline_that_ends_early_is_told(catalog):
    short = frame(piece("compute", 0, 0.4, flops=4e14))
    result = assess(
        short,
        one_rank_class(72),
        one_kind_of_rack(72),
        72,
        catalog,
        "gb200",
        "gb200-nvl72",
        None,
        step_s=1.0,
        tokens=1e5,
        trays=True,
    )
    assert any("end after 40% of the step" in note for note in result["notes"])
    heat = sum(tray["heat_w"] for tray in result["trays"])
    assert heat == pytest.approx(result["racks"][0]["heat_w"], rel=1e-9)
