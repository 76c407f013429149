"""Groups whose flows correspond one by one: what holds of one of them is worked out once.

In:  a compiled network, placed flows.
Out: `Alike`: the flows of one group, and the links that every group like it has in their place.
Left out: what is worked out of them (`streams`, `binding`, `orbits`).

An all-to-all among 256 members is 65,280 flows over 1,600 links, and a job has dozens of such
groups. What they do to links is the same for all that lie alike, on links of their own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rackmodel.columns import Floats, Ints, each_once
from rackmodel.engine.placed_flows import PlacedFlows, flow_of_incidence, rates_alone
from rackmodel.network import Network
from rackmodel.network.arrays import remembered

FEWEST_CROSSINGS = 1_000_000  # with fewer, going over all costs less than looking for what is alike
MOST_KINDS = 64  # with more, too


class Alike(NamedTuple):
    """R sets of groups whose flows correspond, with those of the first set.

    flows : of the first set, G groups. rate : of each by itself, bytes/s. flow : int[I], the flow
    of each crossing. where : int[I], the place of its link in a row of `links`.
    links : int[R, U], of each set. owner : int[U], the group of the first set that crosses it.
    groups : int[R, G] and start : int[R], groups and first flow of each set in `whole`.
    """

    flows: PlacedFlows
    rate: Floats
    flow: Ints
    where: Ints
    links: Ints
    owner: Ints
    groups: Ints
    start: Ints
    whole: PlacedFlows

    @classmethod
    def alone(cls, flows: PlacedFlows, rate: Floats) -> Alike:
        """Return all groups as one set that nothing is like; each crossing has its own place."""
        flow = flow_of_incidence(flows)
        return cls(
            flows=flows,
            rate=rate,
            flow=flow,
            where=np.arange(len(flow)),
            links=flows.links[None, :],
            owner=flows.owner[flow],
            groups=np.arange(len(flows.round_latency_s))[None, :],
            start=np.zeros(1, dtype=np.int64),
            whole=flows,
        )


def alike_parts(network: Network, flows: PlacedFlows) -> tuple[Alike, ...]:
    """Return the flows by which groups are alike; one part if it isn't worth it to tell them."""
    kinds = each_once(flows.kind)
    few = len(flows.links) < FEWEST_CROSSINGS or len(kinds) == len(flows.kind)
    parts: list[Alike] = []
    for kind in () if few or len(kinds) > MOST_KINDS else kinds.tolist():
        part = _part(network, flows, np.flatnonzero(flows.kind == kind))
        if part is None:
            parts = []
            break
        parts.append(part)
    return tuple(parts) or (Alike.alone(flows, rates_alone(flows, network.capacity)),)


def _part(network: Network, flows: PlacedFlows, groups: Ints) -> Alike | None:
    """Return groups with the flows of the first; None if their links are not of the same kinds."""
    start, end = (np.searchsorted(flows.owner, groups + more) for more in (0, 1))
    first, last = int(start[0]), int(end[0])
    at = flows.indptr[start]
    crossings = slice(int(at[0]), int(flows.indptr[last]))
    used, place, where = np.unique(flows.links[crossings], return_index=True, return_inverse=True)
    links = flows.links[at[:, None] + place]
    for fact in (network.capacity, *_kinds(network)):
        if (fact[links] != fact[used]).any():
            return None
    model = flows._replace(
        **{name: getattr(flows, name)[first:last] for name in ("round_", "share", "cap")},
        **{name: getattr(flows, name)[first:last] for name in ("source", "target")},
        owner=np.zeros(last - first, dtype=np.int64),
        indptr=flows.indptr[first : last + 1] - at[0],
        links=flows.links[crossings],
        fractions=flows.fractions[crossings],
        round_latency_s=flows.round_latency_s[groups[:1]],
        algorithm=(flows.algorithm[int(groups[0])],),
        kind=flows.kind[groups[:1]],
    )
    return Alike(
        flows=model,
        rate=rates_alone(model, network.capacity),
        flow=flow_of_incidence(model),
        where=where.reshape(-1),
        links=links,
        owner=np.zeros(len(used), dtype=np.int64),
        groups=groups[:, None],
        start=start,
        whole=flows,
    )


@remembered
def _kinds(network: Network) -> tuple[Ints, Ints]:
    """Return what kind of node each link begins and ends at."""
    kind = np.unique(np.array(network.node_kinds), return_inverse=True)[1].reshape(-1)
    return kind[network.tail], kind[network.head]
