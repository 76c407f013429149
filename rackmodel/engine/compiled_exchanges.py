"""Exchanges compiled: who has come, when bytes set off, who is called at the end.

In:  arrivals of rank classes; rounds of flows that have ended.
Out: exchanges that begin, go on and end on the clock; lists of calls and tokens.
Left out: what rank classes do before and after (`compiled`).
"""

from rackmodel.columns import Ints
from rackmodel.engine import instructions as at
from rackmodel.engine.instructions import State, Tables
from rackmodel.network import fluid_compiled as fluid
from rackmodel.network.event_heap import NORMAL, OVERFLOW, Clock, numbers, schedule
from rackmodel.network.fluid_arrays import Fluid
from rackmodel.network.machine_code import part

# kinds of events, after those of the fluid network
RESUME, NOTHING, ALARM, EXCHANGE_DONE, FLIGHT_DONE, PAUSE = numbers(range(2, 8))
(FIRST_OF_ALL,) = numbers([0])
PENDING, TRIGGERED, PROCESSED = range(3)
PART_BIT = 32  # above the names of collectives


@part
def arrive(
    t: Tables, s: State, c: Clock, f: Fluid, meeting: int, name: int, turn: int, needed: int
) -> int:
    """Note that one more has reached an exchange; begin it when it was the last one missing.

    With fewer than its members it takes what it does alone.
    """
    before, exchange = -1, s.open[meeting]
    while exchange >= 0 and (
        s.exchanges[exchange, at.BY_NAME] != name or s.exchanges[exchange, at.BY_TURN] != turn
    ):
        before, exchange = exchange, s.exchanges[exchange, at.NEXT_OPEN]
    if exchange < 0:
        before, exchange = -1, s.counts[at.EXCHANGES]
        if exchange + 1 == len(s.exchanges):
            c.counts[OVERFLOW] = 1
            return int(exchange)
        s.counts[at.EXCHANGES] += 1
        s.exchanges[exchange, at.MEETING], s.exchanges[exchange, at.MISSING] = meeting, needed
        s.exchanges[exchange, at.BY_NAME], s.exchanges[exchange, at.BY_TURN] = name, turn
        s.exchanges[exchange, at.NEXT_OPEN] = s.open[meeting]
        s.exchanges[exchange, at.EVENT], s.exchanges[exchange, at.QUIET] = PENDING, -1
        s.exchanges[exchange, at.FIRST_CALL], s.exchanges[exchange, at.LAST_CALL] = -1, -1
        s.begin_s[exchange] = 0.0
        s.open[meeting] = exchange
    s.exchanges[exchange, at.MISSING] -= 1
    if s.exchanges[exchange, at.MISSING] == 0:
        after = s.exchanges[exchange, at.NEXT_OPEN]
        if before < 0:
            s.open[meeting] = after
        else:
            s.exchanges[before, at.NEXT_OPEN] = after
        s.begin_s[exchange] = c.now[0]
        if t.meetings[meeting, at.QUICK] or needed < t.meetings[meeting, at.NEEDED]:
            _finish(s, c, exchange, t.alone_s[meeting])
        else:
            proceed(t, s, c, f, exchange, FIRST_OF_ALL)
    return int(exchange)


@part
def join(
    t: Tables, s: State, c: Clock, f: Fluid, rank: int, place: tuple[int, int, int, int]
) -> int:
    """Note that a rank class has reached a collective: its channel, name, turn, and the item."""
    channel, name, turn, item = place
    meeting = t.joined[channel, rank]
    needed = t.meetings[meeting, at.NEEDED]
    if item < t.until[rank]:  # at the beginning those of its part alone meet
        part_of = t.part[rank]
        name += (part_of + 1) << PART_BIT
        needed = t.needed_of[meeting, part_of]
    return int(arrive(t, s, c, f, meeting, name, turn, needed))


@part
def proceed(t: Tables, s: State, c: Clock, f: Fluid, exchange: int, number: int) -> None:
    """Send the bytes of a round, or of the first after it that has any."""
    meeting = s.exchanges[exchange, at.MEETING]
    first, end = t.meetings[meeting, at.FIRST_ROUND], t.meetings[meeting, at.END_ROUND]
    while number >= 0:
        if first + number == end:
            _finish(s, c, exchange, 0.0)
            return
        one, last = t.rounds[first + number], t.rounds[first + number + 1]
        if last > one:
            s.exchanges[exchange, at.ROUND], s.exchanges[exchange, at.LEFT] = number, last - one
            for k in range(one, last):
                fluid.start(f, c, t.flow[k], t.bytes[k], exchange)
            fluid.wake(f, c)
            return
        number = after_round(t, s, c, exchange, number)


@part
def after_round(t: Tables, s: State, c: Clock, exchange: int, number: int) -> int:
    """Let pass what is fixed after a round; return the next one if it begins at once, or -1."""
    meeting = s.exchanges[exchange, at.MEETING]
    row = t.meetings[meeting, at.FIRST_ROUND] + number
    latency_s = t.latency_s[row]
    if row + 1 == t.meetings[meeting, at.END_ROUND]:
        _finish(s, c, exchange, latency_s)
        return -1
    if latency_s > 0:
        s.exchanges[exchange, at.ROUND] = number
        schedule(c, latency_s, NORMAL, PAUSE, exchange, 0.0)
        return -1
    return number + 1


@part
def _finish(s: State, c: Clock, exchange: int, delay_s: float) -> None:
    s.exchanges[exchange, at.EVENT] = TRIGGERED
    schedule(c, delay_s, NORMAL, EXCHANGE_DONE, exchange, 0.0)


@part
def add_call(s: State, c: Clock, events: Ints, event: int, what: int, whom: int) -> None:
    """Have something called when an event happens, after what was asked for before."""
    node = s.counts[at.FREE_CALL]
    if node >= 0:
        s.counts[at.FREE_CALL] = s.calls[node, 2]
    else:
        node = s.counts[at.CALLS]
        if node == len(s.calls):
            c.counts[OVERFLOW] = 1
            return
        s.counts[at.CALLS] += 1
    s.calls[node, 0], s.calls[node, 1], s.calls[node, 2] = what, whom, -1
    last = events[event, at.LAST_CALL]
    events[event, at.LAST_CALL] = node
    if last >= 0:
        s.calls[last, 2] = node
    else:
        events[event, at.FIRST_CALL] = node


@part
def new_flight(t: Tables, s: State, c: Clock, rank: int, row: int) -> int:
    """Note an asynchronous exchange of a rank class that begins at a piece."""
    flight = s.counts[at.FLIGHTS]
    if flight + 1 == len(s.flights):
        c.counts[OVERFLOW] = 1
        return int(flight)
    s.counts[at.FLIGHTS] += 1
    s.flights[flight, at.RANK], s.flights[flight, at.EXCHANGE] = rank, -1
    s.flights[flight, at.VIA] = t.pieces[row, at.CHANNEL]
    s.flights[flight, at.OF_ITEM] = t.scripts[s.ranks[rank, at.SCRIPT], at.ITEM]
    s.flights[flight, at.OF_PLACE], s.flights[flight, at.EVENT] = t.pieces[row, at.PLACE], PENDING
    s.flights[flight, at.FIRST_CALL], s.flights[flight, at.LAST_CALL] = -1, -1
    return int(flight)


@part
def set_token(s: State, rank: int, token: int, what: int) -> None:
    """Note what a token of a rank class stands for."""
    of = token % s.token_at.shape[1]
    node = s.token_at[rank, of]
    while node >= 0:
        if s.tokens[node, 0] == token:
            s.tokens[node, 1] = what
            return
        node = s.tokens[node, 2]
    node = s.counts[at.FREE_TOKEN]
    if node >= 0:
        s.counts[at.FREE_TOKEN] = s.tokens[node, 2]
    else:
        node = s.counts[at.TOKEN_NODES]
        s.counts[at.TOKEN_NODES] += 1
    s.tokens[node, 0], s.tokens[node, 1] = token, what
    s.tokens[node, 2] = s.token_at[rank, of]
    s.token_at[rank, of] = node


@part
def take_token(s: State, rank: int, token: int) -> int:
    """Take a token; return what it stands for."""
    of = token % s.token_at.shape[1]
    before, node = -1, s.token_at[rank, of]
    while s.tokens[node, 0] != token:
        before, node = node, s.tokens[node, 2]
    if before < 0:
        s.token_at[rank, of] = s.tokens[node, 2]
    else:
        s.tokens[before, 2] = s.tokens[node, 2]
    s.tokens[node, 2] = s.counts[at.FREE_TOKEN]
    s.counts[at.FREE_TOKEN] = node
    return int(s.tokens[node, 1])
