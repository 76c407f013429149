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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from rackmodel.errors import CannotRun, InvalidInput, InvalidPlan
from rackmodel.network import Network, torus
from rackmodel.network.graph import Routing
from rackmodel.simulate.contention import Taken, pace
from rackmodel.simulate.folding import Partition, label, refine, trivial_partition
from rackmodel.simulate.networks import network_of
from rackmodel.simulate.pieces import Join, Piece, Pieces, cut, lockstep
from rackmodel.simulate.places import Places, places
from rackmodel.simulate.quotient import Quotient, fold
from rackmodel.simulate.ranks import Logged, Rank, World
from rackmodel.simulate.stand_in import PERIODS, StandIn, stand_in
from rackmodel.simulate.steady import Repeat, Splice, find_splice, trials
from rackmodel.simulate.system import Key, System, build_system
from rackmodel.simulate.traffic import Traffic
from rackmodel.workload import (
    axis_members,
    axis_true_size,
    dp_block,
    programs,
    replica_stride,
)
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Operation,
    Program,
    Recv,
    Segment,
    Send,
    Wait,
)

if TYPE_CHECKING:
    import networkx as nx

    from rackmodel.workload import Job


class TooSlow(CannotRun):
    """The step takes longer than the caller cares for."""


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


class Kernels(Protocol):
    """What the simulation needs of a kernel-time model."""

    def compute_s(self, compute: Compute) -> float:
        """Return the seconds of a block of kernels on one accelerator."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
    wall_s: float


def simulate_step(
    machine: Machine,
    job: Job,
    kernels: Kernels,
    *,
    taken: Taken = lambda algorithm, op, axis, bytes_per_s: 0.0,
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
    sides = torus.shape(network)
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
        accelerator_of=stands,
        weight=weight,
    )
    speed = _speeds(ranks, slow or {})
    partition = _partition(system, speed, do_fold)
    quotient = fold(system, partition)
    run, splice, events = _run_until_it_recurs(
        job, todo, repeat,
        lambda program: _Run(program, kernels, taken, system, quotient, speed, limit_s),
    )  # fmt: skip
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
        wall_s=time.perf_counter() - started,
    )


def _run_until_it_recurs(
    job: Job, todo: list[int], repeat: Repeat, make: Callable[[tuple[Program, ...]], _Run]
) -> tuple[_Run, Splice | None, int]:
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


@dataclass(slots=True, eq=False)
class _Run:
    """The simulation of one folded system."""

    programs: tuple[Program, ...]
    kernels: Kernels
    taken: Taken
    system: System
    quotient: Quotient
    speed: npt.NDArray[np.float64]
    limit_s: float = math.inf
    seconds: dict[int, float] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    env: Any = None
    world: Any = None
    _cuts: dict[tuple[int, float, frozenset[int]], list[tuple[int, int, tuple[Piece, ...]]]] = (
        field(default_factory=dict)
    )
    _worked: dict[Any, Any] = field(default_factory=dict)  # by pieces of `_cuts`; see `lockstep`
    _memberships: list[frozenset[int]] = field(default_factory=list)  # channels, per rank class

    def simulate(self) -> None:
        import simpy

        self.env = simpy.Environment()
        q = self.quotient
        traffic = Traffic(self.env, q.loads, q.capacity, q.cap)
        alone = {
            (kind.channel, kind.index): sum(
                traffic.alone(flows) + latency
                for flows, latency in zip(kind.rounds, kind.round_latency_s, strict=True)
            )
            for meetings in q.meetings
            for kind in meetings
        }
        share = tuple(
            0.0
            if channel.key.stages is not None
            else self.taken(
                channel.paths.algorithm[0], channel.key.op, channel.key.axis, pace(channel)
            )
            for channel in self.system.channels
        )
        self.world = World(self.env, q, traffic, alone, self.system.conflicts, share)
        member: list[set[int]] = [set() for _ in q.first_rank]
        for channel, joined in enumerate(q.joined):
            for number in joined:
                member[number].add(channel)
        self._memberships = [frozenset(channels) for channels in member]
        for number, first in enumerate(q.first_rank):
            stage = int(self.system.stage[first])
            rank = Rank(self.world, number, self._items(number, stage), stage)
            self.world.ranks.append(rank)
        waiting = [self.env.process(rank.process()) for rank in self.world.ranks]
        if self.limit_s < math.inf:
            while self.env.peek() <= self.limit_s:
                self.env.step()
            if self.env.peek() < math.inf:
                raise TooSlow(f"the step takes longer than {self.limit_s:.6g} s")
        else:
            self.env.run()
        stuck = [n for n, process in enumerate(waiting) if process.is_alive]
        if stuck:
            raise RuntimeError(
                f"rank classes {stuck[:8]} wait for each other for ever; open: "
                f"{list(self.world.open)[:4]}"
            )

    def _items(self, number: int, stage: int) -> list[tuple[int, Pieces]]:
        """Cut the program of one rank class; what recurs is cut once, also for other classes."""
        factor = float(self.speed[self.quotient.first_rank[number]])
        key = (stage, factor, self._memberships[number])
        if key not in self._cuts:
            self._cuts[key] = self._cut(number, stage, factor)
        known: dict[int, Pieces] = {}
        items = []
        for place, name, cut_up in self._cuts[key]:
            pieces = known.get(name)
            if pieces is None:
                segment = isinstance(self.programs[stage].items[place], Segment)
                steady = self._lockstep(cut_up, number) if segment else None
                pieces = known[name] = Pieces(cut_up, steady)
            items.append((place, pieces))
        return items

    def _cut(
        self, number: int, stage: int, factor: float
    ) -> list[tuple[int, int, tuple[Piece, ...]]]:
        """Return (place, name of its kind, pieces) of every item that leaves a trace."""
        known: dict[int, tuple[Piece, ...]] = {}
        gone: set[str] = set()
        items = []
        for place, item in enumerate(self.programs[stage].items):
            cut_up = known.get(id(item))
            if cut_up is None:
                operations = item.operations if isinstance(item, Segment) else (item,)
                cut_up = known[id(item)] = cut(
                    operations,
                    lambda compute: self._compute_s(compute) * factor,
                    lambda operation: self._channel(operation, stage, number),
                    gone,
                )
                for operation in operations:
                    if self._vanishes(operation, stage, number, gone):
                        self.silent.add(id(operation))
            if cut_up:
                items.append((place, id(item), cut_up))
        return items

    def _vanishes(self, operation: Operation, stage: int, number: int, gone: set[str]) -> bool:
        match operation:
            case Collective():
                return self._channel(operation, stage, number) is None
            case Wait():
                return operation.token in gone
        return False

    def _compute_s(self, compute: Compute) -> float:
        known = self.seconds.get(id(compute))
        if known is None:
            known = self.seconds[id(compute)] = self.kernels.compute_s(compute)
        return known

    def _channel(self, operation: Operation, stage: int, number: int) -> int | None:
        match operation:
            case Collective():
                key = Key(op=operation.op, axis=operation.axis, bytes=operation.bytes)
            case Send():
                key = _pipe(stage, operation.peer, operation.bytes)
            case Recv():
                key = _pipe(operation.peer, stage, operation.bytes)
            case _:
                raise TypeError(f"{operation} moves nothing")
        channel = self.system.index.get(key)
        if channel is None or isinstance(operation, Send | Recv):
            return channel
        return channel if number in self.quotient.joined[channel] else None

    def _lockstep(self, pieces: Any, number: int) -> Any:
        q = self.quotient

        def kind(channel: int) -> Any:
            return q.meetings[channel][q.joined[channel][number]]

        def team_of(channels: set[int]) -> tuple[int, ...]:
            team, queue = {number}, [number]
            while queue:
                member = queue.pop()
                for channel in channels:
                    for other in q.meetings[channel][q.joined[channel][member]].members:
                        if other not in team:
                            team.add(other)
                            queue.append(other)
            return tuple(sorted(team))

        steady = lockstep(
            pieces,
            team_of=team_of,
            members_of=lambda channel: kind(channel).members,
            alone_s=lambda channel: self.world.alone_s[channel, kind(channel).index],
            private=lambda channel: kind(channel).private,
            conflicts=lambda channel: self.system.conflicts[channel],
            overlap_share=lambda channel: self.world.overlap_share[channel],
            memo=self._worked,
        )
        if steady is None or len(steady.team) == 1:
            return steady
        used = {piece.channel for piece in pieces if isinstance(piece, Join)}
        return steady if self._alike(steady.team, used) else None

    def _alike(self, team: tuple[int, ...], channels: set[int]) -> bool:
        """Return whether all classes of a team take the same time for everything they do."""
        speeds = self.speed[self.quotient.first_rank[list(team)]]
        if not (speeds == speeds[0]).all():
            return False
        for channel in channels:
            kinds = [
                self.quotient.meetings[channel][self.quotient.joined[channel][member]]
                for member in team
            ]
            seconds = {self.world.alone_s[channel, kind.index] for kind in kinds}
            if len(seconds) > 1 or not all(kind.private for kind in kinds):
                return False
        return True


def _pipe(source: int, target: int, size: float) -> Key:
    return Key(op="send", axis="pp", bytes=size, stages=(source, target))
