"""No collective is quicker than the cuts that its bytes have to cross; bounds are not idle."""

import networkx as nx
import numpy as np
import pytest
from network_graphs import join, racks

from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.network import ALGORITHMS, Network, alone_s, pattern, run_collective
from rackmodel.network.collectives.bounds import bound_s
from rackmodel.network.collectives.groups import make_group
from rackmodel.topology import load_topology


def random_machine(rng):
    """Domains of unequal size with ports of unequal rate, behind NICs, on leaves and a spine."""
    graph = nx.DiGraph()
    wired = rng.random() < 0.3
    leaves = int(rng.integers(1, 4))
    index = 0
    for domain in range(int(rng.integers(1, 5))):
        members = [f"g{index + i}" for i in range(int(rng.integers(1, 6)))]
        for member in members:
            graph.add_node(member, kind="accelerator", index=index)
            graph.add_node(f"n{index}", kind="nic")
            join(graph, member, f"n{index}", rng.uniform(10, 70) * 1e9, kind="pcie")
            join(graph, f"n{index}", f"leaf{index % leaves}", rng.uniform(5, 60) * 1e9)
            if not wired:
                graph.add_node(f"s{domain}", kind="scale_up_switch")
                join(graph, member, f"s{domain}", rng.uniform(50, 900) * 1e9, kind="nvlink")
            index += 1
        if wired:
            for a in range(len(members)):
                for b in range(a):
                    join(graph, members[a], members[b], rng.uniform(20, 90) * 1e9, kind="xgmi")
    for leaf in range(leaves):
        graph.add_node(f"leaf{leaf}", kind="leaf")
        join(graph, f"leaf{leaf}", "spine", rng.uniform(20, 300) * 1e9)
    graph.nodes["spine"]["kind"] = "spine"
    graph.graph["reduction"] = bool(not wired and rng.random() < 0.5)
    return graph, index


@pytest.mark.parametrize("seed", range(25))
def test_no_algorithm_beats_its_bound_on_random_machines(seed):
    rng = np.random.default_rng(seed)
    graph, size = random_machine(rng)
    if size < 2:
        return
    network = Network.from_graph(graph)
    for chosen in (size, int(rng.integers(2, size + 1))):
        members = sorted(rng.choice(size, chosen, replace=False).tolist())
        group = make_group(network, members)
        for op, names in ALGORITHMS.items():
            for name in names:
                try:
                    made = pattern(network, op, members, 1e9, algorithm=name)
                except (InvalidInput, CannotRun):
                    continue
                least, by = bound_s(network, op, group, 1e9)
                assert 0 < least <= alone_s(network, made, 1e9) * (1 + 1e-9), (op, name, by)


def row(name, op, gpus, algorithm=None):
    return run_collective(load_topology(name), op, [2.0**33], gpus, algorithm)[0]


def test_an_exchange_over_network_ports_is_as_near_its_bound_as_to_line_rate():
    found = row("dgx-h100", "all-to-all", 64)
    assert found["bound_by"] == "ports"
    assert found["bound_s"] / found["time_s"] > 0.94


def test_a_lone_accelerator_has_its_own_ports_only():
    found = row("gb200-nvl72", "all-gather", 73)
    assert found["bound_s"] == pytest.approx(2.0**33 * 72 / 73 / 50e9)
    assert found["time_s"] < 1.1 * found["bound_s"]


def test_a_rack_says_that_hosts_post_its_exchange():
    slow, fast = (
        run_collective(load_topology(name), "all-to-all", [2.0**33], 144)[0]
        for name in ("gb200-nvl72-ib400", "gb200-nvl72-ib800")
    )
    assert slow["binds"] == fast["binds"] == "chunks that hosts post"
    assert slow["time_s"] == pytest.approx(fast["time_s"], rel=1e-3)
    rail = run_collective(load_topology("gb200-nvl72-ib800"), "all-to-all", [2.0**33], 144, "rail")
    assert rail[0]["time_s"] < fast["time_s"] / 2


def test_a_weak_member_sends_no_more_than_its_sum():
    graph = racks(1, 4, nvl=100e9)
    for a, b in (("g0", "s0.0"), ("s0.0", "g0")):
        graph.edges[a, b]["bytes_per_s"] = 10e9
    network = Network.from_graph(graph)
    least, _ = bound_s(network, "all-reduce", make_group(network, range(4)), 1e9)
    assert least == pytest.approx(1e9 / 110e9)  # its switch and its own network port
