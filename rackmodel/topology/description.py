"""What a machine is made of, at any size: a row of equal units and the fabric that joins them.

In:  what `toml_file` or `graph_file` has read.
Out: `Description`: sizes, limits, fabric plan and period for any number of accelerators.
Left out: nodes and links (`elements`); graphs and inventories of it (`topology`).

A unit is one scale-up domain: a node, a rack, several racks, or a slice of a torus.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from rackmodel.annotations import DiGraph
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.topology.fabric import Fabric, FabricPlan, most_units, plan_fabric
from rackmodel.topology.kinds import Kind
from rackmodel.topology.shapes import Host, Nics, ScaleUp, Torus

MOST_ACCELERATORS = 100_000_000
"""More than anyone will own; a larger number is a slip."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Description:
    """A machine of any size, described and not enumerated; or one fixed graph of a user.

    `domain_accelerators` counts one scale-up domain, `rack_accelerators` one rack position and
    `chassis_accelerators` one chassis of the hardware catalog. `own_graph` is None for a
    description. `notes` say what a user changed.
    """

    name: str
    title: str
    accelerator: str  # catalog id; "" for a graph that names none
    scale_up: ScaleUp | None
    host: Host | None
    nics: Nics | None
    fabric: Fabric | None
    chassis: str = ""
    chassis_accelerators: int = 1
    rack_accelerators: int = 1
    power_shelves: int = 0
    year: int = 0
    published: Mapping[str, Any] = field(default_factory=dict, hash=False)
    source_text: str = ""
    changes: Mapping[str, object] = field(default_factory=dict, hash=False)  # put over the file
    notes: tuple[str, ...] = ()
    own_graph: DiGraph[Any] | None = field(default=None, compare=False)

    @property
    def domain_accelerators(self) -> int:
        """Accelerators of a whole scale-up domain (a node, a rack, a pod of a torus)."""
        if self.own_graph is not None:
            return int(self.own_graph.graph["domain"])
        assert self.scale_up is not None  # a description always has one
        return self.scale_up.accelerators

    @property
    def max_accelerators(self) -> int:
        """Accelerators of the largest machine of this kind."""
        if self.own_graph is not None:
            return int(self.own_graph.graph["accelerators"])
        units = 1 if self.fabric is None else most_units(self.fabric, self.nics_per_unit)
        return units * self.domain_accelerators

    @property
    def nics_per_accelerator(self) -> float:
        """NICs over accelerators; 0 where there are none."""
        if self.own_graph is not None:
            kinds = [data["kind"] for _, data in self.own_graph.nodes(data=True)]
            return kinds.count(Kind.NIC) / max(1, kinds.count(Kind.ACCELERATOR))
        if self.nics is None or self.host is None:
            return 0.0
        return self.nics.per_host / self.host.accelerators

    @property
    def nic_link(self) -> str:
        """Catalog id of the link from NIC to leaf; "" where there are no NICs."""
        return "" if self.nics is None else self.nics.wire.link

    @property
    def nic_bytes_per_s(self) -> float:
        """Scale-out rate of one accelerator, one direction. [bytes/s]"""
        return 0.0 if self.nics is None else self.nics_per_accelerator * self.nics.wire.bytes_per_s

    @property
    def nics_per_unit(self) -> int:
        """NICs of one unit (domain)."""
        if self.nics is None or self.host is None:
            return 0
        return self.domain_accelerators // self.host.accelerators * self.nics.per_host

    def units(self, accelerators: int) -> int:
        """Return how many domains a job on so many accelerators stands on.

        Raises
        ------
        CannotRun
            If the machine has fewer accelerators.
        """
        if accelerators < 1:
            raise InvalidInput(f"{accelerators} accelerators: at least 1 is needed")
        if accelerators > MOST_ACCELERATORS:
            raise InvalidInput(
                f"{accelerators:,} accelerators: more than {MOST_ACCELERATORS:,} is a slip? give"
                " fewer"
            )
        most = self.max_accelerators
        if accelerators > most:
            raise CannotRun(
                f"{accelerators:,} accelerators are wanted; topology {self.name!r} has at most"
                f" {most:,}" + self._how_to_grow()
            )
        return -(-accelerators // self.domain_accelerators)

    def _how_to_grow(self) -> str:
        if self.own_graph is not None:
            return " (its graph is fixed)"
        if self.fabric is None:
            return "; add a [fabric] and [nics] to join more"
        return "; give its [fabric] another kind or switches of more ports"

    def slice_shape(self, accelerators: int) -> tuple[int, ...] | None:
        """Return the shape of the slice of a torus that so many accelerators get; None
        elsewhere."""
        if isinstance(self.scale_up, Torus):
            return self.scale_up.slice_shape(min(accelerators, self.domain_accelerators))
        return None

    def present(self, accelerators: int) -> int:
        """Return the accelerators of the whole units that a job on so many stands on."""
        units = self.units(accelerators)
        shape = self.slice_shape(accelerators)
        if shape is not None and units == 1:
            return math.prod(shape)
        if self.own_graph is not None:
            return self.domain_accelerators if units == 1 else self.max_accelerators
        return units * self.domain_accelerators

    def plan(self, accelerators: int) -> FabricPlan | None:
        """Return the sizes of the fabric's tiers for so many accelerators; None without a
        fabric."""
        if self.fabric is None:
            return None
        return plan_fabric(
            self.fabric, self.units(accelerators), self.nics_per_unit, f"{self.name}: fabric"
        )

    def tiers_of(self, accelerators: int) -> Self:
        """Return this machine with the tiers that so many accelerators need, however few are
        built."""
        plan = None if self.fabric is None else self.plan(accelerators)
        if self.fabric is None or plan is None or not plan.cores:
            return self
        return replace(self, fabric=replace(self.fabric, cored=True))

    def period(self, accelerators: int) -> int:
        """Return after how many accelerator slots the machine, as used by that many, repeats.

        Slot i and slot i + period have the same surroundings: the same place in the domain, the
        leaf pod and the group of pods. Where nothing repeats (inside one domain, a slice of a
        torus, a dragonfly of several groups, a graph of the user) it is `accelerators`.
        """
        units = self.units(accelerators)
        plan = self.plan(accelerators)
        domain = self.domain_accelerators
        if self.own_graph is not None or units == 1 or plan is None or self.fabric is None:
            return accelerators
        if plan.pods == 1:
            return domain
        if self.fabric.kind == "dragonfly":
            return accelerators
        pod = domain * self.fabric.pod_units
        if plan.cores == 0:
            return pod
        return pod * self.fabric.group_pods
