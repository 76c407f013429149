"""A machine: its description, or a graph that the user made, with one interface to both.

In:  what `toml_file` or `graph_file` has read.
Out: `Topology` with its graph, elements and inventory for any number of accelerators.
Left out: how it is drawn (`draw`) and found (`names`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rackmodel.annotations import DataFrame, DiGraph
from rackmodel.columns import Columns, frame_of, of_records, table_html
from rackmodel.errors import InvalidInput
from rackmodel.topology.describe import describe
from rackmodel.topology.description import Description
from rackmodel.topology.elements import elements
from rackmodel.topology.inventory import COLUMNS, counted, inventory_rows
from rackmodel.topology.nodes_and_links import Elements

MOST_NODES = 3_000_000
"""A graph of more nodes is refused: several gigabytes. Use the description, or a stand-in."""


class Topology(Description):
    """A machine of any size, described and not enumerated; or one fixed graph of a user."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Say in one line which machine it is; `rackmodel show NAME` says the rest."""
        part = self.accelerator or "accelerators that the graph does not name"
        return f"<Topology {self.name}: {self.title}; {self.domain_accelerators} x {part} a domain>"

    def _repr_html_(self) -> str:
        """Show what is known of the machine in a notebook, with sources."""
        lines = [[str(cell) for cell in line] for line in describe(self)]
        return table_html(f"{self.name}: {self.title}", ("what", "value", "source or note"), lines)

    def text(self) -> str:
        """Return the file that describes this machine and what was set, or a line on the graph."""
        if self.own_graph is not None:
            graph = self.own_graph
            return f"graph {self.name}: {len(graph)} nodes, {graph.number_of_edges()} edges"
        told = [f"# set: {key} = {value}\n" for key, value in self.changes.items()]
        return self.source_text + "".join(told)

    def graph(self, accelerators: int, *, bundled: bool = False) -> DiGraph[Any]:
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
        if self.own_graph is not None:
            self.units(accelerators)
            copy = self.own_graph.copy()
            copy.graph["accelerators"] = accelerators
            return copy
        from rackmodel.topology.graph import build_graph

        return build_graph(self._elements(accelerators, bundled))

    def elements(self, accelerators: int, *, bundled: bool = False) -> Elements | None:
        """Return the nodes and links of `graph` in groups; None where the graph is the user's own.

        Raises
        ------
        As `graph` does.
        """
        return None if self.own_graph is not None else self._elements(accelerators, bundled)

    def _elements(self, accelerators: int, bundled: bool) -> Elements:
        present = self.present(accelerators)
        if present * 2 > MOST_NODES:
            raise InvalidInput(
                f"a graph of {present:,} accelerators would need several gigabytes; ask for fewer"
                " (a machine repeats: see Topology.period)"
            )
        return elements(self, accelerators, bundled=bundled)

    def cables(self, accelerators: int) -> Mapping[tuple[str, str], int]:
        """Count the bundled graph's cables by tier and kind; none of a graph of one's own."""
        found: Counter[tuple[str, str]] = Counter()
        if self.own_graph is None:
            for links in elements(self, accelerators, bundled=True).links:
                found[links.tier, links.wire.kind] += links.cables
        return found

    def inventory(self, accelerators: int) -> DataFrame:
        """Count the parts of the units that `accelerators` accelerators stand on, by arithmetic.

        Returns
        -------
        One row per part and place: part_kind (accelerator, cpu, switch, nic, cable, transceiver,
        rack, chassis), part, tier, medium, link, count, per ("rack" or "fabric"). Equal to what
        counting the full graph gives.
        """
        return frame_of(self.parts(accelerators))

    def parts(self, accelerators: int) -> Columns:
        """Return the columns of `inventory`."""
        if self.own_graph is not None:
            return counted(self.graph(accelerators), self)
        return of_records(inventory_rows(self, accelerators), COLUMNS)
