"""Stretches compiled: a team finds that it is together, keeps a visit, goes as it did before.

In:  rank classes at a piece of a segment.
Out: what `stretches` does under SimPy, in the same order; entries of logs.
Left out: everything that rank classes do otherwise (`compiled`).
"""

from __future__ import annotations

from rackmodel.columns import Bools
from rackmodel.engine import instructions as at
from rackmodel.engine.compiled_exchanges import EXCHANGE_DONE, RESUME, TRIGGERED, add_call
from rackmodel.engine.instructions import State, Tables
from rackmodel.engine.rank_logs import KINDS
from rackmodel.network.event_heap import LATE, NORMAL, Clock, numbers, schedule
from rackmodel.network.machine_code import part

TO_RESUME, TO_LAND, TO_LAND_SEND, TO_LAUNCH = numbers(range(4))  # who is called by an event
FOR_NOTHING, FOR_RUN, FOR_JOIN, FOR_TEAM, FOR_PASS, FOR_HOLD, FOR_LOCKSTEP, FOR_MATES = range(8)
RUN, JOIN, ASYNC, HOLD, PASS, LOCKSTEP = numbers(range(len(KINDS)))
(NO,) = numbers([-1])


@part
def log(
    s: State,
    c: Clock,
    rank: int,
    words: tuple[int, int, int, int, int],
    times: tuple[float, float],
) -> None:
    """Log what ends now; times : when it began, when the bytes waited for set off."""
    n = s.counts[at.LOGGED]
    s.counts[at.LOGGED] += 1
    s.log_of[n] = rank
    s.log[n, 0], s.log[n, 1], s.log[n, 2], s.log[n, 3], s.log[n, 4] = words
    s.log_s[n, 0], s.log_s[n, 1], s.log_s[n, 2] = times[0], c.now[0], times[1]


@part
def quiet(uses: Bools, t: Tables, s: State, rank: int, lock: int) -> int:
    """Tell whether nothing in flight could disturb a rank class; uses : channels of each lock."""
    if s.ranks[rank, at.FLYING] > 0:
        for channel in range(len(t.share)):
            if s.flying[rank, channel] > 0 and (uses[lock, channel] or t.share[channel] > 0):
                return 0
    return 1


@part
def as_before(t: Tables, s: State, c: Clock, rank: int, stretch: int) -> bool:
    """Go through the rest of a segment as an earlier visit did, or ask whether all are together."""
    item = t.scripts[s.ranks[rank, at.SCRIPT], at.ITEM]
    piece, record = s.ranks[rank, at.PIECE], s.ranks[rank, at.RECORD]
    place = t.stretches[stretch, at.FIRST_RECORD] + piece
    if record < 0 and s.ranks[rank, at.ASKED] <= piece and t.starts[place]:
        s.ranks[rank, at.ASKED] = piece + 1
        if s.apart[stretch] or quiet(t.stretch_uses, t, s, rank, stretch) == 0:
            return False
        if t.stretches[stretch, at.END_MATE] - t.stretches[stretch, at.FIRST_MATE] > 1:
            return _gather(s, c, rank, stretch, item, piece)
        _begin_record(s, c, place, item)
        s.ranks[rank, at.RECORD] = record = place
    if record != place or s.records[place, at.KNOWN] == 0:
        return False
    s.clocks[rank, at.START] = c.now[0]
    cut = t.scripts[s.ranks[rank, at.SCRIPT], at.CUT]
    for row in range(t.cuts[cut] + piece, t.cuts[cut + 1]):
        if t.pieces[row, at.KIND] == at.IS_JOIN:
            s.turn[rank, t.pieces[row, at.NAME]] += 1
    s.ranks[rank, at.WAIT], s.ranks[rank, at.ON] = FOR_LOCKSTEP, len(t.locks) + place
    total_s = s.totals_s[_total(t, rank, stretch, piece)]
    schedule(c, total_s, NORMAL, RESUME, rank, 0.0)
    return True


@part
def _total(t: Tables, rank: int, stretch: int, piece: int) -> int:
    """Return where it stands how long a rank class takes from a piece on."""
    first, end = t.stretches[stretch, at.FIRST_MATE], t.stretches[stretch, at.END_MATE]
    mate = first
    while t.mates[mate] != rank:
        mate += 1
    return int(t.stretches[stretch, at.FIRST_TOTAL] + piece * (end - first) + mate - first)


@part
def _gather(s: State, c: Clock, rank: int, stretch: int, item: int, piece: int) -> bool:
    """Wait for the rest of a team to the end of this instant."""
    if s.exchanges[stretch, at.EVENT] != TRIGGERED:
        s.exchanges[stretch, at.EVENT], s.exchanges[stretch, at.MISSING] = TRIGGERED, 0
        s.exchanges[stretch, at.BY_NAME], s.exchanges[stretch, at.BY_TURN] = item, piece
        s.exchanges[stretch, at.FIRST_CALL] = s.exchanges[stretch, at.LAST_CALL] = -1
        schedule(c, 0.0, LATE, EXCHANGE_DONE, stretch, 0.0)
    elif s.exchanges[stretch, at.BY_NAME] != item or s.exchanges[stretch, at.BY_TURN] != piece:
        return False
    s.exchanges[stretch, at.MISSING] += 1
    s.ranks[rank, at.WAIT], s.ranks[rank, at.ON] = FOR_MATES, stretch
    add_call(s, c, s.exchanges, stretch, TO_RESUME, rank)
    return True


@part
def gathered(t: Tables, s: State, c: Clock, stretch: int) -> None:
    """Tell all of a team that waited whether all came."""
    first, end = t.stretches[stretch, at.FIRST_MATE], t.stretches[stretch, at.END_MATE]
    all_came = s.exchanges[stretch, at.MISSING] == end - first
    place = t.stretches[stretch, at.FIRST_RECORD] + s.exchanges[stretch, at.BY_TURN]
    if all_came:
        _begin_record(s, c, place, s.exchanges[stretch, at.BY_NAME])
    for k in range(first, end):
        mate = t.mates[k]
        if s.ranks[mate, at.WAIT] == FOR_MATES and s.ranks[mate, at.ON] == stretch:
            s.ranks[mate, at.WAIT] = FOR_NOTHING
            if all_came:
                s.ranks[mate, at.RECORD] = place


@part
def _begin_record(s: State, c: Clock, place: int, item: int) -> None:
    if s.records[place, at.IN_ITEM] < 0:
        s.records[place, at.IN_ITEM] = item
        s.record_s[place, at.BEGAN] = c.now[0]


@part
def keep(t: Tables, s: State, c: Clock, rank: int, stretch: int) -> None:
    """Keep how long a rank class took from where its visit of a stretch was recorded."""
    record = s.ranks[rank, at.RECORD]
    piece = record - t.stretches[stretch, at.FIRST_RECORD]
    item, began = s.records[record, at.IN_ITEM], s.record_s[record, at.BEGAN]
    log(s, c, rank, (LOCKSTEP, item, piece, NO, len(t.locks) + record), (began, 0.0))
    s.totals_s[_total(t, rank, stretch, piece)] = c.now[0] - began
    least, latest = s.record_s[record, at.LEAST], s.record_s[record, at.LATEST]
    s.record_s[record, at.LEAST] = min(least, c.now[0])
    s.record_s[record, at.LATEST] = max(latest, s.clocks[rank, at.HEARD])
    s.records[record, at.OVER] += 1
    team = t.stretches[stretch, at.END_MATE] - t.stretches[stretch, at.FIRST_MATE]
    if s.records[record, at.OVER] == team:
        if s.record_s[record, at.LATEST] <= s.record_s[record, at.LEAST]:
            s.records[record, at.KNOWN] = 1
        else:
            s.apart[stretch] = True
