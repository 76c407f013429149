"""Collectives: closed forms, groups of any shape, bounds, errors."""

import networkx as nx
import numpy as np
import pytest
from network_graphs import join, mesh, racks, torus

from benchmarks.validation.bounds import collectives, violations
from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.network import ALGORITHMS, Network, alone_s, link_load, pattern, run_collective
from rackmodel.network.collectives.bounds import bound_s
from rackmodel.network.collectives.groups import make_group
from rackmodel.network.collectives.hops import overlaps
from rackmodel.network.collectives.registry import OPS
from rackmodel.network.collectives.tuner import variants
from rackmodel.topology import load_topology

BYTES = 2.0**30


def wire_s(network, op, members, algorithm, **options):
    """Time by links alone: no fixed times, no limits of copy engines."""
    made = pattern(network, op, members, BYTES, algorithm=algorithm, **options)
    return sum(
        float((link_load(network, flows) / network.capacity).max()) * BYTES
        for flows in variants_simple(network, op, members, made.algorithm, options)
    )


def variants_simple(network, op, members, name, options):
    group = make_group(network, members, options.get("true_size"))
    return variants(network, group, op, name, BYTES)[-1].rounds


def node(**facts):
    return Network.from_graph(racks(1, 8, nvl=450e9, reduction=True, **facts))


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_ring_times(n):
    passes = {"all-reduce": 2, "all-gather": 1, "reduce-scatter": 1}
    for op, count in passes.items():
        wanted = count * (n - 1) / n * BYTES / 450e9
        assert wire_s(node(), op, range(n), "ring") == pytest.approx(wanted)


def test_in_switch_reduction_sends_each_byte_once_and_a_part_back():
    assert wire_s(node(), "all-reduce", range(8), "nvls") == pytest.approx(9 / 8 * BYTES / 450e9)


def test_all_to_all_inside_a_domain():
    wanted = 7 / 8 * BYTES / 450e9
    assert wire_s(node(), "all-to-all", range(8), "direct") == pytest.approx(wanted)


def test_what_accelerators_post_themselves_is_not_held_back_by_their_hosts():
    """Racks of one part: NCCL's hosts post chunk by chunk, DeepEP's kernels post to the NIC."""
    network = Network.of_machine(load_topology("gb200-nvl72"), 144)
    members = [*range(64), *range(72, 136)]
    hosts_s, own_s = (
        alone_s(network, pattern(network, "all-to-all", members, 1e9, algorithm=name), 1e9)
        for name in ("direct", "gpu-initiated")
    )
    assert hosts_s > 1.5 * own_s
    assert own_s > bound_s(network, "all-to-all", make_group(network, members), 1e9)[0]
    few = [*range(8), *range(72, 80)]  # no more of a rack than a host has
    assert alone_s(network, pattern(network, "all-to-all", few, 1e9), 1e9) == alone_s(
        network, pattern(network, "all-to-all", few, 1e9, algorithm="gpu-initiated"), 1e9
    )


def test_ring_over_nodes_uses_every_nic():
    # each byte crosses between nodes once per pass, spread over 8 NICs of 50 GB/s
    network = Network.from_graph(racks(4, 8, nvl=450e9, rails=8))
    wanted = 2 * 31 / 32 * BYTES / (8 * 50e9)
    assert wire_s(network, "all-reduce", range(32), "ring") == pytest.approx(wanted)


def test_group_of_part_of_each_node_has_the_nics_of_its_members():
    network = Network.from_graph(racks(4, 8, nvl=450e9, rails=8))
    members = [0, 1, 8, 9, 16, 17, 24, 25]
    wanted = 2 * 7 / 8 * BYTES / (2 * 50e9)
    assert wire_s(network, "all-reduce", members, "ring") == pytest.approx(wanted)


def test_uneven_domains_spread_evenly_over_the_smaller_side():
    network = Network.from_graph(racks(2, 8, nvl=450e9, rails=8))
    members = [*range(8), 8, 9]
    wanted = 2 * 9 / 10 * BYTES / (2 * 50e9)
    assert wire_s(network, "all-reduce", members, "ring") == pytest.approx(wanted)


@pytest.mark.parametrize(("left", "right"), [(3, 5), (8, 6), (4, 4), (1, 7)])
def test_overlaps_load_both_sides_evenly(left, right):
    a, b, part = overlaps(left, right)
    assert np.bincount(a, part) == pytest.approx(np.full(left, 1 / left))
    assert np.bincount(b, part) == pytest.approx(np.full(right, 1 / right))


def test_torus_all_reduce_uses_all_links_both_ways():
    # 4 x 4: both parts send 2 (3/4 + 3/16) of half the buffer over 2 of a node's 4 ports
    network = Network.from_graph(torus(4, 4))
    wanted = 2 * (15 / 16) * BYTES / (4 * 50e9)
    assert wire_s(network, "all-reduce", range(16), None) == pytest.approx(wanted)
    assert pattern(network, "all-reduce", range(16), BYTES).algorithm == "torus"


def test_mesh_exchanges_directly():
    network = Network.from_graph(mesh(8))
    made = pattern(network, "all-reduce", range(8), BYTES)
    assert made.algorithm == "direct"
    assert wire_s(network, "all-reduce", range(8), None) == pytest.approx(2 / 8 * BYTES / 64e9)


def test_halving_doubling_moves_what_a_ring_moves():
    made = pattern(node(), "all-reduce", range(8), BYTES, algorithm="halving-doubling")
    assert len(made.rounds) == 6
    sent = sum(np.bincount(f.source, f.share).max() for f in made.rounds)
    assert sent == pytest.approx(2 * 7 / 8)


def test_double_tree_loads_no_domain_twice():
    network = Network.from_graph(racks(7, 4, rails=4))
    made = pattern(network, "all-reduce", range(28), BYTES, algorithm="tree")
    outer = [k for k in range(len(made.rounds[0])) if made.rounds[0].share[k] < 1]
    flows = made.rounds[0]
    sent = np.zeros(7)
    domain = {
        int(n): int(d) for n, d in zip(network.accelerator_nodes, network.domain_of, strict=True)
    }
    for k in outer:
        sent[domain[int(flows.source[k])]] += flows.share[k]
    assert sent.max() <= 2.0 + 1e-12  # parent in one tree; parent and two children in the other
    assert sent.sum() == pytest.approx(2 * 6)  # every edge of both trees, up and down, half each


def test_every_time_is_above_its_bound_and_busbw_below_the_links():
    for network in (
        node(),
        Network.from_graph(racks(3, 4, rails=2, over=2.0, reduction=True)),
        Network.from_graph(torus(2, 3, 2)),
        Network.from_graph(mesh(5)),
    ):
        total = len(network.accelerator_nodes)
        for size in (2, 3, total - 1, total):
            for op in OPS:
                group = make_group(network, range(size))
                for byte_count in (1e3, 1e6, 1e9):
                    made = pattern(network, op, range(size), byte_count)
                    least, by = bound_s(network, op, group, byte_count)
                    assert 0 < least <= alone_s(network, made, byte_count), (op, size, by)


def test_small_messages_take_low_latency_protocols_and_large_ones_bandwidth():
    network = Network.from_graph(racks(1, 8, nvl=300e9, accelerator="a100-80"))
    small, large = (pattern(network, "all-reduce", range(8), b) for b in (1e3, 1e9))
    assert (small.protocol, large.protocol) == ("LL", "Simple")


def test_times_grow_with_size():
    network = node()
    times = [
        alone_s(network, pattern(network, "all-reduce", range(8), b), b)
        for b in np.logspace(1, 10, 40)
    ]
    assert (np.diff(times) >= -1e-12).all()


def test_a_group_of_one_takes_no_time():
    made = pattern(node(), "all-reduce", [3], BYTES)
    assert alone_s(node(), made, BYTES) == 0.0


def test_rows_read_like_nccl_tests():
    rows = run_collective(racks(1, 8, nvl=450e9), "all-gather", [1e6, 1e9], 8, "ring")
    for row in rows:
        assert row["algbw_bytes_per_s"] == pytest.approx(row["bytes"] / row["time_s"])
        assert row["busbw_bytes_per_s"] == pytest.approx(row["algbw_bytes_per_s"] * 7 / 8)
    assert [row["bytes"] for row in rows] == [1e6, 1e9]


def test_every_algorithm_runs_where_it_fits():
    network = Network.from_graph(racks(4, 4, rails=4, reduction=True, fabric_reduction=True))
    for op, names in ALGORITHMS.items():
        for name in set(names) - {"torus", "nvls", "one-shot", "two-shot", "two-shot-multicast"}:
            made = pattern(network, op, range(16), 1e8, algorithm=name)
            assert made.algorithm == name
            assert alone_s(network, made, 1e8) > 0


def test_mistakes_are_one_clear_line():
    network = node()
    for members in ([], [0, 0], [0, 8], [-1, 2]):
        with pytest.raises(InvalidInput):
            pattern(network, "all-reduce", members, 1e6)
    with pytest.raises(InvalidInput, match="true_size"):
        pattern(network, "all-reduce", range(4), 1e6, true_size=3)
    with pytest.raises(InvalidInput, match="bytes"):
        pattern(network, "all-reduce", range(4), float("nan"))
    with pytest.raises(UnknownName, match="did you mean 'all-reduce'"):
        pattern(network, "allreduce", range(4), 1e6)
    with pytest.raises(UnknownName, match="ring"):
        pattern(network, "all-reduce", range(4), 1e6, algorithm="rings")
    with pytest.raises(InvalidInput, match="torus"):
        pattern(network, "all-reduce", range(4), 1e6, algorithm="torus")
    with pytest.raises(CannotRun, match="has 8 accelerators"):
        run_collective(racks(1, 8), "all-reduce", [1e6], 9)
    with pytest.raises(InvalidInput, match="above 0"):
        run_collective(racks(1, 8), "all-reduce", [0], 8)


def test_bidirectional_ring_halves_the_time_on_links_of_their_own():
    graph = nx.DiGraph()
    for i in range(6):
        graph.add_node(f"g{i}", kind="accelerator", index=i)
    for i in range(6):
        join(graph, f"g{i}", f"g{(i + 1) % 6}", 50e9, kind="xgmi")
    network = Network.from_graph(graph)
    one = wire_s(network, "all-reduce", range(6), "ring")
    assert one == pytest.approx(2 * 5 / 6 * BYTES / 50e9)
    assert wire_s(network, "all-reduce", range(6), "bidirectional-ring") == pytest.approx(one / 2)
    assert pattern(network, "all-reduce", range(6), BYTES).algorithm == "bidirectional-ring"
    switched = node()
    assert wire_s(switched, "all-gather", range(8), "bidirectional-ring") == pytest.approx(
        wire_s(switched, "all-gather", range(8), "ring")
    )


@pytest.mark.parametrize("members", [range(16), range(14), [0, 1, 2, 4, 5, 8, 12, 13, 14]])
def test_hierarchical_all_to_all_delivers_everything_on_the_rails(members):
    network = Network.from_graph(racks(4, 4, rails=4))
    made = pattern(network, "all-to-all", list(members), BYTES, algorithm="hierarchical")
    inner, outer = made.rounds
    size = len(members)
    domain = dict(zip(network.accelerator_nodes.tolist(), network.domain_of.tolist(), strict=True))
    own = {n: sum(domain[m] == domain[n] for m in group_nodes(network, members)) for n in domain}
    for node_ in group_nodes(network, members):
        # what arrives from outside is a share from every member of the other domains
        arrives = outer.share[outer.target == node_].sum()
        assert arrives == pytest.approx((size - own[node_]) / size)
        leaves = inner.share[inner.source == node_].sum()
        assert leaves <= (size - 1) / size + 1e-12
        # what it passes on came from the others of its domain, or is its own
        passes = outer.share[outer.source == node_].sum() + own[node_] / size
        got = inner.share[inner.target == node_].sum()
        assert got * own[node_] == pytest.approx(passes * (own[node_] - 1))
    places = {int(n): i % 4 for i, n in enumerate(network.accelerator_nodes)}
    if size == 16:
        assert all(
            places[a] == places[b]
            for a, b in zip(outer.source.tolist(), outer.target.tolist(), strict=True)
        )


def group_nodes(network, members):
    return network.accelerator_nodes[list(members)].tolist()


def test_rings_between_meshes_use_all_their_links():
    graph = nx.DiGraph()
    for i in range(16):
        graph.add_node(f"g{i}", kind="accelerator", index=i)
        join(graph, f"g{i}", f"leaf{i % 8}", 50e9, kind="ethernet")
        graph.nodes[f"leaf{i % 8}"]["kind"] = "leaf"
        for j in range(i - i % 8, i):
            join(graph, f"g{i}", f"g{j}", 64e9, kind="xgmi")
    network = Network.from_graph(graph)
    assert len(np.unique(network.domain_of)) == 2
    # 7/8 of the bytes leave each member inside, over 7 links; 1/8 over its NIC
    wanted = 15 / 16 * BYTES / (8 * 50e9)
    assert wire_s(network, "all-gather", range(16), "ring") == pytest.approx(wanted)
    one = pattern(network, "all-gather", range(16), BYTES, algorithm="ring").rounds[0]
    load = link_load(network, one)[np.array(network.link_kinds) == "xgmi"]
    assert load == pytest.approx(np.full(2 * 56, 15 / 16 / 8))


def test_a_few_accelerators_in_one_more_rack_do_not_starve_the_tree():
    topology = load_topology("gb200-nvl72")

    def seconds(gpus):
        network = Network.from_graph(topology.graph(gpus, bundled=True))
        made = pattern(network, "all-reduce", range(gpus), 4e9, algorithm="nvls-tree")
        return alone_s(network, made, 4e9)

    assert seconds(512) == pytest.approx(seconds(576), rel=0.01)  # seven racks and eight, or eight


# Mixed domains, meshes, tori, in-switch reduction, rails, tapers; below, at and above a domain.
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("gb200-nvl72", [72, 73]),
        ("dgx-h100-2to1", [3, 17, 64]),
        ("dgx-2", [16, 17]),
        ("mi300x-platform", [7, 8, 20]),
        ("gaudi2-node", [8, 9]),
        ("hgx-a100-80-4x200g", [12]),
        ("dgx-h100-rail-only", [12]),
        ("dgx-h100-dragonfly", [24]),
        ("tpu-v5e-pod", [16, 64]),
        ("trn2-ultraserver", [65]),
        ("gb200-nvl36x2", [37, 72]),
    ],
)
def test_no_collective_beats_its_bound_or_its_links(name, sizes):
    rows = list(collectives(name, sizes))
    assert len(rows) >= 40
    assert violations(rows) == []
