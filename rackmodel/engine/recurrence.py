"""Repeated micro-batches: simulate until the state recurs, then count the rest.

In:  the log of a step with fewer micro-batches.
Out: a `Splice`: the stretch of time that recurs, and how often it has to be put in.
Left out: how the step is simulated.

Until some rank reaches an item of its program that breaks the pattern, all ranks behave as if the
pattern went on for ever. If two stretches of equal length before that instant are alike in every
operation of every rank, the state has recurred, and what follows it would recur too as often as
there are micro-batches. So the log of the whole step is the short log with the stretch repeated:
exact up to rounding.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rackmodel.engine.ranks import Logged
from rackmodel.workload.operations import Collective, Compute, Program, Segment, Wait
from rackmodel.workload.schedules.schedule import schedule_of

if TYPE_CHECKING:
    from rackmodel.workload import Job

ALIKE = 1e-12  # of the step: two stretches that differ by less have the same operations
Repeat = Literal["exact", "estimate", "all"]
PERIODS_TRIED = 24  # multiples of the schedule's own unit
_NUMBER = re.compile(r"\d+$")


@dataclass(frozen=True, slots=True)
class Splice:
    """What happens in [at_s - period_s, at_s) happens `times` more; all later things shift."""

    at_s: float
    period_s: float
    times: int
    batches: int  # micro-batches in one period
    exact: bool = True  # False: the stretches were not alike, their mean stands for the rest

    @property
    def added_s(self) -> float:
        """Seconds that the step is longer than its short log."""
        return self.times * self.period_s


def trials(job: Job, repeat: Repeat = "exact") -> Iterator[int]:
    """Return numbers of micro-batches to simulate, the whole job's last.

    They leave a whole number of the schedule's units out. With `repeat` "estimate" the last before
    the whole is the one whose mean may stand for the rest.
    """
    plan, whole = job.plan, job.micro_batches
    unit = unit_of(job)
    short = 4 * plan.pp + 16 if plan.pp > 1 else 8
    if repeat == "all":
        factors: tuple[float, ...] = ()
    else:  # where each micro-batch is like the one before half of them nearly always do
        factors = (0.5,) if unit == 1 and plan.pp > 1 else ()
        factors += (1, 3) if repeat == "exact" else (1,)
    for factor in factors:
        some = math.ceil(short * factor / unit) * unit + whole % unit
        if some * 1.4 < whole and (schedule_of(plan.order).repeats or plan.pp == 1):
            yield some
    yield whole


def unit_of(job: Job) -> int:
    """Return after how many micro-batches the order of passes repeats at the earliest."""
    plan = job.plan
    return 1 if plan.pp == 1 else schedule_of(plan.order).unit(plan.pp)


def find_splice(
    programs: Sequence[Program],
    stages: Sequence[int],
    logs: Sequence[Sequence[Logged]],
    job: Job,
    simulated: int,
    repeat: Repeat = "exact",
) -> tuple[Splice | None, int]:
    """Look for the stretch that recurs in the log of a step with `simulated` micro-batches.

    With `repeat` "estimate", where none recurs exactly, the last stretch before the pattern breaks
    stands for the rest.

    Returns the splice, and the number of micro-batches in its period (0 if there is none). If the
    period does not divide what is left out, the splice is None and the step has to be simulated
    once more.
    """
    left = job.micro_batches - simulated
    marks = [_marks(program) for program in programs]
    sorted_logs = [sorted(log, key=lambda e: (e.start_s, e.item, e.place)) for log in logs]
    step_s = max((entry.end_s for log in sorted_logs for entry in log), default=0.0)
    if any(not log for log in sorted_logs):
        return None, 0
    unit = unit_of(job)
    widest: Splice | None = None
    ways = schedule_of(job.plan.order).directions  # each direction counts its own micro-batches
    for multiple in range(1, PERIODS_TRIED + 1):
        batches = unit * multiple
        if 3 * batches > simulated:
            break
        shifts = [
            _shift(program, mark, batches // ways)
            for program, mark in zip(programs, marks, strict=True)
        ]
        if not all(shifts):
            continue
        breaks = [_first_break(mark, shift) for mark, shift in zip(marks, shifts, strict=True)]
        at_s = min(
            _start_of(log, breaks[stage]) for log, stage in zip(sorted_logs, stages, strict=True)
        )
        period_s = _period(sorted_logs[0], shifts[stages[0]], at_s)
        if period_s is None or at_s - 2 * period_s <= 0:
            continue
        tolerance = ALIKE * step_s
        if all(
            _alike(log, marks[stage], at_s - period_s, period_s, tolerance)
            for log, stage in zip(sorted_logs, stages, strict=True)
        ):
            if left % batches:
                return None, batches
            return Splice(at_s - period_s, period_s, left // batches, batches), batches
        if left % batches == 0:
            widest = Splice(at_s, period_s, left // batches, batches, exact=False)
    return (widest if repeat == "estimate" else None), 0


def _marks(program: Program) -> list[object]:
    """Return what each item is, whatever its micro-batch: equal marks do the same."""
    marks: list[object] = []
    for item in program.items:
        match item:
            case Segment() | Compute() | Collective():
                marks.append(item.id)
            case Wait():
                marks.append(("wait", _NUMBER.sub("", item.token)))
            case _:
                marks.append((type(item).__name__, item.peer, _NUMBER.sub("", item.name)))
    return marks


def _shift(program: Program, marks: Sequence[object], batches: int) -> int:
    """Return how many items `batches` micro-batches take in mid-program; 0 if unclear."""
    batch = program.micro_batches
    half = len(marks) // 2
    for here in range(half, len(marks)):
        if not isinstance(program.items[here], Segment):
            continue
        for other in range(here + 1, len(marks)):
            if marks[other] == marks[here] and batch[other] - batch[here] == batches:
                return other - here
        return 0
    return 0


def _first_break(marks: Sequence[object], shift: int) -> int:
    """Return the first item, after the middle, that differs from the one a period before."""
    half = len(marks) // 2
    for place in range(half + shift, len(marks)):
        if marks[place] != marks[place - shift]:
            return place
    return len(marks)


def _start_of(log: Sequence[Logged], item: int) -> float:
    """Return when a rank reaches an item, or has begun the last one before it."""
    ends = [e.start_s for e in log if e.item >= item]
    before = [e.start_s for e in log if e.item < item]
    return min(ends) if ends else max(before)


def _period(log: Sequence[Logged], shift: int, at_s: float) -> float | None:
    """Return the time between an item and its counterpart a period later, both before `at_s`."""
    last = next(
        (e for e in reversed(log) if e.start_s < at_s and e.kind in ("run", "lockstep")), None
    )
    if last is None:
        return None
    same = [
        e
        for e in log
        if e.item == last.item - shift and (e.place, e.kind) == (last.place, last.kind)
    ]
    return last.start_s - same[0].start_s if same else None


def _alike(
    log: Sequence[Logged],
    marks: Sequence[object],
    at_s: float,
    period_s: float,
    tolerance: float,
) -> bool:
    """Return whether the stretches before and after `at_s` hold the same operations."""
    starts = [entry.start_s for entry in log]
    first = log[_from(starts, at_s - period_s, tolerance) : _from(starts, at_s, tolerance)]
    second = log[_from(starts, at_s, tolerance) : _from(starts, at_s + period_s, tolerance)]
    if len(first) != len(second):
        return False

    def rows(part: Sequence[Logged]) -> list[tuple[object, ...]]:
        return sorted(
            ((str(marks[e.item]), e.place, e.kind, e.start_s, e.end_s) for e in part),
            key=lambda row: row[:4],
        )

    one, two = rows(first), rows(second)
    if [row[:3] for row in one] != [row[:3] for row in two]:
        return False
    times = np.array([row[3:] for row in one], dtype=float).reshape(-1, 2)
    later = np.array([row[3:] for row in two], dtype=float).reshape(-1, 2)
    return bool(np.all(np.abs(later - times - period_s) <= tolerance))


def _from(starts: Sequence[float], at_s: float, tolerance: float) -> int:
    return bisect_left(starts, at_s - tolerance)
