"""Seconds and bytes of every kind of layer, for every way to cut it: what the closed form adds up.

In:  a job, its cuts (rows of `space.CUT`), kernel times, times of collectives.
Out: `Profiles`: arrays over cuts x kinds of units (embedding, layers, head).
Left out: pipelines, data parallelism; what one cut does (`cuts`, kept for other machines).

The operations are the workload's own, each kind of unit once; so the closed form and the
simulation agree on everything but what ranks do to one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Bools, Floats, Ints
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.planning.comm_times import CommTimes
from rackmodel.planning.cuts import Call, CutTimes, work_of
from rackmodel.planning.space import EAGER, Space, cut_fields
from rackmodel.workload import Collective, Job, Operation, Plan, Segment, send_bytes
from rackmodel.workload.choices import RECOMPUTES
from rackmodel.workload.schedules.schedule import schedule_of
from rackmodel.workload.silent import by_library

# Of a unit, in the order of `Profiles.held`.
HELD = "dense_parameters", "expert_parameters", "dense_learning", "expert_learning"


class Stages(NamedTuple):
    """Stages of a pipeline: units of each kind on each, states that each receives.

    first, alike : a stage of each kind of units, and which of these a stage is like.
    """

    counts: Floats  # [stages, K]
    received: tuple[int, ...]
    first: Ints
    alike: Ints


@dataclass(slots=True, kw_only=True)
class Profiles:
    """P cuts x K kinds of units; recompute in the order of `RECOMPUTES`.

    dense, expert : float[P, K]; dense_learning, expert_learning: those that learn. held, seconds :
    several of these as one array, so that one product sums all of them over stages. forward_s,
    backward_s, kernels_s, paired_s, input_s, weight_s, kept, working : float[P, 3, K]: kernels_s is
    forward and backward without communication and copies, paired_s both with each one's all-to-alls
    under the other, in a chunk of many such units, and tail_s what a chunk that ends with the unit
    waits; input_s and weight_s are a backward pass in two (all zero until walked, if asked for).
    transfer : float[P], bytes handed on between stages. by_nccl : bool[P], whether tokens may go by
    the library's all-to-all. order : kinds along the model, int[U]; layer : bool[K]. later :
    float[K, K], 1 of ends and what comes before them. walked : bool[3, P, 3], whether forward_s
    and backward_s (then paired_s and tail_s, then input_s and weight_s) hold communication as it
    is; until then they hold kernels, and bytes that are waited for at the rate of the fastest port:
    nothing can beat that.
    """

    seconds: Floats  # forward_s, backward_s, kernels_s
    forward_s: Floats
    backward_s: Floats
    kernels_s: Floats
    paired_s: Floats
    tail_s: Floats
    input_s: Floats
    weight_s: Floats
    kept: Floats
    working: Floats
    held: Floats  # dense, expert, dense_learning, expert_learning
    dense: Floats
    expert: Floats
    dense_learning: Floats
    expert_learning: Floats
    # [P, K], of Muon: seconds for all matrices of a unit outside experts, and of its experts
    orthogonal_s: Floats
    orthogonal_expert_s: Floats
    transfer: Floats
    head_twin: Floats  # parameters that a tied head holds once more on the last rank; that learn
    by_nccl: Bools
    order: Ints
    layer: Bools
    later: Floats
    walked: Bools
    cuts: list[CutTimes] = field(default_factory=list)
    alone: dict[tuple[int, int], float] = field(default_factory=dict)  # (cut, segment): seconds
    # by pp, vpp, layers of stages
    stages: dict[tuple[int, int, tuple[int, ...]], Stages] = field(default_factory=dict)


def profile(
    job: Job,
    cuts: Ints,
    kernels: tuple[KernelTimes, KernelTimes],
    gpus: int,
    *,
    recomputes: frozenset[int],
    port_bytes_per_s: float = math.inf,
    settled: Callable[[Job], Job] = lambda job: job,
) -> Profiles:
    """Time the kernels of every kind of unit under every cut.

    Parameters
    ----------
    job : gives model, precision, software and the plan's other fields.
    cuts : int[P, len(CUT)], as `Space.profiles`.
    kernels : times of kernels, and where a cut is `eager`.
    recomputes : which of `RECOMPUTES` are asked for; the others are left infinite.
    port_bytes_per_s : the most that any accelerator can send or receive.
    settled : a job with what its machine decides, such as how tokens reach their experts.
    """
    probes = [settled(probe_of(job, cut, gpus)) for cut in cuts]
    first = work_of(probes[0])
    shape = (several := (len(cuts), len(RECOMPUTES), len(first.units)))[::2]
    layer = np.array([unit.is_layer for unit in first.units])
    seconds, held = np.full((3, *several), np.inf), np.zeros((4, *shape))
    found = Profiles(
        seconds=seconds,
        forward_s=seconds[0],
        backward_s=seconds[1],
        kernels_s=seconds[2],
        paired_s=np.zeros(several),
        tail_s=np.zeros(several),
        input_s=np.zeros(several),
        weight_s=np.zeros(several),
        kept=np.full(several, np.inf),
        working=np.full(several, np.inf),
        held=held,
        dense=held[0],
        expert=held[1],
        dense_learning=held[2],
        expert_learning=held[3],
        orthogonal_s=np.zeros(shape),
        orthogonal_expert_s=np.zeros(shape),
        transfer=np.zeros(len(cuts)),
        head_twin=np.zeros((2, len(cuts))),
        by_nccl=np.array([by_library(probe.plan) for probe in probes]),
        order=first.order,
        layer=layer,
        later=_later(first.order, layer),
        walked=np.zeros((3, *several[:2]), dtype=bool),
    )
    for row, (cut, probe) in enumerate(zip(cuts, probes, strict=True)):
        work = work_of(probe)
        found.cuts.append(times := work.times_on(kernels[int(cut[EAGER])]))
        found.transfer[row] = send_bytes(probe)
        if job.model.tied:
            twin = next(unit.dense_parameters for unit in work.units if unit.kind == "embedding")
            found.head_twin[:, row] = twin, twin * job.trained.learns("head")
        found.held[:, row] = [[getattr(unit, name) for unit in work.units] for name in HELD]
        if job.optimizer == "muon":
            found.orthogonal_s[row] = times.orthogonal_s(False)
            found.orthogonal_expert_s[row] = times.orthogonal_s(True)
        for which in sorted(recomputes):
            kept, working, ahead, back = work.bytes_of(which)
            forward_s, backward_s, both_s = times.kernels_s(which)
            found.kept[row, which], found.working[row, which] = kept, working
            found.forward_s[row, which] = forward_s + ahead / port_bytes_per_s
            found.backward_s[row, which] = backward_s + back / port_bytes_per_s
            found.kernels_s[row, which] = both_s
    return found


def _later(order: Ints, layer: Bools) -> Floats:
    """Return 1 of ends and what comes before them along the model, [K, K]."""
    last = {kind: place for place, kind in enumerate(order.tolist())}
    place = np.array([last.get(kind, 0) for kind in range(len(layer))])
    return ((place < place[:, None]) & ~layer[:, None]).astype(float)


def walk(found: Profiles, space: Space, comm: CommTimes) -> bool:
    """Put communication between the kernels of what these plans run; whether some had none."""
    splits = [schedule_of(name).splits_weights for name in space.schedules]
    needed = np.zeros_like(found.walked)
    for kind, own in enumerate(
        (np.ones(len(space), dtype=bool), space.ep_overlap == 1, np.array(splits)[space.schedule])
    ):
        needed[kind, space.profile[own], space.recompute[own]] = True
    needed &= ~found.walked
    if not needed.any():
        return False
    told: dict[int, dict[Call, tuple[float, float]]] = {}
    for row, which in np.argwhere(needed.any(axis=0)).tolist():
        known, plan = told.setdefault(row, {}), found.cuts[row].work.job.plan

        def collective_s(
            call: Call, plan: Plan = plan, known: dict[Call, tuple[float, float]] = known
        ) -> tuple[float, float]:
            if call not in known:
                known[call] = comm.collective(plan, *call)
            return known[call]

        for column in range(found.dense.shape[1]):
            _walk_unit(found, (row, which, column), needed[:, row, which], collective_s)
    found.walked |= needed
    return True


def _walk_unit(
    found: Profiles,
    place: tuple[int, int, int],
    needed: Bools,
    collective_s: Callable[[Call], tuple[float, float]],
) -> None:
    """Walk the passes of one unit: whole ones, pairs, backward passes in two."""
    times = found.cuts[place[0]]

    def known(segment: Segment) -> float:
        key = place[0], segment.id
        if key not in found.alone:
            found.alone[key] = times.alone_s(segment, collective_s)
        return found.alone[key]

    passes = times.work.passes[place[1:]]
    ahead, back = (passes.segment(kind, False) for kind in "FB")
    if needed[0]:
        found.forward_s[place] = known(ahead)
        found.backward_s[place] = known(back)
    if needed[1]:
        both, tail = found.forward_s[place] + found.backward_s[place], 0.0
        if any(_exchanges(op) for op in ahead.operations):
            first, second = (times.mixed_s(ahead, back, units, collective_s) for units in (1, 2))
            both, tail = second - first, 2.0 * first - second
        found.paired_s[place], found.tail_s[place] = both, tail
    if needed[2]:
        found.input_s[place] = known(passes.segment("BI", False))
        found.weight_s[place] = known(passes.segment("W", False))


def _exchanges(operation: Operation) -> bool:
    return isinstance(operation, Collective) and operation.axis == "ep"


def probe_of(job: Job, cut: Ints, gpus: int) -> Job:
    """The job with this cut and no pipeline: its units are those of any pipeline."""
    own = cut_fields(cut)
    dp = max(1, gpus // (own["tp"] * own["cp"]))
    return job.replace(
        **own,
        pp=1,
        vpp=1,
        dp=dp,
        schedule="",
        sharding="zero1",
        shard_size=0,
        prefetch=1,
        reshard=None,
        stage_layers=(),
        global_batch=dp * own["micro_batch"],
        p2p_overlap=None,
    )
