"""All-to-all with uneven sizes: equal sizes are the plain one, bounds hold, a case by hand."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from rackmodel.errors import InvalidInput
from rackmodel.network import Network, all_to_allv, run_collective
from rackmodel.topology import load_topology


def star(n, rate=1e9):
    graph = nx.DiGraph()
    graph.add_node("switch", kind="scale_up_switch")
    for i in range(n):
        graph.add_node(i, kind="accelerator", index=i)
        graph.add_edge(i, "switch", bytes_per_s=rate)
        graph.add_edge("switch", i, bytes_per_s=rate)
    return Network.from_graph(graph)


@pytest.mark.parametrize(("machine", "gpus"), [("gb200-nvl72", 72), ("dgx-h100", 16)])
def test_equal_sizes_take_what_an_all_to_all_takes(machine, gpus):
    topology = load_topology(machine)
    network = Network.from_graph(topology.graph(gpus, bundled=True))
    row = all_to_allv(network, range(gpus), np.full((gpus, gpus), 1e9 / gpus))
    (even,) = run_collective(topology, "all-to-all", [1e9], gpus, algorithm="direct")
    assert row["time_s"] == pytest.approx(even["time_s"], rel=1e-9)


def test_twice_the_bytes_to_one_member_take_twice_the_wire():
    sizes = np.zeros((4, 4))
    sizes[1:, 0] = 1e9
    one = all_to_allv(star(4), range(4), sizes)
    two = all_to_allv(star(4), range(4), 2 * sizes)
    wait_s = 2 * one["time_s"] - two["time_s"]  # fixed time: the same for any size
    assert one["bound_s"] == pytest.approx(3.0)
    assert 0 < wait_s < 1e-3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=25, max_size=25))
def test_no_split_beats_its_bound(sizes):
    row = all_to_allv(star(5), range(5), np.array(sizes).reshape(5, 5))
    assert row["time_s"] >= row["bound_s"]


@pytest.mark.parametrize("sizes", [np.ones((2, 3)), [[0, -1], [0, 0]], [[0, np.nan], [0, 0]]])
def test_what_is_no_table_of_sizes_is_refused(sizes):
    with pytest.raises(InvalidInput, match="all-to-allv"):
        all_to_allv(star(2), range(2), sizes)
