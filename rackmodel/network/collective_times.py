"""Collectives in a table, as nccl-tests prints them: size, time, bandwidths, and the bound.

In:  a machine (anything with `graph(n, bundled=True)` and `period(n)`, or a networkx graph), an
     operation, sizes, the number of accelerators.
Out: one row a size.
Left out: other traffic; each collective has the machine to itself.

Machines that repeat are not built whole: a stand-in of two periods and the remainder has the same
flows and times, with the true number of members in every formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.network.algorithms import PASSES
from rackmodel.network.arrays import Routing
from rackmodel.network.bounds import binding, bound_s
from rackmodel.network.costs import fixed_s, send_limits
from rackmodel.network.doubling import BLOCKS
from rackmodel.network.folded import all_to_all_loads, levelled
from rackmodel.network.graph import Network
from rackmodel.network.groups import make_group
from rackmodel.network.library import ALGORITHMS, OPS, pattern
from rackmodel.network.patterns import alone_s

if TYPE_CHECKING:
    import networkx as nx

PERIODS = 2  # whole periods that a stand-in keeps at least
TREE_DOMAINS = 8
MOST_ALIGNED = 4096
# Largest groups of the algorithms that do not repeat along a machine (see `_whole`).
MOST_UNFOLDED = {"halving-doubling": 20_000, "rail": 1_500, "hierarchical": 20_000}
HASHED = ("ecmp", "single")
MOST_HASHED = (20_000, 600)  # accelerators in a collective, in an all-to-all
PAIRWISE_MEMBERS = 72  # all-to-all among more is reckoned by loads, not flow by flow


class Machine(Protocol):
    """What a description of a machine has to offer."""

    def graph(self, accelerators: int, *, bundled: bool = False) -> nx.DiGraph[Any]:
        """Return the graph for that many accelerators."""
        ...

    def period(self, accelerators: int) -> int:
        """Return after how many accelerators the machine repeats."""
        ...


def stand_in(size: int, period: int, domain: int | None = None, periods: int = PERIODS) -> int:
    """Return how many accelerators show the same as `size`: the remainder and a few periods.

    At least `periods` are kept, and eight scale-up domains (of `domain` accelerators): those hold
    every place that a tree over any number of them has. An even number of periods is left out,
    since even and odd numbers of domains have different trees. Which of a tree's hops leave a pod
    depends on where it begins, modulo a power of two; all such places are kept if `MOST_ALIGNED`
    accelerators hold them. Larger pods of an odd number of domains rely on uplinks that let through
    what the NICs below them send.

    >>> stand_in(1_000_080, 72), stand_in(1_000_080, 576, 72), stand_in(100, 72)
    (576, 1296, 100)
    >>> stand_in(1_000, 12, 4)  # pods of three domains
    112
    """
    whole = size // period
    each = max(1, period // (domain or period))  # domains of a period
    kept = max(periods, math.ceil(TREE_DOMAINS / each))
    wide = 2 << (each - 1).bit_length()  # hops of this many domains and more leave any pod
    places = wide // math.gcd(wide, each)
    if each > 1 and places * period <= MOST_ALIGNED:
        kept = max(kept, places)
    kept += (whole - kept) % 2
    return min(size, size % period + kept * period)


def run_collective(
    machine: Machine | nx.Graph[Any],
    op: str,
    sizes: Iterable[float],
    gpus: int,
    algorithm: str | None = None,
    *,
    fold: bool = True,
    routing: Routing = "spray",
    seed: int = 0,
) -> list[dict[str, object]]:
    """Run one collective over the first `gpus` accelerators, for each size.

    Parameters
    ----------
    sizes : bytes as nccl-tests counts them.
    algorithm : one of `ALGORITHMS[op]`; the fastest estimate for each size if left out.
    fold : use a stand-in where the machine repeats; the answer is the same.

    Returns
    -------
    Rows with op, bytes, gpus, algorithm, protocol, time_s, algbw_bytes_per_s, busbw_bytes_per_s,
    bound_s (what the links allow at best), bound_by (the cut that sets it), binds (what sets
    time_s).

    Raises
    ------
    UnknownName, InvalidInput, CannotRun
        For an unknown operation or algorithm, sizes that are not sensible, too many accelerators.
    """
    if op not in OPS:
        raise UnknownName.among("collective", op, OPS)
    if algorithm is not None and algorithm not in ALGORITHMS[op]:
        raise UnknownName.among(f"algorithm for {op}", algorithm, ALGORITHMS[op])
    wanted = _sizes(sizes)
    least = 2 if op == "send" else 1
    if gpus < least:
        raise InvalidInput(f"{op} needs at least {least} accelerators, got {gpus}")
    fold = fold and not _whole(machine, op, algorithm, gpus, routing)
    periods = BLOCKS if algorithm == "halving-doubling" else PERIODS
    network, present, period = _network(machine, gpus, fold, periods, routing, seed)
    members = list(range(present))
    domains = _domains(network, present, gpus, period)
    wide = present < gpus or gpus > PAIRWISE_MEMBERS
    pairs = algorithm or ("direct" if op == "all-to-all" else "")
    if wide and pairs in ("direct", "gpu-initiated"):
        alike = routing not in HASHED and hasattr(machine, "period")
        equal = present < gpus or (alike and levelled(network))
        return _wide_direct(network, op, pairs, wanted, present, gpus, period, domains, equal)
    repeats = period if present < gpus else None
    group = make_group(network, members, gpus, domains, repeats)
    rows = []
    for size in wanted:
        try:
            made = pattern(
                network,
                op,
                members,
                size,
                algorithm=algorithm,
                true_size=gpus,
                true_domains=domains,
                period=repeats,
            )
        except CannotRun:  # the links of this machine tell far partners apart: see `doubling`
            if repeats is None or gpus > MOST_UNFOLDED.get(str(algorithm), 0):
                raise
            return run_collective(
                machine, op, wanted, gpus, algorithm, fold=False, routing=routing, seed=seed
            )
        time_s = alone_s(network, made, size)
        limit, by = bound_s(network, op, group, size)
        rows.append(_row(op, size, gpus, made.algorithm, made.protocol, time_s, limit, by))
        rows[-1]["binds"] = binding(network, made, size)
    return rows


def _whole(
    machine: Machine | nx.Graph[Any], op: str, algorithm: str | None, gpus: int, routing: Routing
) -> bool:
    """Say whether a collective needs all of the machine, because a stand-in would not show it.

    Messages that are passed on repeat where no period is left over; single paths, chosen by hash or
    by the order of links, repeat nowhere.

    Raises
    ------
    CannotRun
        If that would be too much.
    """
    period = cast("Machine", machine).period(gpus) if hasattr(machine, "period") else gpus
    exchange = op == "all-to-all"
    if routing in HASHED:
        most, why = MOST_HASHED[exchange], f"single paths ({routing}) do"
        hint = "or for another routing"
    elif algorithm in MOST_UNFOLDED and (exchange or algorithm != "hierarchical"):
        if algorithm == "halving-doubling":
            folds = period < gpus and BLOCKS * period <= MOST_UNFOLDED[algorithm]
        else:
            folds = exchange and gpus % period == 0
        if folds:
            return False
        most, why = MOST_UNFOLDED[str(algorithm)], f"{algorithm!r} does"
        hint = ("for whole periods of it, " if exchange else "") + "or for another algorithm"
    else:
        return False
    if gpus > most and hasattr(machine, "period"):
        raise CannotRun(
            f"{op} over {gpus:,} accelerators: {why} not repeat along this machine and would need"
            f" all of it: ask for at most {most:,}, {hint}"
        )
    return True


def _domains(network: Network, present: int, gpus: int, period: int) -> int:
    """Return the scale-up domains of the whole group: those present and those stood in for."""
    here = len(np.unique(network.domain_of[:present]))
    whole = len(np.unique(network.domain_of[: min(period, present)]))
    return here + (gpus - present) // period * whole


def bus_factor(op: str, gpus: int) -> float:
    """Return bus bandwidth over algorithm bandwidth, as nccl-tests defines it."""
    if op == "all-reduce":
        return 2 * (gpus - 1) / gpus
    return 1.0 if op in ("broadcast", "send") else (gpus - 1) / gpus


def _sizes(sizes: Iterable[float]) -> Sequence[float]:
    found = [float(size) for size in sizes]
    if not found:
        raise InvalidInput("no sizes given")
    for size in found:
        if not math.isfinite(size) or size <= 0:
            raise InvalidInput(f"bytes must be finite and above 0, got {size!r}")
    return found


def _network(
    machine: Machine | nx.Graph[Any],
    gpus: int,
    fold: bool,
    periods: int,
    routing: Routing,
    seed: int,
) -> tuple[Network, int, int]:
    """Return the network, the members present in it, and the period."""
    if not hasattr(machine, "period"):
        period, present = gpus, gpus
        network = Network.from_graph(machine, routing=routing, seed=seed)
    else:
        period = cast("Machine", machine).period(gpus)
        domain = getattr(machine, "domain_accelerators", None)
        present = stand_in(gpus, period, domain, periods) if fold and period < gpus else gpus
        network = Network.of_machine(machine, present, routing=routing, seed=seed)
    have = len(network.accelerator_nodes)
    if present > have:
        raise CannotRun(f"the machine has {have} accelerators; {gpus} were asked for")
    return network, present, period


def _row(
    op: str,
    size: float,
    gpus: int,
    algorithm: str,
    protocol: str,
    time_s: float,
    limit: float,
    by: str,
) -> dict[str, object]:
    rate = size / time_s if time_s > 0 else 0.0
    return {
        "op": op,
        "bytes": size,
        "gpus": gpus,
        "algorithm": algorithm,
        "protocol": protocol,
        "time_s": time_s,
        "algbw_bytes_per_s": rate,
        "busbw_bytes_per_s": rate * bus_factor(op, gpus),
        "bound_s": limit,
        "bound_by": by,
    }


def _wide_direct(
    network: Network,
    op: str,
    name: str,
    sizes: Sequence[float],
    present: int,
    gpus: int,
    period: int,
    domains: int,
    equal: bool,
) -> list[dict[str, object]]:
    """All pairs by the loads of links: by colours where the machine is regular (`equal`)."""
    members = np.arange(present)
    load, capacity, inside, outside = all_to_all_loads(
        network, members, gpus, period, coloured=equal
    )
    group = make_group(network, members.tolist(), gpus, domains)
    used = np.divide(load, capacity, out=np.zeros(len(load)), where=capacity > 0)
    near, far = send_limits(network, group, name)
    passes = PASSES.get(op, 1.0)
    spans = {
        "links": passes * float(used.max()),
        "copy engines": passes * inside / near if inside > 0 else 0.0,
        "copy engines (network)": passes * outside / far if outside > 0 else 0.0,
    }
    by_name = max(spans, key=lambda name: spans[name])
    rows = []
    for size in sizes:
        fixed = fixed_s(network, group, op, name)
        time_s = fixed + size * spans[by_name]
        limit, by = bound_s(network, op, group, size)
        row = _row(op, size, gpus, name, "Simple", time_s, limit, by)
        row["binds"] = "latency" if fixed > time_s / 2 else by_name
        rows.append(row)
    return rows


__all__ = ["Machine", "bus_factor", "run_collective", "stand_in"]
