import pandas as pd
import pytest
from machines import h100_cluster, inventory, nvl72_inventory

from rackmodel.assess.media import end_usd, fabric_power, fitting, media_rows, swap_tier
from rackmodel.errors import CannotRun, InvalidInput, UnknownName


# nvl72_copper_vs_optics.csv: what modules in place of the copper cartridge would draw.
@pytest.mark.parametrize(
    ("medium", "watts"),
    [
        ("copper", 0.0),
        ("pluggable", 17_626.0),  # of 200 Gb/s lanes: 1.6T modules
        ("pluggable-800g-fr4", 20_740.0),
        ("lpo", 10_370.0),
        ("cpo", 5_830.0),
        ("aec", 8_300.0),
    ],
)
def test_nvl72_on_other_media(catalog, medium, watts):
    found = swap_tier(nvl72_inventory(), catalog, "scale-up", medium)
    assert found["ends"] == 2 * 1296
    assert found["more_watts"] == pytest.approx(watts, rel=0.005)


def test_pluggables_break_more_often_than_copper_and_cost_more(catalog):
    found = swap_tier(nvl72_inventory(), catalog, "scale-up", "pluggable")
    assert found["new_failures_per_hour"] > 10 * found["old_failures_per_hour"]
    assert found["new_usd"] == pytest.approx(648 * 2000, rel=1e-6)


def test_cable_beyond_its_reach_is_refused_with_its_length(catalog):
    with pytest.raises(CannotRun, match=r"dac link of 5 m is longer than its reach of 2 m"):
        swap_tier(nvl72_inventory(), catalog, "scale-up", "dac", length_m=5.0)
    assert swap_tier(nvl72_inventory(), catalog, "scale-up", "dac", length_m=1.5)["new_watts"] == 0


def test_unknown_tiers_and_media_are_named(catalog):
    with pytest.raises(UnknownName, match="did you mean 'pluggable'"):
        swap_tier(nvl72_inventory(), catalog, "scale-up", "plugable")
    with pytest.raises(UnknownName, match="no tier"):
        swap_tier(nvl72_inventory(), catalog, "sideways", "pluggable")
    with pytest.raises(InvalidInput, match="medium"):
        media_rows(nvl72_inventory().drop(columns="medium"), catalog)
    unknown = inventory(("cable", "x", "scale_up", "copper", "nvlink99", 1, "rack"))
    with pytest.raises(UnknownName, match="nvlink99"):
        media_rows(unknown, catalog)


def test_swapping_one_tier_leaves_the_others(catalog):
    before = pd.DataFrame(media_rows(h100_cluster(), catalog)).set_index("tier")
    after = media_rows(h100_cluster(), catalog, {"leaf_spine": "lpo"})
    after = pd.DataFrame(after).set_index("tier")
    assert after.loc["nic_leaf", "watts"] == before.loc["nic_leaf", "watts"]
    assert after.loc["leaf_spine", "watts"] == pytest.approx(before.loc["leaf_spine", "watts"] / 2)
    everything = media_rows(h100_cluster(), catalog, {"scale-out": "lpo"})
    assert set(everything["medium"]) == {"lpo"}


# POWER.md: a three-tier NDR fabric takes 123-183 W a GPU, of which about 10 % of cluster power.
def test_three_tier_fabric_power_per_gpu(catalog):
    parts = h100_cluster()
    fabric = fabric_power(parts, catalog, media_rows(parts, catalog))
    per_gpu = (sum(fabric.outside_w.values()) + fabric.nic_optics_w) / 100_000
    assert 100 < per_gpu < 185
    # One end of each NIC link stands in the node, five of the six ends outside.
    assert fabric.outside_w["optics"] == pytest.approx(5 * fabric.nic_optics_w)
    assert fabric.rack_optics_w == 0.0


def test_switches_inside_a_chassis_are_not_counted_twice(catalog):
    parts = nvl72_inventory()
    fabric = fabric_power(parts, catalog, media_rows(parts, catalog))
    assert "nvswitch4" not in fabric.outside_w
    no_power = inventory(("switch", "abacus", "leaf", "", "", 3, "fabric"))
    fabric = fabric_power(no_power, catalog, media_rows(no_power, catalog))
    assert fabric.notes == ["switch abacus: no power in the catalog; 3 of them are left out"]


def test_links_without_a_medium_are_left_out_and_said_so(catalog):
    inventory = pd.DataFrame(
        [("cable", "", "other", "", "ethernet-400", 8, "fabric", 50e9)],
        columns=["part_kind", "part", "tier", "medium", "link", "count", "per", "bytes_per_s"],
    )
    rows = media_rows(inventory, catalog)
    assert not len(rows["tier"])
    assert "8 links name no medium" in fabric_power(inventory, catalog, rows).notes[0]


def test_a_module_takes_links_of_no_faster_lanes(catalog):
    slow, fast = fitting(catalog, "pluggable", "ib-ndr"), fitting(catalog, "pluggable", "nvlink5")
    assert (slow.name, fast.name) == ("pluggable", "pluggable-1600g")
    assert fitting(catalog, "pluggable", "my own link").name == "pluggable"
    assert fitting(catalog, "lpo", "nvlink5").name == "lpo"  # nobody has said which lanes it takes
    assert fitting(catalog, "copper", "nvlink5").name == "copper"


def test_prices_of_ends_have_bounds(catalog):
    medium = catalog.media["pluggable"]
    low, mid, high = (end_usd(medium, 100e9, level) for level in ("low", "mid", "high"))
    assert (low, mid, high) == (pytest.approx(1100), pytest.approx(1250), pytest.approx(1400))
