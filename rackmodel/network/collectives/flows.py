"""What a collective asks of the network: rounds of flows.

In:  pairs of nodes and the share of the collective's bytes that each carries.
Out: `Flows` (arrays, with the links of every flow) and `Pattern` (rounds and fixed times); the time
     that a pattern takes on an idle network.
Left out: which algorithm is used when; see `tuner`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Floats, Ints, distinct
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

    @property
    def owner(self) -> Ints:
        """int[E], the flow of each entry."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    @property
    def amount(self) -> Floats:
        """float[E], what each entry puts on its link per byte of the collective."""
        return np.repeat(self.share, np.diff(self.indptr)) * self.fractions


class Pattern(NamedTuple):
    """How one collective runs on one group, for any number of bytes in its regime."""

    op: str
    algorithm: str
    protocol: str
    size: int  # members of the whole group, of which the flows may show a stand-in
    rounds: tuple[Flows, ...]  # one after another; pipelined algorithms are one round
    latency_s: tuple[float, ...]  # fixed time of each round: launch, steps of the algorithm


def flows_between(network: Network, source: Ints, target: Ints, share: Floats) -> Flows:
    """Route F pairs of node numbers; flows from a node to itself cross nothing.

    Raises
    ------
    NoRoute
        If some pair is not joined.
    """
    table = network.routes(source, target)
    return Flows(
        np.asarray(source, np.int64),
        np.asarray(target, np.int64),
        np.asarray(share, np.float64),
        table.indptr,
        table.links,
        table.fractions,
        table.latency_s,
        np.full(len(source), np.inf),
    )


def flows_over(
    network: Network,
    ends: Sequence[tuple[int, int, float]],
    links: Sequence[Sequence[int]],
    parts: Sequence[Floats],
) -> Flows:
    """Build flows (source, target, share) whose links, and the part on each, are already known."""
    flat = np.array([k for row in links for k in row], dtype=np.int64)
    return flows_along(
        network,
        np.array([(source, target) for source, target, _ in ends], dtype=np.int64).reshape(-1, 2),
        np.array([share for _, _, share in ends], dtype=np.float64),
        (np.cumsum([0, *(len(row) for row in links)]), flat, np.concatenate([np.zeros(0), *parts])),
    )


def flows_along(
    network: Network, ends: Ints, share: Floats, rows: tuple[Ints, Ints, Floats]
) -> Flows:
    """Build flows of ends int[F, 2] and sparse rows (indptr, links, fractions)."""
    indptr, links, fractions = rows
    owner = np.repeat(np.arange(len(share)), np.diff(indptr))
    delay = np.bincount(owner, fractions * network.latency_s[links], minlength=len(share))
    cap = np.full(len(share), np.inf)
    source, target = (np.ascontiguousarray(column) for column in ends.T)
    return Flows(source, target, share, indptr, links, fractions, delay.astype(float), cap)


def join(*parts: Flows) -> Flows:
    """Put flows that start together side by side."""
    starts = np.cumsum([0, *(len(part.links) for part in parts)])
    indptr = [p.indptr[:-1] + start for p, start in zip(parts, starts, strict=False)]
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Flows)
    }
    return Flows(**columns | {"indptr": np.concatenate([*indptr, starts[-1:]])})


def link_load(network: Network, flows: Flows) -> Floats:
    """Return float[L], bytes that each link carries per byte of the collective."""
    return np.bincount(flows.links, flows.amount, minlength=len(network.capacity)).astype(float)


def pace_s(network: Network, flows: Flows) -> float:
    """Return the seconds per byte of the collective that the tightest link or limit allows."""
    if not len(flows):
        return 0.0
    return max(_fullest_s(network, flows), float(own_s(flows).max()))


def _fullest_s(network: Network, flows: Flows) -> float:
    """Return the seconds per byte of the collective that the tightest link allows."""
    if len(flows.links) > len(network.capacity):
        return float((link_load(network, flows) / network.capacity).max(initial=0.0))
    used, local = distinct(flows.links)
    load = np.bincount(local, flows.amount, minlength=len(used))
    return float((load / network.capacity[used]).max(initial=0.0))


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
    shares, fullest = flows.share, _fullest_s(network, flows)
    if shares.min() == shares.max():
        level = 1.0 / max(fullest, 1e-300)
        slowest = min(level * float(shares[0]), float(flows.cap_bytes_per_s.min()))
        return float(shares[0]) * byte_count / slowest
    brief_s = max(fullest, float(own_s(flows).max())) * byte_count
    if brief_s < BRIEF_S:
        return brief_s
    owner = flows.owner
    used, local = distinct(flows.links)

    def rates_of(ids: Ints) -> Floats:
        keep = np.zeros(len(shares), dtype=bool)
        keep[ids] = True
        entries = keep[owner]
        indptr = np.cumsum(np.append(0, np.diff(flows.indptr)[ids]))
        parts, cap = flows.fractions[entries], flows.cap_bytes_per_s[ids]
        return fair_rates(indptr, local[entries], parts, network.capacity[used], cap)

    return last_end_s(shares * byte_count, rates_of)


def alone_s(network: Network, pattern: Pattern, byte_count: float) -> float:
    """Return the time of the collective on an idle network. [s]

    A round is a pipeline (a ring's or a tree's hops pass on what they receive, chunk by chunk) or
    an exchange of equal parts, so it goes at the pace of its tightest link.
    """
    fixed = sum(pattern.latency_s)
    return fixed + sum(pace_s(network, flows) for flows in pattern.rounds) * byte_count
