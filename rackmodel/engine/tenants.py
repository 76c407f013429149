"""Several jobs on one machine at once: their programs on one clock, their flows in one network.

In:  a machine, jobs with the racks that they stand on, how many steps each runs.
Out: `simulate_tenants`: the ends of every job's steps, its log as a `Step`.
Left out: what a job is (`workload`), alone or served; power.

Each job keeps its programs, kernels and groups; what is shared is links, and with them max-min
shares. Jobs that share no link, directly or over others, are simulated apart: one does not change
the other by a bit. Nothing stands in for anything; ranks that are alike are folded over all jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Ints
from rackmodel.engine.drafts import Axes, Draft, drafts_of, stages_of
from rackmodel.engine.folding import FoldedMachine, HowFolded, partition_of
from rackmodel.engine.networks import network_of
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.orbits import Orbits
from rackmodel.engine.placing import SimulatedMachine
from rackmodel.engine.quotient import Quotient, fold
from rackmodel.engine.rank_logs import RankLog
from rackmodel.engine.rank_map import RankMap, map_ranks
from rackmodel.engine.simulation import Simulation
from rackmodel.engine.step import Kernels, Step, StepKind, kernel_seconds as kernel_seconds_of
from rackmodel.engine.system import System, exchange_kinds, joined_system
from rackmodel.errors import InvalidPlan
from rackmodel.kernels.contention import Taken
from rackmodel.network import Network, Routing
from rackmodel.workload import Job
from rackmodel.workload.operations import (
    Collective,
    Operation,
    Program,
    Segment,
    Transfer,
)
from rackmodel.workload.placement import axis_members, axis_true_size


@dataclass(frozen=True, kw_only=True, eq=False)
class Tenant:
    """A job on its racks.

    accelerators : int[n], the ones that it may stand on, in order. job : its plan complete; of a
    served job the one that carries its plan. cycle : the programs of its steps, one after another;
    the first follows the last. taken, slower : see `simulate_step`. first : the programs of its
    first step, where that is another one. in_order : rank r stands on accelerator r of its own,
    whatever groups are torn apart; an accelerator may be there more than once.
    """

    name: str
    job: Job
    kernels: Kernels
    kind: StepKind
    accelerators: Ints
    cycle: Sequence[tuple[Program, ...]]
    taken: Taken = lambda algorithm, op, axis, bytes_per_s: 0.0
    slower: float = 1.0
    first: tuple[Program, ...] = ()
    in_order: bool = False

    def program(self, turn: int, stage: int) -> Program:
        """Return what a stage does in one of the steps."""
        programs = self.cycle[turn % len(self.cycle)] if turn or not self.first else self.first
        return programs[stage]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stay:
    """A tenant's time on the machine: when each of its steps ended, and its log as one step."""

    tenant: Tenant
    ends_s: tuple[float, ...]
    step: Step

    @property
    def steps_s(self) -> tuple[float, ...]:
        """The seconds of each step."""
        return tuple(b - a for a, b in pairwise((0.0, *self.ends_s)))


@dataclass(slots=True, eq=False)
class _Placed:
    """A tenant on the network: its ranks and pipeline ranks are numbered after those before it."""

    tenant: Tenant
    rank_map: RankMap
    where: Ints
    pipeline: Ints
    drafts: list[Draft] = field(default_factory=list)
    links: frozenset[int] = frozenset()


def simulate_tenants(
    machine: SimulatedMachine,
    tenants: Sequence[Tenant],
    steps: Sequence[int],
    options: EngineOptions | None = None,
) -> list[Stay]:
    """Simulate jobs at once, each for a number of steps; all begin at time 0.

    Raises
    ------
    InvalidPlan
        If the ranks of a job can't be placed on its racks.
    """
    options = options or EngineOptions()
    slots = 1 + max(int(one.accelerators.max()) for one in tenants)
    network = network_of(machine, slots, cast(Routing, options.routing), options.seed)
    placed = [_place(machine, network, tenant, options) for tenant in tenants]
    stays: dict[int, Stay] = {}
    for group in _meeting(placed):
        found = _simulate(network, [placed[n] for n in group], [steps[n] for n in group], options)
        stays |= dict(zip(group, found, strict=True))
    return [stays[number] for number in range(len(placed))]


def _place(
    machine: SimulatedMachine, network: Network, tenant: Tenant, options: EngineOptions
) -> _Placed:
    plan = tenant.job.plan
    rank_map = map_ranks(
        plan, machine.domain_accelerators, machine.max_accelerators, packed=options.packed
    )
    if tenant.in_order:
        rank_map = RankMap(domain=plan.gpus, used=plan.gpus)
    spots = rank_map.accelerators(plan.gpus)
    if spots[-1] >= len(tenant.accelerators):
        raise InvalidPlan(
            f"{tenant.name}: its ranks stand on {spots[-1] + 1:,} accelerators, its racks have"
            f" {len(tenant.accelerators):,}; give it more racks"
        )
    where = tenant.accelerators[spots]
    placed = _Placed(tenant, rank_map, where, axis_members(plan, "pp", plan.replicas))
    cycle = [program for programs in (*tenant.cycle, tenant.first) for program in programs]
    every = tuple(
        Program(
            pipeline_rank=stage,
            items=tuple(i for p in cycle if p.pipeline_rank == stage for i in p.items),
            micro_batches=(),
        )
        for stage in range(plan.pp)
    )
    axes = Axes(
        pipeline=placed.pipeline,
        members=lambda axis: axis_members(plan, axis, plan.replicas),
        true_size=lambda axis: axis_true_size(plan, axis),
        algorithm=lambda op, axis: tenant.kind.algorithm(plan, op, axis),
    )
    weight, none = np.ones(plan.gpus), Orbits.none(network, plan.gpus)
    placed.drafts = drafts_of(network, axes.groups(every), axes.algorithm, where, weight, none)
    placed.links = frozenset(
        int(link) for draft in placed.drafts for link in np.unique(draft.flows.links)
    )
    return placed


def _meeting(placed: Sequence[_Placed]) -> list[list[int]]:
    """Return the tenants that share links, directly or over others, group by group."""
    groups: list[tuple[list[int], set[int]]] = []
    for number, one in enumerate(placed):
        mine, links = [number], set(one.links)
        for other in [group for group in groups if group[1] & links]:
            groups.remove(other)
            mine, links = other[0] + mine, links | other[1]
        groups.append((mine, links))
    return [sorted(members) for members, _ in groups]


def _simulate(
    network: Network, placed: Sequence[_Placed], steps: Sequence[int], options: EngineOptions
) -> list[Stay]:
    """Simulate tenants whose flows meet."""
    bases = np.cumsum([0, *(len(one.where) for one in placed)])
    firsts = np.cumsum([0, *(one.tenant.job.plan.pp for one in placed)])
    drafts: list[Draft] = []
    owner: list[int] = []
    for number, one in enumerate(placed):
        for draft in one.drafts:
            key = draft.key
            stages = key.stages and (key.stages[0] + firsts[number], key.stages[1] + firsts[number])
            named = key._replace(axis=_named(key.axis, number), stages=stages)
            drafts.append(draft._replace(key=named, members=draft.members + bases[number]))
            owner.append(number)
    stage = np.concatenate(
        [stages_of(one.pipeline) + first for one, first in zip(placed, firsts, strict=False)]
    )
    system = joined_system(network, stage, drafts, Orbits.none(network, len(stage)))
    programs, items = _programs(placed, steps, firsts.tolist())
    partition = partition_of(system, HowFolded((), options.fold))
    quotient = _slowed(fold(system, partition), owner, [one.tenant.slower for one in placed])
    shares = _overlap(system, owner, [one.tenant for one in placed])
    seconds: dict[int, float] = {}
    for one, first in zip(placed, firsts.tolist(), strict=False):
        own = programs[first : first + one.tenant.job.plan.pp]
        seconds |= kernel_seconds_of(own, one.tenant.kernels)
    even = np.zeros(len(stage), dtype=np.int64)
    run = Simulation(programs, (seconds,), system, quotient, even, shares, engine=options.engine)
    run.simulate(options.limit_s)
    machine = FoldedMachine.of(system, partition, quotient, network)
    return [
        _stay(one, run, machine, (int(bases[n]), int(firsts[n])), items[n])
        for n, one in enumerate(placed)
    ]


def _named(axis: str, number: int) -> str:
    """Return the axis of one of several jobs; the first keeps its own words."""
    return f"{axis}@{number}" if number else axis


def _programs(
    placed: Sequence[_Placed], steps: Sequence[int], firsts: Sequence[int]
) -> tuple[tuple[Program, ...], list[list[int]]]:
    """Return the programs of all tenants over all steps, and where each step begins in them."""
    programs: list[Program] = []
    begins: list[list[int]] = []
    for number, one in enumerate(placed):
        first = firsts[number]
        known: dict[int, Segment] = {}
        begin = [0]
        for stage in range(one.tenant.job.plan.pp):
            items: list[Operation | Segment] = []
            batches: list[int] = []
            begin = [0]
            for turn in range(steps[number]):
                program = one.tenant.program(turn, stage)
                rename = _Renaming(number, first, turn)
                items += [rename.item(item, known) for item in program.items]
                batches += program.micro_batches
                begin.append(len(items))
            programs.append(
                Program(
                    pipeline_rank=first + stage, items=tuple(items), micro_batches=tuple(batches)
                )
            )
            begins.append(begin)
    per_tenant = [
        begins[firsts[n] : firsts[n] + one.tenant.job.plan.pp] for n, one in enumerate(placed)
    ]
    return tuple(programs), [_flat(one) for one in per_tenant]


def _flat(begins: Sequence[Sequence[int]]) -> list[int]:
    return [place for begin in begins for place in begin]


@dataclass(frozen=True, slots=True)
class _Renaming:
    """Words of one job in one step, made its own: axes, peers, names of sends."""

    number: int
    first: int
    turn: int

    def item(self, item: Operation | Segment, known: dict[int, Segment]) -> Operation | Segment:
        if not isinstance(item, Segment):
            return self.operation(item)
        sends = any(isinstance(one, Transfer) for one in item.operations)
        if sends:
            return Segment(
                name=item.name,
                phase=item.phase,
                operations=tuple(self.operation(one) for one in item.operations),
            )
        if item.id not in known:
            known[item.id] = Segment(
                name=item.name,
                phase=item.phase,
                operations=tuple(self.operation(one) for one in item.operations),
            )
        return known[item.id]

    def operation(self, one: Operation) -> Operation:
        if isinstance(one, Collective):
            return replace(one, axis=_named(one.axis, self.number))
        if isinstance(one, Transfer):
            return replace(one, peer=one.peer + self.first, name=f"{one.name}, step {self.turn}")
        return one


def _slowed(quotient: Quotient, owner: Sequence[int], slower: Sequence[float]) -> Quotient:
    """Let the bytes of each tenant take as much longer as its library's do."""
    loads, cap = list(quotient.loads), list(quotient.cap)
    for meetings in quotient.meetings:
        for kind in meetings:
            factor = slower[owner[kind.channel]]
            if factor == 1.0:
                continue
            for flow in {flow for flows in kind.rounds for flow, _ in flows}:
                loads[flow] = [(link, load * factor) for link, load in quotient.loads[flow]]
                cap[flow] = quotient.cap[flow] / factor
    return quotient._replace(loads=loads, cap=cap)


def _overlap(system: System, owner: Sequence[int], tenants: Sequence[Tenant]) -> tuple[float, ...]:
    """Return the share of compute units that the exchanges of each channel take."""
    kinds = [exchange_kinds(system, one.slower) for one in tenants]
    shares = []
    for channel, number in enumerate(owner):
        kind = kinds[number][channel]
        share = 0.0
        if kind.key.stages is None:
            axis = kind.key.axis.partition("@")[0]
            share = tenants[number].taken(kind.algorithm, kind.key.op, axis, kind.pace_bytes_per_s)
        shares.append(share)
    return tuple(shares)


def _stay(
    one: _Placed,
    run: Simulation,
    machine: FoldedMachine,
    offsets: tuple[int, int],
    begins: Sequence[int],
) -> Stay:
    """Return what a tenant's ranks did, as a step of its own with all its steps in it."""
    base, first = offsets
    pp, ranks = one.tenant.job.plan.pp, len(one.where)
    classes = machine.partition.rank[base : base + ranks]
    mine, where, count = np.unique(classes, return_inverse=True, return_counts=True)
    logs = [run.logs[number] for number in mine.tolist()]
    stages = machine.system.stage[machine.quotient.first_rank[mine]] - first
    per_stage = len(begins) // pp
    ends = np.zeros(per_stage - 1)
    for log, stage in zip(logs, stages.tolist(), strict=True):
        begin = begins[stage * per_stage : (stage + 1) * per_stage]
        _note_ends(ends, log, begin)
    length = float(ends[-1])
    step = Step(
        job=one.tenant.job,
        step_s=length,
        splices=(),
        logs=tuple(logs),
        rank_stage=stages,
        rank_count=count,
        rank_class=where.reshape(-1),
        rank_weight=np.ones(ranks),
        programs=run.programs[first : first + pp],
        seconds=run.seconds[0],
        silent=frozenset(run.silent),
        exchanges=exchange_kinds(machine.system, one.tenant.slower),
        rank_map=one.rank_map,
        folding=lambda: machine,
        events=run.events,
        engine=run.engine,
        wall_s=0.0,
    )
    return Stay(tenant=one.tenant, ends_s=tuple(ends.tolist()), step=step)


def _note_ends(ends: npt.NDArray[np.float64], log: RankLog, begin: Sequence[int]) -> None:
    """Put the end of each step of a rank class into the ends of all; steps end in order."""
    turns = np.searchsorted(np.asarray(begin[1:]), log.item, side="right")
    np.maximum.at(ends, turns, log.end_s)
    np.maximum.accumulate(ends, out=ends)
