"""What a search found, as tables: ranked plans with why each is slower, MFU over tp x pp.

In:  simulated candidates and all estimates of a search.
Out: `SearchResult`: pandas frames, and the dictionary behind `rackmodel search --json`.
Left out: drawing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from rackmodel.annotations import Axes, DataFrame
from rackmodel.hardware.identity import made_with
from rackmodel.planning.candidates import Candidate, Estimated
from rackmodel.planning.missed import COUNTED
from rackmodel.planning.objectives import OBJECTIVES, Objective
from rackmodel.planning.planner import Look
from rackmodel.result.breakdown import DATA_PARALLEL
from rackmodel.result.notebook import Framed, drawn
from rackmodel.result.result import Result
from rackmodel.workload import Job, peak_memory

WORDS = {  # parts of a simulated step, and of an estimated one
    "bubble": "waits for other pipeline stages",
    "compute": "slower kernels",
    "recompute": "recomputes activations",
    "tp": "tensor-parallel traffic",
    "cp": "context-parallel traffic",
    "ep": "expert traffic",
    "etp": "traffic inside experts",
    "pp": "pipeline transfers",
    "dp_cp": "gradient and weight traffic",
    "edp": "gradients of experts",
    "optimizer": "optimizer",
    "exchange": "traffic inside passes",
    "data parallel": "gradient and weight traffic",
}

AXES = (
    "tp",
    "pp",
    "vpp",
    "cp",
    "ep",
    "etp",
    "dp",
    "micro_batch",
    "sharding",
    "recompute",
    "schedule",
    "sequence_parallel",
    "tp_overlap",
    "dp_overlap",
)
# What the closed form tells apart, and the parts of a simulated step that it means by each.
GROUPS = {
    "compute": ("compute", "recompute"),
    "exchange": ("tp", "cp", "ep", "etp"),
    "bubble": ("bubble", "pp"),
    "data parallel": DATA_PARALLEL,
    "optimizer": ("optimizer",),
    "overhead": ("overhead", "embedding", "model", "world", "stage"),
}
REASONS = {
    "compute": "kernels beside collectives are slowed more or less than the closed form takes",
    "exchange": "traffic inside passes shares links with other traffic, which the closed form "
    "leaves out",
    "bubble": "stages wait for one another (or for transfers on shared links) unlike the formula",
    "data parallel": "gradients and weights hide more or less than one pass allows for",
    "optimizer": "kernels of the update",
    "overhead": "small collectives of a step's end",
}
AGREE = 0.02  # closed form and simulation that differ by more are explained


def difference(estimate: Mapping[str, float], simulated: Mapping[str, float]) -> tuple[str, float]:
    """Name the part in which an estimate is furthest from its simulation, and by how many seconds.

    estimate : {name of `GROUPS`: seconds}. simulated : a result's `breakdown_s`.

    >>> difference({"compute": 1.0, "bubble": 0.1}, {"compute": 0.8, "recompute": 0.2, "pp": 0.4})
    ('bubble', 0.3)
    """
    gaps = {
        name: sum(simulated.get(part, 0.0) for part in parts) - estimate.get(name, 0.0)
        for name, parts in GROUPS.items()
    }
    worst = max(gaps, key=lambda name: abs(gaps[name]))
    return worst, round(gaps[worst], 12)


def why_slower(best: Mapping[str, float], other: Mapping[str, float]) -> tuple[str, float]:
    """Name the part of the step that grew most, and by how many seconds.

    >>> why_slower({"compute": 1.0, "bubble": 0.1}, {"compute": 1.1, "bubble": 0.5})
    ('bubble', 0.4)
    """
    names = sorted({*best, *other})
    grew = {name: other.get(name, 0.0) - best.get(name, 0.0) for name in names}
    worst = max(names, key=lambda name: grew[name])
    return worst, grew[worst]


@dataclass(frozen=True)
class SearchResult(Framed):
    """Plans in the order of their steps, or of another objective.

    candidates : the simulated ones, best first. others : the next ones by their estimates.
    plans : how many were looked at. fitting : of those, how many fit by the estimate; timed : how
    many were timed, not beaten by their bound. unbeaten : no plan that was not simulated can be
    faster than the quickest by more than this share, by its lower bound. error : largest
    |estimate / simulation - 1| among the simulated. better_chance : that a plan that was not
    simulated is better by more than `missed.COUNTED`, where the simulated over the estimated
    step spreads by `spread`. look : all plans and what is known of them. top : plans that were
    asked for. objective : what the best is best by.
    """

    candidates: tuple[Candidate, ...]
    others: tuple[Estimated, ...]
    plans: int
    fitting: int
    timed: int
    unbeaten: float
    error: float
    better_chance: float
    spread: float
    look: Look
    top: int
    wall_s: float
    objective: Objective

    @property
    def job(self) -> Job:
        """The best plan's job."""
        return self.candidates[0].job

    @property
    def best(self) -> Result:
        """The best plan's result."""
        return self.candidates[0].result

    def __repr__(self) -> str:
        """Say in one line what the best is, and of how many."""
        plan = self.job.plan
        sizes = f"tp {plan.tp}, pp {plan.pp}, cp {plan.cp}, ep {plan.ep}, dp {plan.dp}"
        return f"<SearchResult: {sizes}, the best of {self.plans:,} plans: {self.best!r}>"

    @property
    def runner_up(self) -> float | None:
        """How much more the second best takes (seconds, dollars, joules), as a share, or None."""
        if len(self.candidates) < 2:
            return None
        best, second = (self.objective.of(one.result) for one in self.candidates[:2])
        return second / best - 1.0

    @property
    def frame(self) -> DataFrame:
        """One row per simulated plan; see `frames.search_frame`."""
        return search_frame(self)

    def heat_map(self) -> DataFrame:
        """Estimated MFU over tp x pp; see `frames.heat_map`."""
        return heat_map(self)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what `rackmodel search --plot` draws: MFU over tp and pp."""
        return cast("Axes", drawn("study.mfu_heat_map", self.heat_map().to_dict("records"), ax))

    def to_dict(self) -> dict[str, Any]:
        """What `rackmodel search --json` prints."""
        return search_dict(self)


def search_rows(found: SearchResult) -> list[dict[str, Any]]:
    """One row per plan: the best, then by their steps; of some only what their estimates say."""
    first, objective = found.candidates[0], found.objective
    by_steps = objective.key == "step_s"
    rows: list[dict[str, Any]] = []
    for candidate in found.candidates:
        result = candidate.result
        row = _row(first, candidate, candidate.step_s)
        row["estimate_error"] = candidate.estimate_s / candidate.step_s - 1.0
        if abs(row["estimate_error"]) > AGREE:
            name, seconds = difference(candidate.parts_s, result.breakdown_s)
            row["estimate_why"] = f"{REASONS[name]} ({name} {seconds:+.3g} s simulated)"
        if not by_steps:
            row |= {one.key: one.of(result) for one in OBJECTIVES.values()}
            row["behind"] = objective.of(result) / objective.of(first.result) - 1.0
            row["why"] = "" if candidate is first else objective.why(first.result, result)
        elif candidate is not first:
            name, seconds = why_slower(first.result.breakdown_s, result.breakdown_s)
            row["why"] = f"{WORDS.get(name, name)} +{seconds:.3g} s"
        rows.append(row)
    for other in found.others:
        row = _row(first, other, other.step_s)
        if not by_steps:
            row |= {one.key: None for one in OBJECTIVES.values() if one.key not in row}
            row[objective.key] = other.value
            row["behind"] = other.value / objective.of(first.result) - 1.0
        name, seconds = why_slower(first.parts_s, other.parts_s)
        row["why"] = f"{WORDS.get(name, name)} +{seconds:.3g} s by the estimate"
        rows.append(row)
    if by_steps:
        rows[1:] = sorted(rows[1:], key=lambda row: row["step_s"])
    return rows[: found.top]


def _row(first: Candidate, one: Candidate | Estimated, step_s: float) -> dict[str, Any]:
    faster, result = first.step_s / step_s, first.result
    return {
        "simulated": isinstance(one, Candidate),
        "step_s": step_s,
        "behind": step_s / first.step_s - 1.0,
        "tokens_per_s_per_gpu": result.tokens_per_s_per_gpu * faster,
        "mfu": result.mfu * faster,
        "hbm_used_bytes": float(sum(peak_memory(one.job)[1].values())),
        "estimate_s": one.estimate_s,
        "estimate_error": None,
        "estimate_why": "",
        "bound_s": one.bound_s,
        "plan": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(one.job.plan).items()
        },
        "why": "",
    }


def search_frame(found: SearchResult) -> DataFrame:
    """As `search_rows`, with the plan's axes as columns."""
    import pandas as pd

    rows = []
    for row in search_rows(found):
        plan = row.pop("plan")
        own = {name: plan[name] for name in AXES}
        own["offload"] = ",".join(plan["offload"])
        rows.append({**own, **row})
    return pd.DataFrame(rows)


_MORE = {"tokens": "longer", "usd": "more dollars a token", "watts": "more joules a token"}


def _chosen(found: SearchResult) -> Iterator[str]:
    """Say how far a plan can be trusted to be the best by another objective than steps."""
    if found.objective.key == "step_s":
        return
    least_s = min(one.step_s for one in found.candidates)
    yield (
        f"the closed form tells {found.objective.word} by seconds of kernels and of steps, on the "
        f"scale of the quickest plan; the step of the best takes "
        f"{found.best.step_s / least_s - 1.0:.2%} longer than the quickest"
    )


def search_dict(found: SearchResult) -> dict[str, Any]:
    """Rows, what the search covered, and notes for people."""
    runner_up = found.runner_up
    rows = search_rows(found)
    look = found.look
    free = 1.0 - look.room_bytes / look.planner.part.hbm_bytes
    left = f"{free:.0%} of HBM is left free" if free else "nothing fits with 5% of HBM left free"
    notes = [
        f"{found.plans:,} plans, {found.fitting:,} of them fit into "
        f"{look.room_bytes / 1e9:.0f} GB ({left}), {found.timed:,} were not ruled out by their "
        f"lower bounds, {len(found.candidates)} simulated",
        f"by their lower bounds, no plan that was not simulated can be faster by more than "
        f"{found.unbeaten:.1%}",
        f"the chance that one of these is better than the first by more than {COUNTED:.0%} is "
        f"{found.better_chance:.1%}, with estimates that are off by {found.spread:.1%} (one "
        "standard deviation)",
        *_chosen(found),
        f"closed form and simulation differ by at most {found.error:.1%} on those simulated"
        + ("; the rest is listed by its estimates" if found.others else ""),
    ]
    explained = [row for row in rows if row["estimate_why"]]
    if explained:
        worst = max(explained, key=lambda row: abs(row["estimate_error"]))
        at = rows.index(worst) + 1
        notes.append(f"plan {at}: {worst['estimate_error']:+.1%}: {worst['estimate_why']}")
    if runner_up is not None:
        more = _MORE[found.objective.word]
        notes.append(f"the second best of those simulated takes {runner_up:.2%} {more}")
    return {
        "objective": found.objective.word,
        "rows": rows,
        "plans": found.plans,
        "fitting": found.fitting,
        "timed": found.timed,
        "simulated": len(found.candidates),
        "runner_up": runner_up,
        "unbeaten_by_more_than": found.unbeaten,
        "closed_form_error": found.error,
        "better_chance": found.better_chance,
        "closed_form_spread": found.spread,
        **made_with(look.planner.catalog),
        "notes": notes,
    }


def heat_map(found: SearchResult) -> DataFrame:
    """MFU of the best fitting plan for every tp and pp: simulated where one of the pair was, else
    estimated.

    Returns
    -------
    Columns tp, pp, simulated, mfu (missing where nothing fits), step_s, hbm_bytes (of the plan that
    needs least). Of a pair whose plans are all far from the best only the most promising one was
    timed.
    """
    import pandas as pd

    look = found.look
    look.cells()
    space, estimates = look.space, look.estimates
    useful = found.best.mfu * found.best.step_s  # MFU of a step of one second
    lost = found.best.step_s / found.best.step.step_s  # what a whole step takes longer
    rows = []
    pairs = np.stack([space.column("tp"), space.pp], axis=1)
    for tp, pp in np.unique(pairs, axis=0).tolist():
        own = (pairs == (tp, pp)).all(axis=1)
        fits = own & (estimates.hbm_bytes <= look.room_bytes)
        fits &= np.isfinite(estimates.step_s)
        step_s = float(estimates.step_s[fits].min()) * lost if fits.any() else None
        played = [c.step_s for c in found.candidates if (c.job.plan.tp, c.job.plan.pp) == (tp, pp)]
        step_s = min(played, default=step_s)
        rows.append(
            {
                "tp": tp,
                "pp": pp,
                "simulated": bool(played),
                "mfu": None if step_s is None else useful / step_s,
                "step_s": step_s,
                "hbm_bytes": float(estimates.hbm_bytes[own].min()),
            }
        )
    return pd.DataFrame(rows).astype({"mfu": float, "step_s": float})
