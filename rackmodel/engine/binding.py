"""Which links can hold a flow back, and which of them only one rank loads.

In:  a compiled network, the flows of all groups, the rate of each by itself.
Out: masks over links.
Left out: what is done with them (`system`).

Links that can't bind are dropped: either the flows that cross them can't fill them even if each ran
as fast as it does alone, or the links next to the accelerators let through too little. Both are
bounds, so the rates stay exact. Source: the feasible region of max-min fairness is unchanged by a
constraint that the others imply.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rackmodel.engine.groups import PlacedFlows
from rackmodel.network import Network
from rackmodel.network.arrays import remembered
from rackmodel.network.symmetry import distinct
from rackmodel.topology.kinds import Kind

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NEAR = (Kind.ACCELERATOR, Kind.NIC)  # kinds of nodes whose links are gates to the rest
SLACK = 1 + 1e-9  # two sums of the same rates may differ in their last bits


def flow_of_incidence(flows: PlacedFlows) -> Ints:
    """Return the flow of each incidence."""
    return np.repeat(np.arange(len(flows.owner)), np.diff(flows.indptr))


def rates_alone(flows: PlacedFlows, capacity: Floats) -> Floats:
    """Return the rate of each flow if nothing else moves. [bytes/s]"""
    rate = flows.cap.copy()
    np.minimum.at(rate, flow_of_incidence(flows), capacity[flows.links] / flows.fractions)
    return rate


@remembered
def _near(network: Network) -> Bools:
    return np.array([kind in NEAR for kind in network.node_kinds], dtype=bool)


def binding_links(network: Network, all_flows: list[PlacedFlows], alone: list[Floats]) -> Bools:
    """Return which links can hold a flow back, bool[L]."""
    links = len(network.capacity)
    demand = np.zeros(links)
    for flows, rate in zip(all_flows, alone, strict=True):
        np.add.at(demand, flows.links, flows.fractions * rate[flow_of_incidence(flows)])
    binding = demand > network.capacity * SLACK
    near = _near(network)
    gates = near[network.tail] | near[network.head]
    for out in (True, False):
        # a gate is never dropped for the sake of another gate: two could vouch for each other
        asked = binding & ~gates
        if asked.any():
            load = _gated(network, all_flows, alone, asked, out)
            binding &= gates | (load > network.capacity * SLACK)
    return binding


def _gated(
    network: Network, all_flows: list[PlacedFlows], alone: list[Floats], asked: Bools, out: bool
) -> Floats:
    """Bound the load of the `asked` links by what the links next to accelerators let through.

    The gate of a flow is the slowest link out of (or into) an accelerator or NIC on its way. What
    crosses a link through one gate is at most the gate's capacity times the largest ratio of the
    two fractions. A gate does not bound itself.
    """
    near = _near(network)
    end = network.tail if out else network.head
    gate_like = near[end]
    links = len(network.capacity)
    pairs: list[Ints] = []
    ratios: list[Floats] = []
    free = np.zeros(links)  # load of flows without a gate
    for flows, rate in zip(all_flows, alone, strict=True):
        if not asked[flows.links].any():
            continue
        flow = flow_of_incidence(flows)
        usable = gate_like[flows.links]
        count = len(flows.owner)
        best = np.full(count, np.inf)
        width = network.capacity[flows.links] / flows.fractions
        np.minimum.at(best, flow[usable], width[usable])
        first = np.full(count, -1, dtype=np.int64)
        is_best = np.flatnonzero(usable & (width <= best[flow]))[::-1]
        first[flow[is_best]] = is_best  # the first such link of the flow
        here = np.flatnonzero(asked[flows.links])
        link, part, gate = flows.links[here], flows.fractions[here], first[flow[here]]
        has = (gate >= 0) & (flows.links[gate] != link)
        pairs.append(flows.links[gate[has]] * links + link[has])
        ratios.append(part[has] / flows.fractions[gate[has]])
        np.add.at(free, link[~has], (part * rate[flow[here]])[~has])
    if not pairs:
        return free
    pair, ratio = np.concatenate(pairs), np.concatenate(ratios)
    gated, where = distinct(pair)
    largest = np.zeros(len(gated))
    np.maximum.at(largest, where, ratio)
    np.add.at(free, gated % links, largest * network.capacity[gated // links])
    return free


def private_links(all_flows: list[PlacedFlows], links: int) -> Bools:
    """Return the links whose every flow starts at one and the same rank, or ends at one."""
    private = np.zeros(links, dtype=bool)
    for name in ("source", "target"):
        low = np.full(links, np.iinfo(np.int64).max)
        high = np.full(links, np.iinfo(np.int64).min)
        for flows in all_flows:
            end = getattr(flows, name)[flow_of_incidence(flows)]
            np.minimum.at(low, flows.links, end)
            np.maximum.at(high, flows.links, end)
        private |= (low == high) & (low >= 0)
    return private
