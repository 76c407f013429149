import pytest
from machines import h100_cluster, inventory

from rackmodel.assess.fabric_share import own_share, shares
from rackmodel.assess.media import fabric_power, media_rows


def rails(gpus):
    """Eight leaves of 64 ports, half of them up, whatever the number of accelerators."""
    return inventory(
        ("switch", "quantum2", "leaf", "", "", 8, "fabric"),
        ("switch", "quantum2", "spine", "", "", 4, "fabric"),
        ("cable", "pluggable-400g", "nic_leaf", "pluggable-400g", "ib-ndr", gpus, "fabric"),
        ("cable", "pluggable", "leaf_spine", "pluggable", "ib-ndr", 256, "fabric"),
    )


def test_a_node_bears_a_thirty_second_of_its_leaves(catalog):
    found = shares(rails(8), catalog)
    assert found["leaf"] == found["leaf_spine"] == pytest.approx(8 / 256)
    own = own_share(rails(8), found)
    assert own["count"].tolist() == [0.25, 0.125, 8.0, 8.0]


def test_a_full_fabric_is_borne_whole(catalog):
    assert shares(rails(256), catalog)["leaf"] == pytest.approx(1.0)
    assert shares(h100_cluster(), catalog)["core"] == pytest.approx(1.0)


def test_fabric_power_per_accelerator_does_not_depend_on_how_full_it_is(catalog):
    per_gpu = []
    for gpus in (8, 64, 256):
        own = own_share(rails(gpus), shares(rails(gpus), catalog))
        fabric = fabric_power(own, catalog, media_rows(own, catalog))
        per_gpu.append(sum(fabric.outside_w.values()) / gpus)
    assert per_gpu == pytest.approx([per_gpu[0]] * 3)


def test_circuit_switches_by_ports(catalog):
    pod = inventory(
        ("switch", "palomar-ocs", "ocs", "", "", 48, "rack"),
        ("cable", "pluggable", "scale_up", "pluggable", "ici-v4", 48, "rack"),
        ("cable", "dac", "scale_up", "dac", "ici-v4", 144, "rack"),
    )
    radix = catalog.switches["palomar-ocs"].radix
    assert shares(pod, catalog) == {"ocs": pytest.approx(96 / (48 * radix))}


def test_machines_without_a_fabric_keep_their_counts(catalog):
    alone = inventory(("accelerator", "h100", "", "", "", 8, "rack"))
    assert shares(alone, catalog) == {}
    assert own_share(alone, {})["count"].tolist() == [8.0]


# One chip of 72 ports per 36 accelerators and link below, half of its ports up: twice the 18 of an
# NVL72 rack, and a second tier of half as many.
@pytest.mark.parametrize("domain", [288, 576])
def test_a_domain_above_72_pays_and_heats_its_switches(domain):
    from rackmodel.api import simulate
    from rackmodel.argument.machines import machine

    job = {"model": "gpt3-13b", "gpus": domain, "global_batch": domain, "seq_len": 2048}
    job["plan"] = {"tp": 4, "pp": 1, "micro_batch": 1}
    found, whole = (simulate(machine(size), **job).assessment for size in (domain, 72))
    parts = machine(domain).inventory(domain)
    chips = parts[parts["part"] == "nvswitch4"].set_index("tier")["count"]
    added = chips["scale_up"] - domain / 72 * 18
    assert added == domain / 72 * 18
    top = domain * 18 / 72  # of whose ports all are in use: the last of 162 serve other domains
    assert top <= chips["scale_up_top"]
    first, second = added * 4000.0, top * 4000.0
    bought = [one["cost"]["capital_by_part_usd"].get("switches", 0.0) for one in (found, whole)]
    assert bought[0] - bought[1] == pytest.approx(first + second, rel=0.02)
    racks = [one["racks"][0]["by_part_w"]["switch"] for one in (found, whole)]
    assert racks == pytest.approx([36 * 260.0, 18 * 260.0])
    assert found["power"]["fabric_by_part_w"]["nvswitch4"] == pytest.approx(top * 260.0)
    more = found["power"]["provisioned_w"] - whole["power"]["provisioned_w"]
    assert more > (added + top) * 260.0


# Four racks of 144: their own 104 chips each stand in the price of the rack, 208 above do not.
def test_simulating_nvl576_pays_the_upper_switches():
    from rackmodel.api import simulate

    job = {"model": "gpt3-13b", "gpus": 576, "global_batch": 576, "seq_len": 2048}
    found = simulate(
        "nvl576", default_plan=True, plan={"tp": 4, "pp": 1, "micro_batch": 1}, **job
    ).assessment
    assert found["cost"]["capital_by_part_usd"]["switches"] > 208 * 9000.0
    assert found["power"]["fabric_by_part_w"]["nvswitch6"] == pytest.approx(208 * 800.0)
    assert not any("nvswitch6" in note for note in found["notes"])
