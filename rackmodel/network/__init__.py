"""How fast bytes move: routes, fair shares, collectives and traffic on any graph.

In:  a networkx graph with `bytes_per_s` on its edges; flows or collectives.
Out: rates, times, and what binds them.
Left out: accelerators' work, plans, and how the graph was made.
"""

from rackmodel.network.arrays import ROUTINGS, Routing, torus_shape
from rackmodel.network.collectives.flows import Flows, Pattern, alone_s, drain_s, link_load
from rackmodel.network.collectives.registry import ALGORITHMS, OPS, algorithm
from rackmodel.network.collectives.sends import sends
from rackmodel.network.collectives.times import bus_factor, collective_s, run_collective
from rackmodel.network.collectives.tuner import pattern, quickest
from rackmodel.network.collectives.uneven import all_to_allv
from rackmodel.network.flow_table import Traffic, simulate_flows
from rackmodel.network.fluid import FluidNetwork
from rackmodel.network.graph import Network
from rackmodel.network.routing import Route, RouteTable
from rackmodel.network.sharing import BACKENDS, fair_rates, fair_rates_rows
from rackmodel.network.symmetry import stand_in

__all__ = [
    "ALGORITHMS",
    "BACKENDS",
    "OPS",
    "ROUTINGS",
    "Flows",
    "FluidNetwork",
    "Network",
    "Pattern",
    "Route",
    "RouteTable",
    "Routing",
    "Traffic",
    "algorithm",
    "all_to_allv",
    "alone_s",
    "bus_factor",
    "collective_s",
    "drain_s",
    "fair_rates",
    "fair_rates_rows",
    "link_load",
    "pattern",
    "quickest",
    "run_collective",
    "sends",
    "simulate_flows",
    "stand_in",
    "torus_shape",
]
