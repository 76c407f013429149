"""A training job under failures, played out in SimPy over months: the check of the closed form.

In:  mean time between interruptions, checkpoint interval and stall, restart.
Out: goodput, interruptions and lost work of one run, or mean and standard error over several.
Left out: which part failed (`reliability.part_rates`), spares (`reliability.domain_spares`).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from rackmodel.errors import InvalidInput

MOST_EVENTS = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run. All times in seconds of the run's `span_s`."""

    span_s: float
    saved_s: float
    lost_s: float
    stalled_s: float
    restarting_s: float
    interruptions: int

    @property
    def goodput(self) -> float:
        """Share of the time whose work was kept."""
        return self.saved_s / self.span_s


def simulate_run(
    span_s: float,
    *,
    mtbf_s: float,
    interval_s: float,
    stall_s: float,
    restart_s: float,
    seed: int = 0,
) -> Outcome:
    """Play a job for `span_s` seconds: compute, save, fail at random, restart, go on from the last
    save.

    Interruptions come as a Poisson process and hit computing, saving and restarting alike.

    Raises
    ------
    InvalidInput
        If a time is not positive, or the run would take more than five million events.
    """
    _check_times(span_s, mtbf_s, interval_s, stall_s, restart_s)
    random = np.random.default_rng(seed)
    env = simpy.Environment()
    sums = {"saved": 0.0, "lost": 0.0, "stalled": 0.0, "restarting": 0.0}
    count = 0

    def wait(length_s: float, fails_at: float) -> Generator[Any, Any, bool]:
        """Wait for a length of time or for the failure, whichever is first; say whether it
        failed."""
        failed = env.now + length_s > fails_at
        yield env.timeout(fails_at - env.now if failed else length_s)
        return failed

    def job() -> Generator[Any, Any, None]:
        nonlocal count
        fails_at = random.exponential(mtbf_s)
        while True:
            began = env.now
            failed = yield from wait(interval_s + stall_s, fails_at)
            if not failed:
                sums["saved"] += interval_s
                sums["stalled"] += stall_s
                continue
            sums["lost"] += env.now - began
            while failed:  # a restart may fail as well
                count += 1
                began = env.now
                fails_at = env.now + random.exponential(mtbf_s)
                failed = yield from wait(restart_s, fails_at)
                sums["restarting"] += env.now - began

    env.process(job())
    env.run(until=span_s)
    return Outcome(
        span_s=span_s,
        saved_s=sums["saved"],
        lost_s=sums["lost"],
        stalled_s=sums["stalled"],
        restarting_s=sums["restarting"],
        interruptions=count,
    )


def _check_times(
    span_s: float, mtbf_s: float, interval_s: float, stall_s: float, restart_s: float
) -> None:
    """Refuse a run that means nothing or never ends."""
    for name, value in (("span", span_s), ("MTBF", mtbf_s), ("interval", interval_s)):
        if not value > 0:
            raise InvalidInput(f"goodput run: {name} has to be above 0 s, found {value:g}")
    if not (stall_s >= 0 and restart_s >= 0):
        raise InvalidInput("goodput run: stall and restart may not be negative")
    events = span_s / interval_s + 2.0 * span_s / mtbf_s
    if not events <= MOST_EVENTS:
        raise InvalidInput(
            f"goodput run: {events:.0f} events; take a longer interval or a shorter span"
        )


def simulate_runs(
    span_s: float,
    *,
    mtbf_s: float,
    interval_s: float,
    stall_s: float,
    restart_s: float,
    runs: int = 8,
    seed: int = 0,
) -> dict[str, float]:
    """Return mean and standard error of the goodput, and mean interruptions, over several runs."""
    if runs < 1:
        raise InvalidInput(f"goodput runs: expected at least 1, found {runs}")
    outcomes = [
        simulate_run(
            span_s,
            mtbf_s=mtbf_s,
            interval_s=interval_s,
            stall_s=stall_s,
            restart_s=restart_s,
            seed=seed + number,
        )
        for number in range(runs)
    ]
    values = np.array([outcome.goodput for outcome in outcomes])
    error = float(values.std(ddof=1) / math.sqrt(runs)) if runs > 1 else float("nan")
    return {
        "goodput": float(values.mean()),
        "goodput_error": error,
        "interruptions": float(np.mean([outcome.interruptions for outcome in outcomes])),
    }
