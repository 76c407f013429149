"""Collectives as a library would run them: algorithm, protocol, fixed times.

In:  an operation, a group, a size.
Out: `pattern`, the one that the library's tuner would choose for the group and size.
Left out: how the flows of a pattern share links with others; that is `traffic` and the engine.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.network import algorithms
from rackmodel.network.costs import UNFILLED, constants, fill_s, fixed_s, limit, wire
from rackmodel.network.doubling import halving_doubling
from rackmodel.network.graph import Network, by_rail
from rackmodel.network.groups import Group, make_group
from rackmodel.network.patterns import Flows, Pattern, pace_s
from rackmodel.network.torus_collectives import box_of, torus

Builder = Callable[["Network", Group, str], tuple[Flows, ...]]

OPS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "broadcast", "send")
SIMPLE = 2  # the protocol of large messages; 0 and 1 are LL and LL128
TINY_BYTES = 64.0  # pass in nanoseconds; the quickest protocols take microseconds
REMEMBERED = 1024  # groups x algorithms whose flows a network keeps
RINGS = ("ring", "bidirectional-ring")
REDUCING = ("all-reduce", "all-gather", "reduce-scatter")
BUILDERS: dict[str, Builder] = {
    "ring": algorithms.ring,
    "bidirectional-ring": algorithms.bidirectional_ring,
    "tree": algorithms.tree,
    "nvls": algorithms.nvls,
    "nvls-tree": algorithms.nvls_tree,
    "sharp": algorithms.sharp,
    "direct": algorithms.direct,
    "gpu-initiated": algorithms.direct,
    "rail": algorithms.direct,
    "halving-doubling": halving_doubling,
    "hierarchical": algorithms.hierarchical,
    "torus": torus,
    "chain": algorithms.broadcast,
    "send": algorithms.send,
}
ALGORITHMS: dict[str, tuple[str, ...]] = {
    "all-reduce": (
        "ring",
        "bidirectional-ring",
        "tree",
        "nvls",
        "nvls-tree",
        "sharp",
        "direct",
        "halving-doubling",
        "hierarchical",
        "torus",
    ),
    "all-gather": (
        "ring",
        "bidirectional-ring",
        "nvls",
        "direct",
        "halving-doubling",
        "hierarchical",
        "torus",
    ),
    "reduce-scatter": (
        "ring",
        "bidirectional-ring",
        "nvls",
        "direct",
        "halving-doubling",
        "hierarchical",
        "torus",
    ),
    "all-to-all": ("direct", "gpu-initiated", "rail", "hierarchical"),
    "broadcast": ("chain",),
    "send": ("send",),
}


def pattern(
    network: Network,
    op: str,
    members: Sequence[int],
    bytes: float,
    *,
    algorithm: str | None = None,
    true_size: int | None = None,
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
        only stand in for it; the domains are scaled like the members if left out.
    period : members after which the machine repeats, if `members` are a stand-in.

    Raises
    ------
    UnknownName
        For an unknown operation or algorithm.
    InvalidInput
        For members that do not exist, or an algorithm that the group can't run.
    """
    if op not in OPS:
        raise UnknownName.among("collective", op, OPS)
    if not math.isfinite(bytes) or bytes < 0:
        raise InvalidInput(f"{op}: bytes must be finite and not negative, got {bytes!r}")
    group = make_group(network, members, true_size, true_domains, period)
    if group.true_size == 1 or (op == "send" and len(group.members) == 1):
        return Pattern(op, "none", "none", 1, (), ())
    if algorithm is not None and algorithm not in ALGORITHMS[op]:
        raise UnknownName.among(f"algorithm for {op}", algorithm, ALGORITHMS[op])
    names = (algorithm,) if algorithm else fitting(network, group, op)
    if bytes <= TINY_BYTES:
        return _quickest_tiny(network, group, op, names, bytes)
    found = [v for name in names for v in _timed_variants(network, group, op, name, bytes)]
    if len(found) == 1:
        return found[0][0]
    return min(found, key=lambda entry: entry[1]())[0]


def fitting(network: Network, group: Group, op: str) -> tuple[str, ...]:
    """Return the algorithms that a library would try on this group."""
    if op not in REDUCING:
        return ALGORITHMS[op][:1]
    if not group.switched and len(group.parts) == 1:
        if box_of(network, group):
            return ("torus",)
        near = set(network.head[network.tail == int(group.nodes[0])].tolist())
        return ("direct",) if set(group.nodes[1:].tolist()) <= near else RINGS
    if op != "all-reduce":
        return ("ring",)
    names = ["ring", "tree"]
    if network.reduction and group.switched:
        if len(group.parts) == 1 and group.true_size == len(group.members):
            names.append("nvls")
        elif all(len(part) > 1 for part in group.parts):
            names.append("nvls-tree")
    return tuple(names)


def _quickest_tiny(
    network: Network, group: Group, op: str, names: Sequence[str], byte_count: float
) -> Pattern:
    """Choose by fixed times alone: what a few bytes take on the wire is lost in any of them."""
    fixed = {
        (name, protocol): fixed_s(network, group, op, name, protocol)
        for name in names
        for protocol in protocols(name)
    }
    name, protocol = min(fixed, key=lambda entry: fixed[entry])
    one, _ = _timed_variant(network, group, op, name, protocol, byte_count)
    return one


def protocols(name: str) -> tuple[int, ...]:
    """Return the protocols that an algorithm has: LL, LL128 and Simple, or Simple alone."""
    return (0, 1, SIMPLE) if name in (*RINGS, "tree") else (SIMPLE,)


def variants(
    network: Network, group: Group, op: str, name: str, byte_count: float
) -> list[Pattern]:
    """Return the patterns of one algorithm, one for each protocol that it has."""
    return [one for one, _ in _timed_variants(network, group, op, name, byte_count)]


def _timed_variants(
    network: Network, group: Group, op: str, name: str, byte_count: float
) -> list[tuple[Pattern, Callable[[], float]]]:
    """Return the variants, each with a function that tells by what time the tuner ranks it. [s]

    Inside a domain that is the time itself: the tuner's tables are measured there. Between domains
    it adds fixed times and bytes over bandwidth (NCCL, tuning.cc, ncclTopoGetAlgoTime), and sees
    neither the fill of the pipeline nor how few network ports NVLS-tree uses of a large domain: its
    own limit of that, 80 to 96 GB/s a channel, is above any port. So it takes NVLS-tree where a
    ring were faster.
    Flows and their seconds per byte are the same for all sizes: they are worked out once.
    """
    return [
        _timed_variant(network, group, op, name, protocol, byte_count)
        for protocol in protocols(name)
    ]


def _timed_variant(
    network: Network, group: Group, op: str, name: str, protocol: int, byte_count: float
) -> tuple[Pattern, Callable[[], float]]:
    made = _made(network, group, op, name, protocol)
    fixed = fixed_s(network, group, op, name, protocol)
    latency = [fixed / len(made.rounds)] * len(made.rounds)
    label = str(constants()["nccl"]["protocols"][protocol])
    if protocol > 0 and byte_count > 0 and name not in UNFILLED and op != "all-to-all":
        per_byte = made.seconds_per_byte(network)
        latency[0] += fill_s(network, group, op, name, per_byte, byte_count)
    one = Pattern(op, name, label, group.true_size, made.rounds, tuple(latency))
    if len(group.parts) > 1:
        return one, partial(_tuner_s, network, made, fixed, byte_count)
    return one, partial(_alone_s, network, made, one, byte_count)


def _tuner_s(network: Network, made: "_Made", fixed: float, byte_count: float) -> float:
    return fixed + made.tuner_seconds_per_byte(network) * byte_count


def _alone_s(network: Network, made: "_Made", one: Pattern, byte_count: float) -> float:
    return sum(one.latency_s) + made.seconds_per_byte(network) * byte_count


@dataclass(slots=True, eq=False)
class _Made:
    """The flows of an algorithm under one protocol, whatever the size."""

    rounds: tuple[Flows, ...]
    seen: tuple[Flows, ...]  # as the tuner sees them
    _per_byte: float | None = None
    _tuner_per_byte: float | None = None

    def tuner_seconds_per_byte(self, network: Network) -> float:
        """Return the seconds per byte that the tuner expects."""
        if self._tuner_per_byte is None:
            self._tuner_per_byte = sum(pace_s(network, flows) for flows in self.seen)
        return self._tuner_per_byte

    def seconds_per_byte(self, network: Network) -> float:
        """Return the seconds per byte on an idle network, without latencies."""
        if self._per_byte is None:
            self._per_byte = sum(pace_s(network, flows) for flows in self.rounds)
        return self._per_byte


def _made(network: Network, group: Group, op: str, name: str, protocol: int) -> _Made:
    """Return the flows of an algorithm under a protocol."""
    cache: dict[object, _Made] = network._cache.setdefault("made", {})
    key = (op, name, group.members.tobytes(), group.true_size, group.known_domains, group.period)
    if (*key, protocol) not in cache:
        if len(cache) >= REMEMBERED:
            cache.clear()
        if protocol == SIMPLE:
            plain = _rounds(network, group, op, name)
            # A hierarchical all-to-all copies and does not add.
            engines = "rail" if (op, name) == ("all-to-all", "hierarchical") else name
            rounds = seen = tuple(limit(network, flows, engines, group) for flows in plain)
            if name == "nvls-tree" and len(group.parts) > 1:
                seen = tuple(limit(network, f, name, group, few_ports=False) for f in plain)
        else:
            simple = _made(network, group, op, name, SIMPLE).rounds
            rounds = seen = tuple(wire(network, flows, protocol) for flows in simple)
        cache[(*key, protocol)] = _Made(rounds, seen)
    return cache[(*key, protocol)]


def _rounds(network: Network, group: Group, op: str, name: str) -> tuple[Flows, ...]:
    if name == "torus" and box_of(network, group) is None:
        raise InvalidInput("the group does not fill a box of a torus; try algorithm 'ring'")
    if name == "nvls" and (len(group.parts) > 1 or group.true_size > len(group.members)):
        raise InvalidInput("the group spans scale-up domains; try algorithm 'nvls-tree'")
    if name in ("nvls", "nvls-tree") and not network.reduction:
        raise InvalidInput("the scale-up switches do not reduce; try algorithm 'ring'")
    if name == "sharp" and not network.fabric_reduction:
        raise InvalidInput("the fabric's switches do not reduce; try algorithm 'ring'")
    if name == "rail":
        network = by_rail(network)
    return BUILDERS[name](network, group, op)
