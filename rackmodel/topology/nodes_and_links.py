"""Groups of equal nodes and of equal links, which know their number and are spelled out on demand.

In:  what `elements`, `scale_up` and `scale_out` say of a machine.
Out: `Nodes`, `Links` and `Elements`, all groups of a machine.
Left out: which groups a machine has (`elements`).

A group is a grid of places, such as (unit, group, chip): functions of its coordinates tell the
numbers of nodes, the last coordinate running fastest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np

from rackmodel.columns import Ints
from rackmodel.topology.description import Description
from rackmodel.topology.fabric import FabricPlan
from rackmodel.topology.kinds import Kind, Tier
from rackmodel.topology.shapes import Wire


def grid(sizes: tuple[int, ...]) -> list[Ints]:
    """Return the coordinates of every place of a grid, the last running fastest."""
    return [axis.ravel() for axis in np.indices(sizes, dtype=np.int64)]


def pairs(count: int) -> tuple[Ints, Ints]:
    """Return all pairs a < b of `count`, in ascending order."""
    a, b = np.triu_indices(count, 1)
    return a.astype(np.int64), b.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Nodes:
    """Equal nodes, each of which stands for `each` equal parts."""

    kind: Kind
    part: str
    tier: str  # where an inventory counts them
    sizes: tuple[int, ...]
    name: str  # filled by the coordinates
    number: Callable[..., Ints]  # of coordinates: places among all nodes
    facts: Callable[..., dict[str, Ints | int]]  # of coordinates
    each: int = 1
    link: str = ""  # of a NIC, outwards

    @property
    def count(self) -> int:
        """How many nodes there are."""
        return math.prod(self.sizes)


class Links(NamedTuple):
    """Equal links, both directions of each, of `each` parallel cables."""

    tier: Tier
    wire: Wire
    sizes: tuple[int, ...]
    ends: Callable[..., tuple[Ints, Ints]]  # of coordinates: nodes, the lower one first
    each: int = 1
    up_s: float = 0.0  # latency of the switch that is left upwards
    down_s: float = 0.0  # and downwards

    @property
    def cables(self) -> int:
        """How many cables there are."""
        return math.prod(self.sizes) * self.each

    def directed(self) -> Iterator[tuple[Ints, Ints, float]]:
        """Yield tails, heads and switch latency of one direction, then of the other.

        Of pairs in ascending order, each node's links then lead to its peers in ascending order.
        """
        low, high = self.ends(*grid(self.sizes))
        yield high, low, self.down_s
        yield low, high, self.up_s


@dataclass(frozen=True, slots=True)
class Elements:
    """All groups of a machine, and the facts of its graph."""

    facts: dict[str, Any]
    nodes: list[Nodes]
    links: list[Links]

    def __len__(self) -> int:
        """Count the nodes."""
        return sum(group.count for group in self.nodes)

    def names(self) -> list[str]:
        """Return the names of all nodes, in order."""
        names = [""] * len(self)
        for group in self.nodes:
            ids = grid(group.sizes)
            rows = zip(*(column.tolist() for column in ids), strict=True)
            for number, row in zip(group.number(*ids).tolist(), rows, strict=True):
                names[number] = group.name.format(*row)
        return names


class Names(Sequence[str]):
    """The names of all nodes, spelled out when one is read: a simulation needs none."""

    def __init__(self, elements: Elements) -> None:
        self._elements, self._count = elements, len(elements)
        self._found: list[str] | None = None

    def _all(self) -> list[str]:
        if self._found is None:
            self._found = self._elements.names()
        return self._found

    def __len__(self) -> int:
        """Count the nodes."""
        return self._count

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        """Return the name of a node, or of several."""
        return self._all()[place]

    def __iter__(self) -> Iterator[str]:
        """Go through the names, in order."""
        return iter(self._all())


class Asked(NamedTuple):
    """What of a machine is wanted."""

    machine: Description
    units: int
    size: int  # accelerators of a unit
    shape: tuple[int, ...] | None  # of a torus
    plan: FabricPlan | None
    bundled: bool

    @property
    def present(self) -> int:
        """Accelerators of all units."""
        return self.units * self.size

    def rack(self, accelerators: Ints) -> Ints:
        """Return where accelerators stand."""
        return accelerators // self.machine.rack_accelerators
