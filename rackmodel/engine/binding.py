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
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Bools, Floats, Ints, distinct
from rackmodel.engine.alike import Alike
from rackmodel.engine.orbits import Orbits
from rackmodel.network import Network
from rackmodel.network.arrays import remembered
from rackmodel.topology.kinds import Kind

NEAR = (Kind.ACCELERATOR, Kind.NIC)  # kinds of nodes whose links are gates to the rest
SLACK = 1 + 1e-9  # two sums of the same rates may differ in their last bits


@remembered
def _near(network: Network) -> Bools:
    near: Bools = network.of_kind(NEAR[0]) | network.of_kind(NEAR[1])
    return near


class Crossing(NamedTuple):
    """Flows of an axis as they cross links.

    share : float[R, U], what each crossing of the part counts for on the first link of its orbit,
    in all exchanges of the axis that have these flows.
    """

    part: Alike
    share: Floats

    @classmethod
    def of(cls, part: Alike, copies: Ints, orbits: Orbits, times: int = 1) -> Crossing:
        """Return the crossings of so many exchanges; copies : int[G], of each group."""
        count = copies[part.groups[:, part.owner]]
        return cls(part=part, share=orbits.share(part.links, count) * times)


def binding_links(network: Network, crossings: Sequence[Crossing], orbits: Orbits) -> Bools:
    """Return which links can hold a flow back, bool[L]."""
    demand = np.zeros(len(network.capacity))
    for one in crossings:
        part = one.part
        asked_for = part.flows.fractions * part.rate[part.flow]
        total = np.bincount(part.where, asked_for, part.links.shape[1]) * one.share
        np.add.at(demand, orbits.link[part.links], total)
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
        part, flows, flow = one.part, one.part.flows, one.part.flow
        asked_here: Bools = asked[part.links]
        if not asked_here.any():
            continue
        usable = gate_like[flows.links]
        count = len(flows.owner)
        best = np.full(count, np.inf)
        width = network.capacity[flows.links] / flows.fractions
        np.minimum.at(best, flow[usable], width[usable])
        first = np.full(count, -1, dtype=np.int64)
        is_best = np.flatnonzero(usable & (width <= best[flow]))[::-1]
        first[flow[is_best]] = is_best  # the first such link of the flow
        wanted: Bools = np.logical_or.reduce(asked_here, axis=0)
        here = np.flatnonzero(wanted[part.where])
        at = first[flow[here]]
        has = (at >= 0) & (flows.links[at] != flows.links[here])
        kept, at = here[has], at[has]
        places = part.links.shape[1]
        pair = part.where[at] * places + part.where[kept]
        ratio = flows.fractions[kept] / flows.fractions[at]
        if len(part.links) > 1:
            pair, ratio = _largest(pair, ratio)
        gates, through = part.links[:, pair // places], part.links[:, pair % places]
        told: Bools = asked[through]
        gate, link, ratio = gates[told], through[told], np.broadcast_to(ratio, told.shape)[told]
        for chosen, turns in orbits.onto_first(link):
            pairs.append(orbits.links[turns, gate[chosen]] * links + orbits.link[link[chosen]])
            ratios.append(ratio[chosen])
        lone = here[~has]
        single = np.bincount(
            part.where[lone], flows.fractions[lone] * part.rate[flow[lone]], places
        )
        np.add.at(free, orbits.link[part.links], single * one.share * asked_here)
    if not pairs:
        return free[orbits.link]
    gated, largest = _largest(np.concatenate(pairs), np.concatenate(ratios))
    np.add.at(free, gated % links, largest * network.capacity[gated // links])
    return free[orbits.link]


def _largest(names: Ints, values: Floats) -> tuple[Ints, Floats]:
    """Return each name once, with the largest of its values."""
    found, where = distinct(names)
    largest = np.zeros(len(found))
    np.maximum.at(largest, where, values)
    return found, largest


def private_links(crossings: Sequence[Crossing], orbits: Orbits, asked: Bools) -> Bools:
    """Return those of the `asked` links whose every flow starts at one rank, or ends at one."""
    links = len(asked)
    private = np.zeros(links, dtype=bool)
    found: list[tuple[Ints, Ints, Ints]] = []  # link, where its flow starts, where it ends
    for one in crossings:
        part, whole = one.part, one.part.whole
        set_, place = np.nonzero(asked[part.links])
        link, some = part.links[set_, place], np.zeros(len(part.owner), dtype=np.int64)
        some[part.where] = part.flow
        sure = [_all_one(part, end)[place] for end in (part.flows.source, part.flows.target)]
        flow = part.start[set_] + some[place]
        ends = [
            np.where(one_end, end[flow], -1)
            for one_end, end in zip(sure, (whole.source, whole.target), strict=True)
        ]

        def turned(end: Ints, turns: Ints) -> Ints:
            there: Ints = orbits.accelerators[turns, np.maximum(end, 0)]
            return np.where(end >= 0, there, end)

        for chosen, turns in orbits.onto_first(link):
            source, target = (turned(end[chosen], turns) for end in ends)
            found.append((orbits.link[link[chosen]], source, target))
    for which in (1, 2):
        low = np.full(links, np.iinfo(np.int64).max)
        high = np.full(links, np.iinfo(np.int64).min)
        for row in found:
            np.minimum.at(low, row[0], row[which])
            np.maximum.at(high, row[0], row[which])
        private |= (low == high) & (low >= 0)
    return private[orbits.link]


def _all_one(part: Alike, end: Ints) -> Bools:
    """Return whether all flows over a link have the same rank at an end, bool[U]."""
    low = np.full(part.links.shape[1], np.iinfo(np.int64).max)
    high = np.full(part.links.shape[1], -1)
    np.minimum.at(low, part.where, end[part.flow])
    np.maximum.at(high, part.where, end[part.flow])
    same: Bools = low == high
    return same
