"""Routes as fractions on links."""

import itertools

import networkx as nx
import numpy as np
import pytest
from network_graphs import join, mesh, racks, torus

from rackmodel.argument.machines import machine
from rackmodel.errors import InvalidInput, NoRoute, UnknownName
from rackmodel.network import Network


def path(network, a, b):
    route = network.route(network.node(a), network.node(b))
    names = network.link_names
    return {
        names[k]: f for k, f in zip(route.links.tolist(), route.fractions.tolist(), strict=True)
    }


def conserves(network, a, b):
    """Check that fractions leave a, arrive at b and balance everywhere else."""
    route = network.route(a, b)
    balance = np.zeros(len(network.nodes))
    np.add.at(balance, network.tail[route.links], route.fractions)
    np.add.at(balance, network.head[route.links], -route.fractions)
    wanted = np.zeros(len(network.nodes))
    if a != b:
        wanted[a], wanted[b] = 1, -1
    assert balance == pytest.approx(wanted, abs=1e-12)


def test_inside_a_domain_all_planes_carry_equal_parts():
    found = path(Network.from_graph(racks(1, 4, planes=3)), "g0", "g1")
    assert found == pytest.approx(
        {f"{a} -> {b}": 1 / 3 for k in range(3) for a, b in [("g0", f"s0.{k}"), (f"s0.{k}", "g1")]}
    )


def test_between_racks_bytes_are_sprayed_over_the_spines():
    found = path(Network.from_graph(racks(2, 4, spines=2)), "g0", "g5")
    assert found["leaf0 -> spine0"] == found["spine1 -> leaf1"] == 0.5
    assert found["g0 -> n0"] == found["n5 -> g5"] == 1.0


def test_bundles_weigh_by_their_cables():
    graph = nx.DiGraph()
    for middle, count in (("x", 3), ("y", 1)):
        join(graph, "a", middle, 1e9 * count, count=count)
        join(graph, middle, "b", 1e9 * count, count=count)
    graph.nodes["a"]["kind"] = graph.nodes["b"]["kind"] = "accelerator"
    assert path(Network.from_graph(graph), "a", "b")["a -> x"] == 0.75


def test_rail_routing_goes_through_the_accelerator_on_the_right_rail():
    network = Network.from_graph(racks(2, 4, rails=4), routing="rail")
    assert list(path(network, "g0", "g5")) == [
        "g0 -> s0.0",
        "s0.0 -> g1",
        "g1 -> n1",
        "n1 -> leaf1",
        "leaf1 -> n5",
        "n5 -> g5",
    ]
    assert "g0 -> n0" in path(network, "g0", "g4")


def test_accelerators_forward_only_where_there_is_no_other_way():
    assert not any(
        "g1" in link for link in path(Network.from_graph(racks(2, 4, rails=4)), "g0", "g5")
    )
    only = racks(2, 4, rails=4)
    only.remove_nodes_from(["spine0"])  # rail-only
    found = path(Network.from_graph(only), "g0", "g5")
    assert found["s0.0 -> g1"] == found["n1 -> leaf1"] == 1.0


def test_ecmp_takes_one_path_and_depends_on_the_seed():
    graph = racks(2, 8, spines=8)

    def spines(seed):
        network = Network.from_graph(graph, routing="ecmp", seed=seed)
        found = [path(network, f"g{i}", f"g{i + 8}") for i in range(8)]
        assert all(set(f.values()) == {1.0} for f in found)
        return [next(k for k in f if k.startswith("leaf0")) for f in found]

    assert spines(1) == spines(1)
    assert spines(1) != spines(2)
    assert len(set(spines(1))) < 8  # collisions


def test_ecmp_gets_one_cable_of_a_bundle():
    network = Network.from_graph(racks(2, 4, spines=4, bundled=True), routing="ecmp")
    route = network.route(network.node("g0"), network.node("g5"))
    assert min(network.capacity[route.links]) == 50e9
    assert len(route.links) == 6


def test_dimension_order_settles_one_dimension_after_another():
    network = Network.from_graph(torus(4, 4), routing="dimension-order")
    found = list(path(network, (0, 0), (3, 2)))
    assert found == ["(0, 0) -> (3, 0)", "(3, 0) -> (3, 1)", "(3, 1) -> (3, 2)"]


def test_torus_spray_uses_both_ways_around():
    network = Network.from_graph(torus(4))
    assert set(path(network, (0,), (2,)).values()) == {0.5}


def test_mesh_uses_its_own_link():
    assert path(Network.from_graph(mesh(4)), "g0", "g3") == {"g0 -> g3": 1.0}


@pytest.mark.parametrize("routing", ["spray", "paths", "rail", "ecmp", "single"])
def test_what_leaves_arrives(routing):
    network = Network.from_graph(racks(3, 4, rails=2, planes=2, spines=3), routing=routing)
    for a in network.accelerator_nodes[:4].tolist():
        for b in network.accelerator_nodes.tolist():
            conserves(network, a, b)


def test_what_leaves_arrives_on_a_torus_and_in_random_graphs():
    graph = torus(3, 4, 2)
    network = Network.from_graph(graph)
    for b in range(len(network.nodes)):
        conserves(network, 0, b)
    random = nx.connected_watts_strogatz_graph(40, 6, 0.4, seed=3)
    nx.set_edge_attributes(random, 1e9, "bytes_per_s")
    network = Network.from_graph(random)
    lengths = dict(nx.shortest_path_length(random, 5))
    for b in range(40):
        conserves(network, network.node(5), network.node(b))
        assert network.route(network.node(5), network.node(b)).hops == lengths[b]


def test_many_routes_are_the_single_routes():
    network = Network.from_graph(racks(2, 6, rails=3, planes=2, spines=2))
    nodes = network.accelerator_nodes
    source, target = np.repeat(nodes, len(nodes)), np.tile(nodes, len(nodes))
    table = network.routes(source, target)
    for k in range(0, len(source), 7):
        one = network.route(source[k], target[k])
        row = slice(table.indptr[k], table.indptr[k + 1])
        assert sorted(zip(table.links[row], table.fractions[row], strict=True)) == sorted(
            zip(one.links, one.fractions, strict=True)
        )


def test_unreachable_pairs_unknown_nodes_and_bad_links_are_errors():
    graph = racks(1, 2)
    graph.add_node("island", kind="accelerator", index=9)
    network = Network.from_graph(graph)
    with pytest.raises(NoRoute, match="island"):
        network.route(network.node("g0"), network.node("island"))
    with pytest.raises(UnknownName, match="did you mean"):
        network.node("g00")
    for value in (0.0, float("nan"), -1.0, "fast", None):
        bad = racks(1, 2)
        bad.edges["g0", "s0.0"]["bytes_per_s"] = value
        with pytest.raises(InvalidInput, match=r"g0.*bytes_per_s"):
            Network.from_graph(bad)
    with pytest.raises(UnknownName, match="routing"):
        Network.from_graph(graph, routing="fastest")


def test_adapters_and_switches_may_be_ends():
    network = Network.from_graph(racks(2, 4, rails=4))
    assert path(network, "g0", "n0") == {"g0 -> n0": 1.0}
    assert path(network, "n0", "g0") == {"n0 -> g0": 1.0}
    assert path(network, "g1", "s0.0") == {"g1 -> s0.0": 1.0}
    assert list(path(network, "leaf0", "g4")) == ["leaf0 -> n4", "n4 -> g4"]


def test_what_hangs_off_one_domain_does_not_multiply_the_searches():
    graph = racks(4, 8, spines=3)
    for index in range(32):
        join(graph, f"g{index}", f"cpu{index // 2}", 60e9)
        graph.nodes[f"cpu{index // 2}"]["kind"] = "cpu"
    plain, hung = Network.from_graph(racks(4, 8, spines=3)), Network.from_graph(graph)
    core = hung.router.core("fabric")
    core.keys(hung.accelerator_nodes, hung.accelerator_nodes)
    assert core.key_count == 4  # one for each leaf
    for a, b in (("g0", "g9"), ("g31", "g2")):
        assert path(hung, a, b) == path(plain, a, b)
    assert path(hung, "cpu0", "g1") == {"cpu0 -> g1": 1.0}


@pytest.mark.parametrize("domain", [36, 144])  # one and two tiers of scale-up switches
def test_a_tree_of_bundles_has_the_routes_that_the_search_finds(domain):
    tree, searched = (Network.of_machine(machine(domain), 2 * domain) for _ in range(2))
    assert tree.router.tree is not None
    searched.router.tree = None
    nodes = tree.accelerator_nodes[[0, 1, 17, domain - 1, domain, 2 * domain - 1]]
    sources, targets = (ends.ravel() for ends in np.meshgrid(nodes, nodes))
    ours, theirs = (net.router.routes(sources, targets) for net in (tree, searched))
    for flow in range(len(sources)):
        a, b = (
            dict(zip(t.links[s].tolist(), t.fractions[s].tolist(), strict=True))
            for t in (ours, theirs)
            for s in [slice(t.indptr[flow], t.indptr[flow + 1])]
        )
        assert a == b


def uneven_diamond():
    """From a to z: over x with two ways on, or over y with one."""
    graph = nx.DiGraph()
    for a, b in [("a", "x"), ("a", "y"), ("x", "p"), ("x", "q"), ("y", "r")]:
        join(graph, a, b, 1e9)
    for b in "pqr":
        join(graph, b, "z", 1e9)
    return graph


def test_parts_by_node_or_by_path():
    graph = uneven_diamond()
    by_node = path(Network.from_graph(graph), "a", "z")
    by_path = path(Network.from_graph(graph, routing="paths"), "a", "z")
    assert (by_node["a -> x"], by_node["x -> p"], by_node["y -> r"]) == (0.5, 0.25, 0.5)
    assert by_path["a -> x"] == pytest.approx(2 / 3)
    assert [by_path[f"{b} -> z"] for b in "pqr"] == pytest.approx([1 / 3] * 3)


def test_single_takes_the_first_way_of_the_file():
    found = path(Network.from_graph(uneven_diamond(), routing="single"), "a", "z")
    assert found == {"a -> x": 1.0, "x -> p": 1.0, "p -> z": 1.0}


def test_parts_by_path_are_those_of_all_paths_enumerated():
    graph = nx.gnp_random_graph(24, 0.2, seed=5)
    nx.set_edge_attributes(graph, 1e9, "bytes_per_s")
    network = Network.from_graph(graph, routing="paths")
    for target in (7, 19):
        every = list(nx.all_shortest_paths(graph, 3, target))
        wanted = {}
        for one in every:
            for a, b in itertools.pairwise(one):
                name = f"{a} -> {b}"
                wanted[name] = wanted.get(name, 0.0) + 1 / len(every)
        assert path(network, 3, target) == pytest.approx(wanted)
