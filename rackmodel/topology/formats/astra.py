"""Network files of ASTRA-sim's analytical backend.

In:  `topology`, `npus_count`, `bandwidth` [GB/s of a link, one direction], `latency` [ns]: a list
with an entry a dimension.
Out: a directed graph; accelerators are numbered with the first dimension fastest.
Left out: the system layer (which collectives run).

A Ring joins neighbours both ways, FullyConnected every pair, each link at the dimension's rate; a
Switch joins each accelerator by one link (astra-sim/astra-network-analytical). The first
dimension's switch is one of the scale-up domain; those of later ones are leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import prod
from typing import Any

from rackmodel import units
from rackmodel.annotations import DiGraph
from rackmodel.errors import InvalidInput
from rackmodel.gate import shown, whole
from rackmodel.topology.formats.joined import Joined
from rackmodel.topology.kinds import Kind

SHAPES = ("Ring", "FullyConnected", "Switch")
MOST_ACCELERATORS = 100_000
_EXAMPLES = {
    "topology": "[ Ring, Switch ]",
    "npus_count": "[ 8, 4 ]",
    "bandwidth": "[ 450.0, 50.0 ]",
    "latency": "[ 500.0, 1000.0 ]",
}


def from_astra(data: Mapping[str, Any], file: str) -> DiGraph[Any]:
    """Return the graph of an ASTRA-sim network file."""
    shapes = _list(data, "topology", file)
    where = f"{file}: npus_count"
    sizes = [whole(one, where, words=False) for one in _list(data, "npus_count", file)]
    rates, delays = (
        [si * units.parse(one, "1", where=f"{file}: {key}") for one in _list(data, key, file)]
        for key, si in (("bandwidth", 1e9), ("latency", 1e-9))
    )
    if len({len(shapes), len(sizes), len(rates), len(delays)}) != 1:
        raise InvalidInput(
            f"{file}: topology, npus_count, bandwidth and latency need one entry a dimension,"
            f" found {len(shapes)}, {len(sizes)}, {len(rates)} and {len(delays)}; make them as many"
        )
    if unknown := [one for one in shapes if one not in SHAPES]:
        raise InvalidInput(
            f"{file}: topology {shown(unknown[0])} is not read; write one of {', '.join(SHAPES)}"
        )
    if prod(sizes) > MOST_ACCELERATORS:
        raise InvalidInput(
            f"{file}: {prod(sizes):,} accelerators; more than {MOST_ACCELERATORS:,} as a graph are"
            " refused: describe the machine as TOML"
        )
    joined, strides = Joined(), [prod(sizes[:d]) for d in range(len(sizes))]
    for number in range(prod(sizes)):
        joined.add(number, Kind.ACCELERATOR, rack=number // sizes[0])
    for d, (shape, size) in enumerate(zip(shapes, sizes, strict=True)):
        others = [range(n) for e, n in enumerate(sizes) if e != d]
        rest = [s for e, s in enumerate(strides) if e != d]
        for group, place in enumerate(product(*others)):
            first = sum(i * s for i, s in zip(place, rest, strict=True))
            members = [first + i * strides[d] for i in range(size)]
            _dimension(joined, shape, members, rates[d], delays[d], (d, group))
    return joined.graph


def _dimension(
    joined: Joined,
    shape: str,
    members: list[int],
    rate: float,
    delay_s: float,
    place: tuple[int, int],
) -> None:
    """Join the accelerators of one line along a dimension."""
    if shape == "Switch":
        switch = f"switch-{place[0]}-{place[1]}"
        joined.add(switch, Kind.LEAF if place[0] else Kind.SCALE_UP_SWITCH)
        for member in members:
            joined.link(member, switch, rate, delay_s)
        return
    n = len(members)
    pairs = [(i, (i + 1) % n) for i in range(n if n > 2 else n - 1)]
    if shape == "FullyConnected":
        pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    for i, j in pairs:
        joined.link(members[i], members[j], rate, delay_s)


def _list(data: Mapping[str, Any], key: str, file: str) -> list[Any]:
    value = data.get(key)
    if not isinstance(value, list) or not value:
        raise InvalidInput(
            f"{file}: {key}: expected a list with an entry a dimension, found {shown(value)}; "
            f"give one such as {key}: {_EXAMPLES[key]}"
        )
    return value
