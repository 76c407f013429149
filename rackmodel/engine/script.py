"""What a rank class does in a segment, with durations: runs of kernels, meetings, waits.

In:  a segment's operations, seconds of each `Compute`, the meeting kinds that the rank class joins.
Out: `Pieces`: the sequence that the simulation walks through, and `Lockstep`: the same sequence
     worked out once, for when nobody outside can disturb it.
Left out: the clock.

Ranks of one class are always at the same point. If a segment's collectives use links that only the
group's own members load, and all classes of the team are at the same point, then nothing that other
ranks do changes how long the rest of the segment takes: its duration is worked out once and used
for every micro-batch. This is exact, not an approximation; the condition is checked each time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rackmodel.workload.operations import Collective, Compute, Numbered, Operation, Recv, Send, Wait

MOST_TAKEN = 0.5  # of the compute units, however many collectives are in flight: assumed


@dataclass(frozen=True, slots=True)
class Run:
    """Kernels that follow one another without waiting; `parts` are (operation, seconds)."""

    first: int
    work_s: float
    parts: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Join:
    """A collective that the rank joins; on `stream` with a token, otherwise it waits for the
    end."""

    place: int
    channel: int
    axis: str
    stream: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Pass:
    """One end of a send; `sending` or receiving."""

    place: int
    channel: int
    name: str
    peer: int
    sending: bool
    token: str | None


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait for a token."""

    place: int
    token: str


Piece: TypeAlias = Run | Join | Pass | Hold


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut(Numbered):
    """An item of a program, cut for rank classes that do the same in it."""

    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """Part of a segment worked out once: [start, end) relative to the segment's lockstep start.

    kind : "run", "join" (a collective that the rank waits for, or an asynchronous one), "hold".
    """

    kind: str
    place: int
    start_s: float
    end_s: float
    axis: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Lockstep:
    """A stretch of a segment that takes the same time whenever it is not disturbed."""

    key: tuple[float, ...]  # what it was worked out from: equal keys have equal entries
    begin: int  # piece where it begins
    total_s: float
    entries: tuple[Entry, ...]
    channels: frozenset[int]  # that it uses or that share a link with one that it uses
    joins: tuple[tuple[str, str, int], ...]  # (axis, stream, how often)
    team: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Pieces:
    """A segment as one rank class goes through it."""

    pieces: tuple[Piece, ...]
    lockstep: Lockstep | None


def cut(
    operations: Sequence[Operation],
    compute_s: Callable[[Compute], float],
    channel_of: Callable[[Operation], int | None],
    gone: set[str],
) -> Cut:
    """Turn operations into pieces; collectives of a group of one vanish.

    compute_s : seconds of a `Compute`. channel_of : the channel of a communication, None if it
        moves nothing.
    gone : tokens of collectives that vanished, in the whole program; added to.
    """
    pieces: list[Piece] = []
    run: list[tuple[int, float]] = []

    def close() -> None:
        if run:
            pieces.append(Run(run[0][0], sum(s for _, s in run), tuple(run)))
            run.clear()

    for place, operation in enumerate(operations):
        match operation:
            case Compute():
                run.append((place, compute_s(operation)))
            case Wait():
                if operation.token not in gone:
                    close()
                    pieces.append(Hold(place, operation.token))
            case Collective():
                channel = channel_of(operation)
                if channel is None:
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
    return Cut(pieces=tuple(pieces))


def lockstep(
    cut_up: Cut,
    *,
    team_of: Callable[[set[int]], tuple[int, ...]],
    members_of: Callable[[int], tuple[int, ...]],
    alone_s: Callable[[int], float],
    private: Callable[[int], bool],
    conflicts: Callable[[int], frozenset[int]],
    overlap_share: Callable[[int], float],
    memo: dict[tuple[float, ...], tuple[tuple[Entry, ...], float] | None],
) -> Lockstep | None:
    """Work out the longest tail of a segment that only its own team can disturb.

    Parameters
    ----------
    team_of : rank classes that the given channels tie together, this one included.
    members_of : rank classes that meet in a channel. alone_s : seconds of its collective,
        undisturbed.
    private : no rank outside its groups can slow a channel down. conflicts : channels that share a
        link.
    overlap_share : share of the compute units that an asynchronous collective of a channel takes.
    memo : what has been worked out, by id of the cut and seconds of their collectives.

    Returns None if the tail would be no longer than its pieces.
    """
    pieces = cut_up.pieces
    joins = [(i, p) for i, p in enumerate(pieces) if isinstance(p, Join)]
    if any(isinstance(p, Pass) for p in pieces) or not all(private(j.channel) for _, j in joins):
        return None
    used = {j.channel for _, j in joins}
    team = team_of(used)
    begin = 0
    if len(team) > 1:
        meets = [i for i, j in joins if j.token is None and members_of(j.channel) == team]
        if not meets:
            return None
        begin = meets[0] + 1
    open_tokens = {p.token for p in pieces[:begin] if isinstance(p, Join) and p.token is not None}
    if open_tokens or begin >= len(pieces) - 1:
        return None
    key = (cut_up.id, begin, *(alone_s(c) for c in sorted(used)))
    if key not in memo:
        memo[key] = _work_out(pieces[begin:], alone_s, conflicts, overlap_share)
    worked = memo[key]
    if worked is None:
        return None
    entries, total = worked
    later = [join for i, join in joins if i >= begin]
    turns = Counter((join.axis, join.stream) for join in later)
    shared = frozenset().union(used, *(conflicts(c) for c in used))
    return Lockstep(
        key,
        begin,
        total,
        entries,
        shared,
        tuple((axis, stream, n) for (axis, stream), n in turns.items()),
        team,
    )


def _work_out(
    pieces: Sequence[Piece],
    alone_s: Callable[[int], float],
    conflicts: Callable[[int], frozenset[int]],
    overlap_share: Callable[[int], float],
) -> tuple[tuple[Entry, ...], float] | None:
    """Follow the pieces on a clock of their own; None if two collectives in flight share links."""
    now = 0.0
    entries: list[Entry] = []
    free: dict[str, float] = {}
    ends: dict[str, tuple[float, str]] = {}
    busy: list[tuple[float, float, int]] = []  # (start, end, channel) of collectives
    for piece in pieces:
        match piece:
            case Run():
                start, now = now, _end_of_run(now, piece.work_s, busy, overlap_share)
                entries.append(Entry("run", piece.first, start, now))
            case Join():
                start = max(now, free.get(piece.stream, 0.0)) if piece.token else now
                if any(end > start and c in conflicts(piece.channel) for _, end, c in busy):
                    return None
                end = start + alone_s(piece.channel)
                busy.append((start, end, piece.channel))
                if piece.token is None:
                    entries.append(Entry("join", piece.place, now, end, piece.axis))
                    now = end
                else:
                    free[piece.stream] = end
                    ends[piece.token] = (end, piece.axis)
                    entries.append(Entry("async", piece.place, start, end, piece.axis))
            case Hold():
                if piece.token not in ends:
                    return None  # started outside this stretch
                end, axis = ends.pop(piece.token)
                entries.append(Entry("hold", piece.place, now, max(now, end), axis))
                now = max(now, end)
            case Pass():
                return None
    if ends:
        return None  # still in flight at the end
    return tuple(entries), now


def _end_of_run(
    now: float,
    work_s: float,
    busy: Sequence[tuple[float, float, int]],
    overlap_share: Callable[[int], float],
) -> float:
    """Return when kernels end that begin at `now`, slowed while collectives take compute units."""
    while True:
        taken = sum(overlap_share(c) for start, end, c in busy if start <= now < end)
        changes = [at for start, end, _ in busy for at in (start, end) if at > now]
        until = min(changes, default=math.inf)
        speed = speed_beside(taken)
        end = now + work_s / speed
        if end <= until:
            return end
        work_s -= (until - now) * speed
        now = until


def speed_beside(share: float) -> float:
    """Return how fast kernels run beside collectives that take `share` of the compute units."""
    return 1.0 - min(share, MOST_TAKEN)
