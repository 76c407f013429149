"""The scripts of all rank classes as arrays, for compiled code.

In:  a simulation's cuts, locksteps, meetings.
Out: `Tables`, which never change, and `State`, before anything has happened.
Left out: time (`compiled`); flows (`network.fluid_arrays`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Bools, Floats, Ints
from rackmodel.engine.quotient import MeetingKind, Quotient
from rackmodel.engine.ranks import Late
from rackmodel.engine.script import Cut, Hold, Join, KernelRun, Lockstep, Pass, Piece
from rackmodel.engine.stretches import Lock, Record, Stretch

T = TypeVar("T", Lockstep, Stretch)

# kinds of pieces
IS_RUN, IS_JOIN, IS_PASS, IS_HOLD = range(4)
# columns of `Tables.pieces`: NAME is the axis and stream of a collective, the name of a send
KIND, CHANNEL, NAME, STREAM, TOKEN, PLACE = range(6)
SENDING = STREAM  # of a send
ITEM, CUT, SLOT = range(3)  # of `Tables.scripts`
FIRST_SCRIPT, END_SCRIPT = range(2)  # of `Tables.ranks`
BEGIN, FIRST_TURN, END_TURN, FIRST_MEMBER, END_MEMBER = range(5)  # of `Tables.locks`
FIRST_MATE, END_MATE, FIRST_RECORD, FIRST_TOTAL = range(4)  # of `Tables.stretches`
IN_ITEM, KNOWN, OVER = range(3)  # of `State.records`
BEGAN, LEAST, LATEST = range(3)  # of `State.record_s`
OF_CHANNEL, NEEDED, QUICK, FIRST_ROUND, END_ROUND = range(5)  # of `Tables.meetings`
# of `State.ranks`
SCRIPT, PIECE, AGREED, WAIT, ON, FLYING, RETIMED, RUNNING, ASKED, RECORD = range(10)
START, TAKEN, WORK, SINCE, HEARD = range(5)  # of `State.clocks`
FOR_BEGIN = 8  # in WAIT: for when it begins; others in `compiled_stretches`
# of `State.exchanges`
MEETING, MISSING, BY_NAME, BY_TURN, NEXT_OPEN, EVENT, FIRST_CALL, LAST_CALL, QUIET, ROUND, LEFT = (
    range(11)
)
# of `State.flights`, with EVENT, FIRST_CALL and LAST_CALL as for exchanges
RANK, VIA, EXCHANGE, OF_ITEM, OF_PLACE, TOLD, AT_NAME, AT_TURN = 0, 1, 2, 3, 4, 8, 9, 10
# of `State.counts`
EXCHANGES, FLIGHTS, CALLS, FREE_CALL, TOKEN_NODES, FREE_TOKEN, LOGGED = range(7)


class Tables(NamedTuple):
    """What R rank classes do; C channels, M meeting kinds, P pieces of distinct cuts.

    A record is a piece of a stretch from which on it may have been kept.
    """

    pieces: Ints  # int[P, 6]
    work_s: Floats  # float[P]
    cuts: Ints  # int[cuts + 1], first piece of each
    scripts: Ints  # int[n, 3], lists of scripts that rank classes share
    ranks: Ints  # int[R, 2]
    lock_of: Ints  # int[R, slots], lockstep of a rank class in a segment, or -1
    locks: Ints  # int[K, 5]
    lock_s: Floats  # float[K]
    lock_uses: Bools  # bool[K, C]
    stretch_of: Ints  # int[R, slots], likewise
    stretches: Ints  # int[S, 4]
    stretch_uses: Bools  # bool[S, C]
    mates: Ints
    starts: Bools  # of each record, whether it may begin there
    turns: Ints  # int[n, 2], axis and stream, how often, of a lockstep's joins
    team: Ints
    joined: Ints  # int[C, R], meeting kind, or -1
    received: Ints  # int[C, R]
    meetings: Ints  # int[M, 5]
    alone_s: Floats  # float[M]
    rounds: Ints  # int[rounds + 1], first flow of each round of each meeting
    latency_s: Floats  # float[rounds]
    flow: Ints
    bytes: Floats
    share: Floats  # float[C], of the compute units
    begin_s: Floats  # float[R], as in `Late`, with until and part
    until: Ints
    part: Ints  # int[R]
    needed_of: Ints  # int[M, parts], members of each part


class State(NamedTuple):
    """What happens: rank classes, exchanges, asynchronous ones on their way, who is called then."""

    ranks: Ints  # int[R, 10]
    clocks: Floats  # float[R, 5]
    turn: Ints  # int[R, axes and streams]
    tails: Ints  # int[R, streams], last flight on each, or -1
    flying: Ints  # int[R, C]
    open: Ints  # int[M], exchanges that wait for members: a list
    exchanges: Ints  # int[X, 11]; the first are gatherings, one of each stretch
    begin_s: Floats  # float[X]
    flights: Ints  # int[Y, 11]
    launched_s: Floats  # float[Y]
    calls: Ints  # int[Z, 3], what, of whom, next
    token_at: Ints  # int[R, W], first token whose name leaves this remainder of W, or -1: a list
    tokens: Ints  # int[Y, 3], name, what (exchange twice, or a flight twice and one), next
    records: Ints  # int[records, 3]
    record_s: Floats  # float[records, 3]
    totals_s: Floats  # of each record, those of its team one after another
    apart: Bools  # bool[S]
    log: npt.NDArray[np.int32]  # int[n, 5], as in `RankLog`
    log_s: Floats  # float[n, 3]
    log_of: npt.NDArray[np.int32]  # int[n], rank class of each entry: they come as they end
    counts: Ints
    ended: Ints  # scratch: slots of flows


class Writer:
    """Writes `Tables` cut by cut."""

    def __init__(self, quotient: Quotient, late: Late | None = None) -> None:
        self.quotient, self.late = quotient, late
        self._names: dict[object, int] = {}
        self.turns: dict[tuple[str, str], int] = {}
        self._streams: dict[str, int] = {}
        self._cut_of: dict[int, int] = {}
        self._pieces: list[tuple[int, ...]] = []
        self._work_s: list[float] = []
        self._cuts = [0]
        self._scripts: list[tuple[int, int, int]] = []
        self._lists: dict[int, tuple[int, int, int, tuple[Cut, ...]]] = {}
        self._ranks: list[tuple[int, int]] = []
        self._lock_of: list[list[int]] = []
        self._lock_at: dict[Lockstep, int] = {}
        self._stretch_of: list[list[int]] = []
        self._stretch_at: dict[Stretch, int] = {}
        self.entries = 0

    def rank(self, items: Sequence[tuple[int, Cut]], locks: dict[int, Lock], key: int) -> None:
        """Add a rank class: (item, cut) in order, locks by cut; equal keys, equal items."""
        if key not in self._lists:
            first = len(self._scripts)
            segments = {cut.id: cut for _, cut in items if cut.id in locks}
            slots = {cut: slot for slot, cut in enumerate(segments)}
            self._scripts += [(n, self._cut(cut), slots.get(cut.id, -1)) for n, cut in items]
            entries = sum(len(cut.pieces) + (cut.id in locks) for _, cut in items)
            self._lists[key] = first, len(self._scripts), entries, tuple(segments.values())
        first, end, entries, cuts = self._lists[key]
        self._ranks.append((first, end))
        self.entries += entries
        mine = [locks[cut.id] for cut in cuts]
        self._lock_of.append([_numbered(self._lock_at, one.steady) for one in mine])
        self._stretch_of.append([_numbered(self._stretch_at, one.stretch) for one in mine])

    def _cut(self, cut: Cut) -> int:
        if cut.id not in self._cut_of:
            self._cut_of[cut.id] = len(self._cut_of)
            for piece in cut.pieces:
                self._pieces.append(self._piece(piece))
                self._work_s.append(piece.work_s if isinstance(piece, KernelRun) else 0.0)
            self._cuts.append(len(self._pieces))
        return self._cut_of[cut.id]

    def _piece(self, piece: Piece) -> tuple[int, ...]:
        match piece:
            case KernelRun():
                return IS_RUN, -1, -1, -1, -1, piece.first
            case Join():
                turn = self.turns.setdefault((piece.axis, piece.stream), len(self.turns))
                stream = self._streams.setdefault(piece.stream, len(self._streams))
                return IS_JOIN, piece.channel, turn, stream, self._name(piece.token), piece.place
            case Pass():
                send, token = self._name(("send", piece.name)), self._name(piece.token)
                return IS_PASS, piece.channel, send, int(piece.sending), token, piece.place
            case Hold():
                return IS_HOLD, -1, -1, -1, self._name(piece.token), piece.place

    def _name(self, what: object) -> int:
        return -1 if what is None else self._names.setdefault(what, len(self._names))

    def kept(self, state: State) -> dict[int, Lockstep | Record]:
        """Return locksteps and records by the numbers that logs have of them."""
        found: dict[int, Lockstep | Record] = dict(enumerate(self._lock_at))
        places = [(one, piece) for one in self._stretch_at for piece in range(len(one.cut.pieces))]
        for place in np.flatnonzero(state.records[:, IN_ITEM] >= 0).tolist():
            item, known, _ = state.records[place].tolist()
            record = Record.at(*places[place], item, float(state.record_s[place, BEGAN]))
            record.known = bool(known)
            found[len(self._lock_at) + place] = record
        return found

    def tables(
        self, alone_s: dict[tuple[int, int], float], quick: list[bool], share: Sequence[float]
    ) -> Tables:
        """Return the tables of all rank classes that were added."""
        q, locks, stretches = self.quotient, tuple(self._lock_at), tuple(self._stretch_at)
        kinds = [kind for channel in q.meetings for kind in channel]
        rounds = [one for kind in kinds for one in kind.rounds]
        turns = [
            (self.turns[axis, stream], times) for one in locks for axis, stream, times in one.joins
        ]
        turn_at = _starts([len(x.joins) for x in locks])
        team_at, mate_at = (_starts([len(x.team) for x in of]) for of in (locks, stretches))
        pieces = [len(one.cut.pieces) for one in stretches]
        totals = [count * len(one.team) for count, one in zip(pieces, stretches, strict=True)]
        round_at = _starts([len(kind.rounds) for kind in kinds])
        at = np.array([one.begin for one in locks], dtype=np.int64)
        meetings = [
            (k.channel, len(k.members), int(fast)) for k, fast in zip(kinds, quick, strict=True)
        ]
        return Tables(
            pieces=_ints(self._pieces, 6),
            work_s=np.array(self._work_s, dtype=np.float64),
            cuts=np.array(self._cuts, dtype=np.int64),
            scripts=_ints(self._scripts, 3),
            ranks=_ints(self._ranks, 2),
            lock_of=_ragged(self._lock_of),
            locks=np.stack([at, turn_at[:-1], turn_at[1:], team_at[:-1], team_at[1:]], axis=1),
            lock_s=np.array([one.total_s for one in locks], dtype=np.float64),
            lock_uses=_uses(locks, len(q.axis)),
            stretch_of=_ragged(self._stretch_of),
            stretches=np.stack(
                [mate_at[:-1], mate_at[1:], _starts(pieces)[:-1], _starts(totals)[:-1]], axis=1
            ),
            stretch_uses=_uses(stretches, len(q.axis)),
            mates=np.array([member for one in stretches for member in one.team], dtype=np.int64),
            starts=np.array(
                [n in one.starts for one in stretches for n in range(len(one.cut.pieces))],
                dtype=bool,
            ),
            turns=_ints(turns, 2),
            team=np.array([member for one in locks for member in one.team], dtype=np.int64),
            joined=self._meeting_of(q.joined),
            received=self._meeting_of(q.received),
            meetings=np.column_stack([_ints(meetings, 3), round_at[:-1], round_at[1:]]),
            alone_s=np.array([alone_s[kind.channel, kind.index] for kind in kinds]),
            rounds=_starts([len(one) for one in rounds]),
            latency_s=np.array([s for kind in kinds for s in kind.round_latency_s], dtype=float),
            flow=np.array([flow for one in rounds for flow, _ in one], dtype=np.int64),
            bytes=np.array([size for one in rounds for _, size in one], dtype=np.float64),
            share=np.array(share, dtype=np.float64),
            **self._late(kinds),
        )

    def _late(self, kinds: Sequence[MeetingKind]) -> dict[str, Any]:
        """Return who begins later, and how many of each part meet until then."""
        late, ranks = self.late, len(self._ranks)
        if late is None:
            late = Late((0.0,) * ranks, (frozenset(),) * ranks, (0,) * ranks)
        numbers = {part: number for number, part in enumerate(dict.fromkeys(late.part))}
        part = np.array([numbers[one] for one in late.part], dtype=np.int64)
        needed = [np.bincount(part[list(kind.members)], minlength=len(numbers)) for kind in kinds]
        return {
            "begin_s": np.array(late.begin_s, dtype=np.float64),
            "until": np.array(late.until, dtype=np.int64),
            "part": part,
            "needed_of": np.array(needed, dtype=np.int64).reshape(len(kinds), len(numbers)),
        }

    def _meeting_of(self, tables: Sequence[dict[int, int]]) -> Ints:
        q = self.quotient
        found = np.full((len(tables), len(self._ranks)), -1, dtype=np.int64)
        first = _starts([len(kinds) for kinds in q.meetings])
        for channel, table in enumerate(tables):
            if table:
                index = np.array(list(table.values()), dtype=np.int64)
                found[channel, list(table)] = first[channel] + index
        return found

    def state(self, tables: Tables, slots: int, room: int) -> State:
        """Return the state before anything has happened, with `room` times the usual space."""
        ranks, channels = len(tables.ranks), len(tables.share)
        counts = np.diff(tables.cuts)
        kinds, asynchronous = tables.pieces[:, KIND], tables.pieces[:, TOKEN] >= 0
        meets = (kinds == IS_JOIN) | (kinds == IS_PASS)
        flies = meets & asynchronous

        def visits(which: Bools) -> int:
            """Count the pieces of a sort that all rank classes go through."""
            inside = np.add.reduceat(np.append(which, False), tables.cuts[:-1]) * (counts > 0)
            before = np.concatenate([[0], np.cumsum(inside[tables.scripts[:, CUT]])])
            return int((before[tables.ranks[:, END_SCRIPT]] - before[tables.ranks[:, 0]]).sum())

        # every exchange of two and more is met by each: half of the visits, and those of one
        exchanges = visits(meets) * (1 if (tables.meetings[:, NEEDED] < 2).any() else 0.5)
        stretches, records = len(tables.stretches), len(tables.starts)
        most_exchanges = int(exchanges) + 64 * room * ranks + stretches
        most_flights = visits(flies) + 1
        state_ranks = np.zeros((ranks, 10), dtype=np.int64)
        state_ranks[:, SCRIPT] = tables.ranks[:, FIRST_SCRIPT]
        state_ranks[:, [AGREED, RECORD]] = -1
        state_ranks[:, WAIT] = 0 if self.late is None else FOR_BEGIN
        several = 64 * room * (ranks + 1)
        # a rank class may hold all its tokens to the end of the step: lists stay short
        lists = min(most_flights // ranks, len(self._names)) + 1
        start = np.zeros(7, dtype=np.int64)
        start[[FREE_CALL, FREE_TOKEN]] = -1
        start[EXCHANGES] = stretches
        exchange_rows = np.empty((most_exchanges, 11), dtype=np.int64)
        exchange_rows[:stretches] = 0
        return State(
            ranks=state_ranks,
            clocks=np.zeros((ranks, 5)),
            turn=np.zeros((ranks, max(1, len(self.turns))), dtype=np.int64),
            tails=np.full((ranks, max(1, len(self._streams))), -1, dtype=np.int64),
            flying=np.zeros((ranks, channels), dtype=np.int64),
            open=np.full(len(tables.meetings), -1, dtype=np.int64),
            exchanges=exchange_rows,
            begin_s=np.empty(most_exchanges),
            flights=np.empty((most_flights, 11), dtype=np.int64),
            launched_s=np.empty(most_flights),
            calls=np.empty((several, 3), dtype=np.int64),
            token_at=np.full((ranks, lists), -1, dtype=np.int64),
            tokens=np.empty((most_flights, 3), dtype=np.int64),
            records=np.tile(np.array([-1, 0, 0], dtype=np.int64), (records, 1)),
            record_s=np.tile(np.array([0.0, np.inf, 0.0]), (records, 1)),
            totals_s=np.empty(sum(len(x.cut.pieces) * len(x.team) for x in self._stretch_at)),
            apart=np.zeros(stretches, dtype=bool),
            log=np.empty((self.entries, 5), dtype=np.int32),
            log_s=np.empty((self.entries, 3)),
            log_of=np.empty(self.entries, dtype=np.int32),
            counts=start,
            ended=np.empty(slots, dtype=np.int64),
        )


def _numbered(numbers: dict[T, int], one: T | None) -> int:
    return -1 if one is None else numbers.setdefault(one, len(numbers))


def _uses(of: Sequence[Lockstep | Stretch], channels: int) -> Bools:
    """Return which channels each uses, or others on the links of these, bool[n, channels]."""
    uses = np.zeros((len(of), channels), dtype=bool)
    for row, one in zip(uses, of, strict=True):
        row[list(one.channels)] = True
    return uses


def _ragged(rows: Sequence[Sequence[int]]) -> Ints:
    """Return rows of unequal length as a table, -1 where they end."""
    width = max(map(len, rows), default=0)
    return _ints([[*row, *[-1] * (width - len(row))] for row in rows], width)


def _ints(rows: Sequence[Sequence[int]], width: int) -> Ints:
    return np.array(rows, dtype=np.int64).reshape(-1 if width else len(rows), width)


def _starts(sizes: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
