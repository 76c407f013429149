"""1F1B: after its warm-up a rank runs forwards and backwards in turn.

In:  pipeline ranks and micro-batches.
Out: the actions of one rank; p - rank micro-batches are in flight on it.
Left out: transfers.

Source: Narayanan et al. 2019, PipeDream, SOSP, as flushed in Narayanan et al. 2021,
arXiv:2104.04473, section 2.2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rackmodel.workload.schedules.schedule import Action, schedule


def bubble(p: int, m: int, v: int) -> float:
    """Return (p - 1)/m: the pipeline fills and drains once."""
    return (p - 1) / m


def in_turn(warmup: int, forwards: Sequence[Action], backwards: Sequence[Action]) -> list[Action]:
    """Return so many forwards, then one forward and one backward at a time, then the rest."""
    rest = len(forwards) - min(warmup, len(forwards))
    found = [*forwards, *backwards]
    middle = len(forwards) - rest
    found[middle : middle + 2 * rest : 2] = forwards[middle:]
    found[middle + 1 : middle + 2 * rest : 2] = backwards[:rest]
    return found


@lru_cache(maxsize=64)
def _every(m: int) -> tuple[list[Action], list[Action]]:
    forwards, backwards = ([Action(kind, 0, batch) for batch in range(m)] for kind in "FB")
    return forwards, backwards


@schedule("1f1b", bubble, source="arXiv:2104.04473", needs_pipeline=False, batched=True, usual=True)
def one_f_one_b(p: int, m: int, v: int, rank: int) -> list[Action]:
    """Return the passes of one rank, in order."""
    return in_turn(p - rank - 1, *_every(m))
