"""All plans of a job on so many accelerators.

In:  a model, accelerators, batch, sequence length; what is fixed; which choices to try.
Out: `Space` with every plan that divides.
Left out: how long a plan takes and whether it fits (`closed_form`).

Only plans that pass the workload's own rules are listed: the arrays apply the rules that divide,
and whatever is simulated is checked once more by `workload.check`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from rackmodel import gate
from rackmodel.columns import Bools, Ints, each_once
from rackmodel.errors import InvalidPlan, UnknownName
from rackmodel.fields import MOST_RANKS
from rackmodel.planning.space import (
    AXES,
    COLUMNS,
    CUT,
    EAGER,
    SEARCHED,
    SILENT,
    SWITCHES,
    Choices,
    Space,
)
from rackmodel.workload import Job, Model, Plan
from rackmodel.workload.choices import OFFLOADS, RANK_ORDERS, RECOMPUTES, SHARDED, SHARDINGS
from rackmodel.workload.schedules.schedule import Schedule, schedule_of
from rackmodel.workload.silent import hides_ep_above, hides_tp
from rackmodel.workload.validity import cp_refusal, tp_rules


def divisors(number: int) -> list[int]:
    """All divisors, ascending.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    low = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return low + [number // d for d in reversed(low) if d * d != number]


def enumerate_plans(
    job: Job,
    gpus: int,
    *,
    domain: int = 8,
    fixed: Mapping[str, Any] | None = None,
    choices: Choices | None = None,
    captures: bool = False,
) -> Space:
    """List every plan that divides.

    Parameters
    ----------
    job : its plan gives the fields that are not searched.
    gpus : accelerators, all of them used.
    domain : accelerators of a scale-up domain; bounds tensor parallelism.
    fixed : values of axes that are not searched, {"tp": 8}; any other field of the plan too.
    choices : what to try for the others.
    captures : launches are captured in graphs unless weights are sharded; told apart of models with
        experts, whose launches tell.

    Raises
    ------
    InvalidPlan
        If nothing divides, with the axis that is to blame where one is.
    """
    fixed = dict(fixed or {})
    choices = choices or Choices()
    _check_fixed(fixed)
    base = Plan(
        **{
            **{f.name: getattr(job.plan, f.name) for f in fields(Plan)},
            **{k: v for k, v in fixed.items() if k not in SEARCHED},
            **{k: fixed[k] for k in SWITCHES if k in fixed},
            "stage_layers": tuple(fixed.get("stage_layers", job.plan.stage_layers)),
            "offload": tuple(fixed.get("offload", job.plan.offload)),
        }
    )
    if base.shard_size:  # hsdp unless an optimizer in copies is asked for
        fixed.setdefault("sharding", "hsdp")
    elif fixed.get("sharding") == "hsdp":
        raise InvalidPlan(
            "sharding hsdp needs shard_size, the ranks of dp x cp that hold one copy together, "
            f"such as shard_size {min(domain, gpus)}"
        )
    apart = captures and job.model.experts > 0
    profiles = _profiles(job, gpus, domain, fixed, choices, base, apart)
    pipes = _pipelines(job.model, gpus, fixed, choices)
    names = tuple(dict.fromkeys(schedule.name for _, _, schedule in pipes))
    grid = _Grid(job, gpus, profiles, fixed, choices, base, names, apart, domain)
    parts = [grid.spread(*pipe) for pipe in pipes]
    if not any(len(part[0]) for part in parts):
        raise InvalidPlan(_why_nothing(job, gpus, fixed))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    columns = dict(zip(COLUMNS, joined, strict=True))
    return Space(profiles, **columns, schedules=names, base=base)


def _check_fixed(fixed: Mapping[str, Any]) -> None:
    known = {f.name for f in fields(Plan)}
    for name, value in fixed.items():
        UnknownName.check("field of the plan", name, known)
        if name in (*AXES, "dp"):
            gate.whole(value, name, most=MOST_RANKS, words=False)
    for name, names in (
        ("sharding", SHARDINGS),
        ("recompute", RECOMPUTES),
        ("rank_order", RANK_ORDERS),
    ):
        if name in fixed and fixed[name] not in names:
            raise UnknownName.among(name, str(fixed[name]), names)
    for part in fixed.get("offload", ()):
        UnknownName.check("offload", str(part), OFFLOADS)


def _axis(fixed: Mapping[str, Any], name: str, values: Sequence[int]) -> list[int]:
    return [int(fixed[name])] if name in fixed else list(values)


def _steps(number: int, most: int, *, every: bool) -> list[int]:
    """Divisors up to `most`: powers of two (and three times them) unless every one is wanted."""
    return [
        d
        for d in divisors(number)
        if d <= most
        and (every or d & (d - 1) == 0 or (d % 3 == 0 and (d // 3) & (d // 3 - 1) == 0))
    ]


def _profiles(
    job: Job,
    gpus: int,
    domain: int,
    fixed: Mapping[str, Any],
    choices: Choices,
    base: Plan,
    apart: bool,
) -> Ints:
    model, every = job.model, choices.all_divisors
    heads = model.heads or gpus
    max_tp = choices.max_tp or max(16, min(domain, 64))
    tps = [
        tp
        for tp in _axis(fixed, "tp", _steps(math.gcd(heads, gpus), max_tp, every=every))
        if gpus % tp == 0 and not any(broken for broken, _ in tp_rules(model, tp))
    ]
    most_cp = max(1, job.seq_len // choices.least_cp_tokens)
    cps = _axis(fixed, "cp", [d for d in _steps(gpus, most_cp, every=False) if d & (d - 1) == 0])
    experts = model.experts if model.moe_layers else 1
    eps = _axis(fixed, "ep", _steps(experts, min(experts, gpus), every=every))
    most_batch = min(choices.max_micro_batch, job.global_batch)
    batches = _axis(fixed, "micro_batch", _steps(job.global_batch, most_batch, every=every))
    offloads = sorted({int("activations" in one) for one in _offloads(fixed, choices, base)})
    eager = sorted({int(apart and s in SHARDED) for s in _shardings(fixed, choices)})
    rows = []
    for tp in tps:
        cuts = [
            replace(base, tp=tp, sequence_parallel=bool(sequence))
            for sequence in _switch(fixed, choices, "sequence_parallel", base.sequence_parallel)
        ]
        switched = [
            (int(cut.sequence_parallel), overlap)
            for cut in cuts
            for overlap in _switch(fixed, choices, "tp_overlap", hides_tp(cut, job.stack))
            if not (overlap and (tp == 1 or not cut.sequence_parallel))
            and not (tp > 1 and not cut.sequence_parallel and experts > 1)
        ]
        if tp == 1:  # nothing to split or to hide
            switched = switched[-1:]
        for cp in cps:
            pieces = cp * (2 if cp > 1 and base.cp_method != "all-to-all" else 1)
            barred = cp > 1 and (cp_refusal(model) or not job.fused_attention)
            if gpus % (tp * cp) or barred:
                continue
            etps = _axis(fixed, "etp", sorted({1, tp}) if experts > 1 else [1])
            rows += [
                (tp, cp, ep, etp, batch, sequence, overlap, offload, sharded)
                for ep in eps
                for etp in etps
                if experts % ep == 0 and (etp == 1 or (experts > 1 and model.moe_ffn % etp == 0))
                for batch in batches
                for sequence, overlap in switched
                if job.seq_len % (pieces * (tp if sequence else 1)) == 0
                for offload in offloads
                for sharded in eager
            ]
    return np.array(rows, dtype=np.int64).reshape(-1, len(CUT))


def _switch(fixed: Mapping[str, Any], choices: Choices, name: str, base: bool) -> list[int]:
    """Values of a switch of the plan: as given, as the job has it, or both."""
    if name in fixed:
        return [int(bool(fixed[name]))]
    return [0, 1] if choices.switches else [int(base)]


def _offloads(
    fixed: Mapping[str, Any], choices: Choices, base: Plan
) -> tuple[tuple[str, ...], ...]:
    return (base.offload,) if base.offload or "offload" in fixed else choices.offloads


def _shardings(fixed: Mapping[str, Any], choices: Choices) -> list[str]:
    return [fixed["sharding"]] if "sharding" in fixed else [*choices.shardings]


def _pipelines(
    model: Model, gpus: int, fixed: Mapping[str, Any], choices: Choices
) -> list[tuple[int, int, Schedule]]:
    """(pp, vpp, schedule) that the layers can be cut into."""
    most = model.layers + 2 + model.mtp_layers
    every = choices.all_divisors
    wanted = str(fixed.get("schedule", ""))
    pps = _axis(fixed, "pp", _steps(gpus, min(choices.max_pp, model.layers), every=every))
    given = len(fixed.get("stage_layers", ()))
    names = (wanted,) if wanted else choices.schedule_names()
    out: list[tuple[int, int, Schedule]] = []
    for pp in pps:
        if gpus % pp or pp > most:
            continue
        for vpp in _axis(fixed, "vpp", range(1, min(choices.max_vpp, most // pp) + 1)):
            if pp * vpp > most or (vpp > 1 and pp == 1) or (given and pp * vpp != given):
                continue
            # Chunks of unlike length waste interleaving; without it they are what pp needs.
            if vpp > 1 and "vpp" not in fixed and not choices.uneven and _wasteful(model, pp * vpp):
                continue
            for schedule in map(schedule_of, names):
                fits = schedule.chunks[0] <= vpp <= schedule.chunks[1]
                if fits and (pp > 1 or not schedule.needs_pipeline):
                    out.append((pp, vpp, schedule))
    return out


def _wasteful(model: Model, stages: int) -> bool:
    """Whether chunks are of unlike length; embedding and head count as layers, as in Megatron."""
    return bool(model.layers % stages and (model.layers + model.mtp_layers + 2) % stages)


class _Grid(NamedTuple):
    """Spreads profiles over what else a plan may choose, for one pipeline at a time."""

    job: Job
    gpus: int
    profiles: Ints
    fixed: Mapping[str, Any]
    choices: Choices
    base: Plan
    names: tuple[str, ...]  # of schedules
    apart: bool  # profiles tell plans with sharded weights from others
    domain: int  # accelerators of a scale-up domain

    def spread(self, pp: int, vpp: int, schedule: Schedule) -> tuple[Ints, ...]:
        """Plans with this pipeline, all `COLUMNS`: what divides, times what may be chosen."""
        dp, m, good = self._divides(pp, schedule)
        which = np.flatnonzero(good)
        grid = self._choices(pp, vpp, schedule)
        index = np.repeat(which, len(grid))
        chosen = np.tile(grid, (len(which), 1)).T
        keep = self._sensible(grid, index, chosen, dp, pp)
        index, chosen = index[keep], chosen[:, keep]
        sharding, recompute, hide, hop, update, order, pair, _ = chosen
        if (pair == SILENT).any():
            plan = replace(self.base, pp=pp, vpp=vpp, schedule=schedule.name)
            above = hides_ep_above(plan, self.job.stack, self.domain)
            pair = (self.profiles[index, CUT.index("ep")] > above).astype(np.int64)
        alike = (pp, vpp, self.names.index(schedule.name))
        pps, vpps, number = (np.full(len(index), value, dtype=np.int64) for value in alike)
        head = (index, pps, vpps, dp[index], m[index], sharding, recompute, number)
        return (*head, hide, hop, update, order, pair)

    def _divides(self, pp: int, schedule: Schedule) -> tuple[Ints, Ints, Bools]:
        """dp and micro-batches of each profile, and whether everything divides."""
        tp, cp, ep, etp, batch = self.profiles.T[:5]
        replica = tp * cp * pp
        dp = np.maximum(self.gpus // replica, 1)
        good = (self.gpus % replica == 0) & (dp * replica <= self.gpus)
        if "dp" in self.fixed:
            good &= dp == self.fixed["dp"]
        m = self.job.global_batch // (dp * batch)
        good &= self.job.global_batch % (dp * batch) == 0
        good &= (tp * cp * dp) % (ep * etp) == 0
        if pp > 1:
            good &= (m % schedule.unit(pp) == 0) & (m >= schedule.least(pp))
            good &= pp % schedule.directions == 0
        return dp, m, good

    def _choices(self, pp: int, vpp: int, schedule: Schedule) -> Ints:
        """Combinations of what does not depend on the profile, int[G, 8]."""
        fixed, choices, base = self.fixed, self.choices, self.base
        shardings = _shardings(fixed, choices)
        if schedule.splits_weights:
            shardings = [s for s in shardings if s not in ("zero2", "zero3")]
        if pp > 1 and len(shardings) > 1:
            # In a pipeline zero3 keeps whole weights too: zero1 is better.
            shardings = [s for s in shardings if s != "zero3"]
        if "parameters" in base.offload:  # only what is gathered for each use
            dropped = SHARDED if base.reshard or (pp == 1 and base.reshard is None) else ()
            shardings = [s for s in shardings if s in dropped]
        recomputes = [fixed["recompute"]] if "recompute" in fixed else [*choices.recomputes]
        wanted = fixed.get("p2p_overlap", base.p2p_overlap)
        hops = [SILENT if wanted is None else int(bool(wanted))]
        if choices.switches and "p2p_overlap" not in fixed:
            hops = [0, 1] if pp > 1 else [SILENT]
        orders = [RANK_ORDERS.index(base.rank_order)]
        if choices.switches and "rank_order" not in fixed:
            orders = list(range(len(RANK_ORDERS)))
        pairs = [SILENT if base.ep_overlap is None else int(base.ep_overlap)]
        if choices.ep_overlap and "ep_overlap" not in fixed:
            pairs = [0, 1]
        if pp > 1 and not schedule.hides_exchanges:  # no two passes to run side by side
            pairs = [pair for pair in pairs if pair != 1]
        rows = [
            (*first, "optimizer" in moved, order, pair, "activations" in moved)
            for *first, moved, order, pair in product(
                [SHARDINGS.index(s) for s in shardings],
                [RECOMPUTES.index(r) for r in recomputes],
                _switch(fixed, choices, "dp_overlap", base.dp_overlap),
                hops,
                _offloads(fixed, choices, base),
                orders,
                pairs,
            )
        ]
        return np.array(rows, dtype=np.int64).reshape(-1, 8)

    def _sensible(self, grid: Ints, index: Ints, chosen: Ints, dp: Ints, pp: int) -> Bools:
        """Leave out what is the same as another plan, and pairs without exchanges."""
        sharding, _, hide, _, _, order, pair, activations = chosen
        keep: Bools = activations == self.profiles[index, CUT.index("offload_activations")]
        if self.apart:
            whole = ~np.isin(sharding, [SHARDINGS.index(name) for name in SHARDED])
            keep &= whole == (self.profiles[index, EAGER] == 0)
        cp = self.profiles[index, CUT.index("cp")]
        single = dp[index] * cp == 1
        if size := self.base.shard_size:
            keep &= (dp[index] * cp % size == 0) & (size % cp == 0)
            tp, ep, etp = (self.profiles[index, CUT.index(name)] for name in ("tp", "ep", "etp"))
            keep &= tp * size % (ep * etp) == 0
        if len(_shardings(self.fixed, self.choices)) > 1:  # of one replica: keep the plainest
            keep &= ~(single & (sharding != sharding.min(initial=len(SHARDINGS))))
        several = [len(each_once(column)) > 1 for column in grid.T]
        if several[2]:  # nothing to hide
            keep &= ~(single & (hide == 0))
        if several[5]:  # one axis only: both orders are the same
            keep &= ~((order > 0) & ((dp[index] == 1) | (pp == 1)))
        if several[6]:
            keep &= (pair == 0) | (self.profiles[index, CUT.index("ep")] > 1)
        return keep


def _why_nothing(job: Job, gpus: int, fixed: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name} {value}" for name, value in fixed.items() if name in SEARCHED)
    rest = f" with {given}" if given else ""
    return (
        f"no plan{rest} divides {gpus} accelerators, a global batch of {job.global_batch} and "
        f"{job.model.name!r} ({job.model.layers} layers, {job.model.heads} heads); change "
        "the number of accelerators or the batch" + (", or leave an axis open" if given else "")
    )
