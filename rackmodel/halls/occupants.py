"""The jobs of a hall as tenants of its machine.

In:  a job of the spec, the machine.
Out: `Occupant`: its parts, how long its steps take by themselves, tokens, watts.
Left out: the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rackmodel.api import simulate
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.step import TRAINING
from rackmodel.engine.tenants import Tenant
from rackmodel.errors import CannotRun, InvalidInput, InvalidPlan
from rackmodel.halls.parts import Part, Paused, parts_apart, served_tenant, then
from rackmodel.halls.spec import HallJob
from rackmodel.hardware import Catalog
from rackmodel.requests.cluster import Objective
from rackmodel.requests.run import Arrivals, simulate_requests
from rackmodel.result.result import Result
from rackmodel.serving.api import serve
from rackmodel.serving.outcome import ServingResult
from rackmodel.serving.run import habits_of, running, settle, steps_of
from rackmodel.serving.steady import Steady
from rackmodel.serving.steps import Slowdowns, Steps
from rackmodel.topology import Topology
from rackmodel.workload import Program, programs
from rackmodel.workload.serving.job import ServingJob

REQUESTS = Arrivals(lengths="uniform", spread=0.2, requests=500)  # of a closed loop (assumed)
LONGEST_CYCLE = 100  # decode steps to one with a prompt in it; beyond, prompts are left out


@dataclass(frozen=True, kw_only=True, eq=False)
class Occupant:
    """A job on its racks, and what is known of it by itself.

    tokens : of a training step, or of answers in a decode step. What a training step loses outside
    the machine is a pause of its part.
    """

    spec: HallJob
    parts: tuple[Part, ...]
    result: Result | ServingResult
    tokens: float
    steps: Steps | None = None  # of a served job

    @property
    def step_s(self) -> float:
        """The seconds of one of its steps, of decode where it is served."""
        return self.parts[0].turn_s

    def settled(self, slower: Slowdowns) -> Steady:
        """Return the steady state of a served job, where its steps and moves take longer."""
        assert self.steps is not None
        assert isinstance(self.result, ServingResult)
        job, steps = self.result.job, replace(self.steps, slower=slower)
        most = min(running(job, steps.part), self.result.users_most / job.workers)
        return settle(job, steps, most)

    def requests(self, slower: Slowdowns) -> dict[str, dict[str, float]]:
        """Return the times of single requests, where steps and moves take so many times longer."""
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
    job, kernels = result.step.job, Paused(result.kernels)
    tenant = Tenant(
        name=spec.name,
        job=job,
        kernels=kernels,
        kind=TRAINING,
        accelerators=spots,
        cycle=[then(programs(job), kernels.pause(result.overhead_s))],
        taken=result.contention_of.share,
        slower=result.kernels.transfers_slower,
    )
    part = Part(name="steps", tenant=tenant, turn_s=result.step_s, pause_s=result.overhead_s)
    return Occupant(spec=spec, parts=(part,), result=result, tokens=float(job.tokens))


def _served(machine: Topology, spec: HallJob, words: Mapping[str, Any], spots: Any) -> Occupant:
    result = serve(machine, **words)
    job, state = result.job, result.steady
    steps = steps_of(machine, words["catalog"], graphs=job.cuda_graphs)
    if job.gpus > len(spots):
        raise InvalidPlan(
            f"it has {job.gpus:,} accelerators, its racks {len(spots):,}; give it more racks"
        )
    if job.prefill is not None:
        parts = parts_apart(spec.name, job, state, steps, spots)
    else:
        cycle = _cycle(job, state, steps)
        plan = job.worker.plan(job.workers)
        here = {"kernels": steps.kernels, "accelerators": spots}
        tenant = served_tenant(spec.name, job, plan, cycle, machine, **here)
        parts = (Part(name="steps", tenant=tenant, turn_s=state.tpot_s * job.tokens_a_step),)
    return Occupant(
        spec=spec,
        parts=parts,
        result=result,
        tokens=state.sequences * job.workers * job.tokens_a_step,
        steps=steps,
    )


def _cycle(job: ServingJob, state: Steady, steps: Steps) -> list[tuple[Program, ...]]:
    """Return the steps of a worker, one after another: decode, and one with prompts."""
    worker, prompts = job.worker, state.prompt
    if not habits_of(job.stack).alternates:
        prompts = replace(
            state.decode, prompts=prompts.prompts, piece=prompts.piece, before=prompts.before
        )
    length = round(1.0 / state.mixed) if state.mixed * LONGEST_CYCLE >= 1.0 else 0
    loads = [*[state.decode] * max(0, length - 1), *[prompts] * bool(length)] or [state.decode]
    return [steps.programs(job, worker, load, worker.pp) for load in loads]


def horizon_s(occupants: Sequence[Occupant], steps: int) -> float:
    """Return the time of so many of the longest steps, and at least of one round of caches. [s]"""
    parts = [part for one in occupants for part in one.parts]
    return max(part.turn_s * (1 if part.name == "caches" else steps) for part in parts)


def turns(occupants: Sequence[Occupant], horizon_s: float, most: int) -> list[list[int]]:
    """Return how many steps of each part of each job pass in a time, by themselves.

    Raises
    ------
    InvalidInput
        If that is more than `most` of some job.
    """
    found = []
    for one in occupants:
        found.append([max(1, math.ceil(horizon_s / part.turn_s - 1e-9)) for part in one.parts])
        if max(found[-1]) > most:
            raise InvalidInput(
                f"{one.spec.name}: {max(found[-1]):,} of its steps pass in {horizon_s:.3g} s, more"
                f" than {most:,}; give fewer steps"
            )
    return found
