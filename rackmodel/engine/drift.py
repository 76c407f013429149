"""Replicas that drift apart: each recurs by itself, and they meet when all their passes are done.

In:  a short step, what recurs in each rank class, how to simulate a step.
Out: `drifted`, when the whole step ends and the logs that stand for it.
Left out: what recurs (`recurrence`), who is apart (`apart`).

What a part skips takes it `added_s`. If it begins that much later, all that follows its last period
is as in the whole step. Where replicas meet at the beginning, as they fetch parameters, each part
does so alone then, and may reach its period sooner or later than in the short step; it begins by
that much later or sooner in another run. What happens before is taken from the short step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from rackmodel.columns import Ints
from rackmodel.engine.rank_logs import RankLog
from rackmodel.engine.ranks import Late
from rackmodel.engine.recurrence import ALIKE, Splice
from rackmodel.engine.simulation import Simulation

TRIES = 6  # runs, each begins nearer to when all meet as they should

Logs: TypeAlias = Sequence[RankLog]


def drifted(
    short: Simulation, splices: Sequence[Splice], simulated: Callable[[Late], Simulation]
) -> tuple[float, list[RankLog], int] | None:
    """Let all parts, rank classes of one splice each, meet as they do in the whole step.

    Returns its end [s], logs for the splices, events. None if a part does not fall into the period
    that it has in the short step.
    """
    begin_s, events = [one.added_s for one in splices], 0
    parts = {one: frozenset(n for n, x in enumerate(splices) if x == one) for one in splices}
    until = [
        int(log.item[log.start_s >= one.at_s - one.period_s].min(initial=len(log)))
        for log, one in zip(short.logs, splices, strict=True)
    ]
    for _ in range(TRIES):
        late = simulated(Late(tuple(begin_s), tuple(parts[s] for s in splices), tuple(until)))
        events += late.events
        tolerance_s = ALIKE * late.end_s
        offsets = [
            _offset_s(before, after, one, tolerance_s)
            for before, after, one in zip(short.logs, late.logs, splices, strict=True)
        ]
        if any(offset is None for offset in offsets):
            return None
        first = [offsets[min(parts[one])] or 0.0 for one in splices]
        if all(abs(offset) <= tolerance_s for offset in first):
            later_s = [
                one.added_s + (own or 0.0) for one, own in zip(splices, offsets, strict=True)
            ]
            return late.end_s, _joined(short.logs, late.logs, splices, later_s), events
        begin_s = [begin - offset for begin, offset in zip(begin_s, first, strict=True)]
    return None


def _offset_s(before: RankLog, after: RankLog, one: Splice, tolerance_s: float) -> float | None:
    """Return by how much a period begins later than wanted; None if it is not the same period."""
    wanted = np.flatnonzero(
        (one.at_s <= before.start_s) & (before.start_s < one.at_s + one.period_s)
    )
    keys, names = _keys(after), _keys(before)[wanted]
    order = np.argsort(keys, kind="stable")
    found = order[np.searchsorted(keys[order], names, side="right") - 1]
    if not len(names) or not len(keys) or (keys[found] != names).any():
        return None
    (start, end), (later, last) = (
        log.times[rows, :2].T for log, rows in ((before, wanted), (after, found))
    )
    late_s = later - start - one.added_s
    offset = float(late_s[0])
    length_s = last - later - (end - start)
    apart_s = max(np.abs(late_s - offset).max(), np.abs(length_s).max())
    return offset if apart_s <= tolerance_s else None


def _keys(log: RankLog) -> Ints:
    """Item, place and kind of each entry in one number."""
    kind, item, place = (log.words[:, column].astype(np.int64) for column in range(3))
    keys: Ints = (item << 32 | place << 8) | kind
    return keys


def _joined(
    before: Logs, after: Logs, splices: Sequence[Splice], begin_s: Sequence[float]
) -> list[RankLog]:
    """Return logs by the clock of the short step: of it the items begun before the second period.

    The rest is of the other. Items as a whole: one log may have in lockstep what the other has not.
    """
    joined = []
    for one, two, splice, later_s in zip(before, after, splices, begin_s, strict=True):
        seam_s = splice.at_s * (1 - 1e-12)  # what begins there belongs to what follows
        begun = one.item[one.start_s < seam_s]
        first, rest = np.isin(one.item, begun), ~np.isin(two.item, begun)
        joined.append(one.rows(first).then(two.rows(rest), -later_s))
    return joined
