"""`fluid.FluidNetwork` compiled: the same flows, shares and ends, to the last bit.

In:  `Fluid`, a clock of arrays, flows that start.
Out: events on that clock; transfers whose last flow has ended.
Left out: who waits for a transfer.

Each function does what the method of its name in `fluid` does, sum by sum in the same order.
"""

import numpy as np

from rackmodel.columns import Ints
from rackmodel.network.event_heap import (
    LATE,
    NONE,
    NORMAL,
    OVERFLOW,
    Clock,
    numbers,
    schedule,
)
from rackmodel.network.fluid import RESIDUE
from rackmodel.network.fluid_arrays import (
    AFTER,
    BASE,
    BEFORE,
    COMPONENT,
    DIRTY,
    DIRTY_FIRST,
    DIRTY_LAST,
    ENDS,
    FIRST,
    FLOW,
    FREE,
    LAST,
    LEFT,
    MARK,
    NODES,
    ORDER,
    RATE,
    SEEN,
    SINCE,
    SLOTS,
    STAMP,
    TRANSFER,
    VERSION,
    WOKEN,
    Fluid,
)
from rackmodel.network.fluid_fill import fill, sort
from rackmodel.network.machine_code import part

RING, SOLVE = numbers(range(2))  # kinds of events
(ONE,) = numbers([1])
OWN = ("fluid_compiled", "fluid_fill", "fluid_arrays", "event_heap", "fluid")
PARTS = tuple(f"rackmodel.network.{name}" for name in OWN)  # modules whose code is compiled


@part
def begin(f: Fluid) -> None:
    """Work out the rate of every flow class with nobody beside it."""
    for flow in range(len(f.limits)):
        f.part[0, 2] = flow
        fill(f, ONE)
        f.limits[flow, 1] = f.levels[0]


@part
def start(f: Fluid, c: Clock, flow: int, size: float, transfer: int) -> None:
    """Send the bytes of one flow class; `wake` comes after the last of a transfer."""
    slot = _slot(f, c, flow)
    f.slots[slot, TRANSFER] = transfer
    f.slots[slot, DIRTY] = 0
    f.amounts[slot, LEFT], f.amounts[slot, SINCE], f.amounts[slot, RATE] = size, c.now[0], 0.0
    alone = True
    node = f.slots[slot, BASE]
    for e in range(f.indptr[flow], f.indptr[flow + 1]):
        link = f.links[e]
        last = f.heads[link, LAST]
        f.nodes[node, 0], f.nodes[node, 1], f.nodes[node, 2] = last, -1, slot
        f.heads[link, LAST] = node
        if last >= 0:
            f.nodes[last, 1] = node
            alone = False
        else:
            f.heads[link, FIRST] = node
        node += 1
    if alone:
        _announce(f, c, slot, f.limits[flow, 1])
        _set_alarm(f, c)
    else:
        _soil(f, slot)


@part
def _slot(f: Fluid, c: Clock, flow: int) -> int:
    slot = f.flows[flow, FREE]
    if slot >= 0:
        f.flows[flow, FREE] = f.slots[slot, AFTER]
        return int(slot)
    slot, base = f.state[SLOTS], f.state[NODES]
    width = f.indptr[flow + 1] - f.indptr[flow]
    if slot + 1 >= len(f.slots) or base + width >= len(f.nodes):
        c.counts[OVERFLOW] = 1
        return int(slot)
    f.state[SLOTS] += 1
    f.state[NODES] += width
    f.slots[slot, FLOW], f.slots[slot, BASE] = flow, base
    return int(slot)


@part
def wake(f: Fluid, c: Clock) -> None:
    """Have shares worked out at the end of this instant, where something has changed."""
    if f.state[DIRTY_FIRST] >= 0 and f.state[WOKEN] == 0:
        f.state[WOKEN] = 1
        schedule(c, 0.0, LATE, SOLVE, NONE, 0.0)


@part
def _soil(f: Fluid, slot: int) -> None:
    """Put a flow last among those that have to be shared anew, unless it is there."""
    if f.slots[slot, DIRTY]:
        return
    last = f.state[DIRTY_LAST]
    f.slots[slot, DIRTY], f.slots[slot, BEFORE], f.slots[slot, AFTER] = 1, last, -1
    f.state[DIRTY_LAST] = slot
    if last >= 0:
        f.slots[last, AFTER] = slot
    else:
        f.state[DIRTY_FIRST] = slot


@part
def _clean(f: Fluid, slot: int) -> None:
    if not f.slots[slot, DIRTY]:
        return
    before, after = f.slots[slot, BEFORE], f.slots[slot, AFTER]
    f.slots[slot, DIRTY] = 0
    if before >= 0:
        f.slots[before, AFTER] = after
    else:
        f.state[DIRTY_FIRST] = after
    if after >= 0:
        f.slots[after, BEFORE] = before
    else:
        f.state[DIRTY_LAST] = before


@part
def _move(f: Fluid, source: int, target: int) -> None:
    f.ends[target] = f.ends[source]
    f.end_keys[target, 0] = f.end_keys[source, 0]
    f.end_keys[target, 1] = f.end_keys[source, 1]
    f.end_keys[target, 2] = f.end_keys[source, 2]


@part
def _announce(f: Fluid, c: Clock, slot: int, rate: float) -> None:
    f.amounts[slot, RATE] = rate
    f.slots[slot, VERSION] += 1
    f.state[ORDER] += 1
    end = c.now[0] + max(0.0, f.amounts[slot, LEFT]) / rate
    at = f.state[ENDS]
    if at == len(f.ends):
        c.counts[OVERFLOW] = 1
        return
    f.state[ENDS] += 1
    while at > 0:
        up = (at - 1) >> 1
        if f.ends[up] <= end:  # what came earlier has the lower number
            break
        _move(f, up, at)
        at = up
    f.ends[at] = end
    f.end_keys[at, 0] = f.state[ORDER]
    f.end_keys[at, 1], f.end_keys[at, 2] = f.slots[slot, VERSION], slot


@part
def _drop_end(f: Fluid) -> None:
    last = f.state[ENDS] - 1
    f.state[ENDS] = last
    end, order = f.ends[last], f.end_keys[last, 0]
    at = NONE
    while True:
        down = 2 * at + 1
        if down >= last:
            break
        if down + 1 < last and (
            f.ends[down + 1] < f.ends[down]
            or (f.ends[down + 1] == f.ends[down] and f.end_keys[down + 1, 0] < f.end_keys[down, 0])
        ):
            down += 1
        if end < f.ends[down] or (end == f.ends[down] and order < f.end_keys[down, 0]):
            break
        _move(f, down, at)
        at = down
    _move(f, last, at)


@part
def _stale(f: Fluid) -> bool:
    return bool(f.end_keys[0, 1] != f.slots[f.end_keys[0, 2], VERSION])


@part
def _set_alarm(f: Fluid, c: Clock) -> None:
    while f.state[ENDS] > 0 and _stale(f):
        _drop_end(f)
    if f.state[ENDS] == 0:
        return
    end = max(f.ends[0], c.now[0])
    if end >= f.alarm[0]:
        return
    f.alarm[0] = end
    schedule(c, end - c.now[0], NORMAL, RING, NONE, end)


@part
def ring(f: Fluid, c: Clock, meant: float, ended: Ints) -> int:
    """Take the flows that are due off their links; write their slots, return how many."""
    if meant == f.alarm[0]:
        f.alarm[0] = np.inf
    limit = max(c.now[0], meant) * (1 + RESIDUE)
    count = 0
    while f.state[ENDS] > 0 and (f.ends[0] <= limit or _stale(f)):
        if not _stale(f):
            ended[count] = f.end_keys[0, 2]
            count += 1
        _drop_end(f)
    for k in range(count):
        slot = ended[k]
        f.slots[slot, VERSION] += 1
        _clean(f, slot)
        flow, node = f.slots[slot, FLOW], f.slots[slot, BASE]
        for e in range(f.indptr[flow], f.indptr[flow + 1]):
            before, after = f.nodes[node, 0], f.nodes[node, 1]
            if before >= 0:
                f.nodes[before, 1] = after
            else:
                f.heads[f.links[e], FIRST] = after
            if after >= 0:
                f.nodes[after, 0] = before
            else:
                f.heads[f.links[e], LAST] = before
            node += 1
    return count


@part
def release(f: Fluid, slot: int) -> int:
    """Have those shared anew whose links a flow has left; return its transfer."""
    flow = f.slots[slot, FLOW]
    for e in range(f.indptr[flow], f.indptr[flow + 1]):
        node = f.heads[f.links[e], FIRST]
        while node >= 0:
            _soil(f, f.nodes[node, 2])
            node = f.nodes[node, 1]
    f.slots[slot, AFTER] = f.flows[flow, FREE]
    f.flows[flow, FREE] = slot
    return int(f.slots[slot, TRANSFER])


@part
def after_ring(f: Fluid, c: Clock) -> None:
    """Set the next alarm, at once or once shares are known."""
    if f.state[DIRTY_FIRST] >= 0:
        wake(f, c)
    else:
        _set_alarm(f, c)


@part
def solve(f: Fluid, c: Clock) -> None:
    """Share anew wherever something has changed."""
    f.state[WOKEN] = 0
    now = c.now[0]
    while f.state[DIRTY_FIRST] >= 0:
        count = _component(f, f.state[DIRTY_FIRST])
        for k in range(count):
            slot = f.part[k, 0]
            _clean(f, slot)
            f.keys[k] = (f.slots[slot, FLOW] << 32) + k
        sort(f.keys, count)
        for k in range(count):
            f.part[k, 1] = f.part[f.keys[k] & 0xFFFFFFFF, 0]
            f.part[k, 2] = f.keys[k] >> 32
        fill(f, count)
        for k in range(count):
            slot, rate = f.part[k, 1], f.levels[k]
            f.amounts[slot, LEFT] -= f.amounts[slot, RATE] * (now - f.amounts[slot, SINCE])
            f.amounts[slot, SINCE] = now
            if rate != f.amounts[slot, RATE]:
                _announce(f, c, slot, rate)
    _set_alarm(f, c)


@part
def _component(f: Fluid, first: int) -> int:
    f.state[STAMP] += 1
    stamp = f.state[STAMP]
    f.slots[first, MARK] = stamp
    f.part[0, 0], f.part[0, 1] = first, first
    count, waiting = 1, 1
    while waiting > 0:
        waiting -= 1
        flow = f.slots[f.part[waiting, 1], FLOW]
        for e in range(f.indptr[flow], f.indptr[flow + 1]):
            link = f.links[e]
            if f.heads[link, SEEN] == stamp:
                continue
            f.heads[link, SEEN] = stamp
            node = f.heads[link, FIRST]
            while node >= 0:
                slot = f.nodes[node, 2]
                if f.slots[slot, MARK] != stamp:
                    f.slots[slot, MARK] = stamp
                    f.part[count, 0] = slot
                    f.part[waiting, 1] = slot
                    count += 1
                    waiting += 1
                node = f.nodes[node, 1]
    f.state[COMPONENT] = count
    return count
