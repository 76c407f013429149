"""What a search takes for the best plan: throughput, dollars or energy.

In:  simulated results.
Out: `OBJECTIVES` by name, each with what it minimizes.
Left out: which plans are simulated (`candidates`): the closed form knows steps only.

All plans of a search use the same accelerators for the same tokens. So dollars per token part from
seconds only where plans leave unlike numbers of accelerators idle in the racks that are paid for,
or draw unlike power; joules where they draw unlike power.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rackmodel.result.result import Result


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimized: `of` a result; key : of a row that holds it; rate : it per second."""

    word: str
    key: str
    rate: str
    of: Callable[[Result], float]

    def why(self, best: Result, other: Result) -> str:
        """Say what another plan differs in: what it spends a second, and how fast it is."""
        quicker = other.tokens_per_s / best.tokens_per_s
        spends = self.of(other) / self.of(best) * quicker
        return f"{self.rate} {spends - 1.0:+.2%}, tokens/s {quicker - 1.0:+.2%}"


OBJECTIVES = {
    one.word: one
    for one in (
        Objective("tokens", "step_s", "", lambda result: result.step_s),
        Objective(
            "usd",
            "usd_per_mtoken",
            "USD/h",
            lambda result: result.usd_per_mtoken,
        ),
        Objective(
            "watts",
            "energy_j_per_token",
            "watts",
            lambda result: result.energy_j_per_token,
        ),
    )
}
