"""Estimate and simulate plans of one job on one machine.

In:  a topology, a job, accelerators; plans.
Out: closed-form `Estimates` of a `Space`, a simulated `Result` of one plan.
Left out: which plans to look at (`space`), which to choose (`search`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rackmodel.errors import InvalidPlan
from rackmodel.planning.closed_form import Estimates, UpdateRates, bounds, estimate
from rackmodel.planning.closed_hbm import hbm_bytes
from rackmodel.planning.comm_times import CommTimes
from rackmodel.planning.profiles import profile, walk
from rackmodel.planning.space import Ints, Space
from rackmodel.workload import Job, Plan, check, fits
from rackmodel.workload.operations import Role

if TYPE_CHECKING:
    from rackmodel.hardware import Accelerator, Catalog
    from rackmodel.result.result import Result
    from rackmodel.topology import Topology

HBM_MARGIN = 1.06  # the closed form's HBM may be this much too high; the exact sum decides
NEAR_ENOUGH = 2.0  # plans that are slower than the best by this factor need no closer look
MORE = 256  # timed at a time while none of those so far fits
SEEDS = 16  # plans timed first, to have something that others can lose against


class Planner:
    """Estimates and simulates plans of one job on one machine."""

    def __init__(self, machine: Topology, job: Job, gpus: int, catalog: Catalog | None) -> None:
        from rackmodel import hardware
        from rackmodel.kernels.contention import Contention
        from rackmodel.kernels.kernel_time import KernelTimes, graphs_by_default

        machine.units(gpus)
        self.machine, self.gpus, self.catalog = machine, gpus, catalog
        self.part: Accelerator = hardware.accelerator(
            machine.accelerator, catalog or hardware.load_catalog()
        )
        self.job = job.on(self.part.fp8_either_orientation)
        self.kernels = KernelTimes(
            self.part, job.stack, cuda_graphs=graphs_by_default(job, self.part)
        )
        taken = Contention.of(self.job, self.kernels, self.part).share
        self.comm = CommTimes(machine, gpus, taken, self.kernels.transfers_slower)

    def fits(self, job: Job, room_bytes: float) -> bool:
        """Whether a plan is valid and fits, by the workload's own rules and exact sum."""
        try:
            check(job)
        except InvalidPlan:
            return False
        return fits(job, room_bytes)

    def estimate(
        self,
        space: Space,
        *,
        room_bytes: float | None = None,
        near: float = NEAR_ENOUGH,
        cells: bool = True,
    ) -> Estimates:
        """Closed form of every plan that may fit and is not beaten by its bound alone.

        HBM first, then a bound from kernels alone, then one with collectives by themselves, then
        the whole step; after each look plans that are beyond `near` times the best that fits are
        left, their step_s infinite.

        room_bytes : what a plan may fill; None: all HBM. near : how far. cells : keep the most
        promising plan of every (tp, pp) all the same.
        """
        room = self.part.hbm_bytes if room_bytes is None else room_bytes
        look = _Look(self, space)
        hbm, bound = look.every["hbm_bytes"], look.every["bound_s"]
        live = np.flatnonzero(hbm <= room * HBM_MARGIN)
        if not len(live):
            return look.estimates
        bound[live] = 0.0
        look.bound(live)
        order = live[np.argsort(bound[live], kind="stable")]
        fitting = order[hbm[order] <= room]  # by the closed form
        best_s = self._first_best_s(look, order, fitting, room)
        chosen = np.zeros(0, dtype=np.int64)
        if cells:
            pairs = space.column("tp")[fitting] * 2**32 + space.pp[fitting]
            chosen = fitting[np.unique(pairs, return_index=True)[1]]
        kept = np.union1d(order[bound[order] <= near * best_s], chosen)
        look.walk(kept)
        look.bound(live)  # now with collectives, where they were walked
        closer = np.union1d(kept[bound[kept] <= near * best_s], chosen)
        if len(closer):
            look.time(closer)
        return look.estimates

    def _first_best_s(self, look: _Look, order: Ints, fitting: Ints, room: float) -> float:
        """Time a few promising plans; seconds of the best that fits, which others have to beat."""
        space, step_s = look.space, look.every["step_s"]
        first = np.unique(space.profile[fitting], return_index=True)[1]
        batches = [order[begin : begin + MORE] for begin in range(0, len(order), MORE)]
        for entries in (fitting[np.sort(first)[:SEEDS]], *batches):
            look.time(entries)
            for entry in entries[np.argsort(step_s[entries], kind="stable")]:
                if self.fits(self.job.replace(plan=space.plan(int(entry))), room):
                    return float(step_s[entry])
        return np.inf

    def lost_s(self, step_s: float) -> float:
        """`step_s` with what a whole step loses outside its operations."""
        from rackmodel.engine.overhead import overhead_s

        whole = self.job.replace(tp=1, cp=1, pp=1, dp=self.gpus)
        return step_s + overhead_s(whole, step_s)

    def update_rates(self) -> UpdateRates:
        """Rates of the optimizer's kernels, from the kernels themselves."""
        low, high = 1e8, 2e9
        plain = self._update_s(low), self._update_s(high)
        slope = {name: (plain[1][name] - plain[0][name]) / (high - low) for name in plain[0]}
        fixed = max(0.0, sum(plain[0].values()) - low * sum(slope.values()))
        kept, cast = slope.pop(Role.ZERO_GRADIENTS, 0.0), slope.pop(Role.CAST_WEIGHTS, 0.0)
        moved = self._update_s(low, "optimizer"), self._update_s(high, "optimizer")
        offloaded = (moved[1][Role.UPDATE] - moved[0][Role.UPDATE]) / (high - low)
        offloaded += slope[Role.GRAD_NORM]
        return UpdateRates(sum(slope.values()), offloaded, kept, cast, fixed)

    def _update_s(self, parameters: float, *offload: str) -> dict[Role, float]:
        from rackmodel.workload.data_parallel import update_kernels
        from rackmodel.workload.stages import Chunk, Unit

        job = self.job.replace(
            sharding="none", dp=1, pp=1, vpp=1, shard_size=0, schedule="", offload=offload
        )
        chunk = Chunk(0, 1, 0, 0, (Unit("layer", (), parameters, 0.0),))
        return {k.role: self.kernels.kernel_s(k) for k in update_kernels(job, [chunk])}

    def simulate(self, plan: Plan) -> Result:
        """Simulate one plan."""
        from rackmodel.assess.run import run

        return run(self.machine, self.job.replace(plan=plan), catalog=self.catalog)


class _Look:
    """Estimates of a space as far as they are worked out."""

    def __init__(self, planner: Planner, space: Space) -> None:
        self.planner, self.job, self.space = planner, planner.job, space
        self.profiles = profile(
            self.job,
            space.profiles,
            planner.kernels.compute_s,
            planner.gpus,
            recomputes=frozenset(int(r) for r in np.unique(space.recompute)),
            port_bytes_per_s=planner.comm.fastest_port(),
            domain=planner.machine.domain_accelerators,
        )
        self.update = planner.update_rates()
        self.every = {name: np.full(len(space), np.inf) for name in Estimates.__dataclass_fields__}
        self.every["hbm_bytes"] = hbm_bytes(self.job, space, self.profiles)

    @property
    def estimates(self) -> Estimates:
        """What is known so far."""
        return Estimates(**self.every)

    def bound(self, entries: Ints) -> None:
        """Raise bounds of these plans to what is known now."""
        again = bounds(self.job, self.space.take(entries), self.profiles, self.update)
        self.every["bound_s"][entries] = np.maximum(self.every["bound_s"][entries], again)

    def walk(self, entries: Ints) -> None:
        """Put communication between the kernels of these plans."""
        space, comm = self.space.take(entries), self.planner.comm
        walk(self.profiles, self.job, space, self.planner.kernels.compute_s, comm)

    def time(self, entries: Ints) -> None:
        """Estimate whole steps of these plans."""
        self.walk(entries)
        part = self.space.take(entries)
        found = estimate(self.job, part, self.profiles, self.planner.comm, self.update)
        bound = self.every["bound_s"]
        bound[entries] = np.maximum(bound[entries], found.pop("bound_s"))
        for name, values in found.items():
            self.every[name][entries] = values
