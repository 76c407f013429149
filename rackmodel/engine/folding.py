"""The system of a job and its quotient, kept for the next step that exchanges the same.

In:  a compiled network, programs and groups, where ranks stand, what tells them apart.
Out: `FoldedMachine`: every group, flow and link, and their classes.
Left out: seconds of kernels, and so everything that happens.

Steps that differ in kernels, clocks, schedules or numbers of micro-batches share what they
exchange. A network keeps the last systems that were built on it, by what they were built from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rackmodel.engine.drafts import Axes
from rackmodel.engine.groups import AcceleratorTree, digest
from rackmodel.engine.quotient import Quotient, fold
from rackmodel.engine.system import System, build_system
from rackmodel.network import Network
from rackmodel.network.arrays import remembered
from rackmodel.network.collectives.registry import ALGORITHM
from rackmodel.network.symmetry import Partition, label, refine, trivial_partition
from rackmodel.workload.operations import Program

MOST_CROSSINGS = 5_000_000  # of flows and links that a network keeps: about 200 MB


class FoldedMachine(NamedTuple):
    """The machine that was simulated: every group, flow and link of it, and their classes.

    crossings : how often flows cross links; those that channels share, once. What its size goes by.
    """

    system: System
    partition: Partition
    quotient: Quotient
    network: Network
    crossings: int

    @classmethod
    def of(
        cls, system: System, partition: Partition, quotient: Quotient, network: Network
    ) -> FoldedMachine:
        """Return a machine, its crossings counted."""
        found: list[npt.NDArray[np.int64]] = []
        for channel in system.channels:
            links = channel.paths.links
            if not any(links is other for other in found):
                found.append(links)
        return cls(system, partition, quotient, network, sum(map(len, found)))


class HowFolded(NamedTuple):
    """columns : what tells ranks apart beside their stage. fold : simulate what is alike once."""

    columns: Sequence[npt.NDArray[Any]]
    fold: bool


class _Kept:
    """The systems that a network keeps, those asked for longest ago first; crossings : of all."""

    def __init__(self, _: Network) -> None:
        self.machines: OrderedDict[tuple[object, ...], FoldedMachine] = OrderedDict()
        self.crossings = 0

    def trim(self, most: int, least: int = 0) -> None:
        """Forget systems until so many crossings are left."""
        while self.crossings > most and len(self.machines) > least:
            self.crossings -= self.machines.popitem(last=False)[1].crossings


_kept = remembered(_Kept)


def folded(
    network: Network,
    axes: Axes,
    programs: tuple[Program, ...],
    accelerator_of: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    how: HowFolded,
) -> FoldedMachine:
    """Return the folded system of a job; words as for `build_system`."""
    groups = axes.groups(programs)
    told = (accelerator_of, weight, axes.pipeline, *how.columns)
    key = (
        how.fold,
        tuple(ALGORITHM),
        tuple(map(digest, told)),
        tuple((k, digest(members), true, axes.named(k)) for k, members, true in groups),
    )
    kept = _kept(network)
    if key not in kept.machines:
        kept.trim(MOST_CROSSINGS // 2)  # or what is built and what is kept were one too many
        AcceleratorTree.of(network).trim(0.5)
        columns = how.columns if how.fold else None
        system = build_system(network, groups, axes, accelerator_of, weight, columns)
        partition = partition_of(system, how)
        found = FoldedMachine.of(system, partition, fold(system, partition), network)
        kept.machines[key] = found
        kept.crossings += found.crossings
    kept.machines.move_to_end(key)
    kept.trim(MOST_CROSSINGS, least=1)  # the last, too, as its results ask for it
    return kept.machines[key]


def crossings_kept(network: Network) -> int:
    """Return how often flows cross links in all that is kept of a network."""
    return AcceleratorTree.of(network).crossings + _kept(network).crossings


def forget_folded(network: Network) -> int:
    """Forget all that is kept of a network but its routes; return how many crossings that was."""
    found = crossings_kept(network)
    _kept(network).trim(-1)
    AcceleratorTree.of(network).placed.clear()
    return found


def partition_of(system: System, how: HowFolded) -> Partition:
    """Return which of a system's ranks, groups, flows and links are alike."""
    groups = system.groups()
    if not how.fold:
        return trivial_partition(len(system.stage), len(system.capacity), groups)
    told = (column[system.orbits.first] for column in how.columns)
    return refine(label(system.stage, *told), label(system.capacity), groups)
