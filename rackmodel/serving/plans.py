"""Plans of workers for a serving job: what can be, and which gives most tokens.

In:  a machine, a job, the fields of its plan that are kept.
Out: the job with the best plan; all that were tried, ranked.
Left out: other numbers of users (`front`).

Every plan that fits is tried, with steps whose exchanges are simulated at a few sizes
(`quick_steps`). The best one serves its users quickest, which at a given number of users is most
tokens per second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from rackmodel.errors import CannotRun, DoesNotFit, InvalidPlan, RackModelError
from rackmodel.hardware import Accelerator
from rackmodel.serving.phases import prefill_phase
from rackmodel.serving.quick_steps import QuickSteps
from rackmodel.serving.run import check_users, fitting, settle, steps_of
from rackmodel.serving.steady import Steady
from rackmodel.serving.steps import Steps
from rackmodel.stages import tell
from rackmodel.topology import Topology
from rackmodel.workload.models import Model
from rackmodel.workload.serving.job import ServingJob, Worker, check_serving, check_worker

SHARES = (0.1, 0.6)  # of the accelerators that run prompts, least and most, where that is searched
STAGES = (1, 2, 4)  # of a pipeline, where that is searched
MOST_TP = 64  # ranks that share attention heads: beyond, sums cost more than they save


PlanKey: TypeAlias = "tuple[Worker, Worker | None, int]"


def plan_key(job: ServingJob) -> PlanKey:
    """Return what tells the plan of a job from others."""
    return job.worker, job.prefill, job.prefill_gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A plan and what it gives."""

    job: ServingJob
    state: Steady

    @property
    def tokens_per_s(self) -> float:
        """Tokens of answers per second, all users together."""
        return self.state.requests_per_s * self.job.osl


class Known:
    """Plans that were tried: with more users none serves one of them quicker, or lets fewer wait.

    Subclasses say what makes a plan hopeless, by what it gave fewer users.
    """

    def __init__(self) -> None:
        self.tried: dict[PlanKey, list[Tried]] = {}

    def take(self, one: Tried) -> None:
        """Keep what a plan gives."""
        self.tried.setdefault(plan_key(one.job), []).append(one)

    def fewer(self, plan: ServingJob) -> Tried | None:
        """Return the same plan with most users of those that are no more than its own."""
        found = self.tried.get(plan_key(plan), ())
        fitting = (one for one in found if one.job.users <= plan.users)
        return max(fitting, key=lambda one: one.job.users, default=None)

    def promise(self, plan: ServingJob) -> float:
        """Return the order in which plans are tried: the quickest for fewer users first."""
        fewer = self.fewer(plan)
        return fewer.state.tpot_s if fewer else 0.0

    def hopeless(self, plan: ServingJob) -> bool:
        """Whether a plan need not be tried."""
        fewer = self.fewer(plan)
        return fewer is not None and self.beaten(plan, fewer)

    def beaten(self, plan: ServingJob, fewer: Tried) -> bool:
        """Whether a plan need not be tried, as it gave fewer users what it did."""
        return False


def workers_for(model: Model, gpus: int, fixed: Mapping[str, Any], domain: int) -> Iterator[Worker]:
    """Yield the workers that `gpus` accelerators can be cut into.

    fixed : fields of `Worker` that are kept. domain : accelerators of a scale-up domain; layers are
    cut into stages where one of them is a whole domain.
    """
    divisors = [n for n in range(1, gpus + 1) if gpus % n == 0]
    offload = fixed.get("weights_offload", 0.0)
    for tp in [fixed["tp"]] if "tp" in fixed else divisors:
        spreads = [False, True] if model.experts and tp > 1 else [False]
        for dp_attention in [fixed["dp_attention"]] if "dp_attention" in fixed else spreads:
            if not dp_attention and tp > MOST_TP:
                continue
            eps = [1, tp] if model.experts and tp > 1 else [1]
            eps = [tp] if dp_attention and "dp_attention" not in fixed else eps
            for ep in [fixed["ep"]] if "ep" in fixed else eps:
                for pp in [fixed["pp"]] if "pp" in fixed else (STAGES if tp == domain else [1]):
                    worker = Worker(
                        tp=tp, pp=pp, ep=ep, dp_attention=dp_attention, weights_offload=offload
                    )
                    try:
                        check_worker(worker, model, gpus)
                    except InvalidPlan:
                        continue
                    if model.experts % ep == 0:
                        yield worker


def splits(gpus: int) -> list[int]:
    """Return how many accelerators may run prompts: what is left decodes in eighths of a power of
    two, which groups of experts divide.

    >>> splits(72), splits(16), splits(2)
    ([8, 16, 24, 32, 40], [2, 4, 6, 8], [1])
    """
    unit = max(1, 2 ** (gpus.bit_length() - 1) // 8)
    least, most = (gpus * share for share in SHARES)
    return [gpus - d for d in range(gpus // unit * unit, 0, -unit) if least <= gpus - d <= most]


def candidates(
    job: ServingJob, fixed: Mapping[str, Any], steps: Steps, *, disaggregated: bool
) -> Iterator[ServingJob]:
    """Yield the plans of a job that leaves its workers open.

    Prompts run where an accelerator runs most of them, whatever decodes beside it.
    """
    domain = steps.machine.domain_accelerators
    if not job.prefill_gpus:
        for worker in workers_for(job.model, job.gpus, fixed, domain):
            yield job.replace(worker=worker)
    shares = [job.prefill_gpus] if job.prefill_gpus else []
    if disaggregated and not shares:
        shares = splits(job.gpus)
    for prefill_gpus in shares:
        prefill = job.prefill or _quickest_prefill(job, prefill_gpus, steps)
        if prefill is not None:
            for worker in workers_for(job.model, job.gpus - prefill_gpus, fixed, domain):
                yield job.replace(worker=worker, prefill=prefill, prefill_gpus=prefill_gpus)


def search_plans(
    machine: Topology,
    job: ServingJob,
    fixed: Mapping[str, Any],
    *,
    steps: Steps | None = None,
    disaggregated: bool = False,
    known: Known | None = None,
) -> list[Tried]:
    """Return all plans that fit, the best first.

    known : what was tried before; its hopeless plans are left out, others added.

    Raises
    ------
    InvalidPlan, DoesNotFit
        If no plan divides or fits, with the nearest reason.
    """
    steps = steps or steps_of(machine)
    quick = QuickSteps.of(steps)
    machine.units(job.gpus)
    tried: list[Tried] = []
    reasons: list[CannotRun] = []
    known = known or Known()
    plans = sorted(candidates(job, fixed, quick, disaggregated=disaggregated), key=known.promise)
    for plan in plans:
        if known.hopeless(plan):
            continue
        tell("plans served", len(tried) + len(reasons) + 1)
        try:
            tried.append(with_plan(plan, quick))
            known.take(tried[-1])
        except CannotRun as reason:
            reasons.append(reason)
    if not tried and len(reasons) == len(plans):
        raise _nearest(job, reasons, fixed)
    return sorted(tried, key=lambda one: (-one.tokens_per_s, one.job.worker.gpus))


def with_plan(plan: ServingJob, steps: Steps) -> Tried:
    """Return a job whose plan is complete, and what it gives.

    Raises
    ------
    InvalidInput, InvalidPlan, DoesNotFit
        If it can't be served.
    """
    check_serving(plan)
    most = check_users(plan, steps)
    return Tried(job=plan, state=settle(plan, steps, most / plan.workers))


def _quickest_prefill(job: ServingJob, gpus: int, steps: Steps) -> Worker | None:
    """Return the prefill worker that holds the weights and runs most tokens; None if none does."""
    alone = job.replace(prefill_gpus=0, prefill=None, gpus=gpus)
    fit = [
        worker
        for worker in workers_for(job.model, gpus, {}, steps.machine.domain_accelerators)
        if _holds(job, worker, steps.part)
    ]

    def rate(worker: Worker) -> float:
        return prefill_phase(alone.replace(worker=worker), steps, float(job.chunk))

    return max(fit, key=rate, default=None)


def _holds(plan: ServingJob, worker: Worker, part: Accelerator) -> bool:
    try:
        return fitting(plan, worker, part, plan.isl) >= 1
    except DoesNotFit:
        return False


def _nearest(job: ServingJob, reasons: list[CannotRun], fixed: Mapping[str, Any]) -> RackModelError:
    """Return why no plan can be: of those that nearly fit the one that holds most users."""
    if not reasons:
        check_worker(Worker(**fixed), job.model, job.decode_gpus)
        words = ", ".join(f"{name} {value}" for name, value in fixed.items()) or "any size"
        return InvalidPlan(
            f"no worker of {words} divides {job.gpus} accelerators and {job.model.heads} heads of"
            f" {job.model.name}"
        )
    return max(reversed(reasons), key=_users)


def _users(reason: CannotRun) -> int:
    return reason.users if isinstance(reason, DoesNotFit) else -2
