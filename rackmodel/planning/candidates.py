"""Which of the estimated plans are looked at more closely, simulated, chosen.

In:  a `Planner`, a `Space` of plans, their `Estimates`, bytes of HBM that a plan may fill.
Out: simulated `Candidate`s; the plans that the closed form can't tell apart; why none fits.
Left out: which plans there are (`enumeration`), the search as a whole (`search`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rackmodel.errors import CannotRun, InvalidPlan
from rackmodel.planning.closed_form import Estimates
from rackmodel.planning.planner import HBM_MARGIN, NEAR_ENOUGH, Planner
from rackmodel.planning.space import Ints, Space
from rackmodel.workload import Job, Plan, check, peak_memory

if TYPE_CHECKING:
    from rackmodel.result.result import Result

MOST_LOOKED_AT = 400  # plans whose HBM is summed exactly, in order of their estimate
SIMULATED = 2  # plans at most, where one is asked for
EVENTS = 300_000  # after so many a second plan is not looked at: it may cost minutes
NEARLY = 1.005  # estimates that are closer than this to the best step are looked at too


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much a search does.

    top : plans that are asked for, all simulated. least, most : plans simulated; None: `top`, and
    `SIMULATED` or four times `top`. near, cells : which plans are timed, as in `Planner.estimate`.
    sure : the search ends where estimates, put right by what was simulated, lie this far behind
    the best.
    """

    top: int = 1
    least: int | None = None
    most: int | None = None
    near: float = NEAR_ENOUGH
    cells: bool = True
    sure: float = NEARLY

    @property
    def bounds(self) -> tuple[int, int]:
        """Plans to simulate at least and at most."""
        least = self.top if self.least is None else self.least
        many = SIMULATED if self.top == 1 else 4 * least
        return least, many if self.most is None else self.most


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


def simulate_best(
    planner: Planner,
    space: Space,
    estimates: Estimates,
    simulate: Callable[[Plan], Result],
    room_bytes: float,
    effort: Effort,
) -> tuple[list[Candidate], list[int]]:
    """Simulate plans in order of their estimate; also which entries were looked at.

    Where all simulated plans of a kind were slower than estimated, others of that kind are taken to
    be so too, and come later.
    """
    least, most = effort.bounds
    queue = np.flatnonzero(
        (estimates.hbm_bytes <= room_bytes * HBM_MARGIN) & np.isfinite(estimates.step_s)
    )
    queue = queue[np.argsort(estimates.step_s[queue], kind="stable")]
    guesses = np.array([planner.lost_s(float(seconds)) for seconds in estimates.step_s[queue]])
    kinds = _kinds(space)[queue]
    slower: dict[int, float] = {}  # kind -> simulated over estimated step, the least of them
    shapes: set[tuple[int, ...]] = set()  # of one shape, only the quickest that fits is simulated
    found: list[Candidate] = []
    looked: list[int] = []
    lowest = 1.0  # simulated over estimated step, where the estimate was most too high
    best_s = np.inf
    likely = guesses.copy()
    while len(looked) < MOST_LOOKED_AT and len(found) < most:
        place = int(np.argmin(likely)) if len(likely) else 0
        if not len(likely) or not np.isfinite(likely[place]):
            break
        if len(found) >= least and likely[place] * lowest > best_s * effort.sure:
            break
        if len(found) >= least and sum(one.result.step.events for one in found) > EVENTS:
            break
        likely[place] = np.inf
        entry, guess_s = int(queue[place]), float(guesses[place])
        shape = tuple(
            int(column[entry]) for column in (space.profile, space.pp, space.vpp, space.ep_overlap)
        )
        if shape in shapes:
            continue
        plan = space.plan(entry)
        job = planner.job.replace(plan=plan)
        looked.append(entry)
        if not planner.fits(job, room_bytes):
            continue
        try:
            result = simulate(plan)
        except CannotRun:
            continue
        shapes.add(shape)
        parts = _parts(estimates, entry, guess_s)
        bound_s = planner.lost_s(float(estimates.bound_s[entry]))
        found.append(Candidate(job, result, guess_s, bound_s, parts))
        best_s = min(best_s, result.step_s)
        ratio, kind = result.step_s / guess_s, int(kinds[place])
        lowest = min(lowest, ratio)
        slower[kind] = min(slower.get(kind, np.inf), ratio)
        waiting = (kinds == kind) & np.isfinite(likely)
        likely[waiting] = guesses[waiting] * max(1.0, slower[kind])
    return found, looked


def _kinds(space: Space) -> Ints:
    """Plans that the closed form is likely to misjudge alike: the same sharding and schedule.

    And as many chunks a rank: where passes run two at a time, more chunks wait more than it knows.
    """
    kind = space.sharding * len(space.schedules) + space.schedule
    kind = (kind * 2 + (space.pp > 1)) * 2 + space.ep_overlap
    return np.asarray(kind * (int(space.vpp.max(initial=0)) + 1) + space.vpp)


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


def least_bound(
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


def nearest_misfit(planner: Planner, space: Space, estimates: Estimates) -> str:
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
    words += [
        name.replace("_", " ") for name in ("tp_overlap", "ep_overlap") if getattr(plan, name)
    ]
    if plan.tp > 1 and not plan.sequence_parallel:
        words.append("no sequence parallelism")
    if not plan.dp_overlap:
        words.append("no dp overlap")
    if plan.rank_order != Plan().rank_order:
        words.append(f"order {plan.rank_order}")
    return ", ".join(words)
