"""SimPy's queue of events as arrays, for compiled code.

In:  events: a delay, a priority, what they are.
Out: the next event, in SimPy's own order: by time, then priority, then the order of their coming.
Left out: what events do.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.network.machine_code import part


def numbers(of: Iterable[int]) -> list[Any]:
    """Return numbers that are handed on: for each of Python's own, numba would compile anew."""
    return list(map(np.int64, of))


URGENT, NORMAL, LATE = numbers(range(3))  # priorities, as SimPy has them and `simpy_private`
(NONE,) = numbers([0])
SIZE, GIVEN, OVERFLOW = range(3)  # columns of `Clock.counts`
PRIORITY_BIT = 56  # above the number of an event


class Clock(NamedTuple):
    """A binary heap of events.

    times : float[n, 2], when, and a number that the event carries. keys : int[n, 3], order at equal
    times, kind, argument. counts : int[3], events waiting, events so far, whether some table is
    full. now : float[1]. [s]
    """

    times: Floats
    keys: Ints
    counts: Ints
    now: Floats


def make_clock(room: int) -> Clock:
    """Return a clock at 0 with room for so many events at once."""
    return Clock(
        times=np.zeros((room, 2)),
        keys=np.zeros((room, 3), dtype=np.int64),
        counts=np.zeros(3, dtype=np.int64),
        now=np.zeros(1),
    )


@part
def schedule(c: Clock, delay_s: float, priority: int, kind: int, arg: int, carried: float) -> None:
    """Let an event happen after a delay."""
    at = c.counts[SIZE]
    if at == len(c.times):
        c.counts[OVERFLOW] = 1
        return
    when = c.now[0] + delay_s
    order = (priority << PRIORITY_BIT) + c.counts[GIVEN]
    c.counts[SIZE] += 1
    c.counts[GIVEN] += 1
    while at > 0:
        up = (at - 1) >> 1
        if c.times[up, 0] < when or (c.times[up, 0] == when and c.keys[up, 0] < order):
            break
        _move(c, up, at)
        at = up
    c.times[at, 0], c.times[at, 1] = when, carried
    c.keys[at, 0], c.keys[at, 1], c.keys[at, 2] = order, kind, arg


@part
def _move(c: Clock, source: int, target: int) -> None:
    c.times[target, 0], c.times[target, 1] = c.times[source, 0], c.times[source, 1]
    c.keys[target, 0] = c.keys[source, 0]
    c.keys[target, 1] = c.keys[source, 1]
    c.keys[target, 2] = c.keys[source, 2]


@part
def drop_first(c: Clock) -> None:
    """Take the first event off the heap."""
    last = c.counts[SIZE] - 1
    c.counts[SIZE] = last
    when, order = c.times[last, 0], c.keys[last, 0]
    at = NONE
    while True:
        down = 2 * at + 1
        if down >= last:
            break
        if down + 1 < last and (
            c.times[down + 1, 0] < c.times[down, 0]
            or (c.times[down + 1, 0] == c.times[down, 0] and c.keys[down + 1, 0] < c.keys[down, 0])
        ):
            down += 1
        if when < c.times[down, 0] or (when == c.times[down, 0] and order < c.keys[down, 0]):
            break
        _move(c, down, at)
        at = down
    _move(c, last, at)
