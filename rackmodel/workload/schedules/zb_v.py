"""ZB-V: two chunks a rank, there and back, without idling and within the memory of 1F1B.

In:  pipeline ranks and micro-batches.
Out: the actions of one rank; at most p micro-batches in flight, as in 1F1B.
Left out: transfers. As with `zb_2p` the step ends with the last rank, which begins p - 1 passes of
     a chunk late.

Source: Qi et al. 2023, arXiv:2401.10241v2, section 6; the order of PyTorch's ScheduleZBVZeroBubble.
"""

from __future__ import annotations

from collections import Counter

from rackmodel.workload.schedules.schedule import Action, schedule, twice


def bubble(p: int, m: int, v: int) -> float:
    """Return (p - 1)/(6 m): the first pass of a chunk reaches the last rank."""
    return (p - 1) / (6 * m)


class _Order:
    """Hands out the next micro-batch of a kind of pass; those beyond the last are left out."""

    def __init__(self, m: int) -> None:
        self.m = m
        self.done: Counter[tuple[str, int]] = Counter()
        self.out: list[Action] = []

    def run(self, *passes: tuple[str, int]) -> None:
        for kind, chunk in passes:
            batch = self.done[kind, chunk]
            self.done[kind, chunk] += 1
            if batch < self.m:
                self.out.append(Action(kind, chunk, batch))


@schedule(
    "zb-v",
    bubble,
    source="arXiv:2401.10241",
    chunks=(2, 2),
    splits_weights=True,
    folds_back=True,
    settles=twice,
    quick=True,
)
def zb_v(p: int, m: int, v: int, rank: int) -> list[Action]:
    """Return the passes of one rank; few micro-batches run as the first of many."""
    order, batches = _Order(m), max(m, 2 * p - 1)
    front, back = (("F", 0),), (("F", 1), ("B", 1), ("W", 1))
    for _ in range(2 * (p - rank) - 1):
        order.run(*front)
    for _ in range(rank):
        order.run(("F", 1), *front)
    for _ in range(p - rank):
        order.run(*back)
    while order.done["F", 1] < batches:
        if order.done["F", 0] < batches:
            order.run(*front)
        order.run(("B", 0), ("W", 0), *back)
    for _ in range(rank):
        order.run(("B", 0), ("B", 1))
    for _ in range(p - rank):
        order.run(("B", 0), ("W", 0))
    for chunk in (1, 0):
        for _ in range(batches - order.done["W", chunk]):
            order.run(("W", chunk))
    return order.out
