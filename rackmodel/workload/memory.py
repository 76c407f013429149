"""HBM of a rank by kind: what a plan needs, whether it fits, and how it moves over a step.

In:  a job, a pipeline rank, bytes of HBM; for the timeline, when the passes of a step ran.
Out: bytes by kind; `DoesNotFit` with the largest kinds and a plan that would fit.
Left out: host memory, the allocator's behaviour beyond stated constants (`software`).

Kinds: weights, gradients, optimizer, activations (kept ones at the peak of the schedule), working
(what a pass needs on top), buffers (gathered weights, communication), reserve (context, libraries,
fragmentation).

Weights and optimizer of bf16 Adam take 2 + 4 + 4 + 4 bytes per parameter, gradients 4 or 2. ZeRO
divides them as Rajbhandari et al. 2020, arXiv:1910.02054, figure 1, does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from rackmodel.errors import DoesNotFit, InvalidPlan
from rackmodel.software import software_of
from rackmodel.workload.activations import chunk_bytes, peak_bytes
from rackmodel.workload.communicators import fixed_bytes, groups_of
from rackmodel.workload.copies import expert_shards
from rackmodel.workload.data_parallel import (
    held_gradients,
    kept_state,
    local_states,
    outside_states,
)
from rackmodel.workload.job import Job
from rackmodel.workload.kernels import ELEMENT
from rackmodel.workload.plan import Plan
from rackmodel.workload.precision import precision_of
from rackmodel.workload.recompute_choices import choice, losses_in_parts, recomputes
from rackmodel.workload.schedules.schedule import Action, schedule_of
from rackmodel.workload.silent import by_library
from rackmodel.workload.stages import Chunk, chunks_of
from rackmodel.workload.validity import check

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

KINDS = ("weights", "gradients", "optimizer", "activations", "working", "buffers", "reserve")
Amount: TypeAlias = Any  # a number, or an array over plans
Flag: TypeAlias = "np.bool_ | npt.NDArray[np.bool_]"


class Holding(NamedTuple):
    """What ranks hold, as numbers of one rank or as arrays over many plans that broadcast.

    states : parameters that the optimizer updates. parameters, gradients : held from pass to pass.
    weights : bytes of all compute copies. largest : parameters of the largest unit, gathered whole
    where `reshards`. replicas : ranks of dp x cp. sharded, reshards : weights are sharded, and
    dropped after use. ahead : units gathered ahead. offloaded, away : the optimizer, the shards of
    weights are in host memory.
    kept, working : activations at the schedule's peak. [bytes]
    outside : states of embedding and head. frozen : parameters of a shard that never change.
    groups, peers : groups that communicate; ranks that each rank sends tokens to, by `groups_of`.
    learning : those of `largest` that do; None where all do. alone : parameters of experts that no
    other rank holds a shard of.
    """

    states: Amount
    parameters: Amount
    gradients: Amount
    weights: Amount
    largest: Amount
    replicas: Amount
    sharded: Flag
    reshards: Flag
    ahead: Amount
    offloaded: Flag
    kept: Amount
    working: Amount
    outside: Amount
    groups: Amount
    peers: Amount
    frozen: Amount = 0.0
    learning: Amount = None
    away: Flag | bool = False
    alone: Amount = 0.0


def bytes_by_kind(job: Job, holding: Holding) -> dict[str, Amount]:
    """Return the bytes of HBM by kind; the one formula for one rank and for arrays of plans."""
    import numpy as np

    software, held = software_of(job.stack), holding
    shard, master = float(software.shard_bytes), np.asarray(software.master_bytes)
    whole = held.sharded & ~held.reshards
    # The sharded weight is itself the fp32 master; bf16 copies exist while they are gathered.
    master = np.where(held.sharded, np.maximum(master - shard, 0.0), master)
    # Weights that are stored as they are computed with need no copy where they are whole anyway.
    alone = held.alone if software.shard_bytes == ELEMENT else np.zeros(())
    copies = np.where(whole, held.weights - alone * ELEMENT, 0.0)
    sharded = held.states * shard + held.frozen * ELEMENT + copies
    gathered = precision_of(job.precision).gather_bytes * (1 + held.ahead)
    learning = held.largest if held.learning is None else held.learning
    gathered = software.gathered_share * (
        held.largest * gathered + learning * job.gradient_bytes * (1 + (held.ahead > 0))
    )
    each = job.gradient_bytes + software.gradient_copy_bytes
    each_state = master + software.shard_gradient_bytes
    kinds = dict.fromkeys(KINDS, np.zeros(()))
    kinds["weights"] = np.where(held.sharded, np.where(held.away, 0.0, sharded), held.weights)
    # Reduced gradients are as wide as the shard that they belong to.
    kinds["gradients"] = np.where(
        whole,
        (held.parameters - alone) * job.gradient_bytes + held.states * shard,
        held.gradients * np.where(held.sharded, np.minimum(each, shard), each),
    )
    kept = held.states * each_state + kept_state(job, held.states, held.outside)
    kinds["optimizer"] = np.where(held.offloaded, 0.0, kept)
    # Kept whole, a unit passes the same buffers: it is gathered flat, its gradients leave flat.
    kinds["buffers"] = np.where(held.sharded, gathered, 0.0)
    kinds["buffers"] = kinds["buffers"] + np.where(held.replicas > 1, software.bucket_bytes, 0.0)
    kinds["activations"], kinds["working"] = np.asarray(held.kept), np.asarray(held.working)
    kinds["reserve"] = fixed_bytes(software, held.groups, held.peers) + _slack(job, kinds)
    return kinds


@lru_cache(maxsize=4096)
def _memory(job: Job, pipeline_rank: int) -> tuple[tuple[str, float], ...]:
    import numpy as np

    chunks, plan = chunks_of(job)[pipeline_rank], job.plan
    peak = peak_bytes(job, pipeline_rank)
    experts = 1.0 if plan.edp > 1 else 0.0
    units = [unit for chunk in chunks for unit in chunk.units]
    groups, peers = _groups(job)
    dense, expert = (sum(c.parameters[i] - c.learning[i] for c in chunks) for i in (0, 1))
    holding = Holding(
        states=local_states(job, chunks),
        parameters=sum(sum(chunk.learning) for chunk in chunks),
        gradients=held_gradients(job, chunks),
        weights=_weight_bytes(job, chunks),
        largest=max(u.dense_parameters + experts * u.expert_parameters for u in units),
        replicas=plan.dp_cp,
        sharded=np.bool_(plan.sharded_parameters),
        reshards=np.bool_(plan.reshards),
        ahead=plan.prefetch if plan.dp_overlap else 0,
        offloaded=np.bool_("optimizer" in plan.offload),
        away="parameters" in plan.offload,
        kept=peak.kept_bytes,
        working=peak.working_bytes,
        outside=outside_states(job, chunks),
        groups=groups,
        peers=peers,
        frozen=dense / plan.shards + expert / expert_shards(plan),
        learning=max(u.dense_learning + experts * u.expert_learning for u in units),
        alone=0.0 if experts else sum(chunk.learning[1] for chunk in chunks),
    )
    return tuple((kind, float(size)) for kind, size in bytes_by_kind(job, holding).items())


def _groups(job: Job) -> tuple[int, int]:
    """Groups and peers of any rank of a job."""
    plan = job.plan
    axes = {name: getattr(plan, name) for name in ("tp", "pp", "cp", "ep", "dp_cp", "edp")}
    return groups_of(axes, tied=job.model.tied, all_to_all=by_library(plan))


def _slack(job: Job, kinds: Mapping[str, Amount]) -> Amount:
    """Bytes that the allocator holds and can't use: a share of what comes and goes."""
    moving = kinds["activations"] + kinds["working"] + kinds["buffers"]
    return software_of(job.stack).allocator_slack * moving


def printed_bytes(job: Job, kinds: Mapping[str, float]) -> float:
    """Return what the job's software would print as its peak of memory, of all that is used.

    Examples
    --------
    >>> from rackmodel.workload import Job, Plan, load_model
    >>> llama = load_model("llama3.1-8b")
    >>> job = Job(model=llama, plan=Plan(dp=8), seq_len=8192, global_batch=8, stack="titan")
    >>> used = memory(job)
    >>> round((sum(used.values()) - printed_bytes(job, used)) / 1e9, 1)  # context, NCCL
    1.4
    """
    software, used = software_of(job.stack), sum(kinds.values())
    if software.prints == "device":
        return used
    reserved = used - float(fixed_bytes(software, *_groups(job)))
    return reserved if software.prints == "reserved" else reserved - _slack(job, kinds)


def _weight_bytes(job: Job, chunks: tuple[Chunk, ...]) -> float:
    """Compute copies of all weights that a rank holds; embedding and head stay in two bytes."""
    units = [unit for chunk in chunks for unit in chunk.units]
    return sum(
        (unit.dense_parameters + unit.expert_parameters)
        * (job.weight_bytes if unit.is_layer else ELEMENT)
        for unit in units
    )


def memory(job: Job, pipeline_rank: int = 0) -> dict[str, float]:
    """Return the bytes of HBM that a rank of that pipeline rank needs at its peak, by kind.

    Examples
    --------
    >>> from rackmodel.workload import Job, Plan, load_model
    >>> plan = Plan(tp=8, pp=8, dp=1, sharding="none")
    >>> need = memory(Job(model=load_model("gpt3-175b"), plan=plan, seq_len=2048, global_batch=64))
    >>> round((need["weights"] + need["gradients"] + need["optimizer"]) / 1e9, 1)
    50.8
    """
    return dict(_memory(job, pipeline_rank))


def peak_memory(job: Job) -> tuple[int, dict[str, float]]:
    """Return the pipeline rank that needs most, and its bytes by kind."""
    needs = [memory(job, rank) for rank in _telling_ranks(job)]
    most = max(range(len(needs)), key=lambda i: sum(needs[i].values()))
    return _telling_ranks(job)[most], needs[most]


def _telling_ranks(job: Job) -> list[int]:
    """Pipeline ranks that can need most: those at either end, and one between."""
    pp = job.plan.pp
    if pp <= 8 or job.plan.stage_layers:
        return list(range(pp))
    return sorted({0, 1, pp // 2, pp - 2, pp - 1})


def fits(job: Job, hbm_bytes: float) -> bool:
    """Whether every pipeline rank fits."""
    return sum(peak_memory(job)[1].values()) <= hbm_bytes


def check_fits(job: Job, hbm_bytes: float, *, what: str = "the accelerator") -> dict[str, float]:
    """Return the bytes by kind of the fullest rank, or raise.

    Raises
    ------
    DoesNotFit
        With the kinds that need most and, where one is found, a plan that would fit.
    """
    rank, need = peak_memory(job)
    total = sum(need.values())
    if total <= hbm_bytes:
        return need
    largest = sorted(need.items(), key=lambda item: -item[1])[:4]
    kinds = ", ".join(f"{kind} {size / 1e9:.0f}" for kind, size in largest)
    raise DoesNotFit(
        f"pipeline rank {rank} needs {total / 1e9:,.0f} GB ({kinds}); {what} has"
        f" {hbm_bytes / 1e9:.0f} GB. {_advice(job, hbm_bytes)}"
    )


def _advice(job: Job, hbm_bytes: float) -> str:
    for words, changed in _smaller(job):
        try:
            check(changed)
            if fits(changed, hbm_bytes):
                return f"This would fit: {words} (advise tells its step time, and flags)"
        except InvalidPlan:
            continue
    return (
        "No plan with these accelerators was found that fits: use more of them, or a smaller model"
    )


def _smaller(job: Job) -> Iterator[tuple[str, Job]]:
    """Plans that need less, the mildest change first."""
    plan, gpus = job.plan, job.gpus
    yield from recomputes(job)
    full = job.replace(**choice("full"))
    for base, words in ((job, ""), (full, ', recompute="full"')):
        if plan.micro_batch > 1:
            yield f"micro_batch=1{words}", base.replace(micro_batch=1)
        for sharding in ("zero1", "zero3"):
            if sharding != plan.sharding:
                changed = base.replace(sharding=sharding, shard_size=0)
                yield f'sharding="{sharding}"{words}', changed
    for tp, pp in _splits(plan, gpus):
        dp = gpus // (tp * pp * plan.cp)
        for base, words in ((job, ""), (full, ', recompute="full"')):
            changed = base.replace(
                tp=tp,
                pp=pp,
                dp=dp,
                vpp=1,
                schedule="",
                stage_layers=(),
                micro_batch=1,
                sequence_parallel=True,
            )
            yield f"tp={tp}, pp={pp}, dp={dp}, micro_batch=1{words}", changed


def _splits(plan: Plan, gpus: int) -> list[tuple[int, int]]:
    """tp and pp beyond the plan's, in order of their product."""
    pairs = [
        (plan.tp * a, plan.pp * b)
        for a in (1, 2, 4, 8)
        for b in (1, 2, 4, 8, 16)
        if a * b > 1 and plan.tp * a <= 16 and gpus % (plan.tp * a * plan.pp * b * plan.cp) == 0
    ]
    return sorted(pairs, key=lambda pair: (pair[0] * pair[1], pair[0]))


def recompute_that_fits(job: Job, hbm_bytes: float) -> str:
    """Return the words of the least recompute that fits; nothing where none does.

    Of sharded weights also those of a loss in parts: by operations beside what fits, else of all.
    """
    found = (words for words, changed in recomputes(job) if fits(changed, hbm_bytes))
    words = next(found, "")
    if not job.plan.sharded_parameters:
        return words
    parts = (said for said, changed in losses_in_parts(job) if fits(changed, hbm_bytes))
    said = next(parts, "")
    return f"{words} (or {said})" if words and "alternate" in said else words or said


def least_recompute(job: Job, hbm_bytes: float) -> Job:
    """Return the job with the least recompute that fits: none, cheap modules, whole layers.

    Raises
    ------
    DoesNotFit
        If it does not fit even with full recompute.
    """
    for _, changed in recomputes(job):
        if fits(changed, hbm_bytes):
            return changed
    check_fits(job.replace(**choice("full")), hbm_bytes)
    raise AssertionError("the last choice was the full recompute that has just been refused")


def more_layers(job: Job, hbm_bytes: float) -> Job:
    """Return the job with as many more layers run again as it takes to fit, all if none does."""
    first = job.plan.recompute_layers or 1
    most = max(sum(u.is_layer for u in c.units) for rank in chunks_of(job) for c in rank)
    tried = (job.replace(**choice("full", (), layers)) for layers in range(first, most))
    whole = job.replace(**choice("full"))
    return next((changed for changed in tried if fits(changed, hbm_bytes)), whole)


def memory_timeline(
    job: Job, passes: Iterable[tuple[Action, float, float]], pipeline_rank: int = 0
) -> pd.DataFrame:
    """Return HBM by kind over a step, from the times of the passes of one rank.

    Parameters
    ----------
    passes : the schedule's passes of that pipeline rank with their start and end. [s]

    Returns
    -------
    Columns time_s, the kinds (held from that time on, until the next row), total [bytes]; one row
        a change. A pass has its working set while it runs; what it keeps is counted from the start
        of the forward to the end of the backward pass (of the weight pass, where that is split
        off), so `frame["total"].max()` is the peak that `memory` tells.
    """
    import numpy as np
    import pandas as pd

    constant = memory(job, pipeline_rank)
    parts = [chunk_bytes(job, chunk) for chunk in chunks_of(job)[pipeline_rank]]
    split = schedule_of(job.plan.order).splits_weights
    changes: list[tuple[float, int, float, float]] = [(0.0, 0, 0.0, 0.0)]
    for action, start_s, end_s in passes:
        for kind, chunk, _ in action.passes():
            part = parts[chunk]
            works = part.working_bytes
            kept = part.kept_bytes if kind == "F" else 0.0
            gone = part.kept_bytes if kind == action.last_use(split=split) else 0.0
            # What ends at an instant makes room for what begins then, rounding aside.
            changes += [(round(start_s, 9), 1, kept, works), (round(end_s, 9), 0, -gone, -works)]
    order = sorted(changes)
    held = np.cumsum(np.array([[kept, works] for _, _, kept, works in order]), axis=0)
    frame = pd.DataFrame({"time_s": [time_s for time_s, *_ in order]})
    for kind in KINDS:
        frame[kind] = constant[kind]
    frame["activations"] = np.maximum(held[:, 0], 0.0)
    frame["working"] = np.maximum(held[:, 1], 0.0)
    frame["total"] = frame[list(KINDS)].sum(axis=1)
    return frame.drop_duplicates("time_s", keep="last", ignore_index=True)
