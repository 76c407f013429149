"""What a collective asks of the network: rounds of flows.

In:  pairs of nodes and the share of the collective's bytes that each carries.
Out: `Flows` (arrays, with the links of every flow) and `Pattern` (rounds and fixed times); the time
     that a pattern takes on an idle network, and the physical bound that nothing can beat.
Left out: which algorithm is used when; see `library`.
"""

from dataclasses import dataclass

import numpy as np

from rackmodel.network.arrays import Floats, Ints
from rackmodel.network.graph import Network
from rackmodel.network.sharing import fair_rates, last_end_s

BRIEF_S = 1e-9  # below, who ends before whom is lost in the latency of any message


@dataclass(frozen=True, slots=True, eq=False)
class Flows:
    """F flows that start together; a structure of arrays.

    A flow carries `share` times the bytes of its collective over the links of its sparse row.
    """

    source: Ints  # int[F], node numbers
    target: Ints  # int[F]
    share: Floats  # float[F], bytes per byte of the collective
    indptr: Ints  # int[F + 1]
    links: Ints  # int[E]
    fractions: Floats  # float[E]
    latency_s: Floats  # float[F], of all hops
    cap_bytes_per_s: Floats  # float[F], the sender's own limit (copy engines, protocol)

    def __len__(self) -> int:
        return len(self.share)


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """How one collective runs on one group, for any number of bytes in its regime."""

    op: str
    algorithm: str
    protocol: str
    size: int  # members of the whole group, of which the flows may show a stand-in
    rounds: tuple[Flows, ...]  # one after another; pipelined algorithms are one round
    latency_s: tuple[float, ...]  # fixed time of each round: launch, steps of the algorithm


def flows_between(
    network: Network,
    source: Ints,
    target: Ints,
    share: Floats,
    cap_bytes_per_s: Floats | None = None,
) -> Flows:
    """Route F pairs of node numbers; flows from a node to itself cross nothing.

    Raises
    ------
    NoRoute
        If some pair is not joined.
    """
    table = network.routes(source, target)
    cap = np.full(len(source), np.inf) if cap_bytes_per_s is None else cap_bytes_per_s
    return Flows(
        np.asarray(source, np.int64),
        np.asarray(target, np.int64),
        np.asarray(share, np.float64),
        table.indptr,
        table.links,
        table.fractions,
        table.latency_s,
        np.asarray(cap, np.float64),
    )


def join(*parts: Flows) -> Flows:
    """Put flows that start together side by side."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(len(part.links) for part in parts)])
    return Flows(
        np.concatenate([part.source for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.share for part in parts]),
        np.concatenate([[0], *(p.indptr[1:] + e for p, e in zip(parts, ends, strict=False))]),
        np.concatenate([part.links for part in parts]),
        np.concatenate([part.fractions for part in parts]),
        np.concatenate([part.latency_s for part in parts]),
        np.concatenate([part.cap_bytes_per_s for part in parts]),
    )


def link_load(network: Network, flows: Flows) -> Floats:
    """Return float[L], bytes that each link carries per byte of the collective."""
    amount = np.repeat(flows.share, np.diff(flows.indptr)) * flows.fractions
    return np.bincount(flows.links, amount, minlength=len(network.capacity)).astype(np.float64)


def pace_s(network: Network, flows: Flows) -> float:
    """Return the seconds per byte of the collective that the tightest link or limit allows."""
    if not len(flows):
        return 0.0
    used, local = np.unique(flows.links, return_inverse=True)
    amount = np.repeat(flows.share, np.diff(flows.indptr)) * flows.fractions
    load = np.bincount(local, amount, minlength=len(used))
    return max(
        float((load / network.capacity[used]).max(initial=0.0)),
        float(own_s(flows).max()),
    )


def own_s(flows: Flows) -> Floats:
    """Return float[F], seconds per byte of the collective that each flow's own limit allows."""
    some = flows.share > 0  # the ring of a domain with one member in use carries nothing
    with np.errstate(divide="ignore"):
        return np.divide(flows.share, flows.cap_bytes_per_s, out=np.zeros(len(flows)), where=some)


def drain_s(network: Network, flows: Flows, byte_count: float) -> float:
    """Return when the last of `flows` ends on an idle network, without latencies. [s]

    Equal shares end with the tightest link, so one look at the loads is exact; otherwise rates are
    shared anew whenever a flow ends.
    """
    if not len(flows) or byte_count <= 0:
        return 0.0
    shares = flows.share
    used, local = np.unique(flows.links, return_inverse=True)
    capacity = network.capacity[used]
    amount = np.repeat(shares, np.diff(flows.indptr)) * flows.fractions
    load = np.bincount(local, amount, minlength=len(used))
    fullest = float((load / capacity).max(initial=0.0))
    if shares.min() == shares.max():
        level = 1.0 / max(fullest, 1e-300)
        slowest = min(level * float(shares[0]), float(flows.cap_bytes_per_s.min()))
        return float(shares[0]) * byte_count / slowest
    brief_s = max(fullest, float(own_s(flows).max())) * byte_count
    if brief_s < BRIEF_S:
        return brief_s
    owner = np.repeat(np.arange(len(shares)), np.diff(flows.indptr))

    def rates_of(ids: Ints) -> Floats:
        keep = np.zeros(len(shares), dtype=bool)
        keep[ids] = True
        entries = keep[owner]
        indptr = np.concatenate([[0], np.cumsum(np.diff(flows.indptr)[ids])]).astype(np.int64)
        parts, cap = flows.fractions[entries], flows.cap_bytes_per_s[ids]
        return fair_rates(indptr, local[entries], parts, capacity, cap)

    return last_end_s(shares * byte_count, rates_of)


def alone_s(network: Network, pattern: Pattern, byte_count: float) -> float:
    """Return the time of the collective on an idle network. [s]

    A round is a pipeline (a ring's or a tree's hops pass on what they receive, chunk by chunk) or
    an exchange of equal parts, so it goes at the pace of its tightest link.
    """
    fixed = sum(pattern.latency_s)
    return fixed + sum(pace_s(network, flows) for flows in pattern.rounds) * byte_count
