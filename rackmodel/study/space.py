"""All plans of a job on so many accelerators, as arrays.

In:  a model, accelerators, batch, sequence length; what is fixed; which choices to try.
Out: `Space`: one entry per plan, and the plan of an entry.
Left out: how long a plan takes and whether it fits (`closed_form`).

Only plans that pass the workload's own rules are listed: the arrays apply the rules that divide,
and whatever is simulated is checked once more by `workload.check`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from rackmodel.errors import InvalidInput, InvalidPlan, UnknownName
from rackmodel.workload import Job, Model, Plan

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SHARDINGS = ("none", "zero1", "zero2", "zero3")
RECOMPUTES = ("none", "selective", "full")
SCHEDULES = ("1f1b", "interleaved", "gpipe", "zb-h1")
AXES = ("tp", "cp", "ep", "etp", "micro_batch", "pp", "vpp")
COLUMNS = ("profile", "pp", "vpp", "dp", "micro_batches", "sharding", "recompute", "schedule")
SEARCHED = (*AXES, "dp", "sharding", "recompute", "schedule")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What may be tried on each axis; None: all that divide, within what is ever sensible.

    max_tp : tensor parallelism at most; None: twice a scale-up domain of 8, or the whole domain.
    max_micro_batch : sequences. least_cp_tokens : tokens of a sequence that a cp rank keeps.
    """

    shardings: tuple[str, ...] = ("zero1", "zero3")
    recomputes: tuple[str, ...] = RECOMPUTES
    schedules: tuple[str, ...] = ("1f1b", "interleaved")
    max_tp: int | None = None
    max_pp: int = 64
    max_vpp: int = 16
    max_micro_batch: int = 16
    least_cp_tokens: int = 4096
    all_divisors: bool = False  # also axes that are no powers of two


@dataclass(frozen=True, slots=True)
class Space:
    """Plans as arrays of equal length.

    profile : which row of `profiles` (tp, cp, ep, etp, micro_batch) a plan has.
    """

    profiles: Ints  # [P, 5]
    profile: Ints
    pp: Ints
    vpp: Ints
    dp: Ints
    micro_batches: Ints
    sharding: Ints  # index into SHARDINGS
    recompute: Ints  # index into RECOMPUTES
    schedule: Ints  # index into SCHEDULES
    base: Plan = field(default_factory=Plan)

    def __len__(self) -> int:
        return len(self.pp)

    def column(self, name: str) -> Ints:
        """Values of one axis, int[N]."""
        at = ("tp", "cp", "ep", "etp", "micro_batch").index(name)
        values: Ints = self.profiles[self.profile, at]
        return values

    def plan(self, entry: int) -> Plan:
        """The plan of one entry."""
        from dataclasses import replace

        tp, cp, ep, etp, micro_batch = (int(v) for v in self.profiles[self.profile[entry]])
        schedule = SCHEDULES[self.schedule[entry]]
        return replace(
            self.base,
            tp=tp,
            cp=cp,
            ep=ep,
            etp=etp,
            micro_batch=micro_batch,
            pp=int(self.pp[entry]),
            vpp=int(self.vpp[entry]),
            dp=int(self.dp[entry]),
            sharding=SHARDINGS[self.sharding[entry]],
            recompute=RECOMPUTES[self.recompute[entry]],
            schedule="" if schedule in ("1f1b", "interleaved") else schedule,
        )

    def take(self, entries: Ints | Bools) -> Space:
        """Only some of the plans."""
        own = {name: getattr(self, name)[entries] for name in COLUMNS}
        return Space(self.profiles, **own, base=self.base)


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
) -> Space:
    """List every plan that divides.

    Parameters
    ----------
    job : its plan gives the fields that are not searched.
    gpus : accelerators, all of them used.
    domain : accelerators of a scale-up domain; bounds tensor parallelism.
    fixed : values of axes that are not searched, {"tp": 8}; any other field of the plan too.
    choices : what to try for the others.

    Raises
    ------
    InvalidPlan
        If nothing divides, with the axis that is to blame where one is.
    """
    fixed = dict(fixed or {})
    choices = choices or Choices()
    _check_fixed(fixed)
    base = Plan(**{
        **{f.name: getattr(job.plan, f.name) for f in fields(Plan)},
        **{k: v for k, v in fixed.items() if k not in SEARCHED},
        "stage_layers": tuple(fixed.get("stage_layers", job.plan.stage_layers)),
    })  # fmt: skip
    profiles = _profiles(job, gpus, domain, fixed, choices, base)
    pipes = _pipelines(job.model, gpus, fixed, choices)
    parts = [
        part
        for pp, vpp, schedule in pipes
        if (part := _spread(job, gpus, profiles, pp, vpp, schedule, fixed, choices)) is not None
    ]
    if not any(len(part[0]) for part in parts):
        raise InvalidPlan(_why_nothing(job, gpus, fixed))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Space(profiles, **dict(zip(COLUMNS, joined, strict=True)), base=base)


def _check_fixed(fixed: Mapping[str, Any]) -> None:
    known = {f.name for f in fields(Plan)}
    for name, value in fixed.items():
        if name not in known:
            raise UnknownName.among("field of the plan", name, known)
        if name in (*AXES, "dp") and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise InvalidInput(f"{name} = {value!r} has to be a whole number of 1 or more")
    for name, names in (("sharding", (*SHARDINGS, "hsdp")), ("recompute", RECOMPUTES)):
        if name in fixed and fixed[name] not in names:
            raise UnknownName.among(name, str(fixed[name]), names)


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
    job: Job, gpus: int, domain: int, fixed: Mapping[str, Any], choices: Choices, base: Plan
) -> Ints:
    model, every = job.model, choices.all_divisors
    heads = model.heads or gpus
    max_tp = choices.max_tp or max(16, min(domain, 64))
    tps = [
        tp
        for tp in _axis(fixed, "tp", _steps(math.gcd(heads, gpus), max_tp, every=every))
        if gpus % tp == 0 and _tp_divides(model, tp)
    ]
    most_cp = max(1, job.seq_len // choices.least_cp_tokens)
    cps = _axis(fixed, "cp", [d for d in _steps(gpus, most_cp, every=False) if d & (d - 1) == 0])
    experts = model.experts if model.moe_layers else 1
    eps = _axis(fixed, "ep", _steps(experts, min(experts, gpus), every=every))
    most_batch = min(choices.max_micro_batch, job.global_batch)
    batches = _axis(fixed, "micro_batch", _steps(job.global_batch, most_batch, every=every))
    rows = []
    for tp in tps:
        for cp in cps:
            pieces = cp * (2 if cp > 1 and base.cp_method != "all-to-all" else 1)
            pieces *= tp if base.sequence_parallel else 1
            barred = cp > 1 and (model.mamba is not None or not job.fused_attention)
            if gpus % (tp * cp) or job.seq_len % pieces or barred:
                continue
            etps = _axis(fixed, "etp", sorted({1, tp}) if experts > 1 else [1])
            rows += [
                (tp, cp, ep, etp, batch)
                for ep in eps
                for etp in etps
                if experts % ep == 0 and (etp == 1 or (experts > 1 and model.moe_ffn % etp == 0))
                for batch in batches
            ]
    return np.array(rows, dtype=np.int64).reshape(-1, 5)


def _tp_divides(model: Model, tp: int) -> bool:
    kv = model.kv_heads
    if model.heads and (model.heads % tp or (kv % tp and tp % kv)):
        return False
    if any(block.feed == "dense" for block in model.blocks) and model.ffn % tp:
        return False
    if model.shared_expert_ffn % tp:
        return False
    return model.mamba is None or not (model.mamba.heads % tp or model.mamba.groups % tp)


def _pipelines(
    model: Model, gpus: int, fixed: Mapping[str, Any], choices: Choices
) -> list[tuple[int, int, str]]:
    """(pp, vpp, schedule) that the layers can be cut into."""
    most = model.layers + 2 + model.mtp_layers
    every = choices.all_divisors
    wanted = str(fixed.get("schedule", ""))
    pps = _axis(fixed, "pp", _steps(gpus, min(choices.max_pp, model.layers), every=every))
    out: list[tuple[int, int, str]] = []
    for pp in pps:
        if gpus % pp or pp > most:
            continue
        for vpp in _axis(fixed, "vpp", range(1, min(choices.max_vpp, most // pp) + 1)):
            if pp * vpp > most or (vpp > 1 and pp == 1):
                continue
            # Chunks of unlike length waste interleaving; without it they are what pp needs.
            if vpp > 1 and "vpp" not in fixed and model.layers % (pp * vpp):
                continue
            for schedule in [wanted] if wanted else choices.schedules:
                fits = vpp > 1 if schedule == "interleaved" else vpp == 1
                if fits and (pp > 1 or schedule == "1f1b"):
                    out.append((pp, vpp, schedule))
    return out


def _spread(
    job: Job,
    gpus: int,
    profiles: Ints,
    pp: int,
    vpp: int,
    schedule: str,
    fixed: Mapping[str, Any],
    choices: Choices,
) -> tuple[Ints, ...] | None:
    """Plans with this pipeline: all profiles x sharding x recompute that divide."""
    if schedule not in SCHEDULES:
        raise InvalidPlan(
            f"schedule {schedule!r} is not searched; give all axes, or one of "
            f"{', '.join(SCHEDULES)}"
        )
    if (wanted := fixed.get("sharding", "none")) not in SHARDINGS:
        raise InvalidPlan(
            f"sharding {wanted!r} is not searched; give all axes, or one of {', '.join(SHARDINGS)}"
        )
    tp, cp, ep, etp, batch = profiles.T
    replica = tp * cp * pp
    dp = gpus // replica
    good = (gpus % replica == 0) & (dp >= 1)
    dp = np.maximum(dp, 1)
    if "dp" in fixed:
        good &= dp == fixed["dp"]
    m = job.global_batch // (dp * batch)
    good &= (job.global_batch % (dp * batch) == 0) & ((tp * cp * dp) % (ep * etp) == 0)
    if schedule == "interleaved":
        good &= m % pp == 0
    which = np.flatnonzero(good)
    if not len(which):
        return None
    shardings = [fixed["sharding"]] if "sharding" in fixed else [*choices.shardings]
    recomputes = [fixed["recompute"]] if "recompute" in fixed else [*choices.recomputes]
    unsplit = [s for s in shardings if not (schedule == "zb-h1" and s in ("zero2", "zero3"))]
    if pp > 1 and len(unsplit) > 1:  # in a pipeline zero3 keeps whole weights too: zero1 is better
        unsplit = [s for s in unsplit if s != "zero3"]
    grid = np.array(
        [(SHARDINGS.index(s), RECOMPUTES.index(r)) for s in unsplit for r in recomputes],
        dtype=np.int64,
    ).reshape(-1, 2)
    count = len(which)
    repeat = len(grid)
    index = np.repeat(which, repeat)
    sharding, recompute = np.tile(grid, (count, 1)).T
    # Sharding over a single replica is no sharding: keep the plainest.
    alone = (dp[index] * cp[index] == 1) & (sharding != sharding.min(initial=len(SHARDINGS)))
    keep = ~alone if len(shardings) > 1 else np.ones(len(index), dtype=bool)
    index, sharding, recompute = index[keep], sharding[keep], recompute[keep]

    def full(value: int) -> Ints:
        return np.full(len(index), value, dtype=np.int64)

    return (index, full(pp), full(vpp), dp[index], m[index], sharding, recompute,
            full(SCHEDULES.index(schedule)))  # fmt: skip


def _why_nothing(job: Job, gpus: int, fixed: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name} {value}" for name, value in fixed.items() if name in SEARCHED)
    rest = f" with {given}" if given else ""
    return (
        f"no plan{rest} divides {gpus} accelerators, a global batch of {job.global_batch} and "
        f"{job.model.name!r} ({job.model.layers} layers, {job.model.heads} heads); change "
        "the number of accelerators or the batch" + (", or leave an axis open" if given else "")
    )
