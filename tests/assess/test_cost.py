import math

import pandas as pd
import pytest
from machines import h100_cluster, nvl72_inventory

from rackmodel.assess.cost import Bought, capital, cost_of, pue, training_run
from rackmodel.assess.site import Site
from rackmodel.errors import InvalidInput


def h100_cost(catalog, **changes):
    goods = {
        "accelerator": "h100",
        "chassis": "dgx-h100",
        "accelerators": 100_000,
        "chassis_count": 12_500,
        "liquid_w": 0.0,
        "provisioned_w": 142e6,
        "inventory": h100_cluster(),
    }
    bought = Bought(**{name: changes.pop(name, value) for name, value in goods.items()})
    told = {"used": 100_000, "it_w": 107e6, "tokens_per_s": 40e6} | changes
    return cost_of(catalog, bought, **told)


# Press: 100,000 H100 cost "almost 4 G USD" (servers); analysts: 51,613 USD a GPU all in.
def test_a_hundred_thousand_h100(catalog):
    cost = h100_cost(catalog)
    assert 3.5e9 < cost["servers_usd"] < 4.0e9
    assert 4.0e9 < cost["capital_usd"] < 5.2e9
    assert (cost["capital_usd"] + cost["hall_usd"]) / 100_000 == pytest.approx(51_613, rel=0.25)
    assert cost["capital_usd_low"] < cost["servers_usd"] < cost["capital_usd_high"]
    # Posted rents are 1.47-6.88 USD; contracts 1.70-2.35.
    assert 1.0 < cost["usd_per_gpu_hour"] < 2.35
    assert cost["missing"] == []


def test_levels_are_ordered_and_parts_add_up(catalog):
    cost = h100_cost(catalog)
    for name in ("usd_per_mtoken", "usd_per_gpu_hour", "capital_usd", "hall_usd", "usd_per_hour"):
        assert cost[f"{name}_low"] < cost[name] < cost[f"{name}_high"]
    assert math.fsum(cost["per_hour_usd"].values()) == pytest.approx(cost["usd_per_hour"])
    parts = cost["capital_by_part_usd"]
    assert math.fsum(parts.values()) == pytest.approx(cost["capital_usd"] + cost["hall_usd"])
    tokens_per_hour = 40e6 * 3600
    assert cost["usd_per_mtoken"] == pytest.approx(cost["usd_per_hour"] / tokens_per_hour * 1e6)
    assert cost["network_share"] == pytest.approx(
        (parts["switches"] + parts["links"]) / cost["capital_usd"]
    )


def test_dearer_power_and_slower_jobs_cost_more(catalog):
    usual = h100_cost(catalog)["usd_per_mtoken"]
    assert h100_cost(catalog, site=Site(usd_per_kwh=0.20))["usd_per_mtoken"] > usual
    assert h100_cost(catalog, site=Site(facility_pue=2.0))["usd_per_mtoken"] > usual
    assert h100_cost(catalog, tokens_per_s=20e6)["usd_per_mtoken"] == pytest.approx(2 * usual)


def test_nvl72_rack_costs_what_the_press_says(catalog):
    rack = Bought(accelerator="gb200", chassis="gb200-nvl72", accelerators=72, chassis_count=1)
    found = capital(catalog, rack)
    assert found.total == pytest.approx(3.1e6, rel=0.01)


def test_optics_in_the_rack_are_paid_for(catalog):
    from rackmodel.assess.media import media_rows

    parts = nvl72_inventory()
    told = {
        "accelerator": "gb200",
        "chassis": "gb200-nvl72",
        "accelerators": 72,
        "chassis_count": 1,
    }
    copper = capital(catalog, Bought(inventory=parts, **told))
    links = media_rows(parts, catalog, {"scale-up": "pluggable"})
    optics = capital(catalog, Bought(inventory=parts, links=links, **told))
    # 648 modules of 1.6T; the chassis' price holds 5,184 pairs of 5 USD an end, which go.
    assert optics.total - copper.total == pytest.approx(648 * 2000 - 2 * 2592 * 5, rel=1e-6)


def test_missing_price_is_named_and_the_rest_is_known(catalog):
    cost = h100_cost(catalog, accelerator="abacus")
    assert cost["missing"] == ["abacus"]
    assert cost["capital_usd"] > 0
    assert "accelerators" not in cost["capital_by_part_usd"]


def test_pue_follows_the_share_of_liquid(catalog):
    values = [pue(catalog, share) for share in (0.0, 0.5, 0.87, 1.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(1.4)
    assert 1.09 < values[2] < 1.16
    assert pue(catalog, 0.5, 1.25) == 1.25
    with pytest.raises(InvalidInput, match="PUE: expected 1 to 5"):
        pue(catalog, 0.5, 0.9)


# Meta's model card: Llama 3 70B took 6.4 M H100-hours for 15 T tokens.
def test_run_arithmetic_meets_llama3_70b():
    run = training_run(
        15e12,
        tokens_per_s=16_000 * 675,
        accelerators=16_000,
        facility_w=24e6,
        usd_per_hour=30_000,
        goodput=0.95,
    )
    assert run["gpu_hours"] == pytest.approx(6.4e6, rel=0.05)
    assert run["days"] * 24 * 16_000 == pytest.approx(run["gpu_hours"])
    assert run["usd"] == pytest.approx(run["days"] * 24 * 30_000)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidInput):
            training_run(wrong, tokens_per_s=1, accelerators=1, facility_w=1, usd_per_hour=1)


def test_frame_of_the_capital_is_serialisable(catalog):
    assert not pd.Series(h100_cost(catalog)["capital_by_part_usd"]).isna().any()
