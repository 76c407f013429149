"""A simulation in arrays from start to end: room for what happens, and what came of it.

In:  `Tables` of what rank classes do, the plain fluid network with its flow classes.
Out: the logs of all rank classes, when the last ended, after how many events.
Left out: what happens in between (`compiled`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rackmodel.engine.compiled import FULL, TOO_SLOW, run
from rackmodel.engine.instructions import END_SCRIPT, LOGGED, SCRIPT, State, Tables, Writer
from rackmodel.engine.rank_logs import RankLog
from rackmodel.network import FluidNetwork
from rackmodel.network.event_heap import GIVEN, make_clock
from rackmodel.network.fluid_arrays import make_fluid


class Ran(NamedTuple):
    """What came of a run; stuck : rank classes that have not ended, waiting in `open` exchanges."""

    end_s: float
    events: int
    logs: list[RankLog]
    stuck: list[int]
    open: int


def run_arrays(writer: Writer, tables: Tables, traffic: FluidNetwork, limit_s: float) -> Ran | None:
    """Let all rank classes walk their programs; None if that takes longer than `limit_s`."""
    # where micro-batches follow closely, a flow class starts again before it has ended
    room, ended = 2, FULL
    while ended == FULL:  # begin again with more room: rare, and the same comes of it
        loads = [traffic.loads[flow] for flow in range(len(traffic.loads))]
        fluid = make_fluid(loads, traffic.capacity, traffic.cap, room)
        state = writer.state(tables, len(fluid.slots), room)
        clock = make_clock(64 * room * (len(tables.ranks) + 1))
        ended = run(tables, state, clock, fluid, float(limit_s))
        room *= 2
    if ended == TOO_SLOW:
        return None
    stuck = np.flatnonzero(state.ranks[:, SCRIPT] < tables.ranks[:, END_SCRIPT]).tolist()
    return Ran(
        float(clock.now[0]),
        int(clock.counts[GIVEN]),
        _logs(state, writer),
        stuck,
        int((state.open >= 0).sum()),
    )


def _logs(state: State, writer: Writer) -> list[RankLog]:
    """Return the log of each rank class.

    Entries lie one after another as they ended: with room for each class apart, memory comes in
    pages as large as what a class may ever log, many times what it does.
    """
    count = int(state.counts[LOGGED])
    of = state.log_of[:count]
    narrow = np.min_scalar_type(len(state.ranks))  # two bytes are sorted by counting
    order = np.argsort(of.astype(narrow), kind="stable")
    words, times = np.take(state.log, order, axis=0), np.take(state.log_s, order, axis=0)
    ends = np.cumsum(np.bincount(of, minlength=len(state.ranks))).tolist()
    axes, kept = writer.quotient.axis, writer.kept(state)
    return [
        RankLog.settled(words[begin:end], times[begin:end], axes, kept)
        for begin, end in zip([0, *ends], ends, strict=False)
    ]
