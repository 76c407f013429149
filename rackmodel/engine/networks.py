"""Compiled networks, kept for the next simulation on the same machine.

In:  a machine, accelerators that are used.
Out: its `Network`, with the routes that earlier simulations have found on it.
Left out: graphs that a user made, which may change between two calls: compiled anew each time.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections import OrderedDict
from typing import Any

from rackmodel import gate
from rackmodel.engine.folding import crossings_kept, forget_folded
from rackmodel.network import Network, Routing
from rackmodel.software.constant_files import forget
from rackmodel.topology import Topology, forget_topologies

MOST_KEPT = 6_000_000  # links, and crossings of links by flows, of all networks: about 300 MB

# By what the description says, so that a machine that is read twice has one network.
_kept: OrderedDict[tuple[Any, ...], Network] = OrderedDict()


def network_of(machine: Any, slots: int, routing: Routing = "spray", seed: int = 0) -> Network:
    """Return the network of the units that `slots` accelerators of a machine stand on.

    Raises
    ------
    As `Topology.graph` and `Network.from_graph` do.
    """
    if (scaled := getattr(machine, "scaled", None)) is not None:  # the same nodes, other rates
        found: Network = scaled(network_of(machine.plain, slots, routing, seed))
        return found
    # A stand-in for a Topology may change what `graph` gives.
    if not isinstance(machine, Topology) or machine.own_graph is not None:
        return Network.of_machine(machine, slots, routing=routing, seed=seed)
    key = (machine, machine.units(slots), machine.slice_shape(slots), routing, seed)
    if key not in _kept:
        _kept[key] = Network.of_machine(machine, slots, routing=routing, seed=seed)
    _kept.move_to_end(key)
    _trim()
    return _kept[key]


def _trim() -> None:
    """Forget what was folded on networks that were asked for longest ago, then these."""
    room = MOST_KEPT - sum(len(one.tail) + crossings_kept(one) for one in _kept.values())
    for one in [*_kept.values()][:-1]:
        if room < 0:
            room += forget_folded(one)
    while room < 0 and len(_kept) > 1:
        room += len(_kept.popitem(last=False)[1].tail)


@gate.called
def clear_caches() -> None:
    """Forget machines that were read from files, networks compiled from them, kernels, layers.

    They are few at a time, and a file that changes is read again without this.
    """
    forget()
    forget_networks()


def forget_networks() -> None:
    """Forget the machines that were read from files, and the networks compiled from them.

    What was freed is given back to the system: glibc would keep it, in pieces that the next
    network does not fit.
    """
    forget_topologies()
    _kept.clear()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        gc.collect()
        libc.malloc_trim(0)
