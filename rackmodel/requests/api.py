"""The front door of requests as events.

In:  a machine, the words of a served job, how requests arrive, what they have to keep.
Out: `serve_requests`, `front_requests`.
Left out: the steady state of a closed loop (`serving`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rackmodel import gate
from rackmodel.annotations import Graph
from rackmodel.api import machine_of
from rackmodel.assess.site import Site
from rackmodel.engine.options import EngineOptions
from rackmodel.errors import InvalidInput
from rackmodel.hardware import Catalog
from rackmodel.planning.job_words import checked, options_of, served_site_of
from rackmodel.requests.arrivals import DRAWN, read_trace
from rackmodel.requests.cluster import BALANCES, Balance
from rackmodel.requests.kept_rates import goodput_rows
from rackmodel.requests.lengths import LENGTHS
from rackmodel.requests.objective import objective_of
from rackmodel.requests.outcome import RequestsResult
from rackmodel.requests.run import Arrivals, checked_job, job_at, simulate_requests
from rackmodel.serving.api import front_of
from rackmodel.serving.pareto import Front
from rackmodel.serving.plans import candidates
from rackmodel.serving.run import check_stack, steps_of
from rackmodel.serving.words import job_of_words, planned
from rackmodel.topology import Topology
from rackmodel.workload import Model
from rackmodel.workload.serving.job import ROUTING_SKEW

MOST_REQUESTS = 10_000_000


@checked
def serve_requests(
    topology: str | Path | Graph[Any] | Topology,
    *,
    model: str | Path | Mapping[str, Any] | Model,
    rate: float | None = None,
    trace: str | Path | None = None,
    users: int | None = None,
    isl: int | None = None,
    osl: int | None = None,
    cv: float = 1.0,
    lengths: str = "fixed",
    spread: float | None = None,
    together: bool = False,
    requests: int | None = None,
    slo: str | Mapping[str, float | str] | None = None,
    balance: str = "least",
    seed: int = 0,
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
    packed: bool = False,
    site: Site | Mapping[str, Any] | None = None,
) -> RequestsResult:
    """Serve requests one by one: percentiles, goodput, queue, KV cache and power over time.

    Requests
    --------
    One of: rate, requests per second; trace, a CSV file with arrival_s, isl, osl and, if wanted,
        prefix (tokens at the start of the prompt that others share) and prefix_id (which ones);
        users, a closed loop in which each sends a request when the last one is answered.
    cv : of the gaps at a rate, standard deviation over mean: 1 Poisson, 0 a clock, more in bursts.
    isl, osl : tokens of prompt and answer, means. lengths : "fixed"; "uniform", each way by spread
        of the mean (0.8); "exponential" answers; "azure-code", "azure-conversation": medians of
        these services, log-normal, in place of isl and osl.
    together : users set out at once, as benchmarks let them, and all requests count, ten of each
        user if nobody says how many; else they are spread and the first ones are left out.
    requests : that are measured, after those that come until all is in motion; by default 2,000 or
        some times those in flight. Of a trace: its first ones, none left out.
    slo : "ttft=1s,tpot=50ms,e2e=30s", what a request has to keep to count as goodput.
    balance : "least" sends a request to the worker with fewest, "round-robin" to each in turn,
        "prefix" to one that has its prefix cached unless it has far more than others.
    seed : of arrivals, lengths and drafted tokens; of the ECMP hash with routing="ecmp".

    The other words are those of `serve`. A plan that is left open is searched for the rate.

    Returns
    -------
    RequestsResult : `to_dict()` with the keys of `--json`, `frame` over time, `plot()`.

    Raises
    ------
    InvalidInput, UnknownName
        If something is not what it has to be, as a trace that is empty or runs backwards.
    CannotRun, InvalidPlan, DoesNotFit
        If it can't be served; of a rate above capacity, what can be answered.

    Examples
    --------
    >>> words = {"model": "llama3.1-70b", "isl": 1024, "osl": 128, "tp": 8, "requests": 200}
    >>> found = serve_requests("dgx-h100", **words, rate=4, slo="ttft=1s").to_dict()
    >>> 0.05 < found["ttft_s"]["p50"] <= found["ttft_s"]["p99"] < 1.0
    True
    """
    return _served(topology, locals())


def _served(topology: str | Path | Graph[Any] | Topology, words: dict[str, Any]) -> RequestsResult:
    arrivals, objective = _arrivals(words), objective_of(words["slo"])
    trace, lengths, catalog = arrivals.trace, arrivals.lengths, words["catalog"]
    if trace is not None:
        words |= {"isl": round(trace.isl), "osl": round(trace.osl)}
    elif lengths in LENGTHS:
        words |= dict(zip(("isl", "osl"), LENGTHS[lengths].means, strict=True))
    machine, where = machine_of(topology, words), served_site_of(words)
    hashed = arrivals.seed if words["routing"] == "ecmp" else 0
    options: EngineOptions = options_of({**words, "seed": hashed})
    rate = arrivals.rate if trace is None else trace.rate
    if rate is None:
        job, steps = planned(machine, words, options=options)
    else:
        job, steps = job_at(machine, words, rate, options)
    checked_job(machine, job, steps)
    run = simulate_requests(job, steps, arrivals, objective)
    return RequestsResult(run=run, machine=machine, catalog=catalog, site=where)


@checked
def front_requests(
    topologies: Sequence[str | Path | Graph[Any] | Topology],
    *,
    model: str | Path | Mapping[str, Any] | Model,
    isl: int,
    osl: int,
    slo: str | Mapping[str, float | str],
    requests: int = 1000,
    cv: float = 1.0,
    lengths: str = "fixed",
    seed: int = 0,
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
) -> Front:
    """Return the most requests per second of which 90% keep their times, by machine and plan.

    For each number of accelerators that run prompts only (0: prompts run beside decode) the plan
    that answers most; the first row of a machine has its best prefill:decode ratio. slo : what a
    request has to keep, as in `serve_requests`; the other words are those of `serve_requests` and
    `front`.

    Returns
    -------
    Front : rows {topology, gpus, prefill_gpus, decode_gpus, requests_per_s,
    requests_per_s_per_gpu, tokens_per_s_per_gpu, within_slo, ttft_p90_s, tpot_p90_s, plan}, machine
    by machine; reasons, of machines that have none.

    Raises
    ------
    InvalidInput, UnknownName, CannotRun
        As `serve_requests` does, where no machine can answer in time.

    Examples
    --------
    >>> words = {"model": "llama3.1-70b", "isl": 1024, "osl": 128, "tp": 8, "requests": 100}
    >>> rows = front_requests(["dgx-h100"], **words, slo="tpot=20ms").rows
    >>> rows[0]["tpot_p90_s"] <= 0.021
    True
    """
    words = locals()
    objective = objective_of(slo)
    arrivals = _arrivals({**words, "rate": 1.0, "trace": None, "users": None, "balance": "least"})

    def rows_of(machine: Topology) -> list[dict[str, Any]]:
        job, fixed = job_of_words(machine, {**words, "users": 1})
        check_stack(job.stack)
        steps = steps_of(machine, catalog, graphs=job.cuda_graphs)
        machine.units(job.gpus)
        plans = candidates(job, fixed, steps, disaggregated=disaggregated and not fixed)
        return goodput_rows(machine, plans, steps, arrivals, objective)

    return front_of(topologies, words, rows_of)


def _arrivals(words: Mapping[str, Any]) -> Arrivals:
    """Return how requests come; refuse words that contradict one another or can't act."""
    given = [name for name in ("rate", "trace", "users") if words[name] is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise InvalidInput(f"requests come by rate, by trace or from users: give one, not {found}")
    drawn = gate.text(words["lengths"], "lengths", choices=(*DRAWN, *LENGTHS))
    requests = words["requests"]
    if requests is not None:
        requests = gate.whole(requests, "requests", least=1, most=MOST_REQUESTS)
    named = drawn in LENGTHS or words["trace"] is not None
    for name in ("isl", "osl"):
        if (words[name] is None) != named:
            if named:
                raise InvalidInput(
                    f"{name}: the {'trace' if words['trace'] else drawn} tells it; leave {name} out"
                )
            raise InvalidInput(f"{name}: missing; give the tokens of prompt and answer")
    if words["cv"] != 1.0 and words["rate"] is None:
        raise InvalidInput("cv: only arrivals at a rate have gaps that are drawn; give rate too")
    if words["trace"] is not None and drawn != "fixed":
        raise InvalidInput("lengths: the trace tells them; leave lengths out")
    rate = words["rate"]
    together, spread = words.get("together", False), words.get("spread")
    if together and words["users"] is None:
        raise InvalidInput("together: only users of a closed loop set out at once; give users")
    if spread is not None and drawn != "uniform":
        raise InvalidInput("spread: only uniform lengths have one; give lengths='uniform' too")
    return Arrivals(
        rate=None if rate is None else gate.number(rate, "1", "rate", positive=True),
        cv=gate.number(words["cv"], "1", "cv", least=0.0, most=20.0),
        lengths=drawn,
        trace=None if words["trace"] is None else read_trace(words["trace"], requests),
        requests=requests,
        seed=gate.whole(words["seed"], "seed", least=0),
        spread=0.8 if spread is None else gate.number(spread, "1", "spread", least=0.0, most=1.0),
        together=bool(together),
        balance=cast(Balance, gate.text(words["balance"], "balance", choices=BALANCES)),
    )
