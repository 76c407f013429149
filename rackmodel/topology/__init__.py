"""What is joined to what: machines as files and graphs.

In:  TOML descriptions, node-link JSON, GraphML or NetworkX graphs; figures of parts from
`hardware`.
Out: `Topology` (description, graph of any size, period, inventory) and directed NetworkX graphs.
Left out: routes and rates (network), which rank stands where (workload), watts and prices (assess).
"""

from rackmodel.topology.builders import BUILDERS, builder
from rackmodel.topology.check import check_topology
from rackmodel.topology.describe import describe
from rackmodel.topology.inventory import (
    copper_pairs,
    counted,
    scale_up_bytes_per_s,
)
from rackmodel.topology.kinds import Kind, Tier, tier_of
from rackmodel.topology.names import (
    changed,
    forget_topologies,
    load_topology,
    read_topology,
    topology_names,
    topology_rows,
)
from rackmodel.topology.topology import Topology

__all__ = [
    "BUILDERS",
    "Kind",
    "Tier",
    "Topology",
    "builder",
    "changed",
    "check_topology",
    "copper_pairs",
    "counted",
    "describe",
    "forget_topologies",
    "load_topology",
    "read_topology",
    "scale_up_bytes_per_s",
    "tier_of",
    "topology_names",
    "topology_rows",
]
