"""What a rank class did and when, in arrays that read like a list of `Logged`.

In:  the columns that compiled code writes, or a list of `Logged`.
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
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True, eq=False)
class RankLog(Sequence[Logged]):
    """One rank class's log.

    words : int[n, 5], kind, item, place, channel or -1, lockstep or -1. times : float[n, 3], start,
    end, when the bytes waited for set off. axes : of the channels, or all that there are.
    """

    words: npt.NDArray[np.int32]
    times: npt.NDArray[np.float64]
    axes: tuple[str, ...]
    locksteps: tuple[Lockstep, ...]

    @classmethod
    def of(cls, log: Sequence[Logged]) -> RankLog:
        """Return any log in arrays."""
        if isinstance(log, RankLog):
            return log
        axes, locksteps = dict[str, int](), dict[Lockstep | None, int]({None: -1})
        words = [
            (
                _NUMBER[kind],
                item,
                place,
                axes.setdefault(axis, len(axes)),
                locksteps.setdefault(steady, len(locksteps) - 1),
            )
            for kind, item, place, _, _, _, axis, steady in log
        ]
        return cls(
            words=np.array(words, dtype=np.int32).reshape(-1, 5),
            times=np.array([entry[3:6] for entry in log], dtype=float).reshape(-1, 3),
            axes=tuple(axes),
            locksteps=tuple(steady for steady in locksteps if steady is not None),
        )

    def in_order(self) -> RankLog:
        """Return the entries in order of start, item and place."""
        order = np.lexsort((self.place, self.item, self.start_s))
        return RankLog(self.words[order], self.times[order], self.axes, self.locksteps)

    @property
    def kind(self) -> npt.NDArray[np.int32]:
        """Number among `KINDS` of each entry."""
        return self.words[:, 0]

    @property
    def item(self) -> npt.NDArray[np.int64]:
        """Item of the program of each entry."""
        return self.words[:, 1].astype(np.int64)

    @property
    def place(self) -> npt.NDArray[np.int32]:
        """Place in the item of each entry."""
        return self.words[:, 2]

    @property
    def start_s(self) -> npt.NDArray[np.float64]:
        """When each entry begins."""
        return self.times[:, 0]

    @property
    def end_s(self) -> npt.NDArray[np.float64]:
        """When each entry ends."""
        return self.times[:, 1]

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
