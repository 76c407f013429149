"""Laws that hold for every description: ports, bundles, slices and the size of what is built."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackmodel.errors import RackModelError
from rackmodel.topology import counted, load_topology, tier_of
from rackmodel.topology.published import agrees
from rackmodel.topology.shapes import Torus

SIZES = [
    ("dgx-h100", 2056),
    ("gb200-nvl72", 1200),
    ("dgx-h100-rail-only", 600),
    ("dgx-2", 900),
    ("dgx-h100-dragonfly", 700),
    ("grand-teton-h100-500w", 1100),
    ("gb200-nvl36x2", 600),
    ("ualink72", 144),
    ("gb300-nvl72", 1300),
]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_no_switch_has_more_links_than_ports(name, size):
    topology = load_topology(name)
    graph = topology.graph(size)
    fabric = topology.fabric
    ports = {
        tier: use.ports for tier in ("leaf", "spine", "core") if (use := getattr(fabric, tier))
    }
    for node, data in graph.nodes(data=True):
        if data["kind"] in ports:
            used = sum(e["count"] for _, _, e in graph.out_edges(node, data=True))
            assert used <= ports[data["kind"]], node


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_every_link_has_both_directions(name, size):
    for bundled in (False, True):
        graph = load_topology(name).graph(size, bundled=bundled)
        for a, b, data in graph.edges(data=True):
            back = graph.edges[b, a]
            assert (data["count"], data["bytes_per_s"]) == (back["count"], back["bytes_per_s"])


@settings(max_examples=25, deadline=None)
@given(
    nodes=st.integers(1, 40),
    rails=st.sampled_from([1, 2, 4, 8]),
    pod_units=st.integers(1, 8),
    group_pods=st.integers(1, 3),
    over=st.sampled_from([1, 2, 4]),
    core_over=st.sampled_from([1, 2, 3]),
    kind=st.sampled_from(["fat-tree", "leaf-spine", "rail-only", "dragonfly"]),
)
def test_random_fabrics_count_as_they_are_built(
    nodes, rails, pod_units, group_pods, over, core_over, kind
):
    keys = {
        "kind": kind,
        "rails": rails,
        "pod_units": pod_units,
        "group_pods": group_pods,
        "oversubscription": over,
        "core_oversubscription": core_over,
    }
    refused = ""
    try:
        topology = load_topology("dgx-h100", overrides={f"fabric.{k}": v for k, v in keys.items()})
        full = topology.graph(8 * nodes)
    except RackModelError as error:  # ports do not divide or suffice: said in one line
        refused = str(error)
    if refused:
        assert "fabric" in refused
        return
    columns = ["part_kind", "part", "tier", "medium", "count"]
    left = topology.inventory(8 * nodes)[columns].sort_values(columns)
    right = counted(full, topology)[columns].sort_values(columns)
    assert left.to_numpy().tolist() == right.to_numpy().tolist()
    cuts = []
    for graph in (full, topology.graph(8 * nodes, bundled=True)):
        cut: Counter[str] = Counter()
        for a, b, data in graph.edges(data=True):
            cut[tier_of(graph.nodes[a]["kind"], graph.nodes[b]["kind"])] += data["bytes_per_s"]
        cut.pop("host")  # CPUs are left out of bundles
        cuts.append(dict(cut))
    assert cuts[0] == pytest.approx(cuts[1])
    period = topology.period(8 * nodes)
    assert period == 8 * nodes or period % 8 == 0


@given(chips=st.integers(1, 8960))
@settings(max_examples=60, deadline=None)
def test_a_slice_holds_what_is_asked_and_fits_the_pod(chips):
    torus = load_topology("tpu-v5p-pod").scale_up
    assert isinstance(torus, Torus)
    shape = torus.slice_shape(chips)
    assert math.prod(shape) >= chips
    assert all(a <= b for a, b in zip(sorted(shape), sorted(torus.shape), strict=True))
    if chips > 64:
        assert all(side % 4 == 0 for side in shape)


def test_a_torus_slice_has_the_links_of_a_torus():
    topology = load_topology("tpu-v4-pod")
    graph = topology.graph(64)
    links = {(a, b) for a, b in graph.edges if a[0] == b[0] == "a"}
    assert len(links) == 64 * 6
    graph = topology.graph(16)  # 2 x 2 x 4, no way round: 16 x 3 - 8 - 8 - 4 links
    links = {(a, b) for a, b in graph.edges if a[0] == b[0] == "a"}
    assert len(links) == 2 * (16 * 3 - 8 - 8 - 4)


def test_bundled_graphs_stay_small():
    assert len(load_topology("dgx-h100").graph(5000, bundled=True)) < 12_000


@pytest.mark.parametrize(
    ("value", "printed", "same"),
    [
        (129.6e12, 130e12, True),
        (136e12, 130e12, False),
        (7.2e12, 7.2e12, True),
        (7.14e12, 7.2e12, False),
        (448e9, 450e9, True),
        (400e9, 450e9, False),
        (3.6, 4, False),
    ],
)
def test_print_agrees_to_its_last_digit_and_never_beyond_5_percent(value, printed, same):
    assert agrees(value, printed, exact=False) is same


def test_a_million_accelerators_stand_on_a_core_of_two_stages():
    topology = load_topology("gb200-nvl72")
    assert topology.max_accelerators > 2_000_000
    assert topology.period(1_000_080) == topology.period(98_304) == 576
    plan = topology.plan(1_000_080)
    assert plan.groups == -(-1_000_080 // 576)
    # every core is a Clos: its outer switches face the groups with half of their ports
    ports = topology.fabric.core.ports
    assert plan.core_switches == -(-2 * plan.groups // ports) + -(-plan.groups // ports)
    rows = topology.inventory(1_000_080).set_index(["part_kind", "tier"])["count"]
    assert rows["switch", "core"] == plan.spines * plan.cores * plan.core_switches
    assert rows["cable", "spine_core"] == rows["cable", "leaf_spine"]


def test_cores_of_two_stages_count_as_they_are_built():
    topology = load_topology(
        "jean-zay-a100-80",
        overrides={"fabric.pod_units": 1, "fabric.group_pods": 1, "fabric.rails": 4},
    )
    size = 8 * 60  # 60 groups on cores of 48 ports
    assert topology.plan(size).core_switches == 3 + 2
    full = topology.graph(size)
    columns = ["part_kind", "part", "tier", "count"]
    left = topology.inventory(size)[columns].sort_values(columns).to_numpy().tolist()
    assert left == counted(full, topology)[columns].sort_values(columns).to_numpy().tolist()
