"""What a search takes for the best plan: throughput, dollars or energy.

In:  simulated results.
Out: `OBJECTIVES` by name, each with what it minimizes.
Left out: which plans are simulated (`candidates`).

All plans of a search use the same accelerators for the same tokens. So dollars per token part from
seconds only where plans leave unlike numbers of accelerators idle in the racks that are paid for,
or draw unlike power; joules where they draw unlike power. The closed form knows seconds, and of
them those of kernels. What a simulated plan spends while kernels run (multiplications, stalls, HBM)
goes with these, all else with the whole step: so one simulated plan tells what others are likely to
spend, and a much slower plan that is much cooler is found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from rackmodel.columns import Floats
from rackmodel.result.result import Result


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimized: `of` a result; key : of a row that holds it; rate : it per second.

    active : share of it that is spent while kernels run, of a simulated result. rooms : whether
    accelerators that stand idle beside the ranks are paid for.
    """

    word: str
    key: str
    rate: str
    of: Callable[[Result], float]
    active: Callable[[Result], float]
    rooms: bool = False

    def why(self, best: Result, other: Result) -> str:
        """Say what another plan differs in: what it spends a second, and how fast it is."""
        quicker = other.tokens_per_s / best.tokens_per_s
        spends = self.of(other) / self.of(best) * quicker
        return f"{self.rate} {spends - 1.0:+.2%}, tokens/s {quicker - 1.0:+.2%}"


def _active_power(result: Result) -> float:
    """Share of all watts that accelerators draw only while kernels run."""
    power = result.assessment["power"]
    causes = power["accelerator_by_cause_w"]
    active_w = sum(causes[name] for name in ("stalled", "flops", "hbm"))
    return float(active_w * result.step.job.gpus / power["it_w"])


def _active_usd(result: Result) -> float:
    cost = result.assessment["cost"]
    return float(cost["per_hour_usd"]["energy"] / cost["usd_per_hour"]) * _active_power(result)


OBJECTIVES = {
    one.word: one
    for one in (
        Objective("tokens", "step_s", "", lambda result: result.step_s, lambda result: 0.0),
        Objective(
            "usd",
            "usd_per_mtoken",
            "USD/h",
            lambda result: result.usd_per_mtoken,
            _active_usd,
            rooms=True,
        ),
        Objective(
            "watts",
            "energy_j_per_token",
            "watts",
            lambda result: result.energy_j_per_token,
            _active_power,
        ),
    )
}


class Scale(NamedTuple):
    """What plans are likely to spend, from what one simulated plan spends.

    value : what that one spends. active : share of it that goes with seconds of kernels. step_s,
    compute_s, slots : of that plan; accelerators of the racks that it stands in.
    """

    value: float
    active: float
    step_s: float
    compute_s: float
    slots: float

    def of(self, step_s: Floats, compute_s: Floats, slots: Floats) -> Floats:
        """Return what plans with these estimates spend."""
        resting = step_s / self.step_s * (slots / self.slots)
        working = compute_s / self.compute_s
        return self.value * ((1.0 - self.active) * resting + self.active * working)

    @property
    def reach(self) -> float:
        """No plan that takes longer by this factor spends less, even with kernels for nothing."""
        return 1.0 / max(1e-3, 1.0 - self.active)
