"""GPipe: all forwards, then all backwards.

In:  pipeline ranks and micro-batches.
Out: the actions of one rank.
Left out: re-materialisation, which is the plan's choice.

Source: Huang et al. 2018, arXiv:1811.06965, figure 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from rackmodel.workload.schedules.one_f_one_b import bubble
from rackmodel.workload.schedules.schedule import Action, schedule


@schedule("gpipe", bubble, source="arXiv:1811.06965", batched=True, repeats=False)
def gpipe(p: int, m: int, v: int, rank: int) -> Iterator[Action]:
    """Yield the passes of one rank, in order."""
    for batch in range(m):
        yield Action("F", 0, batch)
    for batch in range(m):
        yield Action("B", 0, batch)
