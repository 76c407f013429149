"""One training step on one machine: from a topology and a job to what every rank did and when.

In:  a topology, a job with a complete plan, kernel times.
Out: `Step`: the step's seconds, the log of every rank class, and how many ranks each class stands
     for.
Left out: tables for people, power, cost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from rackmodel.engine.networks import network_of
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.quotient import Quotient, fold
from rackmodel.engine.rank_map import RankMap, map_ranks
from rackmodel.engine.ranks import Logged
from rackmodel.engine.recurrence import Repeat, Splice, find_splice, trials
from rackmodel.engine.simulation import Simulation
from rackmodel.engine.stand_in import StandIn, stand_in
from rackmodel.engine.system import ExchangeKind, System, build_system, exchange_kinds
from rackmodel.errors import InvalidInput, InvalidPlan
from rackmodel.kernels.contention import Taken
from rackmodel.network import Network, torus_shape
from rackmodel.network.arrays import Routing
from rackmodel.network.symmetry import PERIODS, Partition, label, refine, trivial_partition
from rackmodel.workload import programs
from rackmodel.workload.operations import Compute, Program, Segment
from rackmodel.workload.placement import (
    axis_members,
    axis_true_size,
    dp_block,
    exchange_algorithm,
    replica_stride,
)

if TYPE_CHECKING:
    import networkx as nx

    from rackmodel.workload import Job, Plan


class Kernels(Protocol):
    """What the simulation needs of a kernel-time model."""

    def compute_s(self, compute: Compute) -> float:
        """Return the seconds of a block of kernels on one accelerator."""
        ...


class SimulatedMachine(Protocol):
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
class FoldedMachine:
    """The machine that was simulated: every group, flow and link of it, and their classes."""

    system: System
    partition: Partition
    quotient: Quotient
    network: Network


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Step:
    """What a simulated step left behind.

    logs : one per rank class. rank_stage, rank_count : pipeline rank of each class, and ranks of
    the whole machine in it. rank_class, rank_weight : per simulated rank, its class and the ranks
    that it stands for. splice : the stretch of the logs that recurs, if micro-batches were skipped.
    machine : hundreds of megabytes for a large one; None in a step that travelled.
    """

    job: Job
    step_s: float
    splice: Splice | None
    logs: tuple[Sequence[Logged], ...]
    rank_stage: npt.NDArray[np.int64]
    rank_count: npt.NDArray[np.int64]
    rank_class: npt.NDArray[np.int64]
    rank_weight: npt.NDArray[np.float64]
    programs: tuple[Program, ...]
    seconds: Mapping[int, float]  # by id of a Compute
    silent: frozenset[int]  # ids of operations of a group of one
    exchanges: tuple[ExchangeKind, ...]
    rank_map: RankMap
    machine: FoldedMachine | None
    events: int
    engine: str  # that walked through the events: simpy or compiled
    wall_s: float

    @property
    def stage_ranks(self) -> npt.NDArray[np.float64]:
        """Ranks of the whole machine on each pipeline rank."""
        ranks = np.zeros(len(self.programs))
        np.add.at(ranks, self.rank_stage, self.rank_count)
        return ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    """The ranks that are simulated, and where they stand."""

    network: Network
    rank_map: RankMap
    small: StandIn
    accelerators: npt.NDArray[np.int64]  # of each simulated rank


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind:
    """What the ranks do in a step of a job, and how its software runs a collective.

    algorithm : of (plan, operation, axis); several where the quickest runs, None where the library
    chooses.
    """

    programs: Callable[[Job], tuple[Program, ...]]
    algorithm: Callable[[Plan, str, str], str | Sequence[str] | None]


TRAINING = StepKind(programs=programs, algorithm=exchange_algorithm)


def simulate_step(
    machine: SimulatedMachine,
    job: Job,
    kernels: Kernels,
    options: EngineOptions | None = None,
    *,
    taken: Taken = lambda algorithm, op, axis, bytes_per_s: 0.0,
    transfers_slower: float = 1.0,
    periods: int = PERIODS,
    kind: StepKind = TRAINING,
) -> Step:
    """Simulate one step.

    Parameters
    ----------
    machine : a topology. job : with `plan.dp` filled.
    options : how to simulate; slow ranks are simulated without stand-in.
    taken : share of compute throughput that a collective takes from kernels beside it, by
        algorithm, op, axis and pace (bytes of the collective per second).
    transfers_slower : time of the bytes of collectives and sends in training over their time alone,
        as a library's tests measure it: all rates are that much lower, latencies as they are.
    periods : whole periods of the machine to keep in the stand-in.
    kind : what the ranks do in a step of a job, and how they exchange: training if left out.

    Raises
    ------
    TooSlow
        If the step takes longer than `options.limit_s`.
    InvalidPlan
        If the ranks can't be placed. Others as `SimulatedMachine.graph` and `Network` raise them.
    """
    started = time.perf_counter()
    options = options or EngineOptions()
    placed = _place(machine, job, options, periods)
    weight = _rank_weights(job, placed.small)
    todo = list(trials(job, options.repeat))
    system = _system(_short(job, todo[0]), placed, weight, kind)
    speed = _speeds(len(weight), options.slow)
    partition = _partition(system, speed, options.fold)
    quotient = fold(system, partition)
    exchanges = exchange_kinds(system, transfers_slower)
    overlap_share = tuple(_taken_by(exchange, taken) for exchange in exchanges)

    def simulated(program: tuple[Program, ...]) -> Simulation:
        seconds = kernel_seconds(program, kernels)
        how = speed, overlap_share, transfers_slower, options.engine
        run = Simulation(program, seconds, system, quotient, *how)
        run.simulate(options.limit_s)
        return run

    run, splice, events = _run_until_it_recurs(job, todo, options.repeat, simulated, kind.programs)
    count = np.bincount(partition.rank, weights=weight, minlength=len(quotient.first_rank))
    return Step(
        job=job,
        step_s=run.end_s + (splice.added_s if splice else 0.0),
        splice=splice,
        logs=tuple(run.logs),
        rank_stage=system.stage[quotient.first_rank],
        rank_count=np.round(count).astype(np.int64),
        rank_class=partition.rank,
        rank_weight=weight,
        programs=run.programs,
        seconds=run.seconds,
        silent=frozenset(run.silent),
        exchanges=exchanges,
        rank_map=placed.rank_map,
        machine=FoldedMachine(
            system=system, partition=partition, quotient=quotient, network=placed.network
        ),
        events=events,
        engine=run.engine,
        wall_s=time.perf_counter() - started,
    )


def _taken_by(exchange: ExchangeKind, taken: Taken) -> float:
    """Return the share of the compute units that an exchange takes; sends take none."""
    key = exchange.key
    return (
        0.0
        if key.stages is not None
        else taken(exchange.algorithm, key.op, key.axis, exchange.pace_bytes_per_s)
    )


def _place(machine: SimulatedMachine, job: Job, options: EngineOptions, periods: int) -> _Placed:
    """Choose the ranks to simulate, compile the machine that they stand on."""
    plan = job.plan
    total = plan.gpus
    rank_map = map_ranks(
        plan, machine.domain_accelerators, machine.max_accelerators, packed=options.packed
    )
    slots = rank_map.slots(total)
    period = machine.period(slots)
    # defects and hashed paths do not repeat along dp
    repeats = options.fold and not options.slow and options.routing != "ecmp"
    small = stand_in(
        plan.replicas,
        stride=replica_stride(plan),
        machine_period=rank_map.ranks(period) if period < slots else total,
        block=dp_block(plan),
        domain=rank_map.used,
        periods=periods if repeats else plan.replicas,
    )
    ranks = total // plan.replicas * small.dp
    network = network_of(
        machine, rank_map.slots(ranks), cast(Routing, options.routing), options.seed
    )
    sides = torus_shape(network)
    if sides and math.prod(sides) >= ranks == total:
        rank_map = rank_map.on_torus(sides, plan)
    accelerators = rank_map.accelerators(ranks)
    if len(network.accelerator_nodes) <= accelerators[-1]:
        raise InvalidPlan(
            f"the plan needs {total} accelerators; the machine has {len(network.accelerator_nodes)}"
        )
    return _Placed(network=network, rank_map=rank_map, small=small, accelerators=accelerators)


def kernel_seconds(of: Sequence[Program], kernels: Kernels) -> dict[int, float]:
    """Return the seconds of every `Compute` of these programs, by its id."""
    items = {item.id: item for program in of for item in program.items}
    return {
        operation.id: kernels.compute_s(operation)
        for item in items.values()
        for operation in (item.operations if isinstance(item, Segment) else (item,))
        if isinstance(operation, Compute)
    }


def _run_until_it_recurs(
    job: Job,
    todo: list[int],
    repeat: Repeat,
    simulated: Callable[[tuple[Program, ...]], Simulation],
    programs_of: Callable[[Job], tuple[Program, ...]],
) -> tuple[Simulation, Splice | None, int]:
    """Simulate ever more micro-batches until a stretch recurs, at the latest all of them."""
    events = 0
    while True:
        batches = todo.pop(0)
        run = simulated(programs_of(_short(job, batches)))
        events += run.events
        if batches == job.micro_batches:
            return run, None, events
        splice, period = find_splice(run.programs, run.stages, run.logs, job, batches, repeat)
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


def _system(
    job: Job,
    placed: _Placed,
    weight: npt.NDArray[np.float64],
    kind: StepKind,
) -> System:
    """Return everything that the ranks of a job exchange; a few micro-batches say it all."""
    plan, dp = job.plan, placed.small.dp
    return build_system(
        placed.network,
        kind.programs(job),
        pipeline=axis_members(plan, "pp", dp),
        axis_members=lambda axis: axis_members(plan, axis, dp),
        true_size=lambda axis: axis_true_size(plan, axis),
        algorithm_of=lambda op, axis: kind.algorithm(plan, op, axis),
        accelerator_of=placed.accelerators,
        weight=weight,
    )


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
