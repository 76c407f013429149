"""The front of serving: what each accelerator gives at each speed that a user sees.

In:  a machine, a job without users, what of its plan is kept.
Out: `front_points`, plans and numbers of users that none beats in both; `front_rows`, as told.
Left out: what users want.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from rackmodel.annotations import Axes, DataFrame
from rackmodel.assess.site import Site
from rackmodel.errors import DoesNotFit, InvalidInput
from rackmodel.result.facts import placement_of
from rackmodel.result.notebook import Framed, drawn
from rackmodel.serving.outcome import plan_words
from rackmodel.serving.plans import Known, Tried, search_plans, with_plan
from rackmodel.serving.quick_steps import QuickSteps
from rackmodel.serving.run import check_stack, serve_job, steps_of
from rackmodel.serving.steady import CLOSE
from rackmodel.serving.steps import Steps
from rackmodel.serving.words import job_of_words
from rackmodel.topology import Topology
from rackmodel.workload.serving.job import ServingJob

USERS = tuple(2**power for power in range(18))
SETTLED = 1.0 - 2.0 * CLOSE  # of a time: two states are each settled to within CLOSE
HALVINGS = 3  # of the logarithm of users between two points, where a speed is asked for


@dataclass(frozen=True, kw_only=True)
class Front(Framed):
    """Points of the fronts of several machines, and why other machines have none."""

    rows: tuple[dict[str, Any], ...]
    reasons: Mapping[str, str]
    made: Mapping[str, Any] = field(default_factory=dict)  # version, and catalog of the parts

    @property
    def frame(self) -> DataFrame:
        """The points as a frame, one row each."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw what `rackmodel front --plot` draws.

        Raises
        ------
        InvalidInput
            If no machine has a point.
        """
        if not self.rows:
            raise InvalidInput("plot: no machine has a point; read .reasons, and change the job")
        return cast("Axes", drawn("serving.front_figure", self.rows, ax))

    def to_dict(self) -> dict[str, Any]:
        """Return everything that `rackmodel front --json` prints; SI units."""
        return {"rows": list(self.rows), "reasons": dict(self.reasons), **self.made}


def best(tried: Iterable[Tried]) -> list[Tried]:
    """Return those that no other one beats in both, the quickest for a user first."""
    found: list[Tried] = []
    for one in sorted(tried, key=lambda one: (one.state.tpot_s, -rate(one))):
        if not found or rate(one) > rate(found[-1]):
            found.append(one)
    return found


def rate(one: Tried) -> float:
    """Return tokens per second of an accelerator."""
    return one.tokens_per_s / one.job.gpus


class _Beaten(Known):
    """Plans of which those are hopeless that a point of the front beats, whatever they give.

    As quick as for fewer users, and users who wait no longer: that is the most that a plan can give
    more of them. queued : whether users may wait for a place.
    """

    def __init__(self, queued: bool) -> None:
        super().__init__()
        self.queued = queued
        self.points: list[Tried] = []

    def take(self, one: Tried) -> None:
        """Keep what a plan gives; put it on the front if it belongs there."""
        super().take(one)
        self.points = _front([*self.points, one], self.queued)

    def beaten(self, plan: ServingJob, fewer: Tried) -> bool:
        """Whether users wait who may not, or a point is quicker and gives more."""
        state = fewer.state
        if state.queued and not self.queued:
            return True
        cycle_s = (state.ttft_s + plan.decoded * state.tpot_s) * SETTLED
        most = plan.users * plan.osl / cycle_s / plan.gpus
        slower_s = state.tpot_s * SETTLED
        return any(one.state.tpot_s <= slower_s and rate(one) >= most for one in self.points)


def front_points(
    machine: Topology,
    job: ServingJob,
    fixed: Mapping[str, Any],
    *,
    users: Sequence[int] = (),
    speeds: Sequence[float] = (),
    steps: Steps | None = None,
    disaggregated: bool = False,
    queued: bool = True,
) -> list[Tried]:
    """Return the front over plans and numbers of users.

    users : to try; else all steps of a grid up to as many as fit. speeds : tokens/s of a user near
    which numbers between those of the grid are tried too. queued : whether users may wait for a
    place; a point where some do hides none where nobody does if not.

    Raises
    ------
    InvalidPlan, DoesNotFit
        If not even the fewest users can be served.
    """
    steps = QuickSteps.of(steps or steps_of(machine))
    tried = _Beaten(queued)
    for number in sorted(users or USERS):
        try:
            search_plans(
                machine,
                job.replace(users=number),
                fixed,
                steps=steps,
                disaggregated=disaggregated,
                known=tried,
            )
        except DoesNotFit:
            if not tried.tried:
                raise
            break
    points = tried.points
    for speed in speeds:
        points = _closer(points, speed, steps, queued)
    return points


def _front(tried: Iterable[Tried], queued: bool) -> list[Tried]:
    return best(one for one in tried if queued or not one.state.queued)


def _closer(points: list[Tried], speed: float, steps: QuickSteps, queued: bool) -> list[Tried]:
    """Return a front with points nearer to a speed: of both plans around it, with users between.

    Where the slowest plan is quicker still and nobody is to wait: with up to twice its users.
    """
    for halving in range(HALVINGS):
        above = [one for one in points if 1.0 / one.state.tpot_s >= speed]
        if not above or (queued and len(above) == len(points)):
            break
        ends = points[len(above) - 1 : len(above) + 1]
        numbers = [one.job.users for one in ends]
        middle = round(math.sqrt(numbers[0] * numbers[-1]))
        if len(ends) == 1:
            middle = round(numbers[0] * 2.0 ** (0.5 ** (halving + 1)))
        if middle in numbers:
            break
        points = _front([*points, *_tried([one.job for one in ends], middle, steps)], queued)
    return points


def _tried(plans: Iterable[ServingJob], users: int, steps: QuickSteps) -> Iterator[Tried]:
    for plan in dict.fromkeys(plan.replace(users=users) for plan in plans):
        try:
            yield with_plan(plan, steps)
        except DoesNotFit:
            continue


def front_rows(machine: Topology, words: Mapping[str, Any], *, site: Site) -> list[dict[str, Any]]:
    """Return the points of a machine's front with power and cost; words : of `front`."""
    numbers = tuple(sorted(set(words["users"] or ())))
    job, fixed = job_of_words(machine, {**words, "users": (numbers or (1,))[0]})
    check_stack(job.stack)
    catalog = words.get("catalog")
    steps = steps_of(machine, catalog, graphs=job.cuda_graphs)
    points = front_points(
        machine,
        job,
        fixed,
        users=numbers,
        steps=steps,
        disaggregated=bool(words.get("disaggregated")),
    )
    rows = []
    for point in points:
        result = serve_job(machine, point.job, catalog=catalog, site=site, steps=steps)
        told = result.assessment
        rows.append(
            {
                "topology": machine.name,
                "gpus": point.job.gpus,
                "users": point.job.users,
                "tokens_per_s_per_user": 1.0 / result.tpot_s,
                "tokens_per_s_per_gpu": rate(point),
                "tpot_s": result.tpot_s,
                "ttft_s": result.steady.ttft_s,
                "plan": plan_words(point.job),
                "usd_per_mtoken": told["cost"]["usd_per_mtoken"],
                "tokens_per_s_per_mw": told["tokens_per_s_per_mw"],
                "idle_share": placement_of(
                    result.decode.rank_map, point.job.decode_gpus, point.job.prefill_gpus
                )["idle_share"],
            }
        )
    return rows


def at_speed(points: Sequence[Tried], tokens_per_s_per_user: float) -> float | None:
    """Return tokens per second of an accelerator at a speed that users see, between two points.

    None where the machine is never that quick.
    """
    speeds = [1.0 / point.state.tpot_s for point in points]  # falling
    if not points or tokens_per_s_per_user > speeds[0]:
        return None
    pairs = itertools.pairwise(zip(speeds, points, strict=True))
    for (fast, quick), (slow, busy) in pairs:
        if slow <= tokens_per_s_per_user <= fast:
            share = (fast - tokens_per_s_per_user) / (fast - slow)
            return rate(quick) + share * (rate(busy) - rate(quick))
    return rate(points[-1])
