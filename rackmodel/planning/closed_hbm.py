"""Bytes of HBM of every plan by arithmetic over arrays: what does not fit is not timed.

In:  a `Space` of plans, `Profiles` of its cuts.
Out: bytes of the fullest rank, one entry per plan, by the formula of `workload.memory`.
Left out: seconds; layers that recompute only in part.
"""

from __future__ import annotations

import numpy as np

from rackmodel.planning.profiles import Profiles
from rackmodel.planning.shapes import Shape, shapes
from rackmodel.planning.space import Bools, Floats, Space
from rackmodel.workload import Job
from rackmodel.workload.activations import OFFLOAD_WINDOW
from rackmodel.workload.memory import Holding, bytes_by_kind
from rackmodel.workload.schedules.schedule import held


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
    bytes_each = np.where(profiles.layer, job.weight_bytes, 2.0)
    kinds = bytes_by_kind(
        job,
        Holding(
            states=states,
            parameters=shape.dense + shape.expert,
            gradients=shape.gradients(states),
            weights=shape.by_rank(shape.sum((both * bytes_each)[shape.row])),
            largest=both.max(axis=1)[space.profile],
            replicas=shape.dp_cp,
            sharded=shape.sharded("zero3", "hsdp"),
            reshards=shape.fully,
            ahead=space.dp_overlap * space.base.prefetch,
            offloaded=space.offload_optimizer == 1,
            kept=_activations(shape),
            working=0.0,
        ),
    )
    used: Floats = np.asarray(sum(kinds.values())).max(axis=0)
    return used


def _activations(shape: Shape) -> Floats:
    """Kept activations and working sets of the running passes at the schedule's peak, [pp, N]."""
    profiles, space, pipe = shape.profiles, shape.space, shape.pipe
    transfer = profiles.transfer[space.profile]
    kept = shape.passes(profiles.kept)
    there = shape.counts > 0
    units = profiles.kept[shape.row, shape.again]
    if (offloaded := space.column("offload_activations") == 1).any():
        layers = np.where(profiles.layer, units, 0.0)
        inside = OFFLOAD_WINDOW * _largest(layers, there)[:, shape.inverse]
        kept -= np.where(offloaded, np.maximum(0.0, shape.sum(layers) - inside), 0.0)
    kept[1:] += transfer
    working = _largest(profiles.working[shape.row, shape.again], there)[:, shape.inverse]
    cut = np.where(space.column("sequence_parallel") == 1, space.column("tp"), 1)
    working = working + 2 * transfer * cut
    most = np.zeros((shape.pp, len(space)))
    m = space.micro_batches
    for count in np.unique(np.minimum(m, pipe.batches) if shape.schedule.repeats else m).tolist():
        own = slice(None) if shape.schedule.repeats else m == count
        for rank in range(shape.pp):
            stages = [shape.schedule.stage(rank, chunk, shape.pp) for chunk in range(shape.chunks)]
            rows = held(pipe.schedule, pipe.p, count, pipe.v, rank, paired=pipe.paired)
            each = np.vstack([kept[stages][:, own], working[stages][:, own]])
            most[rank, own] = (np.array(rows, dtype=float) @ each).max(axis=0)
    return most


def _largest(values: Floats, there: Bools) -> Floats:
    """Return the largest of the units on each stage: [D, K], [stages, K] -> [stages, D]."""
    return np.stack([values[:, own].max(axis=1) for own in there])
