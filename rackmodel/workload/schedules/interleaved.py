"""Interleaved 1F1B: a rank holds several chunks of the model, and fills the pipeline sooner.

In:  pipeline ranks p, micro-batches (a multiple of p), chunks per rank v.
Out: the actions of one rank.
Left out: transfers.

Source: Narayanan et al. 2021, arXiv:2104.04473, section 2.2.2; Megatron-LM,
forward_backward_pipelining_with_interleaving.
"""

from __future__ import annotations

import sys
from functools import lru_cache

from rackmodel.workload.schedules.one_f_one_b import in_turn
from rackmodel.workload.schedules.schedule import Action, schedule


def bubble(p: int, m: int, v: int) -> float:
    """Return (p - 1)/(v m)."""
    return (p - 1) / (v * m)


@lru_cache(maxsize=64)
def _turns(p: int, m: int, v: int) -> tuple[list[Action], list[Action]]:
    """Forwards and backwards in their order, which all ranks share."""
    turns = [
        (chunk, batch)
        for start in range(0, m, p)
        for chunk in range(v)
        for batch in range(start, min(m, start + p))
    ]
    forwards = [Action("F", chunk, batch) for chunk, batch in turns]
    return forwards, [Action("B", v - 1 - chunk, batch) for chunk, batch in turns]


@schedule(
    "interleaved",
    bubble,
    source="arXiv:2104.04473",
    chunks=(2, sys.maxsize),
    unit=int,
    hides_exchanges=True,
    usual=True,
)
def interleaved(p: int, m: int, v: int, rank: int) -> list[Action]:
    """Return the passes of one rank, in order: p micro-batches through each chunk in turn."""
    return in_turn((p - rank - 1) * 2 + (v - 1) * p, *_turns(p, m, v))
