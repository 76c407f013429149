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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rackmodel.errors import DoesNotFit, UnknownName
from rackmodel.planning.candidates import (
    NEAR,
    SURE,
    Candidate,
    equals,
    least_bound,
    nearest_misfit,
    simulate_best,
)
from rackmodel.planning.closed_form import Estimates
from rackmodel.planning.enumeration import enumerate_plans
from rackmodel.planning.planner import NEAR_ENOUGH, Planner
from rackmodel.planning.space import SPACES, Choices, Space
from rackmodel.workload import Job, Plan

if TYPE_CHECKING:
    import pandas as pd

    from rackmodel.hardware import Catalog
    from rackmodel.result.result import Result
    from rackmodel.topology import Topology
    from rackmodel.workload import Model

# Share of HBM that a searched plan may fill: allocators fragment, and peaks differ between ranks
# and steps, so nobody plans for the last byte (assumed). A plan that is given may fill it all.
FULL_AT = 0.95
LIMITS = (FULL_AT, 1.0)  # the last byte only where nothing else runs


@dataclass(frozen=True)
class SearchResult:
    """Plans in the order of their simulated steps.

    candidates : the simulated ones, fastest first. plans : how many were looked at. fitting : of
    those, how many fit by the estimate; timed : how many were timed, not beaten by their bound.
    unbeaten : no plan that was not simulated can be faster than the best by more than this share,
    by its lower bound. error : largest |estimate / simulation - 1| among the simulated. space,
    estimates : all plans, as arrays. hbm_bytes : what a plan may fill, of capacity_bytes.
    """

    candidates: tuple[Candidate, ...]
    plans: int
    fitting: int
    timed: int
    unbeaten: float
    error: float
    space: Space
    estimates: Estimates
    hbm_bytes: float
    capacity_bytes: float
    top: int  # plans that were asked for
    wall_s: float

    @property
    def job(self) -> Job:
        """The best plan's job."""
        return self.candidates[0].job

    @property
    def best(self) -> Result:
        """The best plan's result."""
        return self.candidates[0].result

    @property
    def runner_up(self) -> float | None:
        """How much longer the second best step takes, as a share; None if there is no second."""
        if len(self.candidates) < 2:
            return None
        return self.candidates[1].step_s / self.candidates[0].step_s - 1.0

    def frame(self) -> pd.DataFrame:
        """One row per simulated plan; see `frames.search_frame`."""
        from rackmodel.planning.frames import search_frame

        return search_frame(self)

    def heat_map(self) -> pd.DataFrame:
        """Estimated MFU over tp x pp; see `frames.heat_map`."""
        from rackmodel.planning.frames import heat_map

        return heat_map(self)

    def to_dict(self) -> dict[str, Any]:
        """What `rackmodel search --json` prints."""
        from rackmodel.planning.frames import search_dict

        return search_dict(self)


def search(
    topology: str | Path | Topology,
    model: str | Path | Model,
    gpus: int,
    global_batch: int,
    seq_len: int,
    precision: str = "bf16",
    *,
    top: int = 5,
    fixed: Mapping[str, Any] | None = None,
    catalog: Catalog | None = None,
    choices: Choices | str | None = None,
    simulate: Callable[[Plan], Result] | None = None,
    **job_fields: Any,
) -> SearchResult:
    """Rank the plans of a training job on a machine.

    Parameters
    ----------
    top : plans to simulate at least (fewer if there are no more); more are, until the closed form
        of the rest lies behind the best by more than it was wrong by.
    fixed : fields of the plan that are given, {"tp": 8}.
    choices : what to try for the others, also by its name in `space.SPACES`.
    simulate : other than `rackmodel.assess.run.run` (for tests).
    job_fields : other fields of `Job`, such as stack or cuda_graphs.

    Raises
    ------
    InvalidPlan
        If no plan divides. DoesNotFit if none fits, with the nearest one.

    Examples
    --------
    >>> found = search("dgx-h100", "gpt3-13b", 8, 64, 2048, top=2)
    >>> found.job.plan.tp * found.job.plan.pp * found.job.plan.replicas
    8
    """
    from rackmodel.topology import load_topology
    from rackmodel.workload import Model, load_model

    machine = load_topology(topology, catalog=catalog)
    what = model if isinstance(model, Model) else load_model(model)
    job = Job(
        model=what,
        plan=Plan(),
        seq_len=seq_len,
        global_batch=global_batch,
        precision=precision,
        **job_fields,
    )
    if isinstance(choices, str):
        if choices not in SPACES:
            raise UnknownName.among("space of plans", choices, SPACES)
        choices = SPACES[choices]
    return search_job(
        machine,
        job,
        gpus,
        top=top,
        fixed=fixed,
        catalog=catalog,
        choices=choices,
        simulate=simulate,
    )


def best_plan(
    topology: str | Path | Topology,
    job: Job,
    gpus: int,
    *,
    fixed: Mapping[str, Any] | None = None,
    catalog: Catalog | None = None,
    choices: Choices | None = None,
    simulated: int = 0,
) -> Job:
    """Return the job with the plan that is fastest on this machine.

    Parameters
    ----------
    job : its plan gives the fields that are not searched (see `space.SEARCHED`).
    fixed : searched fields that are given.
    simulated : how many of the best plans are simulated to choose among them. With 0 the closed
        form decides, which is about 2% wrong; among plans that it can't tell apart, the simplest is
        taken.

    Raises
    ------
    As `search` does.
    """
    from rackmodel.topology import load_topology

    machine = load_topology(topology, catalog=catalog)
    if simulated:
        found = search_job(
            machine,
            job,
            gpus,
            top=simulated,
            most=simulated,
            fixed=fixed,
            catalog=catalog,
            choices=choices,
        )
        return found.job
    planner = Planner(machine, job, gpus, catalog)
    space = enumerate_plans(
        job, gpus, domain=machine.domain_accelerators, fixed=fixed, choices=choices
    )
    for limit in LIMITS:
        room = planner.part.hbm_bytes * limit
        estimates = planner.estimate(space, room_bytes=room, near=1.0 + NEAR, cells=False)
        alike = equals(planner, space, estimates, room)
        if alike:
            return min(alike, key=lambda entry: entry[0])[1]
    raise DoesNotFit(nearest_misfit(planner, space, estimates))


def search_job(
    machine: Topology,
    job: Job,
    gpus: int,
    *,
    top: int = 5,
    most: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    catalog: Catalog | None = None,
    choices: Choices | None = None,
    simulate: Callable[[Plan], Result] | None = None,
    near: float = NEAR_ENOUGH,
    cells: bool = True,
    sure: float = SURE,
) -> SearchResult:
    """As `search`, with a machine and a job in hand.

    most : simulations at most. near, cells : which plans are timed, as in `Planner.estimate`.
    sure : the search ends where estimates, put right, lie this far behind the best.
    """
    started_s = time.perf_counter()
    planner = Planner(machine, job, gpus, catalog)
    space = enumerate_plans(
        job, gpus, domain=machine.domain_accelerators, fixed=fixed, choices=choices
    )
    capacity = planner.part.hbm_bytes
    for limit in LIMITS:
        room = capacity * limit
        estimates = planner.estimate(space, room_bytes=room, near=near, cells=cells)
        candidates, looked = simulate_best(
            planner,
            space,
            estimates,
            simulate or planner.simulate,
            room,
            top,
            most or 4 * top,
            sure,
        )
        if candidates:
            break
    else:
        raise DoesNotFit(nearest_misfit(planner, space, estimates))
    candidates.sort(key=lambda c: (c.step_s, str(c.job.plan)))
    best_s = candidates[0].step_s
    bound_s = least_bound(planner, space, estimates, looked, room)
    floor_s = best_s if bound_s is None else planner.lost_s(bound_s)
    return SearchResult(
        candidates=tuple(candidates),
        plans=len(space),
        fitting=int((estimates.hbm_bytes <= room).sum()),
        timed=int(np.isfinite(estimates.step_s).sum()),
        unbeaten=max(0.0, best_s / floor_s - 1.0),
        error=max(abs(c.estimate_s / c.step_s - 1.0) for c in candidates),
        space=space,
        estimates=estimates,
        hbm_bytes=room,
        capacity_bytes=capacity,
        top=top,
        wall_s=time.perf_counter() - started_s,
    )
