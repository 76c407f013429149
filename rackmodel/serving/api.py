"""The front door of serving: a machine and what it serves in, a `ServingResult` out.

In:  a topology (name, file, graph), the words that describe a job.
Out: `serve`, `front`; `front_of`, a front of whatever is told of each machine.
Left out: what the words mean (`words`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rackmodel.annotations import Graph
from rackmodel.api import machine_of
from rackmodel.assess.site import Site
from rackmodel.errors import CannotRun
from rackmodel.hardware import Catalog
from rackmodel.hardware.identity import made_with
from rackmodel.planning.job_words import checked, options_of, served_site_of
from rackmodel.serving.outcome import ServingResult
from rackmodel.serving.pareto import Front, front_rows
from rackmodel.serving.words import served
from rackmodel.stages import tell
from rackmodel.topology import Topology
from rackmodel.workload import Model
from rackmodel.workload.serving.job import ROUTING_SKEW


@checked
def serve(
    topology: str | Path | Graph[Any] | Topology,
    *,
    model: str | Path | Mapping[str, Any] | Model,
    users: int,
    isl: int,
    osl: int,
    gpus: int | None = None,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp_attention: bool | None = None,
    weights_offload: float | None = None,
    prefill_gpus: int | None = None,
    decode_gpus: int | None = None,
    prefill: Mapping[str, Any] | None = None,
    weights: str | None = None,
    kv: str = "fp8",
    stack: str = "default",
    chunk: int = 8192,
    max_sequences: int = 0,
    admit_every: int = 1,
    cached: float = 0.0,
    mtp: int = 0,
    acceptance: float = 0.8,
    redundant_experts: int = 0,
    routing_skew: float = ROUTING_SKEW,
    routing_seed: int = 0,
    cuda_graphs: bool = True,
    two_batch: bool = False,
    disaggregated: bool = True,
    catalog: Catalog | None = None,
    accelerator: str | None = None,
    fold: bool = True,
    slow: Mapping[int, float] | None = None,
    routing: str = "spray",
    seed: int = 0,
    packed: bool = False,
    site: Site | Mapping[str, Any] | None = None,
) -> ServingResult:
    """Serve a model to a closed loop of users; what the plan leaves open is searched.

    The job
    -------
    model : as in `simulate`. users : requests in flight. isl, osl : tokens of prompt and answer.
    gpus : accelerators used; by default those of a scale-up domain.
    weights : format, "fp8", "nvfp4", "mxfp4", "int8", "bf16"; by default as published, else fp8.
    kv : format of the cache. cached : share of prompts that is cached already.
    mtp : tokens drafted in a step by the model's own layers, each right with probability acceptance
        if those before it are.

    The plan
    --------
    tp, pp, ep, dp_attention : of one worker; see `rackmodel.workload.serving.job.Worker`.
    weights_offload : share of layers that have their experts (or all weights, where there are none)
        in host memory: copied in for every step (vLLM's and SGLang's --offload-group-size).
    prefill_gpus (or decode_gpus, the rest) : accelerators that run prompts only; prefill : fields
        of their workers. disaggregated : search such plans too, where no worker is given. chunk :
        most tokens of prompts in one step. max_sequences : of a data-parallel rank at once; 0 for
        what the software does. admit_every : decode steps from one that admits prompts to the next
        (SGLang's --scheduler-recv-interval, TensorRT-LLM's attention_dp_config.timeout_iters, and
        batch_wait_timeout_iters, from the first prompt that waits).
        redundant_experts : copies of busy experts.
        routing_skew, routing_seed : how unevenly tokens fall on experts. cuda_graphs : steps are
        replayed from graphs.
        two_batch : half of a batch computes while the other exchanges tokens.
    stack : "tensorrt-llm", "vllm", "sglang", with or without a release.

    catalog, accelerator, fold, slow, routing, seed, packed, site : as in `simulate`.

    Raises
    ------
    InvalidInput, UnknownName
        If something is not what it has to be.
    CannotRun, InvalidPlan, DoesNotFit
        If it can't be served; of too many users, how many fit.

    Examples
    --------
    >>> found = serve("dgx-h100", model="llama3.1-70b", users=64, isl=1024, osl=1024, tp=8)
    >>> 0.005 < found.tpot_s < 0.03
    True
    """
    words = locals()
    machine, where = machine_of(topology, words), served_site_of(words)
    how = options_of(words)
    return served(machine, words, site=where, options=how)


@checked
def front(
    topologies: Sequence[str | Path | Graph[Any] | Topology],
    *,
    model: str | Path | Mapping[str, Any] | Model,
    isl: int,
    osl: int,
    users: Sequence[int] | None = None,
    gpus: int | None = None,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp_attention: bool | None = None,
    weights_offload: float | None = None,
    prefill_gpus: int | None = None,
    weights: str | None = None,
    kv: str = "fp8",
    stack: str = "default",
    chunk: int = 8192,
    max_sequences: int = 0,
    admit_every: int = 1,
    cached: float = 0.0,
    mtp: int = 0,
    acceptance: float = 0.8,
    redundant_experts: int = 0,
    routing_skew: float = ROUTING_SKEW,
    routing_seed: int = 0,
    cuda_graphs: bool = True,
    two_batch: bool = False,
    disaggregated: bool = True,
    catalog: Catalog | None = None,
    site: Site | Mapping[str, Any] | None = None,
) -> Front:
    """Return the Pareto front of tokens/s per accelerator against tokens/s per user.

    topologies : machines, each as `serve` takes one. users : numbers of requests in flight to try;
    by default 1 to as many as fit, doubling. The other words are those of `serve`; plans that they
    leave open are searched at every number of users, with prompts apart too where disaggregated.

    Returns
    -------
    Front : rows {topology, gpus, users, tokens_per_s_per_user, tokens_per_s_per_gpu, tpot_s,
    ttft_s, plan, usd_per_mtoken, tokens_per_s_per_mw, idle_share (of the accelerators in its racks,
    which are paid for)}, machine by machine, the quickest user first;
    reasons, of machines that can't serve the model.

    Raises
    ------
    InvalidInput, UnknownName, CannotRun
        As `serve` does, where no machine can serve the model.

    Examples
    --------
    >>> words = {"model": "llama3.1-70b", "isl": 1024, "osl": 1024, "tp": 8, "users": [1, 16]}
    >>> [row["users"] for row in front(["dgx-h100"], **words).rows]
    [1, 16]
    """
    words = locals()
    where = served_site_of(words)
    return front_of(topologies, words, lambda machine: front_rows(machine, words, site=where))


def front_of(
    topologies: Sequence[str | Path | Graph[Any] | Topology],
    words: Mapping[str, Any],
    rows_of: Callable[[Topology], list[dict[str, Any]]],
) -> Front:
    """Return the rows of each machine, and why others have none.

    Raises
    ------
    CannotRun
        If no machine has any.
    """
    rows: list[dict[str, Any]] = []
    reasons: dict[str, str] = {}
    for number, topology in enumerate(topologies):
        tell("machines", number, len(topologies))
        machine = machine_of(topology, {**words, "accelerator": None})
        try:
            rows += rows_of(machine)
        except CannotRun as reason:
            reasons[machine.name] = str(reason)
    tell("machines", len(topologies), len(topologies))
    if not rows:
        raise CannotRun("; ".join(f"{name}: {why}" for name, why in reasons.items()))
    return Front(rows=tuple(rows), reasons=reasons, made=made_with(words["catalog"]))
