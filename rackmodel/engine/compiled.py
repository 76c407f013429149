"""Rank classes compiled: what `ranks` does under SimPy, event by event in the same order.

In:  `Tables` of what rank classes do, a fluid network, a clock of arrays.
Out: the log of every rank class, in `State`; to the last bit what SimPy gives, its referee.
Left out: what the log means.
"""

from __future__ import annotations

from rackmodel.columns import Ints
from rackmodel.engine import instructions as at
from rackmodel.engine.compiled_exchanges import (
    ALARM,
    EXCHANGE_DONE,
    FLIGHT_DONE,
    NOTHING,
    PAUSE,
    PENDING,
    PROCESSED,
    RESUME,
    TRIGGERED,
    add_call,
    after_round,
    arrive,
    join,
    new_flight,
    proceed,
    set_token,
    take_token,
)
from rackmodel.engine.compiled_stretches import (
    ASYNC,
    FOR_HOLD,
    FOR_JOIN,
    FOR_LOCKSTEP,
    FOR_MATES,
    FOR_NOTHING,
    FOR_PASS,
    FOR_RUN,
    FOR_TEAM,
    HOLD,
    JOIN,
    LOCKSTEP,
    NO,
    PASS,
    RUN,
    TO_LAND,
    TO_LAND_SEND,
    TO_LAUNCH,
    TO_RESUME,
    as_before,
    gathered,
    keep,
    log,
    quiet,
)
from rackmodel.engine.instructions import State, Tables
from rackmodel.engine.script import MOST_TAKEN
from rackmodel.network import fluid_compiled as fluid
from rackmodel.network.event_heap import (
    NORMAL,
    OVERFLOW,
    SIZE,
    URGENT,
    Clock,
    drop_first,
    numbers,
    schedule,
)
from rackmodel.network.fluid_arrays import Fluid
from rackmodel.network.machine_code import Whole, part

ENDED, TOO_SLOW, FULL = range(3)
ONCE, BOTH, BEGUN, OVER = numbers((0, 2, 1, -1))


@part
def _ring(t: Tables, s: State, c: Clock, f: Fluid, meant: float) -> None:
    for k in range(fluid.ring(f, c, meant, s.ended)):
        exchange = fluid.release(f, s.ended[k])
        s.exchanges[exchange, at.LEFT] -= 1
        if s.exchanges[exchange, at.LEFT] == 0:
            number = after_round(t, s, c, exchange, s.exchanges[exchange, at.ROUND])
            if number >= 0:
                proceed(t, s, c, f, exchange, number)
    fluid.after_ring(f, c)


@part
def _walk(t: Tables, s: State, c: Clock, f: Fluid, rank: int) -> None:
    """Let a rank class go on from what it waited for to what it has to wait for next."""
    if s.ranks[rank, at.WAIT] == at.FOR_BEGIN:
        s.ranks[rank, at.WAIT] = FOR_NOTHING
        schedule(c, t.begin_s[rank], NORMAL, RESUME, rank, 0.0)
        return
    _settle(t, s, c, rank)
    while not c.counts[OVERFLOW]:
        script, piece = s.ranks[rank, at.SCRIPT], s.ranks[rank, at.PIECE]
        if script == t.ranks[rank, at.END_SCRIPT]:
            schedule(c, 0.0, NORMAL, NOTHING, rank, 0.0)
            return
        cut, slot = t.scripts[script, at.CUT], t.scripts[script, at.SLOT]
        row = t.cuts[cut] + piece
        if row == t.cuts[cut + 1]:
            if s.ranks[rank, at.RECORD] >= 0:
                keep(t, s, c, rank, t.stretch_of[rank, slot])
            _next_script(s, rank)
            continue
        lock = t.lock_of[rank, slot] if slot >= 0 else -1
        if lock >= 0 and piece == t.locks[lock, at.BEGIN] and _in_lockstep(t, s, c, rank, lock):
            return
        stretch = t.stretch_of[rank, slot] if slot >= 0 else -1
        if stretch >= 0 and as_before(t, s, c, rank, stretch):
            return
        s.ranks[rank, at.PIECE] = piece + 1
        s.clocks[rank, at.START] = c.now[0]
        kind = t.pieces[row, at.KIND]
        if kind == at.IS_RUN:
            _run(s, c, rank, t.work_s[row])
            return
        if kind == at.IS_JOIN:
            exchange = _join(t, s, c, f, rank, row)
            waits = FOR_JOIN
            if lock >= 0 and piece + 1 == t.locks[lock, at.BEGIN]:
                waits = FOR_TEAM
        elif kind == at.IS_PASS:
            exchange = _pass(t, s, c, f, rank, row)
            waits = FOR_PASS
        else:
            exchange = take_token(s, rank, t.pieces[row, at.TOKEN])
            waits = FOR_HOLD
        if exchange < 0:
            continue
        s.ranks[rank, at.WAIT], s.ranks[rank, at.ON] = waits, exchange
        if waits != FOR_HOLD:
            if s.exchanges[exchange, at.EVENT] == PROCESSED:
                _settle(t, s, c, rank)
                continue
            add_call(s, c, s.exchanges, exchange, TO_RESUME, rank)
        elif _hold_is_over(s, c, rank):
            _settle(t, s, c, rank)
            continue
        return


@part
def _next_script(s: State, rank: int) -> None:
    s.ranks[rank, at.SCRIPT] += 1
    s.ranks[rank, at.PIECE] = 0
    s.ranks[rank, at.AGREED], s.ranks[rank, at.RECORD], s.ranks[rank, at.ASKED] = -1, -1, 0


@part
def _in_lockstep(t: Tables, s: State, c: Clock, rank: int, lock: int) -> bool:
    """Begin a lockstep, unless something in flight could disturb it."""
    if s.ranks[rank, at.AGREED] < 0:
        s.ranks[rank, at.AGREED] = quiet(t.lock_uses, t, s, rank, lock)
    if s.ranks[rank, at.AGREED] == 0:
        return False
    s.clocks[rank, at.START] = c.now[0]
    for k in range(t.locks[lock, at.FIRST_TURN], t.locks[lock, at.END_TURN]):
        s.turn[rank, t.turns[k, 0]] += t.turns[k, 1]
    s.ranks[rank, at.WAIT], s.ranks[rank, at.ON] = FOR_LOCKSTEP, lock
    schedule(c, t.lock_s[lock], NORMAL, RESUME, rank, 0.0)
    return True


@part
def _settle(t: Tables, s: State, c: Clock, rank: int) -> None:
    """Log what the rank class waited for, now that it is over."""
    waits, on = s.ranks[rank, at.WAIT], s.ranks[rank, at.ON]
    if waits == FOR_NOTHING:
        return
    if waits == FOR_MATES:
        gathered(t, s, c, on)
        return
    s.ranks[rank, at.WAIT] = FOR_NOTHING
    script, piece = s.ranks[rank, at.SCRIPT], s.ranks[rank, at.PIECE]
    cut = t.scripts[script, at.CUT]
    item, start = t.scripts[script, at.ITEM], s.clocks[rank, at.START]
    if waits == FOR_LOCKSTEP:
        log(s, c, rank, (LOCKSTEP, item, piece, NO, on), (start, 0.0))
        _next_script(s, rank)
        return
    row = t.cuts[cut] + piece - 1
    place = t.pieces[row, at.PLACE]
    if waits == FOR_RUN:
        log(s, c, rank, (RUN, item, place, NO, NO), (start, 0.0))
        return
    exchange, kind = on, JOIN
    if waits == FOR_HOLD:
        exchange, kind = (s.flights[on >> 1, at.EXCHANGE] if on & 1 else on >> 1), HOLD
    elif waits == FOR_PASS:
        kind = PASS
    elif waits == FOR_TEAM:
        lock = t.lock_of[rank, t.scripts[script, at.SLOT]]
        if s.exchanges[exchange, at.QUIET] < 0:
            agreed = 1
            for k in range(t.locks[lock, at.FIRST_MEMBER], t.locks[lock, at.END_MEMBER]):
                agreed = min(agreed, quiet(t.lock_uses, t, s, t.team[k], lock))
            s.exchanges[exchange, at.QUIET] = agreed
        s.ranks[rank, at.AGREED] = s.exchanges[exchange, at.QUIET]
    if kind == JOIN:
        s.clocks[rank, at.HEARD] = c.now[0]
    channel = t.meetings[s.exchanges[exchange, at.MEETING], at.OF_CHANNEL]
    log(s, c, rank, (kind, item, place, channel, NO), (start, s.begin_s[exchange]))


@part
def _run(s: State, c: Clock, rank: int, work_s: float) -> None:
    s.ranks[rank, at.WAIT] = FOR_RUN
    if s.ranks[rank, at.FLYING] == 0:
        schedule(c, work_s, NORMAL, RESUME, rank, 0.0)
        return
    s.ranks[rank, at.RUNNING] = 1
    s.clocks[rank, at.WORK] = work_s
    _retime(s, c, rank)


@part
def _speed_beside(share: float) -> float:
    return 1.0 - min(share, MOST_TAKEN)


@part
def _retime(s: State, c: Clock, rank: int) -> None:
    if not s.ranks[rank, at.RUNNING]:
        return
    s.clocks[rank, at.SINCE] = c.now[0]
    s.ranks[rank, at.RETIMED] += 1
    lasts = s.clocks[rank, at.WORK] / _speed_beside(s.clocks[rank, at.TAKEN])
    schedule(c, lasts, NORMAL, ALARM, rank, float(s.ranks[rank, at.RETIMED]))


@part
def _take(s: State, c: Clock, rank: int, share: float) -> None:
    if share == 0:
        return
    if s.ranks[rank, at.RUNNING]:
        spent = c.now[0] - s.clocks[rank, at.SINCE]
        left = s.clocks[rank, at.WORK] - spent * _speed_beside(s.clocks[rank, at.TAKEN])
        s.clocks[rank, at.WORK] = max(0.0, left)
        s.clocks[rank, at.SINCE] = c.now[0]
    s.clocks[rank, at.TAKEN] += share
    if abs(s.clocks[rank, at.TAKEN]) < 1e-12:
        s.clocks[rank, at.TAKEN] = 0.0
    _retime(s, c, rank)


@part
def _fly(s: State, rank: int, channel: int, change: int) -> None:
    s.flying[rank, channel] += change
    s.ranks[rank, at.FLYING] += change


@part
def _join(t: Tables, s: State, c: Clock, f: Fluid, rank: int, row: int) -> int:
    """Reach a collective; return the exchange that the rank class has to wait for, or -1."""
    channel, name, stream = t.pieces[row, 1], t.pieces[row, 2], t.pieces[row, 3]
    turn = s.turn[rank, name]
    s.turn[rank, name] = turn + 1
    token = t.pieces[row, at.TOKEN]
    if token < 0:
        item = t.scripts[s.ranks[rank, at.SCRIPT], at.ITEM]
        return join(t, s, c, f, rank, (channel, name, turn, item))
    flight = new_flight(t, s, c, rank, row)
    s.flights[flight, at.AT_NAME], s.flights[flight, at.AT_TURN] = name, turn
    set_token(s, rank, token, 2 * flight + 1)
    _fly(s, rank, channel, BEGUN)
    before = s.tails[rank, stream]
    s.tails[rank, stream] = flight
    if before < 0 or s.flights[before, at.EVENT] != PENDING:
        _launch(t, s, c, f, flight)
    else:
        add_call(s, c, s.flights, before, TO_LAUNCH, flight)
    return -1


@part
def _launch(t: Tables, s: State, c: Clock, f: Fluid, flight: int) -> None:
    rank, channel = s.flights[flight, at.RANK], s.flights[flight, at.VIA]
    _take(s, c, rank, t.share[channel])
    name, turn = s.flights[flight, at.AT_NAME], s.flights[flight, at.AT_TURN]
    item = s.flights[flight, at.OF_ITEM]
    exchange = join(t, s, c, f, rank, (channel, name, turn, item))
    s.launched_s[flight] = c.now[0]
    s.flights[flight, at.EXCHANGE] = exchange
    add_call(s, c, s.exchanges, exchange, TO_LAND, flight)


@part
def _pass(t: Tables, s: State, c: Clock, f: Fluid, rank: int, row: int) -> int:
    """Reach one end of a send; return the exchange that the rank class has to wait for, or -1."""
    channel, name, sending = t.pieces[row, 1], t.pieces[row, 2], t.pieces[row, at.SENDING]
    meeting = t.joined[channel, rank] if sending else t.received[channel, rank]
    exchange = arrive(t, s, c, f, meeting, name, ONCE, BOTH)
    token = t.pieces[row, at.TOKEN]
    if token < 0:
        return exchange
    set_token(s, rank, token, 2 * exchange)
    _fly(s, rank, channel, BEGUN)
    flight = new_flight(t, s, c, rank, row)
    s.flights[flight, at.TOLD], s.flights[flight, at.EXCHANGE] = sending, exchange
    s.launched_s[flight] = c.now[0]
    add_call(s, c, s.exchanges, exchange, TO_LAND_SEND, flight)
    return -1


@part
def _hold_is_over(s: State, c: Clock, rank: int) -> bool:
    """Tell whether what a token stands for has ended; if not, be called then."""
    on = s.ranks[rank, at.ON]
    events = s.flights if on & 1 else s.exchanges
    if events[on >> 1, at.EVENT] == PROCESSED:
        return True
    add_call(s, c, events, on >> 1, TO_RESUME, rank)
    return False


@part
def _call(t: Tables, s: State, c: Clock, f: Fluid, events: Ints, event: int) -> None:
    """Let an event happen: call whoever asked for it, in order."""
    node = events[event, at.FIRST_CALL]
    events[event, at.EVENT] = PROCESSED
    while node >= 0 and not c.counts[OVERFLOW]:
        what, whom, after = s.calls[node, 0], s.calls[node, 1], s.calls[node, 2]
        s.calls[node, 2] = s.counts[at.FREE_CALL]
        s.counts[at.FREE_CALL] = node
        node = after
        if what == TO_RESUME:
            _walk(t, s, c, f, whom)
        elif what == TO_LAUNCH:
            _launch(t, s, c, f, whom)
        else:
            _land(t, s, c, whom, what == TO_LAND)


@part
def _land(t: Tables, s: State, c: Clock, flight: int, collective: bool) -> None:
    """End an asynchronous exchange of one rank class; a send is told by its sender."""
    rank, channel = s.flights[flight, at.RANK], s.flights[flight, at.VIA]
    if collective:
        _take(s, c, rank, -t.share[channel])
        s.clocks[rank, at.HEARD] = c.now[0]
    _fly(s, rank, channel, OVER)
    if collective or s.flights[flight, at.TOLD]:
        item, place = s.flights[flight, at.OF_ITEM], s.flights[flight, at.OF_PLACE]
        begin_s = s.begin_s[s.flights[flight, at.EXCHANGE]]
        told = ASYNC, item, place, channel, NO
        log(s, c, rank, told, (s.launched_s[flight], begin_s))
    if collective:
        s.flights[flight, at.EVENT] = TRIGGERED
        schedule(c, 0.0, NORMAL, FLIGHT_DONE, flight, 0.0)


def work(t: Tables, s: State, c: Clock, f: Fluid, limit_s: float) -> int:
    """Let all rank classes walk their programs; return how that ended."""
    fluid.begin(f)
    for rank in range(len(t.ranks)):
        schedule(c, 0.0, URGENT, RESUME, rank, 0.0)
    while c.counts[SIZE] > 0:
        when, carried, kind, arg = c.times[0, 0], c.times[0, 1], c.keys[0, 1], c.keys[0, 2]
        if when > limit_s:
            return TOO_SLOW
        drop_first(c)
        c.now[0] = when
        if kind == RESUME:
            _walk(t, s, c, f, arg)
        elif kind == EXCHANGE_DONE:
            _call(t, s, c, f, s.exchanges, arg)
        elif kind == FLIGHT_DONE:
            _call(t, s, c, f, s.flights, arg)
        elif kind == ALARM:
            if carried == s.ranks[arg, at.RETIMED]:
                s.ranks[arg, at.RUNNING] = 0
                schedule(c, 0.0, NORMAL, RESUME, arg, 0.0)
        elif kind == fluid.RING:
            _ring(t, s, c, f, carried)
        elif kind == fluid.SOLVE:
            fluid.solve(f, c)
        elif kind == PAUSE:
            proceed(t, s, c, f, arg, s.exchanges[arg, at.ROUND] + 1)
        if c.counts[OVERFLOW]:
            return FULL
    return ENDED


OWN = (
    "compiled",
    "compiled_exchanges",
    "compiled_stretches",
    "instructions",
    "rank_logs",
    "script",
)
run = Whole(work, (*(f"rackmodel.engine.{name}" for name in OWN), *fluid.PARTS))
