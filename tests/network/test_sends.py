"""Sends of many pairs at once are what each pair's own pattern is."""

import networkx as nx
import numpy as np
import pytest

from rackmodel.engine.groups import AcceleratorTree, flows_of_groups
from rackmodel.engine.placed_flows import apart, joined
from rackmodel.errors import NoRoute
from rackmodel.network import Network, pattern, sends
from rackmodel.topology import load_topology


def some_pairs(accelerators: int) -> np.ndarray:
    """Near and far ones, some of which begin or end at the same accelerator."""
    near = np.arange(0, accelerators - 1, 7)
    pairs = [np.stack([near, near + 1]), np.stack([near, (near * 5 + 32) % accelerators])]
    found = np.concatenate(pairs, axis=1).T
    return found[found[:, 0] != found[:, 1]]


@pytest.mark.parametrize("routing", ["ecmp", "single", "spray"])
@pytest.mark.parametrize("name", ["dgx-h100", "gb200-nvl72", "dgx-h100-dragonfly", "tpu-v6e-pod"])
def test_sends_at_once_are_the_patterns_of_each_pair(name, routing):
    network = Network.of_machine(load_topology(name), 256, routing=routing)
    pairs = some_pairs(256)
    flows, fixed_s = sends(network, pairs)
    for at, pair in enumerate(pairs.tolist()):
        alone = pattern(network, "send", pair, 1e6)
        (one,) = alone.rounds
        own = slice(*flows.indptr[at : at + 2])
        assert alone.latency_s == (fixed_s[at],)
        assert (alone.algorithm, one.source[0]) == ("send", flows.source[at])
        assert one.target[0] == flows.target[at]
        assert one.links.tolist() == flows.links[own].tolist()
        assert one.fractions.tolist() == flows.fractions[own].tolist()
        for field in ("share", "latency_s", "cap_bytes_per_s"):
            assert getattr(one, field)[0] == getattr(flows, field)[at]


def test_groups_that_send_have_the_same_flows_together_and_one_by_one():
    network = Network.of_machine(load_topology("dgx-h100"), 2048, routing="ecmp")
    pairs = some_pairs(2048)
    sets, asked = [pairs[:200], pairs[200:]], []

    def pattern_of(row):
        asked.append(row)
        return pattern(network, "send", row, 64e6)

    tree = AcceleratorTree(network)
    each = [flows_of_groups(tree, [row[None, :]], pattern_of)[0] for row in pairs]
    alone = apart(
        joined([(np.array([at]), one) for at, one in enumerate(each)]), [200, len(pairs) - 200]
    )
    assert len(asked) == len(pairs)
    together = flows_of_groups(tree, sets, pattern_of, plain_sends=True)
    assert len(asked) == len(pairs)
    for one, other in zip(together, alone, strict=True):
        for found, wanted in zip(one, other, strict=True):
            assert np.array_equal(found, wanted)
            assert np.asarray(found).dtype == np.asarray(wanted).dtype
    again = flows_of_groups(tree, sets, pattern_of, plain_sends=True)
    assert all(one is other for one, other in zip(again, together, strict=True))


def test_a_pair_that_nothing_joins_is_named():
    graph = nx.Graph()
    graph.add_nodes_from([(0, {"kind": "accelerator"}), ("hub", {"kind": "leaf-switch"})])
    graph.add_nodes_from([(1, {"kind": "accelerator"}), (2, {"kind": "accelerator"})])
    graph.add_edges_from([(0, "hub"), (1, "hub")], bytes_per_s=1e9)
    network = Network.from_graph(graph, routing="ecmp")
    with pytest.raises(NoRoute, match="from 1 to 2"):
        sends(network, np.array([[0, 1], [1, 2]]))
