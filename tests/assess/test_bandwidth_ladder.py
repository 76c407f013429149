"""A byte per second at every distance: nearest is fastest, cheapest and most frugal."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from rackmodel.assess.bandwidth_ladder import tiers
from rackmodel.hardware import load_catalog
from rackmodel.topology import load_topology


@pytest.mark.parametrize("name", ["gb200-nvl72", "dgx-h100", "vr200-nvl72", "nvl576"])
def test_farther_tiers_are_never_faster_and_take_more_energy(name):
    rows = tiers(load_topology(name), load_catalog())
    assert [row["name"] for row in rows][:2] == ["HBM", "scale-up"]
    for near, far in pairwise(rows):
        assert near["reach_m"] < far["reach_m"]
        assert near["bytes_per_s"] >= far["bytes_per_s"]
        assert near["j_per_bit"] < far["j_per_bit"]


def test_energy_of_a_rack_is_that_of_links_and_switches_by_hand():
    """18 switch chips of 260 W for 72, and 2.5 pJ/bit of the accelerator's own links."""
    catalog = load_catalog()
    rows = {row["name"]: row for row in tiers(load_topology("gb200-nvl72"), catalog)}
    chip_w = catalog.switches["nvswitch4"].power_w
    own = catalog.accelerators["gb200"].power.e_link_j_per_byte * 900e9
    assert rows["scale-up"]["watts"] == pytest.approx(18 * chip_w / 72 + own)
    assert rows["scale-up"]["j_per_bit"] == pytest.approx(rows["scale-up"]["watts"] / 7.2e12)


def test_a_switch_without_a_price_leaves_the_tier_without_one():
    rows = {row["name"]: row for row in tiers(load_topology("dgx-h100"), load_catalog())}
    assert "usd_per_gb_per_s" not in rows["scale-up"]
    assert all(math.isfinite(value) for value in rows["core"].values() if isinstance(value, float))
