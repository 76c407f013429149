"""Every shipped machine: its file, its graph against its arithmetic, full against bundled."""

from collections import Counter

import networkx as nx
import pandas as pd
import pytest

from rackmodel.columns import frame_of
from rackmodel.errors import CannotRun
from rackmodel.hardware import sources
from rackmodel.topology import (
    check_topology,
    counted,
    describe,
    load_topology,
    read_topology,
    tier_of,
    topology_names,
    topology_rows,
)

NAMES = topology_names()
KINDS = [
    "part_kind",
    "part",
    "tier",
    "medium",
    "link",
    "per",
    "bytes_per_s",
    "lanes",
    "length_m",
    "count",
]
SMALL = {  # sizes that cross domains, pods and groups, yet stay small when spelled out
    "dgx-h100": (8, 9, 264, 1032),
    "dgx-2": (1, 17, 320, 620),
    "jean-zay-a100-80": (8, 200),
    "dgx-h100-rail-only": (8, 300),
    "dgx-h100-2to1": (300, 1100),
    "dgx-h100-dragonfly": (8, 500),
    "gb200-nvl72": (8, 72, 600),
    "gb200-nvl36x2": (72, 100),
    "vr200-nvl72": (72, 200),
    "mi355x-platform": (8, 17),
    "tpu-v4-pod": (1, 4, 16, 32, 64, 192, 256, 512),
    "tpu-v5e-pod": (1, 2, 8, 32, 128, 256, 512, 1300),
    "tpu-v6e-pod": (4, 16, 700),
    "trn2-ultraserver": (16, 130),
    "cloudmatrix384": (384, 800),
}


def cut(graph: nx.DiGraph) -> dict[str, float]:
    """Capacity in one direction between every two neighbouring tiers."""
    total: Counter[str] = Counter()
    for a, b, data in graph.edges(data=True):
        kinds = (graph.nodes[a]["kind"], graph.nodes[b]["kind"])
        if "cpu" not in kinds:
            total[tier_of(*kinds)] += data["bytes_per_s"]
    return dict(total)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_loads_and_names_its_sources(name):
    topology = load_topology(name)  # compares with [published]
    assert set(topology.published["source"].split()) <= set(sources())
    assert topology.title != name
    assert topology.year > 2016
    assert {what: value for what, value, _ in describe(topology)}["accelerator"]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("nvl576", "tpu-v7x-pod")])
def test_one_unit_is_a_sound_graph_of_the_published_size(name):
    topology = load_topology(name)
    if topology.domain_accelerators > 5000:
        graph = topology.graph(512)
    else:
        graph = read_topology(name)
        kinds = Counter(data["kind"] for _, data in graph.nodes(data=True))
        assert kinds["accelerator"] == topology.published["accelerators"]
    check_topology(graph)
    for _, _, data in graph.edges(data=True):
        assert data["latency_s"] > 0
        assert 0 < data["payload_efficiency"] <= 1
        assert data["bytes_per_s"] > 0


@pytest.mark.parametrize(("name", "size"), [(n, s) for n, sizes in SMALL.items() for s in sizes])
def test_arithmetic_equals_counting_and_bundles_equal_planes(name, size):
    topology = load_topology(name)
    full = topology.graph(size)
    left = topology.inventory(size)[KINDS].sort_values(KINDS).reset_index(drop=True)
    right = frame_of(counted(full, topology))[KINDS].sort_values(KINDS).reset_index(drop=True)
    pd.testing.assert_frame_equal(left, right)

    bundled = topology.graph(size, bundled=True)
    check_topology(bundled)
    assert cut(bundled) == pytest.approx(cut(full))
    assert len(bundled) <= len(full)
    for graph in (full, bundled):
        assert graph.graph["accelerators"] == size
        indices = [d["index"] for _, d in graph.nodes(data=True) if d["kind"] == "accelerator"]
        assert indices == list(range(topology.present(size)))


def surroundings(graph: nx.DiGraph, slot: int, hops: int = 4) -> list[list[tuple[object, ...]]]:
    """What an accelerator sees, hop by hop: multisets of links and kinds, but no names."""
    ring = {f"accelerator-{slot}"}
    seen = set(ring)
    rows = []
    for _ in range(hops):
        found = sorted(
            (
                graph.nodes[a]["kind"],
                graph.nodes[b]["kind"],
                data["bytes_per_s"],
                data["latency_s"],
                graph.nodes[b].get("rail", -1),
            )
            for a in ring
            for _, b, data in graph.out_edges(a, data=True)
        )
        rows.append(found)
        ring = {b for a in ring for b in graph.successors(a)} - seen
        seen |= ring
    return rows


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("dgx-h100", 4096),
        ("gb200-nvl72", 1728),
        ("gb300-nvl72", 1152),
        ("dgx-2", 1728),
        ("dgx-h100-2to1", 4096),
        ("tpu-v5e-pod", 2048),
        ("dgx-h100", 128),
    ],
)
def test_the_machine_repeats_after_its_period(name, size):
    topology = load_topology(name)
    period = topology.period(size)
    assert period < size
    graph = topology.graph(size, bundled=True)
    for slot in (0, 1, 7, period - 1):
        for again in range(slot + period, min(size, slot + 3 * period), period):
            assert surroundings(graph, slot) == surroundings(graph, again)
            pods = {
                d["pod"]
                for a in (slot, again)
                for n in nx.single_source_shortest_path(graph, f"accelerator-{a}", 2)
                for d in [graph.nodes[n]]
                if d["kind"] == "leaf"
            }
            assert len(pods) <= 2


def test_the_period_is_the_smallest_that_the_pods_allow():
    dgx = load_topology("dgx-h100")
    assert [dgx.period(n) for n in (8, 16, 256, 257, 2048, 2049, 98304)] == [
        8,
        8,
        8,
        256,
        256,
        1024,
        1024,
    ]
    assert load_topology("tpu-v4-pod").period(512) == 512
    assert load_topology("dgx-h100-dragonfly").period(1024) == 1024


def test_rails_join_equal_slots_and_nothing_else():
    graph = load_topology("dgx-h100").graph(64)
    for i in range(64):
        (nic,) = [n for n in graph.successors(f"accelerator-{i}") if n.startswith("nic")]
        leaves = [n for n in graph.successors(nic) if n.startswith("leaf")]
        assert leaves == [f"leaf-0-{i % 8}"]


def test_two_accelerators_share_a_nic_where_the_node_has_four():
    graph = load_topology("jean-zay-a100-80").graph(8)
    nics = [n for n in graph if n.startswith("nic")]
    assert len(nics) == 4
    for nic in nics:
        near = [n for n in graph.successors(nic) if n.startswith("accelerator")]
        assert len(near) == 2


def test_a_non_blocking_fat_tree_has_as_much_capacity_up_as_down():
    topology = load_topology("dgx-h100")
    cuts = cut(topology.graph(2048, bundled=True))
    assert cuts["nic_leaf"] == cuts["leaf_spine"]
    assert "spine_core" not in cuts
    cuts = cut(topology.graph(3072, bundled=True))
    assert cuts["nic_leaf"] == cuts["leaf_spine"] == cuts["spine_core"]
    over = cut(load_topology("dgx-h100-2to1").graph(2048, bundled=True))
    assert over["nic_leaf"] == 2 * over["leaf_spine"] == 4 * over["spine_core"]


def test_a_fabric_of_100_000_is_described_in_no_time():
    for name in ("gb200-nvl72", "dgx-h100", "dgx-b200", "gb300-nvl72", "h100-100k"):
        topology = load_topology(name)
        inventory = topology.inventory(98304)
        rows = inventory[inventory["part_kind"] == "accelerator"]
        assert rows["count"].sum() == topology.present(98304) >= 98304
        assert topology.period(98304) <= 4096


def test_more_than_the_machine_has_cannot_run():
    with pytest.raises(CannotRun, match="at most 128"):
        load_topology("dgx-h100-ideal").graph(129)


def test_the_list_has_a_row_for_each():
    rows = topology_rows()
    assert [row["name"] for row in rows] == NAMES
    assert all(row["scale_up_bytes_per_s"] > 0 for row in rows)


def test_links_in_an_inventory_know_their_length():
    rows = load_topology("gb200-nvl72").inventory(144)
    cables = rows[rows["part_kind"] == "cable"].set_index("tier")["length_m"]
    assert cables["scale_up"] == 0.62  # 3.2 km of cable over 5,184 pairs
    assert cables["leaf_spine"] > cables["nic_leaf"] > 5.0  # beyond copper
    assert (rows.loc[rows["part_kind"] == "switch", "length_m"] == 0.0).all()
