"""Collectives of a step on links of twice the rate: what their library would run there.

In:  a folded machine.
Out: `doubled_paces`, bytes per second of every kind of exchange.
Left out: what that gains a step (`result.margins`).
"""

from __future__ import annotations

from dataclasses import replace

from rackmodel.engine.folding import FoldedMachine
from rackmodel.engine.system import Channel
from rackmodel.network import Network
from rackmodel.network.arrays import remembered
from rackmodel.network.collectives.flows import pace_s


def doubled_paces(machine: FoldedMachine, slower: float) -> list[float]:
    """Return the pace of each channel if all links had twice the rate; 0 of sends. [bytes/s]

    slower : as for `Channel.pace`. The library chooses anew: at twice the rate it may turn to
    another algorithm or protocol, and a pipeline of chunks fills in less time. What the wires and
    the fixed times of its first group become of holds for all groups of a channel.
    """
    return [
        0.0 if channel.key.stages is not None else _doubled(channel, machine.network, slower)
        for channel in machine.system.channels
    ]


def _doubled(channel: Channel, network: Network, slower: float) -> float:
    (wire_s, fixed_s), (wire_twice_s, fixed_twice_s) = (
        _seconds(channel, one) for one in (network, _twice(network))
    )
    moving = wire_twice_s / wire_s if wire_s > 0 else 1.0
    fixed = fixed_twice_s / fixed_s if fixed_s > 0 else 1.0
    return channel.pace(slower * moving, fixed)


def _seconds(channel: Channel, network: Network) -> tuple[float, float]:
    """Return the seconds per byte of a channel's first group alone, and its fixed time."""
    made = channel.asked.on(network)
    return sum(pace_s(network, flows) for flows in made.rounds), sum(made.latency_s)


@remembered
def _twice(network: Network) -> Network:
    """Return the network with links of twice the rate, whose own flows are kept with it."""
    capacity, nominal = 2.0 * network.capacity, 2.0 * network.nominal
    return replace(network, capacity=capacity, nominal=nominal, _cache={})
