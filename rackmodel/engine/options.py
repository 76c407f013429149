"""How a step is simulated: what the engine may be told besides the machine and the job.

In:  what a user gives.
Out: `EngineOptions`.
Left out: the job, the machine, where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How a step is simulated.

    fold : simulate ranks that do the same only once (exact); False simulates every rank.
    slow : {rank: factor}, accelerators whose kernels take so much longer.
    routing : of packets; see `rackmodel.network.Network.from_graph`. seed : of routing "ecmp".
    packed : fill every scale-up domain to the last, even where that tears groups of ranks apart.
    repeat : "exact" skips micro-batches only where the state recurs; "estimate" lets the last
    simulated ones stand for the rest (within 0.3% in our tests); "all" simulates every one.
    limit_s : give up where the simulated step takes longer. [s]
    """

    fold: bool = True
    slow: Mapping[int, float] = field(default_factory=dict)
    routing: str = "spray"
    seed: int = 0
    packed: bool = False
    repeat: Literal["exact", "estimate", "all"] = "exact"
    limit_s: float = math.inf
