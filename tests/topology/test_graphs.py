"""Graphs that users bring: node-link JSON, GraphML, NetworkX objects, and slips in them."""

import json

import networkx as nx
import pytest

from rackmodel.errors import CannotRun, InvalidInput, RackModelError
from rackmodel.topology import check_topology, load_topology, read_topology


def ring(n=4, rate=50e9):
    graph = nx.Graph(accelerator="h100")
    for i in range(n):
        graph.add_node(i, kind="accelerator")
        graph.add_edge(i, (i + 1) % n, bytes_per_s=rate)
    return graph


def test_ten_lines_by_hand_are_a_machine():
    graph = nx.Graph()
    for node in range(2):
        graph.add_node(f"nic{node}", kind="nic")
        graph.add_node(f"sw{node}", kind="scale_up_switch")
        graph.add_edge(f"nic{node}", "leaf", bytes_per_s="400 Gb/s", kind="infiniband")
        for i in range(4):
            graph.add_node(f"g{node}{i}", kind="accelerator", part="h100", rack=node)
            graph.add_edge(f"g{node}{i}", f"sw{node}", bytes_per_s=450e9, kind="nvlink")
            graph.add_edge(f"g{node}{i}", f"nic{node}", bytes_per_s=63e9, kind="pcie")
    graph.nodes["leaf"]["kind"] = "leaf"
    topology = load_topology(graph)
    assert (topology.accelerator, topology.domain_accelerators) == ("h100", 4)
    assert (topology.max_accelerators, topology.rack_accelerators) == (8, 4)
    assert topology.nics_per_accelerator == 0.25
    built = topology.graph(6)
    assert built.graph["accelerators"] == 6
    assert built.edges["nic0", "leaf"]["bytes_per_s"] == 50e9
    assert built.edges["leaf", "nic0"]["payload_efficiency"] == 1.0
    assert [built.nodes[f"g1{i}"]["index"] for i in range(4)] == [4, 5, 6, 7]
    assert topology.period(6) == 6
    inventory = topology.inventory(8).groupby("part_kind")["count"].sum()
    assert inventory["nic"] == 2
    assert inventory["cable"] == 18
    assert "kind" not in graph.edges["g00", "sw0"] or graph.edges["g00", "sw0"]["kind"] == "nvlink"
    assert "index" not in graph.nodes["g00"]  # the user's own graph is left alone


def test_json_graphml_and_objects_give_one_machine(tmp_path):
    graph = ring(5)
    nx.write_graphml(graph, tmp_path / "ring.graphml")
    (tmp_path / "ring.json").write_text(json.dumps(nx.node_link_data(graph, edges="edges")))
    (tmp_path / "old.json").write_text(json.dumps(nx.node_link_data(graph, edges="links")))
    expected = sorted(load_topology(graph).graph(5).edges(data="bytes_per_s"))
    assert len(expected) == 10
    for name in ("ring.graphml", "ring.json", "old.json"):
        found = load_topology(tmp_path / name).graph(5).edges(data="bytes_per_s")
        assert sorted((int(a), int(b), rate) for a, b, rate in found) == expected
        assert read_topology(tmp_path / name).number_of_nodes() == 5


def test_a_shipped_machine_survives_being_written_and_read(tmp_path):
    graph = read_topology("dgx-h100", racks=2)
    (tmp_path / "dgx.json").write_text(json.dumps(nx.node_link_data(graph, edges="edges")))
    again = load_topology(tmp_path / "dgx.json")
    assert again.domain_accelerators == 8
    assert again.graph(16).edges.keys() == graph.edges.keys()
    for a, b, data in graph.edges(data=True):
        assert again.graph(16).edges[a, b] == data if a == "leaf-0-0" else True


def test_index_orders_the_accelerators():
    graph = ring(4)
    nx.set_node_attributes(graph, {0: 3, 1: 2, 2: 1, 3: 0}, "index")
    built = load_topology(graph).graph(4)
    assert [built.nodes[i]["index"] for i in range(4)] == [3, 2, 1, 0]
    graph.nodes[0]["index"] = 2
    with pytest.raises(InvalidInput, match="run from 0 to 3"):
        load_topology(graph)


def test_more_than_the_graph_has_cannot_run():
    with pytest.raises(CannotRun, match="at most 4"):
        load_topology(ring(4)).graph(5)


def broken(change):
    graph = ring(4).to_directed()
    change(graph)
    return graph


SLIPS = [
    (lambda g: g.nodes[0].update(kind="fridge"), "node 0.*kind 'fridge'.*known: accelerator"),
    (lambda g: g.nodes[0].pop("kind"), "node 0.*no kind"),
    (lambda g: g.nodes[0].update(rack="left"), "rack.*left"),
    (lambda g: g.edges[0, 1].update(bytes_per_s=float("nan")), "0 -> 1.*nan"),
    (lambda g: g.edges[0, 1].update(bytes_per_s=float("inf")), "0 -> 1.*inf"),
    (lambda g: g.edges[0, 1].update(bytes_per_s=-1.0), "0 -> 1.*negative"),
    (lambda g: g.edges[0, 1].update(bytes_per_s=0), "0 -> 1.*zero"),
    (lambda g: g.edges[0, 1].update(bytes_per_s=1e30), "0 -> 1.*outside"),
    (lambda g: g.edges[0, 1].update(bytes_per_s="50 W"), "0 -> 1.*50 W"),
    (lambda g: g.edges[0, 1].update(bytes_per_s=None), "0 -> 1.*None"),
    (lambda g: g.edges[0, 1].pop("bytes_per_s"), "0 -> 1.*no bytes_per_s"),
    (lambda g: g.edges[0, 1].update(latency_s=-1e-6), "latency_s.*negative"),
    (lambda g: g.edges[0, 1].update(latency_s=1e6), "latency_s.*10 s"),
    (lambda g: g.edges[0, 1].update(payload_efficiency=1.2), "payload_efficiency"),
    (lambda g: g.edges[0, 1].update(count=0), "count"),
    (lambda g: g.edges[0, 1].update(count=1.5), "count"),
    (lambda g: g.add_edge(0, 0, bytes_per_s=1e9), "itself"),
    (lambda g: g.add_node("far", kind="accelerator"), "no path.*far"),
    (
        lambda g: (g.add_node("in", kind="accelerator"), g.add_edge(0, "in", bytes_per_s=1e9)),
        "no path from accelerator 'in'",
    ),
    (lambda g: g.remove_nodes_from(list(g)), "no node of kind 'accelerator'"),
    (lambda g: g.graph.update(accelerator="h10"), "did you mean 'h100'"),
    (lambda g: [g.nodes[i].update(part=p) for i, p in enumerate(["h100", "a100-80"])], "several"),
]


@pytest.mark.parametrize(("change", "message"), SLIPS)
def test_a_slip_in_a_graph_is_named(change, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        load_topology(broken(change))
    assert "\n" not in str(caught.value)


FILES = [
    ("x.json", "{", "not valid JSON"),
    ("x.json", "[" * 100_000, "not valid JSON"),
    ("x.json", "[]", "node-link"),
    ("x.json", '{"nodes": 3, "edges": []}', "nodes: expected a list"),
    ("x.json", '{"nodes": [], "edges": []}', "empty"),
    ("x.json", '{"nodes": [{"id": 1}], "edges": 3}', "edges: expected a list"),
    ("x.json", '{"nodes": [{"kind": "nic"}], "edges": []}', r"nodes\[0\]"),
    ("x.json", '{"nodes": [{"id": [1]}], "edges": []}', r"nodes\[0\].id"),
    ("x.json", '{"nodes": [{"id": "a"}, {"id": "a"}], "edges": []}', "twice"),
    ("x.json", '{"nodes": [{"id": "a"}], "edges": [{"source": "a", "target": "b"}]}', "no node"),
    ("x.json", '{"nodes": [{"id": "a"}], "edges": [["a", "a"]]}', r"edges\[0\]"),
    ("x.json", '{"nodes": [{"id": "a", "node_for_adding": 1}], "edges": []}', "no kind"),
    ("x.json", '{"nodes": [{"id": "a", "x": NaN}], "edges": []}', "NaN"),
    (
        "x.json",
        '{"directed": true, "nodes": [{"id": "a"}, {"id": "b"}], "edges": '
        '[{"source": "a", "target": "b"}, {"source": "a", "target": "b"}]}',
        "second edge",
    ),
    ("x.graphml", "<graphml", "not valid (GraphML|XML)"),
    ("x.graphml", "", "is empty"),
    ("x.graphml", "<a/>", "GraphML"),
    ("x.graphml", '<!DOCTYPE x [<!ENTITY a "b">]><graphml/>', "entities are refused"),
    ("x.pickle", "x", "holds no machine that can be read"),
]


@pytest.mark.parametrize(("name", "text", "message"), FILES)
def test_a_broken_file_is_refused(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(RackModelError, match=message) as caught:
        load_topology(path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("thing", [None, 3, {"nodes": []}, ["a"]])
def test_other_things_are_no_topology(thing):
    with pytest.raises(InvalidInput, match="expected a path"):
        load_topology(thing)


def test_parallel_edges_are_refused_with_the_remedy():
    graph = nx.MultiGraph()
    graph.add_node(0, kind="accelerator")
    graph.add_node(1, kind="accelerator")
    graph.add_edges_from([(0, 1), (1, 0)], bytes_per_s=1e9)
    with pytest.raises(InvalidInput, match="count"):
        load_topology(graph)


def test_cpus_forward_nothing():
    graph = nx.Graph()
    for i in range(2):
        graph.add_node(i, kind="accelerator")
        graph.add_edge(i, "cpu", bytes_per_s=1e9)
    graph.nodes["cpu"]["kind"] = "cpu"
    with pytest.raises(InvalidInput, match="no path"):
        check_topology(graph)
