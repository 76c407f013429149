"""One training step on one machine: from a topology and a job to what every rank did and when.

In:  a topology, a job with a complete plan, kernel times.
Out: `Step`: the step's seconds, the log of every rank class, and how many ranks each class stands
     for.
Left out: tables for people, power, cost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from rackmodel.engine.folding import Partition, label, refine, trivial_partition
from rackmodel.engine.networks import network_of
from rackmodel.engine.quotient import Quotient, fold
from rackmodel.engine.rank_map import Places, places
from rackmodel.engine.ranks import Logged
from rackmodel.engine.recurrence import Repeat, Splice, find_splice, trials
from rackmodel.engine.run import Kernels, Run
from rackmodel.engine.stand_in import PERIODS, StandIn, stand_in
from rackmodel.engine.system import System, build_system
from rackmodel.errors import InvalidInput, InvalidPlan
from rackmodel.kernels.contention import Taken
from rackmodel.network import Network, torus_shape
from rackmodel.network.arrays import Routing
from rackmodel.workload import programs
from rackmodel.workload.operations import Program
from rackmodel.workload.placement import (
    axis_members,
    axis_true_size,
    dp_block,
    exchange_algorithm,
    replica_stride,
)

if TYPE_CHECKING:
    import networkx as nx

    from rackmodel.workload import Job


class Machine(Protocol):
    """What the simulation needs of a topology."""

    def graph(self, accelerators: int, *, bundled: bool = False) -> nx.DiGraph[Any]:
        """Return the machine as it is used by so many accelerators."""
        ...

    def period(self, accelerators: int) -> int:
        """Return after how many accelerators the machine repeats."""
        ...

    @property
    def domain_accelerators(self) -> int:
        """Accelerators of a scale-up domain."""
        ...

    @property
    def max_accelerators(self) -> int | None:
        """Accelerators of the largest machine; None for no limit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Step:
    """What a simulated step left behind.

    logs : one per rank class. rank_stage, rank_count : pipeline rank of each class, and ranks of
    the whole machine in it. splice : the stretch of the logs that recurs, if micro-batches were
    skipped.
    """

    job: Job
    step_s: float
    splice: Splice | None
    logs: tuple[tuple[Logged, ...], ...]
    rank_stage: npt.NDArray[np.int64]
    rank_count: npt.NDArray[np.int64]
    programs: tuple[Program, ...]
    seconds: Mapping[int, float]  # by id of a Compute
    silent: frozenset[int]  # ids of operations of a group of one
    system: System
    partition: Partition
    quotient: Quotient
    network: Network
    small: StandIn
    rank_weight: npt.NDArray[np.float64]  # per simulated rank, ranks that it stands for
    places: Places
    events: int
    transfers_slower: float
    wall_s: float


def simulate_step(
    machine: Machine,
    job: Job,
    kernels: Kernels,
    *,
    taken: Taken = lambda algorithm, op, axis, bytes_per_s: 0.0,
    transfers_slower: float = 1.0,
    do_fold: bool = True,
    slow: Mapping[int, float] | None = None,
    routing: str = "spray",
    seed: int = 0,
    periods: int = PERIODS,
    repeat: Repeat = "exact",
    packed: bool = False,
    limit_s: float = math.inf,
) -> Step:
    """Simulate one step.

    Parameters
    ----------
    machine : a topology. job : with `plan.dp` filled.
    taken : share of compute throughput that a collective takes from kernels beside it, by
        algorithm, op, axis and pace (bytes of the collective per second).
    transfers_slower : time of the bytes of collectives and sends in training over their time alone,
        as a library's tests measure it: all rates are that much lower, latencies as they are.
    do_fold : simulate one of each kind; False simulates every rank of the whole machine.
    slow : {rank: factor}, ranks whose kernels take that much longer; they are simulated without
        stand-in.
    periods : whole periods of the machine to keep in the stand-in.
    repeat : what to do with micro-batches beyond the first few dozen. "exact": count those in which
        every rank does what it did before, simulate the others; "estimate": let the last simulated
        ones stand for the rest even where they are not quite alike; "all": simulate every one.
    packed : fill every scale-up domain to the last accelerator, even where that tears groups apart.
    limit_s : give up where the step takes longer.

    Raises
    ------
    TooSlow
        If the step takes longer than `limit_s`.
    InvalidPlan
        If the ranks can't be placed. Others as `Machine.graph` and `Network` raise them.
    """
    started = time.perf_counter()
    plan = job.plan
    total = plan.gpus
    where = places(plan, machine.domain_accelerators, machine.max_accelerators, packed=packed)
    slots = where.slots(total)
    period = machine.period(slots)
    small = stand_in(
        plan.replicas,
        stride=replica_stride(plan),
        machine_period=where.ranks(period) if period < slots else total,
        block=dp_block(plan),
        domain=where.used,
        # defects and hashed paths do not repeat along dp
        periods=periods if do_fold and not slow and routing != "ecmp" else plan.replicas,
    )
    ranks = total // plan.replicas * small.dp
    network = network_of(machine, where.slots(ranks), cast(Routing, routing), seed)
    sides = torus_shape(network)
    if sides and math.prod(sides) == ranks == total:
        where = where.on_torus(sides, plan)
    stands = where.accelerators(ranks)
    if len(network.accelerator_nodes) <= stands[-1]:
        raise InvalidPlan(
            f"the plan needs {total} accelerators; the machine has {len(network.accelerator_nodes)}"
        )
    weight = _rank_weights(job, small)
    todo = list(trials(job, repeat))
    system = build_system(
        network,
        programs(_short(job, todo[0])),
        pipeline=axis_members(plan, "pp", small.dp),
        axis_members=lambda axis: axis_members(plan, axis, small.dp),
        true_size=lambda axis: axis_true_size(plan, axis),
        algorithm_of=lambda op, axis: exchange_algorithm(plan, op, axis),
        accelerator_of=stands,
        weight=weight,
    )
    speed = _speeds(ranks, slow or {})
    partition = _partition(system, speed, do_fold)
    quotient = fold(system, partition)
    run, splice, events = _run_until_it_recurs(
        job,
        todo,
        repeat,
        lambda program: Run(
            program, kernels, taken, system, quotient, speed, limit_s, transfers_slower
        ),
    )
    classes = len(quotient.first_rank)
    count = np.bincount(partition.rank, weights=weight, minlength=classes)
    return Step(
        job=job,
        step_s=float(run.env.now) + (splice.added_s if splice else 0.0),
        splice=splice,
        logs=tuple(tuple(rank.log) for rank in run.world.ranks),
        rank_stage=system.stage[quotient.first_rank],
        rank_count=np.round(count).astype(np.int64),
        programs=run.programs,
        seconds=run.seconds,
        silent=frozenset(run.silent),
        system=system,
        partition=partition,
        quotient=quotient,
        network=network,
        small=small,
        rank_weight=weight,
        places=where,
        events=events,
        transfers_slower=transfers_slower,
        wall_s=time.perf_counter() - started,
    )


def _run_until_it_recurs(
    job: Job, todo: list[int], repeat: Repeat, make: Callable[[tuple[Program, ...]], Run]
) -> tuple[Run, Splice | None, int]:
    """Simulate ever more micro-batches until a stretch recurs, at the latest all of them."""
    events = 0
    while True:
        batches = todo.pop(0)
        run = make(programs(_short(job, batches)))
        run.simulate()
        events += next(run.env._eid)
        if batches == job.micro_batches:
            return run, None, events
        stages = [rank.stage for rank in run.world.ranks]
        logs = [rank.log for rank in run.world.ranks]
        splice, period = find_splice(run.programs, stages, logs, job, batches, repeat)
        if splice is not None:
            return run, splice, events
        if period:
            # the period is known: leave out a whole number of them
            more = batches + (job.micro_batches - batches) % period
            todo = [min(more, job.micro_batches), *(n for n in todo if n > more)]


def _short(job: Job, micro_batches: int) -> Job:
    """Return the job with another number of micro-batches."""
    plan = job.plan
    return job.replace(global_batch=micro_batches * plan.replicas * plan.micro_batch)


def _speeds(ranks: int, slow: Mapping[int, float]) -> npt.NDArray[np.float64]:
    speed = np.ones(ranks)
    for rank, factor in slow.items():
        if not 0 <= rank < ranks or not factor > 0:
            raise InvalidInput(
                f"slow rank {rank} x {factor}: ranks are 0 to {ranks - 1}, factors above 0"
            )
        speed[rank] = factor
    return speed


def _partition(system: System, speed: npt.NDArray[np.float64], do_fold: bool) -> Partition:
    groups = system.groups()
    if not do_fold:
        return trivial_partition(len(system.stage), len(system.capacity), groups)
    return refine(label(system.stage, speed), label(system.capacity), groups)


def _rank_weights(job: Job, small: StandIn) -> npt.NDArray[np.float64]:
    replicas = axis_members(job.plan, "model", small.dp)
    weight = np.empty(replicas.size)
    weight[replicas] = small.weight[:, None]
    return weight
