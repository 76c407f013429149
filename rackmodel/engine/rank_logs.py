"""What a rank class did and when, in arrays that read like a list of `Logged`.

In:  the columns that compiled code writes, or a list of `Logged`.
Out: `RankLog`.
Left out: what the log means.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Bools, each_once
from rackmodel.engine.ranks import Logged
from rackmodel.engine.script import Entry, Lockstep
from rackmodel.engine.stretches import Record

KINDS = ("run", "join", "async", "hold", "pass", "lockstep")
_NUMBER = {kind: number for number, kind in enumerate(KINDS)}


def _name_of(steady: Lockstep | Record | None) -> Hashable:
    """Return what tells it from others: a lockstep's hash would go through all its entries."""
    return (steady.key, steady.team) if isinstance(steady, Lockstep) else steady


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
        """Return any log in arrays; visits that were recorded are locksteps like later ones."""
        if isinstance(log, RankLog):
            return log
        kind, item, place, *times, axis, steady = zip(*log, strict=True) if log else ((),) * 8
        kinds = map(_NUMBER.__getitem__, kind)
        axes = {one: number for number, one in enumerate(dict.fromkeys(axis))}
        names = [*map(_name_of, steady)]
        locksteps = {None: None} | dict(zip(names, steady, strict=True))
        number = {one: place - 1 for place, one in enumerate(locksteps)}
        ways, locked = map(axes.__getitem__, axis), map(number.__getitem__, names)
        return cls.settled(
            np.column_stack([(*one,) for one in (kinds, item, place, ways, locked)]).astype(
                np.int32
            ),
            np.column_stack(times).astype(float),
            tuple(axes),
            {number[name]: one for name, one in locksteps.items() if one is not None},
        )

    @classmethod
    def settled(
        cls,
        words: npt.NDArray[np.int32],
        times: npt.NDArray[np.float64],
        axes: tuple[str, ...],
        locks: Mapping[int, Lockstep | Record],
    ) -> RankLog:
        """Return a log in which what was recorded of stretches is locksteps, too.

        locks : by their numbers in `words`.
        """
        kept, locksteps = np.ones(len(words), dtype=bool), list[Lockstep]()
        used = each_once(words[:, 4])
        number = np.full(int(used.max(initial=0)) + 2, -1, dtype=np.int32)
        for at in used[used >= 0].tolist():
            one = locks[at]
            if isinstance(one, Record):
                visits = words[:, 4] == at
                if not one.known:  # its team was apart
                    kept &= ~visits
                    continue
                within = (words[:, 1] == one.item) & (words[:, 2] >= one.place)
                inside = np.flatnonzero(within & (words[:, 4] < 0))
                kept[inside] = False
                lasts = times[np.flatnonzero(visits)[0]]
                total_s = float(lasts[1] - lasts[0])
                one = _told(one, total_s, words[inside], times[inside] - one.start_s, axes)
            number[at] = len(locksteps)
            locksteps.append(one)
        if not kept.all():
            words, times = words[kept], times[kept]
        words[:, 4] = number[words[:, 4]]
        return cls(words, times, axes, tuple(locksteps))

    def rows(self, which: Bools) -> RankLog:
        """Return some of the entries."""
        return RankLog(self.words[which], self.times[which], self.axes, self.locksteps)

    def then(self, other: RankLog, later_s: float) -> RankLog:
        """Return these entries and those of another log, so much later."""
        words = other.words.copy()
        for column, known in ((3, len(self.axes)), (4, len(self.locksteps))):
            words[:, column] += known * (words[:, column] >= 0)
        return RankLog(
            np.concatenate([self.words, words]),
            np.concatenate([self.times, other.times + later_s]),
            (*self.axes, *other.axes),
            (*self.locksteps, *other.locksteps),
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


def expanded(log: Sequence[Logged]) -> list[tuple[int, int, str, float, float]]:
    """Return (item, place, kind, start_s, end_s) of everything logged, locksteps spelled out.

    Sorted, so that two logs of the same rank compare entry by entry however they were simulated.
    Waits of no length are left out: in a lockstep they leave no trace.
    """
    rows = []
    for entry in log:
        if not isinstance(entry.lockstep, Lockstep):
            rows.append((entry.item, entry.place, entry.kind, entry.start_s, entry.end_s))
            continue
        start = entry.start_s
        rows += [
            (entry.item, e.place, e.kind, start + e.start_s, start + e.end_s)
            for e in entry.lockstep.entries
        ]
    return sorted(rows)


def _told(
    record: Record,
    total_s: float,
    words: npt.NDArray[np.int32],
    times: npt.NDArray[np.float64],
    axes: tuple[str, ...],
) -> Lockstep:
    """Return what a rank class did in a stretch; times : from its beginning."""
    stretch, rows = record.stretch, zip(words.tolist(), times.tolist(), strict=True)
    entries = [
        Entry(KINDS[kind], place, start, end, begin, axes[channel] if channel >= 0 else "")
        for (kind, _, place, channel, _), (start, end, begin) in rows
    ]
    return Lockstep(
        key=(stretch.cut.id, record.piece, words.tobytes(), times.tobytes()),
        begin=record.piece,
        total_s=total_s,
        entries=tuple(entries),
        channels=stretch.channels,
        joins=record.turns,
        team=stretch.team,
    )
