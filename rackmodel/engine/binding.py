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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rackmodel.engine.groups import PlacedFlows, flow_of_incidence
from rackmodel.engine.orbits import Orbits
from rackmodel.network import Network
from rackmodel.network.arrays import remembered
from rackmodel.network.symmetry import distinct
from rackmodel.topology.kinds import Kind

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NEAR = (Kind.ACCELERATOR, Kind.NIC)  # kinds of nodes whose links are gates to the rest
SLACK = 1 + 1e-9  # two sums of the same rates may differ in their last bits


@remembered
def _near(network: Network) -> Bools:
    near: Bools = network.of_kind(NEAR[0]) | network.of_kind(NEAR[1])
    return near


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crossing:
    """The flows of an axis as they cross links.

    rate : of each flow by itself. flow : int[I], the flow of each incidence; share : what it counts
    for on the first link of its orbit. times : how many exchanges of the axis have these flows.
    """

    flows: PlacedFlows
    rate: Floats
    flow: Ints
    share: Floats
    times: int = 1

    @classmethod
    def of(cls, flows: PlacedFlows, rate: Floats, copies: Ints, orbits: Orbits) -> Crossing:
        """Return the crossings of flows by themselves at a rate; copies : int[G], of each group."""
        flow = flow_of_incidence(flows)
        share = orbits.share(flows.links, copies[flows.owner[flow]])
        return cls(flows=flows, rate=rate, flow=flow, share=share)


def binding_links(network: Network, crossings: Sequence[Crossing], orbits: Orbits) -> Bools:
    """Return which links can hold a flow back, bool[L]."""
    demand = np.zeros(len(network.capacity))
    for one in crossings:
        asked_for = one.flows.fractions * one.rate[one.flow] * (one.share * one.times)
        np.add.at(demand, orbits.link[one.flows.links], asked_for)
    binding: Bools = demand[orbits.link] > network.capacity * SLACK
    near = _near(network)
    gates = near[network.tail] | near[network.head]
    for out in (True, False):
        # a gate is never dropped for the sake of another gate: two could vouch for each other
        asked = binding & ~gates
        if asked.any():
            load = _gated(network, crossings, orbits, asked, out)
            binding &= gates | (load > network.capacity * SLACK)
    return binding


def _gated(
    network: Network, crossings: Sequence[Crossing], orbits: Orbits, asked: Bools, out: bool
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
    for one in crossings:
        flows, rate, flow = one.flows, one.rate, one.flow
        if not asked[flows.links].any():
            continue
        usable = gate_like[flows.links]
        count = len(flows.owner)
        best = np.full(count, np.inf)
        width = network.capacity[flows.links] / flows.fractions
        np.minimum.at(best, flow[usable], width[usable])
        first = np.full(count, -1, dtype=np.int64)
        is_best = np.flatnonzero(usable & (width <= best[flow]))[::-1]
        first[flow[is_best]] = is_best  # the first such link of the flow
        here = np.flatnonzero(asked[flows.links])
        link, part, at = flows.links[here], flows.fractions[here], first[flow[here]]
        has = (at >= 0) & (flows.links[at] != link)
        gate = flows.links[at]
        for chosen, turns in orbits.onto_first(link):
            kept, turns = chosen[has[chosen]], turns[has[chosen]]
            pairs.append(orbits.links[turns, gate[kept]] * links + orbits.link[link[kept]])
            ratios.append(part[kept] / flows.fractions[at[kept]])
        single = (part * rate[flow[here]] * one.share[here] * one.times)[~has]
        np.add.at(free, orbits.link[link[~has]], single)
    if not pairs:
        return free[orbits.link]
    pair, ratio = np.concatenate(pairs), np.concatenate(ratios)
    gated, where = distinct(pair)
    largest = np.zeros(len(gated))
    np.maximum.at(largest, where, ratio)
    np.add.at(free, gated % links, largest * network.capacity[gated // links])
    return free[orbits.link]


def private_links(crossings: Sequence[Crossing], orbits: Orbits, asked: Bools) -> Bools:
    """Return those of the `asked` links whose every flow starts at one rank, or ends at one."""
    links = len(asked)
    private = np.zeros(links, dtype=bool)
    found: list[tuple[Ints, Ints, Ints]] = []  # link, where its flow starts, where it ends
    for one in crossings:
        here = np.flatnonzero(asked[one.flows.links])
        link, flow = one.flows.links[here], one.flow[here]

        def turned(end: Ints, turns: Ints) -> Ints:
            there: Ints = orbits.accelerators[turns, np.maximum(end, 0)]
            return np.where(end >= 0, there, end)

        for chosen, turns in orbits.onto_first(link):
            source, target = one.flows.source[flow[chosen]], one.flows.target[flow[chosen]]
            ends = turned(source, turns), turned(target, turns)
            found.append((orbits.link[link[chosen]], *ends))
    for which in (1, 2):
        low = np.full(links, np.iinfo(np.int64).max)
        high = np.full(links, np.iinfo(np.int64).min)
        for row in found:
            np.minimum.at(low, row[0], row[which])
            np.maximum.at(high, row[0], row[which])
        private |= (low == high) & (low >= 0)
    return private[orbits.link]
