"""Seconds of a rank's pieces where exchanges in flight together slow each other.

In:  pieces of a script; seconds of each exchange by itself; what it loses beside each other one.
Out: when the last piece has ended.
Left out: other ranks; links one by one (`engine`): here each exchange has one pace.

As `script.play`, whose exchanges last as long whatever flies beside them: there that is known not
to matter, here it may. Two that fill one link take twice as long while both last.
"""

from __future__ import annotations

import math
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
    for number, piece in enumerate(pieces):
        match piece:
            case KernelRun():
                clock.run(piece.work_s)
            case Join(token=None):
                clock.start(f"{number}", "", piece.channel)
                clock.wait("")
            case Join():
                clock.start(piece.stream, str(piece.token), piece.channel)
            case Hold():
                clock.wait(piece.token)
            case _:
                pass  # a send
    return clock.now_s


class _Clock:
    """Kernels and exchanges that go on side by side; on one stream one after another."""

    def __init__(
        self,
        exchange_of: Callable[[int], tuple[float, float]],
        crowding: Sequence[Sequence[float]],
    ) -> None:
        self.exchange_of, self.crowding = exchange_of, crowding
        self.now_s = 0.0
        self.left_s: dict[str, float] = {}  # of each exchange by itself, by its token
        self.streams: dict[str, deque[tuple[str, int]]] = {}

    def start(self, stream: str, token: str, channel: int) -> None:
        self.left_s[token] = self.exchange_of(channel)[0]
        self.streams.setdefault(stream, deque()).append((token, channel))

    def wait(self, token: str) -> None:
        while token in self.left_s:
            self._go_on(math.inf)

    def run(self, work_s: float) -> None:
        while work_s > 0.0:
            work_s = self._go_on(work_s)

    def _go_on(self, work_s: float) -> float:
        """Until the next exchange ends, or so much work; return what is left of it."""
        flying = [queue[0] for queue in self.streams.values()]
        speed = speed_beside(sum(self.exchange_of(channel)[1] for _, channel in flying))
        slower = [
            1.0 + sum(self.crowding[one][other] for _, other in flying if other != one)
            for _, one in flying
        ]
        ends = [self.left_s[token] * each for (token, _), each in zip(flying, slower, strict=True)]
        spent_s = min([*ends, work_s / speed])
        self.now_s += spent_s
        for stream, (token, _), end, each in zip(
            list(self.streams), flying, ends, slower, strict=True
        ):
            if end > spent_s:
                self.left_s[token] -= spent_s / each
                continue
            del self.left_s[token]
            self.streams[stream].popleft()
            if not self.streams[stream]:
                del self.streams[stream]
        return work_s - spent_s * speed if spent_s < work_s / speed else 0.0
