"""Facts in print on racks, nodes and pods, taken from the built graphs."""

from collections import Counter

import pytest

from rackmodel.hardware import load_catalog
from rackmodel.topology import (
    copper_pairs,
    load_topology,
    read_topology,
    scale_up_bytes_per_s,
)
from rackmodel.topology.kinds import Tier, tier_of


def optics_power_w(graph, medium):
    """Power of the modules if every scale-up link ran over a medium: both ends, 8 bits a byte."""
    kind = graph.nodes(data="kind")
    edges = graph.edges(data="bytes_per_s")
    rates = [rate for a, b, rate in edges if tier_of(kind[a], kind[b]) == Tier.SCALE_UP]
    return 8.0 * sum(rates) * load_catalog().media[medium].joule_per_bit_per_end


def kinds(graph):
    return Counter(data["kind"] for _, data in graph.nodes(data=True))


def trays(graph, kind):
    return len({d["tray"] for _, d in graph.nodes(data=True) if d["kind"] == kind})


# NVIDIA, GB200 NVL72 data sheet and DGX GB200 user guide: 18 compute and 9 switch trays, 72 + 36
# packages, 130 TB/s, 5,184 copper cables.
def test_nvl72_is_built_as_it_is_sold():
    graph = read_topology("gb200-nvl72")
    count = kinds(graph)
    assert (count["accelerator"], count["cpu"], count["scale_up_switch"]) == (72, 36, 18)
    assert (trays(graph, "accelerator"), trays(graph, "scale_up_switch")) == (18, 9)
    links = [e for e in graph.edges if e[0].startswith("accelerator") and "switch" in e[1]]
    assert len(links) == 1296
    assert {graph.out_degree(f"switch-0-0-{c}") for c in range(18)} == {72}
    assert copper_pairs(graph) == 5184
    assert scale_up_bytes_per_s(graph) == pytest.approx(130e12, abs=5e12)


# Optics in place of copper: "20 kW" by the maker (GTC 2024); 16.2-20.7 kW by modules in print.
def test_optics_would_add_16_to_21_kw_to_nvl72():
    graph = read_topology("gb200-nvl72")
    assert optics_power_w(graph, "pluggable") == pytest.approx(20.74e3, rel=1e-3)
    assert optics_power_w(graph, "pluggable-1600g") == pytest.approx(17.63e3, rel=1e-3)
    assert optics_power_w(graph, "lpo") == pytest.approx(10.37e3, rel=1e-3)
    assert optics_power_w(graph, "cpo") == pytest.approx(5.8e3, rel=1e-2)
    assert optics_power_w(graph, "copper") == 0


# DGX H100 SuperPOD: 32-node scalable unit on 8 leaves; 1,024 GPUs on 32 leaves and 16 spines.
# DGX B200 SuperPOD: 512 GPUs on 16 leaves and 8 spines, 512 + 512 cables.
@pytest.mark.parametrize(
    ("name", "gpus", "leaves", "spines", "cables"),
    [("dgx-h100", 256, 8, 4, 256), ("dgx-h100", 1024, 32, 16, 1024), ("dgx-b200", 512, 16, 8, 512)],
)
def test_superpods_have_the_printed_switches(name, gpus, leaves, spines, cables):
    graph = load_topology(name).graph(gpus)
    count = kinds(graph)
    assert (count["leaf"], count["spine"], count["core"]) == (leaves, spines, 0)
    between = Counter()
    for a, b, data in graph.edges(data=True):
        between[graph.nodes[a]["kind"], graph.nodes[b]["kind"]] += data["count"]
    assert between["nic", "leaf"] == between["leaf", "spine"] == cables


# Scaling book, GPUs: H100 node, 4 switch chips with 5 + 4 + 4 + 5 links of 25 GB/s each.
def test_h100_node_joins_each_gpu_by_18_links():
    graph = read_topology("dgx-h100")
    for i in range(8):
        links = [
            d["count"] for _, b, d in graph.out_edges(f"accelerator-{i}", True) if "switch" in b
        ]
        assert links == [5, 4, 4, 5]


# DGX-2: 12 switch chips, bisection of 2.4 TB/s counting both directions.
def test_dgx2_bisection():
    graph = read_topology("dgx-2")
    assert kinds(graph)["scale_up_switch"] == 12
    half = sum(
        data["bytes_per_s"]
        for a, b, data in graph.edges(data=True)
        if a.startswith("switch-0-0") and b.startswith("switch-0-1")
    )
    assert 2 * half == pytest.approx(2.4e12)


# Jouppi et al., ISCA 2023: 4,096 chips, 64 racks, 48 optical circuit switches, six links each.
def test_tpu_v4_pod_is_a_torus_of_64_cubes():
    topology = load_topology("tpu-v4-pod")
    rows = topology.inventory(4096).set_index(["part_kind", "tier"])["count"]
    assert rows["rack", ""] == 64
    assert rows["switch", "ocs"] == 48
    graph = topology.graph(512)
    assert topology.slice_shape(512) == (8, 8, 8)
    degrees = {
        sum(b.startswith("accelerator") for b in graph.successors(f"accelerator-{i}"))
        for i in range(512)
    }
    assert degrees == {6}


# Google Cloud, TPU v4 and v5p slices: 2x2x1, 2x2x2, 2x2x4, 2x4x4, 4x4x4, 4x4x8, 4x4x12, 4x8x8,
# 8x8x8, 8x8x16, 16x16x24. Below 4x4x4 nothing wraps around.
@pytest.mark.parametrize(
    ("chips", "shape"),
    [
        (4, (1, 2, 2)),
        (8, (2, 2, 2)),
        (16, (2, 2, 4)),
        (32, (2, 4, 4)),
        (64, (4, 4, 4)),
        (128, (4, 4, 8)),
        (192, (4, 4, 12)),
        (256, (4, 8, 8)),
        (512, (8, 8, 8)),
        (1024, (8, 8, 16)),
        (1536, (8, 12, 16)),
        (2048, (8, 16, 16)),
        (6144, (16, 16, 24)),
    ],
)
def test_slices_have_the_shapes_that_the_cloud_offers(chips, shape):
    topology = load_topology("tpu-v5p-pod")
    assert tuple(sorted(topology.slice_shape(chips))) == shape
    if chips == 32:
        graph = topology.graph(chips)
        assert not graph.has_edge("accelerator-0", "accelerator-3")  # no way round below a cube


# CloudMatrix384: 48 nodes, 336 first-tier and 112 second-tier switches, 192 CPUs.
def test_cloudmatrix_has_448_switches():
    count = kinds(read_topology("cloudmatrix384"))
    assert (count["accelerator"], count["scale_up_switch"], count["cpu"]) == (384, 448, 192)


# LLaMA-era HGX boards: A800 and H800 have two thirds and under a half of the links.
@pytest.mark.parametrize(
    ("cut", "whole", "share"),
    [("hgx-a800-80", "dgx-a100-80", 2 / 3), ("hgx-h800", "dgx-h100", 4 / 9)],
)
def test_export_boards_have_the_printed_share_of_links(cut, whole, share):
    rates = [scale_up_bytes_per_s(read_topology(name)) for name in (cut, whole)]
    assert rates[0] / rates[1] == pytest.approx(share)


# MI300X: seven links of 64 GB/s, all pairs, no switch.
def test_mi300x_is_a_full_mesh():
    graph = read_topology("mi300x-platform")
    assert kinds(graph)["scale_up_switch"] == 0
    pairs = [
        e
        for e in graph.edges(data="bytes_per_s")
        if e[0].startswith("accel") and e[1].startswith("accel")
    ]
    assert len(pairs) == 56
    assert {rate for _, _, rate in pairs} == {64e9}
