"""Plans of one pipeline shape, and what each of their ranks holds: the ground of the closed form.

In:  a `Space` of plans, `Profiles` of its cuts.
Out: `Shape`s: parameters, optimizer states and sums over the units of each stage, as arrays.
Left out: seconds (`closed_form`), bytes of HBM (`closed_hbm`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from rackmodel.planning.profiles import Floats, Profiles
from rackmodel.planning.space import BEFORE, SCHEDULES, SHARDINGS, Bools, Ints, Space
from rackmodel.workload import Job, layers_of_stages

MOST_NUMBERS = 2_000_000  # of an array [stages, plans]: larger shapes are taken in parts
HIDING = ("interleaved", "zb-h1")  # schedules whose transfers run beside compute, if not told


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


def shapes(job: Job, space: Space, profiles: Profiles) -> Iterator[tuple[Ints, Shape]]:
    """Entries of the space that share pp, vpp and schedule, and what they hold."""
    key = (space.pp * 2**20 + space.vpp) * len(SCHEDULES) + space.schedule
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    for start, end in itertools.pairwise([*starts.tolist(), len(order)]):
        first = order[start]
        pp, vpp = int(space.pp[first]), int(space.vpp[first])
        at_once = max(1, MOST_NUMBERS // (pp * vpp))
        for begin in range(start, end, at_once):
            entries: Ints = order[begin : min(end, begin + at_once)]
            schedule = SCHEDULES[space.schedule[first]]
            yield entries, Shape(job, space.take(entries), profiles, pp, vpp, schedule)


class Shape:
    """N plans of one (pp, vpp, schedule): arrays [stages or ranks, N]."""

    def __init__(
        self, job: Job, space: Space, profiles: Profiles, pp: int, vpp: int, schedule: str
    ) -> None:
        self.job, self.space, self.profiles = job, space, profiles
        self.pp, self.vpp, self.schedule = pp, vpp, schedule
        self.row, self.again = space.profile, space.recompute
        self.counts = stage_counts(job, profiles.order, profiles.dense.shape[1], pp, vpp)
        self.dense = self.by_rank(self.sum(profiles.dense[self.row]))
        if job.model.tied and pp > 1:
            self.dense[-1] += profiles.head_twin[self.row]
        self.expert = self.by_rank(self.sum(profiles.expert[self.row]))
        self.dp_cp = space.dp * space.column("cp")
        tp, ep, etp = (space.column(name) for name in ("tp", "ep", "etp"))
        self.edp = np.maximum(1, tp * self.dp_cp // (ep * etp))

    def sum(self, values: Floats) -> Floats:
        """[N, K] -> [stages, N]."""
        summed: Floats = self.counts @ values.T
        return summed

    def by_rank(self, stages: Floats) -> Floats:
        """[stages, N] -> [pp, N]: chunks of a rank together."""
        return np.asarray(stages.reshape(self.vpp, self.pp, -1).sum(axis=0))

    def sharded(self, *names: str) -> Bools:
        """Which plans shard so, bool[N]."""
        wanted = [SHARDINGS.index(name) for name in names]
        return np.isin(self.space.sharding, wanted)

    @property
    def fully(self) -> Bools:
        """Which plans drop gathered weights after each use, bool[N]."""
        return self.sharded("zero3") & (self.pp == 1)

    @property
    def hides_hops(self) -> Bools:
        """Which plans send to the next stage beside compute, bool[N]."""
        told = self.space.p2p_overlap
        return np.where(told == BEFORE, self.schedule in HIDING, told == 1)

    def states(self) -> Floats:
        """Parameters whose optimizer state a rank holds, [pp, N]."""
        split = self.dense / self.dp_cp + self.expert / self.edp
        return np.where(self.sharded("none"), self.dense + self.expert, split)

    def gradients(self, states: Floats) -> Floats:
        """Gradients that a rank keeps from micro-batch to micro-batch, [pp, N]."""
        few = self.sharded("zero2") | self.fully
        return np.where(few, states, self.dense + self.expert)
