"""The front door: a machine and a job in, a `Result` out.

In:  a topology (name, file, graph), a job, or the words that describe one.
Out: `simulate`, `compare`, `search`; `job_of` for the job that words describe.
Left out: what a package works out; this module passes results from one to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rackmodel.assess.run import run
from rackmodel.assess.site import Site
from rackmodel.engine.options import EngineOptions
from rackmodel.errors import CannotRun, InvalidInput, RackModelError, UnknownName
from rackmodel.hardware import Catalog
from rackmodel.planning.best import search_with_host
from rackmodel.planning.candidates import Candidate, Effort
from rackmodel.planning.frames import SearchResult
from rackmodel.planning.job_words import (
    checked,
    complete_job,
    open_job,
    options_of,
    plan_words,
    site_of,
    whole,
)
from rackmodel.planning.space import SPACES
from rackmodel.result.comparison import Comparison
from rackmodel.stages import tell
from rackmodel.topology import load_topology
from rackmodel.workload import Job, Model, Plan

if TYPE_CHECKING:
    import networkx as nx

    from rackmodel.result.result import Result
    from rackmodel.topology import Topology


@checked
def simulate(
    topology: str | Path | nx.Graph[Any] | Topology,
    job: Job | None = None,
    *,
    model: str | Path | Mapping[str, Any] | Model | None = None,
    gpus: int | None = None,
    global_batch: int | None = None,
    seq_len: int | None = None,
    plan: Mapping[str, Any] | Plan | None = None,
    default_plan: bool = False,
    precision: str = "bf16",
    stack: str = "default",
    document_len: int = 0,
    optimizer: str = "adam",
    lora: int = 0,
    lora_targets: Sequence[str] = (),
    freeze: Sequence[str] = (),
    attention: str = "",
    cuda_graphs: bool | None = None,
    transposes: bool | None = None,
    token_routing: str = "dropless-balanced",
    routing_skew: float = 0.0,
    routing_seed: int = 0,
    capacity_factor: float = 1.0,
    catalog: Catalog | None = None,
    accelerator: str | None = None,
    fold: bool = True,
    slow: Mapping[int | str, float] | None = None,
    broken: Sequence[str] = (),
    mixed: Mapping[str, str] | None = None,
    placement: Sequence[int] = (),
    routing: str = "spray",
    seed: int = 0,
    packed: bool = False,
    repeat: Literal["exact", "estimate", "all"] = "exact",
    limit_s: float = math.inf,
    engine: Literal["auto", "simpy", "compiled"] = "auto",
    check_memory: bool = True,
    site: Site | Mapping[str, Any] | None = None,
    media: Mapping[str, str] | None = None,
    run_tokens: float | None = None,
    power_cap_w: float | None = None,
) -> Result:
    """Simulate one training step.

    The machine
    -----------
    topology : a name of `rackmodel list topologies`, a file (TOML, node-link JSON, GraphML), a
        NetworkX graph, or a Topology.
    catalog : parts other than those that ship, from `rackmodel.hardware.load_catalog`.
    accelerator : part of a graph that does not name one, such as "h100".

    The job: a `Job` with `plan.dp` filled, which says everything, or the words that describe one
    ---------------------------------------------------------------------------------------------
    model : a name of `rackmodel list models`, a file, the keys of a file, or a `Model`.
    gpus : accelerators used; racks are filled in order. global_batch : sequences per step.
    seq_len : tokens per sequence. Default: as many positions as the model has learned, else 4,096.
    plan : fields of `Plan`, {"tp": 8, "pp": 4}; they are kept, and what is left out is searched,
        for the quickest step that fits. A whole `Plan` says all.
    default_plan : take the defaults of `Plan` for what is left out, and search nothing.
    precision : number format of the matrix products: bf16, fp16, fp8, fp8-block, nvfp4 ...
    stack : software and release, such as "megatron-bridge-26.06"; "default" is the latest.
    document_len : tokens of each document packed into a sequence; attention stays inside. 0: one.
    lora : rank of adapters beside the linear layers of lora_targets ("attention", "mlp",
        "experts"; left out, the first two); all else is frozen. freeze : what does not learn:
        "embedding", "attention", "mlp", "router", "experts", "norms", "head", "layers:0-15".
    optimizer : "adam-bf16", "adam-8bit", "lion", "muon", "sgd". attention : "fused" or "unfused".
        cuda_graphs, transposes (keep fp8 weights both ways) : left out, as software does.
    token_routing : of tokens to experts: "dropless-balanced", "dropless-skewed" (exponent
        routing_skew, seed routing_seed), "drop" (slots over the balanced load: capacity_factor).

    How it is simulated
    -------------------
    fold : simulate ranks that do the same only once (exact); False simulates every rank.
    slow : {part: factor}: accelerators by rank (3), "gpu17", "rack1" or "domain2", whose kernels
        take so many times as long, from 1; of any other node of the graph ("nic-3", "leaf-0-1") the
        links are so much slower.
    broken : nodes that do nothing; ranks stand on others, bytes go around them.
    mixed : {"rack1": "h200"}, other accelerators in places; links stay those of the machine.
    placement : accelerators used of each scale-up domain in order, one number counts for all; left
        out, whole groups in as few domains as hold them. A plan that is searched is chosen for the
        machine without defects; `search` simulates its candidates with them.
    routing : of packets: "spray", "paths", "ecmp" (hashed by `seed`), "single",
        "dimension-order" or "rail"; see `rackmodel.network.Network.from_graph`.
    packed : fill every scale-up domain to the last, even where that tears groups of ranks apart.
    repeat : "exact" skips micro-batches only where the state recurs; "estimate" lets the last
        simulated ones stand for the rest once ranks agree on them; "all" simulates every one.
    limit_s : give up (`CannotRun`) where the simulated step takes longer: for searches. [s]
    engine : "simpy", or "compiled" (numba, extra `fast`): the same to the last bit; "auto" compiles
        where much is simulated.
    check_memory : refuse a job that does not fit into HBM, or whose number format the accelerator
        lacks.

    Where it stands
    ---------------
    site : fields of `rackmodel.assess.site.Site`: coolant (supply_c [degC], rise_k [K], flow_lpm
        [L/min]), facility_pue, usd_per_kwh [$], lengths_m of cables [m], and the next three.
    media : {tier: medium} to swap, {"scale-up": "pluggable"}.
    run_tokens : tokens of a whole run, to tell its days and dollars.
    power_cap_w : of one accelerator. A job above it runs at the clock that the cap leaves
        (`assessment["power"]` tells cap_clock and cap_slows). [W]

    Raises
    ------
    InvalidInput, UnknownName
        If something is not what it has to be; for a word that is unknown or can't act, with what to
        write instead.
    CannotRun, InvalidPlan, DoesNotFit
        If the job can't run on this machine, with the reason.

    Examples
    --------
    >>> simulate("dgx-h100", model="gpt3-13b", gpus=8, global_batch=32, seq_len=2048,
    ...     plan={"tp": 8}).step.job.plan.dp
    1
    """
    return _simulated(topology, locals())


@checked
def compare(
    topologies: Sequence[str | Path | nx.Graph[Any] | Topology],
    job: Job | None = None,
    *,
    model: str | Path | Mapping[str, Any] | Model | None = None,
    gpus: int | None = None,
    global_batch: int | None = None,
    seq_len: int | None = None,
    plan: Mapping[str, Any] | Plan | None = None,
    default_plan: bool = False,
    precision: str = "bf16",
    stack: str = "default",
    document_len: int = 0,
    optimizer: str = "adam",
    lora: int = 0,
    lora_targets: Sequence[str] = (),
    freeze: Sequence[str] = (),
    attention: str = "",
    cuda_graphs: bool | None = None,
    transposes: bool | None = None,
    token_routing: str = "dropless-balanced",
    routing_skew: float = 0.0,
    routing_seed: int = 0,
    capacity_factor: float = 1.0,
    catalog: Catalog | None = None,
    accelerator: str | None = None,
    fold: bool = True,
    slow: Mapping[int | str, float] | None = None,
    broken: Sequence[str] = (),
    mixed: Mapping[str, str] | None = None,
    placement: Sequence[int] = (),
    routing: str = "spray",
    seed: int = 0,
    packed: bool = False,
    repeat: Literal["exact", "estimate", "all"] = "exact",
    limit_s: float = math.inf,
    engine: Literal["auto", "simpy", "compiled"] = "auto",
    check_memory: bool = True,
    site: Site | Mapping[str, Any] | None = None,
    media: Mapping[str, str] | None = None,
    run_tokens: float | None = None,
    power_cap_w: float | None = None,
) -> Comparison:
    """Run the same job on several machines, each with its own best plan.

    topologies : machines, each as `simulate` takes one. The other words are those of `simulate`; a
    `job` runs with its own plan on each of them.

    Returns
    -------
    (name, result) per machine; where the job can't run there, the reason instead. As a whole with a
    `.frame`, `.plot()` and a table for notebooks.

    Raises
    ------
    InvalidInput, UnknownName
        As `simulate` does, with the machine that it is about.

    Examples
    --------
    >>> words = {"model": "gpt3-13b", "gpus": 8, "global_batch": 32, "seq_len": 2048}
    >>> [name for name, _ in compare(["dgx-h100", "dgx-a100-80"], plan={"tp": 8}, **words)]
    ['dgx-h100', 'dgx-a100-80']
    """
    words, results = locals(), Comparison()
    topologies = [topologies] if isinstance(topologies, str | Path) else topologies
    for number, topology in enumerate(topologies):
        name = getattr(topology, "name", str(topology))
        tell("machines", number, len(topologies))
        tell(name)
        try:
            results.append((name, _simulated(topology, words)))
        except CannotRun as reason:
            results.append((name, reason))
        except RackModelError as error:
            raise type(error)(f"{name}: {error}") if name not in str(error) else error from None
    tell("machines", len(topologies), len(topologies))
    return results


@checked
def search(
    topology: str | Path | nx.Graph[Any] | Topology,
    job: Job | None = None,
    *,
    model: str | Path | Mapping[str, Any] | Model | None = None,
    gpus: int | None = None,
    global_batch: int | None = None,
    seq_len: int | None = None,
    plan: Mapping[str, Any] | None = None,
    precision: str = "bf16",
    stack: str = "default",
    document_len: int = 0,
    optimizer: str = "adam",
    lora: int = 0,
    lora_targets: Sequence[str] = (),
    freeze: Sequence[str] = (),
    attention: str = "",
    cuda_graphs: bool | None = None,
    transposes: bool | None = None,
    token_routing: str = "dropless-balanced",
    routing_skew: float = 0.0,
    routing_seed: int = 0,
    capacity_factor: float = 1.0,
    top: int = 5,
    choices: str = "sensible",
    objective: str = "tokens",
    catalog: Catalog | None = None,
    accelerator: str | None = None,
    fold: bool = True,
    slow: Mapping[int | str, float] | None = None,
    broken: Sequence[str] = (),
    mixed: Mapping[str, str] | None = None,
    placement: Sequence[int] = (),
    routing: str = "spray",
    seed: int = 0,
    packed: bool = False,
    repeat: Literal["exact", "estimate", "all"] = "exact",
    limit_s: float = math.inf,
    engine: Literal["auto", "simpy", "compiled"] = "auto",
    site: Site | Mapping[str, Any] | None = None,
    media: Mapping[str, str] | None = None,
    power_cap_w: float | None = None,
) -> SearchResult:
    """Rank the plans of a job on one machine: the best ones simulated, each with why it is slower.

    Words as in `simulate`, and:

    job : beside it only `plan` describes the job; its own plan gives what is never searched, and
        how many accelerators.
    plan : fields that are kept, {"tp": 8}; all others are searched. top : plans to list. A few are
        simulated, the same for any number, which decide; `simulated` says which.
    choices : plans to try: "sensible"; "offload": also optimizer or activations in host memory;
        "full": every divisor, schedule, sharding, overlap; "full-without-offload".
    objective : what is best: most "tokens" per second and accelerator; least "usd" per token;
        least "watts", which are joules per token. Of these, too, all plans are estimated, on the
        scale of the quickest; the best are simulated. `better_chance`: of one over 1% better.

    Raises
    ------
    As `simulate` does; InvalidPlan and DoesNotFit with the nearest plan that divides or fits.

    Examples
    --------
    >>> found = search("dgx-h100", model="gpt3-13b", gpus=8, global_batch=64, seq_len=2048, top=2)
    >>> found.job.plan.gpus
    8
    """
    words = locals()
    machine, where, how = machine_of(topology, words), site_of(words), options_of(words)
    UnknownName.check("space of plans", choices, SPACES)
    wanted = job or open_job(machine, words)
    return search_with_host(
        machine,
        wanted,
        job.gpus if job is not None else whole("gpus", gpus),
        fixed=plan_words(plan or {}),
        catalog=catalog,
        choices=SPACES[choices],
        effort=Effort.towards(objective, whole("top", top)),
        simulate=lambda one: run(
            machine, wanted.replace(plan=one), catalog=catalog, site=where, options=how
        ),
    )


@checked
def job_of(
    machine: Topology,
    *,
    model: str | Path | Mapping[str, Any] | Model,
    gpus: int,
    global_batch: int,
    seq_len: int | None = None,
    plan: Mapping[str, Any] | Plan | None = None,
    default_plan: bool = False,
    precision: str = "bf16",
    stack: str = "default",
    document_len: int = 0,
    optimizer: str = "adam",
    lora: int = 0,
    lora_targets: Sequence[str] = (),
    freeze: Sequence[str] = (),
    attention: str = "",
    cuda_graphs: bool | None = None,
    transposes: bool | None = None,
    token_routing: str = "dropless-balanced",
    routing_skew: float = 0.0,
    routing_seed: int = 0,
    capacity_factor: float = 1.0,
    catalog: Catalog | None = None,
) -> Job:
    """Return the job that the words of `simulate` describe; what `plan` leaves open is searched.

    Raises
    ------
    InvalidInput, CannotRun
        As `simulate` does.
    """
    found = complete_job(machine, locals())
    return found.job if isinstance(found, Candidate) else found


def _simulated(topology: Any, words: Mapping[str, Any]) -> Result:
    """Simulate the job that `words` of a verb have or describe."""
    machine, where, how = machine_of(topology, words), site_of(words), options_of(words)
    found = words["job"] or complete_job(machine, words)
    if isinstance(found, Candidate) and where == Site() and how == EngineOptions():
        return found.result  # simulated like this already
    tell(f"{machine.name}: simulating the step")
    result = run(
        machine,
        found.job if isinstance(found, Candidate) else found,
        catalog=words["catalog"],
        site=where,
        options=how,
        check_memory=words["check_memory"],
    )
    return result.filled_in(["plan"]) if isinstance(found, Candidate) else result


def machine_of(topology: Any, words: Mapping[str, Any]) -> Topology:
    """Return the machine that a verb is asked about; words : its catalog and accelerator."""
    catalog, part = words["catalog"], words["accelerator"]
    if catalog is not None and not isinstance(catalog, Catalog):
        raise InvalidInput(
            f"catalog: expected what rackmodel.hardware.load_catalog returns, found {catalog!r:.40}"
        )
    machine = load_topology(topology, catalog=catalog, accelerator=part)
    if part is not None and machine.accelerator != part:
        raise InvalidInput(
            f"accelerator: {machine.name} has {machine.accelerator!r} already, {part!r} can't act; "
            "leave it out (it is for graphs that name none)"
        )
    return machine
