"""Groups that stand alike are worked out once, also in domains with two tiers of switches."""

import numpy as np
import pytest

from rackmodel.engine.groups import AcceleratorTree, flows_of_groups
from rackmodel.engine.networks import network_of
from rackmodel.network import pattern
from rackmodel.topology import load_topology


def links_of_each(flows):
    """Bytes on each link, for each group and round."""
    flow = np.repeat(np.arange(len(flows.owner)), np.diff(flows.indptr))
    amount = flows.share[flow] * flows.fractions
    found = {}
    for owner, number, link, share in zip(
        flows.owner[flow], flows.round_[flow], flows.links, amount, strict=True
    ):
        key = int(owner), int(number), int(link)
        found[key] = found.get(key, 0.0) + float(share)
    return found


@pytest.mark.parametrize("op", ["all-reduce", "all-to-all", "reduce-scatter"])
@pytest.mark.parametrize(("size", "stride"), [(8, 1), (4, 72), (12, 24)])
@pytest.mark.parametrize("name", ["nvl576", "cloudmatrix384"])
def test_groups_in_a_domain_of_two_tiers_get_the_links_that_each_gets_alone(name, size, stride, op):
    machine = load_topology(name)
    domain = machine.domain_accelerators
    block = np.arange(size) * stride
    starts = np.arange(0, domain - int(block[-1]))[:24]
    check(network_of(machine, domain), op, starts[:, None] + block)


@pytest.mark.parametrize("op", ["all-reduce", "all-to-all", "reduce-scatter"])
@pytest.mark.parametrize(("size", "stride"), [(8, 1), (4, 8), (16, 4)])
@pytest.mark.parametrize("name", ["tpu-v7x-pod", "tpu-v6e-pod"])
def test_groups_that_are_moved_on_a_torus_get_the_links_that_each_gets_alone(
    name, size, stride, op
):
    network = network_of(load_topology(name), 256)  # copper within cubes, optics between them
    assert network.router.grid is not None
    starts = np.arange(256).reshape(-1, size, stride)[:, 0].ravel()
    members = (starts[:, None] + np.arange(size) * stride)[:24]
    check(network, op, members)


@pytest.mark.parametrize("op", ["all-reduce", "all-to-all", "reduce-scatter"])
@pytest.mark.parametrize(("size", "stride"), [(4, 1), (2, 1), (2, 8), (2, 200)])
@pytest.mark.parametrize(
    ("name", "routing"), [("dgx-h100", "ecmp"), ("dgx-h100-dragonfly", "spray")]
)
def test_groups_of_which_no_tree_tells_get_the_links_that_each_gets_alone(
    name, routing, size, stride, op
):
    """Inside a node the switches of the node tell, of pairs between nodes their routes."""
    network = network_of(load_topology(name), 512, routing)
    starts = np.arange(0, 256, 4)
    check(network, op, starts[:, None] + np.arange(size) * stride)


def check(network, op, members):
    """Compare the links of all groups at once with those of each alone."""
    asked = []

    def pattern_of(row):
        asked.append(tuple(row))
        return pattern(network, op, row, 64e6)

    together = links_of_each(flows_of_groups(AcceleratorTree(network), [members], pattern_of)[0])
    assert len(asked) < len(members) / 2
    alone = {}
    for group, row in enumerate(members):
        one = links_of_each(
            flows_of_groups(AcceleratorTree(network), [row[None, :]], pattern_of)[0]
        )
        alone |= {(group, number, link): share for (_, number, link), share in one.items()}
    assert together.keys() == alone.keys()
    assert all(together[key] == pytest.approx(alone[key], rel=1e-12) for key in alone)


@pytest.mark.parametrize("name", ["dgx-h100", "nvl576", "tpu-v6e-pod"])
def test_sets_of_groups_that_ask_the_same_get_the_flows_that_each_set_gets_alone(name):
    network = network_of(load_topology(name), 256)
    sets = [np.stack([np.arange(0, 256, 8) + at, np.arange(0, 256, 8) + 1 + at]).T for at in (0, 3)]
    sets.append(np.array([[0, 8], [8, 16], [5, 255]]))
    asked = []

    def pattern_of(row):
        asked.append(tuple(row))
        return pattern(network, "send", row, 64e6)

    tree = AcceleratorTree(network)
    together = flows_of_groups(tree, sets, pattern_of)
    assert len(asked) < sum(map(len, sets))
    again = flows_of_groups(tree, sets, pattern_of)
    assert all(one.indptr is other.indptr for one, other in zip(together, again, strict=True))
    for own, found in zip(sets, together, strict=True):
        (alone,) = flows_of_groups(AcceleratorTree(network), [own], pattern_of)
        assert links_of_each(found) == links_of_each(alone)
        for field in ("owner", "round_", "cap", "source", "target", "indptr"):
            assert getattr(found, field).tolist() == getattr(alone, field).tolist()
        assert found.algorithm == alone.algorithm
        assert found.round_latency_s.tolist() == alone.round_latency_s.tolist()
