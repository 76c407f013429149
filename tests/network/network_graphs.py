"""Small machines for the network's tests."""

import networkx as nx


def join(graph, a, b, bytes_per_s, **facts):
    """Add both directions of a link."""
    graph.add_edge(a, b, bytes_per_s=bytes_per_s, **facts)
    graph.add_edge(b, a, bytes_per_s=bytes_per_s, **facts)


def racks(
    count,
    gpus,
    *,
    rails=1,
    planes=1,
    nvl=900e9,
    nic=50e9,
    over=1.0,
    spines=1,
    bundled=False,
    **facts,
):
    """Racks of accelerators g0, g1, ... on switch planes; one NIC each on its rail's leaf."""
    graph = nx.DiGraph(**facts)
    chips = 1 if bundled else planes
    for index in range(count * gpus):
        rack, place = divmod(index, gpus)
        me = f"g{index}"
        graph.add_node(me, kind="accelerator", index=index, rack=rack)
        for plane in range(chips):
            switch = f"s{rack}.{plane}"
            graph.add_node(switch, kind="scale_up_switch", rack=rack)
            join(graph, me, switch, nvl / chips, kind="nvlink", count=planes // chips)
        graph.add_node(f"n{index}", kind="nic")
        join(graph, me, f"n{index}", 2 * nic, kind="pcie")
        leaf = f"leaf{place % rails}" if rails > 1 else f"leaf{rack}"
        graph.add_node(leaf, kind="leaf")
        join(graph, f"n{index}", leaf, nic, kind="infiniband")
    leaves = [n for n, kind in graph.nodes(data="kind") if kind == "leaf"]
    tops = 1 if bundled else spines
    for leaf in leaves:
        for k in range(tops):
            graph.add_node(f"spine{k}", kind="spine")
            below = count * gpus / len(leaves)
            join(graph, leaf, f"spine{k}", nic * below / over / tops, count=spines // tops)
    return graph


def torus(*shape, bytes_per_s=50e9):
    """A torus of accelerators with coordinates."""
    graph = nx.grid_graph(dim=list(reversed(shape)), periodic=True)
    directed = nx.DiGraph()
    for i, place in enumerate(sorted(graph.nodes)):
        place = place if isinstance(place, tuple) else (place,)
        directed.add_node(place, kind="accelerator", index=i, coordinates=place)
    for a, b in graph.edges:
        a, b = (x if isinstance(x, tuple) else (x,) for x in (a, b))
        join(directed, a, b, bytes_per_s, kind="ici")
    return directed


def mesh(count, bytes_per_s=64e9):
    """Accelerators that are joined pairwise."""
    graph = nx.DiGraph()
    graph.add_nodes_from((f"g{i}", {"kind": "accelerator", "index": i}) for i in range(count))
    for i in range(count):
        for j in range(count):
            if i != j:
                graph.add_edge(f"g{i}", f"g{j}", bytes_per_s=bytes_per_s, kind="xgmi")
    return graph


class Tapered:
    """Pods of racks below a core, with less and less capacity upwards; any number of racks."""

    def __init__(self, gpus, pod_racks, over, rails=False):
        self.gpus, self.pod_racks, self.over, self.rails = gpus, pod_racks, over, rails
        self.domain_accelerators = gpus
        self.built = 0

    def period(self, accelerators):
        period = self.gpus * self.pod_racks
        return period if accelerators > period else accelerators

    def graph(self, accelerators, *, bundled=False):
        self.built = accelerators
        graph = nx.DiGraph(reduction=True, accelerator="h100")
        per_leaf = self.pod_racks if self.rails else self.gpus
        graph.add_node("core", kind="core")
        for index in range(-(-accelerators // self.gpus) * self.gpus):
            rack, place = divmod(index, self.gpus)
            pod = rack // self.pod_racks
            leaf = f"leaf{pod}.{place}" if self.rails else f"leaf{rack}"
            graph.add_node(f"g{index}", kind="accelerator", index=index, rack=rack)
            graph.add_node(f"s{rack}", kind="scale_up_switch")
            join(graph, f"g{index}", f"s{rack}", 900e9, kind="nvlink")
            graph.add_node(f"n{index}", kind="nic")
            join(graph, f"g{index}", f"n{index}", 100e9, kind="pcie")
            if leaf not in graph:
                graph.add_node(leaf, kind="leaf")
                join(graph, leaf, f"spine{pod}", 50e9 * per_leaf / self.over)
                graph.nodes[f"spine{pod}"]["kind"] = "spine"
                below = 50e9 * self.gpus * self.pod_racks / self.over**2
                join(graph, f"spine{pod}", "core", below)
            join(graph, f"n{index}", leaf, 50e9, kind="infiniband")
        return graph


def tapered(gpus, pod_racks, over, rails=False):
    """Return a machine that repeats, with leaves by rack or by rail."""
    return Tapered(gpus, pod_racks, over, rails)
