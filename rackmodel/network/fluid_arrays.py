"""The fluid network of a step as arrays: flow classes under way, links, the next ends.

In:  flow classes as rows (link class, load), capacities, own limits.
Out: `Fluid`, before anything has started.
Left out: what happens in it (`fluid_compiled`); the plain form, which is its referee (`fluid`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Floats, Ints

# columns of `Fluid.slots`
FLOW, TRANSFER, VERSION, BASE, BEFORE, AFTER, DIRTY, MARK = range(8)
LEFT, SINCE, RATE = range(3)  # of `Fluid.amounts`
BY_CAP, FREE = range(2)  # of `Fluid.flows`
FIRST, LAST, SEEN, PLACED, PLACE = range(5)  # of `Fluid.heads`
# of `Fluid.state`
ORDER, WOKEN, DIRTY_FIRST, DIRTY_LAST, SLOTS, NODES, ENDS, STAMP, COMPONENT = range(9)


class Fluid(NamedTuple):
    """F flow classes, L link classes, E loads; M flows under way with N places on links at most.

    A flow under way has a slot and, from node `BASE` of it on, one node in the list of each link
    that it crosses. A slot that is free is used again by the same flow class.
    """

    indptr: Ints
    links: Ints
    loads: Floats
    capacity: Floats
    limits: Floats  # float[F, 2], own limit; rate with nobody beside
    flows: Ints  # int[F, 2], place among all by own limit; a free slot or -1
    slots: Ints  # int[M, 8]
    amounts: Floats  # float[M, 3], bytes left at `SINCE`, rate
    nodes: Ints  # int[N, 3], before and after on the link's list, slot
    heads: Ints  # int[L, 5], list of the link; scratch of a solve
    ends: Floats  # float[K], heap of announced ends,
    end_keys: Ints  # int[K, 3], with order, version, slot
    part: Ints  # int[M, 3], scratch: slots of a component, queue, flow class of each row
    keys: Ints  # int[M], scratch for sorting
    levels: Floats  # float[M], scratch: rate of each row
    waits: Ints  # int[M], scratch: whether a row still grows
    users: Ints  # int[N, 2], scratch: rows on each link of the component, and their loads
    fill: Floats  # float[L, 4], scratch: demand, spare, demand at own limits, heap of levels
    fill_keys: Ints  # int[L + 1, 4], scratch: link, first user, growing, heap of links
    state: Ints  # int[9]
    alarm: Floats  # float[1]


def make_fluid(
    loads: Sequence[Sequence[tuple[int, float]]],
    capacity: Sequence[float],
    cap: Sequence[float],
    room: int = 1,
) -> Fluid:
    """Return a network at rest with room for every flow class `room` times at once."""
    width = np.array([len(row) for row in loads], dtype=np.int64)
    flows, links, nodes = len(width), len(capacity), int(width.sum()) * room + 1
    slots = flows * room + 1

    def ints(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)  # takes no memory before it is written to

    heads = ints(links, 5)
    heads[:, :2] = -1
    order = ints(flows, 2)
    order[:, FREE] = -1
    own = np.array(cap, dtype=np.float64)
    order[np.argsort(own, kind="stable"), BY_CAP] = np.arange(flows)
    state = ints(9)
    state[[DIRTY_FIRST, DIRTY_LAST]] = -1
    return Fluid(
        indptr=np.concatenate([[0], np.cumsum(width)]).astype(np.int64),
        links=np.array([link for row in loads for link, _ in row], dtype=np.int64),
        loads=np.array([load for row in loads for _, load in row], dtype=np.float64),
        capacity=np.array(capacity, dtype=np.float64),
        limits=np.stack([own, np.zeros(flows)], axis=1),
        flows=order,
        slots=ints(slots, 8),
        amounts=np.zeros((slots, 3)),
        nodes=ints(nodes, 3),
        heads=heads,
        ends=np.zeros(4 * slots),
        end_keys=ints(4 * slots, 3),
        part=ints(slots, 3),
        keys=ints(slots),
        levels=np.zeros(slots),
        waits=ints(slots),
        users=ints(nodes, 2),
        fill=np.zeros((links, 4)),
        fill_keys=ints(links + 1, 4),
        state=state,
        alarm=np.full(1, np.inf),
    )
