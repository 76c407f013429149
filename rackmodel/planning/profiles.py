"""Seconds and bytes of every kind of layer, for every way to cut it: what the closed form adds up.

In:  a job, its cuts (rows of `space.CUT`), kernel times, times of collectives.
Out: `Profiles`: arrays over cuts x kinds of units (embedding, layers, head).
Left out: pipelines, data parallelism.

The operations are the workload's own, each kind of unit once; so the closed form and the
simulation agree on everything but what ranks do to one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from rackmodel.engine.script import pieces_of, play
from rackmodel.planning.comm_times import CommTimes
from rackmodel.planning.space import EAGER, Bools, Floats, Ints, Space, cut_fields
from rackmodel.workload import Collective, Compute, Job, Operation, Plan, send_bytes
from rackmodel.workload.activations import unit_bytes
from rackmodel.workload.choices import RECOMPUTES
from rackmodel.workload.muon import orthogonal_kernels
from rackmodel.workload.operations import Segment
from rackmodel.workload.passes import Passes, merged
from rackmodel.workload.placement import axis_true_size
from rackmodel.workload.schedules.schedule import schedule_of
from rackmodel.workload.stages import Chunk, Unit, chunks_of

Operations: TypeAlias = tuple[Operation, ...]
# (axis, operation, bytes) -> seconds, share of compute taken
Known: TypeAlias = dict[tuple[str, str, float], tuple[float, float]]
Seconds: TypeAlias = tuple[Callable[[Compute], float], Callable[[Compute], float]]
ALIKE: tuple[str, ...] = ("kept", "working", "transfer", "head_twin", "dense", "expert")
ALIKE += ("dense_learning", "expert_learning", "orthogonal_s", "orthogonal_expert_s")


@dataclass(slots=True, kw_only=True)
class Profiles:
    """P cuts x K kinds of units; recompute in the order of `RECOMPUTES`.

    dense, expert : float[P, K]; dense_learning, expert_learning: those that learn. forward_s,
    backward_s, kernels_s, paired_s, input_s, weight_s, kept, working : float[P, 3, K]: kernels_s is
    forward and backward without communication and copies, paired_s both with each one's all-to-alls
    under the other, in a chunk of many such units, and tail_s what a chunk that ends with the unit
    waits; input_s and weight_s are a backward pass in two (all zero until walked, if asked for).
    transfer : float[P], bytes handed on between stages. order : kinds along the model, int[U];
    layer : bool[K]. walked : bool[3, P, 3], whether forward_s and backward_s (then paired_s and
    tail_s, then input_s and weight_s) hold communication as it is; until then they hold kernels,
    and bytes that are waited for at the rate of the fastest port: nothing can beat that.
    """

    forward_s: Floats
    backward_s: Floats
    kernels_s: Floats
    paired_s: Floats
    tail_s: Floats
    input_s: Floats
    weight_s: Floats
    kept: Floats
    working: Floats
    dense: Floats
    expert: Floats
    dense_learning: Floats
    expert_learning: Floats
    # [P, K], of Muon: seconds for all matrices of a unit outside experts, and of its experts
    orthogonal_s: Floats
    orthogonal_expert_s: Floats
    transfer: Floats
    head_twin: Floats  # parameters that a tied head holds once more on a pipeline's last rank
    order: Ints
    layer: Bools
    walked: Bools
    passes: dict[tuple[int, int, int], Passes]  # (cut, recompute, kind)
    alone: dict[tuple[int, int], float]  # (cut, segment): its seconds with communication
    plans: list[Plan] = field(default_factory=list)  # of each cut, without a pipeline


def profile(
    job: Job,
    cuts: Ints,
    computes: Seconds,
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
    computes : seconds of a piece of work, and where a cut is `eager`.
    recomputes : which of `RECOMPUTES` are asked for; the others are left infinite.
    port_bytes_per_s : the most that any accelerator can send or receive.
    settled : a job with what its machine decides, such as how tokens reach their experts.
    """
    kinds = _kinds(probe_of(job, cuts[0], gpus))
    shape = (several := (len(cuts), len(RECOMPUTES), len(kinds[0])))[::2]
    found = Profiles(
        forward_s=np.full(several, np.inf),
        backward_s=np.full(several, np.inf),
        kernels_s=np.full(several, np.inf),
        paired_s=np.zeros(several),
        tail_s=np.zeros(several),
        input_s=np.zeros(several),
        weight_s=np.zeros(several),
        kept=np.full(several, np.inf),
        working=np.full(several, np.inf),
        dense=np.zeros(shape),
        expert=np.zeros(shape),
        dense_learning=np.zeros(shape),
        expert_learning=np.zeros(shape),
        orthogonal_s=np.zeros(shape),
        orthogonal_expert_s=np.zeros(shape),
        transfer=np.zeros(len(cuts)),
        head_twin=np.zeros(len(cuts)),
        order=kinds[1],
        layer=np.array([unit.is_layer for unit in kinds[0]]),
        walked=np.zeros((3, *several[:2]), dtype=bool),
        passes={},
        alone={},
    )
    for row, cut in enumerate(cuts):
        compute_s = computes[int(cut[EAGER])]
        if row and cut[EAGER] > cuts[row - 1][EAGER]:  # the cut before, launched by the host
            _launched_apart(found, row, recomputes, compute_s, port_bytes_per_s)
            continue
        found.plans.append((probe := settled(probe_of(job, cut, gpus))).plan)
        units = _kinds(probe)[0]
        found.transfer[row] = send_bytes(probe)
        if job.model.tied:
            found.head_twin[row] = next(u for u in units if u.kind == "embedding").dense_parameters
        found.dense[row] = [unit.dense_parameters for unit in units]
        found.expert[row] = [unit.expert_parameters for unit in units]
        found.dense_learning[row] = [unit.dense_learning for unit in units]
        found.expert_learning[row] = [unit.expert_learning for unit in units]
        if job.optimizer == "muon":
            _time_muon(found, probe.replace(sharding="none"), units, row, compute_s)
        for which in sorted(recomputes):
            modules = job.plan.recompute_modules if RECOMPUTES[which] == "selective" else ()
            own = probe.replace(
                recompute=RECOMPUTES[which], recompute_modules=modules, recompute_layers=None
            )
            for column, unit in enumerate(units):
                _time_unit(found, own, unit, (row, which, column), compute_s, port_bytes_per_s)
    return found


def _time_muon(
    found: Profiles,
    whole: Job,
    units: Sequence[Unit],
    row: int,
    compute_s: Callable[[Compute], float],
) -> None:
    for expert, kept in ((False, found.orthogonal_s), (True, found.orthogonal_expert_s)):
        for column, unit in enumerate(units):
            if kernels := orthogonal_kernels(whole, [unit], [expert]):
                work = Compute(name="orthogonal", phase="optimizer", kernels=kernels)
                kept[row, column] = compute_s(work)


def _without_copies(work: Compute) -> Compute:
    return replace(work, kernels=tuple(k for k in work.kernels if k.family != "copy"))


def _time_unit(
    found: Profiles,
    own: Job,
    unit: Unit,
    place: tuple[int, int, int],
    compute_s: Callable[[Compute], float],
    port_bytes_per_s: float,
) -> None:
    """Kernels and activations of one unit under one cut with one kind of recompute."""
    passes, before = _passes(found, own, unit, place)
    if before is not None:
        for values in (found.forward_s, found.backward_s, found.kernels_s, found.kept):
            values[place] = values[before]
        found.working[place] = found.working[before]
        return
    _time_passes(found, passes, place, compute_s, port_bytes_per_s)
    part = unit_bytes(own, unit, recomputed=own.plan.recompute == "full" and unit.is_layer)
    found.kept[place] = part.kept_bytes
    found.working[place] = part.working_bytes


def _time_passes(
    found: Profiles,
    passes: Passes,
    place: tuple[int, int, int],
    compute_s: Callable[[Compute], float],
    port_bytes_per_s: float,
) -> None:
    """Kernels of the passes of one unit, and bytes that they wait for."""
    ahead, back = (passes.segment(kind, False).operations for kind in "FB")
    forward, backward = (
        sum(compute_s(op) for op in part if isinstance(op, Compute)) for part in (ahead, back)
    )
    waited = [least_bytes(passes.job.plan, part) / port_bytes_per_s for part in (ahead, back)]
    found.forward_s[place] = forward + waited[0]
    found.backward_s[place] = backward + waited[1]
    found.kernels_s[place] = forward + backward
    if passes.job.plan.offload:
        found.kernels_s[place] = sum(
            compute_s(_without_copies(op)) for op in (*ahead, *back) if isinstance(op, Compute)
        )


def _launched_apart(
    found: Profiles,
    row: int,
    recomputes: frozenset[int],
    compute_s: Callable[[Compute], float],
    port_bytes_per_s: float,
) -> None:
    """A cut that differs from the one before it in who launches its kernels only."""
    found.plans.append(found.plans[-1])
    for name in ALIKE:
        getattr(found, name)[row] = getattr(found, name)[row - 1]
    for which in sorted(recomputes):
        for column in range(found.dense.shape[1]):
            passes = found.passes[row, which, column] = found.passes[row - 1, which, column]
            _time_passes(found, passes, (row, which, column), compute_s, port_bytes_per_s)


def _passes(
    found: Profiles, own: Job, unit: Unit, place: tuple[int, int, int]
) -> tuple[Passes, tuple[int, int, int] | None]:
    """Return the passes of a unit; also where they stand already, if recompute changes nothing.

    Forward passes do not depend on recompute, nor does a unit that recompute leaves alone.
    """
    row, which, column = place
    one = found.passes[place] = Passes(own, Chunk(0, 1, 0, 0, (unit,)), "search")
    known = [(row, other, column) for other in range(which)]
    known = [other for other in known if other in found.passes]
    if not known or "activations" in own.plan.offload:
        return one, None
    before = found.passes[known[0]]
    again = own.modules | before.job.modules
    modules = {step.module for step in unit.steps}
    if unit.is_layer or "alternate" in again or again & modules:
        one.kept["F", False] = before.segment("F", False)
        return one, None
    found.passes[place] = before
    return before, known[0]


def least_bytes(plan: Plan, operations: Operations) -> float:
    """Bytes that a rank has to send or receive while its kernels wait, whatever the algorithm.

    A member of n sends or receives at least (n - 1)/n of what a collective counts; an all-reduce
    without reduction in the switches twice that.
    """
    total = 0.0
    for call in operations:
        if isinstance(call, Collective) and call.token is None:
            n = axis_true_size(plan, call.axis)
            total += call.bytes * (n - 1) / n
    return total


def walk(
    found: Profiles,
    space: Space,
    computes: Seconds,
    comm: CommTimes,
) -> None:
    """Put communication between the kernels of what these plans run, where it is not yet."""
    splits = [schedule_of(name).splits_weights for name in space.schedules]
    needed = np.zeros_like(found.walked)
    for kind, own in enumerate(
        (np.ones(len(space), dtype=bool), space.ep_overlap == 1, np.array(splits)[space.schedule])
    ):
        needed[kind, space.profile[own], space.recompute[own]] = True
    needed &= ~found.walked
    told: dict[int, Known] = {}
    for row, which in np.argwhere(needed.any(axis=0)).tolist():
        known = told.setdefault(row, {})

        def collective_s(
            call: Collective, plan: Plan = found.plans[row], known: Known = known
        ) -> tuple[float, float]:
            key = call.axis, call.op, call.bytes
            if key not in known:
                known[key] = comm.collective(plan, *key)
            return known[key]

        compute_s = computes[int(space.profiles[row, EAGER])]
        for column in range(found.dense.shape[1]):
            place = row, which, column
            _walk_unit(found, place, needed[:, row, which], compute_s, collective_s)
    found.walked |= needed


def _walk_unit(
    found: Profiles,
    place: tuple[int, int, int],
    needed: Bools,
    compute_s: Callable[[Compute], float],
    collective_s: Callable[[Collective], tuple[float, float]],
) -> None:
    """Walk the passes of one unit: whole ones, pairs, backward passes in two."""

    def seconds(operations: Operations) -> float:
        return alone_s(operations, compute_s, collective_s)

    def known(segment: Segment) -> float:
        key = place[0], segment.id
        if key not in found.alone:
            found.alone[key] = seconds(segment.operations)
        return found.alone[key]

    passes = found.passes[place]
    ahead, back = (passes.segment(kind, False) for kind in "FB")
    if needed[0]:
        found.forward_s[place] = known(ahead)
        found.backward_s[place] = known(back)
    if needed[1]:
        both, tail = found.forward_s[place] + found.backward_s[place], 0.0
        if any(_exchanges(op) for op in ahead.operations):
            first, second = (seconds(_mixed(ahead, back, units)) for units in (1, 2))
            both, tail = second - first, 2.0 * first - second
        found.paired_s[place], found.tail_s[place] = both, tail
    if needed[2]:
        found.input_s[place] = known(passes.segment("BI", False))
        found.weight_s[place] = known(passes.segment("W", False))


def alone_s(
    operations: Operations,
    compute_s: Callable[[Compute], float],
    collective_s: Callable[[Collective], tuple[float, float]],
) -> float:
    """Seconds of these operations on the compute stream, as if nobody else were there.

    collective_s : seconds of a collective, and the share of compute throughput that it takes.
    """
    exchanges: list[tuple[float, float]] = []

    def channel_of(call: Operation) -> int:
        assert isinstance(call, Collective), "a pass sends nothing"
        exchanges.append(collective_s(call))
        return len(exchanges) - 1

    pieces = pieces_of(operations, compute_s, channel_of, set(), set()).pieces
    return play(pieces, exchanges.__getitem__).end_s


def _mixed(ahead: Segment, back: Segment, units: int) -> Operations:
    """A forward pass over so many such units and a backward pass of another micro-batch."""
    front, rear = (replace(part, operations=part.operations * units) for part in (ahead, back))
    return merged(front, rear, overlap=True).operations


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


def _kinds(probe: Job) -> tuple[list[Unit], Ints]:
    """Distinct units in order of appearance, and the kind of every unit along the model."""
    units = chunks_of(probe)[0][0].units
    found: dict[Unit, int] = {}
    order = [found.setdefault(unit, len(found)) for unit in units]
    first = {kind: unit for unit, kind in zip(reversed(units), reversed(order), strict=True)}
    return [first[kind] for kind in range(len(found))], np.array(order, dtype=np.int64)
