"""What a collective library costs beside the wire: limits of copy engines, fixed times.

In:  flows of an algorithm, the group, the generation of the accelerators.
Out: the same flows with their own limits; seconds of launch, steps and pipeline fill.
Left out: which algorithm is best; see `library`.

The constants (data/library.toml) belong to a generation of accelerators and its library, never to a
run. Times of steps come from NCCL's own tuner.
"""

import math
import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from rackmodel.network.arrays import Floats, Ints, remembered
from rackmodel.network.graph import Network
from rackmodel.network.groups import Group, port_rates
from rackmodel.network.patterns import Flows
from rackmodel.network.routing.tree import Chain

HOST_MEMBERS = 8  # a larger scale-up domain spans hosts
TREES = ("tree", "nvls-tree")
EXCHANGES = ("direct", "gpu-initiated", "rail")  # each pair by itself
UNFILLED = (*EXCHANGES, "send", "torus", "halving-doubling")  # nothing is passed on
SENDING = (*EXCHANGES, "send", "chain")  # send and receive kernels, not reducing ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What the library reaches on one generation of accelerators; see data/library.toml."""

    ring: float
    nvls: float
    nvls_rack: float
    nvls_tree: float
    p2p: float
    network: float
    rack_chunk_s: float
    launch_s: float
    chunk_bytes: float
    ramp_bytes: float
    ll_rate: float
    source: str


@cache
def constants() -> dict[str, Any]:
    """Return the tables of data/library.toml."""
    text = resources.files("rackmodel.network").joinpath("data/library.toml").read_text("utf-8")
    return tomllib.loads(text)


@cache
def generation(part: str) -> Generation:
    """Return the constants for an accelerator, by its name in the catalog.

    >>> generation("h100").ring
    0.817
    """
    for table in constants().values():
        if part in table.get("parts", ()):
            return Generation(**{k: v for k, v in table.items() if k != "parts"})
    return Generation(**constants()["default"])


@remembered
def outer_ports(network: Network) -> Floats:
    """Return float[N], the slowest link of each accelerator's own way to the fabric. [bytes/s]"""
    rates = port_rates(network)[1].copy()
    tree = network.router.tree
    if tree is not None and tree.chains[1].up.shape[1]:
        nodes, slowest = _tree_ports(network, tree.chains[1])
        rates[nodes] = slowest
        return rates
    core = network.router.core("fabric")
    for node in network.accelerator_nodes.tolist():
        chains = [
            network.nominal[list(chain)].min()
            for chain in core.host(node).out_chains
            if chain and not network.scale_up[chain[0]]
        ]
        if chains:
            rates[node] = float(sum(chains))
    return rates


def _tree_ports(network: Network, chain: Chain) -> tuple[Ints, Floats]:
    """Return accelerators in a fabric that is a tree, and the slowest link of their own way up.

    The way is one's own as long as the nodes on it join nothing else.
    """
    degree = np.bincount(network.tail[~network.scale_up], minlength=len(network.nodes))
    own = chain.up[:, 0] >= 0
    nodes = network.accelerator_nodes[own]
    slowest = network.nominal[chain.up[own, 0]]
    going = np.ones(len(nodes), dtype=bool)
    for level in range(1, chain.up.shape[1]):
        link = chain.up[own, level]
        going &= (degree[chain.node[own, level - 1]] == 2) & (link >= 0)
        slowest = np.where(going, np.minimum(slowest, network.nominal[link]), slowest)
    return nodes, slowest


def limit(
    network: Network, flows: Flows, name: str, group: Group, *, few_ports: bool = True
) -> Flows:
    """Give each flow its part of what its sender's and receiver's copy engines reach.

    few_ports : trees between domains use only so many network ports; the library's tuner does not
        know.
    """
    if not len(flows):
        return flows
    facts = generation(network.family)
    inner, outer = port_rates(network)[0], outer_ports(network)
    ends = [np.isin(x, network.accelerator_nodes) for x in (flows.source, flows.target)]
    owner = np.repeat(np.arange(len(flows)), np.diff(flows.indptr))
    inside = np.bincount(owner, ~network.scale_up[flows.links], minlength=len(flows)) == 0
    most = max(map(len, group.parts))
    rack = most > HOST_MEMBERS
    nvls = (facts.nvls_rack if rack else facts.nvls) * (
        facts.nvls_tree if name == "nvls-tree" else 1
    )
    copy = facts.p2p if name in SENDING else facts.ring
    reach = np.where(inside, np.where(ends[0] & ends[1], copy, nvls), facts.network)
    used = np.ones(len(network.nodes))  # share of a member's network ports
    if few_ports and name in TREES:  # they use no more than this many ports of a domain
        for part in group.parts:
            used[part] = min(1.0, constants()["nccl"]["tree_ports"] / len(part))
    cap = flows.cap_bytes_per_s.copy()
    for is_accelerator, nodes in zip(ends, (flows.source, flows.target), strict=True):
        for tier, ports in ((inside, inner), (~inside, outer)):
            here = tier & is_accelerator & (ports[nodes] > 0)
            if here.any():
                total = np.bincount(nodes[here], flows.share[here], minlength=len(network.nodes))
                rate = reach[here] * ports[nodes[here]]
                if tier is not inside:
                    rate = rate * used[nodes[here]]
                if name == "direct" and rack and tier is not inside:
                    rate = np.minimum(rate, _posted(facts))
                part = flows.share[here] / np.maximum(total[nodes[here]], 1e-300)
                cap[here] = np.minimum(cap[here], rate * part)
    return replace(flows, cap_bytes_per_s=cap)


def _posted(facts: Generation) -> float:
    """Return what a host can post of sends and receives, chunk by chunk. [bytes/s]"""
    chunk = float(constants()["nccl"]["net_chunk_bytes"])
    return chunk / (2 * facts.rack_chunk_s) if facts.rack_chunk_s > 0 else math.inf


def send_limits(network: Network, group: Group, name: str = "direct") -> tuple[float, float]:
    """Return what a member can send inside its domain and outside in an exchange. [bytes/s]"""
    facts = generation(network.family)
    node = int(group.nodes[0])
    near, far = port_rates(network)[0][node], outer_ports(network)[node]
    outside = facts.network * far if far > 0 else math.inf
    if name == "direct" and max(map(len, group.parts)) > HOST_MEMBERS:
        outside = min(outside, _posted(facts))
    return (facts.p2p * near if near > 0 else math.inf), outside


def wire(network: Network, flows: Flows, protocol: int) -> Flows:
    """Add the protocol's flags to the bytes on the wire, and LL's own limit."""
    more = float(constants()["nccl"]["wire"][protocol])
    cap = flows.cap_bytes_per_s
    if protocol == 0:
        cap = np.minimum(cap, generation(network.family).ll_rate * more)
    return replace(flows, share=flows.share * more, cap_bytes_per_s=cap)


def fixed_s(network: Network, group: Group, op: str, name: str, protocol: int = 2) -> float:
    """Return launch and steps, as NCCL's tuner counts them. [s]"""
    nccl = constants()["nccl"]
    n, domains = group.true_size, group.true_domains
    inner = n / domains
    kind = "tree" if name in ("tree", "halving-doubling") else "ring"
    base = float(nccl["base_s"][kind][protocol]) + generation(network.family).launch_s
    inside = float(nccl["inside_s"][kind][protocol])
    post = float(nccl["post_s"]) * (3 if protocol == 2 else 1)
    outside = float(nccl["outside_s"][kind][protocol]) + post
    passes = 2 if op == "all-reduce" else 1
    match name:
        case "nvls":
            return base + float(nccl["nvls_inside_s"])
        case "nvls-tree":
            step = float(nccl["nvls_tree_outside_s"]) + post
            return base + float(nccl["nvls_inside_s"]) + 2 * math.log2(max(2, domains)) * step
        case "sharp":
            return base + float(nccl["nvls_inside_s"]) + float(nccl["sharp_outside_s"])
        case "tree":
            steps = max(0.0, inner - 1) * inside + math.log2(max(1, domains)) * outside
            return base + passes * steps
        case "halving-doubling":
            steps = math.log2(max(1.0, inner)) * inside + math.log2(domains) * outside
            return base + passes * steps
        case name if name in EXCHANGES:
            return base + (outside if domains > 1 else inside) + float(nccl["peer_s"]) * (n - 1)
        case "send":
            return base + (outside if len(group.parts) > 1 else inside)
        case "torus":  # about half-way around each of three dimensions, both ways
            return base + passes * inside * 1.5 * float(np.cbrt(n))
        case "hierarchical" if op == "all-to-all":
            peers = max(0.0, inner - 1) + max(0.0, domains - 1)
            steps = (inside if inner > 1 else 0.0) + (outside if domains > 1 else 0.0)
            return (
                base * (2 if inner > 1 and domains > 1 else 1)
                + steps
                + peers * float(nccl["peer_s"])
            )
        case "hierarchical":
            steps = passes * (inner - 1) * inside + passes * (domains - 1) * outside
            return 3 * base + steps
    steps = (n - 1) * (passes if name != "chain" else 1)
    crossing = domains * passes if domains > 1 else 0
    return base + max(0, steps - crossing) * inside + crossing * outside


def fill_s(
    network: Network, group: Group, op: str, name: str, per_byte: float, byte_count: float
) -> float:
    """Return the time until the pipeline is full: a chunk per member of a domain, per tree level.

    Chunks grow with the message up to the library's buffers. Algorithms of `UNFILLED` have none.
    per_byte : seconds of the flows, per byte.
    """
    facts = generation(network.family)
    depth = max(map(len, group.parts))
    growth = byte_count / (byte_count + depth * facts.ramp_bytes)
    levels = max(1.0, math.log2(group.true_domains)) if name == "nvls-tree" else 1.0
    if op != "all-reduce":
        levels /= 2  # one pass and not two
    return depth * facts.chunk_bytes * per_byte * growth * levels
