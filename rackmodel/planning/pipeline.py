"""Seconds of a pipeline from its schedule's own actions, for many plans at once.

In:  a schedule with p, m, v; seconds of each pass and of a transfer, arrays over N plans.
Out: seconds of the whole, and when each rank begins and is done.
Left out: links that several transfers share; what comes after the last pass.

A pass ends as long after its beginning as it takes, and begins when the pass before it on its rank
has ended and what it needs has arrived: a max/plus recursion over the actions that programs are
written from, so both know every schedule. A steady state grows by the same time with each further
unit of micro-batches, so that two short pipelines stand for all longer ones. Gradients that move
under the last passes slow these, and so whatever waits for them on other ranks.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Floats, Ints, each_once
from rackmodel.errors import InvalidPlan
from rackmodel.workload.schedules.schedule import KINDS, passes, schedule_of

MOST_NUMBERS = 1_000_000  # of an array [actions, plans]: more plans are taken in parts
# Backward passes are whole, or of the inputs where weight gradients are split off; "beside" runs
# together with a pass the other way, and is whole.
PASSES = ("F", "B", "W", "F beside", "B beside")


# "batched" blocks both sides, "late" is received when it is needed, "ahead" one pass before.
TRANSFERS = ("batched", "late", "ahead")


class Pipe(NamedTuple):
    """What plans share whose pipelines have the same actions.

    transfers : of `TRANSFERS`. batches : micro-batches; of longer pipelines as many as tell the
    rest.
    """

    schedule: str
    p: int
    v: int
    paired: bool
    transfers: str
    batches: int


class Reduced(NamedTuple):
    """Gradients that move under the passes after a chunk's last one.

    seconds : of all gradients of a rank by themselves, [p, N]. buckets : in which those of a chunk
    move, [p, N]. drag : seconds that passes lose per second of it, [N].
    """

    seconds: Floats
    buckets: Floats
    drag: Floats


@lru_cache(maxsize=512)
def runs_pairs(pipe: Pipe) -> bool:
    """Return whether a full pipeline runs two passes as one, with the whole backward pass."""
    every = passes(pipe.schedule, pipe.p, pipe.batches, pipe.v, paired=pipe.paired)
    return bool((every[:, :, 1, 0] >= 0).any())


class Level(NamedTuple):
    """Actions [low, high) of a `Graph` of A.

    waits : what they wait for, [W, high - low]: the end of an action by its number, the beginning
    of all as A, what is sent after an action as A + 1 and its number; some of it repeated where
    others wait for more. drags : actions whose rank has gradients to move, by place in the level;
    before : what came before these on their ranks, as in `waits`; end : of them in `Graph.drags`.
    """

    low: int
    high: int
    waits: Ints
    drags: slice | Ints
    before: Ints
    end: int


class Graph(NamedTuple):
    """Actions in an order in which each comes after what it waits for; A of them.

    passes : rows of the table of seconds (`PASSES` x stages), two where an action is two passes.
    rank : of each action. levels : of actions that don't wait for each other. drags : actions whose
    rank has gradients to move, level by level. whole : share of its rank's chunks that have all
    gradients with each of them. first, last : of each rank, and of each rank of a shorter pipeline
    beside it.
    """

    passes: Ints  # [A, 1 or 2]
    rank: Ints  # [A]
    levels: tuple[Level, ...]
    drags: Ints  # [D]
    whole: Floats  # [D]
    first: Ints  # [p or 2 p]
    last: Ints  # [p or 2 p]


class _Waits(NamedTuple):
    """As `Graph`, rank by rank. starts : the first action of each rank, and their number."""

    starts: Ints
    arrives: Ints
    passes: Ints
    whole: Floats


@lru_cache(maxsize=512)
def graph_of(pipe: Pipe) -> Graph:
    """Return the actions of all ranks of a pipeline, and what they wait for.

    Where longer pipelines go on like this one, a shorter one stands beside it, of as many batches
    as `Schedule.told` says first: its ranks come after the others. Together they tell the period.

    Raises
    ------
    InvalidPlan
        If ranks wait for each other for ever.
    """
    few, most = schedule_of(pipe.schedule).told(pipe.p)
    pipes = [pipe, pipe._replace(batches=few)] if pipe.batches == most else [pipe]
    parts = [_waits(one) for one in pipes]
    total, widest = (
        sum(int(one.starts[-1]) for one in parts),
        max(one.arrives.shape[1] for one in parts),
    )
    starts, arrives, rows, shift = [0], np.full((total, widest), total), [], 0
    for one in parts:
        count = int(one.starts[-1])
        own = np.where(one.arrives < count, one.arrives + shift, total)
        arrives[shift : shift + count, : own.shape[1]] = own
        starts += (one.starts[1:] + shift).tolist()
        own = np.full((count, 2), -1)  # the shorter one may run no two passes together
        own[:, : one.passes.shape[1]] = one.passes
        rows.append(own)
        shift += count
    table = np.concatenate(rows)
    table = table if (table[:, 1] >= 0).any() else table[:, :1]
    whole = np.concatenate([one.whole for one in parts])
    return _sorted(_Waits(np.array(starts), arrives, table, whole), pipe)


def _waits(pipe: Pipe) -> _Waits:
    order, p = schedule_of(pipe.schedule), pipe.p
    stages = p * pipe.v
    every = passes(pipe.schedule, p, pipe.batches, pipe.v, paired=pipe.paired)
    runs = every[:, :, 0, 0] >= 0  # ranks may have fewer than others
    starts = np.append(0, np.cumsum(runs.sum(axis=1)))
    table, rank, count = every[runs], np.nonzero(runs)[0], int(starts[-1])
    kind, chunk, batch = table.transpose(2, 0, 1)  # [count, 2] each
    there, pair = kind >= 0, kind[:, 1] >= 0
    at = np.array(order.placement(p, pipe.v))[rank[:, None], chunk]
    way = (chunk == 1) * (order.directions == 2)
    rows = np.where(there, (kind + 3 * pair[:, None]) * stages + at, -1)
    # Each pass by number, and the action that runs it.
    batches = int(batch.max()) + 1
    result = ((kind * 2 + way) * stages + at) * batches + batch
    maker = np.full(len(KINDS) * 2 * stages * batches, -1)
    maker[result[there]] = np.nonzero(there)[0]
    step = np.where(kind == 0, -1, 1)  # forwards need the stage before, backwards the one after
    needs = there & (kind < 2) & (at + step >= 0) & (at + step < stages)
    target = np.nonzero(needs)[0]
    source = maker[(result + step * batches)[needs]]
    afar = rank[source] != rank[target]
    source, target = source[afar], target[afar]
    # A transfer begins when it is made and when its receiver asks for it.
    posted = target - (2 if pipe.transfers == "ahead" else 1)
    edges = [(source, target)]
    asks = posted >= starts[rank[target]]
    edges.append((posted[asks], target[asks]))
    if pipe.transfers == "batched":  # and its sender waits for it
        goes = source + 1 < starts[rank[source] + 1]
        edges += [(source[goes], source[goes] + 1), (posted[goes & asks], source[goes & asks] + 1)]
    made, waiting = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    grown = (kind == KINDS.index("W" if order.splits_weights else "B")) | (
        pair[:, None] & (kind == 1)
    )
    last = np.full((p, int(chunk.max()) + 1), -1)
    np.maximum.at(last, (rank[:, None].repeat(2, 1)[grown], chunk[grown]), np.nonzero(grown)[0])
    whole = np.bincount(last[last >= 0], minlength=count) / last.shape[1]
    rows = rows if pair.any() else rows[:, :1]
    return _Waits(starts, _padded(made, waiting, count), rows, whole)


def _padded(source: Ints, target: Ints, count: int) -> Ints:
    """Return the sources of each target in a row, int[count, W]; `count` where there is none."""
    target, source = np.divmod(each_once(target * count + source), max(1, count))
    each = np.bincount(target, minlength=count)
    place = np.arange(len(target)) - (np.cumsum(each) - each)[target]
    padded = np.full((count, max(1, int(each.max(initial=0)))), count)
    padded[target, place] = source
    return padded


def _sorted(waits: _Waits, pipe: Pipe) -> Graph:
    """Order actions by how many have to come before them: as if each took one tick of a clock.

    A shorter pipeline begins so late that it ends with the longer one: gradients of both then move
    in the same levels.
    """
    starts, arrives = waits.starts, waits.arrives
    count = int(starts[-1])
    following = starts[:-1].copy()  # of each rank
    done = np.zeros(count + 1, dtype=bool)
    done[count] = True
    level, levels = np.zeros(count, dtype=np.int64), 0
    while True:
        rank = np.flatnonzero(following < starts[1:])
        ready = done[arrives[following[rank]]].all(axis=1)
        if not ready.any():
            break
        now = following[rank[ready]]
        done[now], level[now] = True, levels
        following[rank[ready]] += 1
        levels += 1
    if len(rank):
        raise InvalidPlan(
            f"schedule {pipe.schedule!r} stops with pp {pipe.p} and {pipe.batches} micro-batches:"
            " ranks wait for each other; see the order of its passes"
        )
    shorter = level[starts[pipe.p] :]
    shorter += levels - 1 - shorter.max(initial=0)
    order = np.argsort(level, kind="stable")
    place = np.append(np.empty(count, dtype=np.int64), count)
    place[order] = np.arange(count)
    before = np.arange(count) - 1
    before[starts[:-1]] = count
    before, sent = place[before][order], place[arrives][order]
    columns, widths = _columns(before, np.where(sent < count, sent + count + 1, -1))
    rank = np.repeat(np.arange(len(starts) - 1), np.diff(starts))[order]
    whole, begun, found = waits.whole[order], np.zeros(len(starts) - 1, dtype=bool), list[Level]()
    dragged = [np.zeros(0, np.int64)]
    for low, high in pairwise(np.cumsum([0, *np.bincount(level)]).tolist()):
        own = slice(low, high)
        begun[rank[own][whole[own] > 0]] = True
        drags = np.flatnonzero(begun[rank[own]])
        dragged.append(low + drags)
        told = columns[own, : widths[own].max()].T.copy()
        end = found[-1].end if found else 0
        after = before[own][drags]
        found.append(Level(low, high, told, _as_slice(drags), after, end + len(drags)))
    every = np.concatenate(dragged)
    return Graph(
        passes=waits.passes[order],
        rank=rank,
        levels=tuple(found),
        drags=every,
        whole=whole[every],
        first=place[starts[:-1]],
        last=place[starts[1:] - 1],
    )


def _columns(before: Ints, sent: Ints) -> tuple[Ints, Ints]:
    """Return what each action waits for, and how much that is: the rest of a row repeats some.

    before : on its rank. sent : what is sent to it, [A, W]; -1: nothing.
    """
    columns = np.concatenate([before[:, None], sent], axis=1)
    # What is sent after the action before ends no sooner than that does.
    columns[(sent == (before + len(before) + 1)[:, None]).any(axis=1), 0] = -1
    columns = -np.sort(-columns, axis=1)
    return np.where(columns < 0, columns[:, :1], columns), (columns >= 0).sum(axis=1)


def _as_slice(places: Ints) -> slice | Ints:
    """Return places that follow one another as a slice, which takes numpy less."""
    if len(places) and places[-1] - places[0] == len(places) - 1:
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _play(
    graph: Graph, seconds: Floats, hop: Floats, reduced: Reduced
) -> tuple[Floats, Floats, Floats]:
    """Return when each rank begins its first and ends its last action, [p, N] each.

    And for how many seconds its gradients still move by themselves then.
    """
    count, plans = len(graph.rank), seconds.shape[1]
    taken = seconds.take(graph.passes[:, 0], axis=0)
    for column in graph.passes[:, 1:].T:
        two = column >= 0
        taken[two] += seconds[column[two]]
    first = taken[graph.first]
    ends = np.empty((2 * count + 1, plans))  # of actions, then of what is sent after each
    sent, ends[count] = ends[count + 1 :], 0.0
    left = np.zeros((len(graph.first), plans))
    rank, done = graph.rank.take(graph.drags), 0
    if moving := bool(reduced.seconds.any()):
        place = rank % len(reduced.seconds)
        comes = reduced.seconds.take(place, axis=0) * graph.whole[:, None]
        early = (1.0 - 1.0 / reduced.buckets).take(place, axis=0)
        soon = comes * early
    for low, high, waits, drags, before, end in graph.levels:
        start, *others = ends.take(waits, axis=0)
        for other in others:
            np.maximum(start, other, out=start)
        seconds = taken[low:high]
        if moving and end > done:
            own = slice(done, end)
            alone, waited = seconds[drags], start[drags] - ends.take(before, axis=0)
            moved = _moved(rank[own], alone, waited, left, comes[own], soon[own], early[own])
            seconds[drags] += reduced.drag * moved
            done = end
        ended = np.add(start, seconds, out=ends[low:high])
        np.add(ended, hop, out=sent[low:high])
    return ends[graph.first] - first, ends[graph.last], left


def _moved(
    rank: Ints,
    alone: Floats,
    waited: Floats,
    left: Floats,
    comes: Floats,
    soon: Floats,
    early: Floats,
) -> Floats:
    """Return seconds of gradients that move beside these actions; `left` of which goes on.

    alone : seconds of the actions by themselves, waited : of their ranks before them. comes : of
    the gradients of a chunk, which set out bucket by bucket as its last backward pass goes, behind
    those on their way. early : what share of them does before it ends, soon : their seconds.
    """
    before = np.maximum(0.0, left.take(rank, axis=0) - waited)
    first = np.minimum(before, alone)
    moved = first + np.minimum(soon, np.minimum(alone - first, alone * early))
    left[rank] = before + comes - moved
    return np.asarray(moved)


def pipeline_s(
    pipe: Pipe, m: Floats, seconds: Floats, hop: Floats, busy: Floats, reduced: Reduced
) -> tuple[Floats, Floats, Floats]:
    """Return seconds of whole pipelines, of each rank before its first pass, and after the last.

    Parameters
    ----------
    m : micro-batches of each plan, float[N]: those of `pipe`, or more. seconds : of the `PASSES` of
        each stage, [len(PASSES) x stages, N]. hop : of a transfer, [N]. busy : of a rank per
        micro-batch, [p, N]. reduced : gradients that move under passes, and slow them: what waits
        for these passes is late, too.

    Returns
    -------
    float[N], float[p, N], float[N] (gradients that move when all passes are done): exact for as
    many micro-batches as are told and where the steady state recurs after p of them.
    """
    graph, p = graph_of(pipe), pipe.p
    few, most = schedule_of(pipe.schedule).told(p)
    whole, begin, after = np.empty_like(hop), np.empty_like(busy), np.empty_like(hop)
    for part in _parts(len(hop), len(graph.rank)):
        some = Reduced(*(values[..., part] for values in reduced))
        first, last, left = _play(graph, seconds[:, part], hop[part], some)
        total = last[:p].max(axis=0)
        begin[:, part], after[part] = first[:p], (last[:p] + left[:p]).max(axis=0) - total
        if len(last) > p:
            each = (total - last[p:].max(axis=0)) / (most - few)
            # No rank can be quicker than its own passes, though others hid them so far.
            each = np.maximum(each, busy[:, part].max(axis=0))
            total = total + (m[part] - pipe.batches) * each
        whole[part] = total
    return whole, begin, after


def _parts(plans: int, rows: int) -> Iterable[slice]:
    size = max(1, MOST_NUMBERS // rows)
    return (slice(begin, begin + size) for begin in range(0, plans, size))
