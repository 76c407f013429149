"""A served model on domains of every size, at a speed that each user sees.

In:  machines of one accelerator that differ in their domains, the words of a serving job.
Out: `served_domains`, for each the plan and users with most tokens/s per accelerator; `finding`.
Left out: the machines (`sold_domains`), fronts without a wish (`serving.pareto`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rackmodel import gate
from rackmodel.argument.domain_sizes import (
    Found,
    copper_end,
    each_row,
    left_out,
    sold_all,
    that_ran,
)
from rackmodel.argument.sold_domains import reach, sold_notes
from rackmodel.assess.site import Site
from rackmodel.engine.networks import clear_caches
from rackmodel.errors import CannotRun, DoesNotFit
from rackmodel.hardware import Catalog, load_catalog
from rackmodel.planning.job_words import served_site_of
from rackmodel.serving.pareto import rate
from rackmodel.serving.plans import Known, Tried, search_plans
from rackmodel.serving.quick_steps import QuickSteps
from rackmodel.serving.run import check_stack, serve_job, steps_of
from rackmodel.serving.steps import Steps
from rackmodel.serving.words import job_of_words
from rackmodel.topology import Topology
from rackmodel.workload import load_model
from rackmodel.workload.serving.job import ServingJob

WIDE, HALVINGS = 4, 4  # factor between numbers of users first tried; halvings of its logarithm
KEPT = (
    *("tokens_per_s_per_gpu", "input_tokens_per_s_per_gpu", "tokens_per_s_per_user", "users"),
    *("tpot_s", "ttft_s", "plan", "breakdown_s", "bound_by", "hbm"),
    *("energy_j_per_token", "tokens_per_s_per_mw"),
)


class ServedDomains(Found):
    """What `domains_serving` returns."""

    isl: int
    osl: int
    tokens_per_s_per_user: float


def served_domains(words: Mapping[str, Any]) -> ServedDomains:
    """Serve the job that `words` of the verb describe on each domain."""
    speed = gate.number(words["tokens_per_s_per_user"], "1", "tokens_per_s_per_user", positive=True)
    parts = words["catalog"] or load_catalog()
    machines = sold_all(words, parts)
    rows = _rows(machines, words, speed, parts, served_site_of(words))
    ran = that_ran(rows, "serve this")
    for row in ran:
        row["gain"] = row["tokens_per_s_per_gpu"] / ran[0]["tokens_per_s_per_gpu"] - 1.0
    return {
        "model": load_model(words["model"]).name,
        "accelerator": words["accelerator"],
        "gpus": words["gpus"],
        "isl": words["isl"],
        "osl": words["osl"],
        "tokens_per_s_per_user": speed,
        "finding": finding(ran, speed),
        "copper_ends": copper_end(ran),
        "rows": rows,
        "notes": [
            *left_out(words["domains"], words["gpus"], machines),
            *sold_notes(machines, (words["medium"], words["taper"])),
        ],
    }


def _rows(
    machines: Sequence[Topology],
    words: Mapping[str, Any],
    speed: float,
    parts: Catalog,
    site: Site,
) -> list[dict[str, Any]]:
    """Return a row for each machine, smallest domain first; words : of `domains_serving`.

    Each domain also tries the users that were best for smaller ones, so that the grid of users
    never makes a larger domain look worse.

    Raises
    ------
    InvalidInput, UnknownName, InvalidPlan
        For words that mean nothing.
    """
    jobs = [job_of_words(machine, {**words, "users": 1}) for machine in machines]
    check_stack(jobs[0][0].stack)
    chosen: list[int] = []

    def row_of(place: int) -> dict[str, Any]:
        machine, (job, fixed) = machines[place], jobs[place]
        steps, apart = steps_of(machine, parts), bool(words["disaggregated"])
        look = _Search(machine, job, fixed, QuickSteps.of(steps), speed, apart=apart)
        best = look.best(chosen)
        chosen.append(best.job.users)
        return _row(machine, best.job, steps, parts, site)

    return each_row(machines, row_of, clear_caches, words["progress"])


class _Slow(Known):
    """Plans of which those that are too slow for fewer users are hopeless."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self.speed = speed

    def beaten(self, plan: ServingJob, fewer: Tried) -> bool:
        """Whether users see less than the speed."""
        return 1.0 / fewer.state.tpot_s < self.speed


@dataclass(slots=True)
class _Search:
    """The plan and users with most tokens/s per accelerator whose users see a speed at least."""

    machine: Topology
    job: ServingJob
    fixed: Mapping[str, Any]
    steps: Steps
    speed: float
    apart: bool = True
    quickest: float = 0.0  # tokens/s that a user sees, of all that was tried
    _known: dict[int, Tried | None] = field(default_factory=dict)
    _tried: Known = field(init=False)

    def __post_init__(self) -> None:
        self._tried = _Slow(self.speed)

    def best(self, also: Sequence[int]) -> Tried:
        """Return the best; also : numbers of users to try beside those that the search meets.

        Of one plan more users make more tokens/s, each of them slower: numbers grow by a factor
        until no plan is quick enough, then the factor above the best one is halved.

        Raises
        ------
        CannotRun
            If no plan is ever that quick, or none fits.
        """
        if self._at(1) is None:
            raise CannotRun(
                f"the quickest plan gives a user {self.quickest:,.4g} tokens/s,"
                f" fewer than {self.speed:,.6g}"
            )
        users = 1
        while self._at(users) is not None:
            users *= WIDE
        low = self._most().job.users
        high = low * WIDE
        for _ in range(HALVINGS):
            middle = round(math.sqrt(low * high))
            if middle in (low, high):
                break
            found, before = self._at(middle), self._most()
            better = found is not None and found is before
            low, high = (middle, high) if better else (low, middle)
        for number in also:
            self._at(number)
        return self._most()

    def _most(self) -> Tried:
        """Return the best until now; of equals the one with fewest users."""
        found = [self._known[users] for users in sorted(self._known)]
        return max((one for one in found if one is not None), key=rate)

    def _at(self, users: int) -> Tried | None:
        """Return the best plan at a number of users; None if none is quick enough or fits.

        Users who only wait for others to finish count as too many.
        """
        if users not in self._known:
            points: list[Tried] = []
            try:
                points = search_plans(
                    self.machine,
                    self.job.replace(users=users),
                    self.fixed,
                    steps=self.steps,
                    disaggregated=self.apart,
                    known=self._tried,
                )
            except DoesNotFit:
                if users == 1:
                    raise
            speeds = [1.0 / one.state.tpot_s for one in points]
            self.quickest = max([self.quickest, *speeds])
            quick = [
                one
                for one, speed in zip(points, speeds, strict=True)
                if speed >= self.speed and not one.state.queued
            ]
            self._known[users] = max(quick, key=rate, default=None)
        return self._known[users]


def _row(
    machine: Topology, job: ServingJob, steps: Steps, parts: Catalog, site: Site
) -> dict[str, Any]:
    """Return the figures of one domain."""
    result = serve_job(machine, job, catalog=parts, site=site, steps=steps)
    told: Mapping[str, Any] = result.to_dict()
    rack = max(told["racks"], key=lambda one: one["heat_w"])
    low, high = result.band
    ends = ("", "_low", "_high")
    return {
        "domain_accelerators": machine.domain_accelerators,
        "medium": reach(machine),
        **{key: told[key] for key in KEPT},
        "tokens_per_s_per_user_low": told["tokens_per_s_per_user"] / high,
        "tokens_per_s_per_user_high": told["tokens_per_s_per_user"] / low,
        "heat_w_per_rack": rack["heat_w"],
        "heat_w_per_rack_low": rack["heat_w_low"],
        "heat_w_per_rack_high": rack["heat_w_high"],
        "rack_accelerators": rack["accelerators"],
        **{f"usd_per_mtoken{end}": told["cost"][f"usd_per_mtoken{end}"] for end in ends},
        "capital_usd_per_gpu": told["cost"]["capital_usd"] / job.gpus,
    }


def finding(rows: Sequence[Mapping[str, Any]], speed: float) -> str:
    """Say in one sentence what growing the domain does; rows : those that ran, smallest first.

    >>> finding([{"domain_accelerators": n, "tokens_per_s_per_gpu": t, "usd_per_mtoken": 1.0}
    ...     for n, t in ((8, 800.0), (72, 1600.0))], 100.0)
    'at 100 tokens/s a user, 72 give 2.00 times the tokens/s of 8; cheapest tokens at 8'
    """
    first, best = rows[0], max(rows, key=lambda row: row["tokens_per_s_per_gpu"])
    size, small = best["domain_accelerators"], first["domain_accelerators"]
    ratio = best["tokens_per_s_per_gpu"] / first["tokens_per_s_per_gpu"]
    told = f"{size} give {ratio:.2f} times the tokens/s of {small}"
    if len(rows) == 1:
        told = f"only a domain of {small} serves it"
    elif best is first:
        told = f"no larger domain gives more tokens/s than {small}"
    cheap = min(rows, key=lambda row: row["usd_per_mtoken"])
    return (
        f"at {speed:g} tokens/s a user, {told}; cheapest tokens at {cheap['domain_accelerators']}"
    )
