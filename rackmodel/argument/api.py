"""The best plan of a job for each size of the scale-up domain, and what it costs.

In:  a model, an accelerator, how many, a batch; sizes of domains.
Out: `domains`, `domains_serving`: one row for each size, what grows with it, and what that finds
     in one sentence.
Left out: the machines (`sold_domains`), pictures (`reporting.domain_pictures`), verdicts
(`claims`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rackmodel.argument.domain_sizes import (
    Found,
    copper_end,
    each_row,
    left_out,
    sold_all,
    that_ran,
)
from rackmodel.argument.ratios import cheapest, like_ratio, percent
from rackmodel.argument.scale_up import MEAN, MOST_TP, SIMULATED, STACK, TRIED, effort, row_of
from rackmodel.argument.served_domains import ServedDomains, served_domains
from rackmodel.argument.sold_domains import reach, sold_notes
from rackmodel.assess.availability import availability
from rackmodel.assess.run import run
from rackmodel.assess.site import Site
from rackmodel.assess.stops import Stops
from rackmodel.engine.networks import forget_networks
from rackmodel.hardware import Catalog, load_catalog
from rackmodel.planning.best import search_job
from rackmodel.planning.candidates import plan_words
from rackmodel.planning.job_words import checked, open_job, plan_words as given_fields, site_of
from rackmodel.result.result import Result
from rackmodel.topology import Topology
from rackmodel.workload import Job, Model, Plan, precision_of

AXES = ("tp", "cp", "ep", "pp", "dp")


class Domains(Found):
    """What `domains` returns."""

    global_batch: int
    seq_len: int
    precision: str


@checked
def domains(
    *,
    model: str | Path | Mapping[str, Any] | Model,
    accelerator: str,
    gpus: int,
    global_batch: int,
    domains: Sequence[int] | None = None,
    seq_len: int | None = None,
    plan: Mapping[str, Any] | None = None,
    precision: str = "bf16",
    stack: str = STACK,
    document_len: int = 0,
    optimizer: str = "adam",
    attention: str = "",
    cuda_graphs: bool | None = None,
    transposes: bool | None = None,
    token_routing: str = "dropless-balanced",
    routing_skew: float = 0.0,
    routing_seed: int = 0,
    capacity_factor: float = 1.0,
    medium: str = "cpo",
    taper: float = 1.0,
    link: str = "",
    changes: Mapping[str, object] | None = None,
    catalog: Catalog | None = None,
    site: Site | Mapping[str, Any] | None = None,
    simulated: int = SIMULATED,
    progress: Callable[[int, int], None] | None = None,
) -> Domains:
    """Compare scale-up domains of one accelerator: the best plan for each, as they are sold.

    Parameters
    ----------
    accelerator : of `rackmodel list accelerators`, with links that switches take.
    domains : accelerators of a domain; those of `SIZES` that the job fills if left out. Others:
        words of `rackmodel.simulate`.
    stack : the study's if left out: Megatron-Core with launches captured, as recipes for such racks
        have it. Hosts that launch kernel by kernel (`default`) make racks look better: DeepSeek-V3
        on 4,608 GB200 gains 38% from 8 to 72, with captured launches 29%.
    medium, taper, link, changes : as `sold_domains.sold` takes them.
    simulated : plans of each domain that are simulated, at most, until the chance of a better one
        is `scale_up.UNSURE`; above `scale_up.SIMULATED` until the estimates of the others lie
        `scale_up.BEHIND` behind, too. More never make a row slower.

    Returns
    -------
    `Domains`; rows hold domain_accelerators, tokens_per_s_per_gpu (with _low and _high), mfu,
    exposed {axis: share of a step}, bubble_share, hbm {capacity_bytes, used_bytes,
    bandwidth_utilisation}, heat_w_per_rack (with _low and _high), rack_accelerators,
    usd_per_mtoken (with _low and _high, and _links_low and _links_high, where only the links of
    domains have the ends of their prices), capital_usd_per_gpu, energy_j_per_token (of IT power),
    facility_j_per_token, tokens_per_s_per_mw (of facility power that is provided), fabric_w, it_w,
    idle_share (accelerators of the domains in use that do nothing), goodput, useful_share (of all
    accelerator time bought, with failures, repair, idle ones as spares), medium, plan, gain (over
    the first domain; with _low and _high: same software and kernels, other traffic), bound_by.

    Raises
    ------
    InvalidInput, UnknownName
        For a domain above the machine or the ports of its switches, an accelerator without
        scale-up links, words that mean nothing.
    CannotRun
        If no plan fits any of the domains.

    Examples
    --------
    >>> found = domains(model="gpt3-13b", accelerator="gb200", gpus=72, global_batch=144,
    ...     seq_len=2048, domains=(8, 72), plan={"tp": 2, "pp": 1, "micro_batch": 2})
    >>> [row["domain_accelerators"] for row in found["rows"]], found["copper_ends"]
    ([8, 72], 72)
    """
    return _compared(locals())


@checked
def domains_serving(
    *,
    model: str | Path | Mapping[str, Any] | Model,
    accelerator: str,
    gpus: int,
    isl: int,
    osl: int,
    tokens_per_s_per_user: float,
    domains: Sequence[int] | None = None,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp_attention: bool | None = None,
    prefill_gpus: int | None = None,
    weights: str | None = None,
    kv: str = "fp8",
    stack: str = "default",
    chunk: int = 8192,
    cached: float = 0.0,
    mtp: int = 0,
    acceptance: float = 0.8,
    disaggregated: bool = True,
    medium: str = "cpo",
    taper: float = 1.0,
    link: str = "",
    changes: Mapping[str, object] | None = None,
    catalog: Catalog | None = None,
    site: Site | Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ServedDomains:
    """Compare scale-up domains of one accelerator that serve a model, at one speed for each user.

    Parameters
    ----------
    tokens_per_s_per_user : that each user sees at least. gpus : accelerators of the deployment, in
        as many domains as they fill. domains, accelerator, medium, taper, link, changes : as in
        `domains`. Others: words of `rackmodel.front`; what the plan leaves open is searched.

    Returns
    -------
    `ServedDomains`; rows hold domain_accelerators, tokens_per_s_per_gpu (of answers, the most of
    all plans and users that see the speed), tokens_per_s_per_user (with _low and _high, about 80%
    of real runs), users, ttft_s, plan, gain (over the first domain), heat_w_per_rack (with _low and
    _high), usd_per_mtoken (with _low and _high), energy_j_per_token, tokens_per_s_per_mw, hbm,
    bound_by; a domain that can't be that quick has a reason instead.

    Raises
    ------
    InvalidInput, UnknownName, InvalidPlan
        As `domains` and `serve` do, or for a speed that is not above 0.
    CannotRun
        If no domain can.

    Examples
    --------
    >>> found = domains_serving(model="llama3.1-70b", accelerator="gb200", gpus=8, isl=1024,
    ...     osl=1024, tokens_per_s_per_user=100, domains=(8,), tp=4, disaggregated=False)
    >>> [row["domain_accelerators"] for row in found["rows"]]
    [8]
    """
    return served_domains(locals())


def _compared(words: Mapping[str, Any]) -> Domains:
    """Run the job that `words` of the verb describe on each domain."""
    gpus, accelerator = words["gpus"], words["accelerator"]
    parts = words["catalog"] or load_catalog()
    made = sold_all(words, parts)
    where = site_of({**words, "media": None, "run_tokens": None, "power_cap_w": None})
    jobs = [open_job(machine, words) for machine in made]  # every word is checked first
    fixed = given_fields(words["plan"] or {})
    how = parts, where, words["simulated"]
    rows = each_row(
        made,
        lambda place: _quickest(made[place], jobs[place], gpus, fixed, how),
        forget_networks,
        words["progress"],
    )
    ran = that_ran(rows, "run this job")
    for row in ran:
        row["gain"], row["gain_low"], row["gain_high"] = (
            ratio - 1.0 for ratio in like_ratio(row, ran[0])
        )
    job = jobs[0]
    notes = _notes(made, job, fixed, (words["medium"], words["taper"]))
    return {
        "model": job.model.name,
        "accelerator": accelerator,
        "gpus": gpus,
        "global_batch": job.global_batch,
        "seq_len": job.seq_len,
        "precision": job.precision,
        "finding": finding(ran),
        "copper_ends": copper_end(ran),
        "rows": rows,
        "notes": [*left_out(words["domains"], gpus, made), *notes],
    }


def _quickest(
    machine: Topology,
    job: Job,
    gpus: int,
    fixed: Mapping[str, Any],
    how: tuple[Catalog, Site, int],
) -> dict[str, Any]:
    """Return the figures of the quickest plan on one domain.

    Mixtures dispatch as DeepEP does unless told otherwise: a token goes to each domain once, in fp8
    where products are in 8 bits or fewer.
    """
    parts, where, most = how
    experts = job.model.moe_layers > 0
    if experts and "dispatcher" not in fixed:
        sent = _sent_in(job, fixed)
        job = job.replace(plan=replace(job.plan, dispatcher="deepep", dispatch_format=sent))

    def simulate(plan: Plan) -> Result:
        return run(machine, job.replace(plan=plan), catalog=parts, site=where, options=MEAN)

    found = search_job(
        machine,
        job,
        gpus,
        fixed=fixed,
        catalog=parts,
        choices=replace(TRIED, ep_overlap=experts, max_tp=MOST_TP if experts else TRIED.max_tp),
        simulate=simulate,
        effort=effort(most),
    )
    return {
        **_row(machine, found.best, parts, where),
        "plans_simulated": len(found.candidates),
        "better_chance": found.better_chance,
    }


def _sent_in(job: Job, fixed: Mapping[str, Any]) -> str:
    """Return the number format of tokens on their way to experts."""
    narrow = precision_of(job.precision).gemm_format not in ("bf16", "fp16")
    return str(fixed.get("dispatch_format", "fp8" if narrow else "bf16"))


def _row(machine: Topology, result: Result, parts: Catalog, where: Site) -> dict[str, Any]:
    """Return the figures of one domain."""
    job, done = result.step.job, result.assessment
    flat = row_of(result)
    ranks, domain = result.step.rank_map, machine.domain_accelerators
    slots = ranks.slots(job.gpus)
    bought = machine.present(slots)
    spare = ranks.domain - ranks.used if job.gpus > domain else max(0, domain - job.gpus)
    months = availability(
        parts,
        machine.inventory(slots),
        accelerators=job.gpus,
        domain=domain,
        stops=Stops(runs=0),
        site=where,
        spares=[spare],
    )
    rack = max(done["racks"], key=lambda one: one["heat_w"])
    power: Mapping[str, Any] = done["power"]
    tokens = job.tokens / job.gpus
    worst = max(result.hbm_used, key=lambda used: sum(used.values()))
    return {
        **flat,
        "domain_accelerators": domain,
        "medium": reach(machine),
        "tokens_per_s_per_gpu_low": tokens / result.step_s_high,
        "tokens_per_s_per_gpu_high": tokens / result.step_s_low,
        "exposed": {axis: flat[f"{axis}_share"] for axis in AXES},
        "hbm": {
            "capacity_bytes": result.accelerator.hbm_bytes,
            "used_bytes": {kind: float(size) for kind, size in worst.items()},
            "bandwidth_utilisation": result.hbm_bandwidth_utilisation,
        },
        "heat_w_per_rack": rack["heat_w"],
        "heat_w_per_rack_low": rack["heat_w_low"],
        "heat_w_per_rack_high": rack["heat_w_high"],
        "rack_accelerators": rack["accelerators"],
        "facility_j_per_token": power["facility_j_per_token"],
        "tokens_per_s_per_mw": power["tokens_per_s_per_mw"],
        "it_w": power["it_w"],
        "fabric_w": power["fabric_w"],
        "idle_share": 1.0 - job.gpus / bought,
        "goodput": months["goodput"],
        "useful_share": max((one["useful"] for one in months["domains"]), default=math.nan),
        "plan": plan_words(job.plan),
    }


def finding(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say in one sentence what growing the domain does.

    rows : those that ran, smallest domain first.
    """
    first, best = rows[0], max(rows, key=lambda row: row["tokens_per_s_per_gpu"])
    copper = [row for row in rows if row["medium"] == "copper"]
    wide = max(copper, key=lambda row: row["domain_accelerators"], default=first)
    steps = [(first, wide)] if wide is not first else []
    if best["domain_accelerators"] > wide["domain_accelerators"]:
        steps.append((wide, best))
    told = [_gain(small, large) for small, large in steps or [(first, rows[-1])]]
    sizes = {int(row["domain_accelerators"]): row for row in rows}
    return f"{'; '.join(told)}; cheapest tokens at {cheapest(sizes)}"


def _gain(small: Mapping[str, Any], large: Mapping[str, Any]) -> str:
    sizes = f"{small['domain_accelerators']} to {large['domain_accelerators']}"
    if small is large:
        return f"Only a domain of {small['domain_accelerators']} was asked"
    value, low, high = (number - 1.0 for number in like_ratio(large, small))
    if low <= 0.0 <= high:
        return f"{sizes} can't be told apart ({percent(low)} to {percent(high)})"
    return f"{sizes}: {percent(value)} tokens/s ({percent(low)} to {percent(high)})"


def _notes(
    made: Sequence[Topology], job: Job, given: Mapping[str, Any], upper: tuple[str, float]
) -> list[str]:
    """Return what the figures rest on."""
    notes = sold_notes(made, upper)
    notes.append(f"{job.tokens / 1e6:,.1f} M tokens a step, {job.precision}, software {job.stack}")
    if job.model.moe_layers:
        groups, limit = job.model.routing_groups, job.model.routing_group_limit
        told = f"experts from {limit} of {groups} groups" if groups > 1 else "experts from all"
        notes.append(f"{told}; dispatch in {_sent_in(job, given)}, combine in bf16")
    return notes
