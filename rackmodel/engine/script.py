"""What a rank class does in a segment, with durations: runs of kernels, meetings, waits.

In:  a segment's operations, seconds of each `Compute`, the meeting kinds that the rank class joins.
Out: `Script`: the sequence that the simulation walks through; `play`: the same sequence on a clock
     of its own, as a `Lockstep` runs that nobody outside can disturb.
Left out: meeting others, for which see `ranks`.

Ranks of one class are always at the same point. If a segment's collectives use links that only the
group's own members load, and all classes of the team are at the same point, then nothing that other
ranks do changes how long the rest of the segment takes: its duration is worked out once and used
for every micro-batch. This is exact, not an approximation; the condition is checked each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from rackmodel.workload.operations import Collective, Compute, Numbered, Operation, Recv, Send, Wait

MOST_TAKEN = 0.5  # of the compute units, however many collectives are in flight: assumed


class KernelRun(NamedTuple):
    """Kernels that follow one another without waiting; `parts` are (operation, seconds)."""

    first: int
    work_s: float
    parts: tuple[tuple[int, float], ...]


class Join(NamedTuple):
    """A collective that the rank joins; on `stream` with a token, otherwise it waits for the
    end."""

    place: int
    channel: int
    axis: str
    stream: str
    token: str | None


class Pass(NamedTuple):
    """One end of a send; `sending` or receiving."""

    place: int
    channel: int
    name: str
    peer: int
    sending: bool
    token: str | None


class Hold(NamedTuple):
    """Wait for a token."""

    place: int
    token: str


Piece: TypeAlias = KernelRun | Join | Pass | Hold


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut(Numbered):
    """An item of a program, cut for rank classes that do the same in it.

    joins : its collectives, each with its place among the pieces. passes : whether it sends or
    receives.
    """

    pieces: tuple[Piece, ...]
    joins: tuple[tuple[int, Join], ...] = ()
    passes: bool = False

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Cut:
        """Return the cut of such pieces."""
        joins = tuple((at, one) for at, one in enumerate(pieces) if isinstance(one, Join))
        passes = any(isinstance(one, Pass) for one in pieces)
        return cls(pieces=tuple(pieces), joins=joins, passes=passes)


Turns: TypeAlias = tuple[tuple[str, str, int], ...]  # of collectives: axis, stream, how often


class Entry(NamedTuple):
    """Part of a segment worked out once: [start, end) relative to the segment's lockstep start.

    kind : "run", "join" (a collective that the rank waits for, or an asynchronous one), "hold".
    begin_s : when the bytes that are waited for set off.
    """

    kind: str
    place: int
    start_s: float
    end_s: float
    begin_s: float
    axis: str = ""


class Lockstep(NamedTuple):
    """A stretch of a segment that takes the same time whenever it is not disturbed."""

    key: Hashable  # what it was worked out from: equal keys have equal entries
    begin: int  # piece where it begins
    total_s: float
    entries: tuple[Entry, ...]
    channels: frozenset[int]  # that it uses or that share a link with one that it uses
    joins: Turns
    team: tuple[int, ...]


def pieces_of(
    operations: Sequence[Operation],
    compute_s: Callable[[Compute], float],
    channel_of: Callable[[Operation], int | None],
    gone: set[str],
    silent: set[int],
) -> Cut:
    """Turn operations into pieces; collectives of a group of one vanish.

    compute_s : seconds of a `Compute`. channel_of : the channel of a communication, None if it
        moves nothing.
    gone, silent : tokens of collectives that vanished and ids of what leaves no trace, in the whole
        program; added to.
    """
    pieces: list[Piece] = []
    run: list[tuple[int, float]] = []

    def close() -> None:
        if run:
            pieces.append(KernelRun(run[0][0], sum([s for _, s in run]), tuple(run)))
            run.clear()

    for place, operation in enumerate(operations):
        match operation:
            case Compute():
                run.append((place, compute_s(operation)))
            case Wait():
                if operation.token in gone:
                    silent.add(operation.id)
                    continue
                close()
                pieces.append(Hold(place, operation.token))
            case Collective():
                channel = channel_of(operation)
                if channel is None:
                    silent.add(operation.id)
                    if operation.token is not None:
                        gone.add(operation.token)
                    continue
                close()
                pieces.append(
                    Join(place, channel, operation.axis, operation.stream, operation.token)
                )
            case Send() | Recv():
                channel = channel_of(operation)
                assert channel is not None, "two pipeline ranks always have a channel"
                close()
                sending = isinstance(operation, Send)
                pieces.append(
                    Pass(place, channel, operation.name, operation.peer, sending, operation.token)
                )
    close()
    return Cut.of(pieces)


def meeting_points(pieces: Sequence[Piece]) -> Iterator[tuple[int, Join]]:
    """Return collectives that are waited for while none begun in these pieces is in flight.

    >>> begun, other = (Join(n, n, "tp", "tp", token) for n, token in ((0, "t"), (2, None)))
    >>> [place for place, _ in meeting_points([begun, Hold(1, "t"), other])]
    [2]
    >>> list(meeting_points([begun, other, Hold(1, "t")]))
    []
    """
    flying = set[str]()
    for place, piece in enumerate(pieces):
        if isinstance(piece, Hold):
            flying.discard(piece.token)
        elif isinstance(piece, Join):
            if piece.token is not None:
                flying.add(piece.token)
            elif not flying:
                yield place, piece


class Played(NamedTuple):
    """What `play` has worked out.

    closed : nothing came in from outside, none is left in flight at the end, and no two collectives
    that share links were in flight together.
    """

    entries: tuple[Entry, ...]
    end_s: float
    closed: bool


def play(
    pieces: Sequence[Piece],
    exchange_of: Callable[[int], tuple[float, float]],
    conflicts: Callable[[int], frozenset[int]] = lambda channel: frozenset(),
) -> Played:
    """Follow pieces on a clock of their own, as if nobody else were there.

    Collectives with a token run beside kernels, in order on their stream, and take a share of the
    compute units meanwhile.

    Parameters
    ----------
    exchange_of : seconds of the collective of a channel, undisturbed, and the share of the compute
        units that it takes from kernels beside it.
    conflicts : channels that share a link with a channel.

    Examples
    --------
    >>> total = Join(0, channel=0, axis="tp", stream="tp", token="t")
    >>> gemm = KernelRun(1, work_s=1.0, parts=((1, 1.0),))
    >>> play([total, gemm, Hold(2, "t")], lambda channel: (3.0, 0.0)).end_s
    3.0
    """
    now, closed = 0.0, True
    entries: list[Entry] = []
    free: dict[str, float] = {}
    ends: dict[str, tuple[float, float, str]] = {}
    busy: list[tuple[float, float, float, int]] = []  # (start, end, share, channel)
    for piece in pieces:
        if busy:  # what has ended disturbs nobody that begins from now on
            busy = [one for one in busy if one[1] > now]
        match piece:
            case KernelRun():
                start, now = now, _end_of_run(now, piece.work_s, busy)
                entries.append(Entry("run", piece.first, start, now, start))
            case Join():
                start = max(now, free.get(piece.stream, 0.0)) if piece.token else now
                if any(end > start and c in conflicts(piece.channel) for _, end, _, c in busy):
                    closed = False
                seconds, share = exchange_of(piece.channel)
                end = start + seconds
                busy.append((start, end, share, piece.channel))
                if piece.token is None:
                    entries.append(Entry("join", piece.place, now, end, now, piece.axis))
                    now = end
                else:
                    free[piece.stream] = end
                    ends[piece.token] = (start, end, piece.axis)
                    entries.append(Entry("async", piece.place, start, end, start, piece.axis))
            case Hold() if piece.token in ends:
                start, end, axis = ends.pop(piece.token)
                entries.append(Entry("hold", piece.place, now, max(now, end), start, axis))
                now = max(now, end)
            case _:
                closed = False  # with others, or begun outside of these pieces
    return Played(tuple(entries), now, closed and not ends)


def _end_of_run(
    now: float,
    work_s: float,
    busy: Sequence[tuple[float, float, float, int]],
) -> float:
    """Return when kernels end that begin at `now`, slowed while collectives take compute units."""
    if not busy:
        return now + work_s
    while True:
        taken = sum(share for start, end, share, _ in busy if start <= now < end)
        changes = [at for start, end, _, _ in busy for at in (start, end) if at > now]
        until = min(changes, default=math.inf)
        speed = speed_beside(taken)
        end = now + work_s / speed
        if end <= until:
            return end
        work_s -= (until - now) * speed
        now = until


def speed_beside(share: float) -> float:
    """Return how fast kernels run beside collectives that take `share` of the compute units."""
    return 1.0 - (share if share < MOST_TAKEN else MOST_TAKEN)
