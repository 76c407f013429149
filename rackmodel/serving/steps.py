"""How long a step of serving takes: simulated on the machine's graph, then looked up.

In:  a topology, kernel times, a job, a worker, the load of a step.
Out: `Steps`: seconds of a step, and what the engine says of it; `Slowdowns` beside other jobs.
Left out: how often which step runs (`steady`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from rackmodel.engine.options import EngineOptions
from rackmodel.engine.step import Step, StepKind, simulate_step
from rackmodel.errors import CannotRun
from rackmodel.hardware import Accelerator
from rackmodel.kernels.serving_time import ServingTimes, of_software, serving_constants
from rackmodel.topology import Topology
from rackmodel.topology.shapes import Host
from rackmodel.workload import Job, Plan, Program
from rackmodel.workload.serving.job import ServingJob, Worker
from rackmodel.workload.serving.load import Load, Ways
from rackmodel.workload.serving.memory import host_bytes
from rackmodel.workload.serving.programs import serving_programs

# How serving software runs its exchanges: kernels of their own where the library is slow.
ALGORITHMS = {
    "dispatch": ("low-latency",),
    "combine": ("low-latency",),
    "all-to-all": ("gpu-initiated",),  # tokens of prompts between domains
}
# Compute units of kernels that pass tokens on between domains, gone from those beside them; the
# kernels for few tokens leave all free while messages travel.
# Source: DeepSeek-V3, arXiv:2412.19437, section 3.2.2 (20 SMs).
FORWARDING_UNITS = 20


def host_of(machine: Topology) -> Host:
    """Return the CPUs beside a machine's accelerators.

    Raises
    ------
    CannotRun
        If it has none.
    """
    if machine.host is None or not machine.host.cpus:
        raise CannotRun(
            f"weights_offload: {machine.name} names no CPUs with memory; leave it out, or give a"
            " topology file with [host]"
        )
    return machine.host


def sums_of(stack: str) -> Mapping[str, Any]:
    """Return how a software sums over ranks; see `sums` in serving.toml."""
    return of_software(serving_constants()["sums"], stack)


def in_one_host(machine: Topology, ranks: int) -> bool:
    """Say whether a group of so many ranks lies in one host."""
    host = machine.domain_accelerators if machine.host is None else machine.host.accelerators
    return ranks <= host


def algorithm_of(machine: Topology, stack: str) -> Callable[[Plan, str, str], Sequence[str] | None]:
    """Return which algorithms a software has for an operation of a plan's axis on a machine.

    What it has for sums hangs on whether a group lies in one host (`sums` in serving.toml).
    """
    sums = sums_of(stack)

    def algorithm(plan: Plan, op: str, axis: str) -> Sequence[str] | None:
        if op == "all-reduce":
            return (*sums["host" if in_one_host(machine, plan.tp) else "hosts"], "ring", "tree")
        return ALGORITHMS.get(op)

    return algorithm


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
            step_s = self._step_s(job, worker, gpus, load, rounds)
            self._known[key] = max(step_s, rounds * self.copied_s(job, worker))
        slower = self.slower.decode if load.sequences else self.slower.prompts
        return self._known[key] * slower

    def copied_s(self, job: ServingJob, worker: Worker) -> float:
        """Return the time of the copies of weights from host memory in a step. [s]

        They run ahead beside everything else, so that a step waits for them only where together
        they take longer than all of it.
        """
        moved = host_bytes(job, worker)
        if not moved:
            return 0.0
        wire = host_of(self.machine).wire
        return moved / (wire.bytes_per_s * wire.payload_efficiency)

    def _step_s(self, job: ServingJob, worker: Worker, gpus: int, load: Load, rounds: int) -> float:
        """Return the time of a step whose weights are all in HBM. [s]"""
        return self.step(job, worker, gpus, load, rounds).step_s

    def programs(
        self, job: ServingJob, worker: Worker, load: Load, rounds: int
    ) -> tuple[Program, ...]:
        """Return what the ranks of each stage do in a step on this machine."""
        domains = -(-worker.tp // self.machine.domain_accelerators)
        sums, padded = sums_of(job.stack), of_software(serving_constants()["columns"], job.stack)
        ways = Ways(
            domains=domains,
            fused=domains == 1 and sums["fused"],
            finalized=sums["finalized"] if in_one_host(self.machine, worker.tp) else 0,
            columns=padded.get(self.part.family, padded["default"]),
        )
        return serving_programs(job.shape, worker, load, rounds, ways)

    def _taken(self, algorithm: str, op: str, axis: str, bytes_per_s: float) -> float:
        """Return the share of an accelerator that an exchange takes from the kernels beside it."""
        if algorithm != "gpu-initiated" or self.part.collective_engines:
            return 0.0
        return min(1.0, FORWARDING_UNITS / self.part.compute_units)

    def step(self, job: ServingJob, worker: Worker, gpus: int, load: Load, rounds: int) -> Step:
        """Return the simulated step: `rounds` batches that follow one another."""
        return self.run(job, worker, gpus, lambda _: self.programs(job, worker, load, rounds))

    def run(
        self,
        job: ServingJob,
        worker: Worker,
        gpus: int,
        programs: Callable[[Job], tuple[Program, ...]],
    ) -> Step:
        """Return the simulated step in which all workers run these programs."""
        plan = worker.plan(gpus // worker.gpus)
        carrier = Job(model=job.model, plan=plan, seq_len=1, global_batch=plan.replicas)
        return simulate_step(
            self.machine,
            carrier,
            self.kernels,
            self.options,
            taken=self._taken,
            kind=StepKind(programs=programs, algorithm=algorithm_of(self.machine, job.stack)),
        )
