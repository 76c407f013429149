"""The jobs of a hall as tenants of its machine.

In:  a job of the spec, the machine.
Out: `Occupant`: a tenant, how long its steps take by themselves, tokens, watts.
Left out: the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rackmodel.api import simulate
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.step import TRAINING, StepKind
from rackmodel.engine.tenants import Tenant
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.halls.spec import HallJob
from rackmodel.hardware import Catalog
from rackmodel.requests.cluster import Objective
from rackmodel.requests.run import Arrivals, simulate_requests
from rackmodel.result.result import Result
from rackmodel.serving.api import serve
from rackmodel.serving.outcome import ServingResult
from rackmodel.serving.run import habits_of, steps_of
from rackmodel.serving.steps import ALGORITHMS, Steps
from rackmodel.topology import Topology
from rackmodel.workload import Job, programs
from rackmodel.workload.operations import Program
from rackmodel.workload.serving.programs import serving_programs

REQUESTS = Arrivals(lengths="uniform", spread=0.2, requests=500)  # of a closed loop (assumed)
LONGEST_CYCLE = 100  # decode steps to one with a prompt in it; beyond, prompts are left out


@dataclass(frozen=True, kw_only=True, eq=False)
class Occupant:
    """A job on its racks, and what is known of it by itself.

    tokens : of a training step, or of answers in a decode step. outside_s : of a step, that no
    rank spends on the machine (the host of a server, what a training step loses outside).
    """

    spec: HallJob
    tenant: Tenant
    result: Result | ServingResult
    step_s: float
    tokens: float
    outside_s: float
    steps: Steps | None = None  # of a served job

    def requests(self, slower: float) -> dict[str, dict[str, float]]:
        """Return the times of single requests, where each step takes so many times longer."""
        assert self.steps is not None
        assert isinstance(self.result, ServingResult)
        steps = replace(self.steps, slower=slower)
        run = simulate_requests(self.result.job, steps, REQUESTS, Objective())
        seen = run.cluster.seen
        return {
            name: times.to_dict()
            for name, times in (("ttft_s", seen.ttft), ("tpot_s", seen.tpot), ("e2e_s", seen.e2e))
        }

    @property
    def gpus(self) -> int:
        """Accelerators of the job."""
        job = self.result.job if isinstance(self.result, ServingResult) else self.result.step.job
        return job.gpus


def occupant_of(
    machine: Topology, spec: HallJob, catalog: Catalog | None, options: EngineOptions
) -> Occupant:
    """Return a job of the spec, complete and checked by itself.

    Raises
    ------
    RackModelError
        As `simulate` and `serve` do, with the job's name before it.
    """
    size = max(1, machine.rack_accelerators)
    spots = np.concatenate([np.arange(rack * size, (rack + 1) * size) for rack in spec.racks])
    machine.units(int(spots.max()) + 1)
    words = {"gpus": len(spots), "catalog": catalog, **spec.words}
    try:
        make = _served if spec.served else _trained
        return make(machine, spec, words, spots)
    except (CannotRun, InvalidInput) as error:
        raise type(error)(f"{spec.name}: {error}") from None


def _trained(machine: Topology, spec: HallJob, words: Mapping[str, Any], spots: Any) -> Occupant:
    result = simulate(machine, **words)
    job = result.step.job
    tenant = Tenant(
        name=spec.name,
        job=job,
        kernels=result.kernels,
        kind=TRAINING,
        accelerators=spots,
        cycle=[programs(job)],
        taken=result.contention_of.share,
        slower=result.kernels.transfers_slower,
    )
    return Occupant(
        spec=spec,
        tenant=tenant,
        result=result,
        step_s=result.step.step_s,
        tokens=float(job.tokens),
        outside_s=result.overhead_s,
    )


def _served(machine: Topology, spec: HallJob, words: Mapping[str, Any], spots: Any) -> Occupant:
    result = serve(machine, **{"disaggregated": False, **words})
    job, state = result.job, result.steady
    if job.prefill is not None:
        raise InvalidInput(
            "prompts on accelerators of their own are not for halls; leave prefill_gpus out"
        )
    worker = job.worker
    plan = worker.plan(job.workers)

    def cycle_of(*loads: Any) -> list[tuple[Program, ...]]:
        return [serving_programs(job.shape, worker, load, worker.pp) for load in loads]

    prompts = state.prompt
    if not habits_of(job.stack).alternates:
        prompts = replace(
            state.decode, prompts=prompts.prompts, piece=prompts.piece, before=prompts.before
        )
    length = round(1.0 / state.mixed) if state.mixed * LONGEST_CYCLE >= 1.0 else 0
    cycle = cycle_of(*[state.decode] * max(0, length - 1), *[prompts] * bool(length))
    cycle = cycle or cycle_of(state.decode)
    steps = steps_of(machine, words["catalog"], graphs=job.cuda_graphs)
    tenant = Tenant(
        name=spec.name,
        job=Job(model=job.model, plan=plan, seq_len=1, global_batch=plan.replicas),
        kernels=steps.kernels,
        kind=StepKind(
            programs=lambda _: cycle[0], algorithm=lambda plan, op, axis: ALGORITHMS.get(op)
        ),
        accelerators=spots,
        cycle=cycle,
    )
    step_s = state.tpot_s * job.tokens_a_step
    return Occupant(
        spec=spec,
        tenant=tenant,
        result=result,
        step_s=step_s,
        tokens=state.sequences * job.workers * job.tokens_a_step,
        outside_s=result.host_s,
        steps=steps,
    )


def turns(occupants: list[Occupant], horizon_s: float, most: int) -> list[int]:
    """Return how many steps of each job pass in a time, by themselves.

    Raises
    ------
    InvalidInput
        If that is more than `most` of some job.
    """
    found = [max(1, math.ceil(horizon_s / one.step_s - 1e-9)) for one in occupants]
    for one, count in zip(occupants, found, strict=True):
        if count > most:
            raise InvalidInput(
                f"{one.spec.name}: {count:,} of its steps pass in {horizon_s:.3g} s, more than"
                f" {most:,}; give fewer steps"
            )
    return found
