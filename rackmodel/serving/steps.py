"""How long a step of serving takes: simulated on the machine's graph, then looked up.

In:  a topology, kernel times, a job, a worker, the load of a step.
Out: `Steps`: seconds of a step, and what the engine says of it; `Slowdowns` beside other jobs.
Left out: how often which step runs (`steady`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from rackmodel.engine.options import EngineOptions
from rackmodel.engine.step import Step, StepKind, simulate_step
from rackmodel.hardware import Accelerator
from rackmodel.kernels.serving_time import ServingTimes
from rackmodel.topology import Topology
from rackmodel.workload import Job
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import Load
from rackmodel.workload.serving.programs import serving_programs

# How serving software runs its exchanges: kernels of their own where the library is slow.
ALGORITHMS = {
    "all-reduce": ("one-shot", "two-shot", "ring", "tree"),
    "dispatch": ("low-latency",),
    "combine": ("low-latency",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slowdowns:
    """How many times longer than by themselves things take, beside other jobs.

    decode : steps in which sequences decode. prompts : such with prompts only. caches : moves from
    workers that run prompts to those that decode.
    """

    decode: float = 1.0
    prompts: float = 1.0
    caches: float = 1.0


@dataclass(slots=True)
class Steps:
    """Steps of a job on one machine; each load is simulated once."""

    machine: Topology
    kernels: ServingTimes
    options: EngineOptions = field(default_factory=EngineOptions)
    slower: Slowdowns = field(default_factory=Slowdowns)
    _known: dict[tuple[ServingJob, Worker, int, Load, int], float] = field(default_factory=dict)

    @property
    def part(self) -> Accelerator:
        """The machine's accelerator."""
        return cast(Accelerator, self.kernels.accelerator)

    def seconds(self, job: ServingJob, worker: Worker, gpus: int, load: Load) -> float:
        """Return the time from one step of a batch to its next. [s]

        With pipeline stages as many batches are under way as there are stages, each with `load`.
        """
        if worker.pp == 1:
            return self._looked_up(job, worker, gpus, load, 1)
        once, twice = (
            self._looked_up(job, worker, gpus, load, rounds)
            for rounds in (worker.pp, 2 * worker.pp)
        )
        return twice - once

    def _looked_up(
        self, job: ServingJob, worker: Worker, gpus: int, load: Load, rounds: int
    ) -> float:
        key = (job.shape, worker, gpus, load, rounds)
        if key not in self._known:
            self._known[key] = self.step(job, worker, gpus, load, rounds).step_s
        slower = self.slower.decode if load.sequences else self.slower.prompts
        return self._known[key] * slower

    def step(self, job: ServingJob, worker: Worker, gpus: int, load: Load, rounds: int) -> Step:
        """Return the simulated step: `rounds` batches that follow one another."""
        shape = job.shape
        plan = worker.plan(gpus // worker.gpus)
        carrier = Job(model=job.model, plan=plan, seq_len=1, global_batch=plan.replicas)
        return simulate_step(
            self.machine,
            carrier,
            self.kernels,
            self.options,
            kind=StepKind(
                programs=lambda _: serving_programs(shape, worker, load, rounds),
                algorithm=lambda plan, op, axis: ALGORITHMS.get(op),
            ),
        )
