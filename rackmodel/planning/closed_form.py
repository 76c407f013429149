"""Step time of every plan by arithmetic over arrays: what the search prunes with.

In:  a `Shape` of plans, times of collectives.
Out: lower bounds, and `Estimates` of the step with its parts, one entry per plan.
Left out: HBM (`closed_hbm`), the order of passes (`pipeline`), transfers between stages beside
     other traffic.

Passes stand in the order of the schedule's own actions (`pipeline`); here is how long each takes,
and what a step has besides: gradients and weights that move under passes as far as they can, and
the update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Floats, Ints, each_once, kinds_of, packed
from rackmodel.engine.script import speed_beside
from rackmodel.planning.comm_times import CommTimes
from rackmodel.planning.pipeline import PASSES, TRANSFERS, Reduced, pipeline_s, runs_pairs
from rackmodel.planning.shapes import Shape
from rackmodel.planning.space import CUT, SILENT, cut_fields
from rackmodel.software import software_of
from rackmodel.workload import Plan, precision_of
from rackmodel.workload.choices import RANK_ORDERS, SHARDINGS
from rackmodel.workload.copies import shard_axes
from rackmodel.workload.data_parallel import BUCKET, BUCKET_PER_REPLICA, by_tensors
from rackmodel.workload.kernels import ELEMENT
from rackmodel.workload.schedules.schedule import KINDS, beginnings

PORT = 0.7  # of a port is what one collective reaches by itself, or more (network/data/library)
MEET = ("tp", "cp", "ep", "etp")  # of a cut, which ranks exchange
LINE = 0.97  # a collective takes this much of the seconds that `linear` puts on it, or more


class Estimates(NamedTuple):
    """One entry per plan; infinite seconds where it was not worked out.

    step_s : best guess. bound_s : no simulation of this plan can be faster. hbm_bytes : of the
    fullest rank. The parts of step_s: compute_s and exchange_s (kernels, and exposed traffic inside
    passes; means over ranks), bubble_s (waits for other stages and transfers between them),
    reduce_s, gather_s (exposed data-parallel traffic), optimizer_s.
    """

    step_s: Floats
    bound_s: Floats
    hbm_bytes: Floats
    compute_s: Floats
    exchange_s: Floats
    bubble_s: Floats
    reduce_s: Floats
    gather_s: Floats
    optimizer_s: Floats


class UpdateRates(NamedTuple):
    """Seconds of the optimizer per parameter updated (on the accelerator, or offloaded), per
    gradient kept, per weight of layers that is cast, its fixed part; per byte of the host link."""

    updated_s: float
    offloaded_s: float
    kept_s: float
    cast_s: float
    fixed_s: float
    host_s: float


def bounds(shape: Shape, update: UpdateRates) -> Floats:
    """Seconds that no simulation of a plan can beat, float[N].

    The busiest rank runs all its passes after the first micro-batch has reached it, and before the
    last gradient has travelled back to the first rank, which then updates its weights. Passes take
    at least their kernels, and their collectives by themselves where the profile holds them.
    """
    # Exchanges hide under other passes, copies to the host under the next layer: count kernels.
    hidden = (shape.space.column("offload_activations") == 1) | (shape.space.ep_overlap == 1)
    found = _bound(shape, update, bool(hidden.all()))
    if hidden.any() and not hidden.all():
        found = np.where(hidden, _bound(shape, update, True), found)
    return found


def _bound(shape: Shape, update: UpdateRates, kernels_only: bool) -> Floats:
    profiles, split = shape.profiles, shape.schedule.splits_weights
    m = shape.space.micro_batches / shape.schedule.directions
    if kernels_only:
        way = m * shape.by_rank(shape.passes(profiles.kernels_s))
    else:
        forward, backward = shape.passes(profiles.seconds[:2])
        way = m * shape.by_rank(forward + backward) + shape.entry(forward)
        if not split:  # weight gradients need not be waited for
            way = way + shape.entry(backward)
    optimizer = _optimizer(shape, update)
    if split:
        return np.asarray((way + optimizer).max(axis=0))
    # The last gradient leaves the first stage, on the rank (or either of the two) that holds it.
    ends = optimizer[[0, -1]] if shape.schedule.directions == 2 else optimizer[:1]
    return np.asarray(way.max(axis=0) + ends.min(axis=0))


def estimate(shape: Shape, comm: CommTimes, update: UpdateRates) -> dict[str, Floats]:
    """Estimate every plan: step_s and its parts, as in `Estimates`.

    Also bound_s: where weights or gradients move in every pass, their stream can't end sooner.
    """
    profiles, space, hides = shape.profiles, shape.space, shape.space.dp_overlap == 1
    fetched = shape.fetched_bytes() * update.host_s
    every = shape.passes(profiles.seconds)
    forward, backward = np.where(hides, np.maximum(every[:2], fetched), every[:2] + fetched)
    work = shape.by_rank(every[2])
    meet = _places(shape)
    gather, reduce, drag = _data_parallel(shape, comm, meet, every[2])
    each, both = shape.reduces_each & ~shape.fully, shape.fully
    m = space.micro_batches / shape.schedule.directions
    # What moves in every pass hides under that pass at best.
    ahead, back = shape.by_rank(forward), shape.by_rank(backward)
    moved = np.where(both, gather + reduce, np.where(each, reduce, 0.0))
    forward_more = np.where(hides, _beside(gather, ahead, drag), gather) * both
    backward_more = np.where(hides, _beside(moved, back, drag), moved)
    more = shape.by_stage(forward_more), shape.by_stage(backward_more)
    seconds = _pass_seconds(shape, forward, backward, *more, fetched)
    hop = _hops(shape, comm, meet)
    once = ~(each | both)
    under = Reduced(reduce * (once & hides), _buckets(shape, shape.vpp), drag)
    # Rows are stages of each kind of pass; a full pipeline has pairs only, or none.
    kinds = dict(zip(PASSES, seconds.reshape(len(PASSES), -1, len(hop)), strict=True))
    pairs = runs_pairs(shape.pipe)
    named = PASSES[3:] if pairs else PASSES[:3]
    busy = shape.by_rank(np.sum([kinds[name] for name in named], axis=0))
    pipeline, begin, after = _pipelines(shape, seconds, hop, busy, under)
    reduce_s = np.where(once, np.where(hides, after, reduce.max(axis=0)), 0.0)
    gather_s = _exposed(shape, gather, _window(shape, kinds), begin, drag)
    if both.any():  # the first gather and the last reduction have nothing to hide under
        units = float(shape.counts.sum())
        gather_s = np.where(both, gather[0] / units, gather_s)
        reduce_s = np.where(both, reduce[0] / units, reduce_s)
    optimizer = _optimizer(shape, update).max(axis=0)
    if shape.job.optimizer == "muon":  # gathers momentum as weights are gathered, in two bytes
        times = ELEMENT / precision_of(shape.job.precision).gather_bytes
        optimizer = optimizer + np.where(shape.sharded("none"), 0.0, times * gather.max(axis=0))
    streams = np.maximum(2.0 * gather, reduce), PORT * (2.0 * gather + reduce)
    moving = np.where(both, np.maximum(*streams), np.where(each, reduce, 0.0))
    compute_s, exchange_s = m * work.mean(axis=0), m * (busy - work).mean(axis=0)
    return {
        "step_s": pipeline + reduce_s + gather_s + optimizer,
        "bound_s": LINE * m * moving.max(axis=0),
        "compute_s": compute_s,
        "exchange_s": exchange_s,
        "bubble_s": np.maximum(0.0, pipeline - compute_s - exchange_s),
        "reduce_s": reduce_s,
        "gather_s": gather_s,
        "optimizer_s": optimizer,
    }


def _pipelines(
    shape: Shape, seconds: Floats, hop: Floats, busy: Floats, under: Reduced
) -> tuple[Floats, Floats, Floats]:
    """What `pipeline_s` returns, worked out for one of the plans whose passes take as long."""
    space, sent = shape.space, _transfers(shape)
    key = (shape.inverse * len(RANK_ORDERS) + space.rank_order) * 16 + space.sharding * 2
    first, which = kinds_of((key + space.dp_overlap) * len(TRANSFERS) + sent)
    pipeline, after, begin = np.empty(len(hop)), np.empty(len(hop)), np.empty_like(busy)
    for kind in each_once(sent[first]).tolist():
        some = first[sent[first] == kind]
        own: Ints | slice = some if len(some) < len(hop) else slice(None)
        pipeline[own], begin[:, own], after[own] = pipeline_s(
            shape.pipe._replace(transfers=TRANSFERS[kind]),
            space.micro_batches[own].astype(float),
            seconds[:, own],
            hop[own],
            busy[:, own] / shape.schedule.directions,
            Reduced(*(values[..., own] for values in under)),
        )
    alike = first[which]
    return pipeline[alike], begin[:, alike], after[alike]


def _transfers(shape: Shape) -> Ints:
    """How a stage's output is sent on, by place in `TRANSFERS`; all alike without a pipeline."""
    if shape.pp == 1:
        return np.full(len(shape.space), TRANSFERS.index("batched"))
    told, batched = shape.space.p2p_overlap, shape.schedule.batched
    ahead = np.where(told == SILENT, not batched, told == 1)
    plain = TRANSFERS.index("batched" if batched else "late")
    return np.where(ahead, TRANSFERS.index("ahead"), plain)


def _pass_seconds(
    shape: Shape,
    forward: Floats,
    backward: Floats,
    forward_more: Floats,
    backward_more: Floats,
    fetched: Floats,
) -> Floats:
    """Seconds of the `PASSES` of each stage, [len(PASSES) x stages, N].

    forward_more, backward_more : what data-parallel traffic adds to each. fetched : the least that
    either takes with weights in host memory.
    """
    profiles = shape.profiles
    ahead, back = forward + forward_more, backward + backward_more
    each = [ahead, back, np.zeros_like(back), ahead, back]
    if shape.schedule.splits_weights:
        each[1] = shape.passes(profiles.input_s)
        each[2] = shape.passes(profiles.weight_s) + backward_more
    if shape.pipe.paired:
        mixed = np.maximum(shape.passes(profiles.paired_s), 2.0 * fetched)
        mixed = mixed + profiles.tail_s[shape.row, shape.again].max(axis=1)[shape.inverse]
        each[3], each[4] = mixed / 2.0 + forward_more, mixed / 2.0 + backward_more
    return np.vstack(each)


def _plain(shape: Shape, place: int) -> Plan:
    """A plan with the axes of this one: what tells which ranks meet."""
    space = shape.space
    cut = cut_fields(space.profiles[space.profile[place]])
    return replace(
        space.base,
        **{name: cut[name] for name in MEET},
        pp=shape.pp,
        dp=int(space.dp[place]),
        vpp=1,
        schedule="",
        stage_layers=(),
        sharding="zero1",
        shard_size=0,
        rank_order=RANK_ORDERS[space.rank_order[place]],
    )


class _Meet(NamedTuple):
    """Distinct axes and sharding of plans: keys, a place of each, which one each plan has."""

    keys: list[tuple[int, ...]]
    first: list[int]
    which: Ints


def _places(shape: Shape) -> _Meet:
    space = shape.space
    first, which = kinds_of(packed(space.profile, space.dp, space.rank_order, space.sharding))
    axes = space.profiles[space.profile[first]][:, [CUT.index(name) for name in MEET]]
    others = space.dp[first], space.rank_order[first], space.sharding[first]
    told = np.column_stack([axes, *others]).tolist()
    return _Meet([(shape.pp, *row) for row in told], first.tolist(), which)


def _hops(shape: Shape, comm: CommTimes, meet: _Meet) -> Floats:
    """Seconds of a transfer to the next stage, float[N]."""
    space = shape.space
    hop = np.zeros(len(space))
    if shape.pp == 1:
        return hop
    found = np.zeros(len(meet.keys))
    for number, (key, place) in enumerate(zip(meet.keys, meet.first, strict=True)):
        size = float(shape.profiles.transfer[space.profile[place]])
        if (known := (*key[:-1], size)) not in comm.hops:
            comm.hops[known] = comm.send(_plain(shape, place), size)
        found[number] = comm.hops[known]
    return np.asarray(found[meet.which])


def _window(shape: Shape, kinds: Mapping[str, Floats]) -> Floats:
    """Seconds of passes of each rank while its chunks begin, [pp, N].

    kinds : seconds of each of `PASSES`, [stages, N].
    """
    pipe = shape.pipe
    counts = beginnings(pipe.schedule, pipe.p, pipe.batches, pipe.v, paired=pipe.paired)
    pairs = "F beside", "B beside", "W"
    found = np.zeros((shape.pp, len(shape.space)))
    for number, name in enumerate(pairs if pipe.paired else KINDS):
        found += np.einsum("rc,rcn->rn", counts[:, number], kinds[name][shape.stages])
    return found


def _exposed(shape: Shape, moved: Floats, window: Floats, slack: Floats, drag: Floats) -> Floats:
    """What sticks out of the first passes, on the rank where it sticks out most.

    window : seconds of these passes. slack : seconds for which a rank is idle before them.
    """
    buckets = _buckets(shape)
    beside = np.minimum(moved, window) * (buckets - 1) / buckets
    out = np.maximum(moved / buckets, moved - beside) + drag * beside
    hidden = np.maximum(0.0, out - slack).max(axis=0)
    hides = shape.space.dp_overlap == 1
    if by_tensors(shape.job, "zero1"):  # broadcast when all have updated: under nothing
        hides &= ~shape.sharded("zero1")
    return np.asarray(np.where(hides, hidden, moved.max(axis=0)))


def _buckets(shape: Shape, chunks: int = 1) -> Floats:
    """In how many buckets the gradients of a rank move, or of each of its chunks, [pp, N]."""
    held = (shape.dense_learning + shape.expert_learning) / chunks
    full = np.maximum(BUCKET, BUCKET_PER_REPLICA * shape.dp_cp)
    units = shape.by_rank(shape.counts.sum(axis=1)[:, None]) / chunks  # none is in two buckets
    return np.asarray(np.maximum(1.0, np.minimum(units, np.ceil(held / full))))


def _data_parallel(
    shape: Shape, comm: CommTimes, meet: _Meet, kernels: Floats
) -> tuple[Floats, Floats, Floats]:
    """Seconds of gathering all weights and of reducing all gradients of a rank, [pp, N] each.

    And those that kernels ([stages, N]) lose per second of such traffic beside them, [N].
    """
    space, profiles = shape.space, shape.profiles
    whole = shape.passes(profiles.forward_s + profiles.backward_s).sum(axis=0)
    waiting = 1.0 - kernels.sum(axis=0) / whole  # share of traffic
    axes = {"dp_cp": shape.dense, "edp": shape.expert}
    there = {name: bool(held.any()) for name, held in axes.items()}
    rows = []
    for key, place in zip(meet.keys, meet.first, strict=True):
        known = (*key, space.base.shard_size, there["edp"])
        if known not in comm.lines:
            comm.lines[known] = _lines(shape, comm, place, there)
        rows.append(comm.lines[known])
    told = np.array(rows).transpose(1, 2, 0)[:, :, meet.which]  # [axis, figure, N]
    drag = np.zeros(len(space))
    gather, reduce = np.zeros_like(shape.dense), np.zeros_like(shape.dense)
    wire = precision_of(shape.job.precision).gather_bytes
    grad = float(shape.job.gradient_bytes)
    both = (shape.dense, shape.expert), (shape.dense_learning, shape.expert_learning)
    # Small groups of shards then sum theirs.
    every, learning = ((d, d / shape.shards, e, e / shape.expert_shards) for d, e in both)
    all_of = shape.sharded("zero3", "hsdp")  # what is sharded is gathered whether it learns or not
    for amount, own, line in zip(every, learning, told, strict=True):
        if not line.any():  # nobody to exchange with
            continue
        lost, meets, fixed, slope, fixed_more, slope_more = line
        wanted = np.where(all_of, amount, own)
        # Where both cross the same links traffic inside passes has half of them.
        drag = np.maximum(drag, lost + meets * waiting)
        reduce += np.where(own > 0, fixed + slope * (own * grad), 0.0)
        gather += np.where(wanted > 0, fixed_more + slope_more * (wanted * wire), 0.0)
    return gather, reduce, drag


def _lines(
    shape: Shape, comm: CommTimes, place: int, there: Mapping[str, bool]
) -> list[tuple[float, ...]]:
    """Data-parallel traffic of a plan on its shards, between groups of shards, of experts.

    Each: seconds that kernels lose per second beside it, whether it meets traffic inside passes on
    NVLink or on NICs, fixed seconds and seconds per byte of reducing gradients, then of gathering
    weights.
    """
    plan, base = _plain(shape, place), shape.space.base
    sharding = SHARDINGS[shape.space.sharding[place]]
    if base.shard_size:
        plan = replace(plan, sharding=sharding, shard_size=base.shard_size)
    held = [there[kind] for kind in ("dp_cp", "dp_cp", "edp", "edp")]
    rows: list[tuple[float, ...]] = []
    for axis, used in zip(shard_axes(plan), held, strict=True):
        if not (axis and used):
            rows.append((0.0,) * 6)
            continue
        speed = speed_beside(comm.collective(plan, axis, "reduce-scatter", 1024e6)[1])
        if comm.leaves_domain(plan, axis):  # NICs set the pace: little of NVLink is taken
            meets = any(comm.leaves_domain(plan, inside) for inside in ("tp", "cp", "ep"))
        else:
            meets = plan.tp > 1 and comm.shares_domain(plan, axis)
        moved = comm.moved_by(shape.job, plan, axis, sharding)
        rows.append(((1.0 - speed) / speed, float(meets), *moved))
    return rows


def _optimizer(shape: Shape, update: UpdateRates) -> Floats:
    """Seconds of the update on each pipeline rank, [pp, N]."""
    here, there = update.updated_s, update.offloaded_s
    if "parameters" in shape.space.base.offload:
        here = max(here, 2.0 * software_of(shape.job.stack).shard_bytes * update.host_s)
        there -= ELEMENT * update.host_s
    rate = np.where(shape.space.offload_optimizer == 1, there, here)
    learning = shape.profiles.dense_learning + shape.profiles.expert_learning
    layers = np.where(shape.profiles.layer, learning, 0.0)
    cast = shape.by_rank(shape.sum(layers[shape.row])) if update.cast_s else 0.0
    moving = rate * shape.states + update.kept_s * shape.gradients + update.cast_s * cast
    fixed: float | Floats = update.fixed_s
    if shape.job.optimizer == "muon":
        whole, own = shape.sharded("none"), shape.profiles
        both = (own.orthogonal_s, shape.shards), (own.orthogonal_expert_s, shape.expert_shards)
        for seconds, shards in both:
            matrices_s = shape.by_rank(shape.sum(seconds[shape.row]))
            fixed = fixed + matrices_s / np.where(whole, 1.0, shards)
    return np.asarray(moving + fixed)


def _beside(moved: Floats, work: Floats, drag: Floats) -> Floats:
    """Seconds that a pass takes longer for traffic that hides under it as far as it can."""
    slowed = work * (1.0 + drag)
    covered = np.minimum(moved, slowed)
    # Kernels lose drag per second beside them: c seconds of cover do c / (1 + drag) of work.
    return covered * drag / (1.0 + drag) + moved - covered
