"""How long the network takes: fair shares, traffic, collectives (asv style)."""

import sys
from typing import ClassVar

import networkx as nx
import numpy as np
import pandas as pd

from rackmodel.network import (
    Network,
    fair_rates,
    fair_rates_rows,
    run_collective,
    simulate_flows,
)
from rackmodel.network.sharing import NUMBA
from rackmodel.topology import load_topology


def racks(count, gpus, over=1.0, nvl=900e9, nic=50e9):
    """Racks of accelerators on one switch, NICs on a leaf per rack, one spine."""
    graph = nx.DiGraph()

    def join(a, b, bytes_per_s):
        graph.add_edge(a, b, bytes_per_s=bytes_per_s)
        graph.add_edge(b, a, bytes_per_s=bytes_per_s)

    for index in range(count * gpus):
        rack = index // gpus
        graph.add_node(index, kind="accelerator", index=index, rack=rack)
        graph.add_node(f"switch {rack}", kind="scale_up_switch")
        graph.add_node(f"leaf {rack}", kind="leaf")
        join(index, f"switch {rack}", nvl)
        join(index, f"leaf {rack}", nic)
    graph.add_node("spine", kind="spine")
    for rack in range(count):
        join(f"leaf {rack}", "spine", nic * gpus / over)
    return graph


def warm_up():
    """Load the compiled kernels, so that a figure is the work and not the loading."""
    network = Network.from_graph(racks(1, 20))
    pairs = [(a, b) for a in range(20) for b in range(20) if a != b]
    frame = pd.DataFrame(pairs, columns=["source", "target"]).assign(bytes=1e6, start_s=0.0)
    simulate_flows(network, frame)


class RandomFlows:
    """10,000 flows over 3 to 6 of 1,000 links."""

    params: ClassVar = ["numpy", "numba"]
    param_names: ClassVar = ["form"]

    def setup(self, form):
        rng = np.random.default_rng(1)
        rows = [rng.choice(1_000, rng.integers(3, 7), replace=False) for _ in range(10_000)]
        indptr = np.cumsum([0, *map(len, rows)])
        links = np.concatenate(rows)
        self.system = (indptr, links, np.ones(len(links)), rng.uniform(1e9, 1e11, 1_000))
        if form == "numba" and not NUMBA:
            raise NotImplementedError  # so asv skips a size that this machine can't run
        self.time_rates(form)

    def time_rates(self, form):
        fair_rates(*self.system, backend=form)


class RackAllToAll:
    """All pairs of an NVL72 rack: 5,112 flows over 18 planes, 1,296 links each way."""

    def setup(self):
        graph = nx.DiGraph()
        for a in range(72):
            graph.add_node(a, kind="accelerator", index=a)
            for s in range(18):
                graph.add_node(f"switch {s}", kind="scale_up_switch")
                graph.add_edge(a, f"switch {s}", bytes_per_s=50e9)
                graph.add_edge(f"switch {s}", a, bytes_per_s=50e9)
        self.network = Network.from_graph(graph)
        a, b = np.divmod(np.arange(72**2), 72)
        nodes = self.network.accelerator_nodes
        self.table = self.network.routes(nodes[a[a != b]], nodes[b[a != b]])
        self.time_rates()

    def time_rates(self):
        table = self.table
        fair_rates(table.indptr, table.links, table.fractions, self.network.capacity)


class FlowClasses:
    """A re-solve inside a step: flow classes over link classes, in plain Python.

    Wanted: at most 100 us for 60 over 40.
    """

    params: ClassVar = [60, 1_000]
    param_names: ClassVar = ["classes"]

    def setup(self, classes):
        rng = np.random.default_rng(2)
        links, part = (40, 0.08) if classes == 60 else (500, 0.006)
        shape = (links, classes)
        load = np.where(rng.random(shape) < part, rng.integers(1, 9, shape), 0.0)
        load[0, load.sum(axis=0) == 0] = 1.0
        self.rows = [
            list(zip(np.flatnonzero(x).tolist(), x[x > 0].tolist(), strict=True)) for x in load.T
        ]
        self.capacity = rng.choice([50e9, 400e9, 900e9], links).tolist()
        self.cap = [np.inf] * classes

    def time_rates(self, classes):
        fair_rates_rows(self.rows, self.capacity, self.cap)


class Traffic:
    """Flows that start together, at random, and in a permutation."""

    timeout = 120
    params: ClassVar = ["at once", "poisson-5000", "poisson-20000", "permutation"]
    param_names: ClassVar = ["case"]

    def setup(self, case, warm=True):
        if warm:
            warm_up()
        rng = np.random.default_rng(3)
        if case == "at once":
            a, b = np.divmod(np.arange(288**2), 288)
            self.graph = racks(4, 72)
            pairs = {"source": a[a != b], "target": b[a != b]}
            self.flows = pd.DataFrame(pairs).assign(bytes=1e6, start_s=0.0)
        elif case == "permutation":
            self.graph = racks(64, 72, over=4.0)
            pairs = {"source": np.arange(4608), "target": rng.permutation(4608)}
            self.flows = pd.DataFrame(pairs)
            self.flows = self.flows.assign(bytes=rng.exponential(1e8, 4608), start_s=0.0)
        else:
            self.graph, count = racks(8, 72, over=2.0), int(case.split("-")[1])
            source = rng.integers(0, 576, count)
            target = (source + rng.integers(1, 576, count)) % 576
            size = rng.exponential(1e7, count)
            # 0.4 of what all NICs could send
            start = np.cumsum(rng.exponential(1e7 / (0.4 * 576 * 50e9), count))
            self.flows = pd.DataFrame(
                {"source": source, "target": target, "bytes": size, "start_s": start}
            )

    def time_flows(self, case):
        simulate_flows(Network.from_graph(self.graph), self.flows)


class FlowTable:
    """Flows that come one after another over NVL72 racks with all their switch chips."""

    params: ClassVar = [5_000, 100_000]
    param_names: ClassVar = ["flows"]
    timeout = 120

    def setup(self, flows):
        warm_up()
        rng = np.random.default_rng(5)
        self.graph = load_topology("gb200-nvl72").graph(576)
        names = [f"accelerator-{i}" for i in range(576)]
        source = rng.integers(0, 576, flows)
        target = (source + rng.integers(1, 576, flows)) % 576
        start = np.cumsum(rng.exponential(1e7 / (0.3 * 576 * 50e9), flows))
        self.frame = pd.DataFrame(
            {"source": [names[i] for i in source], "target": [names[i] for i in target]}
        ).assign(bytes=rng.exponential(1e7, flows), start_s=start)

    def time_flows(self, flows):
        simulate_flows(Network.from_graph(self.graph), self.frame)

    def peakmem_flows(self, flows):
        simulate_flows(Network.from_graph(self.graph), self.frame)


class Machines:
    """1 GB over machines whose parts are joined in other ways: meshes, planes with cross links."""

    params: ClassVar = [
        ["all-to-all", "all-reduce"],
        ["mi300x-platform", "dgx-h100-rail-only", "gaudi2-node", "dgx-2", "dgx-h100-dragonfly"],
    ]
    param_names: ClassVar = ["op", "topology"]
    timeout = 120

    def setup(self, op, topology):
        self.machine = load_topology(topology)
        run_collective(self.machine, op, [1e9], 8)

    def time_collective(self, op, topology):
        run_collective(self.machine, op, [1e9], 1_000)


class ThreeTiers:
    """NVL72 racks in pods of 8 below 4 spine groups: any number of them."""

    def __init__(self):
        self.domain_accelerators = 72

    def period(self, accelerators):
        return 72 * 8 if accelerators > 72 * 8 else 72 if accelerators > 72 else accelerators

    def graph(self, accelerators, *, bundled=True):
        count = -(-accelerators // 72)
        graph = racks(count, 72)
        graph.remove_node("spine")
        graph.graph.update(accelerator="gb200", reduction=True)
        for rack in range(count):
            pod, rate = f"spine {rack // 8}", 72 * 50e9
            graph.add_node(pod, kind="spine")
            graph.add_node("core", kind="core")
            for a, b, many in ((f"leaf {rack}", pod, 1), (pod, "core", 8)):
                graph.add_edge(a, b, bytes_per_s=rate * many)
                graph.add_edge(b, a, bytes_per_s=rate * many)
        return graph


class Collectives:
    """1 GB over NVL72 racks on a three-tier fabric."""

    params: ClassVar = [["all-reduce", "all-to-all"], [8, 72, 576, 10_080, 100_080, 1_000_080]]
    param_names: ClassVar = ["op", "gpus"]

    def setup(self, op, gpus):
        run_collective(ThreeTiers(), op, [1e9], 144)

    def time_collective(self, op, gpus):
        run_collective(ThreeTiers(), op, [1e9], gpus)

    def peakmem_collective(self, op, gpus):
        run_collective(ThreeTiers(), op, [1e9], gpus)


class Routes:
    """A route for each of 100,000 accelerators, to its partner in a random permutation."""

    timeout = 120

    def setup(self):
        self.network = Network.from_graph(ThreeTiers().graph(99_936))
        self.partner = np.random.default_rng(4).permutation(self.network.accelerator_nodes)

    def time_first_routes(self):
        self.network._cache.clear()
        self.network.routes(self.network.accelerator_nodes, self.partner)


if __name__ == "__main__":  # one case of flows as a process of its own: its name
    one = Traffic()
    one.setup(sys.argv[1], warm=False)
    one.time_flows(sys.argv[1])
