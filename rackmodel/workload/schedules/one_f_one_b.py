"""1F1B: after its warm-up a rank runs forwards and backwards in turn.

In:  pipeline ranks and micro-batches.
Out: the actions of one rank; p - rank micro-batches are in flight on it.
Left out: transfers.

Source: Narayanan et al. 2019, PipeDream, SOSP, as flushed in Narayanan et al. 2021,
arXiv:2104.04473, section 2.2.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rackmodel.workload.schedules.schedule import Action, schedule

Pass = tuple[int, int]  # chunk, micro-batch


def bubble(p: int, m: int, v: int) -> float:
    """Return (p - 1)/m: the pipeline fills and drains once."""
    return (p - 1) / m


def in_turn(warmup: int, forwards: Sequence[Pass], backwards: Sequence[Pass]) -> Iterator[Action]:
    """Yield so many forwards, then one forward and one backward at a time, then the rest."""
    count = len(forwards)
    warmup = min(warmup, count)
    for i in range(warmup):
        yield Action("F", *forwards[i])
    for i in range(count - warmup):
        yield Action("F", *forwards[warmup + i])
        yield Action("B", *backwards[i])
    for i in range(count - warmup, count):
        yield Action("B", *backwards[i])


@schedule("1f1b", bubble, source="arXiv:2104.04473", needs_pipeline=False, batched=True, usual=True)
def one_f_one_b(p: int, m: int, v: int, rank: int) -> Iterator[Action]:
    """Yield the passes of one rank, in order."""
    every = [(0, batch) for batch in range(m)]
    return in_turn(p - rank - 1, every, every)
