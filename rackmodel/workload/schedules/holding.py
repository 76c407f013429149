"""What a pipeline rank holds in the course of a schedule's passes.

In:  a schedule's name, pipeline ranks, micro-batches, chunks.
Out: how many passes of each chunk wait for their backward pass while which of them run; their peak.
Left out: bytes of a pass (`activations`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rackmodel.workload.schedules.schedule import KINDS, Ints, passes, schedule_of


def holdings(name: str, p: int, m: int, v: int, *, paired: bool = False) -> Ints:
    """Return what each rank holds in the course of its passes, [p, rows, 2 x chunks].

    Returns
    -------
    A table a rank, its rows (kept of each chunk, then running of each chunk): passes whose
    activations wait for their backward pass (for the weight gradients, where those are split off),
    the running one included, and passes that run. Without rows that others exceed everywhere, as
    far as that is seen at a glance; the last one again where another rank has more. With very many
    micro-batches they go on as the first few do: constant, or growing where a schedule never
    repeats.
    """
    most = schedule_of(name).told(p)[1]
    if m <= most or schedule_of(name).repeats:
        return _lives(name, p, min(m, most), v, paired)
    return _as_one([held(name, p, m, v, rank, paired=paired) for rank in range(p)])


@lru_cache(maxsize=4096)
def held(
    name: str, p: int, m: int, v: int, rank: int, *, paired: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Return which passes a rank holds when it holds most: rows as in `holdings`.

    Only those that no other one exceeds everywhere.
    """
    schedule = schedule_of(name)
    few, most = schedule.told(p)
    if m <= most or schedule.repeats:
        return _walked(name, p, min(m, most), v, rank, paired)
    one, two = (_walked(name, p, some, v, rank, paired) for some in (few, most))
    times = (m - most) / (most - few)
    return tuple(
        tuple(round(b + times * (b - a)) for a, b in zip(*rows, strict=True))
        for rows in zip(one, two, strict=True)
    )


def _walked(
    name: str, p: int, m: int, v: int, rank: int, paired: bool
) -> tuple[tuple[int, ...], ...]:
    import numpy as np

    found: set[tuple[int, ...]] = set(map(tuple, _lives(name, p, m, v, paired)[rank].tolist()))
    chunks = len(next(iter(found))) // 2
    runs: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for row in sorted(found):
        runs.setdefault(row[chunks:], []).append(row)
    for running, own in runs.items():  # rows of the same passes, or of more, may exceed others
        alike = [rows for other, rows in runs.items() if all(map(int.__ge__, other, running))]
        mine, others = np.array(own), np.concatenate(alike)
        exceeded = (mine[:, None] <= others[None]).all(axis=2).sum(axis=1) > 1  # not by itself
        found.difference_update(row for row, less in zip(own, exceeded, strict=True) if less)
    return tuple(sorted(found))


def _as_one(tables: Sequence[Any]) -> Ints:
    """Return tables of unlike length as one, of which rows at the end recur."""
    import numpy as np

    longest = max(map(len, tables))
    return np.stack(
        [np.asarray(one)[np.minimum(np.arange(longest), len(one) - 1)] for one in tables]
    )


@lru_cache(maxsize=512)
def _lives(name: str, p: int, m: int, v: int, paired: bool) -> Ints:
    """Return for each rank what it holds and runs in the course of its passes, as in `held`.

    Without rows that the next one exceeds everywhere, and such as are there already.
    """
    import numpy as np

    table = passes(name, p, m, v, paired=paired)
    kind, chunk = table[..., 0], table[..., 1]
    gone_after = "W" if schedule_of(name).splits_weights else "B"
    whole = kind[:, :, 1] >= 0  # a pair
    last = np.where(whole, KINDS.index("B"), KINDS.index(gone_after))
    chunks = int(chunk.max()) + 1
    begun, gone, running = np.zeros((3, *kind.shape[:2], chunks), dtype=np.int32)
    for which in range(2):
        for counted, there in (
            (begun, kind[:, :, which] == KINDS.index("F")),
            (gone, kind[:, :, which] == last),
            (running, kind[:, :, which] >= 0),
        ):
            rank, place = np.nonzero(there)
            counted[rank, place, chunk[rank, place, which]] += 1
    rows = np.concatenate([np.cumsum(begun - gone, axis=1) + gone, running], axis=2)
    more = np.ones(kind.shape[:2], dtype=bool)
    more[:, :-1] = (rows[:, 1:] < rows[:, :-1]).any(axis=2)
    where, kept = np.nonzero(more)[0], rows[more]
    odd = np.cumprod(np.full(kept.shape[1] + 1, 0x9E3779B97F4A7C15, dtype=np.uint64))
    mixed = np.column_stack([where, kept]).astype(np.uint64) @ odd
    _, first, same = np.unique(mixed, return_index=True, return_inverse=True)
    if (kept[first][same] != kept).any() or (where[first][same] != where).any():
        first = np.arange(len(kept))  # two unlike rows have the same mix: keep all
    first = np.sort(first)
    return _as_one(np.split(kept[first], np.searchsorted(where[first], np.arange(1, p))))


def in_flight(name: str, p: int, m: int, v: int, rank: int) -> float:
    """Return the micro-batches (of all chunks) whose activations a rank keeps at its peak.

    >>> [in_flight("1f1b", 4, 16, 1, rank) for rank in range(4)]
    [4.0, 3.0, 2.0, 1.0]
    """
    rows = held(name, p, m, v, rank)
    chunks = len(rows[0]) // 2
    return max(sum(row[:chunks]) for row in rows) / chunks
