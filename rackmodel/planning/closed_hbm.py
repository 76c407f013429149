"""Bytes of HBM of every plan by arithmetic over arrays: what does not fit is not timed.

In:  a `Shape` of plans.
Out: bytes of the fullest rank, one entry per plan, by the formula of `workload.memory`.
Left out: seconds; layers that recompute only in part.
"""

from __future__ import annotations

import numpy as np

from rackmodel.columns import Floats
from rackmodel.planning.shapes import Shape
from rackmodel.planning.space import CUT
from rackmodel.software import software_of
from rackmodel.workload.activations import OFFLOAD_WINDOW, states_beside
from rackmodel.workload.choices import SHARDED
from rackmodel.workload.communicators import groups_of
from rackmodel.workload.memory import Holding, bytes_by_kind
from rackmodel.workload.schedules.holding import holdings


def hbm_bytes(shape: Shape) -> Floats:
    """Bytes of HBM of the fullest rank of every plan, float[N]."""
    job, profiles, space = shape.job, shape.profiles, shape.space
    both = profiles.dense + profiles.expert
    learning = profiles.dense_learning + profiles.expert_learning
    frozen = shape.dense - shape.dense_learning, shape.expert - shape.expert_learning
    bytes_each = np.where(profiles.layer, job.weight_bytes, 2.0)
    ends = np.where(profiles.layer, 0.0, profiles.dense_learning)
    apart = np.array([both * bytes_each, ends])[:, shape.row]
    weights, outside = shape.by_rank(shape.sum(apart))
    whole = shape.sharded("none")
    axes = {name: space.column(name) for name in ("tp", "cp", "ep")}
    groups, peers = groups_of(
        {**axes, "pp": shape.pp, "dp_cp": shape.dp_cp, "edp": shape.edp},
        tied=job.model.tied,
        all_to_all=profiles.by_nccl[space.profile],
    )
    kinds = bytes_by_kind(
        job,
        Holding(
            states=shape.states,
            parameters=shape.dense_learning + shape.expert_learning,
            gradients=shape.gradients,
            weights=weights,
            largest=both.max(axis=1)[space.profile],
            replicas=shape.dp_cp,
            sharded=shape.sharded(*SHARDED),
            reshards=shape.fully,
            ahead=space.dp_overlap * space.base.prefetch,
            offloaded=space.offload_optimizer == 1,
            away="parameters" in space.base.offload,
            kept=_activations(shape),
            working=0.0,
            outside=np.where(whole, outside, outside / shape.shards),
            groups=groups,
            peers=peers,
            frozen=shape.split(*frozen),
            learning=learning.max(axis=1)[space.profile],
            alone=np.where(shape.edp == 1, shape.expert_learning, 0.0),
        ),
    )
    used: Floats = np.asarray(sum(kinds.values())).max(axis=0)
    return used


def _activations(shape: Shape) -> Floats:
    """Kept activations and working sets of the running passes at the schedule's peak, [pp, N].

    Worked out once for plans of the same cut, recompute and number of micro-batches. [stages, D]
    """
    profiles, pipe, row = shape.profiles, shape.pipe, shape.row
    moved, parted, tp = (
        shape.space.profiles[row, CUT.index(name)]
        for name in ("offload_activations", "sequence_parallel", "tp")
    )
    counts, received, first, alike = shape.pipeline
    transfer, units = profiles.transfer[row], profiles.kept[row, shape.again]
    kept, some = counts @ units.T, counts[first]  # a stage of each kind
    if (offloaded := moved == 1).any():
        layers = np.where(profiles.layer, units, 0.0)
        inside = OFFLOAD_WINDOW * _largest(layers, some)[alike]
        kept -= np.where(offloaded, np.maximum(0.0, counts @ layers.T - inside), 0.0)
    between = np.array(received[1:])[:, None] * transfer
    kept[1:] += between
    if software_of(shape.job.stack).keeps_sent:
        kept[:-1] += 2 * between
    needs = profiles.working[row, shape.again]
    if shape.schedule.splits_weights:
        working = _largest(needs, some)
    else:  # what ends that come later kept is gone when a unit runs backward
        working = _largest(needs - (units * some[:, None]) @ profiles.later, some)
    beside = states_beside(shape.job, np.where(parted == 1, tp, 1))
    working = working[alike] + transfer * beside
    each = np.concatenate([kept[shape.stages], working[shape.stages]], axis=1)
    most = np.zeros((shape.pp, len(shape.space)))
    m = shape.space.micro_batches
    for count in [pipe.batches] if shape.schedule.repeats else np.unique(m).tolist():
        own = slice(None) if shape.schedule.repeats else m == count
        states = holdings(pipe.schedule, pipe.p, count, pipe.v, paired=pipe.paired)
        most[:, own] = (states @ each).max(axis=1)[:, shape.inverse[own]]
    return most


def _largest(values: Floats, counts: Floats) -> Floats:
    """Return the largest of the units on each stage, [stages, D].

    values : [D, K], or for each stage. counts : [stages, K].
    """
    largest: Floats = np.where(counts[:, None] > 0, values, 0.0).max(axis=2, initial=0.0)
    return largest
