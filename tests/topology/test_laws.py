"""Laws that hold for every description: ports, bundles, slices and the size of what is built."""

import math
from collections import Counter

import pytest
from hypothesis import assume, given, settings, strategies as st

from rackmodel.columns import frame_of
from rackmodel.errors import RackModelError
from rackmodel.topology import counted, load_topology, tier_of
from rackmodel.topology.fabric import (
    Fabric,
    SwitchUse,
    check_ports,
    plan_fabric,
    switches_above_leaves,
)
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
    right = frame_of(counted(full, topology))[columns].sort_values(columns)
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
    ports, shared = topology.fabric.core.ports, plan.spines // plan.planes
    used = shared * plan.groups * plan.spine_up // plan.cores
    assert plan.core_switches == -(-2 * used // ports) + -(-used // ports)
    rows = topology.inventory(1_000_080).groupby(["part_kind", "tier"])["count"].sum()
    assert rows["switch", "core"] == plan.planes * plan.cores * plan.core_switches
    assert rows["cable", "spine_core"] == rows["cable", "leaf_spine"]


def test_cores_of_two_stages_count_as_they_are_built():
    topology = load_topology(
        "jean-zay-a100-80",
        overrides={"fabric.pod_units": 1, "fabric.group_pods": 1, "fabric.rails": 4},
    )
    size = 8 * 60  # 60 groups on cores of 48 ports
    plan = topology.plan(size)
    assert plan.planes * plan.cores * plan.core_switches > plan.planes * plan.cores
    full = topology.graph(size)
    columns = ["part_kind", "part", "tier", "count"]
    left = topology.inventory(size)[columns].sort_values(columns).to_numpy().tolist()
    assert (
        left == frame_of(counted(full, topology))[columns].sort_values(columns).to_numpy().tolist()
    )


@settings(max_examples=150, deadline=None)
@given(
    pods=st.integers(1, 60),
    rails=st.sampled_from([1, 2, 4, 8, 18]),
    down=st.integers(1, 36),
    group_pods=st.integers(1, 6),
    over=st.sampled_from([1, 2, 4]),
    core_over=st.sampled_from([1, 2, 3]),
    ports=st.sampled_from([(32, 32), (64, 64), (64, 288), (128, 128), (144, 36)]),
)
def test_fat_trees_carry_what_is_stated_with_no_more_switches_than_a_core_for_each_plane(
    pods, rails, down, group_pods, over, core_over, ports
):
    leaf, core = (
        SwitchUse(part="switch", ports=many, latency_s=0.0, reduction=False) for many in ports
    )
    fabric = Fabric(
        kind="fat-tree",
        rails=rails,
        pod_units=down,
        leaf=leaf,
        spine=leaf,
        core=core,
        oversubscription=over,
        core_oversubscription=core_over,
        group_pods=group_pods,
    )
    try:
        check_ports(fabric, rails, "fabric")
        plan = plan_fabric(fabric, pods * down, rails)
    except RackModelError:
        assume(False)
    facing = plan.pods if plan.groups == 1 else group_pods
    below = facing * rails * plan.leaf_up // plan.spines  # links into a spine
    assert plan.leaf_up * over == down
    assert plan.leaf_up % plan.spines == 0
    assert below + plan.spine_up <= leaf.ports
    if not plan.cores:
        assert plan.groups == 1
        assert plan.pods <= group_pods or core_over == 1  # what is tapered keeps its cores
        return
    assert abs(plan.spine_up - below / core_over) <= 0.5 or plan.spine_up == 1
    into = plan.spines // plan.planes * plan.groups * plan.spine_up // plan.cores
    assert plan.spines % plan.planes == plan.spine_up % plan.cores == 0
    assert into <= core.ports or plan.core_switches >= 3 * into / core.ports
    assert plan.planes * plan.cores * core.ports >= plan.groups * plan.spines * plan.spine_up or (
        plan.core_switches > 1
    )
    links = plan.groups * plan.spine_up
    evenly = [n for n in range(1, plan.spine_up + 1) if plan.spine_up % n == 0]
    single = [n for n in evenly if links // n <= core.ports]
    clos = -(-2 * plan.groups // core.ports) + -(-plan.groups // core.ports)
    fewest = single[0] if single else plan.spine_up * clos
    assert switches_above_leaves(plan) <= plan.spines * (plan.groups + fewest)


@pytest.mark.parametrize(
    ("name", "size", "spines", "cores"),
    [
        ("gb200-nvl72", 1024, 32, 0),  # 36 leaves of 32 uplinks: spines of 64 ports suffice
        ("gb200-nvl72", 4608, 256, 16),  # 4,608 links into cores of 288 ports
        ("dgx-h100", 2048, 32, 0),
        ("dgx-h100", 4096, 128, 16),  # 4,096 links at 288 ports, evenly
    ],
)
def test_cores_stand_where_spines_do_not_suffice_and_are_filled(name, size, spines, cores):
    plan = load_topology(name).plan(size)
    assert plan.groups * plan.spines == spines
    assert plan.planes * plan.cores * plan.core_switches == cores if cores else not plan.cores
