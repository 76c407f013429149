"""What a job of a hall runs on its racks: one tenant, or workers for prompts, for answers, caches.

In:  a served job whose prompts run apart, its steady state, the accelerators that it stands on.
Out: `Part`: a tenant and its rhythm; `parts_apart`.
Left out: jobs that are one tenant (`occupants`).

Workers that run prompts keep the rhythm of the steady state, and pause where they have nothing to
do. A cache leaves when its rhythm says so, for the workers that decode in turn: each rank there
takes its part, a flow beside all others. Moves are spread evenly over time, so that as many are
under way as there are on average.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rackmodel.columns import Ints
from rackmodel.engine.step import Kernels, StepKind
from rackmodel.engine.tenants import Stay, Tenant
from rackmodel.serving.cache_moves import CacheMoves
from rackmodel.serving.run import habits_of
from rackmodel.serving.steady import Steady
from rackmodel.serving.steps import Steps, algorithm_of
from rackmodel.topology import Topology
from rackmodel.workload import Collective, Compute, Job, Plan, Program
from rackmodel.workload.serving.job import ServingJob
from rackmodel.workload.serving.memory import sequence_bytes

MOST_PHASES = 32  # instants of a round at which caches leave; more leave together (assumed)
MOST_TARGETS = 64  # that a worker sends caches to, one after another (assumed: the rest are alike)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A tenant of a job: "steps" of training or decode, "prompts" or "caches".

    turn_s : from one of its steps to the next, by itself. pause_s : of it, nothing is done.
    lead_s : before its first step.
    """

    name: str
    tenant: Tenant
    turn_s: float
    pause_s: float = 0.0
    lead_s: float = 0.0

    def inside(self, stay: Stay, window_s: float) -> int:
        """Return how many steps end within a time; at least one."""
        return max(1, int(np.searchsorted(stay.ends_s, window_s * (1.0 + 1e-12), side="right")))

    def busy_s(self, stay: Stay, steps: int) -> float:
        """Return what one of the first steps takes on average, without its pause. [s]"""
        return (stay.ends_s[steps - 1] - self.lead_s) / steps - self.pause_s


@dataclass(frozen=True, slots=True)
class Paused:
    """Kernel times of a tenant that pauses. times : of its kernels, None where it has none."""

    times: Kernels | None
    pauses: dict[int, float] = field(default_factory=dict)

    def compute_s(self, compute: Compute) -> float:
        """Return the seconds of a block of kernels, or of a pause."""
        if compute.id in self.pauses:
            return self.pauses[compute.id]
        assert self.times is not None
        return self.times.compute_s(compute)

    def pause(self, seconds: float) -> Compute:
        """Return a pause of so many seconds."""
        made = Compute(name="pause", phase="other", kernels=())
        self.pauses[made.id] = seconds
        return made


def served_tenant(
    name: str,
    job: ServingJob,
    plan: Plan,
    cycle: Sequence[tuple[Program, ...]],
    machine: Topology,
    **more: Any,
) -> Tenant:
    """Return the tenant of a served job that runs the steps of a cycle. more : of `Tenant`."""
    return Tenant(
        name=name,
        job=Job(model=job.model, plan=plan, seq_len=1, global_batch=plan.replicas),
        kind=StepKind(programs=lambda _: cycle[0], algorithm=algorithm_of(machine, job.stack)),
        cycle=cycle,
        **more,
    )


def parts_apart(
    name: str, job: ServingJob, state: Steady, steps: Steps, spots: Ints
) -> tuple[Part, ...]:
    """Return the parts of a job whose prompts run on workers of their own: decode comes first."""
    first_prompt, first_decode = job.begins
    prefill = spots[first_prompt : first_prompt + job.prefill_gpus]
    decode = spots[first_decode : first_decode + job.decode_gpus]
    programs = steps.programs(job, job.worker, state.decode, job.worker.pp)
    plan = job.worker.plan(job.workers)
    here = {"kernels": steps.kernels, "accelerators": decode, "in_order": True}
    answers = served_tenant(name, job, plan, [programs], steps.machine, **here)
    return (
        Part(name="steps", tenant=answers, turn_s=state.tpot_s * job.tokens_a_step),
        _prompts(name, job, state, steps, prefill),
        *_caches(name, job, state, steps, (prefill, decode)),
    )


def _prompts(name: str, job: ServingJob, state: Steady, steps: Steps, where: Ints) -> Part:
    worker, load = job.prefill, state.prompt
    assert worker is not None
    pieces = max(1, math.ceil(job.prompt_tokens / job.chunk))
    workers = job.prefill_gpus // worker.gpus
    turn_s = worker.pp * load.prompts * workers / (state.requests_per_s * pieces)
    # of a batch to its next step, all stages busy: as long as one for each stage takes
    busy_s = state.prompt_s / pieces - habits_of(job.stack).host_s
    kernels = Paused(steps.kernels)
    pause_s = max(0.0, turn_s - busy_s)
    pause = kernels.pause(pause_s)
    cycle = [then(steps.programs(job, worker, load, worker.pp), pause)]
    here = {"kernels": kernels, "accelerators": where, "in_order": True}
    tenant = served_tenant(
        f"{name}, prompts", job, worker.plan(workers), cycle, steps.machine, **here
    )
    return Part(name="prompts", tenant=tenant, turn_s=turn_s, pause_s=pause_s)


def then(programs: Sequence[Program], last: Compute) -> tuple[Program, ...]:
    """Return programs with one more operation at the end of each."""
    return tuple(
        replace(one, items=(*one.items, last), micro_batches=(*one.micro_batches, 0))
        for one in programs
    )


def _caches(
    name: str, job: ServingJob, state: Steady, steps: Steps, where: tuple[Ints, Ints]
) -> list[Part]:
    """Return the moves of caches; those that leave at one instant of a round are one part."""
    rounds = cache_routes(job)
    workers = len(rounds[0])
    turn_s = len(rounds) * workers / state.requests_per_s
    size = sequence_bytes(job, job.worker, job.isl)
    alone_s = CacheMoves(job, steps).together_s(1)
    routes = [route for one in rounds for route in one]
    phases = np.array_split(np.arange(len(routes)), min(len(routes), MOST_PHASES))
    found = []
    for phase, some in enumerate(phases):
        pairs = [pair for number in some for pair in routes[number]]
        kernels = Paused(None)
        pause_s, lead_s = max(0.0, turn_s - alone_s), turn_s * phase / len(phases)
        move = Collective(name="cache", op="send", axis="tp", bytes=size)
        items = (move, kernels.pause(pause_s))
        tenant = served_tenant(
            f"{name}, caches",
            job,
            Plan(tp=2, dp=len(pairs)),
            [_only(items)],
            steps.machine,
            first=_only((kernels.pause(lead_s), *items)),
            kernels=kernels,
            accelerators=np.array([(where[0][a], where[1][b]) for a, b in pairs]).ravel(),
            in_order=True,
        )
        found.append(
            Part(name="caches", tenant=tenant, turn_s=turn_s, pause_s=pause_s, lead_s=lead_s)
        )
    return found


def _only(items: tuple[Compute | Collective, ...]) -> tuple[Program, ...]:
    return (Program(pipeline_rank=0, items=items, micro_batches=(0,) * len(items)),)


def cache_routes(job: ServingJob) -> list[list[list[tuple[int, int]]]]:
    """Return the ways of caches: round by round, worker by worker, (source, target) of each part.

    Every rank of the worker that decodes takes its part from a rank of the one that ran the prompt;
    with dp attention one rank takes all. Sources and targets are numbered apart. After all rounds
    every target has had as many caches.
    """
    assert job.prefill is not None
    worker, sources = job.worker, job.prefill_gpus // job.prefill.gpus
    targets = job.workers * (worker.tp if worker.dp_attention else 1)
    count = targets // math.gcd(targets, sources)
    rounds = []
    for turn in range(min(count, MOST_TARGETS)):
        shift = turn * count // min(count, MOST_TARGETS)
        routes = []
        for source in range(sources):
            target = (source * targets // sources + shift) % targets
            number, rank = divmod(target, worker.tp) if worker.dp_attention else (target, 0)
            own = (
                [rank + stage * worker.tp for stage in range(worker.pp)]
                if worker.dp_attention
                else range(worker.gpus)
            )
            routes.append(
                [
                    (
                        source * job.prefill.gpus + n % job.prefill.gpus,
                        number * worker.gpus + place,
                    )
                    for n, place in enumerate(own, start=rank)
                ]
            )
        rounds.append(routes)
    return rounds


def means(parts: Sequence[Part], stays: Sequence[Stay], counts: Sequence[int]) -> dict[str, float]:
    """Return what a step of each kind of parts takes on average, without pauses. [s]

    counts : steps of each part that count.
    """
    busy: dict[str, list[float]] = {}
    for part, stay, count in zip(parts, stays, counts, strict=True):
        busy.setdefault(part.name, []).append(part.busy_s(stay, count))
    return {name: math.fsum(each) / len(each) for name, each in busy.items()}
