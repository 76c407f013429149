"""The job that words describe: every word checked, the plan completed or searched.

In:  words of a front-door verb, {name: value}; a machine.
Out: `checked`, `open_job`, `complete_job`; for a word in the wrong place the error that says where
     it belongs.
Left out: how plans are searched (`best`).
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any, ParamSpec, TypeVar

from rackmodel import gate
from rackmodel.assess.run import check_named
from rackmodel.assess.site import Site
from rackmodel.assess.stops import Stops
from rackmodel.engine.options import EngineOptions
from rackmodel.errors import DoesNotFit, InvalidInput, InvalidPlan, RackModelError, UnknownName
from rackmodel.fields import MOST_RANKS, MOST_WHOLE, kinds_of, record
from rackmodel.planning.best import search_with_host
from rackmodel.planning.candidates import Candidate
from rackmodel.topology import Topology
from rackmodel.workload import Job, Model, Plan, check, load_model
from rackmodel.workload.placement import dp_block

Words = ParamSpec("Words")
Answer = TypeVar("Answer")
DEFAULT_SEQ_LEN = 4096
MOST_OF = {"gpus": MOST_RANKS, "top": 100_000}


def misplaced(
    name: str, value: object, here: str, what: str, known: Iterable[str]
) -> RackModelError:
    """Return the error for a word that is not known here: where it belongs, or the nearest one."""
    shown = repr(value) if isinstance(value, str | int | float | bool) else "..."
    known = set(known)
    places = {"plan": kinds_of(Plan), "site": kinds_of(Site)}
    if "stops" in known:
        places["stops"] = kinds_of(Stops)
    for place, here_known in places.items():
        if name in here_known and place != here and (here or {place, "job"} & known):
            return InvalidInput(
                f'{name} is a field of the {place}; write {place}={{"{name}": {shown}}}'
            )
    if name in ("set", "overrides"):
        return InvalidInput(
            f"{name} is no {what}; write catalog=rackmodel.load_catalog(overrides={{...}}) for"
            " values of parts, rackmodel.load_topology(NAME, overrides={...}) for the machine's"
        )
    if here and name in ("gpus", *kinds_of(Job), *kinds_of(EngineOptions)):
        return InvalidInput(
            f"{name} is no field of the {here}; write {name}={shown} beside {here}="
        )
    return UnknownName.among(
        what, name, known | kinds_of(Plan).keys() if "plan" in known else known
    )


def site_of(words: Mapping[str, Any]) -> Site:
    """Return where the machine stands."""
    given = words["site"]
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if name not in kinds_of(Site):
            raise misplaced(str(name), value, "site", "field of the site", kinds_of(Site))
    more = {name: words.get(name) for name in ("media", "run_tokens", "power_cap_w")}
    return Site.of(given, **more)


def served_site_of(words: Mapping[str, Any]) -> Site:
    """Return where a machine that serves stands; it has no steps whose power could be smoothed."""
    found = site_of(words)
    if found.smoothing:
        raise InvalidInput("smoothing acts on the steps of training; leave it out of what serves")
    return found


def options_of(words: Mapping[str, Any]) -> EngineOptions:
    """Return how the step is simulated."""
    given = {name: words[name] for name in kinds_of(EngineOptions) if name in words}
    given |= {name: {} for name in ("slow", "mixed") if given.get(name, ()) is None}
    made = record(EngineOptions, given, "engine's options")
    if made.seed and made.routing != "ecmp":
        raise InvalidInput(
            f'seed: only routing="ecmp" hashes, {made.routing!r} does not; leave seed out'
        )
    return made


def plan_words(plan: Mapping[str, Any] | Plan) -> dict[str, Any]:
    """Return the fields that are given, each checked; of a whole `Plan` all of them."""
    if isinstance(plan, Plan):
        return {name: getattr(plan, name) for name in kinds_of(Plan)}
    for name, value in plan.items() if isinstance(plan, Mapping) else ():
        if name not in kinds_of(Plan):
            raise misplaced(str(name), value, "plan", "field of the plan", kinds_of(Plan))
    made = Plan.of(plan)
    return {name: getattr(made, name) for name in plan}


def command_words(plan: Plan) -> list[str]:
    """Return the words of a command line that say a whole plan; dp follows from the rest.

    >>> command_words(Plan(tp=8, pp=2, dp=4, ep_overlap=True))
    ['--default-plan', '--tp', '8', '--pp', '2', '--plan', 'ep_overlap=true']
    """
    words = ["--default-plan"]
    given = {one.name: one for one in fields(Plan)}
    del given["dp"]
    for name, one in given.items():
        usual = one.default_factory() if one.default_factory is not MISSING else one.default
        value = getattr(plan, name)
        if value == usual or value is None:
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        option = str(one.metadata["option"]).split(" ")[0]
        if isinstance(value, bool) or not option:
            words += ["--plan", f"{name}={text.lower() if isinstance(value, bool) else text}"]
        else:
            words += [option, text]
    return words


def open_job(machine: Topology, words: Mapping[str, Any]) -> Job:
    """Return the job that `words` describe, its plan not yet complete."""
    for name in ("model", "gpus", "global_batch"):
        if words[name] is None:
            raise InvalidInput(f"give a job, or model, gpus and global_batch; {name} is missing")
    # More than the machine has is refused before anything is worked out.
    machine.units(whole("gpus", words["gpus"]))
    check_named(machine)
    model, seq_len = words["model"], words["seq_len"]
    what = model if isinstance(model, Model) else load_model(model)
    given = {name: words[name] for name in kinds_of(Job) if name in words}
    given |= {
        "model": what,
        "plan": Plan.of(plan_words(words["plan"] or {})),
        "global_batch": whole("global_batch", words["global_batch"]),
        "seq_len": (what.learned_positions or DEFAULT_SEQ_LEN)
        if seq_len is None
        else whole("seq_len", seq_len),
    }
    return record(Job, given, "job")


def complete_job(machine: Topology, words: Mapping[str, Any]) -> Job | Candidate:
    """Return the job that `words` describe; where its plan is open, the best of a search."""
    job, gpus = open_job(machine, words), int(words["gpus"])
    given = plan_words(words["plan"] or {})
    if not words["default_plan"] and _is_open(given, job):
        try:
            found = search_with_host(machine, job, gpus, fixed=given, catalog=words["catalog"])
            return found.candidates[0]
        except DoesNotFit:
            if words.get("check_memory", True):
                raise  # otherwise the defaults run as well as any plan
        except InvalidPlan:
            _blame(job, job.plan, gpus)
            raise
    return job.replace(plan=job.plan.complete(gpus, job.global_batch))


def check_job_alone(verb: str, job: object, words: Mapping[str, object]) -> None:
    """Refuse words that describe a job beside a job: it says all of them."""
    if not isinstance(job, Job):
        raise InvalidInput(
            f"job: expected a rackmodel.Job, found {job!r:.60}; name a model by model="
        )
    for name, value in words.items():
        if name == "plan" and verb == "search":
            continue
        if name in kinds_of(Job) or name in ("gpus", "default_plan"):
            remedy = f"job.replace({name}={value!r:.40})"
            if name == "gpus":
                replica = job.plan.tp * job.plan.pp * job.plan.cp
                remedy = f"job.replace(dp=...); its accelerators are {replica} x dp"
            elif name == "plan":
                given = value if isinstance(value, Mapping) else {"tp": 8}
                remedy = f"job.replace({', '.join(f'{k}={v!r:.40}' for k, v in given.items())})"
            raise InvalidInput(
                f"{name} describes a job, and a job is given, which says it; write {remedy}"
            )


def checked(verb: Callable[Words, Answer]) -> Callable[Words, Answer]:
    """Refuse words that a verb does not have or that can't act, with what to write instead."""
    parameters = inspect.signature(verb).parameters
    by_place = [name for name, one in parameters.items() if one.kind is not one.KEYWORD_ONLY]

    @functools.wraps(verb)
    def call(*args: Words.args, **words: Words.kwargs) -> Answer:
        placed = by_place[: len(args)]
        for name, value in words.items():
            if name not in parameters:
                if "job" in by_place and name in ("gpus", "plan", *kinds_of(Job)):
                    raise InvalidInput(
                        f'{name} describes the job; write {verb.__name__}(topology, {{"{name}":'
                        ' ..., "global_batch": ...})'
                    )
                if "result" in by_place and name in ("topology", "gpus", "plan", *kinds_of(Job)):
                    raise InvalidInput(
                        f"{name} describes the job; write {verb.__name__}(rackmodel.simulate("
                        f"topology, {name}=..., ...))"
                    )
                raise misplaced(name, value, "", f"word of {verb.__name__}", parameters)
        gate.check_call(verb, args, words)
        if "result" in parameters:
            _is_result(verb.__name__, args[0] if placed else words["result"])
        job = args[placed.index("job")] if "job" in placed else words.get("job")
        worded = job is not None and "Mapping" in str(parameters["job"].annotation)
        if job is not None and not (worded and isinstance(job, Mapping)):
            check_job_alone(verb.__name__, job, words)
        return verb(*args, **words)

    return call


def _is_result(verb: str, value: object) -> None:
    """Refuse what is no result of a step."""
    from rackmodel.result.result import Result

    if not isinstance(value, Result):
        raise InvalidInput(
            f"{verb}: expected a result of rackmodel.simulate, found {value!r:.60}; write"
            f" {verb}(rackmodel.simulate(...))"
        )


def whole(name: str, value: object) -> int:
    """Return a whole number of at least 1."""
    return gate.whole(value, name, most=MOST_OF.get(name, MOST_WHOLE), words=False)


def _blame(job: Job, wanted: Plan, gpus: int) -> None:
    """Raise what is wrong with the given values themselves, if that is why no plan was found.

    What the model does not allow comes before what the number of accelerators does not, of which
    an open dp comes: first it is as small as experts and shards let it be, with batch enough.
    """
    if wanted.dp is None:
        dp = dp_block(wanted)
        batch = dp * math.lcm(job.global_batch, wanted.micro_batch)
        check(job.replace(plan=replace(wanted, dp=dp), global_batch=batch))
    try:
        whole = wanted.complete(gpus)
    except InvalidPlan:
        return
    check(job.replace(plan=whole))


def _is_open(plan: Mapping[str, Any], job: Job) -> bool:
    """Return whether a plan leaves something that matters to the search."""
    matter = {"tp", "pp", "vpp", "cp", "micro_batch", "sharding", "recompute"}
    if job.model.moe_layers:
        matter |= {"ep", "etp"}
    return not matter <= set(plan)
