"""How a step is simulated: what the engine may be told besides the machine and the job.

In:  what a user gives.
Out: `EngineOptions`.
Left out: the job, the machine, where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rackmodel.fields import setting

ENGINES = ("auto", "simpy", "compiled")
ROUTINGS = ("spray", "paths", "ecmp", "single", "dimension-order", "rail")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How a step is simulated.

    fold : simulate ranks that do the same only once (exact); False simulates every rank.
    slow : {rank: factor}, accelerators whose kernels take so much longer.
    routing : of packets; see `rackmodel.network.Network.from_graph`. seed : of routing "ecmp".
    packed : fill every scale-up domain to the last, even where that tears groups of ranks apart.
    repeat : "exact" skips micro-batches only where the state recurs; "estimate" lets the last
    simulated ones stand for the rest (within 0.3% in our tests); "all" simulates every one.
    engine : "simpy", or "compiled" where numba is installed: the same to the last bit, in arrays.
    "auto" compiles where so much is simulated that it repays its loading.
    limit_s : give up where the simulated step takes longer. [s]
    """

    fold: bool = setting(
        True, "Simulate alike ranks once (exact), or every rank for itself.", option="--fold"
    )
    slow: Mapping[int, float] = setting(
        {},
        "Accelerators whose kernels take so much longer, by rank.",
        "3=1.2",
        unit="slow",
        option="--slow",
    )
    routing: str = setting(
        "spray",
        "Which of several shortest ways. spray: all; at every node equal parts over the "
        "cables of the next hops. paths: all, in equal parts by whole way. ecmp: one, by a seeded "
        "hash at every node; a bundle counts as its cables. single: one, the first in the order of "
        "the links in the file. dimension-order: on tori, one dimension after another. rail: first "
        "inside the scale-up domain to the accelerator on the target's rail, then out (PXN).",
        "ecmp",
        choices=ROUTINGS,
        option="--routing",
    )
    seed: int = setting(0, "Seed of the ECMP hash.", 1, unit="seed", option="--seed", least=0)
    packed: bool = setting(
        False,
        "Fill every scale-up domain to the last, even where that tears groups apart.",
        option="--packed",
    )
    repeat: Literal["exact", "estimate", "all"] = setting(
        "exact",
        "Micro-batches beyond the first few dozen: exact skips only where the state recurs.",
        "estimate",
        choices=("exact", "estimate", "all"),
    )
    engine: str = setting(
        "auto",
        "What walks through the events: simpy, or compiled code (numba, extra fast) with the same "
        "figures. auto: compiled where much is simulated, as with ecmp or without folding.",
        "compiled",
        choices=ENGINES,
        option="--engine",
    )
    limit_s: float = setting(
        math.inf, "Give up where the step takes longer.", 60.0, unit="s", least=0.0, most=math.inf
    )
