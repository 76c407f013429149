"""Which links a byte crosses: strategies, and the searches that they share.

In:  a machine as arrays, pairs of nodes.
Out: routes as fractions on links.
Left out: rates; see `sharing`.
"""

from rackmodel.network.routing.router import Route, Router, RouteTable
from rackmodel.network.routing.strategies import STRATEGIES, Strategy

__all__ = ["STRATEGIES", "Route", "RouteTable", "Router", "Strategy"]
