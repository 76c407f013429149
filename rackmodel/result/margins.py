"""What a step would be quicker by if one of its limits were half: what binds it by its margin.

In:  exchanges of a simulated step, its seconds by part, the times of its kernels, what collectives
     take of them.
Out: seconds by limit; which of them binds.
Left out: a step simulated anew on a machine with more of something (`study`); sends between
    pipeline ranks, of which what is waited for counts by half.

Twice the matrix units quicken a matrix product until it waits for HBM, and the reverse, and take a
part that its power holds back less far; a host that launches twice as fast helps as far as kernels
wait for it. Traffic that hides under kernels comes out where these are quicker, and slows them
while it lasts: each pipeline rank's operations are played on a clock of their own
(`crowded.play_s`), as they are and with one thing twice as quick. The bubble of a pipeline shrinks
with the rest.
On wires of twice the rate libraries choose algorithm and protocol anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Floats
from rackmodel.engine.script import Join, KernelRun, Piece, pieces_of
from rackmodel.engine.system import ExchangeKind
from rackmodel.hardware import Accelerator
from rackmodel.kernels.contention import Contention
from rackmodel.kernels.kernel_time import KernelTimes
from rackmodel.result.breakdown import DATA_PARALLEL, Runs
from rackmodel.result.crowded import play_s
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Item,
    Operation,
    Transfer,
    Wait,
    operations_of,
)

OF_KERNELS = ("matrix units", "HBM bandwidth", "host launch")
KERNELS = ("compute", "recompute", "optimizer")  # parts of a step in which kernels run


def margins_s(
    exchanges: Sequence[ExchangeKind],
    doubled: Sequence[float],
    parts_s: Mapping[str, float],
    runs: Sequence[Runs],
    kernels: KernelTimes,
    contention: Contention,
) -> dict[str, float]:
    """Return the seconds that each limit of a step takes and half of it would not.

    exchanges : of the step. doubled : their pace on links of twice the rate.
    parts_s : a result's `breakdown_s`; sends that are waited for, and the bubble, count by half.
    runs : of the pipeline ranks.
    """
    found = _Player(exchanges, doubled, kernels, contention).saved(runs)
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


def binding(found: Mapping[str, float]) -> str:
    """Name the limit with the largest of `margins_s`.

    Wires are bought for all traffic at once: where they bind, the largest part of it is named.
    """
    own = {name: found[name] for name in (*OF_KERNELS, "bubble") if name in found}
    traffic = {name: value for name, value in found.items() if name not in own}
    wires = sum(traffic.values()) > max(own.values())
    return max(traffic if wires else own, key=lambda name: found[name])


class _Way(NamedTuple):
    """A step as it is, or with one thing twice as quick."""

    name: str
    compute_s: Callable[[Compute], float]
    exchange_of: Callable[[int], tuple[float, float]]


class _Player:
    """Plays what a pipeline rank does, as it is and with one thing twice as quick."""

    def __init__(
        self,
        exchanges: Sequence[ExchangeKind],
        doubled: Sequence[float],
        kernels: KernelTimes,
        contention: Contention,
    ) -> None:
        collective = [kind.key.stages is None for kind in exchanges]
        self.channel = {
            (kind.key.op, kind.key.axis, kind.key.bytes): number
            for number, kind in enumerate(exchanges)
            if collective[number]
        }
        usual = [_taken(kind, kind.pace_bytes_per_s, contention) for kind in exchanges]
        told = zip(exchanges, doubled, strict=True)
        twice_as_quick = [_taken(kind, pace, contention) for kind, pace in told]
        parts = [part_of(kind.key.axis) for kind in exchanges]
        self.ways = [_Way("", kernels.compute_s, usual.__getitem__)]
        for name, quick in zip(OF_KERNELS, twice(kernels), strict=True):
            self.ways.append(_Way(name, quick.compute_s, usual.__getitem__))
        for name in dict.fromkeys(part_of(axis) for _, axis, _ in self.channel):
            both = zip(usual, twice_as_quick, parts, strict=True)
            mixed = [quick if part == name else slow for slow, quick, part in both]
            self.ways.append(_Way(name, kernels.compute_s, mixed.__getitem__))
        self.crowding = [kind.crowding for kind in exchanges]
        self.crowded = any(map(any, self.crowding))
        self._alone_s: dict[int, Floats] = {}
        self._known: dict[tuple[int, int], Sequence[Piece]] = {}  # by ids of items, ways
        self._work_s: list[dict[int, float]] = [{} for _ in self.ways]  # by id of a `Compute`

    def saved(self, runs: Sequence[Runs]) -> dict[str, float]:
        """Return the seconds that each way saves, mean over all ranks."""
        total, known = np.zeros(len(self.ways)), dict[tuple[int, ...], Floats]()
        for program, ranks, visits in runs:
            for items, times in stretches_of(program.items, visits.tolist()):
                key = tuple(item.id for item in items)
                if key not in known:
                    known[key] = self._seconds(items)
                total += ranks * times * known[key]
        total /= sum(one.ranks for one in runs)
        saved = np.maximum(0.0, total[0] - total)[1:].tolist()
        return {way.name: each for way, each in zip(self.ways[1:], saved, strict=True)}

    def _seconds(self, items: Sequence[Item]) -> Floats:
        """Return the seconds of items each way; nothing is in flight at either end."""
        if len(items) == 1:
            return self._alone(items[0])
        whole = [ends_alone(item) and not self.crowded for item in items]
        gone = set[str]()  # exchanges that vanished, which later items wait for
        cuts = [
            None if alone else self._cut(item, gone)
            for item, alone in zip(items, whole, strict=True)
        ]
        return self._each_way(lambda number: self._joined(items, cuts, number), any(whole))

    def _joined(
        self, items: Sequence[Item], cuts: Sequence[Sequence[Piece] | None], number: int
    ) -> list[Piece]:
        """Return the pieces of items that follow one another; what ends alone is kernels.

        cuts : of the items, None of those that end alone.
        """
        pieces = list[Piece]()
        for item, cut in zip(items, cuts, strict=True):
            if cut is not None:
                pieces += self._timed(item, cut, number)
                continue
            work_s = float(self._alone(item)[number])
            if pieces and isinstance(last := pieces[-1], KernelRun):
                work_s += last.work_s
                pieces.pop()
            pieces.append(KernelRun(0, work_s, ()))
        return pieces

    def _each_way(self, pieces_of_way: Callable[[int], Sequence[Piece]], anew: bool) -> Floats:
        """Return the seconds of pieces each way; a way that changes nothing in them is as usual.

        anew : whether every way has pieces of its own, not only those of kernels.
        """
        usual = pieces_of_way(0)
        axes = {part_of(piece.axis) for piece in usual if isinstance(piece, Join)}
        found = np.full(len(self.ways), play_s(usual, self.ways[0].exchange_of, self.crowding))
        for number, way in enumerate(self.ways):
            own = anew or way.name in OF_KERNELS
            if number and (own or way.name in axes):
                pieces = pieces_of_way(number) if own else usual
                found[number] = play_s(pieces, way.exchange_of, self.crowding)
        return found

    def _alone(self, item: Item) -> Floats:
        known = self._alone_s.get(item.id)
        if known is None:
            cut = self._cut(item, set())
            known = self._each_way(lambda number: self._timed(item, cut, number), anew=False)
            self._alone_s[item.id] = known
        return known

    def _cut(self, item: Item, gone: set[str]) -> Sequence[Piece]:
        """Return what an item is as things are; `gone` is for exchanges that others wait for."""
        if (known := self._known.get((item.id, 0))) is not None:
            return known
        operations = operations_of(item)
        pieces = pieces_of(operations, self._seconds_of(0), self._channel_of, gone, set()).pieces
        if ends_alone(item):
            self._known[item.id, 0] = pieces
        return pieces

    def _timed(self, item: Item, cut: Sequence[Piece], number: int) -> Sequence[Piece]:
        """Return the pieces of an item with kernels as quick as a way has them."""
        if self.ways[number].name not in OF_KERNELS:
            return cut
        key = item.id, number
        if (known := self._known.get(key)) is not None:
            return known
        operations, seconds = operations_of(item), self._seconds_of(number)
        pieces = [
            KernelRun(one.first, sum([seconds(operations[at]) for at, _ in one.parts]), one.parts)
            if isinstance(one, KernelRun)
            else one
            for one in cut
        ]
        if (item.id, 0) in self._known:
            self._known[key] = pieces
        return pieces

    def _seconds_of(self, number: int) -> Callable[[Operation], float]:
        """Return the seconds of kernels under a way; equal layers run the same ones."""
        compute_s, known = self.ways[number].compute_s, self._work_s[number]

        def seconds(operation: Operation) -> float:
            found = known.get(operation.id)
            if found is None:
                assert isinstance(operation, Compute)
                found = known[operation.id] = compute_s(operation)
            return found

        return seconds

    def _channel_of(self, operation: Operation) -> int | None:
        if isinstance(operation, Collective):
            return self.channel.get((operation.op, operation.axis, operation.bytes))
        return -1  # a send, which `play` passes over


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
    items: Sequence[Item], visits: Sequence[float]
) -> Iterator[tuple[Sequence[Item], float]]:
    """Yield items that belong together by the collectives in flight, and how often they come.

    Sends in flight keep nothing together.
    """
    kept: list[Item] = []
    flying: set[str] = set()
    known: dict[int, bool] = {}
    for item, times in zip(items, visits, strict=True):
        if isinstance(item, Transfer) or (isinstance(item, Wait) and item.token not in flying):
            continue
        kept.append(item)
        if item.id not in known:
            known[item.id] = ends_alone(item)
        if not known[item.id]:
            for operation in operations_of(item):
                if isinstance(operation, Collective) and operation.token is not None:
                    flying.add(operation.token)
                elif isinstance(operation, Wait):
                    flying.discard(operation.token)
        if not flying:
            yield kept, times
            kept = []
    if kept:
        yield kept, 1.0


def ends_alone(item: Item) -> bool:
    """Return whether all that an item waits for begins in it, and all that begins ends in it."""
    flying: set[str] = set()
    for operation in operations_of(item):
        if isinstance(operation, Collective) and operation.token is not None:
            flying.add(operation.token)
        elif isinstance(operation, Wait):
            if operation.token not in flying:
                return False
            flying.remove(operation.token)
    return not flying


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
