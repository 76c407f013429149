"""Where the ranks of a step stand: how many are simulated, on which accelerators, how fast each is.

In:  a topology, a job, the engine's options.
Out: `Placed`.
Left out: what the ranks do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from rackmodel.annotations import DiGraph
from rackmodel.engine.defects import Defects, defects_of
from rackmodel.engine.networks import network_of
from rackmodel.engine.options import EngineOptions
from rackmodel.engine.rank_map import RankMap, around, map_ranks
from rackmodel.engine.stand_in import StandIn, stand_in
from rackmodel.errors import CannotRun, InvalidInput, InvalidPlan
from rackmodel.fields import MOST_WHOLE
from rackmodel.network import Network, Routing, torus_shape
from rackmodel.workload import Job
from rackmodel.workload.placement import dp_block, replica_stride


class SimulatedMachine(Protocol):
    """What the simulation needs of a topology."""

    def graph(self, accelerators: int, *, bundled: bool = False) -> DiGraph[Any]:
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


class Placed(NamedTuple):
    """The ranks that are simulated, and where they stand."""

    network: Network
    rank_map: RankMap
    small: StandIn
    accelerators: npt.NDArray[np.int64]  # of each simulated rank
    speed: npt.NDArray[np.float64]  # of each simulated rank: time of its kernels over the usual
    parts: tuple[str, ...]  # of each simulated rank, where one has another accelerator
    cables: Mapping[tuple[str, str], int]  # see `Step`


def place(machine: SimulatedMachine, job: Job, options: EngineOptions, periods: int) -> Placed:
    """Choose the ranks to simulate, compile the machine that they stand on."""
    plan = job.plan
    total = plan.gpus
    domain, most = machine.domain_accelerators, machine.max_accelerators
    rank_map = map_ranks(plan, domain, most, packed=options.packed)
    found = None
    if options.uneven or (options.placement and not options.walked):
        rank_map, found = _around(machine, job, rank_map, options)
    slots = rank_map.slots(total)
    period = machine.period(slots)
    # defects and hashed paths do not repeat along dp
    repeats = options.fold and not options.uneven and options.routing != "ecmp"
    small = stand_in(
        plan.replicas,
        stride=replica_stride(plan),
        machine_period=rank_map.ranks(period) if period < slots else total,
        block=dp_block(plan),
        domain=rank_map.used,
        periods=periods if repeats else plan.replicas,
    )
    ranks = total // plan.replicas * small.dp
    tiers_of = getattr(machine, "tiers_of", None)
    standing = machine if tiers_of is None or ranks == total else tiers_of(slots)
    network = found.network if found else _network(standing, rank_map.slots(ranks), options)
    sides = torus_shape(network)
    if options.walked and (not sides or len(options.walked) != len(sides)):
        raise InvalidInput(
            f"placement {', '.join(map(str, options.walked))} names dimensions of a torus; this"
            f" machine has {len(sides or ())}: give accelerators of each domain"
        )
    if sides and (rank_map.chosen or (options.placement and not options.walked)):
        raise CannotRun(
            "ranks of a torus fill a slice of it: none of its accelerators can be left out"
            " (broken), nor a domain be filled in part (placement)"
        )
    if sides and math.prod(sides) >= ranks == total:
        rank_map = rank_map.on_torus(sides, plan, options.walked)
    accelerators = rank_map.accelerators(ranks)
    if len(network.accelerator_nodes) <= accelerators[-1]:
        raise InvalidPlan(
            f"the plan needs {total} accelerators; the machine has {len(network.accelerator_nodes)}"
        )
    count = getattr(machine, "cables", None)
    speed, parts = _speeds(ranks, options.slow), tuple[str, ...]()
    if found is not None:
        found.check(accelerators)
        speed *= [found.slower.get(a, 1.0) for a in accelerators.tolist()]
        if found.parts:
            parts = tuple(found.parts.get(a, "") for a in accelerators.tolist())
    return Placed(
        network=network,
        rank_map=rank_map,
        small=small,
        accelerators=accelerators,
        speed=speed,
        parts=parts,
        cables={} if ranks == total or count is None else count(slots),
    )


def _network(
    machine: SimulatedMachine, slots: int, options: EngineOptions, bundled: bool = True
) -> Network:
    how = cast(Routing, options.routing), options.seed
    if bundled:
        return network_of(machine, slots, *how)
    return Network.from_graph(machine.graph(slots), routing=how[0], seed=how[1])


def _around(
    machine: SimulatedMachine, job: Job, usual: RankMap, options: EngineOptions
) -> tuple[RankMap, Defects | None]:
    """Return where ranks stand on a machine with defects, or as a user says, and its defects."""
    ranks, most = job.plan.gpus, machine.max_accelerators or MOST_WHOLE
    put = partial(around, ranks, usual, most, counts=options.placement, packed=options.packed)
    rank_map = put() if options.placement else usual
    if not options.uneven:
        return rank_map, None
    slots, rack = rank_map.slots(ranks), getattr(machine, "rack_accelerators", usual.domain)
    while True:
        compiled = partial(_network, machine, slots, options)
        found = defects_of(compiled, max(1, rack), options)
        if found.broken or rank_map.chosen:
            rank_map = put(broken=found.broken)
        if rank_map.slots(ranks) <= len(found.network.accelerator_nodes):
            return rank_map, found
        slots = rank_map.slots(ranks)


def _speeds(ranks: int, slow: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return how much longer the kernels of ranks take that are named by their number."""
    speed = np.ones(ranks)
    for rank, factor in slow.items():
        if not rank.isdecimal():
            continue
        if int(rank) >= ranks:
            raise InvalidInput(f"slow: no rank {rank}; give ranks of 0 to {ranks - 1}")
        speed[int(rank)] = factor
    return speed
