"""Verbs about the plan of a job: advice.

In:  a machine, a job or the words of `simulate`.
Out: `Answer`.
Left out: the search itself (`planning`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel.errors import CannotRun
from rackmodel.verbs.answer import Answer

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog
    from rackmodel.topology import Topology
    from rackmodel.workload import Job


def advise(
    topology: str | Path | Topology,
    job: Job | Mapping[str, Any],
    *,
    catalog: Catalog | None = None,
) -> Answer:
    """Tell what a plan wastes, what each single change of it gains, or what would fit instead.

    job : a `Job`, or the words of `simulate` that describe one and how it is simulated.

    Returns
    -------
    rows {choice, given, new, step_s, gain, flags, all_flags}, the fastest first: each choice set
    anew while the others stay; wasted {part, why, given_s, best_s}; step_s (None where the plan is
    refused, for the reason in refusal), best_step_s, times_as_fast, flags of the best plan.

    Raises
    ------
    InvalidInput, UnknownName
        As `simulate` does.
    CannotRun
        If the plan is refused, and no other plan runs.

    Examples
    --------
    >>> found = advise("dgx-h100", {"model": "gpt3-13b", "gpus": 8, "global_batch": 32,
    ...     "seq_len": 2048, "plan": {"tp": 8, "recompute": "full"}})
    >>> found["rows"][0]["choice"]
    'recompute'
    """
    from rackmodel import api
    from rackmodel.assess.run import run
    from rackmodel.planning import advice, job_words
    from rackmodel.workload import Job

    whole = isinstance(job, Job)
    words: dict[str, Any] = {"job": job} if isinstance(job, Job) else dict(job)
    words.setdefault("catalog", catalog)
    given: Any
    try:
        given = api.simulate(topology, **words)
    except CannotRun as reason:
        given = reason
    words = {**_defaults(api.simulate), **words}
    machine = api.machine_of(topology, words)
    site, options = job_words.site_of(words), job_words.options_of(words)
    wanted = job if isinstance(job, Job) else job_words.open_job(machine, words)
    found = advice.advice(
        machine,
        wanted,
        wanted.gpus if whole else int(words["gpus"]),
        job_words.plan_words(wanted.plan if whole else words["plan"] or {}),
        given=given,
        simulate=lambda one: run(
            machine, one, catalog=words["catalog"], site=site, options=options
        ),
        catalog=words["catalog"],
    )
    return Answer(found.to_dict())


def _defaults(verb: Any) -> dict[str, Any]:
    """Return the words of a verb as they are where they are not given."""
    known = inspect.signature(verb).parameters
    return {name: one.default for name, one in known.items() if one.default is not one.empty}
