"""Collectives as a library would run them: algorithm, protocol, fixed times.

In:  an operation, a group, a size.
Out: `pattern`, the one that the library's tuner would choose for the group and size.
Left out: how the flows of a pattern share links with others; that is `fluid` and the engine.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rackmodel.columns import Floats
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.network.arrays import remembered
from rackmodel.network.collectives.constants import nccl
from rackmodel.network.collectives.costs import (
    HOST_MEMBERS,
    beyond_s,
    fill_s,
    fixed_s,
    limit,
    wire,
)
from rackmodel.network.collectives.flows import Pattern, alone_s, pace_s
from rackmodel.network.collectives.groups import Group, make_group
from rackmodel.network.collectives.registry import (
    ALGORITHM,
    ALGORITHMS,
    EXCHANGES,
    OPS,
    REDUCING,
    SIMPLE,
    Rounds,
)
from rackmodel.network.collectives.torus import box_of
from rackmodel.network.graph import Network

TINY_BYTES = 64.0  # pass in nanoseconds; the quickest protocols take microseconds
SURE = 1.0 - 1e-9  # what is longer by more is longer whatever was rounded
REMEMBERED = 1024  # groups x algorithms whose flows a network keeps


def pattern(
    network: Network,
    op: str,
    members: Sequence[int],
    bytes: float,
    *,
    algorithm: str | None = None,
    true_size: int | Floats | None = None,
    true_domains: int | None = None,
    period: int | None = None,
) -> Pattern:
    """Return how `op` runs on a group: flows and fixed times.

    Parameters
    ----------
    op : one of `OPS`.
    members : accelerator indices in rank order (for a send: from the first to the last).
    bytes : as nccl-tests counts them: the buffer of an all-reduce or broadcast, the gathered
        output, the scattered input, one rank's whole send buffer of an all-to-all.
    algorithm : one of `ALGORITHMS[op]`; what the library's tuner would choose if left out.
    true_size, true_domains : members and scale-up domains of the whole group, if `members`
        only stand in for it; the domains are scaled like the members if left out. The size may be
        float[n], how many each member stands for.
    period : members after which the machine repeats, if `members` are a stand-in.

    Raises
    ------
    UnknownName
        For an unknown operation or algorithm.
    InvalidInput
        For members that do not exist, or an algorithm that the group can't run.
    """
    UnknownName.check("collective", op, OPS)
    if not math.isfinite(bytes) or bytes < 0:
        raise InvalidInput(f"{op}: bytes must be finite and not negative, got {bytes!r}")
    group = make_group(network, members, true_size, true_domains, period)
    return choose(network, group, op, bytes, algorithm)


def quickest(
    network: Network,
    op: str,
    members: Sequence[int],
    bytes: float,
    algorithms: Sequence[str],
    **whole: Any,
) -> Pattern:
    """Return the quickest of some algorithms on a group, by what each takes on an idle network.

    whole : true_size, true_domains and period of `pattern`. An algorithm that the group can't run
    is passed over.

    Raises
    ------
    InvalidInput
        If the group can run none of them.
    """
    best, refused = None, None
    for name in algorithms:
        try:
            made = pattern(network, op, members, bytes, algorithm=name, **whole)
        except InvalidInput as error:
            refused = error
            continue
        seconds = alone_s(network, made, bytes)
        if best is None or seconds < best[0]:
            best = seconds, made
    if best is None:
        raise refused or InvalidInput(f"{op}: no algorithm is named; give one")
    return best[1]


def choose(
    network: Network, group: Group, op: str, byte_count: float, algorithm: str | None = None
) -> Pattern:
    """Return how `op` runs on a group that is made already; see `pattern`.

    The quickest is taken: the tuner's tables are measured. Between domains that span hosts it sees
    neither the fill of NVLS-tree's pipeline nor how few network ports that uses: its own limit, 80
    to 96 GB/s a channel (NCCL, tuning.cc), is above any port. So it takes NVLS-tree where a ring
    were faster (20 racks of GB200: 150 GB/s at 512 MB, 405 at 16 GB).
    """
    if group.true_size == 1 or (op == "send" and len(group.members) == 1):
        return Pattern(op, "none", "none", 1, (), ())
    if algorithm is not None and algorithm not in ALGORITHMS[op]:
        raise UnknownName.among(f"algorithm for {op}", algorithm, ALGORITHMS[op])
    names = (algorithm,) if algorithm else fitting(network, group, op)
    ways = [(name, protocol) for name in names for protocol in ALGORITHM[name].protocols]
    if byte_count <= TINY_BYTES:  # what a few bytes take on the wire is lost in any fixed time
        ways = [min(ways, key=lambda way: fixed_s(network, group, op, *way))]

    way = ways[0] if len(ways) == 1 else _expected(network, group, op, ways, byte_count)
    return _variant(network, group, op, *way, byte_count)


def variants(
    network: Network, group: Group, op: str, name: str, byte_count: float
) -> list[Pattern]:
    """Return the patterns of one algorithm, one for each protocol that it has."""
    return [
        _variant(network, group, op, name, protocol, byte_count)
        for protocol in ALGORITHM[name].protocols
    ]


def fitting(network: Network, group: Group, op: str) -> tuple[str, ...]:
    """Return the algorithms that a library would try on this group."""
    if op not in REDUCING:
        return ALGORITHMS[op][:1]
    if not group.switched and len(group.parts) == 1:
        if box_of(network, group):
            return ("torus",)
        near = set(network.head[network.tail == int(group.nodes[0])].tolist())
        return (
            ("direct",) if set(group.nodes[1:].tolist()) <= near else ("ring", "bidirectional-ring")
        )
    if op != "all-reduce":
        return ("ring",)
    names = ["ring", "tree"]
    if network.reduction and group.switched:
        if len(group.parts) == 1 and group.true_size == len(group.members):
            names.append("nvls")
        elif all(len(part) > 1 for part in group.parts):
            names.append("nvls-tree")
    return tuple(names)


def _expected(
    network: Network, group: Group, op: str, ways: Sequence[tuple[str, int]], byte_count: float
) -> tuple[str, int]:
    """Return the way that the library expects to be quickest; it has not measured its wires.

    Flags of a protocol add to the bytes of the plain one: what these rule out is not worked out.
    """
    wide = max(map(len, group.parts)) > HOST_MEMBERS
    best, plain = (math.inf, 0), dict[str, float]()
    for place in sorted(range(len(ways)), key=lambda place: -ways[place][1]):  # plain ones first
        name, protocol = ways[place]
        seconds = fixed_s(network, group, op, name, protocol)
        flagged = plain.get(name, 0.0) * float(nccl("wire")[protocol])
        if (seconds + flagged * byte_count) * SURE > best[0]:
            continue
        made = _made(network, group, op, name, protocol)
        if name != "nvls-tree" or not wide:
            seconds += _fill_s(network, group, op, name, protocol, byte_count)
        near = len(group.parts) == 1 and not (name == "nvls-tree" and wide)
        per_byte = made.per_byte_s if near else made.tuner_per_byte_s
        if protocol == SIMPLE:
            plain[name] = per_byte
        best = min(best, (seconds + per_byte * byte_count, place))
    return ways[best[1]]


def _fill_s(
    network: Network, group: Group, op: str, name: str, protocol: int, byte_count: float
) -> float:
    filled = ALGORITHM[name].passes_on and op not in EXCHANGES
    filled &= protocol > 0 or len(group.parts) > 1  # LL inside a domain: nothing to be seen
    if byte_count <= 0 or not filled:
        return 0.0
    per_byte = _made(network, group, op, name, protocol).per_byte_s
    return fill_s(network, group, op, name, per_byte, byte_count, protocol)


def _variant(
    network: Network, group: Group, op: str, name: str, protocol: int, byte_count: float
) -> Pattern:
    made = _made(network, group, op, name, protocol)
    fixed = fixed_s(network, group, op, name, protocol, made.beyond_s)
    latency = [fixed / len(made.rounds)] * len(made.rounds)
    latency[0] += _fill_s(network, group, op, name, protocol, byte_count)
    label = str(nccl("protocols")[protocol])
    return Pattern(op, name, label, group.true_size, made.rounds, tuple(latency))


@dataclass(eq=False)
class _Made:
    """The flows of an algorithm under one protocol; the same for all sizes."""

    network: Network
    group: Group
    name: str
    rounds: Rounds
    seen: Rounds  # as the tuner sees them

    @cached_property
    def beyond_s(self) -> tuple[float, float]:
        """What the wires of a step take beyond those of the reference, inside and outside."""
        return beyond_s(self.network, self.group, self.rounds, self.name)

    @cached_property
    def tuner_per_byte_s(self) -> float:
        """Seconds per byte that the tuner expects."""
        return sum(pace_s(self.network, flows) for flows in self.seen)

    @cached_property
    def per_byte_s(self) -> float:
        """Seconds per byte on an idle network, without latencies."""
        return sum(pace_s(self.network, flows) for flows in self.rounds)


@remembered
def _kept(network: Network) -> dict[object, _Made]:
    return {}


def _made(network: Network, group: Group, op: str, name: str, protocol: int) -> _Made:
    """Return the flows of an algorithm under a protocol."""
    cache = _kept(network)
    weight = None if group.weight is None else group.weight.tobytes()
    known = (group.true_size, group.known_domains, group.period, weight)
    key = (op, name, group.members.tobytes(), *known)
    if (*key, protocol) not in cache:
        if len(cache) >= REMEMBERED:
            cache.clear()
        if protocol == SIMPLE:
            plain = ALGORITHM[name].build(network, group, op)
            # A hierarchical all-to-all copies and does not add.
            engines = "rail" if (op, name) == ("all-to-all", "hierarchical") else name
            rounds = seen = tuple(limit(network, flows, engines, group, op=op) for flows in plain)
            if name == "nvls-tree" and len(group.parts) > 1:
                seen = tuple(limit(network, f, name, group, few_ports=False) for f in plain)
        else:
            simple = _made(network, group, op, name, SIMPLE).rounds
            rounds = seen = tuple(wire(network, flows, protocol, group, op) for flows in simple)
        cache[(*key, protocol)] = _Made(network, group, name, rounds, seen)
    return cache[(*key, protocol)]
