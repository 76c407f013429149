"""ZB-2P: twice the forwards of ZB-H1 ahead, so that no rank idles between its first and last pass.

In:  pipeline ranks and micro-batches.
Out: the actions of one rank: up to 2p - 1 micro-batches in flight, twice the memory of 1F1B.
Left out: transfers; validation after the update. The norm of all gradients is taken before it, so
     that a step still ends with the last rank, which begins p - 1 forwards late. The paper's zero
     bubble updates on a norm that is not whole yet and takes back what it should not have done:
     ranks then begin the next step at different moments, and "a step" has no one end. It saves
     those p - 1 forwards of each further step, at most the (p - 1)/(3 m) that `bubble` says.

Source: Qi et al. 2023, arXiv:2401.10241, section 2.2 (ZB-H2, what ZB-2P finds where F = B = W).
"""

from __future__ import annotations

from collections.abc import Iterator

from rackmodel.workload.schedules.schedule import Action, schedule, twice
from rackmodel.workload.schedules.zb_h1 import bubble, held_back


@schedule(
    "zb-2p",
    bubble,
    source="arXiv:2401.10241",
    splits_weights=True,
    settles=twice,
    quick=True,
)
def zb_2p(p: int, m: int, v: int, rank: int) -> Iterator[Action]:
    """Yield the passes of one rank, in order."""
    return held_back(2 * (p - rank - 1), 2 * rank, m)
