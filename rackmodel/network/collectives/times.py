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
from typing import Any

import numpy as np

from rackmodel.annotations import Graph
from rackmodel.columns import Floats
from rackmodel.errors import CannotRun, InvalidInput, UnknownName
from rackmodel.network.arrays import Routing
from rackmodel.network.collectives.bounds import binding, bound_s
from rackmodel.network.collectives.costs import beyond_s, fixed_s, reach_of, send_limits
from rackmodel.network.collectives.flows import alone_s, flows_between
from rackmodel.network.collectives.groups import Group, make_group
from rackmodel.network.collectives.halving_doubling import NAME as HALVING
from rackmodel.network.collectives.registry import ALGORITHM, ALGORITHMS, EXCHANGES, OPS, PASSES
from rackmodel.network.collectives.tuner import choose
from rackmodel.network.collectives.wide_exchange import all_to_all_loads, levelled
from rackmodel.network.graph import Network
from rackmodel.network.routing import STRATEGIES
from rackmodel.network.symmetry import COLLECTIVE_PERIODS, PERIODS, stand_in
from rackmodel.topology import Topology

MOST_HASHED = (20_000, 600)  # accelerators in a collective, in an all-to-all
# Algorithms of one message a pair.
PAIRWISE = ("direct", "gpu-initiated", "low-latency", "low-latency-nic")
PAIRWISE_MEMBERS = 72  # all-to-all among more is reckoned by loads, not flow by flow


def run_collective(
    machine: Topology | Graph[Any],
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
    UnknownName.check("collective", op, OPS)
    if algorithm is not None and algorithm not in ALGORITHMS[op]:
        raise UnknownName.among(f"algorithm for {op}", algorithm, ALGORITHMS[op])
    wanted = _sizes(sizes)
    least = 2 if op == "send" else 1
    if gpus < least:
        raise InvalidInput(f"{op} needs at least {least} accelerators, got {gpus}")
    fold = fold and not _whole(machine, op, algorithm, gpus, routing)
    periods = PERIODS if algorithm == HALVING else COLLECTIVE_PERIODS
    network, present, period = _network(machine, gpus, periods if fold else None, routing, seed)
    domains = _domains(network, present, gpus, period)
    repeats = period if present < gpus else None
    group = make_group(network, range(present), gpus, domains, repeats)
    name = algorithm or (ALGORITHMS[op][0] if op in EXCHANGES else "")
    if name in PAIRWISE and (repeats or gpus > PAIRWISE_MEMBERS):
        alike = STRATEGIES[routing].spread and hasattr(machine, "period")
        equal = repeats is not None or (alike and levelled(network))
        return _wide_direct(network, group, op, name, wanted, coloured=equal)
    try:
        patterns = [choose(network, group, op, size, algorithm) for size in wanted]
    except CannotRun:  # the links of this machine tell far partners apart: see `halving_doubling`
        if repeats is None or gpus > _most_whole(algorithm):
            raise
        return run_collective(
            machine, op, wanted, gpus, algorithm, fold=False, routing=routing, seed=seed
        )
    rows = []
    for size, made in zip(wanted, patterns, strict=True):
        row = _row(network, group, op, size, alone_s(network, made, size))
        words = {"algorithm": made.algorithm, "protocol": made.protocol}
        rows.append(row | words | {"binds": binding(network, made, size)})
    return rows


def collective_s(
    machine: Topology | Graph[Any],
    op: str,
    sizes: Iterable[float],
    gpus: int,
    algorithms: Sequence[str],
) -> Floats:
    """Return what the quickest of some algorithms takes over the first `gpus` accelerators. [s]

    What kernels of serving ask: an all-reduce of a tensor-parallel group takes the quicker of
    ("one-shot", "two-shot", "ring"), tokens go to their experts by ("low-latency",).

    Parameters
    ----------
    sizes : S sizes as `run_collective` takes them; of "dispatch" and "combine" all copies that one
        member sends: tokens x experts a token x bytes of a token. [bytes]
    algorithms : of `ALGORITHMS[op]`; those that a group can't run (one kernel beyond a scale-up
        domain) are passed over.

    Returns
    -------
    float[S].

    Raises
    ------
    As `run_collective` does, and the last refusal where no algorithm of those named can run.

    Examples
    --------
    >>> from rackmodel.topology import load_topology
    >>> sizes = [128 * 8 * 7392]  # 128 tokens of 7,168 bytes and scales, 8 experts each
    >>> collective_s(load_topology("dgx-h100"), "dispatch", sizes, 64, ("low-latency",)).round(5)
    array([0.00017])
    """
    wanted = _sizes(sizes)
    best, refused = np.full(len(wanted), math.inf), None
    for name in algorithms:
        try:
            rows = run_collective(machine, op, wanted, gpus, name)
        except InvalidInput as error:
            refused = error
            continue
        best = np.minimum(best, [float(str(row["time_s"])) for row in rows])
    if refused is not None and not np.isfinite(best).all():
        raise refused
    return best


def _most_whole(algorithm: str | None) -> int:
    """Return up to how many members an algorithm that does not repeat is simulated whole, or 0."""
    return (ALGORITHM[algorithm].most_whole or 0) if algorithm else 0


def _whole(
    machine: Topology | Graph[Any], op: str, algorithm: str | None, gpus: int, routing: Routing
) -> bool:
    """Say whether a collective needs all of the machine, because a stand-in would not show it.

    Messages that are passed on repeat where no period is left over; single paths, chosen by hash or
    by the order of links, repeat nowhere.

    Raises
    ------
    CannotRun
        If that would be too much.
    """
    period = machine.period(gpus) if hasattr(machine, "period") else gpus
    exchange, most = op in EXCHANGES, _most_whole(algorithm)
    if not STRATEGIES[routing].spread:
        most, why = MOST_HASHED[exchange], f"single paths ({routing}) do"
        hint = "or for another routing"
    elif algorithm == HALVING or (exchange and most):
        repeating = period < gpus and PERIODS * period <= most
        if repeating if algorithm == HALVING else gpus % period == 0:
            return False
        why = f"{algorithm!r} does"
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
        raise InvalidInput("no sizes; give some bytes")
    for size in found:
        if not math.isfinite(size) or size <= 0:
            raise InvalidInput(f"bytes must be finite and above 0, got {size!r}")
    return found


def _network(
    machine: Topology | Graph[Any], gpus: int, periods: int | None, routing: Routing, seed: int
) -> tuple[Network, int, int]:
    """Return the network, the members present in it, and the period.

    periods : whole periods that a stand-in keeps at least; None for all of the machine.
    """
    if not hasattr(machine, "period"):
        period = present = gpus
        network = Network.from_graph(machine, routing=routing, seed=seed)
    else:
        period, present = machine.period(gpus), gpus
        domain = getattr(machine, "domain_accelerators", None)
        if periods is not None and period < gpus:
            present = stand_in(gpus, period, domain, periods)
        tiers_of = getattr(machine, "tiers_of", None)
        made = machine if tiers_of is None or present == gpus else tiers_of(gpus)
        network = Network.of_machine(made, present, routing=routing, seed=seed)
    have = len(network.accelerator_nodes)
    if present > have:
        raise CannotRun(f"the machine has {have} accelerators; {gpus} were asked for")
    return network, present, period


def _row(network: Network, group: Group, op: str, size: float, time_s: float) -> dict[str, object]:
    rate = size / time_s if time_s > 0 else 0.0
    limit, by = bound_s(network, op, group, size)
    return {
        "op": op,
        "bytes": size,
        "gpus": group.true_size,
        "algorithm": "",
        "protocol": "Simple",
        "time_s": time_s,
        "algbw_bytes_per_s": rate,
        "busbw_bytes_per_s": rate * bus_factor(op, group.true_size),
        "bound_s": limit,
        "bound_by": by,
    }


def _wide_direct(
    network: Network, group: Group, op: str, name: str, sizes: Sequence[float], *, coloured: bool
) -> list[dict[str, object]]:
    """All pairs by the loads of links: by colours where the machine is regular."""
    period = group.period or group.true_size
    load, capacity, inside, outside = all_to_all_loads(
        network, group.members, group.true_size, period, coloured=coloured
    )
    used = np.divide(load, capacity, out=np.zeros(len(load)), where=capacity > 0)
    near, far, by = send_limits(network, group, name, op)
    passes = PASSES.get(op, 1.0)
    if reach_of(network, name, op).by_nic:
        inside, outside = 0.0, inside + outside
    spans = {
        "links": passes * float(used.max()),
        "copy engines": passes * inside / near if inside > 0 else 0.0,
        by: passes * outside / far if outside > 0 else 0.0,
    }
    slowest = max(spans, key=lambda part: spans[part])
    others = group.nodes[1:]  # seen from one of many alike
    first = np.repeat(group.nodes[:1], len(others))
    seen = flows_between(network, first, others, np.ones(len(others)))
    fixed = fixed_s(network, group, op, name, beyond=beyond_s(network, group, (seen,), name))
    rows = []
    for size in sizes:
        time_s = fixed + size * spans[slowest]
        binds = "latency" if fixed > time_s / 2 else slowest
        rows.append(_row(network, group, op, size, time_s) | {"algorithm": name, "binds": binds})
    return rows
