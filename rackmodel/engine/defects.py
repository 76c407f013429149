"""Parts that are not as the machine's file says: slow, broken, or another accelerator.

In:  users' words for parts ("3", "rack1", "domain2", "gpu17", "nic-3", any node of the graph), a
     compiled network.
Out: `Defects`: the network without what is broken and with slower links, the accelerators that no
     rank can stand on, how much longer the kernels of each of the others take.
Left out: parts that fail while a step runs (`assess.reliability`); the watts of broken parts, which
     are those of idle ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rackmodel.columns import Ints
from rackmodel.engine.options import EngineOptions
from rackmodel.errors import InvalidInput, UnknownName, nearest
from rackmodel.network import Network
from rackmodel.network.graph import domains_of

_NUMBERED = re.compile(r"([a-z_]+?)[-_ ]?(\d[\d-]*)")
# What people call an accelerator, and places that hold several.
_ACCELERATOR = ("accelerator", "gpu", "tpu", "npu", "chip")
_SWITCH = {"nvswitch": "switch"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Defects:
    """What differs in a machine; all numbers are places among the accelerators of the network.

    broken : accelerators without a rank. slower : {accelerator: time of its kernels over the
    usual}. parts : {accelerator: id in the catalog of what stands there instead}. missing : words
    that the network has no node for.
    """

    network: Network
    broken: frozenset[int]
    slower: dict[int, float]
    parts: dict[int, str]
    missing: tuple[str, ...]

    def check(self, stands: Ints) -> None:
        """Refuse words for nodes that are not there, and slow accelerators that hold no rank."""
        if self.missing:
            names = [*map(str, self.network.nodes), "gpu0", "rack0", "domain0"]
            near = nearest(self.missing[0], sorted(names))
            raise UnknownName(
                f"no part of the machine {self.missing[0]!r:.80}"
                + f"; did you mean {near!r}?" * bool(near)
                + f" (give gpu0 to gpu{len(self.network.accelerator_nodes) - 1}, rack0, domain0,"
                " ..., or a node by its name, as `rackmodel convert` writes them)"
            )
        idle = (self.slower.keys() | self.parts.keys()) - set(stands.tolist())
        if idle and not (self.slower.keys() | self.parts.keys()) - idle:
            raise InvalidInput(
                f"no rank stands on accelerator {min(idle)}, so it can't act; name one of "
                f"{stands.min()} to {stands.max()}"
            )


def defects_of(
    compiled: Callable[[bool], Network], rack_accelerators: int, options: EngineOptions
) -> Defects:
    """Return what `options` say of a machine.

    compiled : the network; True joins parallel planes of switches, whose single chips then have no
    names.
    """
    network = compiled(True)
    words = [*options.broken, *(w for w in options.slow if not w.isdecimal()), *options.mixed]
    find = partial(_nodes, rack_accelerators)
    if any(not len(find(network, word)) for word in words):
        network = compiled(False)
    missing = tuple(word for word in words if not len(find(network, word)))
    place = np.full(len(network.nodes), -1, dtype=np.int64)
    place[network.accelerator_nodes] = np.arange(len(network.accelerator_nodes))

    broken, gone = set[int](), set[int]()
    for word in options.broken:
        nodes = find(network, word)
        here = place[nodes]
        broken |= set(here[here >= 0].tolist())
        gone |= set(nodes.tolist())
    slower, links = dict[int, float](), dict[int, float]()
    for word, factor in options.slow.items():
        for node in [] if word.isdecimal() else find(network, word).tolist():
            if place[node] >= 0:
                slower[int(place[node])] = factor
            else:
                links[node] = factor
    parts = {
        int(place[node]): part
        for word, part in options.mixed.items()
        for node in find(network, word).tolist()
        if place[node] >= 0
    }
    if len(parts) < sum(len(find(network, word)) for word in options.mixed):
        raise InvalidInput("mixed: only accelerators are exchanged; name one, a rack or a domain")
    return Defects(
        network=_without(_slowed(network, links), gone),
        broken=frozenset(broken),
        slower=slower,
        parts=parts,
        missing=missing,
    )


def _nodes(rack_accelerators: int, network: Network, word: str) -> Ints:
    """Return the nodes that a word names; none where it names nothing."""
    if word in network.number:
        return np.array([network.number[word]])
    named = _NUMBERED.fullmatch(word.strip().lower())
    accelerators = network.accelerator_nodes
    if word.isdecimal():
        return accelerators[int(word) : int(word) + 1]
    if named is None:
        return accelerators[:0]
    what, number = named.groups()
    if number.isdecimal():
        if what == "rack":
            first = int(number) * rack_accelerators
            return accelerators[first : first + rack_accelerators]
        if what in ("domain", "node"):
            return accelerators[np.flatnonzero(network.domain_of == int(number))]
        if what in _ACCELERATOR:
            return accelerators[int(number) : int(number) + 1]
    node = network.number.get(f"{_SWITCH.get(what, what)}-{number}")
    return accelerators[:0] if node is None else np.array([node])


def _slowed(network: Network, factors: dict[int, float]) -> Network:
    """Return the network with the rates of all links of some nodes divided."""
    if not factors:
        return network
    by = np.ones(len(network.nodes))
    by[list(factors)] = list(factors.values())
    slower = np.maximum(by[network.tail], by[network.head])
    return replace(network, capacity=network.capacity / slower, _cache={})


def _without(network: Network, gone: Iterable[int]) -> Network:
    """Return the network without the links of some nodes."""
    dead = np.zeros(len(network.nodes), dtype=bool)
    dead[list(gone)] = True
    if not dead.any():
        return network
    kept = ~(dead[network.tail] | dead[network.head])
    arrays = ("tail", "head", "capacity", "nominal", "latency_s", "count", "scale_up")
    changed = {name: getattr(network, name)[kept] for name in arrays}
    kinds = np.array(network.link_kinds, dtype=object)[kept].tolist()
    left = replace(network, **changed, link_kinds=tuple(kinds), _cache={})
    return replace(left, domain_of=domains_of(left), _cache={})
