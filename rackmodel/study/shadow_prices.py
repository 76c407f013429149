"""What a step gains from more of each resource, and what uncertain constants do to it.

In:  a machine, a job.
Out: per resource the gain of doubling it, the loss of halving it, elasticity, shadow price; Sobol
indices.
Left out: several resources at once with constraints (`design`).

Each resource is scaled by itself and the job simulated again: with the same plan (what the machine
gains as it is used), and for those that change which plan is best with a new one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import sobol_indices, uniform

from rackmodel.api import job_of
from rackmodel.assess.run import run
from rackmodel.errors import CannotRun
from rackmodel.hardware import Catalog, load_catalog
from rackmodel.planning.best import best_plan
from rackmodel.study.resources import RESOURCES, scale
from rackmodel.topology import Topology, load_topology
from rackmodel.workload import Job

# More of these lets another plan run, which is most of what they are worth.
REPLANNED = ("hbm_bytes", "domain_accelerators")
LESS_IS_MORE = ("latency_s",)


def sensitivity(
    topology: str | Path | Topology,
    words: Any,
    *,
    catalog: Catalog | None = None,
    resources: Sequence[str] = RESOURCES,
    factor: float = 2.0,
    replan: bool = False,
) -> dict[str, Any]:
    """Return what doubling and halving each resource does to tokens per second.

    Parameters
    ----------
    words : a `Job` with a complete plan, or anything with model, gpus, global_batch, seq_len,
        precision and plan (a dict; what it leaves open is searched once, on the machine as it is).
    resources : some of `RESOURCES`. factor : how much more of each.
    replan : search the plan again for every change, not only for those of `REPLANNED`.

    Returns
    -------
    {rows, notes}; rows hold resource, gain (share of tokens/s with `factor` times as much), loss
    (with as much less, negative), elasticity (d log tokens/s over d log resource), replanned,
    tokens_per_s, shadow prices worth_usd and worth_w (of `factor`, per accelerator: what the same
    gain costs in more of the same machine, its fabric and hall included; None without prices),
    reason (why a row has no figures). Rows are sorted by gain. Also machine_usd, machine_w.

    Raises
    ------
    CannotRun
        If the job can't run on the machine as it is.
    """
    parts = catalog or load_catalog()
    machine = load_topology(topology, catalog=parts)
    job, open_plan = _job(machine, words, parts)
    base = run(machine, job, catalog=parts)

    @cache
    def searched() -> float:
        """Tokens per second of the searched plan on the machine as it is."""
        found = best_plan(machine, job, job.gpus, fixed=open_plan, catalog=parts)
        return found.result.tokens_per_s

    rows = []
    for resource in resources:
        again = replan or resource in REPLANNED
        up = 1.0 / factor if resource in LESS_IS_MORE else factor
        more = _tokens_per_s(machine, parts, job, resource, up, open_plan if again else None)
        less = _tokens_per_s(machine, parts, job, resource, 1.0 / up, open_plan if again else None)
        own = searched() if again else base.tokens_per_s
        rows.append(_row(resource, own, more, less, factor, again))
    price, watts = _machine(base)
    for row in rows:
        for name, whole in (("worth_usd", price), ("worth_w", watts)):
            known = whole is not None and row["gain"] is not None
            row[name] = row["gain"] * whole / job.gpus if known else None
    rows.sort(key=lambda row: -(row["gain"] if row["gain"] is not None else -math.inf))
    return {
        "rows": rows,
        "topology": machine.name,
        "model": job.model.name,
        "gpus": job.gpus,
        "tokens_per_s": base.tokens_per_s,
        "factor": factor,
        "machine_usd": price,
        "machine_w": watts,
        "job": job,
        "notes": [
            f"{job.model.name} on {job.gpus:,} accelerators: {base.tokens_per_s:,.0f} tokens/s; "
            f"each resource times {factor:g} by itself, latency divided",
            "HBM capacity and domain: best plan against best plan; the others with the same plan",
            "worth: what the same gain costs in more of the same machine, per accelerator",
        ],
    }


def _job(machine: Topology, words: Any, parts: Catalog) -> tuple[Job, Mapping[str, Any]]:
    """A complete job, and the fields of its plan that were given."""
    if isinstance(words, Job):
        return words, {}
    return job_of(machine, **words, catalog=parts), words.get("plan") or {}


def _tokens_per_s(
    machine: Topology,
    parts: Catalog,
    job: Job,
    resource: str,
    factor: float,
    fixed: Mapping[str, Any] | None,
) -> float | str:
    """Tokens per second on the scaled machine, or why the job can't run there."""
    try:
        scaled, catalog = scale(machine, parts, resource, factor)
        if fixed is not None:
            job = best_plan(scaled, job, job.gpus, fixed=fixed, catalog=catalog).job
        return float(run(scaled, job, catalog=catalog).tokens_per_s)
    except CannotRun as reason:
        return str(reason)


def _row(
    resource: str, base: float, more: float | str, less: float | str, factor: float, again: bool
) -> dict[str, Any]:
    gain = more / base - 1.0 if isinstance(more, float) else None
    loss = less / base - 1.0 if isinstance(less, float) else None
    if gain is not None and loss is not None:
        elasticity = math.log((1 + gain) / (1 + loss)) / (2 * math.log(factor))
    elif gain is not None:
        elasticity = math.log(1 + gain) / math.log(factor)
    else:
        elasticity = None
    reasons = [found for found in (more, less) if isinstance(found, str)]
    return {
        "resource": resource,
        "gain": gain,
        "loss": loss,
        "elasticity": elasticity,
        "replanned": again,
        "tokens_per_s": more if isinstance(more, float) else None,
        "reason": reasons[0] if reasons else "",
    }


def _machine(result: Any) -> tuple[float | None, float | None]:
    """What the whole machine costs and draws, where the assessment knows."""
    facts = result.assessment if isinstance(result.assessment, Mapping) else {}
    cost, power = facts.get("cost") or {}, facts.get("power") or {}
    price, hall, watts = cost.get("capital_usd"), cost.get("hall_usd"), power.get("facility_w")
    return (
        float(price) + float(hall or 0.0) if price else None,
        float(watts) if watts else None,
    )


def sobol(
    evaluate: Callable[[Mapping[str, float]], float],
    ranges: Mapping[str, tuple[float, float]],
    *,
    samples: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Return how much of the variance of a figure each uncertain constant causes.

    Parameters
    ----------
    evaluate : the figure (a ratio of two machines, a step time) for values of the constants; called
        samples x (constants + 2) times.
    ranges : {constant: (low, high)}, uniform between. samples : a power of two.

    Returns
    -------
    Columns constant, first (its share by itself), total (with interactions), and their standard
    errors first_error, total_error; sorted by total.

    Notes
    -----
    Source: Saltelli et al., Computer Physics Communications 181, 2010; `scipy.stats.sobol_indices`.

    Examples
    --------
    >>> found = sobol(lambda x: 3 * x["a"] + x["b"], {"a": (0, 1), "b": (0, 1)}, samples=256)
    >>> found["constant"].tolist(), float(round(found["total"].iloc[0], 1))
    (['a', 'b'], 0.9)
    """
    names = list(ranges)

    def figures(points: Any) -> Any:
        columns = np.asarray(points).T
        return np.array([[evaluate(dict(zip(names, map(float, p), strict=True))) for p in columns]])

    spreads: Any = [uniform(loc=low, scale=high - low) for low, high in ranges.values()]
    found = sobol_indices(
        func=figures,
        n=samples,
        dists=spreads,
        rng=np.random.default_rng(seed),
    )
    with warnings.catch_warnings():  # a constant without influence has no interval to speak of
        warnings.simplefilter("ignore")
        spread = found.bootstrap(confidence_level=0.68, n_resamples=100)
    errors = {
        name: np.ravel(np.asarray(part.confidence_interval.high - part.confidence_interval.low)) / 2
        for name, part in (("first", spread.first_order), ("total", spread.total_order))
    }
    frame = pd.DataFrame(
        {
            "constant": names,
            "first": np.ravel(found.first_order),
            "total": np.ravel(found.total_order),
            "first_error": errors["first"],
            "total_error": errors["total"],
        }
    )
    return frame.sort_values("total", ascending=False, ignore_index=True)
