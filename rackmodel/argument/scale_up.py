"""One accelerator, many machines: the scale-up domain, NICs and fabric varied one at a time.

In:  an accelerator, sizes (domain, NIC rate, oversubscription, ...), a model, how many.
Out: `point`, one row of the study: the best plan on that machine, and what it costs.
Left out: the machines (`machines`), which points to look at (the specs in benchmarks/), verdicts
(`claims`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from rackmodel.argument.machines import NETWORKS, machine
from rackmodel.assess.cost import with_domain_links
from rackmodel.assess.run import run
from rackmodel.engine.networks import forget_networks
from rackmodel.engine.options import EngineOptions
from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.hardware import Catalog, accelerator, load_catalog
from rackmodel.planning.best import search_job
from rackmodel.planning.candidates import EVENTS, Effort, plan_words
from rackmodel.planning.frames import SearchResult
from rackmodel.planning.space import Choices
from rackmodel.result.result import Result
from rackmodel.sweeps.filters import Value
from rackmodel.sweeps.spec import FlatJob, Kind
from rackmodel.topology import Topology
from rackmodel.workload import Job, Plan, least_recompute, load_model

FIELDS: dict[str, Kind] = {
    "model": "str",
    "gpus": "int",
    "global_batch": "int",
    "seq_len": "int",
    "precision": "str",
    "expert_choice": "str",  # "all": tokens choose among all experts, whatever the model's groups
    "accelerator": "str",
    "domain": "int",
    "nic_gbps": "float",
    "oversubscription": "float",
    "routing": "str",
    "medium": "str",
    "taper": "float",
    "network": "str",
    "distance_m": "float",
    "hbm_bandwidth": "float",
    "hbm_capacity": "float",
    "simulated": "int",  # plans at most, of those that look best
    "max_tp": "int",  # of the plans that are tried; less is quicker
    "max_micro_batch": "int",  # sequences of a micro-batch, of the plans that are tried
}

MODELS = (
    "llama3-70b",
    "llama3.1-405b",
    "deepseek-v3",
    "kimi-k2",
    "gpt4-moe-1.8t",
    "moe-67t",
)

CHOICES = ("model", "all")  # of which groups of experts a token chooses

# What plans a point may have: powers of two (for pp and ep also three times them) up to these, tp
# up to 16; micro-batches of one sequence unless a point wants larger ones, too, of which a
# context-parallel rank keeps 2k tokens or more; ZeRO-1, without a pipeline also ZeRO-3; no,
# selective or full recompute; schedules that are usual or quick, as machines are compared and not
# what one framework runs (no other was the best where all were tried). Mixtures may run all-to-alls
# under another micro-batch.
TRIED = Choices(
    shardings=("zero1", "zero3"),
    schedules="quick",
    max_pp=32,
    max_vpp=8,
    max_micro_batch=1,
    least_cp_tokens=2048,
)
# Plans whose lower bound lies further behind the best estimate need no estimate of their own: the
# closed form has been up to 5% wrong on these machines.
NEAR = 1.08
# Plans simulated at most: the best by its estimate, what looks better once that is known, and on
# until the chance that a better one was missed is down to UNSURE. Long pipelines of nodes cost
# seconds each; to stop at the first of them, as until 0.9.0, told them up to 4% too slow.
SIMULATED = 12
UNSURE = 0.2
# What one kind of plan was misjudged by need not hold for the next: long interleaved pipelines of
# nodes of 8 come out 25% slower than estimated, others of their family 6%.
KIN = 0.5
BEHIND = 1.06  # where more are asked for: until estimates, put right, lie this far behind the best
# Where replicas drift apart (groups of experts that straddle domains) no state recurs, and every
# micro-batch would be walked: minutes and gigabytes for a mean that changes by 0.2% between 40 and
# 80 micro-batches (DeepSeek-V3 on V100 in domains of 144).
MEAN = EngineOptions(repeat="estimate")
MOST_TP = 8  # of mixtures, whose experts spread over the domain in its place

# What a point has where its spec is silent.
DEFAULTS: FlatJob = {
    "seq_len": 4096,
    "precision": "fp8-mx",
    "expert_choice": "model",
    "accelerator": "gb200",
    "domain": 72,
    "nic_gbps": 400.0,
    "oversubscription": 1.0,
    "routing": "spray",
    "medium": "cpo",
    "taper": 1.0,
    "network": NETWORKS[0],
    "distance_m": 0.0,
    "hbm_bandwidth": 1.0,
    "hbm_capacity": 1.0,
    "simulated": SIMULATED,
    "max_tp": 16,
    "max_micro_batch": 1,
}


STACK = "megatron-recipes"  # what owners of racks run: launches captured where recipes do


class Work(NamedTuple):
    """What is trained, on how many accelerators; with a plan it is a `Job`.

    any_group : tokens choose among all experts, also where the model limits them to groups.
    """

    model: str
    gpus: int
    global_batch: int
    seq_len: int
    precision: str = "bf16"
    any_group: bool = False

    def job(self, plan: Plan) -> Job:
        """This work under a plan."""
        model = load_model(self.model)
        if self.any_group:
            model = replace(model, routing_groups=1, routing_group_limit=1)
        return Job(
            model=model,
            plan=plan,
            seq_len=self.seq_len,
            global_batch=self.global_batch,
            precision=self.precision,
            stack=STACK,
        )


def best_of(topology: Topology, work: Work, plans: Sequence[Mapping[str, Any]]) -> Result:
    """Simulate each plan, with the least recompute that fits, and return the fastest.

    Expert groups that leave their domain dispatch as DeepEP does: a token goes to each domain
    once.

    Raises
    ------
    CannotRun
        If none of the plans runs, with the first reason.
    """
    hbm_bytes = accelerator(topology.accelerator, load_catalog()).hbm_bytes
    results, reasons = [], []
    for fields in plans:
        leaves = fields.get("ep", 1) * fields.get("etp", 1) > topology.domain_accelerators
        words = {"dispatcher": "deepep", **fields} if leaves else fields
        try:
            job = work.job(Plan(**words).complete(work.gpus, work.global_batch))
            results.append(run(topology, least_recompute(job, hbm_bytes)))
        except CannotRun as error:
            reasons.append(error)
    if not results:
        raise (reasons or [CannotRun("no plan was given")])[0]
    return min(results, key=lambda result: result.step_s)


def best_found(
    topology: Topology,
    work: Work,
    *,
    catalog: Catalog | None = None,
    simulated: int = SIMULATED,
    max_tp: int = 16,
    max_micro_batch: int = 1,
) -> SearchResult:
    """Search all plans of `TRIED` by the closed form and simulate the best.

    Mixtures dispatch as DeepEP does: a token goes to each domain once, in fp8 where products are in
    8 bits.

    Raises
    ------
    CannotRun
        If no plan divides or fits.
    """
    experts = load_model(work.model).moe_layers > 0
    sent = "bf16" if work.precision in ("bf16", "fp16") else "fp8"
    job = work.job(Plan(dispatcher="deepep", dispatch_format=sent) if experts else Plan())

    def simulate(plan: Plan) -> Result:
        return run(topology, job.replace(plan=plan), catalog=catalog, options=MEAN)

    return search_job(
        topology,
        job,
        work.gpus,
        catalog=catalog,
        choices=replace(
            TRIED,
            ep_overlap=experts,
            max_tp=min(max_tp, MOST_TP) if experts else max_tp,
            max_micro_batch=max_micro_batch,
        ),
        simulate=simulate,
        effort=effort(simulated),
    )


def effort(simulated: int) -> Effort:
    """What a search does for each machine: the same on all of them, so that none is favoured."""
    sure = BEHIND if simulated > SIMULATED else 1.0
    return Effort(most=simulated, near=NEAR, sure=sure, events=3 * EVENTS, chance=UNSURE, kin=KIN)


def point(flat: FlatJob) -> dict[str, Value]:
    """One row of the study: the best plan on one machine, with what it costs.

    flat : values of `FIELDS`. With hashed paths, and with another medium (which changes watts and
    prices, no rate), the plan is the best one of the same machine with spraying and pluggables.
    hbm_bandwidth and hbm_capacity are factors on the accelerator's; more bandwidth comes at the
    same watts, as from one generation of HBM to the next.

    Raises
    ------
    CannotRun
        If no plan of the model runs there.
    """
    job = whole(flat)
    plain = job | {name: DEFAULTS[name] for name in ("routing", "medium")}
    best, row = _searched(tuple(sorted(plain.items())))
    if job == plain:
        return dict(row)
    catalog = _catalog_of(job)
    how = replace(MEAN, routing=str(job["routing"]))
    result = run(_machine_of(job), best, catalog=catalog, options=how)
    return {**row, **row_of(result)}


@lru_cache(maxsize=64)
def _searched(fields: tuple[tuple[str, Value], ...]) -> tuple[Job, Mapping[str, Value]]:
    """Best job and row of a point, kept for those that route otherwise or have another medium."""
    job = dict(fields)
    gpus, batch, seq_len = (int(job[name] or 0) for name in ("gpus", "global_batch", "seq_len"))
    found = best_found(
        _machine_of(job),
        Work(
            str(job["model"]),
            gpus,
            batch,
            seq_len,
            str(job["precision"]),
            any_group=job["expert_choice"] == "all",
        ),
        catalog=_catalog_of(job),
        simulated=int(job["simulated"] or 0),
        max_tp=int(job["max_tp"] or 0),
        max_micro_batch=int(job["max_micro_batch"] or 0),
    )
    best, result, simulated = found.job, found.best, len(found.candidates)
    if float(job["hbm_capacity"] or 0) > 1:  # what fits less HBM fits more: its best plan is one
        other, _ = _searched(tuple(sorted({**job, "hbm_capacity": 1.0}.items())))
        again = run(_machine_of(job), other, catalog=_catalog_of(job), options=MEAN)
        simulated += 1
        if again.step_s < result.step_s:
            best, result = other, again
    return best, row_of(result) | {
        "plan": plan_words(best.plan),
        "plans": found.plans,
        "plans_simulated": simulated,
        "better_chance": found.better_chance,
        "estimate_off": found.candidates[0].estimate_s / result.step_s - 1.0,
        **_rates(_machine_of(job), result),
    }


def whole(flat: FlatJob) -> FlatJob:
    """A job with every field of the study: what it leaves out is as in `DEFAULTS`.

    >>> whole({"model": "llama3-70b", "gpus": 576, "domain": 8})["nic_gbps"]
    400.0

    Raises
    ------
    InvalidInput, UnknownName
        If model or gpus are missing, or the study has no such model.
    """
    if not {"model", "gpus"} <= set(flat):
        raise InvalidInput("a point of the study needs a model and gpus")
    UnknownName.check("model of the study", str(flat["model"]), MODELS)
    if (choice := str(flat.get("expert_choice", CHOICES[0]))) not in CHOICES:
        raise UnknownName.among("expert_choice", choice, CHOICES)
    return {"global_batch": flat["gpus"], **DEFAULTS, **flat}


def _rates(topology: Topology, result: Result) -> dict[str, Value]:
    """Peak FLOP/s of an accelerator over what it may send in its domain and by its NICs."""
    peak = 1e12 * result.model_tflops_per_gpu / result.mfu
    return {
        "flop_per_scale_up_byte": peak / result.accelerator.scale_up_bytes_per_s,
        "flop_per_nic_byte": peak / topology.nic_bytes_per_s,
    }


def _catalog_of(job: FlatJob) -> Catalog:
    factors = float(job["hbm_bandwidth"] or 0), float(job["hbm_capacity"] or 0)
    return _parts(str(job["accelerator"]), *factors)


_BUILT = ("accelerator", "network", "nic_gbps", "oversubscription", "distance_m", "domain")
_UPPER = ("taper", "medium")  # of the upper tier


def machine_key(job: FlatJob) -> tuple[Value, ...]:
    """What a point's machine is made of: points in the order of these have its routes once."""
    return tuple(job[name] for name in (*_BUILT, *_UPPER))


def _machine_of(job: FlatJob) -> Topology:
    return _machine(machine_key(job))


@lru_cache(maxsize=1)
def _machine(built: tuple[Any, ...]) -> Topology:
    """As `machine`, kept: points on the same machine share its routes, and no other's are held."""
    forget_networks()
    *own, taper, medium = built
    return machine(**dict(zip(_BUILT, own, strict=True)), upper=(medium, taper))


@lru_cache(maxsize=8)
def _parts(name: str, bandwidth: float, capacity: float) -> Catalog:
    shipped = load_catalog()
    part = shipped.accelerators[name]
    changes: dict[str, object] = {}
    if bandwidth != 1:  # at the same watts: else the power cap takes back in clock what HBM gives
        changes[f"accelerators.{name}.hbm_bytes_per_s"] = part.hbm_bytes_per_s * bandwidth
        energy = part.power.e_hbm_j_per_byte / bandwidth
        changes[f"accelerators.{name}.power.e_hbm_j_per_byte"] = energy
    if capacity != 1:
        changes[f"accelerators.{name}.hbm_bytes"] = part.hbm_bytes * capacity
    return load_catalog(overrides=changes) if changes else shipped


def row_of(result: Result) -> dict[str, Value]:
    """Figures of one simulated machine."""
    done, gpus = result.assessment, result.step.job.gpus
    cost = done["cost"]
    parts = result.breakdown_s
    exposed = {name: parts.get(name, 0.0) for name in ("tp", "cp", "ep", "pp", "bubble")}
    return {
        "step_s": result.step_s,
        "step_s_low": result.step_s_low,
        "step_s_high": result.step_s_high,
        "tokens_per_s_per_gpu": result.tokens_per_s_per_gpu,
        "mfu": result.mfu,
        "bound_by": result.bound_by,
        **{f"{name}_share": seconds / result.step_s for name, seconds in exposed.items()},
        "dp_share": sum(parts.get(k, 0.0) for k in ("dp", "dp_cp", "edp")) / result.step_s,
        "hbm_bandwidth_utilisation": result.hbm_bandwidth_utilisation,
        "usd_per_mtoken": cost["usd_per_mtoken"],
        "usd_per_mtoken_low": cost["usd_per_mtoken_low"],
        "usd_per_mtoken_high": cost["usd_per_mtoken_high"],
        **{f"usd_per_mtoken_links_{end}": with_domain_links(cost, end) for end in ("low", "high")},
        "energy_j_per_token": done["energy_j_per_token"],
        "capital_usd_per_gpu": cost["capital_usd"] / gpus,
        "it_w_per_gpu": done["power"]["it_w"] / gpus,
        "facility_w_per_gpu": done["power"]["facility_w"] / gpus,
        "rack_heat_w": max(float(rack["heat_w"]) for rack in done["racks"]),
    }
