"""One training step on one machine: from a topology and a job to what every rank did and when.

In:  a topology, a job with a complete plan, kernel times.
Out: `Step`: the step's seconds, the log of every rank class, and how many ranks each class stands
     for.
Left out: tables for people, power, cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from rackmodel.engine.drafts import Axes
from rackmodel.engine.drift import drifted
from rackmodel.engine.folding import FoldedMachine, HowFolded, folded
from rackmodel.engine.garbage import uncollected
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.placing import Placed, SimulatedMachine, place
from rackmodel.engine.rank_logs import RankLog
from rackmodel.engine.rank_map import RankMap
from rackmodel.engine.ranks import Late
from rackmodel.engine.recurrence import Repeat, Splice, Trial, find_splices, trials
from rackmodel.engine.simulation import Simulation, hands_of
from rackmodel.engine.stand_in import StandIn
from rackmodel.engine.system import ExchangeKind, exchange_kinds
from rackmodel.errors import CannotRun
from rackmodel.kernels.contention import Taken
from rackmodel.network.symmetry import PERIODS
from rackmodel.workload import Job, Plan, programs
from rackmodel.workload.operations import Compute, Program, operations_of
from rackmodel.workload.placement import (
    axis_members,
    axis_true_size,
    exchange_algorithm,
)

_STEPS: ContextVar[list[int] | None] = ContextVar("steps", default=None)
MOST_WALKED = 100_000  # micro-batches one by one: ten gigabytes of logs with 16 ranks


class Kernels(Protocol):
    """What the simulation needs of a kernel-time model."""

    def compute_s(self, compute: Compute) -> float:
        """Return the seconds of a block of kernels on one accelerator."""
        ...


class MixedKernels(Kernels, Protocol):
    """What it needs of them where accelerators differ."""

    @property
    def others(self) -> Mapping[str, Kernels]:
        """The same on other accelerators, by their ids."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Step:
    """What a simulated step left behind.

    logs : one per rank class. rank_stage, rank_count : pipeline rank of each class, and ranks of
    the whole machine in it. rank_class, rank_weight : per simulated rank, its class and the ranks
    that it stands for. rank_part : the accelerator of each class, "" for the usual; empty where
    none differs. splices : for each rank class the stretch of its log that recurs; none if no
    micro-batches were skipped. folding : folds the machine, hundreds of megabytes for a large one,
    once more where its network no longer keeps it; None in a step that travelled. cables : of the
    whole machine by tier and kind, where fewer were simulated.
    """

    job: Job
    step_s: float
    splices: tuple[Splice, ...]
    logs: tuple[RankLog, ...]
    rank_stage: npt.NDArray[np.int64]
    rank_count: npt.NDArray[np.int64]
    rank_class: npt.NDArray[np.int64]
    rank_weight: npt.NDArray[np.float64]
    programs: tuple[Program, ...]
    seconds: Mapping[int, float]  # by id of a Compute
    silent: frozenset[int]  # ids of operations of a group of one
    exchanges: tuple[ExchangeKind, ...]
    rank_map: RankMap
    folding: Callable[[], FoldedMachine] | None
    events: int
    engine: str  # that walked through the events: simpy or compiled
    wall_s: float
    rank_part: tuple[str, ...] = ()
    cables: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def machine(self) -> FoldedMachine:
        """The machine that was simulated, of a step that has not travelled."""
        assert self.folding is not None, "a step that was pickled has left its machine behind"
        return self.folding()

    def splice_of(self, number: int) -> Splice | None:
        """Return the stretch that recurs in the log of a rank class, if any was skipped."""
        return self.splices[number] if self.splices else None

    @property
    def stage_ranks(self) -> npt.NDArray[np.float64]:
        """Ranks of the whole machine on each pipeline rank."""
        ranks = np.zeros(len(self.programs))
        np.add.at(ranks, self.rank_stage, self.rank_count)
        return ranks

    def visits(self, number: int) -> npt.NDArray[np.int64]:
        """Return how often a rank class comes by each item of its program in the whole step."""
        visits = np.ones(len(self.programs[self.rank_stage[number]].items), dtype=np.int64)
        if (splice := self.splice_of(number)) is not None:
            at, begin = splice.at_s, splice.at_s - splice.period_s
            first = np.full(len(visits), np.inf)
            log = self.logs[number]
            np.minimum.at(first, log.item, log.start_s)
            tolerance = 1e-12 * self.step_s
            again = (first >= begin - tolerance) & (first < at - tolerance)
            visits[again] += splice.times
        return visits

    def stage_visits(self) -> dict[int, npt.NDArray[np.int64]]:
        """Return how often the ranks of each pipeline rank come by each item of its program."""
        stages, first = np.unique(self.rank_stage, return_index=True)
        pairs = zip(stages.tolist(), first.tolist(), strict=True)
        return {stage: self.visits(number) for stage, number in pairs}


class StepKind(NamedTuple):
    """What the ranks do in a step of a job, and how its software runs a collective.

    algorithm : of (plan, operation, axis); several where the quickest runs, None where the library
    chooses.
    """

    programs: Callable[[Job], tuple[Program, ...]]
    algorithm: Callable[[Plan, str, str], str | Sequence[str] | None]


@contextmanager
def counting() -> Iterator[list[int]]:
    """Count the steps that are simulated inside: one number, in a list."""
    steps = [0]
    token = _STEPS.set(steps)
    try:
        yield steps
    finally:
        _STEPS.reset(token)


TRAINING = StepKind(programs=programs, algorithm=exchange_algorithm)


@uncollected()
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
    if (steps := _STEPS.get()) is not None:
        steps[0] += 1
    options = options or EngineOptions()
    placed = place(machine, job, options, periods)
    weight = _rank_weights(job, placed.small)
    todo = list(trials(job, options.repeat))
    _check_walk(todo[0].batches, options.repeat)
    hands = hands_of(placed.speed, placed.parts)
    how = HowFolded(hands.columns(), options.fold)
    folding = partial(_folded, _short(job, todo[0].batches), placed, weight, kind, how)
    machine_folded = folding()
    system, quotient = machine_folded.system, machine_folded.quotient
    orbits = system.orbits
    exchanges = exchange_kinds(system, transfers_slower)
    overlap_share = tuple(_taken_by(exchange, taken) for exchange in exchanges)

    def simulated(program: tuple[Program, ...], late: Late | None = None) -> Simulation:
        seconds = tuple(kernel_seconds(program, kernels, *hand) for hand in hands.kinds)
        how = hands.kind[orbits.first], overlap_share, transfers_slower
        run = Simulation(program, seconds, system, quotient, *how, options.engine, late)
        run.simulate(options.limit_s)
        return run

    walked = _run_until_it_recurs(job, todo, options.repeat, simulated, kind.programs)
    run = walked.run
    rank_class = machine_folded.partition.rank[orbits.rank]
    count = np.bincount(rank_class, weights=weight, minlength=len(quotient.first_rank))
    return Step(
        job=job,
        step_s=walked.step_s,
        splices=walked.splices,
        logs=tuple(walked.logs),
        rank_stage=system.stage[quotient.first_rank],
        rank_count=np.round(count).astype(np.int64),
        rank_class=rank_class,
        rank_weight=weight,
        programs=run.programs,
        seconds=run.seconds[0] if hands.plain else kernel_seconds(run.programs, kernels),
        silent=frozenset(run.silent),
        exchanges=exchanges,
        rank_map=placed.rank_map,
        folding=folding,
        events=walked.events,
        engine=run.engine,
        wall_s=time.perf_counter() - started,
        rank_part=hands.parts(hands.kind[orbits.first][quotient.first_rank]),
        cables=placed.cables,
    )


def _taken_by(exchange: ExchangeKind, taken: Taken) -> float:
    """Return the share of the compute units that an exchange takes; sends take none."""
    key = exchange.key
    return (
        0.0
        if key.stages is not None
        else taken(exchange.algorithm, key.op, key.axis, exchange.pace_bytes_per_s)
    )


def kernel_seconds(
    of: Sequence[Program], kernels: Kernels, slower: float = 1.0, part: str = ""
) -> dict[int, float]:
    """Return the seconds of every `Compute` of these programs, by its id.

    slower : time over the usual. part : another accelerator, one of the `others` of the kernels.
    """
    times = cast(MixedKernels, kernels).others[part] if part else kernels
    items = {item.id: item for program in of for item in program.items}
    return {
        operation.id: times.compute_s(operation) * slower
        for item in items.values()
        for operation in operations_of(item)
        if isinstance(operation, Compute)
    }


class _Walked(NamedTuple):
    """A step of which some micro-batches were simulated."""

    run: Simulation
    step_s: float
    logs: Sequence[RankLog]
    splices: tuple[Splice, ...]
    events: int


def _run_until_it_recurs(
    job: Job,
    todo: list[Trial],
    repeat: Repeat,
    simulated: Callable[..., Simulation],
    programs_of: Callable[[Job], tuple[Program, ...]],
) -> _Walked:
    """Simulate ever more micro-batches until what they do recurs, at the latest all of them."""
    events = 0
    while True:
        batches, unsure = todo.pop(0)
        _check_walk(batches, repeat)
        program = programs_of(_short(job, batches))
        run = simulated(program)
        events += run.events
        if batches == job.micro_batches:
            return _Walked(run, run.end_s, run.logs, (), events)
        splices, period = find_splices(run, job, batches, unsure)
        if len(set(splices)) > 1:
            late = drifted(run, splices, partial(simulated, program))
            if late is not None:
                end_s, logs, more_events = late
                return _Walked(run, end_s, logs, splices, events + more_events)
        elif splices:
            return _Walked(run, run.end_s + splices[0].added_s, run.logs, splices, events)
        elif period:
            # the period is known: leave out a whole number of them
            more = batches + (job.micro_batches - batches) % period
            again = Trial(min(more, job.micro_batches), unsure)
            todo = [again, *(later for later in todo if later.batches > more)]


def _check_walk(micro_batches: int, repeat: Repeat) -> None:
    """Refuse to walk more micro-batches one by one than logs can hold."""
    if micro_batches <= MOST_WALKED:
        return
    why = "were asked for one by one" if repeat == "all" else "do not repeat"
    raise CannotRun(
        f"the {micro_batches:,} micro-batches of the step {why}, at most {MOST_WALKED:,} are"
        " walked; give repeat 'estimate', or a lower global batch"
    )


def _short(job: Job, micro_batches: int) -> Job:
    """Return the job with another number of micro-batches."""
    plan = job.plan
    return job.replace(global_batch=micro_batches * plan.replicas * plan.micro_batch)


def _folded(
    job: Job, placed: Placed, weight: npt.NDArray[np.float64], kind: StepKind, how: HowFolded
) -> FoldedMachine:
    """Return what the ranks of a job exchange, folded; a few micro-batches say it all."""
    plan, dp = job.plan, placed.small.dp
    axes = Axes(
        pipeline=axis_members(plan, "pp", dp),
        members=lambda axis: axis_members(plan, axis, dp),
        true_size=lambda axis: axis_true_size(plan, axis),
        algorithm=lambda op, axis: kind.algorithm(plan, op, axis),
    )
    return folded(placed.network, axes, kind.programs(job), placed.accelerators, weight, how)


def _rank_weights(job: Job, small: StandIn) -> npt.NDArray[np.float64]:
    replicas = axis_members(job.plan, "model", small.dp)
    weight = np.empty(replicas.size)
    weight[replicas] = small.weight[:, None]
    return weight
