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
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from rackmodel.columns import Ints
from rackmodel.engine.apart import independent_parts
from rackmodel.engine.rank_logs import KINDS, RankLog
from rackmodel.engine.simulation import Simulation
from rackmodel.workload import Job
from rackmodel.workload.operations import Program, Segment, content_of
from rackmodel.workload.schedules.schedule import schedule_of

ALIKE = 1e-12  # of the step: two stretches that differ by less have the same operations
Repeat = Literal["exact", "estimate", "all"]
LONGER = (1.0, 3.0)  # times as many micro-batches as fill the pipeline four times are tried
AGREED = 0.003  # of the step: a mean may stand for the rest that ranks' paces leave so unsure
PERIODS_TRIED = 24  # multiples of the schedule's own unit


class Splice(NamedTuple):
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


class Trial(NamedTuple):
    """So many micro-batches are simulated; `unsure` as in `find_splices`."""

    batches: int
    unsure: float


def trials(job: Job, repeat: Repeat = "exact") -> Iterator[Trial]:
    """Return what is simulated one after the other until it recurs, the whole job last.

    Each leaves a whole number of the schedule's units out. With `repeat` "estimate" no job is
    simulated as a whole that has many more micro-batches than the longest of the others.
    """
    plan, whole = job.plan, job.micro_batches
    unit = unit_of(job)
    short = 4 * plan.pp + 16 if plan.pp > 1 else 8
    # where each micro-batch is like the one before half of them nearly always do
    factors = (0.5, *LONGER) if unit == 1 and plan.pp > 1 else LONGER
    for factor in factors if repeat != "all" else ():
        some = math.ceil(short * factor / unit) * unit + whole % unit
        if some * 1.4 < whole and (schedule_of(plan.order).repeats or plan.pp == 1):
            mean = math.inf if factor == LONGER[-1] else AGREED
            yield Trial(some, mean if repeat == "estimate" else 0.0)
    yield Trial(whole, 0.0)


def unit_of(job: Job) -> int:
    """Return after how many micro-batches the order of passes repeats at the earliest."""
    plan = job.plan
    return 1 if plan.pp == 1 else schedule_of(plan.order).unit(plan.pp)


class _Classes(NamedTuple):
    """Rank classes that may recur together.

    logs : of each class, in order of time. stages : the pipeline rank of each. programs, marks : of
    every pipeline rank.
    """

    logs: list[RankLog]
    stages: Sequence[int]
    programs: Sequence[Program]
    marks: Sequence[Ints]

    def only(self, numbers: Sequence[int]) -> _Classes:
        """Return some of the rank classes."""
        return self._replace(
            logs=[self.logs[n] for n in numbers], stages=[self.stages[n] for n in numbers]
        )


@lru_cache(maxsize=4)  # as many as `workload.programs` keeps
def marks_of(programs: tuple[Program, ...]) -> Sequence[Ints]:
    """Return what each item of each program is, whatever its micro-batch: equal marks do alike."""
    numbers: dict[object, int] = {}
    return [
        np.array([numbers.setdefault(content_of(item), len(numbers)) for item in program.items])
        for program in programs
    ]


def find_splices(
    run: Simulation, job: Job, simulated: int, unsure: float = 0.0
) -> tuple[tuple[Splice, ...], int]:
    """Look for what recurs in a step that was simulated with `simulated` micro-batches.

    Where nothing recurs exactly, the last stretch before the pattern breaks stands for the rest if
    ranks agree on how long it is: a rank that others do not hold up yet is ahead of them.

    unsure : share of the step that ranks may differ by in what is added, 0 for none but the exact.

    Returns the splice of each rank class, and the number of micro-batches in all their periods (0
    if nothing recurs). Where these do not divide what is left out there are no splices, and the
    step has to be simulated once more.
    """
    left = job.micro_batches - simulated
    marks = marks_of(run.programs)
    logs = [log.in_order() for log in run.logs]
    if not all(logs):
        return (), 0
    whole = _Classes(logs, run.stages, run.programs, marks)
    found = _recurring(whole, job, simulated, run.end_s, unsure)
    if found is not None and found.exact:
        parts: list[Sequence[int]] = [range(len(logs))]
        recurring = [found]
    else:
        parts, recurring = _each_apart(run, whole, job, simulated)
        if not recurring and found is not None:
            parts, recurring = [range(len(logs))], [found]
    batches = math.lcm(*(one.batches for one in recurring)) if recurring else 0
    if not batches or left % batches:
        return (), batches
    of = {
        n: one._replace(times=left // one.batches)
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
        mark[items.start : items.stop] for mark, items in zip(whole.marks, middle, strict=True)
    ]
    found = []
    for part in parts if len(parts) > 1 else []:
        classes = whole.only(part)
        one = _recurring(classes, job, simulated, run.end_s)
        if one is None or not one.exact or not _within(classes, one, known):
            return [], []
        found.append(one)
    return parts, found


def _within(classes: _Classes, one: Splice, known: Sequence[Ints]) -> bool:
    """Return whether nothing but these items of each pipeline rank happens in what recurs."""
    for log, stage in zip(classes.logs, classes.stages, strict=True):
        inside = (one.at_s - one.period_s <= log.start_s) & (log.start_s < one.at_s)
        if not np.isin(classes.marks[stage][log.item[inside]], known[stage]).all():
            return False
    return True


def _recurring(
    classes: _Classes, job: Job, simulated: int, step_s: float, unsure: float = 0.0
) -> Splice | None:
    """Return what recurs in the log of these classes; else, not exact, the widest stretch.

    That is one in which all of them are past what they begin with (the last rank of a pipeline that
    splits off weight gradients does none of these for as many micro-batches as are in flight), and
    go at one pace: what is added is unsure by no more than this share of the step.
    """
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
        settled = all(
            _start_of(log, _first_like(marks[stage], shifts[stage])) <= at_s - period_s
            for log, stage in zip(classes.logs, stages, strict=True)
        )
        if not unsure or left % batches or not settled:
            continue
        paces = [
            _period(log, shifts[stage], at_s)
            for log, stage in zip(classes.logs, stages, strict=True)
        ]
        times = left // batches
        apart_s = np.ptp([pace for pace in paces if pace is not None]) * times
        if apart_s <= unsure * (step_s + times * period_s):
            widest = Splice(at_s, period_s, 0, batches, exact=False)
    return widest


def _shift(program: Program, marks: Ints, batches: int) -> int:
    """Return how many items `batches` micro-batches take in mid-program; 0 if unclear."""
    batch = program.micro_batches
    half = len(marks) // 2
    for here in range(half, len(marks)):
        if not isinstance(program.items[here], Segment):
            continue
        for other in (np.flatnonzero(marks[here + 1 :] == marks[here]) + here + 1).tolist():
            if batch[other] - batch[here] == batches:
                return int(other - here)
        return 0
    return 0


def _first_break(marks: Ints, shift: int) -> int:
    """Return the first item, after the middle, that differs from the one a period before."""
    begin = len(marks) // 2 + shift
    differ = np.flatnonzero(marks[begin:] != marks[begin - shift : len(marks) - shift])
    return begin + int(differ[0]) if len(differ) else len(marks)


def _first_like(marks: Ints, shift: int) -> int:
    """Return the item, before the middle, from which on all are as the ones a period later."""
    half = len(marks) // 2
    differ = np.flatnonzero(marks[:half] != marks[shift : half + shift])
    return int(differ[-1]) + 1 if len(differ) else 0


def _start_of(log: RankLog, item: int) -> float:
    """Return when a rank reaches an item, or has begun the last one before it."""
    there = log.item >= item
    return float(log.start_s[there].min() if there.any() else log.start_s.max())


def _period(log: RankLog, shift: int, at_s: float) -> float | None:
    """Return the time between an item and its counterpart a period later, both before `at_s`."""
    work = (log.kind == KINDS.index("run")) | (log.kind == KINDS.index("lockstep"))
    before = np.flatnonzero(work & (log.start_s < at_s))
    if not len(before):
        return None
    last = int(before[-1])
    same = (log.item == log.item[last] - shift) & (log.place == log.place[last])
    same &= log.kind == log.kind[last]
    return float(log.start_s[last] - log.start_s[same.argmax()]) if same.any() else None


def _alike(log: RankLog, marks: Ints, at_s: float, period_s: float, tolerance: float) -> bool:
    """Return whether the stretches before and after `at_s` hold the same operations."""
    edges = np.array([at_s - period_s, at_s, at_s + period_s]) - tolerance
    low, seam, high = np.searchsorted(log.start_s, edges).tolist()
    if seam - low != high - seam:
        return False
    what = np.stack([marks[log.item], log.place, log.kind])
    parts = []
    for part in (slice(low, seam), slice(seam, high)):
        order = np.lexsort((log.start_s[part], *what[::-1, part]))
        parts.append((what[:, part][:, order], log.times[part, :2][order]))
    (one, times), (two, later) = parts
    return bool((one == two).all() and (np.abs(later - times - period_s) <= tolerance).all())
