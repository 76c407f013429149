"""Flows over time: cases by hand, the textbook, and the two ways of solving."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import simpy
from network_graphs import join, racks

from rackmodel.errors import InvalidInput, NoRoute, UnknownName
from rackmodel.network import Network, Traffic, flow_table, simulate_flows
from rackmodel.network.reference import max_min_rates


def star(*ports):
    """Hosts h0, h1, ... on one switch, with ports of the given bytes/s."""
    graph = nx.DiGraph()
    for i, rate in enumerate(ports):
        graph.add_node(f"h{i}", kind="accelerator", index=i)
        join(graph, f"h{i}", "switch", rate)
    graph.nodes["switch"]["kind"] = "leaf"
    return graph


def flows(*rows):
    return pd.DataFrame(rows, columns=["source", "target", "bytes", "start_s"])


def finish(graph, *rows):
    return simulate_flows(Network.from_graph(graph), flows(*rows))["finish_s"].tolist()


def textbook(network, frame):
    """Progressive filling anew at every event, on dictionaries."""
    paths, left, ends, now = {}, {}, {}, 0.0
    waiting = sorted(frame.itertuples(), key=lambda row: row.start_s)
    capacity = dict(enumerate(network.capacity.tolist()))
    while waiting or left:
        while waiting and waiting[0].start_s <= now:
            row = waiting.pop(0)
            route = network.route(network.node(row.source), network.node(row.target))
            paths[row.Index] = dict(
                zip(route.links.tolist(), route.fractions.tolist(), strict=True)
            )
            left[row.Index] = row.bytes
        rates = max_min_rates({f: paths[f] for f in left}, capacity)
        until = min([left[f] / rates[f] for f in left], default=np.inf)
        step = min(until, waiting[0].start_s - now if waiting else np.inf)
        for f in list(left):
            left[f] -= rates[f] * step
            if left[f] <= 1e-12 * frame.bytes[f]:
                ends[f] = now + step
                del left[f]
        now = now + step if step == until or not waiting else waiting[0].start_s
    return np.array([ends[f] for f in frame.index])


def test_incast_shares_the_receivers_port():
    assert finish(star(10, 10, 10), ("h0", "h2", 10, 0), ("h1", "h2", 10, 0)) == [2.0, 2.0]


def test_permutation_does_not_share():
    rows = [(f"h{i}", f"h{(i + 1) % 4}", 8, 0) for i in range(4)]
    assert finish(star(4, 4, 4, 4), *rows) == [2.0] * 4


def test_degraded_port_slows_its_own_flows_and_frees_the_others():
    # h3 receives at 1; the flow to it leaves 9 of the sender's 10 to the other flow
    assert finish(star(10, 10, 10, 1), ("h0", "h3", 2, 0), ("h0", "h2", 18, 0)) == [2.0, 2.0]


def test_parking_lot():
    graph = nx.DiGraph()
    for i in range(4):
        graph.add_node(f"h{i}", kind="accelerator", index=i)
        join(graph, f"h{i}", f"s{i}", 100.0)
        if i:
            join(graph, f"s{i - 1}", f"s{i}", 10.0)
    rows = [("h0", "h3", 10, 0), *((f"h{i}", f"h{i + 1}", 10, 0) for i in range(3))]
    assert finish(graph, *rows) == [2.0, 2.0, 2.0, 2.0]


def test_a_later_flow_takes_its_half_from_its_start():
    # 10 bytes alone until 0.5, then halves: the first ends at 1.5, the second at 2.0
    assert finish(star(10, 10, 10), ("h0", "h2", 10, 0), ("h1", "h2", 10, 0.5)) == [1.5, 2.0]


def test_latency_counts_every_hop_once():
    graph = star(10, 10)
    nx.set_edge_attributes(graph, 1e-3, "latency_s")
    out = simulate_flows(Network.from_graph(graph), flows(("h0", "h1", 10, 2.0)))
    assert out.finish_s[0] == pytest.approx(3.002, rel=1e-12)
    assert out.hops[0] == 2
    assert out.mean_bytes_per_s[0] == pytest.approx(10 / 1.002)


def test_payload_efficiency_belongs_to_the_link():
    graph = star(10, 10)
    graph.edges["switch", "h1"]["payload_efficiency"] = 0.5
    out = simulate_flows(Network.from_graph(graph), flows(("h0", "h1", 10, 0)))
    assert (out.finish_s[0], out.bottleneck[0]) == (2.0, "switch -> h1")


def test_flows_without_bytes_or_way_end_when_they_start():
    out = simulate_flows(
        Network.from_graph(star(1, 1)), flows(("h0", "h1", 0, 3.0), ("h0", "h0", 5, 4.0))
    )
    assert out.finish_s.tolist() == [3.0, 4.0]
    assert out.bottleneck.tolist() == ["", ""]


def random_frame(count, hosts, seed, *, ties=False):
    rng = np.random.default_rng(seed)
    source = rng.integers(0, hosts, count)
    target = (source + rng.integers(1, hosts, count)) % hosts
    size = rng.choice([1e9, 2e9], count) if ties else rng.exponential(1e9, count)
    start = (
        rng.choice([0.0, 0.01, 0.02], count) if ties else np.cumsum(rng.exponential(2e-3, count))
    )
    names = [[f"g{i}" for i in side] for side in (source, target)]
    frame = pd.DataFrame({"source": names[0], "target": names[1], "bytes": size, "start_s": start})
    return frame.sample(frac=1, random_state=seed)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_finish_times_are_those_of_the_textbook(seed, ties):
    network = Network.from_graph(racks(3, 4, spines=2, over=2.0))
    frame = random_frame(60, 12, seed, ties=ties)
    found = simulate_flows(network, frame)
    assert found.index.tolist() == frame.index.tolist()
    assert found.finish_s.to_numpy() == pytest.approx(textbook(network, frame), rel=1e-9)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("name", "value"), [("NUMBA", False), ("LARGE_TABLE", 10**9)])
def test_flows_end_alike_compiled_in_numpy_and_under_simpy(monkeypatch, name, value, ties):
    network = Network.from_graph(racks(4, 8, rails=2, spines=2, over=3.0))
    frame = random_frame(500, 32, 11, ties=ties)
    some = simulate_flows(network, frame).finish_s.to_numpy()
    monkeypatch.setattr(flow_table, name, value)
    assert simulate_flows(network, frame).finish_s.to_numpy() == pytest.approx(some, rel=1e-9)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("window", [1, 7, 150])
def test_windows_change_nothing(monkeypatch, window, ties):
    network = Network.from_graph(racks(3, 4, spines=2, over=2.0))
    frame = random_frame(300, 12, 5, ties=ties)
    frame.loc[frame.index[::9], "bytes"] = 0.0
    whole = simulate_flows(network, frame)
    monkeypatch.setattr(flow_table, "WINDOW", window)
    parts = simulate_flows(network, frame)
    assert parts.finish_s.to_numpy() == pytest.approx(whole.finish_s.to_numpy(), rel=1e-12)
    assert parts.hops.tolist() == whole.hops.tolist()
    same = (parts.bottleneck == whole.bottleneck).mean()
    assert same > 0.9  # of several full links either may be named


def test_bottleneck_is_a_full_link_of_the_path():
    network = Network.from_graph(racks(2, 4, over=4.0))
    out = simulate_flows(network, flows(*((f"g{i}", f"g{i + 4}", 1e9, 0) for i in range(4))))
    assert set(out.bottleneck) <= {"leaf0 -> spine0", "spine0 -> leaf1"}


def test_all_to_all_ends_with_its_tightest_link():
    network = Network.from_graph(racks(2, 4))
    pairs = [(f"g{i}", f"g{j}", 1e9, 0) for i in range(8) for j in range(8) if i != j]
    out = simulate_flows(network, flows(*pairs))
    assert out.finish_s.max() == pytest.approx(4 * 1e9 / 50e9, rel=1e-12)


def test_progress_is_told_at_the_end():
    told = []
    network = Network.from_graph(star(1, 1))
    simulate_flows(network, flows(("h0", "h1", 1, 0)), progress=lambda *x: told.append(x))
    assert told[-1] == (1, 1)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "many"])
def test_sizes_and_times_have_to_be_sensible(value):
    network = Network.from_graph(star(1, 1))
    with pytest.raises(InvalidInput, match="bytes"):
        simulate_flows(network, flows(("h0", "h1", value, 0)))
    with pytest.raises(InvalidInput, match="start_s"):
        simulate_flows(network, flows(("h0", "h1", 1, value)))


def test_unknown_nodes_missing_columns_and_islands_are_errors():
    graph = star(1, 1)
    graph.add_node("island", kind="accelerator", index=9)
    network = Network.from_graph(graph)
    with pytest.raises(UnknownName, match="did you mean 'h1'"):
        simulate_flows(network, flows(("h0", "h1x", 1, 0)))
    with pytest.raises(InvalidInput, match="'bytes' is missing"):
        simulate_flows(network, flows(("h0", "h1", 1, 0)).drop(columns="bytes"))
    with pytest.raises(NoRoute, match="island"):
        simulate_flows(network, flows(("h0", "island", 1, 0)))


def test_an_empty_frame_stays_empty():
    out = simulate_flows(Network.from_graph(star(1, 1)), flows())
    assert list(out.columns)[-4:] == ["finish_s", "mean_bytes_per_s", "hops", "bottleneck"]
    assert len(out) == 0


def test_processes_wait_for_their_flows():
    env = simpy.Environment()
    moving = Traffic(env, Network.from_graph(star(10, 10, 10)))
    ends = {}

    def send(name, source, start_s):
        yield env.timeout(start_s)
        yield moving.carry(source, "h2", 10)
        ends[name] = env.now

    env.process(send("a", "h0", 0))
    env.process(send("b", "h1", 0.5))
    env.run()
    assert ends == pytest.approx({"a": 1.5, "b": 2.0}, rel=1e-12)


def test_traffic_on_demand_equals_the_table():
    network = Network.from_graph(racks(2, 4, over=2.0))
    frame = random_frame(40, 8, 4)
    env = simpy.Environment()
    moving, ends = Traffic(env, network), {}

    def send(row):
        yield env.timeout(row.start_s)
        yield moving.carry(row.source, row.target, row.bytes)
        ends[row.Index] = env.now

    for row in frame.itertuples():
        env.process(send(row))
    env.run()
    found = np.array([ends[i] for i in frame.index])
    assert found == pytest.approx(simulate_flows(network, frame).finish_s.to_numpy(), rel=1e-9)
