"""Plans of one pipeline, and what each of their ranks holds: the ground of the closed form.

In:  a `Space` of plans, `Profiles` of its cuts.
Out: `Shape`s: parameters, optimizer states and sums over the units of each stage, as arrays.
Left out: seconds (`closed_form`), bytes of HBM (`closed_hbm`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import TypeAlias

import numpy as np

from rackmodel.columns import Bools, Floats, Ints, kinds_of, packed
from rackmodel.planning.pipeline import Pipe
from rackmodel.planning.profiles import Profiles, Stages
from rackmodel.planning.space import Space
from rackmodel.software import software_of
from rackmodel.workload import Job, layers_of_stages
from rackmodel.workload.choices import RECOMPUTES, SHARDINGS
from rackmodel.workload.kernels import ELEMENT
from rackmodel.workload.schedules.schedule import schedule_of
from rackmodel.workload.stages import places_mtp, states_received

MOST_NUMBERS = 2_000_000  # of an array [stages, plans]: larger shapes are taken in parts


def stage_counts(job: Job, profiles: Profiles, pp: int, vpp: int) -> Floats:
    """Units of each kind on each of the pp x vpp stages, float[stages, K]."""
    order, kinds = profiles.order, profiles.dense.shape[1]
    here = job.replace(pp=pp, vpp=vpp, schedule="")
    sizes, layers, drafts = layers_of_stages(here), job.model.layers, job.model.mtp_layers
    ends = np.cumsum([1, *sizes])  # the embedding stands first, after the layers the head
    if places_mtp(here):  # entry and blocks of each MTP layer before all heads
        each = len(job.model.mtp_blocks) + 1
        heads = layers + 1 + np.arange(drafts + 1) * (each + 1)
        between = np.setdiff1d(np.arange(layers + 1, len(order)), heads)
        order = np.concatenate([order[: layers + 1], order[between], order[heads]])
        ends += np.maximum(0, ends - 1 - layers) * (each - 1)
    ends[-1] = len(order)
    counts = np.zeros((pp * vpp, kinds))
    counts[0, order[0]] = 1.0
    for stage, (start, end) in enumerate(itertools.pairwise(ends)):
        np.add.at(counts[stage], order[start:end], 1.0)
    return counts


def shapes(job: Job, space: Space, profiles: Profiles) -> Iterator[Shaped]:
    """Entries of the space whose pipelines run the same passes, and what they hold."""
    if not len(space):
        return
    known = [schedule_of(name) for name in space.schedules]
    first, which = kinds_of(packed(space.schedule, space.pp))
    pairs = zip(space.schedule[first].tolist(), space.pp[first].tolist(), strict=True)
    most = np.array([known[number].told(pp)[1] for number, pp in pairs])
    batches = np.minimum(space.micro_batches, most[which])
    key = packed(which, space.vpp, space.ep_overlap, batches)
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    ends = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    for start, end in itertools.pairwise([0, *ends.tolist(), len(order)]):
        at = order[start]
        pp, vpp = int(space.pp[at]), int(space.vpp[at])
        name, paired = space.schedules[space.schedule[at]], bool(space.ep_overlap[at])
        pipe = Pipe(name, pp, vpp, paired, "late", int(batches[at]))
        at_once = max(1, MOST_NUMBERS // (pp * vpp))
        for begin in range(start, end, at_once):
            entries: Ints = order[begin : min(end, begin + at_once)]
            own = space if len(entries) == len(space) else space.take(entries)
            yield entries, Shape(job, own, profiles, pipe)


@lru_cache
def _among(names: tuple[str, ...]) -> Bools:
    return np.array([name in names for name in SHARDINGS])


class Shape:
    """N plans of one pipe: arrays [stages or ranks, N].

    distinct : one plan of each cut and recompute, by its place; inverse : which of these a plan is.
    """

    def __init__(self, job: Job, space: Space, profiles: Profiles, pipe: Pipe) -> None:
        self.job, self.space, self.profiles, self.pipe = job, space, profiles, pipe
        self.pp, self.vpp = pipe.p, pipe.v
        self.schedule = schedule_of(pipe.schedule)
        self.stages = np.array(self.schedule.placement(self.pp, self.vpp))  # [pp, chunks]
        kinds = space.profile * len(RECOMPUTES) + space.recompute
        self.distinct, self.inverse = kinds_of(kinds)
        self._spread: Ints | slice = self.inverse if len(kinds) > 1 else slice(None)
        self.row, self.again = space.profile[self.distinct], space.recompute[self.distinct]
        key = self.pp, self.vpp, space.base.stage_layers
        if key not in profiles.stages:
            given = job.replace(stage_layers=space.base.stage_layers)
            received = states_received(given.replace(pp=self.pp, vpp=self.vpp, schedule=""))
            counts = stage_counts(given, profiles, self.pp, self.vpp)
            _, first, alike = np.unique(counts, axis=0, return_index=True, return_inverse=True)
            profiles.stages[key] = Stages(counts, received, first, alike.reshape(-1))
        self.pipeline = profiles.stages[key]
        self.counts = self.pipeline.counts
        twice = job.model.tied and self.pp > 1 and not self.schedule.folds_back
        held = self.sum(profiles.held[:, self.row])
        if twice:
            held[::2, -1] += profiles.head_twin[:, space.profile]
        # Parameters of each rank, [pp, N].
        self.dense, self.expert, self.dense_learning, self.expert_learning = self.by_rank(held)
        self.dp_cp = space.dp * space.column("cp")
        tp, ep, etp = (space.column(name) for name in ("tp", "ep", "etp"))
        self.edp = np.maximum(1, tp * self.dp_cp // (ep * etp))
        size = space.base.shard_size
        self.shards = np.full_like(self.dp_cp, size) if size else self.dp_cp
        self.expert_shards = np.maximum(1, self.edp // (self.dp_cp // self.shards))

    def sum(self, values: Floats) -> Floats:
        """Sum values of the distinct plans' units over stages: [..., D, K] -> [..., stages, N]."""
        summed: Floats = (self.counts @ values.swapaxes(-1, -2))[..., self._spread]
        return summed

    def passes(self, values: Floats) -> Floats:
        """Sum over the units of each stage: [..., P, 3, K] -> [..., stages, N]."""
        return self.sum(values[..., self.row, self.again, :])

    def by_rank(self, stages: Floats) -> Floats:
        """[..., stages, N] -> [..., pp, N]: chunks of a rank together."""
        if self.stages.shape[1] == 1:
            return np.ascontiguousarray(stages)
        return np.asarray(stages[..., self.stages, :].sum(axis=-2))

    def by_stage(self, ranks: Floats) -> Floats:
        """[pp, N] -> [stages, N]: what a rank has, spread over its chunks."""
        if self.stages.shape[1] == 1:
            return ranks
        out = np.empty((self.pp * self.vpp, ranks.shape[1]))
        for own in self.stages.T:
            out[own] = ranks / len(self.stages.T)
        return out

    def entry(self, stages: Floats) -> Floats:
        """[stages, N] -> [pp, N]: the sum over the stages that a rank's first pass comes after."""
        before = np.cumsum(stages, axis=0) - stages
        first = before[: self.pp]
        return np.minimum(first, first[::-1]) if self.schedule.directions == 2 else first

    def sharded(self, *names: str) -> Bools:
        """Which plans shard so, bool[N]."""
        return np.asarray(_among(names)[self.space.sharding])

    @cached_property
    def fully(self) -> Bools:
        """Which plans drop gathered weights after each use, bool[N]."""
        told = self.space.base.reshard
        return self.sharded("zero3", "hsdp") & (self.pp == 1 if told is None else told)

    @cached_property
    def reduces_each(self) -> Bools:
        """Plans of zero2 that reduce gradients in every pass; under a pipeline it does once."""
        return self.sharded("zero2") & (self.pp == 1)

    def split(self, dense: Floats, expert: Floats) -> Floats:
        """A rank's shard of these, [pp, N]."""
        return np.asarray(dense / self.shards + expert / self.expert_shards)

    @cached_property
    def states(self) -> Floats:
        """Parameters whose optimizer state a rank holds, [pp, N]."""
        split = self.split(self.dense_learning, self.expert_learning)
        return np.where(self.sharded("none"), self.dense_learning + self.expert_learning, split)

    def fetched_bytes(self) -> Floats:
        """Bytes that come out of host memory for one pass of each stage, [stages, N]."""
        if "parameters" not in self.space.base.offload:
            return np.zeros((len(self.counts), len(self.space)))
        size, told = software_of(self.job.stack).shard_bytes, self.profiles
        every = (told.dense, told.dense_learning), (told.expert, told.expert_learning)
        found = [self.sum((size * own + ELEMENT * (held - own))[self.row]) for held, own in every]
        return self.split(*found)

    @cached_property
    def gradients(self) -> Floats:
        """Gradients that a rank keeps from micro-batch to micro-batch, [pp, N]."""
        few = self.reduces_each | self.fully
        return np.where(few, self.states, self.dense_learning + self.expert_learning)


#: Entries of a space, and what these plans hold.
Shaped: TypeAlias = tuple[Ints, Shape]
