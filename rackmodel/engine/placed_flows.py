"""The flows of many groups as arrays: put together, taken apart.

In:  flows of sets of groups.
Out: `PlacedFlows`; what each flow reaches alone.
Left out: which flows a group has, over which links (`groups`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Floats, Ints


class PlacedFlows(NamedTuple):
    """Flows of G groups, F in all, in ascending order of their group.

    owner, round_ : int[F]. share : bytes of the flow per byte of the collective. cap : bytes/s.
    source, target : int[F], accelerator index, or -1 - node for a switch.
    indptr, links, fractions : CSR from flows to links. round_latency_s : float[G, rounds], added
    once the last flow of the round has ended.
    algorithm : one name per group. kind : int[G], equal where flows correspond one by one.
    """

    owner: Ints
    round_: Ints
    share: Floats
    cap: Floats
    source: Ints
    target: Ints
    indptr: Ints
    links: Ints
    fractions: Floats
    round_latency_s: Floats
    algorithm: tuple[str, ...]
    kind: Ints


def flow_of_incidence(flows: PlacedFlows) -> Ints:
    """Return the flow of each incidence."""
    return np.repeat(np.arange(len(flows.owner)), np.diff(flows.indptr))


def rates_alone(flows: PlacedFlows, capacity: Floats) -> Floats:
    """Return the rate of each flow if nothing else moves. [bytes/s]"""
    rate = flows.cap.copy()
    np.minimum.at(rate, flow_of_incidence(flows), capacity[flows.links] / flows.fractions)
    return rate


def joined(parts: list[tuple[Ints, PlacedFlows]]) -> PlacedFlows:
    """Put the flows of several sets of groups together, in ascending order of the group.

    The groups of a set have as many flows, over as many links, each.
    """
    if len(parts) == 1:  # all groups, in their order
        return parts[0][1]
    rounds = max(p.round_latency_s.shape[1] for _, p in parts)
    groups = sum(len(ids) for ids, _ in parts)
    latency, kind = np.zeros((groups, rounds)), np.zeros(groups, dtype=np.int64)
    sizes = np.zeros((2, groups), dtype=np.int64)  # flows of a group, and links under them
    names = [""] * groups
    for number, (ids, p) in enumerate(parts):
        kind[ids] = number
        latency[ids, : p.round_latency_s.shape[1]] = p.round_latency_s
        sizes[:, ids] = np.array([[len(p.owner)], [len(p.links)]]) // len(ids)
        for i, name in zip(ids.tolist(), p.algorithm, strict=True):
            names[i] = name
    starts = np.cumsum(sizes, axis=1) - sizes

    def column(name: str, of: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        together = np.empty(int(sizes[of].sum()), dtype=dtype)
        for (_ids, p), rows in zip(parts, places[of], strict=True):
            together[rows] = np.diff(p.indptr) if name == "width" else getattr(p, name)
        return together

    places = [
        [(starts[of, ids][:, None] + np.arange(sizes[of, ids[0]])).ravel() for ids, _ in parts]
        for of in range(2)
    ]
    width = column("width", 0, np.int64)
    return PlacedFlows(
        owner=np.repeat(np.arange(groups), sizes[0]),
        round_=column("round_", 0, np.int64),
        share=column("share", 0, np.float64),
        cap=column("cap", 0, np.float64),
        source=column("source", 0, np.int64),
        target=column("target", 0, np.int64),
        indptr=np.concatenate([[0], np.cumsum(width)]),
        links=column("links", 1, np.int64),
        fractions=column("fractions", 1, np.float64),
        round_latency_s=latency,
        algorithm=tuple(names),
        kind=kind,
    )


def apart(flows: PlacedFlows, sizes: Sequence[int]) -> tuple[PlacedFlows, ...]:
    """Return the flows of each of several sets of groups that follow one another.

    sizes : how many groups each set has.
    """
    if len(sizes) == 1:
        return (flows,)
    found = []
    for low, high in pairwise(np.cumsum([0, *sizes]).tolist()):
        first, last = np.searchsorted(flows.owner, [low, high]).tolist()
        crossings = slice(int(flows.indptr[first]), int(flows.indptr[last]))
        names = ("round_", "share", "cap", "source", "target")
        own = flows._replace(
            **{name: getattr(flows, name)[first:last] for name in names},
            owner=flows.owner[first:last] - low,
            indptr=flows.indptr[first : last + 1] - flows.indptr[first],
            links=flows.links[crossings],
            fractions=flows.fractions[crossings],
            round_latency_s=flows.round_latency_s[low:high],
            algorithm=flows.algorithm[low:high],
            kind=flows.kind[low:high],
        )
        found.append(own)
    return tuple(found)
