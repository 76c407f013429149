"""What a step would be quicker by if one of its limits were half: what binds it by its margin.

In:  a simulated step, its seconds by part, the times of its kernels, what collectives take of them.
Out: seconds by limit.
Left out: a step simulated anew on a machine with more of something (`study`); sends between
    pipeline ranks, of which what is waited for counts by half.

Twice the matrix units quicken a matrix product until it waits for HBM, and the reverse, and take a
part that its power holds back less far; a host that launches twice as fast helps as far as kernels
wait for it. Traffic that hides under kernels comes out where these are quicker, and slows them
while it lasts: each pipeline rank's operations are played on a clock of their own (`script.play`),
as they are and with one thing twice as quick. The bubble of a pipeline shrinks with the rest.
Exchanges keep their algorithm and protocol, which twice the rate may turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from rackmodel.engine.script import Piece, pieces_of, play
from rackmodel.hardware import Accelerator
from rackmodel.kernels.contention import Contention
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.result.breakdown import DATA_PARALLEL, Runs
from rackmodel.workload.operations import Collective, Compute, Operation, Segment, Wait

if TYPE_CHECKING:
    from rackmodel.engine.step import Step
    from rackmodel.engine.system import ExchangeKind

Floats = npt.NDArray[np.float64]
Stretch: TypeAlias = tuple[Operation, ...]

OF_KERNELS = ("matrix units", "HBM bandwidth", "host launch")
KERNELS = ("compute", "recompute", "optimizer")  # parts of a step in which kernels run


def margins_s(
    step: Step,
    parts_s: Mapping[str, float],
    runs: Sequence[Runs],
    kernels: KernelTimes,
    contention: Contention,
) -> dict[str, float]:
    """Return the seconds that each limit of a step takes and half of it would not.

    parts_s : a result's `breakdown_s`; sends that are waited for, and the bubble, count by half.
    runs : of the pipeline ranks.
    """
    found = _Player(step.exchanges, kernels, contention).saved(runs)
    bubble_s = parts_s.get("bubble", 0.0)
    busy_s = sum(parts_s.values()) - bubble_s - parts_s.get("overhead", 0.0)
    grown = 1.0 + bubble_s / (busy_s or 1.0)
    own = {name: found.pop(name, 0.0) * grown for name in OF_KERNELS}
    waits = {
        name: seconds / 2.0 if name in ("pp", "bubble") else found.get(name, 0.0) * grown
        for name, seconds in parts_s.items()
        if name not in (*KERNELS, "overhead")
    }
    return own | waits


@dataclass(frozen=True, slots=True)
class _Way:
    """One thing twice as quick: a limit of kernels by its number, or the traffic of a part."""

    name: str
    limit: int | None = None


class _Player:
    """Plays what a pipeline rank does, as it is and with one thing twice as quick."""

    def __init__(
        self, exchanges: Sequence[ExchangeKind], kernels: KernelTimes, contention: Contention
    ) -> None:
        self.kernels, self.exchanges = kernels, exchanges
        self.channel = {
            (kind.key.op, kind.key.axis, kind.key.bytes): number
            for number, kind in enumerate(exchanges)
            if kind.key.stages is None
        }
        self.usual = [_taken(kind, kind.pace_bytes_per_s, contention) for kind in exchanges]
        self.doubled = [_taken(kind, kind.doubled_bytes_per_s, contention) for kind in exchanges]
        self.quicker = twice(kernels)
        axes = dict.fromkeys(part_of(axis) for _, axis, _ in self.channel)
        self.ways = [_Way(name, number) for number, name in enumerate(OF_KERNELS)]
        self.ways += [_Way(name) for name in axes]

    def saved(self, runs: Sequence[Runs]) -> dict[str, float]:
        """Return the seconds that each way saves, mean over all ranks."""
        total, known = np.zeros(len(self.ways)), dict[tuple[int, ...], Floats]()
        for program, ranks, visits in runs:
            for key, stretch, times in stretches_of(program.items, visits.tolist()):
                if key not in known:
                    known[key] = self._saved(stretch)
                total += ranks * times * known[key]
        total /= sum(one.ranks for one in runs)
        pairs = zip(self.ways, total.tolist(), strict=True)
        return {way.name: max(0.0, each) for way, each in pairs}

    def _saved(self, stretch: Stretch) -> Floats:
        """Return the seconds that each way saves where nothing is in flight at either end."""
        now_s = play(self._pieces(stretch, self.kernels.compute_s), self._usual).end_s
        found = np.zeros(len(self.ways))
        for number, way in enumerate(self.ways):
            if way.limit is None:
                pieces, exchange = self._pieces(stretch, self.kernels.compute_s), self._quick(way)
            else:
                quicker = self.quicker[way.limit].compute_s
                pieces, exchange = self._pieces(stretch, quicker), self._usual
            found[number] = now_s - play(pieces, exchange).end_s
        return found

    def _pieces(self, stretch: Stretch, seconds: Callable[[Compute], float]) -> Sequence[Piece]:
        return pieces_of(stretch, seconds, self._channel_of, set(), set()).pieces

    def _channel_of(self, operation: Operation) -> int | None:
        if isinstance(operation, Collective):
            return self.channel.get((operation.op, operation.axis, operation.bytes))
        return -1  # a send, which `play` passes over

    def _usual(self, channel: int) -> tuple[float, float]:
        return self.usual[channel]

    def _quick(self, way: _Way) -> Callable[[int], tuple[float, float]]:
        mine = [part_of(kind.key.axis) == way.name for kind in self.exchanges]
        return lambda channel: (self.doubled if mine[channel] else self.usual)[channel]


def part_of(axis: str) -> str:
    """Return the part of a step that traffic of an axis belongs to."""
    return "dp" if axis in DATA_PARALLEL else axis


def _taken(kind: ExchangeKind, pace: float, contention: Contention) -> tuple[float, float]:
    """Return the seconds of a collective at a pace, and the share that it takes of kernels."""
    if not pace:
        return 0.0, 0.0
    key = kind.key
    return key.bytes / pace, contention.share(kind.algorithm, key.op, key.axis, pace)


def stretches_of(
    items: Sequence[Operation | Segment], visits: Sequence[float]
) -> Iterator[tuple[tuple[int, ...], Stretch, float]]:
    """Yield (key, operations, times): items that belong together by the collectives in flight.

    Equal keys have equal operations; sends in flight keep nothing together.
    """
    kept: list[Operation | Segment] = []
    flying: set[str] = set()
    for number, item in enumerate(items):
        kept.append(item)
        for operation in _operations(item):
            if isinstance(operation, Collective) and operation.token is not None:
                flying.add(operation.token)
            elif isinstance(operation, Wait):
                flying.discard(operation.token)
        if not flying or number == len(items) - 1:
            together = tuple(one for each in kept for one in _operations(each))
            yield tuple(each.id for each in kept), together, visits[number]
            kept = []


def _operations(item: Operation | Segment) -> Stretch:
    return item.operations if isinstance(item, Segment) else (item,)


def twice(kernels: KernelTimes) -> tuple[KernelTimes, ...]:
    """Return the times of kernels with twice the FLOP/s, HBM bandwidth, launches per second."""
    part, host = kernels.accelerator, kernels.host_speed
    assert isinstance(part, Accelerator)
    peaks = {name: 2.0 * rate for name, rate in part.flops_per_s.items()}
    ways = (
        (replace(part, flops_per_s=peaks), host),
        (replace(part, hbm_bytes_per_s=2.0 * part.hbm_bytes_per_s), host),
        (part, 2.0 * host),
    )
    return tuple(
        KernelTimes(
            own,
            clock=kernels.clock,
            cuda_graphs=kernels.cuda_graphs,
            host_speed=speed,
            constants=kernels.constants,
            software=kernels.software,
        )
        for own, speed in ways
    )
