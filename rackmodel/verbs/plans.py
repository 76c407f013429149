"""Verbs about steps that are given: advice on a plan, recorded ones elsewhere, what two differ in.

In:  a machine; a job or the words of `simulate`, or files of traces.
Out: `Answer`.
Left out: the search itself (`planning`), formats of traces (`traces`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel import gate
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.files import is_folder, read_json, whole_file, write_whole
from rackmodel.reporting.difference import difference
from rackmodel.verbs.answer import Answer, checked

ENDINGS = (".json", ".json.gz", ".et")

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog
    from rackmodel.result.result import Result
    from rackmodel.topology import Topology
    from rackmodel.workload import Job


@checked
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
    told = found.to_dict()
    return Answer(told, "levers.changes", {"found": told})


@gate.called
def emit(job: Job | Result, framework: str) -> str:
    """Return what launches a job, or the plan of a result: a framework's arguments or file.

    framework : megatron, nemo, torchtitan, deepspeed or maxtext. `read_launch` reads it back.

    Raises
    ------
    InvalidInput
        If the framework has no word for a choice of the plan, or a job leaves open what follows
        from its machine.
    """
    from rackmodel.result.result import Result
    from rackmodel.workload import Job, launch
    from rackmodel.workload.silent import as_chosen

    if isinstance(job, Result):
        job = as_chosen(job.step.job, job.accelerator, job.machine.domain_accelerators)
    if not isinstance(job, Job):
        raise InvalidInput(f"emit: expected a Job or a result of simulate, found {job!r:.60}")
    return launch.emit(job, framework)


@checked
def replay(
    traces: str | Path | Sequence[str | Path],
    on: str | Path | Topology,
    *,
    recorded_on: str | Path | Topology | None = None,
    catalog: Catalog | None = None,
) -> Answer:
    """Tell how long a recorded step takes on another machine.

    traces : files, one with all ranks or one for each: torch.profiler's (Kineto) or ours, .json or
    .json.gz, or Chakra's .et; or a directory of them. on : the machine. recorded_on : the machine
    of the traces; those that we wrote say it themselves.

    Returns
    -------
    step_s; recorded_s, of the files, and as_read_s, of the operations as they were understood: what
    lies between the two was not understood; rows {what, operations, recorded_s, seconds, times}.

    Raises
    ------
    InvalidInput
        For a file that is truncated or no trace, or where nobody says what it was recorded on.

    Examples
    --------
    >>> import rackmodel, tempfile
    >>> step = rackmodel.simulate("dgx-h100", model="gpt3-13b", gpus=8, global_batch=8,
    ...     seq_len=1024, plan={"tp": 8, "pp": 1, "micro_batch": 1})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = step.write_trace(f"{folder}/step.json.gz")[0]
    ...     found = replay(path, "dgx-h100")
    >>> abs(found["step_s"] / step.step_s - 1) < 0.01
    True
    """
    from rackmodel.topology import load_topology
    from rackmodel.traces.run import read_recorded, replayed

    files = _files([traces] if isinstance(traces, str | Path) else list(traces))
    target = load_topology(on, catalog=catalog)
    step = read_recorded(files)
    if recorded_on is None and not step.machine:
        raise InvalidInput(
            f"{files[0].name} does not say what it was recorded on; give recorded_on (--recorded-on"
            " MACHINE), so that times can be compared"
        )
    source = load_topology(step.machine if recorded_on is None else recorded_on, catalog=catalog)
    found = replayed(step, source, target, catalog)
    return Answer(found, "compared.kinds", {"found": found})


def write_traces(result: Result, path: Path) -> list[Path]:
    """Write the timeline of a step as `Result.write_trace` says; return the files."""
    from rackmodel.reporting.trace import write_rank_traces, write_trace
    from rackmodel.traces.ours import chakra_traces, facts, rows_of

    if path.suffix.lower() == ".et":
        found = []
        for rank, content in chakra_traces(result).items():
            found.append(path.with_name(f"{path.stem}.{rank}.et"))
            write_whole(found[-1], content, "--trace")
        return found
    told, ranks, rows = facts(result), result.step.job.gpus, rows_of(result)
    if is_folder(path):
        return write_rank_traces(rows, path, world_size=ranks, facts=told)
    with whole_file(path, "--trace") as part:
        zipped, memory = path.suffix.lower() == ".gz", result.memory_timeline
        write_trace(rows, part, compress=zipped, world_size=ranks, memory=memory, facts=told)
    return [path]


def _files(given: Sequence[str | Path]) -> list[Path]:
    """Return the files of traces, those of a directory in the order of their names."""
    found: list[Path] = []
    for path in map(Path, given):
        if is_folder(path):
            inside = sorted(p for p in path.iterdir() if p.name.endswith(ENDINGS))
            if not inside:
                raise InvalidInput(
                    f"{path}: no trace in it; name a file that ends in {', '.join(ENDINGS)}"
                )
            found += inside
        else:
            found.append(path)
    if not found:
        raise InvalidInput("replay: no trace is given; give a file or a directory")
    return found


def _defaults(verb: Any) -> dict[str, Any]:
    """Return the words of a verb as they are where they are not given."""
    known = inspect.signature(verb).parameters
    return {name: one.default for name, one in known.items() if one.default is not one.empty}


@checked
def diff(before: object, after: object, *, least: float = 0.0) -> Answer:
    """Tell which inputs of two results differ, and which figures moved by how much.

    Parameters
    ----------
    before, after : results of any verb, mappings with their keys, or files of `--json`.
    least : relative changes of figures below it are left out.

    Returns
    -------
    rows {part, field, before, after, change}: inputs first, then figures, the largest change first.

    Raises
    ------
    InvalidInput
        For what is no result, or a file that can't be read.

    Examples
    --------
    >>> found = diff({"gpus": 8, "step_s": 2.0}, {"gpus": 16, "step_s": 1.0})
    >>> [(row["field"], row["change"]) for row in found["rows"]]
    [('gpus', 1.0), ('step_s', -0.5)]
    """
    if not 0.0 <= least < 1e6:
        raise InvalidInput(f"least: wanted a share such as 0.01, found {least!r:.40}")
    one, other = _keys(before, "before"), _keys(after, "after")
    return Answer({"rows": difference(one, other, least=least)}, "compared.moved")


def _keys(result: object, where: str) -> Mapping[str, Any]:
    """The keys of a result, however it is given."""
    if isinstance(result, str | Path):
        return gate.table(read_json(Path(result)), str(result))
    told = getattr(result, "to_dict", None)
    return gate.table(told() if callable(told) else result, where)
