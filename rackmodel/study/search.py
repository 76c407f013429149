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

from rackmodel.errors import CannotRun, DoesNotFit, InvalidPlan, UnknownName
from rackmodel.study.closed_form import Estimates
from rackmodel.study.enumeration import enumerate_plans
from rackmodel.study.planner import HBM_MARGIN, Planner
from rackmodel.study.space import RECOMPUTES, SPACES, Choices, Ints, Space
from rackmodel.workload import Job, Plan, check, peak_memory

if TYPE_CHECKING:
    import pandas as pd

    from rackmodel.hardware import Catalog
    from rackmodel.simulate.result import Result
    from rackmodel.topology import Topology
    from rackmodel.workload import Model

MOST_LOOKED_AT = 400  # plans whose HBM is summed exactly, in order of their estimate
# Share of HBM that a searched plan may fill: allocators fragment, and peaks differ between ranks
# and steps, so nobody plans for the last byte (assumed). A plan that is given may fill it all.
FULL_AT = 0.95
LIMITS = (FULL_AT, 1.0)  # the last byte only where nothing else runs
SURE = 1.01  # the search ends where estimates, put right, lie this far behind the best
NEAR = 0.01  # plans whose estimates lie this close are equals; the simplest is taken


@dataclass(frozen=True, slots=True)
class Candidate:
    """A simulated plan."""

    job: Job
    result: Result
    estimate_s: float
    bound_s: float
    parts_s: dict[str, float]  # of the estimate: compute, exchange, bubble, ...

    @property
    def step_s(self) -> float:
        """Seconds of the simulated step."""
        return self.result.step_s


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
        from rackmodel.study.frames import search_frame

        return search_frame(self)

    def heat_map(self) -> pd.DataFrame:
        """Estimated MFU over tp x pp; see `frames.heat_map`."""
        from rackmodel.study.frames import heat_map

        return heat_map(self)

    def to_dict(self) -> dict[str, Any]:
        """What `rackmodel search --json` prints."""
        from rackmodel.study.frames import search_dict

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
    simulate : other than `rackmodel.door.run` (for tests).
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
        model=what, plan=Plan(), seq_len=seq_len, global_batch=global_batch,
        precision=precision, **job_fields,
    )  # fmt: skip
    if isinstance(choices, str):
        if choices not in SPACES:
            raise UnknownName.among("space of plans", choices, SPACES)
        choices = SPACES[choices]
    return search_job(machine, job, gpus, top=top, fixed=fixed, catalog=catalog, choices=choices,
                      simulate=simulate)  # fmt: skip


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
        found = search_job(machine, job, gpus, top=simulated, most=simulated, fixed=fixed,
                           catalog=catalog, choices=choices)  # fmt: skip
        return found.job
    planner = Planner(machine, job, gpus, catalog)
    space = enumerate_plans(
        job, gpus, domain=machine.domain_accelerators, fixed=fixed, choices=choices
    )
    for limit in LIMITS:
        room = planner.part.hbm_bytes * limit
        estimates = planner.estimate(space, room_bytes=room, near=1.0 + NEAR, cells=False)
        equals = _equals(planner, space, estimates, room)
        if equals:
            return min(equals, key=lambda entry: entry[0])[1]
    raise DoesNotFit(_nearest_misfit(planner, space, estimates))


def _equals(
    planner: Planner, space: Space, estimates: Estimates, room_bytes: float
) -> list[tuple[tuple[int, ...], Job]]:
    """Plans that fit, their estimates as good as the best; each with how simple it is."""
    roomy = np.flatnonzero(estimates.hbm_bytes <= room_bytes * HBM_MARGIN)
    order = roomy[np.argsort(estimates.step_s[roomy], kind="stable")]
    equals: list[tuple[tuple[int, ...], Job]] = []
    best_s = np.inf
    for entry in order[:MOST_LOOKED_AT]:
        if not estimates.step_s[entry] <= best_s * (1.0 + NEAR):
            break
        plan = space.plan(int(entry))
        job = planner.job.replace(plan=plan)
        if not np.isfinite(estimates.step_s[entry]) or not planner.fits(job, room_bytes):
            continue
        best_s = min(best_s, float(estimates.step_s[entry]))
        simple = (len(plan.offload), plan.vpp, plan.pp * plan.tp * plan.cp)
        equals.append(((*simple, RECOMPUTES.index(plan.recompute), len(equals)), job))
    return equals


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
) -> SearchResult:
    """As `search`, with a machine and a job in hand; `most` bounds the simulations."""
    started_s = time.perf_counter()
    planner = Planner(machine, job, gpus, catalog)
    space = enumerate_plans(
        job, gpus, domain=machine.domain_accelerators, fixed=fixed, choices=choices
    )
    capacity = planner.part.hbm_bytes
    for limit in LIMITS:
        room = capacity * limit
        estimates = planner.estimate(space, room_bytes=room)
        candidates, looked = _simulate_best(
            planner, space, estimates, simulate or planner.simulate, room, top, most or 4 * top
        )
        if candidates:
            break
    else:
        raise DoesNotFit(_nearest_misfit(planner, space, estimates))
    candidates.sort(key=lambda c: (c.step_s, str(c.job.plan)))
    best_s = candidates[0].step_s
    bound_s = _least_bound(planner, space, estimates, looked, room)
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


def _least_bound(
    planner: Planner, space: Space, estimates: Estimates, looked: list[int], room_bytes: float
) -> float | None:
    """Lowest bound of the plans that may fit and were not looked at; None if there are none.

    The exact sum of HBM is asked of those with the lowest bounds: most of them look fast because
    they are just too large.
    """
    rest = estimates.hbm_bytes <= room_bytes * HBM_MARGIN
    rest[looked] = False
    order = np.flatnonzero(rest)
    order = order[np.argsort(estimates.bound_s[order], kind="stable")]
    for number, entry in enumerate(order):
        job = planner.job.replace(plan=space.plan(int(entry)))
        if number >= MOST_LOOKED_AT or planner.fits(job, room_bytes):
            return float(estimates.bound_s[entry])
    return None


def _simulate_best(
    planner: Planner,
    space: Space,
    estimates: Estimates,
    simulate: Callable[[Plan], Result],
    room_bytes: float,
    top: int,
    most: int,
) -> tuple[list[Candidate], list[int]]:
    """Simulate plans in order of their estimate; also which entries were looked at."""
    roomy = np.flatnonzero(estimates.hbm_bytes <= room_bytes * HBM_MARGIN)
    order: Ints = roomy[np.argsort(estimates.step_s[roomy], kind="stable")]
    shapes: set[tuple[int, ...]] = set()  # of one shape, only the quickest that fits is simulated
    found: list[Candidate] = []
    looked: list[int] = []
    lowest = 1.0  # simulated over estimated step, where the estimate was most too high
    best_s = np.inf
    for entry in order[:MOST_LOOKED_AT]:
        guess_s = planner.lost_s(float(estimates.step_s[entry]))
        if not np.isfinite(guess_s) or len(found) >= most:
            break
        if len(found) >= top and guess_s * lowest > best_s * SURE:
            break
        shape = tuple(int(column[entry]) for column in (space.profile, space.pp, space.vpp))
        if shape in shapes:
            continue
        plan = space.plan(int(entry))
        job = planner.job.replace(plan=plan)
        looked.append(int(entry))
        if not planner.fits(job, room_bytes):
            continue
        try:
            result = simulate(plan)
        except CannotRun:
            continue
        shapes.add(shape)
        parts = _parts(estimates, int(entry), guess_s)
        bound_s = planner.lost_s(float(estimates.bound_s[entry]))
        found.append(Candidate(job, result, guess_s, bound_s, parts))
        best_s = min(best_s, result.step_s)
        lowest = min(lowest, result.step_s / guess_s)
    return found, looked


def _parts(estimates: Estimates, entry: int, whole_s: float) -> dict[str, float]:
    """Parts of an estimate, under the names of `frames.GROUPS`."""
    parts = {
        "compute": estimates.compute_s,
        "exchange": estimates.exchange_s,
        "bubble": estimates.bubble_s,
        "data parallel": estimates.reduce_s + estimates.gather_s,
        "optimizer": estimates.optimizer_s,
    }
    found = {name: float(values[entry]) for name, values in parts.items()}
    return found | {"overhead": whole_s - float(estimates.step_s[entry])}


def _nearest_misfit(planner: Planner, space: Space, estimates: Estimates) -> str:
    """Say which plan needs least, and how much."""
    capacity = planner.part.hbm_bytes
    order = np.argsort(estimates.hbm_bytes, kind="stable")[:20]
    nearest: tuple[float, Job, int, dict[str, float]] | None = None
    reason = ""
    for entry in order:
        job = planner.job.replace(plan=space.plan(int(entry)))
        try:
            check(job)
        except InvalidPlan as error:
            reason = reason or str(error)
            continue
        rank, need = peak_memory(job)
        if nearest is None or sum(need.values()) < nearest[0]:
            nearest = sum(need.values()), job, rank, need
    if nearest is None:
        return f"no plan is valid on {planner.gpus} accelerators: {reason}"
    total, job, rank, need = nearest
    plan = job.plan
    kinds = ", ".join(
        f"{kind} {size / 1e9:.0f}" for kind, size in sorted(need.items(), key=lambda i: -i[1])[:4]
    )
    return (
        f"no plan of {job.model.name!r} fits {planner.gpus} x {planner.part.name} with "
        f"{capacity / 1e9:.0f} GB each; the nearest ({plan_words(plan)}) needs {total / 1e9:.0f} "
        f"GB on pipeline rank {rank} ({kinds}). Use more accelerators or a smaller batch or model"
    )


def plan_words(plan: Plan) -> str:
    """The axes of a plan in few words.

    >>> plan_words(Plan(tp=8, pp=4, dp=2))
    'tp 8, pp 4, dp 2, micro-batch 1, zero1'
    """
    axes = [
        f"{name} {getattr(plan, name)}"
        for name in ("tp", "pp", "vpp", "cp", "ep", "etp")
        if getattr(plan, name) > 1
    ]
    words = [*axes, f"dp {plan.dp}", f"micro-batch {plan.micro_batch}", plan.sharding]
    if plan.recompute != "none":
        words.append(f"recompute {plan.recompute}")
    if plan.schedule:
        words.append(plan.schedule)
    words += [f"offload {part}" for part in plan.offload]
    if plan.tp_overlap:
        words.append("tp overlap")
    if plan.tp > 1 and not plan.sequence_parallel:
        words.append("no sequence parallelism")
    if not plan.dp_overlap:
        words.append("no dp overlap")
    if plan.rank_order != Plan().rank_order:
        words.append(f"order {plan.rank_order}")
    return ", ".join(words)
