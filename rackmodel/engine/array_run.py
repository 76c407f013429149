"""A simulation in arrays from start to end: room for what happens, and what came of it.

In:  `Tables` of what rank classes do, the plain fluid network with its flow classes.
Out: the logs of all rank classes, when the last ended, after how many events.
Left out: what happens in between (`compiled`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rackmodel.engine.compiled import FULL, TOO_SLOW, run
from rackmodel.engine.instructions import END_SCRIPT, LOG_AT, LOGGED, SCRIPT, Tables, Writer
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
    axes, locksteps = writer.quotient.axis, writer.locksteps
    logs = []
    for at, count in zip(tables.ranks[:, LOG_AT], state.ranks[:, LOGGED], strict=True):
        part = slice(at, at + count)
        logs.append(RankLog(state.log[part], state.log_s[part], axes, locksteps))
    return Ran(
        float(clock.now[0]), int(clock.counts[GIVEN]), logs, stuck, int((state.open >= 0).sum())
    )
