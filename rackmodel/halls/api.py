"""The front door of halls.

In:  a SPEC.toml or the same as a mapping.
Out: `hall`.
Left out: what its words mean (`spec`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rackmodel.assess.site import Site
from rackmodel.engine.options import EngineOptions
from rackmodel.halls.run import Hall, run_hall
from rackmodel.halls.spec import read_hall
from rackmodel.hardware import Catalog
from rackmodel.planning.job_words import checked
from rackmodel.topology import load_topology


@checked
def hall(
    spec: str | Path | Mapping[str, Any],
    *,
    fold: bool = True,
    catalog: Catalog | None = None,
    site: Site | Mapping[str, Any] | None = None,
) -> Hall:
    """Run several jobs on racks of one machine, sharing its links: who slows whom, and the power.

    spec : a TOML file or a mapping with machine, steps (of the job with the longest ones, 3), set
        (changes of the machine's file) and jobs, each with name, racks ("0-3" or a list) and the
        words of `simulate` or, with users, of `serve`; gpus are those of the racks if left out.
    fold : simulate ranks that are alike once, over all jobs (exact). catalog, site : as in
        `simulate`.

    All jobs begin at once, on max-min shares of what they share. Jobs that share no link do not
    change each other by a bit. Served jobs run the steps of their steady state; with prefill_gpus
    prompts have workers of their own, and their caches are flows beside all others.

    Returns
    -------
    Hall : `to_dict()` with the keys of `--json`: rows {job, kind, racks, gpus, steps_run,
    step_alone_s, step_s, slowdown, tokens_per_s_alone, tokens_per_s, slowed_by {job: slowdown},
    steps {end_s, alone_s, step_s, slowdown}, tpot_s, tpot_alone_s,
    requests and requests_alone (percentiles of single requests) of served ones; ttft_s,
    ttft_alone_s and phases {steps, prompts, caches} where prompts run apart}, racks {rack, job,
    mean_w, peak_w, power_w}, over_time, window_s: until the first job has run its steps.

    Raises
    ------
    InvalidInput, UnknownName, CannotRun, InvalidPlan, DoesNotFit
        If the spec is none, or a job can't run on its racks.

    Examples
    --------
    >>> words = {"model": "gpt3-13b", "global_batch": 32, "seq_len": 2048}
    >>> words |= {"plan": {"tp": 8, "pp": 1, "micro_batch": 1}, "default_plan": True}
    >>> jobs = [{"name": n, "racks": r, **words} for n, r in (("a", "0"), ("b", "1"))]
    >>> found = hall({"machine": "dgx-h100", "jobs": jobs, "steps": 1})
    >>> [row["slowdown"] for row in found.to_dict()["rows"]]
    [1.0, 1.0]
    """
    read = read_hall(spec)
    machine = load_topology(read.machine, overrides=read.changes or None, catalog=catalog)
    return run_hall(
        machine, read, catalog=catalog, site=Site.of(site), options=EngineOptions(fold=fold)
    )
