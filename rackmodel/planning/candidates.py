"""Which of the estimated plans are looked at more closely, simulated, chosen.

In:  a `Planner`, a `Space` of plans, their `Estimates`, bytes of HBM that a plan may fill.
Out: simulated `Candidate`s; the plans that the closed form can't tell apart; why none fits.
Left out: which plans there are (`enumeration`), the search as a whole (`search`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Bools, Floats, Ints
from rackmodel.engine.rank_map import map_ranks
from rackmodel.errors import CannotRun, InvalidPlan, UnknownName
from rackmodel.planning.closed_form import Estimates
from rackmodel.planning.missed import (
    COUNTED,
    SPREAD,
    SPREAD_ON_TORUS,
    Family,
    Spreads,
    better_chance,
)
from rackmodel.planning.objectives import OBJECTIVES, Objective, Scale
from rackmodel.planning.planner import HBM_MARGIN, NEAR_ENOUGH, Look, Planner
from rackmodel.planning.space import Space, cut_fields
from rackmodel.result.result import Result
from rackmodel.stages import tell
from rackmodel.topology.shapes import Torus
from rackmodel.workload import Job, Plan, check, peak_memory, recompute_that_fits

MOST_LOOKED_AT = 400  # plans whose HBM is summed exactly, in order of their estimate
SIMULATED = 2  # plans at most
WEIGHED = 8  # as many where what is wanted of them is not the quickest step
WEIGHED_SURE = 1.02  # and until estimates lie this far behind: they tell dollars less well
EVENTS = 100_000  # after so many no further plan is looked at: it may cost minutes
PATIENT = 50  # times as many where a better plan may well have been missed
NEARLY = 1.005  # estimates that are closer than this to the best step are looked at too


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much a search does.

    top : plans to list; the best one is the same for any number. most : plans simulated. near :
    which plans are timed, as in `Look.closer`. sure : the search ends where estimates, put right by
    what was simulated, lie this far behind the best, or after so many events; but not before the
    chance that it missed a better plan is down to `chance`, or after PATIENT times as many events.
    objective : what makes a simulated plan the best, of `objectives.OBJECTIVES`. kin : share of
    what a family was misjudged by, in logarithms, that is taken to hold for a kind none was
    simulated of.
    """

    top: int = 1
    most: int = SIMULATED
    near: float = NEAR_ENOUGH
    sure: float = NEARLY
    events: int = EVENTS
    chance: float = 1.0
    objective: str = "tokens"
    kin: float = 1.0

    @classmethod
    def towards(cls, objective: str, top: int) -> Effort:
        """Return what a search for the best by an objective does.

        Raises
        ------
        UnknownName
            If there is no such objective.
        """
        if objective not in OBJECTIVES:
            raise UnknownName.among("objective", objective, OBJECTIVES)
        if objective == "tokens":
            return cls(top=top)
        return cls(top=top, most=WEIGHED, sure=WEIGHED_SURE, objective=objective)


class Candidate(NamedTuple):
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


class Estimated(NamedTuple):
    """A plan that was not simulated.

    step_s : its estimate, put right by simulated plans of its kind. value : what it is likely to
    spend by the objective.
    """

    job: Job
    step_s: float
    value: float
    estimate_s: float
    bound_s: float
    parts_s: dict[str, float]


class Queue:
    """Plans that may fit, in order of their estimate; what was simulated of them.

    Where all simulated plans of a kind were slower than estimated, others of that kind are taken to
    be so too, and come later; of kinds that none was simulated of, as those of the same family. Of
    one shape, only the quickest that fits is looked at.
    """

    def __init__(
        self,
        look: Look,
        simulate: Callable[[Plan], Result],
        objective: Objective,
        kin: float = 1.0,
    ) -> None:
        self.look, self.planner, self.simulate = look, look.planner, simulate
        self.objective, self.kin = objective, kin
        self.scale: Scale | None = None  # of other objectives than steps, once a plan is simulated
        # kind or family -> least simulated over estimated step
        self.slower: dict[tuple[int, ...], float] = {}
        self.shapes: set[int] = set()
        self.found: list[Candidate] = []
        self.families: list[Family] = []  # of those found
        self.looked: list[int] = []
        self.lowest = 1.0  # simulated over estimated step, where the estimate was most too high
        self.refresh()

    def refresh(self) -> None:
        """Take in what was timed since."""
        estimates = self.estimates = self.look.estimates
        fitting = estimates.hbm_bytes <= self.look.room_bytes * HBM_MARGIN
        queue = np.flatnonzero(fitting & np.isfinite(estimates.step_s))
        self.queue = queue[np.argsort(estimates.step_s[queue], kind="stable")]
        self.guesses, self.bounds = (
            np.array([self.planner.lost_s(seconds) for seconds in told[self.queue].tolist()])
            for told in (estimates.step_s, estimates.bound_s)
        )
        self.scores = self.guesses
        if self.scale is not None:
            compute_s = estimates.compute_s[self.queue]
            self.scores = self.scale.of(self.guesses, compute_s, self._slots(self.queue))
        self.kinds, self.shape = (of(self.look.space, self.queue) for of in (_kinds, _shapes))
        self.likely = np.full(len(self.queue), np.inf)
        self._put_right(~np.isin(self.queue, self.looked))

    def _put_right(self, waiting: Bools) -> None:
        """Take those that wait to be as much slower than estimated as others of their kind."""
        known = self.slower
        slower = [
            max(1.0, known.get(kind, known.get(kind[:2], 1.0) ** self.kin))
            for kind in map(tuple, self.kinds[waiting].tolist())
        ]
        self.likely[waiting] = self.scores[waiting] * slower

    def next(self) -> int | None:
        """Place of the plan that is likely to be quickest, of a shape of its own, and fits."""
        while len(self.queue) and len(self.looked) < MOST_LOOKED_AT:
            place = int(np.argmin(self.likely))
            if not np.isfinite(self.likely[place]):
                return None
            if int(self.shape[place]) not in self.shapes:
                entry = int(self.queue[place])
                self.looked.append(entry)
                if self.look.fits(entry):
                    return place
            self.likely[place] = np.inf
        return None

    def simulated(self, effort: Effort) -> list[Candidate]:
        """Simulate until the others are likely to be slower, the most promising first."""
        while len(self.found) < effort.most and (place := self.next()) is not None:
            if self.found and self._enough(effort, place):
                break
            tell("simulating plan", len(self.found) + 1)
            self.likely[place] = np.inf
            job, entry, guess_s = self._job(place), int(self.queue[place]), self.guesses[place]
            try:
                result = self.simulate(job.plan).filled_in(["plan"])
            except CannotRun:
                continue
            self.shapes.add(int(self.shape[place]))
            self.found.append(Candidate(job, result, float(guess_s), *self._rest(entry, guess_s)))
            kind = tuple(self.kinds[place].tolist())
            self.families.append(kind[:2])
            if self.scale is None and self.objective.key != "step_s":
                self._weigh(result, entry)
                continue
            ratio = self.objective.of(result) / self.scores[place]
            self.lowest = min(self.lowest, ratio)
            for known in (kind, kind[:2]):
                self.slower[known] = min(self.slower.get(known, np.inf), ratio)
            self._put_right(np.isfinite(self.likely))
        return self.found

    def _enough(self, effort: Effort, place: int) -> bool:
        """Whether a search ends before this place, the most promising of those that wait."""
        done = sum(one.result.step.events for one in self.found)
        best = min(self.objective.of(one.result) for one in self.found)
        if done <= effort.events and self.likely[place] * self.lowest <= best * effort.sure:
            return False
        if effort.chance >= 1.0 or done > PATIENT * effort.events:
            return True
        return self.better_chance()[0] <= effort.chance

    def _weigh(self, result: Result, entry: int) -> None:
        """Take what the quickest plan spends for a scale; time all plans that may spend less."""
        value, active = self.objective.of(result), self.objective.active(result)
        slots = float(self._slots(np.array([entry]))[0])
        told = result.breakdown_s
        compute_s = told.get("compute", 0.0) + told.get("recompute", 0.0)
        self.scale = Scale(value, active, result.step_s, compute_s, slots)
        self.look.closer(self.scale.reach)
        self.refresh()

    def _slots(self, entries: Ints) -> Floats:
        """Accelerators of the domains that plans stand in, where these are paid for; else all 1."""
        if not self.objective.rooms:
            return np.ones(len(entries))
        space, machine, gpus = self.look.space, self.planner.machine, self.planner.gpus
        domain, most = machine.domain_accelerators, machine.max_accelerators
        found = {}
        for row in np.unique(space.profile[entries]).tolist():
            cut = cut_fields(space.profiles[row])
            axes = {name: cut[name] for name in ("tp", "cp", "ep", "etp")}
            plan = replace(Plan(), **axes, dp=gpus // (axes["tp"] * axes["cp"]))
            found[row] = map_ranks(plan, domain, most).domains(gpus) * domain
        return np.array([float(found[row]) for row in space.profile[entries].tolist()])

    def better_chance(self) -> tuple[float, float]:
        """Chance that a plan that was not simulated is better by more than `COUNTED`; the spread.

        Of estimated values the simulated ones spread as `missed` says they do in searches like
        these (on a torus by more), and as they do here. Many plans lie within 1% of the best, and
        it matters little which is.
        """
        on_torus = isinstance(self.planner.machine.scale_up, Torus)
        usual = SPREAD_ON_TORUS if on_torus else SPREAD
        if not self.found:
            return 0.0, usual
        told = [math.log(one.step_s / one.estimate_s) for one in self.found]
        spreads = Spreads.of(told, self.families, usual)
        better = min(self.objective.of(one.result) for one in self.found) * (1.0 - COUNTED)
        waiting = np.isfinite(self.likely) & ~np.isin(self.shape, list(self.shapes))
        if self.objective.key == "step_s":  # what its bound rules out can't be better
            waiting &= self.bounds < better
        likely, kinds = self.likely[waiting], self.kinds[waiting]
        return better_chance(better, likely, kinds, spreads), spreads.overall

    def others(self, count: int) -> list[Estimated]:
        """So many plans that were not simulated, in the order in which they would have been."""
        found: list[Estimated] = []
        while len(found) < count and (place := self.next()) is not None:
            value, guess_s = float(self.likely[place]), float(self.guesses[place])
            likely_s = guess_s * value / float(self.scores[place])
            self.likely[place] = np.inf
            self.shapes.add(int(self.shape[place]))
            rest = self._rest(int(self.queue[place]), guess_s)
            found.append(Estimated(self._job(place), likely_s, value, guess_s, *rest))
        return found

    def _job(self, place: int) -> Job:
        return self.planner.job.replace(plan=self.look.space.plan(int(self.queue[place])))

    def _rest(self, entry: int, guess_s: float) -> tuple[float, dict[str, float]]:
        bound_s = self.planner.lost_s(float(self.estimates.bound_s[entry]))
        return bound_s, _parts(self.estimates, entry, guess_s)


def _kinds(space: Space, entries: Ints) -> Ints:
    """Plans that the closed form is likely to misjudge alike, int[N, 4].

    Of a family (the first two columns): the same sharding and schedule, as part of a pipeline or
    not. Where passes run two at a time, more chunks a rank wait more than it knows.
    """
    split = space.schedule * 2 + (space.pp > 1)
    return np.stack([space.sharding, split, space.ep_overlap, space.vpp], axis=1)[entries]


def _shapes(space: Space, entries: Ints) -> Ints:
    """One number for each shape: plans that differ in schedule, sharding or recompute only."""
    columns = (space.profile, space.pp, space.vpp, space.ep_overlap)
    profile, pp, vpp, overlap = (column[entries].astype(np.int64) for column in columns)
    return ((profile << 16 | pp) << 16 | vpp) << 1 | overlap


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


def least_bound(look: Look, looked: list[int]) -> float | None:
    """Lowest bound of the plans that may fit and were not looked at; None if there are none.

    The exact sum of HBM is asked of those with the lowest bounds: most of them look fast because
    they are just too large.
    """
    planner, estimates = look.planner, look.estimates
    rest = estimates.hbm_bytes <= look.room_bytes * HBM_MARGIN
    rest[looked] = False
    order = np.flatnonzero(rest)
    order = order[np.argsort(estimates.bound_s[order], kind="stable")]
    for number, entry in enumerate(order):
        job = planner.job.replace(plan=look.space.plan(int(entry)))
        if number >= MOST_LOOKED_AT or planner.fits(job, look.room_bytes):
            return float(estimates.bound_s[entry])
    return None


def nearest_misfit(planner: Planner, space: Space, estimates: Estimates) -> str:
    """Say which plan needs least, and how much.

    Raises
    ------
    InvalidPlan
        If what the plans have in common does not go together, which is no question of room.
    """
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
        raise InvalidPlan(f"no plan is valid on {planner.gpus} accelerators: {reason}")
    total, job, rank, need = nearest
    plan = job.plan
    kinds = ", ".join(
        f"{kind} {size / 1e9:.0f}" for kind, size in sorted(need.items(), key=lambda i: -i[1])[:4]
    )
    words = recompute_that_fits(job, capacity)
    advised = f"With {words} it would fit (advise tells its step time, and flags); else use"
    fitting = advised if words else "Use"
    return (
        f"no plan of {job.model.name!r} fits {planner.gpus} x {planner.part.name} with "
        f"{capacity / 1e9:,.0f} GB each; the nearest ({plan_words(plan)}) needs {total / 1e9:,.0f} "
        f"GB on pipeline rank {rank} ({kinds}). {fitting} more accelerators or a smaller batch"
        " or model"
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
