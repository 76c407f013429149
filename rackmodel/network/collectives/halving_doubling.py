"""Recursive halving and doubling, on a whole group or on a stand-in of it.

In:  a group on a network and an operation.
Out: rounds of flows; round k exchanges half of what is left with member i ^ 2^k.
Left out: fixed times and protocols; see `costs`.

Members beyond the largest power of two hand their data to a partner first and get it back last.
Source: Thakur, Rabenseifner, Gropp, "Optimization of collective communication operations in MPICH",
2005.

Partners at powers of two never repeat with a machine of period P, but each period of it sees only
few of them. With a stride s below P, partners stand in the same or the next period, and what they
load there depends on the offset of the period, modulo 2 s, alone. From P on, everyone in a period
sends to another period: no link can tell which. All members send the same, so a round takes what
its busiest link takes, and that is found by looking at one period for each offset.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.network.collectives.costs import limit
from rackmodel.network.collectives.flows import Flows, flows_between, link_load, pace_s
from rackmodel.network.collectives.groups import Group
from rackmodel.network.collectives.registry import REDUCING, Rounds, Steps, algorithm
from rackmodel.network.graph import Network
from rackmodel.network.symmetry import PERIODS

BLOCKS = PERIODS  # that a stand-in shows: one, and those that its members' partners stand in
NAME = "halving-doubling"


def _steps_s(steps: Steps) -> float:
    near = math.log2(max(1.0, steps.inner)) * steps.inside_s
    return steps.base_s + steps.passes * (near + math.log2(steps.domains) * steps.outside_s)


@algorithm(NAME, REDUCING, steps_s=_steps_s, table="tree", passes_on=False, most_whole=20_000)
def halving_doubling(network: Network, group: Group, op: str) -> Rounds:
    """Return the rounds of `op`, one after another.

    Raises
    ------
    InvalidInput
        If the group stands in for a larger one without its period, or with too few of them.
    CannotRun
        If the machine's links tell far partners apart, so that a stand-in shows too little.
    """
    size = group.true_size
    core = 1 << (size.bit_length() - 1)
    strides = [core >> (k + 1) for k in range(core.bit_length() - 1)]
    if size == len(group.members):
        own = np.arange(core)
        one = {s: _flows(network, group, own, own ^ s) for s in strides}
        extra = np.arange(size - core)
        given = _flows(network, group, core + extra, extra)
    else:
        one, given = _folded(network, group, core, strides)
    rounds = [
        replace(one[s], share=np.full(len(one[s]), 0.5 ** (k + 1))) for k, s in enumerate(strides)
    ]
    if op == "all-gather":
        rounds.reverse()
    elif op == "all-reduce":
        rounds += rounds[::-1]
    if size > core:
        if op != "all-gather":
            rounds.insert(0, given)
        if op != "reduce-scatter":
            rounds.append(flows_between(network, given.target, given.source, given.share))
    return tuple(rounds)


def _flows(network: Network, group: Group, first: Ints, second: Ints) -> Flows:
    return flows_between(network, group.nodes[first], group.nodes[second], np.ones(len(first)))


def _folded(
    network: Network, group: Group, core: int, strides: list[int]
) -> tuple[dict[int, Flows], Flows]:
    """Return the flows of each stride and those of the members beyond `core`, where they bind."""
    period, size = group.period, group.true_size
    if period is None or len(group.members) < BLOCKS * period:
        raise InvalidInput(
            f"{NAME} needs a stand-in of {BLOCKS} whole periods; try algorithm 'ring'"
        )
    own = np.arange(period)
    far = _flows(network, group, np.r_[own, own + period], np.r_[own + period, own])
    if any(s >= period for s in strides):
        _check_far(network, group, period, strides)
    found: dict[int, Flows] = {}
    for stride in strides:
        near = stride < period
        pairs = _near(core, period, stride) if near else iter(())
        found[stride] = _slowest(network, group, pairs) if near else far
    if size == core or size - core >= BLOCKS * period:
        return found, _flows(network, group, own, own + period)
    return found, _slowest(network, group, _beyond(core, size, period))


def _near(core: int, period: int, stride: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield senders and receivers with an end in one period, the others beside it."""
    full = core // period
    offsets = 2 * stride // math.gcd(period, 2 * stride)
    blocks = list(range(min(full, offsets)))
    if core % period:
        blocks.append(full)
    for block in blocks:
        here = np.arange(block * period, min((block + 1) * period, core))
        there = here ^ stride
        away = (there < here[0]) | (there > here[-1])
        first, second = np.r_[here, there[away]], np.r_[there, here[away]]
        yield first - (block - 1) * period, second - (block - 1) * period


def _beyond(core: int, size: int, period: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield senders beyond `core` and receivers, once for each period of either."""
    extra = np.arange(size - core)
    for mine, other in ((core + extra, extra), (extra, core + extra)):
        for block in np.unique(mine // period).tolist():
            here = mine // period == block
            own = mine[here] % period
            # The partners stand in two periods at most.
            far = other[here] - (int(other[here][0]) // period - 1) * period
            yield (own, far) if mine[0] >= core else (far, own)


def _slowest(network: Network, group: Group, pairs: Iterator[tuple[Ints, Ints]]) -> Flows:
    best, most = None, -1.0
    for first, second in pairs:
        flows = _flows(network, group, first, second)
        pace = pace_s(network, limit(network, flows, NAME, group))
        if pace > most:
            best, most = flows, pace
    assert best is not None, "a stride below the group's size joins someone"
    return best


def _check_far(network: Network, group: Group, period: int, strides: list[int]) -> None:
    """See to it that links do not tell which member of another period is sent to, or receives from.

    Places of partners differ by a stride, up or down. Each member has a weight of its own, so that
    equal loads mean an equal part of every one of them.
    """
    own, weight = np.arange(period), np.random.default_rng(1).uniform(1, 2, period)

    def load(first: Ints, second: Ints) -> Floats:
        return link_load(network, replace(_flows(network, group, first, second), share=weight))

    leaving = (load(own, own + period) > 0) & (load(own, own + 2 * period) > 0)
    arriving = (load(own, own + period) > 0) & (load(own + 2 * period, own + period) > 0)
    wanted = load(own, own + period)
    same = not (wanted[~(leaving | arriving)] > 0).any()
    for step in sorted({x % period for s in strides if s >= period for x in (s, -s)}):
        sent = load(own, (own + step) % period + period)
        got = load((own - step) % period, own + period)
        same &= np.allclose(sent[leaving], wanted[leaving], rtol=1e-12, atol=0)
        same &= np.allclose(got[arriving], wanted[arriving], rtol=1e-12, atol=0)
    if not same:
        raise CannotRun(
            f"{NAME} over {group.true_size:,} accelerators does not repeat along this machine,"
            " whose links tell far partners apart; try algorithm 'ring'"
        )
