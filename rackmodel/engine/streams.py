"""The flows of a group and round as one stream, with the loads that it puts on links.

In:  placed flows, the rate that each reaches alone, capacities.
Out: `Streams`, and the same on some of the links only.
Left out: which links bind (`binding`), what is exchanged (`system`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Bools, Floats, Ints, distinct
from rackmodel.engine.alike import Alike
from rackmodel.engine.placed_flows import PlacedFlows
from rackmodel.network.collectives.tuner import TINY_BYTES

NOTHING_S = 1e-9  # a few bytes: their passing takes no time beside their latency


class Streams(NamedTuple):
    """The flows of each group and round as one stream, S in all, in ascending order of their group.

    owner, round_ : int[S]. indptr, links, loads : CSR from streams to the links that can bind, with
    the bytes that cross each per byte of the collective. alone : bytes of the collective per second
    that the stream reaches at most.
    """

    owner: Ints
    round_: Ints
    indptr: Ints
    links: Ints
    loads: Floats
    alone: Floats


def streams_together(parts: Sequence[Alike], capacity: Floats) -> Streams:
    """Put the flows of every group and round together; loads on one link add up."""
    found = [(part, _streams(part, capacity)) for part in parts]
    if len(parts[0].links) == len(parts) == 1:
        return found[0][1]
    several = [_repeated(part, streams) for part, streams in found]
    owner, round_, alone, width, links, loads = map(np.concatenate, zip(*several, strict=True))
    order = np.lexsort((round_, owner))
    stream = np.argsort(order)[np.repeat(np.arange(len(owner)), width)]
    by_stream = np.lexsort((links, stream))
    return Streams(
        owner=owner[order],
        round_=round_[order],
        indptr=np.concatenate([[0], np.cumsum(width[order])]).astype(np.int64),
        links=links[by_stream],
        loads=loads[by_stream],
        alone=alone[order],
    )


def streams_of_nothing(flows: PlacedFlows, size: float, capacity: Floats) -> Streams | None:
    """Return the flows put together, on no links, where so many bytes pass in no time; else None.

    It is if they do where the flows of all groups cross links at once.
    """
    if size > TINY_BYTES:
        return None
    amount = np.repeat(flows.share, np.diff(flows.indptr)) * flows.fractions
    most = (np.bincount(flows.links, amount, len(capacity)) / capacity).max(initial=0.0)
    if max(most, (flows.share / flows.cap).max(initial=0.0)) * size >= NOTHING_S:
        return None
    rounds = max(1, flows.round_latency_s.shape[1])
    names = distinct(flows.owner * rounds + flows.round_)[0]
    none = np.zeros(0, dtype=np.int64)
    return Streams(
        owner=names // rounds,
        round_=names % rounds,
        indptr=np.zeros(len(names) + 1, dtype=np.int64),
        links=none,
        loads=none.astype(np.float64),
        alone=np.full(len(names), np.inf),
    )


def _repeated(part: Alike, streams: Streams) -> tuple[Ints, Ints, Floats, Ints, Ints, Floats]:
    """Return owner, round, pace, links each, links and loads of the streams of all its sets."""
    sets = len(part.links)
    place = np.searchsorted(part.links[0], streams.links)
    return (
        part.groups[:, streams.owner].ravel(),
        np.tile(streams.round_, sets),
        np.tile(streams.alone, sets),
        np.tile(np.diff(streams.indptr), sets),
        part.links[:, place].ravel(),
        np.tile(streams.loads, sets),
    )


def _streams(part: Alike, capacity: Floats) -> Streams:
    """Return the streams of the first of its sets."""
    paths, flow = part.flows, part.flow
    rounds = max(1, paths.round_latency_s.shape[1])
    names, of_flow = distinct(paths.owner * rounds + paths.round_)
    rate = np.full(len(names), np.inf)
    np.minimum.at(rate, of_flow, part.rate / paths.share)
    width = len(capacity)
    pairs, where = distinct(of_flow[flow] * width + paths.links)
    amount = paths.fractions * paths.share[flow]
    load: Floats = np.bincount(where, amount, minlength=len(pairs)).astype(np.float64)
    stream, link = pairs // width, pairs % width
    np.minimum.at(rate, stream, capacity[link] / load)
    counts = np.bincount(stream, minlength=len(names))
    return Streams(
        owner=names // rounds,
        round_=names % rounds,
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        links=link,
        loads=load,
        alone=rate,
    )


def streams_on(streams: Streams, kept: Bools, name: Ints) -> Streams:
    """Return the streams with some links only; what the others allow stays in `alone`.

    kept : bool[L]. name : int[L], how each link is called in the answer.
    """
    keep = kept[streams.links]
    stream = np.repeat(np.arange(len(streams.owner)), np.diff(streams.indptr))
    counts = np.bincount(stream[keep], minlength=len(streams.owner))
    return streams._replace(
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        links=name[streams.links[keep]],
        loads=streams.loads[keep],
    )
