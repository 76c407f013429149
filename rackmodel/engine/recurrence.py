"""Repeated micro-batches: simulate until the state recurs, then count the rest.

In:  the log of a step with fewer micro-batches.
Out: a `Splice` of each rank class: the stretch of time that recurs, and how often it has to be put
     in.
Left out: how the step is simulated, which rank classes are apart (`apart`).

Until some rank reaches an item of its program that breaks the pattern, all ranks behave as if the
pattern went on for ever. If two stretches of equal length before that instant are alike in every
operation of every rank, the state has recurred, and what follows it would recur too as often as
there are micro-batches. So the log of the whole step is the short log with the stretch repeated:
exact up to rounding.

With a slow accelerator, replicas drift apart: each recurs, all together never do. Rank classes that
neither meet nor share a link while micro-batches repeat recur each by themselves.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from rackmodel.engine.apart import independent_parts
from rackmodel.engine.ranks import Logged
from rackmodel.workload.operations import Program, Segment, content_of
from rackmodel.workload.schedules.schedule import schedule_of

if TYPE_CHECKING:
    from rackmodel.engine.simulation import Simulation
    from rackmodel.workload import Job

ALIKE = 1e-12  # of the step: two stretches that differ by less have the same operations
Repeat = Literal["exact", "estimate", "all"]
PERIODS_TRIED = 24  # multiples of the schedule's own unit


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


class _Classes(NamedTuple):
    """Rank classes that may recur together.

    logs : of each class, in order of time. stages : the pipeline rank of each. programs, marks : of
    every pipeline rank.
    """

    logs: list[list[Logged]]
    stages: Sequence[int]
    programs: Sequence[Program]
    marks: Sequence[Sequence[object]]

    def only(self, numbers: Sequence[int]) -> _Classes:
        """Return some of the rank classes."""
        return self._replace(
            logs=[self.logs[n] for n in numbers], stages=[self.stages[n] for n in numbers]
        )


def find_splices(
    run: Simulation, job: Job, simulated: int, repeat: Repeat = "exact"
) -> tuple[tuple[Splice, ...], int]:
    """Look for what recurs in a step that was simulated with `simulated` micro-batches.

    With `repeat` "estimate", where nothing recurs exactly, the last stretch before the pattern
    breaks stands for the rest.

    Returns the splice of each rank class, and the number of micro-batches in all their periods (0
    if nothing recurs). Where these do not divide what is left out there are no splices, and the
    step has to be simulated once more.
    """
    left = job.micro_batches - simulated
    marks = [[content_of(item) for item in program.items] for program in run.programs]
    logs = [sorted(log, key=lambda e: (e.start_s, e.item, e.place)) for log in run.logs]
    if not all(logs):
        return (), 0
    whole = _Classes(logs, run.stages, run.programs, marks)
    found = _recurring(whole, job, simulated, run.end_s)
    if found is not None and found.exact:
        parts: list[Sequence[int]] = [range(len(logs))]
        recurring = [found]
    else:
        parts, recurring = _each_apart(run, whole, job, simulated)
        if not recurring and repeat == "estimate" and found is not None:
            parts, recurring = [range(len(logs))], [found]
    batches = math.lcm(*(one.batches for one in recurring)) if recurring else 0
    if not batches or left % batches:
        return (), batches
    of = {
        n: replace(one, times=left // one.batches)
        for part, one in zip(parts, recurring, strict=True)
        for n in part
    }
    return tuple(of[n] for n in range(len(logs))), batches


def _each_apart(
    run: Simulation, whole: _Classes, job: Job, simulated: int
) -> tuple[list[Sequence[int]], list[Splice]]:
    """Return rank classes that are apart while micro-batches repeat, and what recurs in each."""
    unit, ways = unit_of(job), schedule_of(job.plan.order).directions
    middle = []
    for program, mark in zip(whole.programs, whole.marks, strict=True):
        shift = _shift(program, mark, max(1, unit // ways))
        middle.append(range(len(mark) // 2, _first_break(mark, shift) if shift else len(mark)))
    parts: list[Sequence[int]] = list(independent_parts(run, middle))
    known = [
        {mark[item] for item in items} for mark, items in zip(whole.marks, middle, strict=True)
    ]
    found = []
    for part in parts if len(parts) > 1 else []:
        classes = whole.only(part)
        one = _recurring(classes, job, simulated, run.end_s)
        if one is None or not one.exact or not _within(classes, one, known):
            return [], []
        found.append(one)
    return parts, found


def _within(classes: _Classes, one: Splice, known: Sequence[set[object]]) -> bool:
    """Return whether nothing but these items of each pipeline rank happens in what recurs."""
    return all(
        classes.marks[stage][entry.item] in known[stage]
        for log, stage in zip(classes.logs, classes.stages, strict=True)
        for entry in log
        if one.at_s - one.period_s <= entry.start_s < one.at_s
    )


def _recurring(classes: _Classes, job: Job, simulated: int, step_s: float) -> Splice | None:
    """Return what recurs in the log of these classes; else, not exact, the widest stretch."""
    marks, stages, programs = classes.marks, classes.stages, classes.programs
    unit, left = unit_of(job), job.micro_batches - simulated
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
            _start_of(log, breaks[stage]) for log, stage in zip(classes.logs, stages, strict=True)
        )
        period_s = _period(classes.logs[0], shifts[stages[0]], at_s)
        if period_s is None or at_s - 2 * period_s <= 0:
            continue
        # Sends that set off before the pattern breaks may end otherwise after it: look earlier, too
        for until_s in (at_s, at_s - period_s):
            if until_s > 2 * period_s and all(
                _alike(log, marks[stage], until_s - period_s, period_s, ALIKE * step_s)
                for log, stage in zip(classes.logs, stages, strict=True)
            ):
                return Splice(until_s - period_s, period_s, 0, batches)
        if left % batches == 0:
            widest = Splice(at_s, period_s, 0, batches, exact=False)
    return widest


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
    return _same(first, second, marks, period_s, tolerance)


def _same(
    first: Sequence[Logged],
    second: Sequence[Logged],
    marks: Sequence[object],
    later_s: float,
    tolerance: float,
) -> bool:
    """Return whether two stretches hold the same operations, the second `later_s` later."""
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
    return bool(np.all(np.abs(later - times - later_s) <= tolerance))


def _from(starts: Sequence[float], at_s: float, tolerance: float) -> int:
    return bisect_left(starts, at_s - tolerance)
