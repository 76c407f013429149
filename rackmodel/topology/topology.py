"""A machine: its description, or a graph that the user made, with one interface to both.

In:  what `toml_file` or `graph_file` has read.
Out: `Topology` with `graph`, `period` and `inventory` for any number of accelerators.
Left out: how graphs are built (`build`), drawn (`draw`) and found (`names`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.topology import description as d

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

    from rackmodel.topology.plain import PlainGraph

MOST_ACCELERATORS = 100_000_000
"""More than anyone will own; a larger number is a slip."""
MOST_NODES = 3_000_000
"""A graph of more nodes is refused: several gigabytes. Use the description, or a stand-in."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Topology:
    """A machine of any size, described and not enumerated; or one fixed graph of a user.

    `domain_accelerators` counts one scale-up domain, `rack_accelerators` one rack position and
    `chassis_accelerators` one chassis of the hardware catalog. `own_graph` is None for a
    description.
    """

    name: str
    title: str
    accelerator: str  # catalog id; "" for a graph that names none
    scale_up: d.Switched | d.Mesh | d.Torus | None
    host: d.Host | None
    nics: d.Nics | None
    fabric: d.Fabric | None
    chassis: str = ""
    chassis_accelerators: int = 1
    rack_accelerators: int = 1
    power_shelves: int = 0
    year: int = 0
    published: Mapping[str, Any] = field(default_factory=dict, hash=False)
    source_text: str = ""
    own_graph: nx.DiGraph[Any] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        """Say in one line which machine it is; `rackmodel show NAME` says the rest."""
        part = self.accelerator or "accelerators that the graph does not name"
        return f"<Topology {self.name}: {self.title}; {self.domain_accelerators} x {part} a domain>"

    def _repr_html_(self) -> str:
        """Show what is known of the machine in a notebook, with sources."""
        from rackmodel.topology.names import describe
        from rackmodel.topology.notebook import table_html

        lines = [[str(cell) for cell in line] for line in describe(self)]
        return table_html(f"{self.name}: {self.title}", ("what", "value", "source or note"), lines)

    @property
    def domain_accelerators(self) -> int:
        """Accelerators of a whole scale-up domain (a node, a rack, a pod of a torus)."""
        if self.own_graph is not None:
            return int(self.own_graph.graph["domain"])
        return self._scale_up.accelerators

    @property
    def max_accelerators(self) -> int | None:
        """Accelerators of the largest machine of this kind; None for no limit in sight."""
        if self.own_graph is not None:
            return int(self.own_graph.graph["accelerators"])
        units = self._max_units()
        return None if units is None else units * self.domain_accelerators

    @property
    def nics_per_accelerator(self) -> float:
        """NICs over accelerators; 0 where there are none."""
        if self.own_graph is not None:
            kinds = [data["kind"] for _, data in self.own_graph.nodes(data=True)]
            return kinds.count("nic") / max(1, kinds.count("accelerator"))
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

    @property
    def _scale_up(self) -> d.Switched | d.Mesh | d.Torus:
        assert self.scale_up is not None  # a description always has one
        return self.scale_up

    def text(self) -> str:
        """Return the file that describes this machine, or a line on the graph."""
        if self.own_graph is not None:
            graph = self.own_graph
            return f"graph {self.name}: {len(graph)} nodes, {graph.number_of_edges()} edges"
        return self.source_text

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
                f"{accelerators:,} accelerators: more than {MOST_ACCELERATORS:,} is a slip?"
            )
        most = self.max_accelerators
        if most is not None and accelerators > most:
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
        if isinstance(self.scale_up, d.Torus):
            return self.scale_up.slice_shape(min(accelerators, self.domain_accelerators))
        return None

    def present(self, accelerators: int) -> int:
        """Return the accelerators of the whole units that a job on so many stands on."""
        units = self.units(accelerators)
        shape = self.slice_shape(accelerators)
        if shape is not None and units == 1:
            return math.prod(shape)
        if self.own_graph is not None:
            return self.domain_accelerators if units == 1 else int(self.max_accelerators or 0)
        return units * self.domain_accelerators

    def plan(self, accelerators: int) -> d.FabricPlan | None:
        """Return the sizes of the fabric's tiers for so many accelerators; None without a
        fabric."""
        if self.fabric is None:
            return None
        return d.plan_fabric(
            self.fabric, self.units(accelerators), self.nics_per_unit, f"{self.name}: fabric"
        )

    def graph(self, accelerators: int, *, bundled: bool = False) -> nx.DiGraph[Any]:
        """Build the graph of the units that `accelerators` accelerators stand on.

        Parameters
        ----------
        accelerators : how many are used; the last unit is whole even if only part of it is.
        bundled : parallel switch planes become one switch, the spines below one another one spine;
            edges carry their `count`. Few nodes, the same answers when traffic is sprayed. CPUs,
            which forward nothing between accelerators, are left out.

        Returns
        -------
        A directed graph as DESIGN section 3 has it; `graph.graph["accelerators"]` counts those
        used.

        Raises
        ------
        CannotRun
            If the machine has fewer accelerators.
        InvalidInput
            If the graph would have more than `MOST_NODES` nodes.
        """
        from rackmodel.topology.build import build_graph
        from rackmodel.topology.graph_file import resized

        if self.own_graph is not None:
            self.units(accelerators)
            return resized(self.own_graph, accelerators)
        self._check_size(accelerators)
        return build_graph(self, accelerators, bundled=bundled)

    def plain(self, accelerators: int) -> PlainGraph | None:
        """Return the bundled graph as lists; None where the graph is the user's own.

        The same nodes and edges in the same order as `graph(accelerators, bundled=True)`, in a
        tenth of the memory.

        Raises
        ------
        As `graph` does.
        """
        from rackmodel.topology.build import build_plain

        if self.own_graph is not None:
            return None
        self._check_size(accelerators)
        return build_plain(self, accelerators)

    def _check_size(self, accelerators: int) -> None:
        present = self.present(accelerators)
        if present * 2 > MOST_NODES:
            raise InvalidInput(
                f"a graph of {present:,} accelerators would need several gigabytes; ask for fewer"
                " (a machine repeats: see Topology.period)"
            )

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

    def inventory(self, accelerators: int) -> pd.DataFrame:
        """Count the parts of the units that `accelerators` accelerators stand on, by arithmetic.

        Returns
        -------
        One row per part and place: part_kind (accelerator, cpu, switch, nic, cable, transceiver,
        rack, chassis), part, tier, medium, link, count, per ("rack" or "fabric"). Equal to what
        counting the full graph gives.
        """
        from rackmodel.topology.inventory import counted, reckoned

        if self.own_graph is not None:
            return counted(self.graph(accelerators), self)
        return reckoned(self, accelerators)

    def _max_units(self) -> int | None:
        fabric = self.fabric
        if fabric is None:
            return 1
        if fabric.kind == "single-switch":
            return fabric.pod_units
        if fabric.kind == "dragonfly":
            return fabric.pod_units * (self._dragonfly_groups(fabric))
        assert fabric.spine is not None  # toml_file gives every other kind a spine
        if fabric.kind == "rail-only":
            return fabric.pod_units * fabric.spine.ports
        if fabric.kind == "leaf-spine":
            return fabric.pod_units * max(1, fabric.spine.ports // fabric.rails)
        return fabric.pod_units * fabric.group_pods * d.most_groups(fabric)

    def _dragonfly_groups(self, fabric: d.Fabric) -> int:
        down = fabric.pod_units * self.nics_per_unit // fabric.rails
        spare = fabric.leaf.ports - down - fabric.local_links * (fabric.rails - 1)
        return max(1, spare * fabric.rails // fabric.global_links + 1)
