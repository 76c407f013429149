"""Folded equals unfolded: every algorithm, on random three-tier machines and on tori."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from network_graphs import join, tapered, torus

from rackmodel.errors import CannotRun
from rackmodel.network import Network, alone_s, drain_s, pattern, run_collective, stand_in
from rackmodel.network.collectives.flows import flows_between
from rackmodel.network.collectives.tori import tori
from rackmodel.network.collectives.wide_exchange import all_to_all_loads
from rackmodel.network.symmetry import PERIODS as BLOCKS
from rackmodel.topology import load_topology

ALGORITHMS = (
    *[("all-reduce", a) for a in ("ring", "tree", "nvls-tree", "hierarchical", "direct")],
    *[("all-gather", a) for a in ("ring", "bidirectional-ring", "hierarchical")],
    *[(op, "halving-doubling") for op in ("all-reduce", "all-gather", "reduce-scatter")],
    *[("all-to-all", "direct"), ("broadcast", "chain"), ("send", "send"), ("all-reduce", None)],
)
MACHINES = st.builds(
    tapered,
    gpus=st.sampled_from([2, 3, 4, 6, 8]),
    pod_racks=st.integers(1, 3),
    over=st.sampled_from([1.0, 2.5]),
    rails=st.booleans(),
)


def both(machine, op, gpus, algorithm=None, **options):
    """Return what folded and unfolded rows say, as numbers."""
    found = []
    for fold in (True, False):
        rows = run_collective(machine, op, [1e5, 1e9], gpus, algorithm, fold=fold, **options)
        found.append([(row["time_s"], row["bound_s"]) for row in rows])
    return np.array(found[0]), np.array(found[1])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(MACHINES, st.sampled_from(ALGORITHMS), st.integers(60, 260))
def test_every_algorithm_on_random_machines(machine, chosen, gpus):
    folded, whole = both(machine, chosen[0], gpus, chosen[1])
    assert folded == pytest.approx(whole, rel=1e-9)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    MACHINES,
    st.sampled_from(["all-reduce", "all-gather", "reduce-scatter"]),
    st.integers(6, 700),
)
def test_halving_doubling_of_any_size(machine, op, gpus):
    folded, whole = both(machine, op, gpus, "halving-doubling")
    assert folded == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("routing", ["spray", "paths", "rail", "ecmp", "single"])
@pytest.mark.parametrize("op", ["all-reduce", "all-to-all"])
def test_every_routing(routing, op):
    machine = tapered(4, 2, 1.0, rails=True)
    gpus = 40 if routing in ("ecmp", "single") else 150
    folded, whole = both(machine, op, gpus, routing=routing)
    assert folded == pytest.approx(whole, rel=1e-9)


def test_single_paths_are_never_folded():
    with pytest.raises(CannotRun, match="ecmp"):
        run_collective(tapered(4, 2, 1.0), "all-to-all", [1e9], 1_000, routing="ecmp")


# Every shipped kind of machine, at the least size where a stand-in is smaller than the machine.
SMALL = (
    *("dgx-a100-40", "dgx-a100-80", "dgx-b200", "dgx-b300", "dgx-h100", "dgx-h100-2to1"),
    *("dgx-h100-dragonfly", "dgx-h100-ideal", "dgx-h100-rail-only", "dgx-h200", "gaudi2-node"),
    *(
        "gaudi3-node",
        "h100-100k",
        "hgx-a100-40",
        "hgx-a100-80",
        "hgx-a100-80-4x200g",
        "hgx-a800-80",
    ),
    *("hgx-h20", "hgx-h800", "jean-zay-a100-80", "mi300x-platform", "mi325x-platform"),
    *("mi350x-platform", "mi355x-platform"),
)
FAMILIES = [
    *[(name, 101) for name in SMALL],
    *[("dgx-2", 170), ("grand-teton-h100-500w", 155), ("gb200-nvl72", 2310), ("gb200-nvl36", 2310)],
    *[("gb200-nvl36x2", 2310), ("ualink72", 2310), ("vr200-nvl72", 880)],
    ("dgx-h100-2to1", 4_200),  # three tiers, both tapered
]


@pytest.mark.parametrize(("name", "gpus"), FAMILIES)
def test_every_family(name, gpus):
    machine = load_topology(name)
    assert stand_in(gpus, machine.period(gpus), machine.domain_accelerators) < gpus
    for op in ("all-reduce", "all-to-all") if gpus < 200 else ("all-reduce",):
        folded, whole = both(machine, op, gpus)
        assert folded == pytest.approx(whole, rel=1e-9)


def groups(order, replicas, stage_ranks, stages):
    """Return the members of one data-parallel group of each pipeline stage, by rank order."""
    replica, stage = np.arange(replicas), np.arange(stages)[:, None]
    if order == "replicas contiguous":
        return (replica * stages + stage) * stage_ranks
    return (stage * replicas + replica) * stage_ranks


@pytest.mark.parametrize("order", ["replicas contiguous", "pp outermost"])
@pytest.mark.parametrize("algorithm", ["ring", "hierarchical", "direct"])
def test_strided_groups_fold_in_both_rank_orders(order, algorithm):
    """A data-parallel group takes every so-many-th accelerator; a shorter one stands in for it."""
    machine, tp, stages = tapered(8, 2, 2.0), 4, 2
    many, few = 96, 32
    times = []
    for replicas in (many, few):
        network = Network.from_graph(machine.graph(replicas * tp * stages))
        for members in groups(order, replicas, tp, stages):
            whole = many * (tp * stages if order == "replicas contiguous" else tp) // 8
            made = pattern(
                network,
                "all-reduce",
                members.tolist(),
                1e9,
                algorithm=algorithm,
                true_size=many,
                true_domains=whole,
            )
            times.append(alone_s(network, made, 1e9))
    assert np.array(times) == pytest.approx(times[0], rel=1e-9)


@pytest.mark.parametrize("gpus", [8 * 3 * 16, 8 * 1_000, 1_000_000])
@pytest.mark.parametrize("op", ["all-reduce", "all-to-all"])
def test_what_is_built_does_not_grow(gpus, op):
    machine = tapered(8, 1, 2.0)
    run_collective(machine, op, [1e9], gpus)
    assert machine.built <= 80
    run_collective(machine, "all-reduce", [1e9], gpus, "halving-doubling")
    assert machine.built <= 8 * (BLOCKS + 8)


def test_halving_doubling_is_refused_where_links_tell_partners_apart():
    class Odd(type(tapered(6, 1, 1.0))):
        """Two accelerators of every rack share a NIC port that leads to even racks only."""

        def graph(self, accelerators, *, bundled=False):
            graph = super().graph(accelerators, bundled=bundled)
            for rack in range(-(-accelerators // self.gpus)):
                join(graph, f"g{rack * self.gpus}", f"side{rack * self.gpus}", 1e9)
                join(graph, f"side{rack * self.gpus}", "side", 1e9)
            return graph

    machine = Odd(6, 1, 1.0)
    folded, whole = both(machine, "all-gather", 200, "halving-doubling")  # by all of it
    assert folded == pytest.approx(whole, rel=1e-9)
    with pytest.raises(CannotRun, match="tell far partners apart"):
        run_collective(machine, "all-gather", [1e9], 60_000, "halving-doubling")


SHAPES = st.lists(st.integers(2, 6), min_size=1, max_size=3).filter(lambda s: np.prod(s) <= 48)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(SHAPES, st.sampled_from(["spray", "paths", "dimension-order"]))
def test_a_whole_torus_exchanges_as_its_routes_say(shape, routing):
    network = Network.from_graph(torus(*shape), routing=routing)
    assert tori(network) is not None
    total = len(network.accelerator_nodes)
    load, capacity, inside, _ = all_to_all_loads(network, np.arange(total), total, total)
    a, b = np.divmod(np.arange(total**2), total)
    nodes, keep = network.accelerator_nodes, a != b
    flows = flows_between(network, nodes[a[keep]], nodes[b[keep]], np.full(keep.sum(), 1 / total))
    assert (load / capacity).max() == pytest.approx(drain_s(network, flows, 1.0), rel=1e-9)
    assert inside == pytest.approx((total - 1) / total)


@pytest.mark.parametrize("gpus", [16, 19, 24])
@pytest.mark.parametrize("nic", [2e9, 50e9])
def test_tori_below_a_fabric_exchange_as_their_routes_say(gpus, nic):
    graph = torus(3, 2, 4)
    for a, b in list(graph.edges):
        if a[0] != b[0]:
            graph.remove_edge(a, b)  # three tori of 2 x 4
    for node in list(graph):
        graph.nodes[node].update(coordinates=node)
        leaf = f"leaf{node[0]}"
        graph.add_node(leaf, kind="leaf")
        join(graph, node, leaf, nic)
    graph.add_node("spine", kind="spine")
    for leaf in ("leaf0", "leaf1", "leaf2"):
        join(graph, leaf, "spine", 4 * nic)
    network = Network.from_graph(graph)
    members = np.arange(gpus)
    assert tori(network).lengths == (2, 4)
    symmetric, routed = (
        all_to_all_loads(network, members, gpus, gpus, coloured=how) for how in (True, False)
    )
    assert (symmetric[0] / symmetric[1]).max() == pytest.approx((routed[0] / routed[1]).max())
    assert symmetric[2:] == pytest.approx(routed[2:])


def test_a_mesh_is_no_torus():
    graph = torus(4, 4)
    graph.remove_edge((0, 0), (0, 3))
    assert tori(Network.from_graph(graph)) is None
