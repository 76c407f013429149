"""Estimate and simulate plans of one job on one machine.

In:  a topology, a job, accelerators; plans.
Out: closed-form `Estimates` of a `Space`, a simulated `Result` of one plan.
Left out: which plans to look at (`space`), which to choose (`search`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rackmodel.study.closed_form import Estimates, UpdateRates, estimate
from rackmodel.study.comm_times import CommTimes
from rackmodel.study.profiles import profile
from rackmodel.study.space import Space
from rackmodel.workload import Job, Plan

if TYPE_CHECKING:
    from rackmodel.hardware import Accelerator, Catalog
    from rackmodel.simulate.result import Result
    from rackmodel.topology import Topology

HBM_MARGIN = 1.10  # the closed form's HBM may be this much too high; the exact sum decides
NEAR_ENOUGH = 2.0  # plans this much slower before data-parallel traffic need no closer look


class Planner:
    """Estimates and simulates plans of one job on one machine."""

    def __init__(self, machine: Topology, job: Job, gpus: int, catalog: Catalog | None) -> None:
        from rackmodel import hardware
        from rackmodel.simulate.contention import Contention
        from rackmodel.simulate.kernel_time import KernelTimes, graphs_by_default

        machine.units(gpus)
        self.machine, self.gpus, self.catalog = machine, gpus, catalog
        self.part: Accelerator = hardware.accelerator(
            machine.accelerator, catalog or hardware.load_catalog()
        )
        self.job = job.on(self.part.family)
        self.kernels = KernelTimes(
            self.part, job.stack, cuda_graphs=graphs_by_default(job, self.part)
        )
        taken = Contention.of(self.job, self.kernels, self.part).share
        self.comm = CommTimes(machine, gpus, taken)

    def estimate(self, space: Space) -> Estimates:
        """Closed form of every plan, data-parallel traffic worked out where it may matter."""
        profiles = profile(
            self.job, space.profiles, self.kernels.compute_s, self.comm,
            recomputes=frozenset(int(r) for r in np.unique(space.recompute)),
        )  # fmt: skip
        update = self._update()
        first = estimate(self.job, space, profiles, self.comm, update, data_parallel=False)
        fitting = first.hbm_bytes <= self.part.hbm_bytes * HBM_MARGIN
        if not fitting.any():
            return first
        # Gradients only add time: plans far behind without them need no closer look.
        near = np.flatnonzero(fitting & (first.step_s <= NEAR_ENOUGH * first.step_s[fitting].min()))
        second = estimate(self.job, space.take(near), profiles, self.comm, update)
        for name in Estimates.__dataclass_fields__:
            getattr(first, name)[near] = getattr(second, name)
        return first

    def lost_s(self, step_s: float) -> float:
        """`step_s` with what a whole step loses outside its operations."""
        from rackmodel.simulate.step_level import overhead_s

        whole = self.job.replace(tp=1, cp=1, pp=1, dp=self.gpus)
        return step_s + overhead_s(whole, step_s)

    def _update(self) -> UpdateRates:
        """Rates of the optimizer's kernels, from the kernels themselves."""
        from rackmodel.workload.data_parallel import update_kernels
        from rackmodel.workload.stages import Chunk, Unit

        job = self.job.replace(sharding="none", dp=1, pp=1, vpp=1, shard_size=0, schedule="")

        def seconds(parameters: float) -> dict[str, float]:
            chunk = Chunk(0, 1, 0, 0, (Unit("layer", (), parameters, 0.0),))
            return {k.name: self.kernels.kernel_s(k) for k in update_kernels(job, [chunk])}

        low, high = seconds(1e8), seconds(2e9)
        slope = {name: (high[name] - low[name]) / (2e9 - 1e8) for name in low}
        held = slope.pop("zero_gradients", 0.0)
        fixed = max(0.0, sum(low.values()) - 1e8 * (sum(slope.values()) + held))
        return UpdateRates(sum(slope.values()), held, fixed)

    def simulate(self, plan: Plan) -> Result:
        """Simulate one plan."""
        from rackmodel import door

        return door.run(self.machine, self.job.replace(plan=plan), catalog=self.catalog)
