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
