"""Bytes of HBM of every plan by arithmetic over arrays: what does not fit is not timed.

In:  a `Space` of plans, `Profiles` of its cuts.
Out: bytes of the fullest rank, one entry per plan, by the formula of `workload.memory`.
Left out: seconds; layers that recompute only in part.
"""

from __future__ import annotations

import numpy as np

from rackmodel.columns import Bools, Floats
from rackmodel.planning.profiles import Profiles
from rackmodel.planning.shapes import Shape, shapes
from rackmodel.planning.space import CUT, Space
from rackmodel.software import software_of
from rackmodel.workload import Job
from rackmodel.workload.activations import OFFLOAD_WINDOW, states_beside
from rackmodel.workload.choices import SHARDED
from rackmodel.workload.communicators import groups_of
from rackmodel.workload.memory import Holding, bytes_by_kind
from rackmodel.workload.schedules.holding import holdings
from rackmodel.workload.silent import by_library


def hbm_bytes(job: Job, space: Space, profiles: Profiles) -> Floats:
    """Bytes of HBM of the fullest rank of every plan, float[N]."""
    out = np.zeros(len(space))
    for entries, shape in shapes(job, space, profiles):
        out[entries] = _used(shape)
    return out


def _used(shape: Shape) -> Floats:
    job, profiles, space = shape.job, shape.profiles, shape.space
    states = shape.states()
    both = profiles.dense + profiles.expert
    learning = profiles.dense_learning + profiles.expert_learning
    frozen = shape.dense - shape.dense_learning, shape.expert - shape.expert_learning
    bytes_each = np.where(profiles.layer, job.weight_bytes, 2.0)
    by_nccl = np.array([by_library(c.work.job.plan) for c in profiles.cuts])
    axes = {name: space.column(name) for name in ("tp", "cp", "ep")}
    groups, peers = groups_of(
        {**axes, "pp": np.array(shape.pp), "dp_cp": shape.dp_cp, "edp": shape.edp},
        tied=job.model.tied,
        all_to_all=by_nccl[space.profile],
    )
    kinds = bytes_by_kind(
        job,
        Holding(
            states=states,
            parameters=shape.dense_learning + shape.expert_learning,
            gradients=shape.gradients(states),
            weights=shape.by_rank(shape.sum((both * bytes_each)[shape.row])),
            largest=both.max(axis=1)[space.profile],
            replicas=shape.dp_cp,
            sharded=shape.sharded(*SHARDED),
            reshards=shape.fully,
            ahead=space.dp_overlap * space.base.prefetch,
            offloaded=space.offload_optimizer == 1,
            away="parameters" in space.base.offload,
            kept=_activations(shape),
            working=0.0,
            outside=_outside(shape),
            groups=groups,
            peers=peers,
            frozen=shape.split(*frozen),
            learning=learning.max(axis=1)[space.profile],
            alone=np.where(shape.edp == 1, shape.expert_learning, 0.0),
        ),
    )
    used: Floats = np.asarray(sum(kinds.values())).max(axis=0)
    return used


def _outside(shape: Shape) -> Floats:
    """States of embedding and head, [pp, N]."""
    ends = np.where(shape.profiles.layer, 0.0, shape.profiles.dense_learning)
    held = shape.by_rank(shape.sum(ends[shape.row]))
    return np.where(shape.sharded("none"), held, shape.split(held, np.zeros_like(held)))


def _activations(shape: Shape) -> Floats:
    """Kept activations and working sets of the running passes at the schedule's peak, [pp, N].

    Worked out once for plans of the same cut, recompute and number of micro-batches. [stages, D]
    """
    profiles, pipe, row = shape.profiles, shape.pipe, shape.row
    cut = {name: shape.space.profiles[row, place] for place, name in enumerate(CUT)}
    transfer, there = profiles.transfer[row], shape.counts > 0
    units = profiles.kept[row, shape.again]
    kept = shape.counts @ units.T
    if (offloaded := cut["offload_activations"] == 1).any():
        layers = np.where(profiles.layer, units, 0.0)
        inside = OFFLOAD_WINDOW * _largest(layers, there)
        kept -= np.where(offloaded, np.maximum(0.0, shape.counts @ layers.T - inside), 0.0)
    between = np.array(shape.received[1:])[:, None] * transfer
    kept[1:] += between
    if software_of(shape.job.stack).keeps_sent:
        kept[:-1] += 2 * between
    needs = profiles.working[row, shape.again]
    if shape.schedule.splits_weights:
        working = np.stack([needs[:, own].max(axis=1, initial=0.0) for own in there])
    else:  # what ends that come later kept is gone when a unit runs backward
        last = {kind: place for place, kind in enumerate(profiles.order.tolist())}
        place = np.array([last.get(kind, 0) for kind in range(profiles.layer.size)])
        later = (place[:, None] < place) & ~profiles.layer
        working = np.stack(
            [
                (needs - units * own @ later.T)[:, own > 0].max(axis=1, initial=0.0)
                for own in shape.counts
            ]
        )
    sp = np.where(cut["sequence_parallel"] == 1, cut["tp"], 1)
    working = working + transfer * states_beside(shape.job, sp)
    each = [np.vstack([kept[own], working[own]]) for own in shape.stages]
    most = np.zeros((shape.pp, len(shape.space)))
    m = shape.space.micro_batches
    for count in [pipe.batches] if shape.schedule.repeats else np.unique(m).tolist():
        own = slice(None) if shape.schedule.repeats else m == count
        states = holdings(pipe.schedule, pipe.p, count, pipe.v, paired=pipe.paired)
        peaks = [(rows @ bytes_).max(axis=0) for rows, bytes_ in zip(states, each, strict=True)]
        most[:, own] = np.stack(peaks)[:, shape.inverse[own]]
    return most


def _largest(values: Floats, there: Bools) -> Floats:
    """Return the largest of the units on each stage: [D, K], [stages, K] -> [stages, D]."""
    return np.stack([values[:, own].max(axis=1, initial=0.0) for own in there])
