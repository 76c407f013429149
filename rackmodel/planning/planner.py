"""Estimate and simulate plans of one job on one machine.

In:  a topology, a job, accelerators; plans.
Out: closed-form `Estimates` of a `Space`, a simulated `Result` of one plan.
Left out: which plans to look at (`space`), which to choose (`search`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from rackmodel.columns import Ints, each_once
from rackmodel.errors import InvalidPlan
from rackmodel.hardware import Accelerator, Catalog
from rackmodel.planning.closed_form import Estimates, UpdateRates, bounds, estimate
from rackmodel.planning.closed_hbm import hbm_bytes
from rackmodel.planning.comm_times import CommTimes
from rackmodel.planning.profiles import Profiles, profile, walk
from rackmodel.planning.shapes import Shaped, shapes
from rackmodel.planning.space import Space
from rackmodel.result.result import Result
from rackmodel.topology import Topology
from rackmodel.workload import Job, Plan, check, fits, settled
from rackmodel.workload.operations import Role
from rackmodel.workload.silent import hides_tp

HBM_MARGIN = 1.06  # the closed form's HBM may be this much too high; the exact sum decides
NEAR_ENOUGH = 1.1  # plans whose bound is beyond the best by this factor need no closer look
FEW = 32  # plans timed first, to have something that others can lose against
MORE = 256  # timed at a time while none of those so far fits


class Planner:
    """Estimates and simulates plans of one job on one machine."""

    def __init__(self, machine: Topology, job: Job, gpus: int, catalog: Catalog | None) -> None:
        from rackmodel import hardware
        from rackmodel.assess.run import check_arithmetic
        from rackmodel.kernels.contention import Contention
        from rackmodel.kernels.kernel_time import graphs_by_default, kernel_times

        machine.units(gpus)
        self.machine, self.gpus, self.catalog = machine, gpus, catalog
        parts = catalog or hardware.load_catalog()
        self.part: Accelerator = hardware.accelerator(machine.accelerator, parts)
        check_arithmetic(job, self.part)  # before all plans are refused for it
        # Open still is what depends on each plan: how tokens go, what overlaps.
        plan = job.plan
        still = {name: getattr(plan, name) for name in ("dispatcher", "tp_overlap", "ep_overlap")}
        self.job = job = settled(job, self.part).replace(**still)
        self.captures = graphs_by_default(job.replace(sharding="none", shard_size=0), self.part)
        eager = graphs_by_default(job.replace(sharding="zero3", shard_size=0), self.part)
        times = partial(kernel_times, self.part, job.stack, 1.0, host_speed=parts.host_speed)
        self.launched = times(self.captures), times(eager)
        self.kernels = self.launched[0]
        self.captures &= not eager
        hides = hides_tp(replace(plan, tp=2), job.stack)
        taken = Contention.of(job.replace(tp_overlap=hides), self.kernels, self.part).share
        self.comm = CommTimes(machine, gpus, taken, self.kernels.transfers_slower)
        self._profiles: dict[tuple[object, ...], Profiles] = {}  # of the last space

    def fits(self, job: Job, room_bytes: float) -> bool:
        """Whether a plan is valid and fits, by the workload's own rules and exact sum."""
        try:
            check(job)
        except InvalidPlan:
            return False
        return fits(job, room_bytes)

    def estimate(
        self, space: Space, *, room_bytes: float | None = None, near: float = NEAR_ENOUGH
    ) -> Estimates:
        """Closed form of every plan that may fit and is not beaten by its bound alone.

        See `Look.closer`. room_bytes : what a plan may fill; None: all HBM.
        """
        look = Look(self, space, self.part.hbm_bytes if room_bytes is None else room_bytes)
        look.closer(near)
        return look.estimates

    def lost_s(self, step_s: float) -> float:
        """`step_s` with what a whole step loses outside its operations."""
        from rackmodel.engine.overhead import overhead_s

        return step_s + overhead_s(self._whole, step_s)

    @cached_property
    def _whole(self) -> Job:
        """The job as data parallelism alone would run it."""
        return self.job.replace(tp=1, cp=1, pp=1, dp=self.gpus)

    def profiles(self, space: Space) -> Profiles:
        """Kernels of every cut of a space, with what was walked of them so far."""
        recomputes = frozenset(each_once(space.recompute).tolist())
        key = space.profiles.shape, space.profiles.tobytes(), recomputes
        if key not in self._profiles:
            self._profiles.clear()
            self._profiles[key] = profile(
                self.job,
                space.profiles,
                self.launched,
                self.gpus,
                recomputes=recomputes,
                port_bytes_per_s=self.comm.fastest_port(),
                settled=lambda job: settled(job, self.part, self.machine.domain_accelerators),
            )
        return self._profiles[key]

    @cached_property
    def update_rates(self) -> UpdateRates:
        """Rates of the optimizer's kernels, from the kernels themselves."""
        from rackmodel.workload.kernels import elementwise

        low, high = 1e8, 2e9
        plain = self._update_s(low), self._update_s(high)
        slope = {name: (plain[1][name] - plain[0][name]) / (high - low) for name in plain[0]}
        fixed = max(0.0, sum(plain[0].values()) - low * sum(slope.values()))
        kept, cast = slope.pop(Role.ZERO_GRADIENTS, 0.0), slope.pop(Role.CAST_WEIGHTS, 0.0)
        moved = self._update_s(low, "optimizer"), self._update_s(high, "optimizer")
        offloaded = (moved[1][Role.UPDATE] - moved[0][Role.UPDATE]) / (high - low)
        offloaded += slope[Role.GRAD_NORM]
        link = elementwise("host link", 0.0, high, family="copy")
        host_s = self.kernels.kernel_s(link) / high
        return UpdateRates(sum(slope.values()), offloaded, kept, cast, fixed, host_s)

    def _update_s(self, parameters: float, *offload: str) -> dict[Role, float]:
        from rackmodel.workload.data_parallel import update_kernels
        from rackmodel.workload.stages import Chunk, Unit
        from rackmodel.workload.steps import Step

        job = self.job.replace(
            sharding="none", dp=1, pp=1, vpp=1, shard_size=0, schedule="", offload=offload
        )
        steps = (Step(name="all", parameters=parameters),)
        unit = Unit("layer", steps, parameters, 0.0, parameters, 0.0, has_gradient=True)
        chunk = Chunk(0, 1, 0, 0, (unit,))
        return {k.role: self.kernels.kernel_s(k) for k in update_kernels(job, [chunk])}

    def simulate(self, plan: Plan) -> Result:
        """Simulate one plan."""
        from rackmodel.assess.run import run

        return run(self.machine, self.job.replace(plan=plan), catalog=self.catalog)


class Look:
    """Estimates of a space as far as they are worked out.

    room_bytes : what a plan may fill.
    """

    def __init__(self, planner: Planner, space: Space, room_bytes: float) -> None:
        self.planner, self.job, self.space = planner, planner.job, space
        self.room_bytes = room_bytes
        self.profiles, self.update = planner.profiles(space), planner.update_rates
        self._fits: dict[int, bool] = {}
        self._shaped: dict[bytes, list[Shaped]] = {}  # of few plans, for another look
        every = np.full((len(Estimates._fields), len(space)), np.inf)
        self.every = dict(zip(Estimates._fields, every, strict=True))
        for own, shape in self._shapes(np.arange(len(space))):
            self.every["hbm_bytes"][own] = hbm_bytes(shape)
        self.live = np.flatnonzero(self.every["hbm_bytes"] <= room_bytes * HBM_MARGIN)
        self.every["bound_s"][self.live] = 0.0
        if len(self.live):
            self.bound(self.live)

    def closer(self, near: float) -> None:
        """Time every plan that may fit and is not beaten by its bound alone.

        A bound from kernels alone, then one with collectives by themselves, then the whole step;
        after each look plans that are beyond `near` times the best that fits are left, their step_s
        infinite.
        """
        bound, kept = self.every["bound_s"], self.live
        if len(kept) == 1:  # nothing that it could be beaten by
            if self.time(kept):
                self.bound(kept)
            return
        reach_s = near * self._first_best_s(kept)
        for _ in range(2):  # the better the bounds, the better what looks promising
            kept = kept[bound[kept] <= reach_s]
            if not len(kept):
                return
            self.walk(kept)
            self.bound(kept)  # now with collectives
            reach_s = min(reach_s, near * self._first_best_s(kept))
        self.time(kept[bound[kept] <= reach_s])

    def cells(self) -> None:
        """Time the most promising plan that fits of every (tp, pp) of which none is timed."""
        bound, step_s = self.every["bound_s"], self.every["step_s"]
        fitting = self.live[self.every["hbm_bytes"][self.live] <= self.room_bytes]
        pairs = self.space.column("tp")[fitting] * 2**32 + self.space.pp[fitting]
        order = np.lexsort([bound[fitting], ~np.isfinite(step_s[fitting])])
        first = np.unique(pairs[order], return_index=True)[1]
        self.time(fitting[order[first]])

    def _first_best_s(self, entries: Ints) -> float:
        """Time a few promising plans; seconds of the best that fits, which others have to beat."""
        step_s = self.every["step_s"]
        order = entries[np.argsort(self.every["bound_s"][entries], kind="stable")]
        fitting = order[self.every["hbm_bytes"][order] <= self.room_bytes]  # by the closed form
        known = order[np.isfinite(step_s[order])]
        batches = [order[begin : begin + MORE] for begin in range(0, len(order), MORE)]
        promising = np.concatenate([fitting[: max(FEW, len(order) // 1000)], known])
        for some in (each_once(promising), *batches):
            self.time(some)
            for entry in some[np.argsort(step_s[some], kind="stable")]:
                if self.fits(int(entry)):
                    return float(step_s[entry])
        return np.inf

    def fits(self, entry: int) -> bool:
        """Whether a plan is valid and fits, by the exact sum."""
        if entry not in self._fits:
            job = self.job.replace(plan=self.space.plan(entry))
            self._fits[entry] = self.planner.fits(job, self.room_bytes)
        return self._fits[entry]

    @property
    def estimates(self) -> Estimates:
        """What is known so far."""
        return Estimates(**self.every)

    def bound(self, entries: Ints) -> None:
        """Raise bounds of these plans to what is known now."""
        bound_s = self.every["bound_s"]
        for own, shape in self._shapes(entries):
            bound_s[own] = np.maximum(bound_s[own], bounds(shape, self.update))

    def walk(self, entries: Ints) -> bool:
        """Put communication between the kernels of these plans; whether some had none."""
        return walk(self.profiles, self._part(entries), self.planner.comm)

    def time(self, entries: Ints) -> bool:
        """Estimate whole steps of these plans, where that is not done; whether `walk` had to."""
        entries = entries[~np.isfinite(self.every["step_s"][entries])]
        walked = self.walk(entries)
        for own, shape in self._shapes(entries):
            found = estimate(shape, self.planner.comm, self.update)
            found["bound_s"] = np.maximum(self.every["bound_s"][own], found["bound_s"])
            for name, values in found.items():
                self.every[name][own] = values
        return walked

    def _part(self, entries: Ints) -> Space:
        """These plans; the space itself where they are all of it, in order."""
        all_of_it = len(entries) == len(self.space) and (entries[1:] > entries[:-1]).all()
        return self.space if all_of_it else self.space.take(entries)

    def _shapes(self, entries: Ints) -> Iterable[Shaped]:
        """What these plans hold, by their pipelines: entries of the space, and the shape."""
        key = entries.tobytes() if len(entries) <= FEW else b""
        if found := self._shaped.get(key):
            return found
        part = shapes(self.job, self._part(entries), self.profiles)
        made = ((entries[own], one) for own, one in part)
        if not key:
            return made
        return self._shaped.setdefault(key, list(made))
