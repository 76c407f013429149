"""Collectives on a stand-in are those on the whole machine."""

import numpy as np
import pytest
from network_graphs import racks, tapered, torus

from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.network import ALGORITHMS, Network, alone_s, drain_s, run_collective, stand_in
from rackmodel.network.collectives.flows import flows_between
from rackmodel.network.collectives.groups import make_group
from rackmodel.network.collectives.tuner import variants
from rackmodel.network.collectives.wide_exchange import all_to_all_loads
from rackmodel.network.symmetry import colours
from rackmodel.topology import load_topology

OPS = ("all-reduce", "all-gather", "all-to-all", "broadcast", "send")
CASES = [
    ("dgx-h100", 152),  # one pod
    ("grand-teton-h100-500w", 168),
    ("hgx-a100-80", 252),
    ("jean-zay-a100-80", 100),
    ("mi300x-platform", 156),
]


def times(name, gpus, op, **options):
    rows = run_collective(load_topology(name), op, [1e5, 1e9], gpus, **options)
    return [(row["time_s"], row["bound_s"]) for row in rows]


@pytest.mark.parametrize(("name", "gpus"), CASES)
@pytest.mark.parametrize("op", OPS)
def test_folded_equals_unfolded(name, gpus, op):
    machine = load_topology(name)
    assert stand_in(gpus, machine.period(gpus), machine.domain_accelerators) < gpus
    folded, whole = times(name, gpus, op), times(name, gpus, op, fold=False)
    assert np.array(folded) == pytest.approx(np.array(whole), rel=1e-9)


@pytest.mark.parametrize("algorithm", ["ring", "tree", "hierarchical"])
def test_folded_equals_unfolded_with_three_tiers(algorithm):
    name, gpus = "h100-100k", 1300
    folded = times(name, gpus, "all-reduce", algorithm=algorithm)
    whole = times(name, gpus, "all-reduce", algorithm=algorithm, fold=False)
    assert np.array(folded) == pytest.approx(np.array(whole), rel=1e-9)


FAMILIES = [
    ("dgx-h100", 152),  # rails, in-switch reduction in domain and fabric
    ("jean-zay-a100-80", 100),  # a domain is left over
    ("mi300x-platform", 156),  # a mesh inside the node
    ("dgx-h100-rail-only", 152),  # no spines
]
NOT_HERE = ("nvls", "torus", "sharp", "nvls-tree", "one-shot", "two-shot", "two-shot-multicast")


@pytest.mark.parametrize(("name", "gpus"), FAMILIES)
def test_every_algorithm_folds_exactly(name, gpus):
    machine, ran = load_topology(name), 0
    assert stand_in(gpus, machine.period(gpus), machine.domain_accelerators) < gpus
    for op, algorithms in ALGORITHMS.items():
        for algorithm in algorithms:
            if (name, op) == ("dgx-h100-rail-only", "all-gather"):
                continue  # as its reduce-scatter
            try:
                folded = times(name, gpus, op, algorithm=algorithm)
            except InvalidInput:
                assert algorithm in NOT_HERE
                continue
            whole = times(name, gpus, op, algorithm=algorithm, fold=False)
            assert np.array(folded) == pytest.approx(np.array(whole), rel=1e-9), (op, algorithm)
            ran += 1
    assert ran >= 16


def test_what_does_not_repeat_is_refused_and_not_guessed():
    with pytest.raises(CannotRun, match="not repeat"):
        times("tpu-v5p-pod", 100_000, "all-reduce", algorithm="halving-doubling")
    with pytest.raises(CannotRun, match="whole periods"):
        times("jean-zay-a100-80", 2_004, "all-to-all", algorithm="rail")


@pytest.mark.parametrize("periods", [9, 30, 1_000])
def test_the_stand_in_is_the_same_from_a_few_periods_to_a_thousand(periods):
    machine = tapered(4, 2, 2.0)
    few = stand_in(8 * periods, 8, 4)
    network = Network.from_graph(machine.graph(few))
    marked = np.zeros(len(network.nodes), dtype=bool)
    marked[network.accelerator_nodes] = True
    node, link = colours(network, marked)
    assert (few <= 48, node.max() + 1, link.max() + 1) == (True, 6, 10)


@pytest.mark.parametrize("over", [1.0, 2.5])
@pytest.mark.parametrize("gpus", [96, 100, 118])
def test_all_to_all_of_a_stand_in_counts_the_whole_machine(gpus, over):
    machine = tapered(4, 4, over)
    assert stand_in(gpus, 16, 4) < gpus
    folded = run_collective(machine, "all-to-all", [1e9], gpus)[0]
    whole = run_collective(machine, "all-to-all", [1e9], gpus, fold=False)[0]
    assert folded["time_s"] == pytest.approx(whole["time_s"], rel=1e-9)
    assert folded["bound_s"] <= whole["time_s"]


@pytest.mark.parametrize("graph", [racks(3, 4, rails=2, over=2.0), torus(3, 4), torus(2, 2, 4)])
def test_coloured_all_to_all_equals_every_pair(graph):
    network = Network.from_graph(graph)
    total = len(network.accelerator_nodes)
    members = np.arange(total)
    load, capacity, _, _ = all_to_all_loads(network, members, total, total)
    a, b = np.divmod(np.arange(total**2), total)
    nodes, keep = network.accelerator_nodes, a != b
    flows = flows_between(network, nodes[a[keep]], nodes[b[keep]], np.full(keep.sum(), 1 / total))
    assert (load / capacity).max() == pytest.approx(drain_s(network, flows, 1.0), rel=1e-9)


def test_colours_see_a_broken_link():
    graph = racks(2, 4)
    marked = np.zeros(len(graph), dtype=bool)
    whole, _ = colours(Network.from_graph(graph), marked)
    graph.edges["g1", "n1"]["bytes_per_s"] = 1e9
    broken, _ = colours(Network.from_graph(graph), marked)
    assert whole.max() + 1 == 5  # accelerator, switch, NIC, leaf, spine
    assert broken.max() > whole.max()


def test_cost_does_not_grow_with_the_machine():
    machine = tapered(8, 4, 2.0)
    for op in ("all-reduce", "all-to-all"):
        row = run_collective(machine, op, [1e9], 1_000_000)[0]
        assert row["time_s"] >= row["bound_s"] > 0
        assert machine.built <= 128


def test_true_size_enters_every_formula():
    network = Network.from_graph(racks(4, 8, rails=8, nvl=450e9))
    short, stands = (
        variants(network, make_group(network, range(32), size), "all-gather", "ring", 1e9)[-1]
        for size in (32, 3200)
    )
    ratio = (3199 / 3200) / (31 / 32)
    assert stands.rounds[0].share == pytest.approx(short.rounds[0].share * ratio)
    assert stands.latency_s[0] > short.latency_s[0]
    assert alone_s(network, stands, 1e9) > alone_s(network, short, 1e9)
