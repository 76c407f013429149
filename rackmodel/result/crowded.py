"""Seconds of a rank's pieces where exchanges in flight together slow each other.

In:  pieces of a script; seconds of each exchange by itself; what it loses beside each other one.
Out: when the last piece has ended.
Left out: other ranks; links one by one (`engine`): here each exchange has one pace.

As `script.play`, whose exchanges last as long whatever flies beside them, and which says when each
began: here it may matter, and only the end is asked for. Two that fill one link take twice as long
while both last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from rackmodel.engine.script import Hold, Join, KernelRun, Piece, speed_beside


def play_s(
    pieces: Sequence[Piece],
    exchange_of: Callable[[int], tuple[float, float]],
    crowding: Sequence[Sequence[float]],
) -> float:
    """Return the seconds of these pieces on a clock of their own.

    Parameters
    ----------
    exchange_of : seconds of the collective of a channel by itself, and the share of the compute
        units that it takes. crowding : by how much longer a channel's collective takes while
        another's is in flight.

    Examples
    --------
    >>> both = [Join(0, 0, "dp", "a", "a"), Join(1, 1, "edp", "b", "b"), Hold(2, "a"), Hold(3, "b")]
    >>> play_s(both, [(1.0, 0.0), (3.0, 0.0)].__getitem__, [(0.0, 1.0), (1.0, 0.0)])
    4.0
    """
    clock = _Clock(exchange_of, crowding)
    for piece in pieces:
        match piece:
            case KernelRun() if not clock.flying:
                clock.now_s += piece.work_s
            case KernelRun():
                clock.run(piece.work_s)
            case Join(token=None) if not clock.flying:
                clock.now_s += exchange_of(piece.channel)[0]
            case Join(token=None):
                clock.start("", "", piece.channel)
                clock.wait("")
            case Join():
                clock.start(piece.stream, str(piece.token), piece.channel)
            case Hold():
                clock.wait(piece.token)
            case _:
                pass  # a send
    return clock.now_s


class _Flight:
    """An exchange under way: seconds that are left of it by itself, and times as many it takes.

    share : of the compute units. row : by how much longer it takes beside each other channel.
    """

    __slots__ = ("channel", "left_s", "row", "share", "slower", "stream", "token")

    def __init__(
        self,
        stream: str,
        token: str,
        channel: int,
        alone: tuple[float, float],
        row: Sequence[float],
    ) -> None:
        self.stream, self.token, self.channel, self.row = stream, token, channel, row
        self.left_s, self.share = alone
        self.slower = 1.0


class _Clock:
    """Kernels and exchanges that go on side by side; on one stream one after another."""

    __slots__ = ("crowding", "exchange_of", "flying", "now_s", "open", "queued", "speed")

    def __init__(
        self,
        exchange_of: Callable[[int], tuple[float, float]],
        crowding: Sequence[Sequence[float]],
    ) -> None:
        self.exchange_of, self.crowding = exchange_of, crowding
        self.now_s, self.speed = 0.0, 1.0
        self.flying: list[_Flight] = []
        self.queued: dict[str, deque[_Flight]] = {}  # behind the one that flies, by stream
        self.open: set[str] = set()  # tokens of exchanges that have not ended

    def start(self, stream: str, token: str, channel: int) -> None:
        one = _Flight(stream, token, channel, self.exchange_of(channel), self.crowding[channel])
        self.open.add(token)
        for other in self.flying:
            if other.stream == stream:
                self.queued.setdefault(stream, deque()).append(one)
                return
        self.flying.append(one)
        self._settle()

    def wait(self, token: str) -> None:
        while token in self.open:
            self._spend(self._first_s())

    def run(self, work_s: float) -> None:
        while self.flying:
            first_s = self._first_s()
            if work_s < first_s * self.speed:
                break
            work_s -= first_s * self.speed
            self._spend(first_s)
        if work_s > 0.0:
            spent_s = work_s / self.speed
            self.now_s += spent_s
            for one in self.flying:
                one.left_s -= spent_s / one.slower

    def _first_s(self) -> float:
        """Return the seconds until the next exchange has ended."""
        if len(self.flying) == 1:  # mostly
            one = self.flying[0]
            return one.left_s * one.slower
        return min([one.left_s * one.slower for one in self.flying])

    def _spend(self, seconds: float) -> None:
        """Until the next exchange has ended; the one behind it sets out."""
        self.now_s += seconds
        flying = []
        for one in self.flying:
            if one.left_s * one.slower > seconds:
                one.left_s -= seconds / one.slower
                flying.append(one)
                continue
            self.open.discard(one.token)
            if queue := self.queued.get(one.stream):
                flying.append(queue.popleft())
        self.flying = flying
        self._settle()

    def _settle(self) -> None:
        """How much slower each goes, and kernels beside them."""
        flying = self.flying
        if len(flying) < 2:
            self.speed = speed_beside(flying[0].share) if flying else 1.0
            for one in flying:
                one.slower = 1.0
            return
        share = 0.0
        for one in flying:
            row = one.row
            share += one.share
            one.slower = 1.0 + sum([row[other.channel] for other in flying if other is not one])
        self.speed = speed_beside(share)
