"""Collectives: algorithms, one file each, the tuner that chooses among them, bounds, tables.

In:  a network, a group of accelerators, an operation, a size.
Out: rounds of flows with fixed times; times beside what no algorithm can beat.
Left out: other traffic at the same time; see `fluid`.
"""

# Importing a file registers its algorithms; the names stand in this order.
from rackmodel.network.collectives import (  # isort: skip
    ring,
    tree,
    in_switch,
    direct,
    one_kernel,
    low_latency,
    halving_doubling,
    hierarchical,
    torus,
)

__all__ = ["direct", "halving_doubling", "hierarchical", "in_switch"]
__all__ += ["low_latency", "one_kernel", "ring", "torus", "tree"]
