"""ZB-H1: 1F1B in which rank r holds back the weight gradients of r micro-batches.

In:  pipeline ranks and micro-batches.
Out: the actions of one rank: the memory of 1F1B and a third of its bubble.
Left out: transfers; what keeps more (`zb_2p`, `zb_v`).

Source: Qi et al. 2023, arXiv:2401.10241, section 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from rackmodel.workload.schedules.schedule import Action, schedule


def bubble(p: int, m: int, v: int) -> float:
    """Return (p - 1)/(3 m): weight gradients fill two thirds of the drain."""
    return (p - 1) / (3 * m)


@schedule("zb-h1", bubble, source="arXiv:2401.10241", splits_weights=True, quick=True)
def zb_h1(p: int, m: int, v: int, rank: int) -> Iterator[Action]:
    """Yield the passes of one rank, in order."""
    return held_back(p - rank - 1, rank, m)


def held_back(warmup: int, late: int, m: int) -> Iterator[Action]:
    """Yield 1F1B after so many forwards, weight gradients so many micro-batches late."""
    warmup = min(warmup, m)
    for batch in range(warmup):
        yield Action("F", 0, batch)
    for batch in range(m):
        if warmup + batch < m:
            yield Action("F", 0, warmup + batch)
        yield Action("B", 0, batch)
        if batch >= late:
            yield Action("W", 0, batch - late)
    for batch in range(max(0, m - late), m):
        yield Action("W", 0, batch)
