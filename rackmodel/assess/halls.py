"""Power of a hall in which several jobs run, each with a period and a phase of its own.

In:  the `Series` of every job, or one result of which many run.
Out: `hall_power`, the sum over time, and `hall_over_time`, its table; `diversity`, how swings
     average out with more jobs.
Left out: what jobs do to each other's links (their steps are as they are alone).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rackmodel import gate
from rackmodel.annotations import DataFrame
from rackmodel.assess.series import Series, series_of
from rackmodel.columns import Floats
from rackmodel.errors import InvalidInput
from rackmodel.result.result import Result

COUNTS = (1, 2, 4, 8, 16, 32, 64)
SPREAD = 0.1  # of the periods of jobs about that of one, standard deviation (assumed)
SAMPLE_S = 20e-3
MOST_SAMPLES = 200_000
MOST_JOBS = 1024
STEPS = 10  # shown of jobs that run already


def hall_power(
    jobs: Sequence[Series],
    *,
    seconds: float,
    every_s: float = SAMPLE_S,
    seed: int | None = 0,
    starts_s: Sequence[float] | None = None,
) -> Floats:
    """Return the power of all jobs in samples of `every_s` from time 0 on. [W]

    Samples are means, so that energy is kept. Phases are drawn from a seed; None lets all jobs
    begin a step at 0. starts_s : when each job begins (staggered starts); its racks idle before.

    Raises
    ------
    InvalidInput
        If there is no job, no time, or more samples than anyone reads.
    """
    count = round(seconds / every_s) if every_s > 0 else 0
    if not jobs or not 1 <= count <= MOST_SAMPLES:
        raise InvalidInput(
            f"hall: wanted at least one job and 1 to {MOST_SAMPLES:,} samples, found {len(jobs)} "
            f"jobs and {seconds:g} s in samples of {every_s:g} s"
        )
    if starts_s is not None and len(starts_s) != len(jobs):
        raise InvalidInput(
            f"hall: wanted a start for each of {len(jobs)} jobs, found {len(starts_s)}"
        )
    draw = np.random.default_rng(seed)
    edges = np.arange(count + 1) * every_s
    total = np.zeros(count)
    for number, job in enumerate(jobs):
        begin = 0.0 if starts_s is None else starts_s[number]
        phase = 0.0 if seed is None or starts_s is not None else draw.uniform(0.0, job.step_s)
        energy = _energy_j(job, np.maximum(0.0, edges - begin) + phase, job.step_s)
        total += np.diff(energy + idle_w(job) * np.minimum(edges, begin)) / every_s
    return total


@gate.called
def hall_over_time(
    result: Result,
    jobs: int,
    *,
    every_s: float = SAMPLE_S,
    seconds: float | None = None,
    stagger_s: float | None = None,
    seed: int = 0,
) -> DataFrame:
    """Return the power of a hall in which so many jobs like one run, periods and phases drawn.

    every_s : length of a sample, whose mean is told. [s]
    seconds : told; None takes ten steps, or 60 s after the last start. [s]
    stagger_s : each job begins so long after the one before, and its racks idle until then. [s]

    Returns
    -------
    columns time_s (begin of the sample), power_w (all racks and fabric of all jobs).

    Raises
    ------
    InvalidInput
        If there are too many jobs or samples, or if a number is negative.
    """
    import pandas as pd

    jobs = gate.whole(jobs, "jobs", most=MOST_JOBS, words=False)
    if stagger_s is not None and not 0 <= stagger_s < np.inf:
        raise InvalidInput(f"stagger: wanted 0 s or more, found {stagger_s:g} s")
    one, draw = series_of(result), np.random.default_rng(seed)
    periods = one.step_s * np.maximum(0.5, draw.normal(1.0, SPREAD, jobs))
    starts = None if stagger_s is None else [stagger_s * number for number in range(jobs)]
    if seconds is None:
        seconds = STEPS * one.step_s if starts is None else starts[-1] + 60.0
    all_jobs = [replace(one, step_s=float(period)) for period in periods]
    power = hall_power(all_jobs, seconds=seconds, every_s=every_s, seed=seed, starts_s=starts)
    return pd.DataFrame({"time_s": np.arange(len(power)) * every_s, "power_w": power})


def idle_w(job: Series) -> float:
    """Return what a job's racks and fabric draw while it does nothing. [W]"""
    racks = sum(count * float(job.racks_w[name].mean()) for name, count in job.counts.items())
    fabric = float(job.hall_w.mean()) - racks
    return fabric + sum(count * job.idle_w[name] for name, count in job.counts.items())


def _energy_j(job: Series, times_s: Floats, period_s: float) -> Floats:
    """Return the energy that a job, its step stretched to a period, has drawn by each time."""
    turns, inside = np.divmod(times_s / period_s, 1.0)
    drawn = np.concatenate(([0.0], np.cumsum(job.hall_w))) * (period_s / len(job.hall_w))
    at = inside * len(job.hall_w)
    return np.asarray(turns * drawn[-1] + np.interp(at, np.arange(len(drawn)), drawn))


def diversity(
    job: Series, counts: Sequence[int] = COUNTS, *, draws: int = 8, seed: int = 0
) -> list[dict[str, Any]]:
    """Return how much a hall of so many jobs like one swings, periods and phases drawn.

    Returns
    -------
    jobs, mean_w, swing_share (highest less lowest over the mean), std_share, in_phase_share (the
    swing where all begin a step together), each the mean of `draws` draws, over 20 ms samples.
    """
    draw = np.random.default_rng(seed)
    seconds = min(12.0 * job.step_s, MOST_SAMPLES * SAMPLE_S)
    edges = np.linspace(0.0, seconds, max(64, min(4096, round(seconds / SAMPLE_S))) + 1)
    alone = np.diff(_energy_j(job, edges, job.step_s)) / np.diff(edges)
    together = float((alone.max() - alone.min()) / alone.mean())
    rows = []
    for jobs in counts:
        swings, spreads = [], []
        for _ in range(draws):
            total = np.zeros(len(edges) - 1)
            for period in job.step_s * np.maximum(0.5, draw.normal(1.0, SPREAD, jobs)):
                phase = draw.uniform(0.0, period)
                total += np.diff(_energy_j(job, edges + phase, period)) / np.diff(edges)
            swings.append((total.max() - total.min()) / total.mean())
            spreads.append(total.std() / total.mean())
        rows.append(
            {
                "jobs": jobs,
                "mean_w": jobs * float(job.hall_w.mean()),
                "swing_share": float(np.mean(swings)),
                "std_share": float(np.mean(spreads)),
                "in_phase_share": together,
            }
        )
    return rows
