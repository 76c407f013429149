"""Compiled networks, kept for the next simulation on the same machine.

In:  a machine, accelerators that are used.
Out: its `Network`, with the routes that earlier simulations have found on it.
Left out: graphs that a user made, which may change between two calls: compiled anew each time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from rackmodel.network import Network
from rackmodel.network.graph import Routing

MOST_LINKS = 1_000_000  # kept in all: about 300 MB with their routes

_kept: OrderedDict[tuple[Any, ...], Network] = OrderedDict()


def network_of(machine: Any, slots: int, routing: Routing = "spray", seed: int = 0) -> Network:
    """Return the network of the units that `slots` accelerators of a machine stand on.

    Raises
    ------
    As `Topology.graph` and `Network.from_graph` do.
    """
    if not hasattr(machine, "plain") or machine.own_graph is not None:
        return Network.from_graph(machine.graph(slots, bundled=True), routing=routing, seed=seed)
    key = (machine, machine.units(slots), machine.slice_shape(slots), routing, seed)
    network = _kept.get(key)
    if network is None:
        lists = machine.plain(slots)
        if lists is None:
            graph = machine.graph(slots, bundled=True)
            return Network.from_graph(graph, routing=routing, seed=seed)
        network = Network.from_lists(lists, routing=routing, seed=seed)
        _kept[key] = network
        while len(_kept) > 1 and sum(len(n.tail) for n in _kept.values()) > MOST_LINKS:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return network
