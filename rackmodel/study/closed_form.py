"""Step time and HBM of every plan by arithmetic over arrays: what the search prunes with.

In:  a `Space` of plans, `Profiles` of its cuts, times of collectives.
Out: `Estimates`: seconds, a lower bound, and bytes of HBM, one entry per plan.
Left out: links shared by several groups, zero-bubble's split backward pass, all-to-all overlap.

A pipeline rank s begins when the first micro-batch has passed the ranks before it, runs m passes
of its own, and the last backward pass has to travel back; the step takes as long as the slowest
rank's way. For equal stages this is (m + p - 1)(F + B). Source: Narayanan et al. 2021,
arXiv:2104.04473, section 2.2.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from rackmodel.simulate.pieces import speed_beside
from rackmodel.study.comm_times import CommTimes
from rackmodel.study.profiles import Floats, Profiles
from rackmodel.study.space import SCHEDULES, SHARDINGS, Ints, Space
from rackmodel.workload import Job, Plan, layers_of_stages
from rackmodel.workload.precision import precision_of
from rackmodel.workload.software import software_of

BUCKET = 40e6  # parameters of a gradient bucket at least; Megatron, as in workload.data_parallel
BUCKET_PER_REPLICA = 1e6
MOMENTS = 8.0


@dataclass(frozen=True, slots=True)
class Estimates:
    """One entry per plan; infinite seconds where it was not worked out.

    step_s : best guess. bound_s : no simulation of this plan can be faster. hbm_bytes : of the
    fullest rank. pipeline_s, reduce_s, gather_s, optimizer_s : parts of step_s (exposed
    communication).
    """

    step_s: Floats
    bound_s: Floats
    hbm_bytes: Floats
    pipeline_s: Floats
    reduce_s: Floats
    gather_s: Floats
    optimizer_s: Floats


@dataclass(frozen=True, slots=True)
class UpdateRates:
    """Seconds of the optimizer per parameter updated and per gradient held, and its fixed part."""

    updated_s: float
    held_s: float
    fixed_s: float


def stage_counts(job: Job, order: Ints, kinds: int, pp: int, vpp: int) -> Floats:
    """Units of each kind on each of the pp x vpp stages, float[stages, K]."""
    sizes = layers_of_stages(job.replace(pp=pp, vpp=vpp, stage_layers=(), schedule=""))
    layers = job.model.layers
    head = int(np.flatnonzero(np.arange(len(order)) == layers + 1)[0])
    ends = np.cumsum([1, *sizes])  # the embedding stands first
    counts = np.zeros((pp * vpp, kinds))
    for stage, (start, end) in enumerate(itertools.pairwise(ends)):
        own = [*order[start:end]]
        if stage == 0:
            own.insert(0, order[0])
        if stage == pp * vpp - 1:
            own += [*order[head:]]
        np.add.at(counts[stage], np.array(own, dtype=np.int64), 1.0)
    return counts


def estimate(
    job: Job, space: Space, profiles: Profiles, comm: CommTimes, update: UpdateRates,
    *, data_parallel: bool = True,
) -> Estimates:  # fmt: skip
    """Estimate every plan of `space`; plans of one pipeline shape at a time.

    data_parallel : False leaves the exchange of gradients and weights out (a faster first look).
    """
    total = len(space)
    out = {name: np.full(total, np.inf) for name in Estimates.__dataclass_fields__}
    shapes = np.stack([space.pp, space.vpp, space.schedule], axis=1)
    distinct, which = np.unique(shapes, axis=0, return_inverse=True)
    for number, (pp, vpp, schedule) in enumerate(distinct.tolist()):
        entries = np.flatnonzero(which.reshape(-1) == number)
        part = space.take(entries)
        shape = _Shape(job, part, profiles, pp, vpp, SCHEDULES[schedule])
        found = shape.times(comm, update, data_parallel)
        found["hbm_bytes"] = shape.hbm_bytes()
        for name, values in found.items():
            out[name][entries] = values
    return Estimates(**out)


class _Shape:
    """Plans of one (pp, vpp, schedule): arrays [stages or ranks, N]."""

    def __init__(
        self, job: Job, space: Space, profiles: Profiles, pp: int, vpp: int, schedule: str
    ) -> None:
        self.job, self.space, self.profiles = job, space, profiles
        self.pp, self.vpp, self.schedule = pp, vpp, schedule
        self.row, self.again = space.profile, space.recompute
        self.counts = stage_counts(job, profiles.order, profiles.forward_s.shape[1], pp, vpp)
        self.dense = self.by_rank(self.sum(profiles.dense[self.row]))
        if job.model.tied and pp > 1:
            self.dense[-1] += profiles.head_twin[self.row]
        self.expert = self.by_rank(self.sum(profiles.expert[self.row]))
        self.dp_cp = space.dp * space.column("cp")
        tp, ep, etp = (space.column(name) for name in ("tp", "ep", "etp"))
        units = self.counts.sum(axis=0)
        whole = (profiles.forward_s[self.row] + profiles.backward_s[self.row, self.again]) @ units
        alone = profiles.kernels_s[self.row, self.again] @ units
        self._waiting = 1.0 - alone / whole  # share of a pass that is communication
        self.edp = np.maximum(1, tp * self.dp_cp // (ep * etp))

    def sum(self, values: Floats) -> Floats:
        """[N, K] -> [stages, N]."""
        summed: Floats = self.counts @ values.T
        return summed

    def by_rank(self, stages: Floats) -> Floats:
        """[stages, N] -> [pp, N]: chunks of a rank together."""
        return np.asarray(stages.reshape(self.vpp, self.pp, -1).sum(axis=0))

    def times(self, comm: CommTimes, update: UpdateRates, data_parallel: bool) -> dict[str, Floats]:
        profiles, row, again = self.profiles, self.row, self.again
        forward = self.sum(profiles.forward_s[row])
        backward = self.sum(profiles.backward_s[row, again])
        work = self.by_rank(self.sum(profiles.kernels_s[row, again]))
        hop = self._hops(comm)
        gather, reduce = np.zeros_like(work), np.zeros_like(work)
        drag = np.zeros(len(self.space))  # seconds that kernels lose per second of traffic beside
        if data_parallel:
            gather, reduce, drag = self._data_parallel(comm)
        sharding = np.array(SHARDINGS)[self.space.sharding]
        each = sharding == "zero2"
        both = (sharding == "zero3") & (self.pp == 1)
        m = self.space.micro_batches.astype(float)
        # What moves in every pass hides under that pass at best.
        ahead, back = self.by_rank(forward), self.by_rank(backward)
        forward_more = np.where(both, _beside(gather, ahead, drag), 0.0)
        moved = np.where(both, gather + reduce, np.where(each, reduce, 0.0))
        backward_more = _beside(moved, back, drag)
        cycle = self.by_rank(forward + backward) + forward_more + backward_more
        pipeline = self._pipeline(forward, backward, cycle, hop, m)
        once = ~(each | both)
        reduce_s = np.where(once, self._exposed(reduce, back, backward[: self.pp], drag), 0.0)
        gather_s = np.where(
            once | each, self._exposed(gather, ahead, forward[: self.pp], drag), 0.0
        )
        if both.any():  # the first gather and the last reduction have nothing to hide under
            units = float(self.counts.sum())
            gather_s = np.where(both, gather[0] / units, gather_s)
            reduce_s = np.where(both, reduce[0] / units, reduce_s)
        optimizer = self._optimizer(update)
        bound = self._pipeline(forward * 0, backward * 0, work, hop * 0, m) + optimizer
        return {
            "step_s": pipeline + reduce_s + gather_s + optimizer,
            "bound_s": bound,
            "pipeline_s": pipeline,
            "reduce_s": reduce_s,
            "gather_s": gather_s,
            "optimizer_s": optimizer,
        }

    def _plain(self, tp: int, cp: int, ep: int, etp: int, dp: int) -> Plan:
        """A plan with these axes: what tells which ranks meet."""
        return replace(self.space.base, tp=tp, cp=cp, ep=ep, etp=etp, pp=self.pp, dp=dp, vpp=1,
                       schedule="", stage_layers=(), sharding="zero1", shard_size=0)  # fmt: skip

    def _hops(self, comm: CommTimes) -> Floats:
        """Seconds of a transfer to the next stage, float[N]."""
        hop = np.zeros(len(self.space))
        if self.pp == 1:
            return hop
        key = np.stack([self.row, self.space.dp], axis=1)
        distinct, which = np.unique(key, axis=0, return_inverse=True)
        for number, (row, dp) in enumerate(distinct.tolist()):
            tp, cp, ep, etp, _ = (int(v) for v in self.space.profiles[row])
            plan = self._plain(tp, cp, ep, etp, dp)
            hop[which.reshape(-1) == number] = comm.send(plan, self.profiles.transfer[row])
        return hop

    def _pipeline(
        self, forward: Floats, backward: Floats, cycle: Floats, hop: Floats, m: Floats
    ) -> Floats:
        """Seconds from the first forward to the last backward pass.

        cycle : a rank's F + B of all its chunks for one micro-batch, [pp, N].
        """
        pp = self.pp
        if pp == 1:
            return np.asarray(m * cycle[0])
        first, last = forward[:pp], backward[:pp]  # of the first chunk, which fills and drains
        overlapped = self.space.base.p2p_overlap
        hidden = self.schedule == "interleaved" if overlapped is None else overlapped
        if not hidden and self.schedule in ("1f1b", "gpipe"):
            waits = np.full(pp, 2.0)
            waits[[0, -1]] = 1.0
            cycle = cycle + waits[:, None] * hop
        elif not hidden:
            cycle = cycle + 2.0 * self.vpp * hop
        before = np.cumsum(np.vstack([np.zeros_like(hop), first + hop]), axis=0)[:-1]
        after = np.cumsum(np.vstack([np.zeros_like(hop), last + hop]), axis=0)[:-1]
        way = before + m * cycle + after
        if self.schedule == "1f1b":
            # Until its first backward pass arrives a rank has only its warm-up forwards to run.
            both = first + last + 2 * hop
            beyond = both.sum(axis=0) - np.cumsum(both, axis=0)
            left = np.arange(pp)[::-1, None]
            idle = np.maximum(0.0, beyond - np.minimum(left, np.maximum(m - 1, 0)) * first)
            way = way + idle
        elif self.schedule == "gpipe":
            way = (
                way
                + (first + last + 2 * hop).sum(axis=0)
                - np.cumsum(first + last + 2 * hop, axis=0)
            )
        if self.schedule == "zb-h1":
            way = m * cycle + (before + after) / 3.0
        return np.asarray(way.max(axis=0))

    def _exposed(self, moved: Floats, window: Floats, passed: Floats, drag: Floats) -> Floats:
        """What sticks out of one pass of all chunks, on the rank where it sticks out most."""
        buckets = np.ceil(
            (self.dense + self.expert) / np.maximum(BUCKET, BUCKET_PER_REPLICA * self.dp_cp)
        )
        buckets = np.maximum(1.0, buckets)
        if not self.space.base.dp_overlap:
            return np.asarray(moved.max(axis=0))
        beside = np.minimum(moved, window) * (buckets - 1) / buckets
        out = np.maximum(moved / buckets, moved - beside) + drag * beside
        slack = np.cumsum(passed, axis=0) - passed  # ranks further on start late and end early
        return np.asarray(np.maximum(0.0, out - slack).max(axis=0))

    def _data_parallel(self, comm: CommTimes) -> tuple[Floats, Floats, Floats]:
        """Seconds of gathering all weights and of reducing all gradients of a rank, [pp, N] each.

        And the seconds that kernels lose per second of such traffic beside them, [N].
        """
        space = self.space
        drag = np.zeros(len(space))
        gather, reduce = np.zeros_like(self.dense), np.zeros_like(self.dense)
        wire = precision_of(self.job.precision).gather_bytes
        grad = float(self.job.gradient_bytes)
        key = np.stack([space.column(n) for n in ("tp", "cp", "ep", "etp")] + [space.dp,
                       space.sharding], axis=1)  # fmt: skip
        distinct, which = np.unique(key, axis=0, return_inverse=True)
        for number, (tp, cp, ep, etp, dp, sharding) in enumerate(distinct.tolist()):
            own = np.flatnonzero(which.reshape(-1) == number)
            plan = self._plain(tp, cp, ep, etp, dp)
            for axis, held in (("dp_cp", self.dense[:, own]), ("edp", self.expert[:, own])):
                if not held.any():
                    continue
                share = comm.collective(plan, axis, "reduce-scatter", 1024e6)[1]
                speed = speed_beside(share)
                lost = np.full(len(own), (1.0 - speed) / speed)
                if tp > 1 and comm.shares_domain(plan, axis):
                    # Both cross the same scale-up links: while a gather runs, tensor-parallel
                    # traffic has half of them.
                    lost += self._waiting[own]
                drag[own] = np.maximum(drag[own], lost)
                if SHARDINGS[sharding] == "none":
                    reduce[:, own] += _linear(comm, plan, axis, "all-reduce", held * grad)
                else:
                    reduce[:, own] += _linear(comm, plan, axis, "reduce-scatter", held * grad)
                    gather[:, own] += _linear(comm, plan, axis, "all-gather", held * wire)
        return gather, reduce, drag

    def _optimizer(self, update: UpdateRates) -> Floats:
        states = self._states()
        held = self._held(states)
        seconds = update.updated_s * states + update.held_s * held + update.fixed_s
        return np.asarray(seconds.max(axis=0))

    def _states(self) -> Floats:
        """Parameters whose optimizer state a rank holds, [pp, N]."""
        whole = self.space.sharding == SHARDINGS.index("none")
        sharded = self.dense / self.dp_cp + self.expert / self.edp
        return np.where(whole, self.dense + self.expert, sharded)

    def _held(self, states: Floats) -> Floats:
        names = np.array(SHARDINGS)[self.space.sharding]
        few = (names == "zero2") | ((names == "zero3") & (self.pp == 1))
        return np.where(few, states, self.dense + self.expert)

    def hbm_bytes(self) -> Floats:
        """Bytes of HBM of the fullest rank, float[N]; the kinds of `workload.memory`."""
        job, profiles, row = self.job, self.profiles, self.row
        software = software_of(job.stack)
        precision = precision_of(job.precision)
        states = self._states()
        held = self.dense + self.expert
        both = (profiles.dense + profiles.expert)[row]
        bytes_each = np.where(profiles.layer, job.weight_bytes, 2.0)
        weights = self.by_rank(self.sum(both * bytes_each))
        gradients = self._held(states) * (job.gradient_bytes + software.gradient_copy_bytes)
        sharded = np.array(SHARDINGS)[self.space.sharding] == "zero3"
        shard, master = float(software.shard_bytes), float(software.master_bytes)
        master_left = np.where(sharded, max(0.0, master - shard), master)
        moving = np.where(self.dp_cp > 1, software.bucket_bytes, 0.0) + np.zeros_like(held)
        if self.pp == 1:
            largest = both.max(axis=1)
            whole = largest * (2 * precision.gather_bytes + 2 * job.gradient_bytes)
            weights = np.where(sharded, states * shard, weights)
            moving = moving + np.where(sharded, whole, 0.0)
        else:
            weights = np.where(sharded, states * shard + weights, weights)
            gradients = np.where(sharded, held * job.gradient_bytes + 4.0 * states, gradients)
        kept, working = self._activations()
        moving = moving + kept + working
        fixed = software.fixed_bytes + software.allocator_slack * moving
        used = (
            weights
            + gradients
            + states * (master_left + MOMENTS + software.shard_gradient_bytes)
            + moving
            + fixed
        )
        return np.asarray(used.max(axis=0))

    def _activations(self) -> tuple[Floats, Floats]:
        """Kept activations at the schedule's peak, and the working set of a pass: [pp, N]."""
        profiles, row, again = self.profiles, self.row, self.again
        transfer = profiles.transfer[row]
        stages = self.sum(profiles.kept[row, again])
        stages[1:] += transfer
        chunks = stages.reshape(self.vpp, self.pp, -1)
        m = self.space.micro_batches
        rank = np.arange(self.pp)[:, None]
        if self.schedule == "gpipe":
            flight = np.broadcast_to(m * self.vpp, (self.pp, len(m)))
        elif self.schedule == "zb-h1":
            flight = np.broadcast_to(np.minimum(m, self.pp), (self.pp, len(m)))
        elif self.vpp > 1:
            ahead = (self.pp - rank - 1) * 2 + (self.vpp - 1) * self.pp + 1
            flight = np.minimum(ahead, m * self.vpp)
        else:
            flight = np.minimum(self.pp - rank, m)
        # The first chunks of a rank are those that wait longest.
        kept = np.zeros_like(chunks[0])
        left = flight.astype(float)
        for chunk in range(self.vpp):
            most = np.minimum(left, np.ceil(flight / self.vpp / self.pp) * self.pp)
            now = most if chunk < self.vpp - 1 else left
            kept += now * chunks[chunk]
            left = left - now
        present = (self.counts.reshape(self.vpp, self.pp, -1).sum(axis=0) > 0)[:, None, :]
        work = np.where(present, profiles.working[row, again], 0.0).max(axis=2)
        sp = self.space.column("tp") if self.space.base.sequence_parallel else 1
        return kept, work + 2 * transfer * sp


def _beside(moved: Floats, work: Floats, drag: Floats) -> Floats:
    """Seconds that a pass takes longer for traffic that hides under it as far as it can."""
    slowed = work * (1.0 + drag)
    covered = np.minimum(moved, slowed)
    # Kernels lose drag per second beside them: c seconds of cover do c / (1 + drag) of work.
    return covered * drag / (1.0 + drag) + moved - covered


def _linear(comm: CommTimes, plan: Plan, axis: str, op: str, sizes: Floats) -> Floats:
    """Seconds of collectives of these sizes: two are timed, the others lie on their line."""
    low, high = 64e6, 1024e6
    if not (sizes > 0).any():
        return np.zeros_like(sizes)
    one, two = comm.collective(plan, axis, op, low)[0], comm.collective(plan, axis, op, high)[0]
    slope = (two - one) / (high - low)
    return np.where(sizes > 0, np.maximum(0.0, one - slope * low) + slope * sizes, 0.0)
