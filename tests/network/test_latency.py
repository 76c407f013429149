"""Wires count: a step takes as much more or less as its path does than a reference path."""

import networkx as nx
import numpy as np
import pytest

import rackmodel
from rackmodel.errors import InvalidInput
from rackmodel.hardware import load_catalog
from rackmodel.network import Network, run_collective
from rackmodel.network.collectives.registry import ALGORITHMS
from rackmodel.topology import changed, load_topology

OPS = ("all-reduce", "all-gather", "all-to-all", "broadcast", "dispatch", "send")
MACHINES = [
    ("dgx-h100", 24),
    ("gb200-nvl36", 72),
    ("mi300x-platform", 16),
    ("tpu-v5p-pod", 16),
    ("aws-p5", 16),
    ("gaudi3-node", 16),
]


def times(graph, gpus, size=4096.0):
    found = {}
    for op in OPS:
        for algorithm in (None, *ALGORITHMS[op]):
            try:
                row = run_collective(graph, op, [size], gpus, algorithm)[0]
            except InvalidInput:
                continue
            found[op, algorithm] = row["time_s"]
    return found


def slowed(graph, factor):
    graph = graph.copy()
    for _, _, facts in graph.edges(data=True):
        facts["latency_s"] *= factor
    return graph


@pytest.mark.parametrize(("name", "gpus"), MACHINES)
def test_lower_latency_is_never_slower_and_a_higher_one_acts(name, gpus):
    graph = load_topology(name).graph(gpus, bundled=True)
    lower, usual, higher = (times(slowed(graph, factor), gpus) for factor in (1e-3, 1.0, 100.0))
    assert all(lower[way] <= usual[way] < higher[way] for way in usual)


def test_a_send_takes_what_its_path_takes_more():
    graph = load_topology("dgx-h100").graph(256, bundled=True)
    far = [run_collective(g, "send", [8.0], 256)[0]["time_s"] for g in (graph, slowed(graph, 3.0))]
    network = Network.from_graph(graph)
    ends = network.accelerator_nodes
    path_s = network.route(int(ends[0]), int(ends[-1])).latency_s
    assert far[1] - far[0] == pytest.approx(2 * path_s)


@pytest.mark.parametrize("name", ["dgx-h100", "mi300x-platform", "aws-p5", "gcp-a3-mega", "gcp-a4"])
def test_the_reference_path_is_that_of_machines_that_ship(name):
    network = Network.of_machine(load_topology(name), 16)
    ends = network.accelerator_nodes
    shortest = network.routes(np.repeat(ends[:1], 8), ends[8:]).latency_s.min()
    assert network.transport.path_s == pytest.approx(shortest, rel=0.02)


def test_every_ring_hop_counts_once():
    """Two sites: a ring crosses twice a pass, wherever its members stand, and no oftener."""
    graph, extra = load_topology("dgx-h100").graph(512, bundled=True), 1e-3
    spines = [node for node, kind in graph.nodes(data="kind") if kind == "spine"]
    apart = graph.copy()
    for a, b, facts in apart.edges(data=True):
        if a in spines or b in spines:
            facts["latency_s"] += extra / 2
    rows = [run_collective(g, "all-gather", [8.0], 512, "ring")[0] for g in (graph, apart)]
    assert rows[1]["time_s"] - rows[0]["time_s"] == pytest.approx(2 * extra, rel=1e-6)


def test_a_graph_without_latencies_says_nothing_of_its_wires():
    graph = load_topology("dgx-h100").graph(16, bundled=True)
    bare = graph.copy()
    nx.set_edge_attributes(bare, 0.0, "latency_s")
    row, silent = (run_collective(g, "send", [8.0], 8)[0]["time_s"] for g in (graph, bare))
    assert silent == pytest.approx(row)


def test_metres_count_beyond_what_latencies_are_published_for():
    machine, parts = load_topology("h100-100k"), load_catalog()
    far = changed(machine, {"fabric.uplength_m": 1050.0}, parts)
    assert far.fabric.uplink.latency_s - machine.fabric.uplink.latency_s == pytest.approx(5e-6)
    near = changed(machine, {"fabric.uplength_m": 5.0}, parts)
    assert near.fabric.uplink.latency_s == machine.fabric.uplink.latency_s


def test_latency_of_a_link_acts_on_a_step():
    words = {
        "model": "gpt3-13b",
        "gpus": 16,
        "global_batch": 16,
        "seq_len": 2048,
        "plan": {"tp": 8, "pp": 2, "micro_batch": 1},
    }
    steps = []
    for latency in ("0.01 us", "0.1 us", "5 us"):
        parts = load_catalog(overrides={"links.ib-ndr.latency_s": latency})
        found = rackmodel.simulate("dgx-h100", catalog=parts, **words)
        steps.append(found.step_s)
    assert steps[0] < steps[1] < steps[2]


@pytest.mark.parametrize("gpus", [2, 16])
@pytest.mark.parametrize("op", ["all-reduce", "all-gather", "reduce-scatter"])
def test_neuron_rings_are_as_quick_as_what_hands_data_on(op, gpus):
    """Two cores reach 40.69 GB/s (Neuron SDK, nccom-test), a tenth of what the links carry."""
    rows = rackmodel.collective("trn1-32xl", op=op, bytes=[1e6, 32e6, 1e9], gpus=gpus)["rows"]
    busbw = [row["busbw_bytes_per_s"] for row in rows]
    assert busbw == sorted(busbw)
    assert 38e9 < busbw[-1] < 41e9
