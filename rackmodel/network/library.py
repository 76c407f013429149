"""Collectives as a library would run them: algorithm, protocol, fixed times.

In:  an operation, a group, a size.
Out: `pattern`, the one that the library's tuner would choose for the group and size.
Left out: how the flows of a pattern share links with others; that is `traffic` and the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.network import algorithms
from rackmodel.network.costs import constants, fill_s, fixed_s, limit, wire
from rackmodel.network.groups import Group, make_group
from rackmodel.network.patterns import Flows, Pattern, alone_s, pace_s
from rackmodel.network.torus_collectives import box_of, torus

if TYPE_CHECKING:
    from rackmodel.network.graph import Network

Builder = Callable[["Network", Group, str], tuple[Flows, ...]]

OPS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "broadcast", "send")
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
    "rail": algorithms.direct,
    "halving-doubling": algorithms.halving_doubling,
    "hierarchical": algorithms.hierarchical,
    "torus": torus,
    "chain": algorithms.broadcast,
    "send": algorithms.send,
}
ALGORITHMS: dict[str, tuple[str, ...]] = {
    "all-reduce": (
        "ring", "bidirectional-ring", "tree", "nvls", "nvls-tree", "sharp", "direct",
        "halving-doubling", "hierarchical", "torus",
    ),
    "all-gather": (
        "ring", "bidirectional-ring", "nvls", "direct", "halving-doubling", "hierarchical", "torus",
    ),
    "reduce-scatter": (
        "ring", "bidirectional-ring", "nvls", "direct", "halving-doubling", "hierarchical", "torus",
    ),
    "all-to-all": ("direct", "rail", "hierarchical"),
    "broadcast": ("chain",),
    "send": ("send",),
}  # fmt: skip


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
    period : members after which the machine repeats, where the stand-in has whole periods only.

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
    found = [one for name in names for one in _candidates(network, group, op, name, bytes)]
    return min(found, key=lambda one: one[0])[1]


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


def variants(
    network: Network, group: Group, op: str, name: str, byte_count: float
) -> list[Pattern]:
    """Return the patterns of one algorithm, one for each protocol that it has."""
    return [made for _, made in _candidates(network, group, op, name, byte_count)]


def _candidates(
    network: Network, group: Group, op: str, name: str, byte_count: float
) -> list[tuple[float, Pattern]]:
    """Return patterns, each with the time by which the library's tuner would rank it. [s]

    Inside a domain that is the time itself: the tuner's tables are measured there. Between domains
    it adds fixed times and bytes over bandwidth, and sees neither the fill of the pipeline nor how
    few network ports NVLS-tree uses of a large domain; so it takes that where a ring were faster.
    """
    plain = _rounds(network, group, op, name)
    # A hierarchical all-to-all copies and does not add.
    engines = "rail" if (op, name) == ("all-to-all", "hierarchical") else name
    made = tuple(limit(network, flows, engines, group) for flows in plain)
    seen = made
    wide = len(group.parts) > 1
    if name == "nvls-tree" and wide:
        seen = tuple(limit(network, flows, name, group, few_ports=False) for flows in plain)
    found = []
    for protocol in (0, 1, 2) if name in (*RINGS, "tree") else (2,):
        rounds = tuple(wire(network, flows, protocol) for flows in made) if protocol < 2 else made
        fixed = fixed_s(network, group, op, name, protocol)
        latency = [fixed / len(rounds)] * len(rounds)
        label = str(constants()["nccl"]["protocols"][protocol])
        one = Pattern(op, name, label, group.true_size, rounds, tuple(latency))
        if protocol > 0 and byte_count > 0:
            latency[0] += fill_s(network, group, one, byte_count)
            one = replace(one, latency_s=tuple(latency))
        told = (wire(network, flows, protocol) for flows in seen) if protocol < 2 else seen
        rank_s = fixed + byte_count * sum(pace_s(network, flows) for flows in told)
        found.append((rank_s if wide else alone_s(network, one, byte_count), one))
    return found


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
        cache = network._cache
        if "rail" not in cache:
            cache["rail"] = replace(network, routing="rail", _cache={})
        return BUILDERS[name](cache["rail"], group, op)
    return BUILDERS[name](network, group, op)
