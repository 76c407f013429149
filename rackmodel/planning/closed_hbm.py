"""Bytes of HBM of every plan by arithmetic over arrays: what does not fit is not timed.

In:  a `Space` of plans, `Profiles` of its cuts.
Out: bytes of the fullest rank, one entry per plan; the kinds of `workload.memory`.
Left out: seconds.

The schedule is not walked as `workload.activations` does: passes in flight come from its formula.
"""

from __future__ import annotations

import numpy as np

from rackmodel.planning.profiles import Floats, Profiles
from rackmodel.planning.shapes import Shape, shapes
from rackmodel.planning.space import Space
from rackmodel.software import software_of
from rackmodel.workload import Job
from rackmodel.workload.activations import OFFLOAD_WINDOW
from rackmodel.workload.memory import MOMENTS
from rackmodel.workload.precision import precision_of


def hbm_bytes(job: Job, space: Space, profiles: Profiles) -> Floats:
    """Bytes of HBM of the fullest rank of every plan, float[N]."""
    out = np.zeros(len(space))
    for entries, shape in shapes(job, space, profiles):
        out[entries] = _used(shape)
    return out


def _used(shape: Shape) -> Floats:
    job, profiles, row = shape.job, shape.profiles, shape.row
    software = software_of(job.stack)
    precision = precision_of(job.precision)
    states = shape.states()
    held = shape.dense + shape.expert
    both = (profiles.dense + profiles.expert)[row]
    bytes_each = np.where(profiles.layer, job.weight_bytes, 2.0)
    weights = shape.by_rank(shape.sum(both * bytes_each))
    gradients = shape.gradients(states) * (job.gradient_bytes + software.gradient_copy_bytes)
    sharded = shape.sharded("zero3")
    shard, master = float(software.shard_bytes), float(software.master_bytes)
    master_left = np.where(sharded, max(0.0, master - shard), master)
    moving = np.where(shape.dp_cp > 1, software.bucket_bytes, 0.0) + np.zeros_like(held)
    if shape.pp == 1:
        ahead = shape.space.dp_overlap * shape.space.base.prefetch
        copies = precision.gather_bytes * (1 + ahead) + job.gradient_bytes * (1 + (ahead > 0))
        weights = np.where(sharded, states * shard, weights)
        whole = both.max(axis=1) * software.gathered_share * copies
        moving = moving + np.where(sharded, whole, 0.0)
    else:
        weights = np.where(sharded, states * shard + weights, weights)
        gradients = np.where(sharded, held * job.gradient_bytes + 4.0 * states, gradients)
    kept, working = _activations(shape)
    moving = moving + kept + working
    fixed = software.fixed_bytes + software.allocator_slack * moving
    each = master_left + MOMENTS + software.shard_gradient_bytes
    optimizer = states * each * (1 - shape.space.offload_optimizer)
    return np.asarray((weights + gradients + optimizer + moving + fixed).max(axis=0))


def _activations(shape: Shape) -> tuple[Floats, Floats]:
    """Kept activations at the schedule's peak, and the working set of a pass: [pp, N]."""
    profiles, row, again = shape.profiles, shape.row, shape.again
    transfer = profiles.transfer[row]
    stages = shape.sum(profiles.kept[row, again])
    offloaded = shape.space.column("offload_activations") == 1
    if offloaded.any():
        layers = np.where(profiles.layer, profiles.kept[row, again], 0.0)
        there = (shape.counts > 0)[:, None, :]
        inside = OFFLOAD_WINDOW * np.where(there, layers, 0.0).max(axis=2)
        stages = stages - np.where(offloaded, np.maximum(0.0, shape.sum(layers) - inside), 0.0)
    stages[1:] += transfer
    chunks = stages.reshape(shape.vpp, shape.pp, -1)
    flight = _in_flight(shape)
    # The first chunks of a rank are those that wait longest.
    kept = np.zeros_like(chunks[0])
    left = flight.astype(float)
    for chunk in range(shape.vpp):
        most = np.minimum(left, np.ceil(flight / shape.vpp / shape.pp) * shape.pp)
        now = most if chunk < shape.vpp - 1 else left
        kept += now * chunks[chunk]
        left = left - now
    present = (shape.counts.reshape(shape.vpp, shape.pp, -1).sum(axis=0) > 0)[:, None, :]
    work = np.where(present, profiles.working[row, again], 0.0).max(axis=2)
    cut = np.where(shape.space.column("sequence_parallel") == 1, shape.space.column("tp"), 1)
    return kept, work + 2 * transfer * cut


def _in_flight(shape: Shape) -> Floats:
    """Passes of a chunk whose activations a rank keeps at its peak, [pp, N]."""
    pp, vpp, m = shape.pp, shape.vpp, shape.space.micro_batches
    rank = np.arange(pp)[:, None]
    if shape.schedule == "gpipe":
        return np.broadcast_to(m * vpp, (pp, len(m))).astype(float)
    if shape.schedule == "zb-h1":
        return np.broadcast_to(np.minimum(m, pp), (pp, len(m))).astype(float)
    if vpp > 1:
        return np.minimum((pp - rank - 1) * 2 + (vpp - 1) * pp + 1, m * vpp).astype(float)
    return np.minimum(pp - rank, m).astype(float)
