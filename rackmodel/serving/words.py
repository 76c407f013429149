"""The serving job that users' words describe, and its result.

In:  a machine, the words of `rackmodel.serve`.
Out: `served`; `job_of_words`, a job whose workers may still be open.
Left out: what the words mean to the model (`workload.serving`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from rackmodel.assess.site import Site
from rackmodel.engine.options import EngineOptions
from rackmodel.errors import InvalidInput, InvalidPlan
from rackmodel.fields import check_values, kinds_of, record
from rackmodel.serving.outcome import ServingResult
from rackmodel.serving.plans import search_plans
from rackmodel.serving.run import check_stack, serve_job, steps_of
from rackmodel.serving.steps import Steps
from rackmodel.topology import Topology
from rackmodel.workload import load_model
from rackmodel.workload.serving.job import ServingJob, Worker

OPEN = {"model", "worker", "gpus", "weights", "prefill", "prefill_gpus"}  # until all are read


def job_of_words(machine: Topology, words: Mapping[str, Any]) -> tuple[ServingJob, dict[str, Any]]:
    """Return the job, and the fields of its workers that were given.

    Raises
    ------
    InvalidInput, UnknownName, InvalidPlan
        For words that mean nothing or contradict one another.
    """
    model = load_model(words["model"])
    gpus = words.get("gpus")
    prefill_gpus, decode_gpus = words.get("prefill_gpus"), words.get("decode_gpus")
    if prefill_gpus and decode_gpus:
        if gpus is not None and gpus != prefill_gpus + decode_gpus:
            raise InvalidPlan(
                f"prefill_gpus {prefill_gpus} and decode_gpus {decode_gpus} do not make {gpus}"
            )
        gpus = prefill_gpus + decode_gpus
    fixed = {name: words[name] for name in kinds_of(Worker) if words.get(name) is not None}
    if gpus is None:
        gpus = machine.domain_accelerators
        if fixed.get("tp", 1) * fixed.get("pp", 1) > gpus or decode_gpus or prefill_gpus:
            raise InvalidInput(
                "gpus: give how many where a worker spans scale-up domains or prompts run apart"
            )
    if decode_gpus and not prefill_gpus:
        prefill_gpus = gpus - decode_gpus
    apart = prefill_gpus or 0
    if not 0 <= apart < gpus:
        raise InvalidPlan(f"prefill_gpus {apart} of {gpus} leave none to decode")
    job = ServingJob(
        model=model,
        worker=Worker(**{name: fixed[name] for name in ("tp", "pp") if name in fixed}),
        gpus=gpus,
        prefill_gpus=apart,
        weights=words.get("weights") or model.published_format or "fp8",
        **{name: words[name] for name in kinds_of(ServingJob).keys() - OPEN if name in words},
    )
    if prefill := words.get("prefill"):
        if not apart:
            raise InvalidPlan("prefill: workers for prompts need prefill_gpus")
        job = job.replace(prefill=record(Worker, prefill, "prefill worker"))
    check_values(job)
    _check_heeded(job)
    check_values(record(Worker, fixed, "worker"))
    return job, fixed


def _check_heeded(job: ServingJob) -> None:
    """Refuse words that change nothing of this job."""
    default = {one.name: one.default for one in fields(ServingJob)}
    if not job.mtp and job.acceptance != default["acceptance"]:
        raise InvalidInput("acceptance: no tokens are drafted; give mtp too, or leave it out")
    for name in ("routing_skew", "routing_seed"):
        if not job.model.experts and getattr(job, name) != default[name]:
            raise InvalidInput(f"{name}: {job.model.name} has no experts; leave it out")


def served(
    machine: Topology, words: Mapping[str, Any], *, site: Site, options: EngineOptions
) -> ServingResult:
    """Return the result of the job that words describe; what its plan leaves open is searched."""
    catalog = words.get("catalog")
    job, steps = planned(machine, words, options=options)
    return serve_job(machine, job, catalog=catalog, site=site, options=options, steps=steps)


def planned(
    machine: Topology,
    words: Mapping[str, Any],
    *,
    options: EngineOptions,
    steps: Steps | None = None,
) -> tuple[ServingJob, Steps]:
    """Return the job that words describe, its plan complete, and the steps of its machine."""
    job, fixed = job_of_words(machine, words)
    check_stack(job.stack)
    steps = steps or steps_of(machine, words.get("catalog"), options, graphs=job.cuda_graphs)
    complete = "tp" in fixed and ("dp_attention" in fixed or not job.model.experts)
    if complete and (job.prefill is not None or not job.prefill_gpus):
        worker = Worker(**{"ep": 1, **fixed})
        if worker.dp_attention and "ep" not in fixed and job.model.experts:
            worker = Worker(**{**fixed, "ep": fixed["tp"]})
        return job.replace(worker=worker), steps
    tried = search_plans(
        machine,
        job,
        fixed,
        steps=steps,
        disaggregated=not fixed and bool(words.get("disaggregated", True)),
    )
    return tried[0].job, steps
