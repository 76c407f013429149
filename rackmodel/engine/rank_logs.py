"""What a rank class did and when, in arrays that read like a list of `Logged`.

In:  the columns that compiled code writes.
Out: `RankLog`.
Left out: what the log means.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from rackmodel.engine.ranks import Logged
from rackmodel.engine.script import Lockstep

KINDS = ("run", "join", "async", "hold", "pass", "lockstep")


@dataclass(frozen=True, slots=True, eq=False)
class RankLog(Sequence[Logged]):
    """One rank class's log.

    words : int[n, 5], kind, item, place, channel or -1, lockstep or -1. times : float[n, 3], start,
    end, when the bytes waited for set off. axes : of the channels.
    """

    words: npt.NDArray[np.int32]
    times: npt.NDArray[np.float64]
    axes: tuple[str, ...]
    locksteps: tuple[Lockstep, ...]

    def __len__(self) -> int:
        return len(self.words)

    @overload
    def __getitem__(self, at: int) -> Logged: ...

    @overload
    def __getitem__(self, at: slice) -> RankLog: ...

    def __getitem__(self, at: int | slice) -> Logged | RankLog:
        if isinstance(at, slice):
            return RankLog(self.words[at], self.times[at], self.axes, self.locksteps)
        return self._logged(self.words[at].tolist(), self.times[at].tolist())

    def __iter__(self) -> Iterator[Logged]:
        for words, times in zip(self.words.tolist(), self.times.tolist(), strict=True):
            yield self._logged(words, times)

    def _logged(self, words: list[int], times: list[float]) -> Logged:
        kind, item, place, channel, lockstep = words
        start, end, begin = times
        axis = self.axes[channel] if channel >= 0 else ""
        steady = self.locksteps[lockstep] if lockstep >= 0 else None
        return Logged(KINDS[kind], item, place, start, end, begin, axis, steady)
