"""The best plan for a job on a machine: estimated all, simulated few.

In:  a topology, a job with its plan left open, what of it is fixed.
Out: `SearchResult`: plans ranked by their simulated step, each with why it is slower; or the best
`Job`.
Left out: hardware that varies (`design`), one resource at a time (`sensitivity`).

Every plan that divides gets its HBM need and a lower bound in closed form (numpy, all at once);
those that neither rules out get a step time. The few that look best are checked exactly for HBM and
simulated, until the estimates of the rest lie beyond the best by more than the closed form has been
wrong by so far.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from rackmodel.errors import DoesNotFit, InvalidPlan
from rackmodel.hardware import Catalog
from rackmodel.planning.candidates import (
    Candidate,
    Effort,
    Estimated,
    Queue,
    least_bound,
    nearest_misfit,
)
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.frames import SearchResult
from rackmodel.planning.objectives import OBJECTIVES
from rackmodel.planning.planner import Look, Planner
from rackmodel.planning.space import Choices
from rackmodel.result.result import Result
from rackmodel.stages import tell
from rackmodel.topology import Topology
from rackmodel.workload import Job, Plan
from rackmodel.workload.validity import check_cuts

# Share of HBM that a searched plan may fill: allocators fragment, and peaks differ between ranks
# and steps, so nobody plans for the last byte (assumed). A plan that is given may fill it all.
FULL_AT = 0.95
FURTHER = (1.25, 2.0, np.inf)  # for longer lists: as `Effort.near`
LIMITS = (FULL_AT, 1.0)  # the last byte only where nothing else runs
# What goes to host memory where nothing fits without, in turn.
HOST_LAST = (("optimizer",), ("optimizer", "parameters"))


def best_plan(
    machine: Topology,
    job: Job,
    gpus: int,
    *,
    fixed: Mapping[str, Any] | None = None,
    catalog: Catalog | None = None,
    choices: Choices | None = None,
) -> Candidate:
    """Return the plan that `search_job` finds to be fastest on this machine: job and result.

    Raises
    ------
    As `search_job` does.
    """
    found = search_job(machine, job, gpus, fixed=fixed, catalog=catalog, choices=choices)
    return found.candidates[0]


def search_with_host(
    machine: Topology,
    job: Job,
    gpus: int,
    *,
    fixed: Mapping[str, Any] | None = None,
    catalog: Catalog | None = None,
    choices: Choices | None = None,
    effort: Effort | None = None,
    simulate: Callable[[Plan], Result] | None = None,
) -> SearchResult:
    """Rank plans as `search_job` does; where nothing fits, with `HOST_LAST` in host memory.

    Raises
    ------
    As `search_job` does; `DoesNotFit` of the plans without host memory.
    """
    words: dict[str, Any] = {"catalog": catalog, "choices": choices}
    words |= {"effort": effort, "simulate": simulate}
    try:
        return search_job(machine, job, gpus, fixed=fixed, **words)
    except DoesNotFit as least:
        said = job.plan.offload or "offload" in (fixed or {})
        if said or (choices is not None and choices.offloads != ((),)):
            raise
        for parts in HOST_LAST:
            try:
                return search_job(
                    machine, job, gpus, fixed={**(fixed or {}), "offload": parts}, **words
                )
            except (DoesNotFit, InvalidPlan):
                continue
        raise DoesNotFit(f"{least}; host memory for optimizer and weights does not help") from None


def search_job(
    machine: Topology,
    job: Job,
    gpus: int,
    *,
    fixed: Mapping[str, Any] | None = None,
    catalog: Catalog | None = None,
    choices: Choices | None = None,
    effort: Effort | None = None,
    simulate: Callable[[Plan], Result] | None = None,
) -> SearchResult:
    """Rank the plans of a training job on a machine: the one search, whoever asks.

    Parameters
    ----------
    job : its plan gives the fields that are not searched (see `space.SEARCHED`).
    fixed : searched fields that are given, {"tp": 8}. choices : what to try for the others.
    effort : how many plans are simulated, when to stop, how many are listed, which is the best.
    simulate : other than `rackmodel.assess.run.run`, such as in a hall of one's own.

    Raises
    ------
    InvalidPlan
        If no plan divides. DoesNotFit if none fits, with the nearest one.
    """
    effort = effort or Effort()
    started_s = time.perf_counter()
    check_cuts(job)  # before what is given is looked at in parts: no layer can be cut to nothing
    planner = Planner(machine, job, gpus, catalog)
    space = enumerate_plans(
        planner.job,
        gpus,
        domain=machine.domain_accelerators,
        fixed=fixed,
        choices=choices,
        captures=planner.captures,
    )
    tell(f"{machine.name}: estimating {len(space):,} plans")
    once = lru_cache(maxsize=None)(simulate or planner.simulate)
    for limit in LIMITS:
        look = Look(planner, space, planner.part.hbm_bytes * limit)
        queue, candidates = _simulated(look, once, effort)
        if candidates:
            break
    else:
        raise DoesNotFit(nearest_misfit(planner, space, look.estimates))
    wanted = OBJECTIVES[effort.objective]
    ranked = sorted(candidates, key=lambda c: (wanted.of(c.result), c.step_s, str(c.job.plan)))
    best_s = min(c.step_s for c in candidates)
    bound_s = least_bound(look, queue.looked)
    floor_s = best_s if bound_s is None else planner.lost_s(bound_s)
    timed = int(np.isfinite(look.estimates.step_s).sum())
    chance, spread = queue.better_chance()
    return SearchResult(
        candidates=tuple(ranked),
        others=_others(queue, effort.top - 1),
        plans=len(space),
        fitting=int((look.estimates.hbm_bytes <= look.room_bytes).sum()),
        timed=timed,
        unbeaten=max(0.0, best_s / floor_s - 1.0),
        error=max(abs(c.estimate_s / c.step_s - 1.0) for c in candidates),
        better_chance=chance,
        spread=spread,
        look=look,
        top=effort.top,
        objective=wanted,
        wall_s=time.perf_counter() - started_s,
    )


def _simulated(
    look: Look, simulate: Callable[[Plan], Result], effort: Effort
) -> tuple[Queue, list[Candidate]]:
    """Simulate the most promising plans; none that could beat them by its bound was left out."""
    near = effort.near
    while True:
        look.closer(near)
        queue = Queue(look, simulate, OBJECTIVES[effort.objective], effort.kin)
        found = queue.simulated(effort)
        step_s = min((one.result.step.step_s for one in found), default=np.inf)
        bounds = look.estimates.bound_s[look.live]
        untimed = ~np.isfinite(look.estimates.step_s[look.live])
        if not found or not (bounds[untimed] < step_s).any():
            return queue, found
        near *= 2.0


def _others(queue: Queue, count: int) -> tuple[Estimated, ...]:
    """So many plans that were not simulated; where too few were timed, more are."""
    found = queue.others(count)
    for near in FURTHER:
        if len(found) >= count:
            break
        queue.look.closer(near)
        queue.refresh()
        found += queue.others(count - len(found))
    return tuple(found)
