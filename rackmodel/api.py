"""The front door: a machine and a job in, a `Result` out.

In:  a topology (name, file, graph), a job, or the words that describe one.
Out: `simulate`, `compare`, `search`.
Left out: everything that a room knows; this module only passes things from one room to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rackmodel.errors import CannotRun, InvalidInput, InvalidPlan, RackModelError

if TYPE_CHECKING:
    import networkx as nx

    from rackmodel.assess.site import Site
    from rackmodel.hardware import Catalog
    from rackmodel.result.result import Result
    from rackmodel.topology import Topology
    from rackmodel.workload import Job, Model, Plan

DEFAULT_SEQ_LEN = 4096


def simulate(
    topology: str | Path | nx.Graph[Any] | Topology,
    job: Job | None = None,
    *,
    model: str | Path | Mapping[str, Any] | Model | None = None,
    gpus: int | None = None,
    global_batch: int | None = None,
    seq_len: int | None = None,
    precision: str = "bf16",
    plan: Mapping[str, Any] | None = None,
    stack: str = "default",
    cuda_graphs: bool | None = None,
    catalog: Catalog | None = None,
    accelerator: str | None = None,
    fold: bool = True,
    slow: Mapping[int, float] | None = None,
    routing: str = "spray",
    seed: int = 0,
    packed: bool = False,
    repeat: Literal["exact", "estimate", "all"] = "exact",
    check_memory: bool = True,
    media: Mapping[str, str] | None = None,
    run_tokens: float | None = None,
    power_cap_w: float | None = None,
    site: Site | Mapping[str, Any] | None = None,
    limit_s: float = math.inf,
    **job_fields: Any,
) -> Result:
    """Simulate one training step.

    Parameters
    ----------
    topology : a name of `rackmodel list topologies`, a file, a NetworkX graph, or a Topology.
    job : what to run, with `plan.dp` filled. Without it, `model`, `gpus` and `global_batch` say it,
        and whatever `plan` (fields of `Plan`) leaves open is searched.
    accelerator : part of a graph that does not name one.
    fold : simulate ranks that do the same only once (exact); False simulates every rank.
    slow : {rank: factor}, accelerators whose kernels take so much longer.
    routing : "spray", "paths", "ecmp" (seeded by `seed`), "single", "dimension-order" or
        "rail"; see `rackmodel.network.Network.from_graph`.
    packed : fill every scale-up domain to the last, even where that tears groups of ranks apart.
    repeat : "exact" skips micro-batches only where the state recurs; "estimate" lets the last
        simulated ones stand for the rest (within 0.3% in our tests); "all" simulates every one.
    check_memory : refuse a job that does not fit into HBM.
    media : {tier: medium} to swap. run_tokens : tokens of a whole run, to tell its days and
        dollars.
    power_cap_w : of one accelerator. A job above it runs at the clock that the cap leaves
        (`assessment["power"]` tells cap_clock and cap_slows). [W]
    site : coolant, prices and lengths of cables, by the fields of `rackmodel.assess.site.Site`.
    limit_s : give up (`CannotRun`) where the simulated step takes longer: for searches. [s]
    job_fields : other fields of `Job`, such as token_routing (of tokens to experts; `routing` is
        that of packets) or capacity_factor.

    Raises
    ------
    InvalidInput, UnknownName
        If something is not what it has to be.
    CannotRun, InvalidPlan, DoesNotFit
        If the job can't run on this machine, with the reason.

    Examples
    --------
    >>> simulate("dgx-h100", model="gpt3-13b", gpus=8, global_batch=32, seq_len=2048,
    ...     plan={"tp": 8}).step.job.plan.dp
    1
    """
    from rackmodel.assess.run import run
    from rackmodel.assess.site import Site
    from rackmodel.engine.options import EngineOptions
    from rackmodel.topology import load_topology

    where = Site.of(site, media=media, run_tokens=run_tokens, power_cap_w=power_cap_w)
    machine = load_topology(topology, catalog=catalog, accelerator=accelerator)
    if job is None:
        if model is None or gpus is None or global_batch is None:
            raise InvalidInput("simulate needs a job, or a model, gpus and global_batch")
        job = job_of(
            machine,
            model=model,
            gpus=gpus,
            global_batch=global_batch,
            seq_len=seq_len,
            precision=precision,
            plan=plan or {},
            stack=stack,
            cuda_graphs=cuda_graphs,
            catalog=catalog,
            **job_fields,
        )
    options = EngineOptions(
        fold=fold,
        slow=slow or {},
        routing=routing,
        seed=seed,
        packed=packed,
        repeat=repeat,
        limit_s=limit_s,
    )
    return run(
        machine, job, catalog=catalog, site=where, options=options, check_memory=check_memory
    )


def job_of(
    machine: Topology,
    *,
    model: str | Path | Mapping[str, Any] | Model,
    gpus: int,
    global_batch: int,
    seq_len: int | None = None,
    plan: Mapping[str, Any],
    catalog: Catalog | None = None,
    **fields: Any,
) -> Job:
    """Return the job that the words describe; what `plan` leaves open is searched.

    Raises
    ------
    InvalidInput, CannotRun
        As `simulate` does.
    """
    from rackmodel.assess.run import check_named
    from rackmodel.workload import Job, Model, Plan, load_model

    machine.units(gpus)  # more than the machine has is refused before anything is worked out
    check_named(machine)
    what = model if isinstance(model, Model) else load_model(model)
    try:
        wanted = Plan(**plan)
        job = Job(
            model=what,
            plan=wanted,
            seq_len=seq_len or what.learned_positions or DEFAULT_SEQ_LEN,
            global_batch=global_batch,
            **fields,
        )
    except TypeError as error:
        raise InvalidInput(f"plan: {error}") from error
    if _is_open(plan):
        from rackmodel.planning.best import best_plan

        try:
            return best_plan(machine, job, gpus, fixed=dict(plan), catalog=catalog)
        except InvalidPlan:
            _blame(job, wanted, gpus)
            raise
    return job.replace(plan=wanted.complete(gpus, global_batch))


def _blame(job: Job, wanted: Plan, gpus: int) -> None:
    """Raise what is wrong with the given values themselves, if that is why no plan was found.

    What the model does not allow comes before what the number of accelerators does not.
    """
    from rackmodel.workload import check

    if wanted.dp is None:
        check(job.replace(plan=replace(wanted, dp=1)))
    try:
        whole = wanted.complete(gpus)
    except InvalidPlan:
        return
    check(job.replace(plan=whole))


def _is_open(plan: Mapping[str, Any]) -> bool:
    """Return whether a plan leaves something that matters to the search."""
    return not {"tp", "pp", "micro_batch"} <= set(plan) and not {"tp", "pp", "dp"} <= set(plan)


def compare(
    topologies: Sequence[str | Path | nx.Graph[Any] | Topology], **job: Any
) -> list[tuple[str, Result | CannotRun]]:
    """Run the same job on several machines, each with its own best plan.

    Returns (name, result) per machine; where the job can't run there, the reason instead.
    """
    results: list[tuple[str, Result | CannotRun]] = []
    for topology in topologies:
        name = getattr(topology, "name", str(topology))
        try:
            results.append((name, simulate(topology, **job)))
        except CannotRun as reason:
            results.append((name, reason))
        except RackModelError as error:
            raise type(error)(f"{name}: {error}") if name not in str(error) else error from None
    return results


def search(
    topology: str | Path | nx.Graph[Any] | Topology,
    *,
    model: str | Path | Mapping[str, Any] | Model,
    gpus: int,
    global_batch: int,
    seq_len: int | None = None,
    precision: str = "bf16",
    plan: Mapping[str, Any] | None = None,
    top: int = 10,
    catalog: Catalog | None = None,
    **options: Any,
) -> Any:
    """Rank the plans for one machine; see `rackmodel.planning.best.search`."""
    from rackmodel.planning.best import search as search_plans
    from rackmodel.topology import load_topology
    from rackmodel.workload import Model, load_model

    what = model if isinstance(model, Model) else load_model(model)
    return search_plans(
        load_topology(topology, catalog=catalog),
        what,
        gpus,
        global_batch,
        seq_len or what.learned_positions or DEFAULT_SEQ_LEN,
        precision,
        top=top,
        fixed=dict(plan or {}),
        catalog=catalog,
        **options,
    )
