"""Seconds of any step of a worker, between steps that the engine has simulated on the graph.

In:  the simulated steps of a job.
Out: `StepTimes`: seconds of a load, in a microsecond or two.
Left out: what a step is made of.

Steps are simulated at points of a grid of sequences, context, prompts, their length and what is
cached of them, when a load first comes near; between the points time is linear in each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from rackmodel.workload.serving.load import Load

Axis: TypeAlias = tuple[float, float]  # the points around a value


class Times(Protocol):
    """Seconds of a step with so many sequences of a mean context, and pieces of prompts."""

    def __call__(
        self, sequences: float, context: float, prompts: float, piece: float, before: float
    ) -> float:
        """Return the seconds of a step."""
        ...


@dataclass(slots=True)
class StepTimes:
    """Seconds of steps; `simulated` is asked at the points of the grid, once each."""

    simulated: Callable[[Load], float]
    drafted: int = 1
    points: dict[tuple[float, ...], float] = field(default_factory=dict)
    _cells: dict[tuple[Axis, ...], list[float]] = field(default_factory=dict)

    def __call__(
        self, sequences: float, context: float, prompts: float, piece: float, before: float
    ) -> float:
        """Return the seconds of a step.

        sequences : that decode, `context` tokens in the cache of each in the mean. prompts : pieces
        of `piece` tokens, `before` tokens of theirs in the cache.
        """
        if not prompts:
            piece = before = 0.0
        if not sequences:
            context = 0.0
        values = (sequences, context, prompts, piece, before)
        around = (
            _around(sequences, 2.0),
            _around(context, 1.0),
            _around(prompts, 2.0),
            _around(piece, 2.0),
            _around(before, 1.0),
        )
        corners = self._cells.get(around)
        if corners is None:
            corners = self._cells[around] = [
                self._point(corner)
                for corner in itertools.product(*(sorted(set(ends)) for ends in around))
            ]
        for value, (low, high) in zip(values, around, strict=True):
            if low != high:
                share, half = (value - low) / (high - low), len(corners) // 2
                corners = [
                    a + (b - a) * share for a, b in zip(corners[:half], corners[half:], strict=True)
                ]
        return corners[0]

    def _point(self, at: Sequence[float]) -> float:
        key = tuple(at)
        if key not in self.points:
            sequences, context, prompts, piece, before = key
            self.points[key] = self.simulated(
                Load(
                    sequences=sequences,
                    context=context,
                    drafted=self.drafted,
                    prompts=prompts,
                    piece=piece,
                    before=before,
                )
            )
        return self.points[key]


def _around(value: float, steps: float) -> Axis:
    """Return the points below and above: `steps` of them from a power of two to the next.

    >>> _around(5.0, 2.0), _around(6.0, 2.0), _around(3.0, 1.0)
    ((4.0, 6.0), (6.0, 6.0), (2.0, 4.0))
    """
    if value <= 0.0:
        return 0.0, 0.0
    if value < 1.0:
        return value, value
    _, power = math.frexp(value)
    base = math.ldexp(0.5, power)
    part = base / steps
    low = base + (value - base) // part * part
    return (low, low) if low == value else (low, low + part)
