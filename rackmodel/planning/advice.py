"""What a plan wastes, and what each single change of it gains; what would fit where it is refused.

In:  a machine, a job whose plan is given, its simulated step or the reason why it is refused.
Out: `Advice`: one `Change` for each choice of the plan, the best of all plans, flags to paste.
Left out: other machines and batches, how things look.

A change sets one choice free while all others stay as they are given (replicas follow from the
rest), and takes what the search finds for it. Every step time here is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rackmodel.errors import CannotRun, DoesNotFit
from rackmodel.fields import options_of_record
from rackmodel.hardware import Catalog
from rackmodel.planning.best import search_job
from rackmodel.planning.candidates import Effort
from rackmodel.planning.frames import WORDS
from rackmodel.planning.space import SPACES, Choices
from rackmodel.result.result import Result
from rackmodel.topology import Topology
from rackmodel.workload import Job, Plan

#: Fields that one choice sets together, and the values in which those that no search varies rest.
CHOICES: Mapping[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "tensor parallelism": (("tp",), {}),
    "pipeline": (("pp", "vpp", "schedule"), {"stage_layers": ()}),
    "interleaving": (("vpp", "schedule"), {"stage_layers": ()}),
    "context parallelism": (("cp",), {}),
    "expert parallelism": (("ep", "etp"), {}),
    "micro-batch": (("micro_batch",), {}),
    "sharding": (("sharding",), {"shard_size": 0}),
    "recompute": (("recompute",), {"recompute_modules": (), "recompute_layers": None}),
    "offload": (("offload",), {"offload": ()}),
    "sequence parallelism": ((), {"sequence_parallel": True}),
    "overlap of gradients": ((), {"dp_overlap": True}),
}
#: What has to be said for a plan to be this one and no other of a search.
SAID = ("tp", "pp", "vpp", "cp", "ep", "etp", "micro_batch", "sharding", "recompute")
LEAST_GAIN = 0.005  # of the step: less is not worth a change, and within what models can tell


@dataclass(frozen=True, slots=True)
class Change:
    """One choice set anew, the others as given: the fastest that was found.

    fields : {field: (given, new)}; None where it was left open.
    """

    choice: str
    fields: Mapping[str, tuple[Any, Any]]
    result: Result


@dataclass(frozen=True)
class Advice:
    """What was found about a plan.

    given : its step; None where it is refused, for the reason in `refusal`. best : the fastest step
    of any plan that was looked at. changes : the fastest first.
    """

    job: Job
    given: Result | None
    refusal: str
    best: Result
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what `rackmodel advise --json` prints."""
        best, given = self.best, self.given
        rows = [self._row(change) for change in self.changes]
        return {
            "topology": best.topology,
            "model": self.job.model.name,
            "gpus": best.step.job.gpus,
            "refusal": self.refusal,
            "step_s": None if given is None else given.step_s,
            "best_step_s": best.step_s,
            "times_as_fast": None if given is None else given.step_s / best.step_s,
            "flags": flags(best.step.job.plan),
            "rows": rows,
            "wasted": [] if given is None else wasted(given.breakdown_s, best.breakdown_s),
        }

    def _row(self, change: Change) -> dict[str, Any]:
        step_s, plan = change.result.step_s, change.result.step.job.plan
        return {
            "choice": change.choice,
            "given": {name: values[0] for name, values in change.fields.items()},
            "new": {name: values[1] for name, values in change.fields.items()},
            "step_s": step_s,
            "gain": None if self.given is None else self.given.step_s / step_s - 1.0,
            "flags": " ".join(options_of_record(plan, tuple(change.fields))),
            "all_flags": flags(plan),
        }


def flags(plan: Plan) -> str:
    """Return the options of the command line that say a plan, and leave nothing to a search.

    >>> flags(Plan(tp=8, dp=2, rank_order="tp-cp-ep-pp-dp")).split("recompute none ")[1]
    '--plan rank_order=tp-cp-ep-pp-dp'
    """
    others = [
        name
        for name in Plan.__dataclass_fields__
        if name not in (*SAID, "dp") and getattr(plan, name) != getattr(Plan(), name)
    ]
    return " ".join(options_of_record(plan, (*SAID, *others)))


def wasted(given: Mapping[str, float], best: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the parts of a step that take longer than those of the best one, the longest first.

    >>> wasted({"compute": 1.0, "recompute": 0.3}, {"compute": 1.1})
    [{'part': 'recompute', 'why': 'recomputes activations', 'given_s': 0.3, 'best_s': 0.0}]
    """
    more = {part: seconds - best.get(part, 0.0) for part, seconds in given.items()}
    least = LEAST_GAIN * sum(given.values())
    return [
        {
            "part": part,
            "why": WORDS.get(part, part),
            "given_s": given[part],
            "best_s": best.get(part, 0.0),
        }
        for part in sorted(more, key=lambda part: -more[part])
        if more[part] > least
    ]


def advice(
    machine: Topology,
    job: Job,
    gpus: int,
    fixed: Mapping[str, Any],
    *,
    given: Result | CannotRun,
    simulate: Callable[[Job], Result],
    catalog: Catalog | None = None,
) -> Advice:
    """Look for what a plan leaves on the table.

    Parameters
    ----------
    job : its plan gives the fields that no choice sets. fixed : the fields that are given; of a
        plan that runs, what else its step has is fixed too. given : its step, or its refusal.
    simulate : a job whose plan is complete.

    Raises
    ------
    CannotRun
        If the plan is refused, and no other one fits.
    """
    searcher = _Searcher(machine, job, gpus, simulate, catalog)
    refused = given if isinstance(given, CannotRun) else None
    if isinstance(given, CannotRun):
        plan, kept = job.plan, dict(fixed)
    else:
        plan = replace(given.step.job.plan, dispatch_domain=job.plan.dispatch_domain)
        searcher.known[plan] = given
        kept = _values(plan)
    changes = []
    for choice, (fields, rest) in CHOICES.items():
        touched = {*fields, *rest}
        if refused is not None and not touched & kept.keys():
            continue
        result = searcher.freed(choice, plan, kept)
        changed = {} if result is None else _changed(kept, result.step.job.plan, touched)
        if result is not None and changed:
            changes.append(Change(choice, changed, result))
    options = [change.result for change in changes]
    if (best := searcher.best(job.plan)) is not None:
        options.append(best)
    if not isinstance(given, CannotRun):
        options.append(given)
    elif not options:
        raise given
    changes.sort(key=lambda change: change.result.step_s)
    return Advice(
        job=job,
        given=None if isinstance(given, CannotRun) else given,
        refusal="" if refused is None else str(refused),
        best=min(options, key=lambda one: one.step_s),
        changes=tuple(_distinct(changes)),
    )


@dataclass(slots=True)
class _Searcher:
    """Searches among some plans of a job; what was simulated is kept."""

    machine: Topology
    job: Job
    gpus: int
    simulate: Callable[[Job], Result]
    catalog: Catalog | None
    known: dict[Plan, Result] = field(default_factory=dict)

    def freed(self, choice: str, plan: Plan, kept: Mapping[str, Any]) -> Result | None:
        """Return the fastest step with one choice free and what is `kept` of the others."""
        fields, rest = CHOICES[choice]
        settled = {name for others, _ in CHOICES.values() for name in others} - {*fields, *rest}
        fixed = {name: value for name, value in kept.items() if name in settled}
        if fixed.get("schedule") == "":
            fixed["schedule"] = plan.order
        space = SPACES["offload" if choice == "offload" else "sensible"]
        try:
            return self._found(replace(plan, dp=None, **rest), fixed, space, Effort(most=1))
        except CannotRun:
            return None

    def best(self, plan: Plan) -> Result | None:
        """Return the best of all plans, parts in host memory only where nothing fits without."""
        rest = {name: value for _, values in CHOICES.values() for name, value in values.items()}
        for space in ("sensible", "offload"):
            try:
                return self._found(replace(plan, dp=None, **rest), {}, SPACES[space], Effort())
            except DoesNotFit:
                continue
            except CannotRun:
                break
        return None

    def _found(
        self, base: Plan, fixed: Mapping[str, Any], choices: Choices, effort: Effort
    ) -> Result:
        return search_job(
            self.machine,
            self.job.replace(plan=base),
            self.gpus,
            fixed=fixed,
            catalog=self.catalog,
            choices=choices,
            effort=effort,
            simulate=self._once,
        ).best

    def _once(self, plan: Plan) -> Result:
        if plan not in self.known:
            self.known[plan] = self.simulate(self.job.replace(plan=plan))
        return self.known[plan]


def _values(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan, name) for name in Plan.__dataclass_fields__}


def _changed(given: Mapping[str, Any], plan: Plan, touched: set[str]) -> dict[str, tuple[Any, Any]]:
    """Return {field: (given, new)} of what differs among these fields."""
    new = {name: getattr(plan, name) for name in Plan.__dataclass_fields__ if name in touched}
    return {
        name: (given.get(name), value)
        for name, value in new.items()
        if name in given and given[name] != value
    }


def _distinct(changes: list[Change]) -> list[Change]:
    """Leave out a choice that found the same plan as one of fewer fields."""
    told: dict[Plan, Change] = {}
    for change in changes:
        plan = change.result.step.job.plan
        if plan not in told or len(change.fields) < len(told[plan].fields):
            told[plan] = change
    return list(told.values())
