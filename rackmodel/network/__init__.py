"""How fast bytes move: routes, fair shares, collectives and traffic on any graph.

In:  a networkx graph with `bytes_per_s` on its edges; flows or collectives.
Out: rates, times, and what binds them.
Left out: accelerators' work, plans, and how the graph was made.
"""

from rackmodel.network.arrays import ROUTINGS, Routing, torus_shape
from rackmodel.network.collective_times import bus_factor, run_collective, stand_in
from rackmodel.network.flow_table import Traffic, simulate_flows
from rackmodel.network.fluid import FluidNetwork
from rackmodel.network.graph import Network
from rackmodel.network.library import ALGORITHMS, OPS, pattern
from rackmodel.network.patterns import Flows, Pattern, alone_s, drain_s, link_load
from rackmodel.network.routing import Route, RouteTable
from rackmodel.network.sharing import BACKENDS, fair_rates, fair_rates_rows
from rackmodel.network.uneven import all_to_allv

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
    "all_to_allv",
    "alone_s",
    "bus_factor",
    "drain_s",
    "fair_rates",
    "fair_rates_rows",
    "link_load",
    "pattern",
    "run_collective",
    "simulate_flows",
    "stand_in",
    "torus_shape",
]
