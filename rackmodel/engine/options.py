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

from rackmodel import gate
from rackmodel.errors import InvalidInput
from rackmodel.fields import setting

ENGINES = ("auto", "simpy", "compiled")
ROUTINGS = ("spray", "paths", "ecmp", "single", "dimension-order", "rail")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How a step is simulated.

    fold : simulate ranks that do the same only once (exact); False simulates every rank.
    slow : {part: factor from 1}: accelerators (rank 3, "gpu17", "rack1", "domain2") whose kernels
    take so many times as long; of any other node ("nic-3", "leaf-0-1") links are so much slower.
    broken : nodes that do nothing; ranks stand on others, bytes go around them.
    mixed : {accelerator, rack or domain: part of the catalog that stands there instead}.
    placement : accelerators of each scale-up domain in order; one number counts for all. On a torus
    its dimensions, from 0, in the order in which ranks walk them, the fastest first.
    routing : of packets; see `rackmodel.network.Network.from_graph`. seed : of routing "ecmp".
    packed : fill every scale-up domain to the last, even where that tears groups of ranks apart.
    repeat : "exact" skips micro-batches only where the state recurs; "estimate" lets the last
    simulated ones stand for the rest where ranks agree on them to 0.3% of the step, and after very
    many; "all" simulates every one.
    engine : "simpy", or "compiled" where numba is installed: the same to the last bit, in arrays.
    "auto" compiles where so much is simulated that it repays its loading.
    limit_s : give up where the simulated step takes longer. [s]
    """

    fold: bool = setting(
        True, "Simulate alike ranks once (exact), or every rank for itself.", option="--fold"
    )
    slow: Mapping[str, float] = setting(
        {},
        "Accelerators whose kernels take so many times as long (1.2: a fifth longer), by rank (3), "
        "gpu17, rack1 or domain2; of other nodes (nic-3, leaf-0-1) the links are so much slower.",
        "rack1=1.2",
        unit="slow",
        option="--slow",
        least=1.0,
        most=1e6,
    )
    broken: tuple[str, ...] = setting(
        (),
        "Nodes that do nothing: gpu17, rack1, domain2, nic-3, switch-0-0-1. Ranks stand on others, "
        "bytes go around them.",
        "gpu17,nic-3",
        unit="parts",
        option="--broken",
    )
    mixed: Mapping[str, str] = setting(
        {},
        "Accelerators of another kind in a rack, a domain or one place.",
        "rack1=h200",
        unit="mixed",
        option="--mixed",
    )
    placement: tuple[int, ...] = setting(
        (),
        "Accelerators used of each scale-up domain, in order; one number counts for all. Default: "
        "whole groups in as few domains as hold them. On a torus its dimensions (1,0,2), the "
        "one that ranks walk fastest first; default: as groups fill rings.",
        "64,64,32",
        unit="counts",
        option="--placement",
        least=0,
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
        option="--repeat",
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

    def __post_init__(self) -> None:
        """Take numbers of ranks for words, lists for tuples; refuse what contradicts itself."""
        slow = {str(key): value for key, value in gate.table_of(self.slow, "slow").items()}
        object.__setattr__(self, "slow", slow)
        for part, factor in slow.items():
            if isinstance(factor, int | float) and factor < 1:
                raise InvalidInput(
                    f"slow: {part}={factor:g} would be quicker; give how many times as long it"
                    " takes, 1 or more: 2 is half as fast"
                )
        for name, example in (("broken", '["gpu17"]'), ("placement", "[64, 64]")):
            members = gate.members(getattr(self, name), name, example)
            object.__setattr__(self, name, tuple(map(gate.plain, members)))
        if self.placement and not any(self.placement):
            raise InvalidInput("placement: no accelerator of any domain; give how many of each")
        if self.packed and self.placement:
            raise InvalidInput("packed fills every domain, placement says how far; give one")

    @property
    def uneven(self) -> bool:
        """Whether the machine does not repeat as its file says."""
        counts = len(self.placement) > 1 and not self.walked
        return bool(self.slow or self.broken or self.mixed or counts)

    @property
    def walked(self) -> tuple[int, ...]:
        """Dimensions of a torus in the order in which ranks walk them, where placement says so."""
        order = self.placement if len(self.placement) > 1 else ()
        return order if sorted(order) == list(range(len(order))) else ()
