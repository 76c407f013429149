"""The most requests that a machine answers in time, over plans and shares of prefill and decode.

In:  a machine, a job whose plan may be open, what requests have to keep.
Out: `goodput_rows`: for each number of accelerators that run prompts, its best plan and rate.
Left out: other arrivals than at a rate.

Of all plans with so many accelerators for prompts the one goes on that answers most in the steady
state within the times asked for in the mean; its rate is then sought on events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rackmodel.errors import CannotRun
from rackmodel.requests.cluster import Objective
from rackmodel.requests.run import Arrivals, Run, capacity_of, simulate_requests
from rackmodel.serving.outcome import plan_words
from rackmodel.serving.run import check_users, settle
from rackmodel.serving.steps import Steps
from rackmodel.topology import Topology
from rackmodel.workload.serving.job import ServingJob, check_serving

KEPT = 0.9  # of requests keep their times at the rate that is told: DistServe, arXiv:2401.09670
HALVINGS = 6  # of the interval in which the rate is sought


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """A plan and the rate at which the steady state keeps the times in the mean."""

    job: ServingJob
    rate: float


def goodput_rows(
    machine: Topology,
    plans: Iterable[ServingJob],
    steps: Steps,
    arrivals: Arrivals,
    objective: Objective,
) -> list[dict[str, Any]]:
    """Return a row for each number of accelerators that run prompts, the best rate first.

    Raises
    ------
    CannotRun
        If no plan answers any request in time.
    """
    best: dict[int, Sought] = {}
    for job in plans:
        found = _steady(job, steps, objective)
        known = best.get(job.prefill_gpus)
        if found is not None and (known is None or found.rate > known.rate):
            best[job.prefill_gpus] = found
    rows = []
    for sought in best.values():
        run = _most(sought, steps, arrivals, objective)
        if run is not None:
            rows.append(_row(machine, run))
    if not rows:
        raise CannotRun(
            f"no plan keeps {KEPT:.0%} of requests within the times asked for; give longer ones"
        )
    return sorted(rows, key=lambda row: -row["requests_per_s_per_gpu"])


def _steady(job: ServingJob, steps: Steps, objective: Objective) -> Sought | None:
    try:
        check_serving(job)
        most = check_users(job.replace(users=1), steps)
    except CannotRun:
        return None
    best = 0.0
    for users in (2**power for power in range(most.bit_length())):
        state = settle(job.replace(users=users), steps, most / job.workers)
        whole_s = state.ttft_s + job.osl * state.tpot_s
        if state.tpot_s > objective.tpot_s:
            break
        if state.ttft_s <= objective.ttft_s and whole_s <= objective.e2e_s and not state.queued:
            best = max(best, state.requests_per_s)
    return Sought(job=job, rate=best) if best else None


def _most(sought: Sought, steps: Steps, arrivals: Arrivals, objective: Objective) -> Run | None:
    """Return a run at the highest rate at which nearly all keep their times."""
    low, high = 0.0, capacity_of(sought.job, steps)
    rate, best = min(sought.rate, 0.95 * high), None
    for _ in range(HALVINGS):
        try:
            run = simulate_requests(sought.job, steps, replace(arrivals, rate=rate), objective)
            kept = run.cluster.seen.good >= KEPT * run.cluster.seen.answered
        except CannotRun:
            kept = False
        if kept:
            low, best = rate, run
        else:
            high = rate
        rate = (low + high) / 2.0
    return best


def _row(machine: Topology, run: Run) -> dict[str, Any]:
    job, seen = run.job, run.cluster.seen
    rate = float(run.arrivals.rate or 0.0)
    found: Mapping[str, Any] = {
        "topology": machine.name,
        "gpus": job.gpus,
        "prefill_gpus": job.prefill_gpus,
        "decode_gpus": job.decode_gpus,
        "requests_per_s": rate,
        "requests_per_s_per_gpu": rate / job.gpus,
        "tokens_per_s_per_gpu": rate * run.osl / job.gpus,
        "within_slo": seen.good / seen.answered,
        "ttft_p90_s": seen.ttft.at(0.9),
        "tpot_p90_s": seen.tpot.at(0.9),
        "plan": plan_words(job),
    }
    return dict(found)
