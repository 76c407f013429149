"""`sharing.fill_rows` compiled: max-min rates of one component of flow classes, to the last bit.

In:  `Fluid`, whose rows in work are the flow classes `part[:, 2]`.
Out: their rates, in `levels`.
Left out: who is in the component.
"""

import numpy as np

from rackmodel.columns import Ints
from rackmodel.network.event_heap import NONE
from rackmodel.network.fluid_arrays import BY_CAP, PLACE, PLACED, STAMP, Fluid
from rackmodel.network.machine_code import part

DEMAND, SPARE, AT_LIMITS, LEVEL = range(4)  # columns of `Fluid.fill`
LINK, FIRST_USER, GROWING, HEAP = range(4)  # columns of `Fluid.fill_keys`


@part
def sort(keys: Ints, count: int) -> None:
    """Sort the first numbers in place, all distinct."""
    gap = 1
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for at in range(gap, count):
            key, spot = keys[at], at
            while spot >= gap and keys[spot - gap] > key:
                keys[spot] = keys[spot - gap]
                spot -= gap
            keys[spot] = key
        gap //= 3


@part
def fill(f: Fluid, count: int) -> None:
    """Share links among the first `count` rows."""
    links, fit = _measure(f, count)
    for row in range(count):
        f.levels[row] = f.limits[f.part[row, 2], 0]
    if fit:
        return
    _list_users(f, count, links)
    left, capped = NONE, NONE
    for row in range(count):
        flow = f.part[row, 2]
        f.waits[row] = f.indptr[flow + 1] > f.indptr[flow]
        left += f.waits[row]
        if f.limits[flow, 0] < np.inf:
            f.keys[capped] = (f.flows[flow, BY_CAP] << 32) + row
            capped += 1
    sort(f.keys, capped)
    size, next_cap = _heap_of_levels(f, links), 0
    while left > 0:
        level, at = f.fill[0, LEVEL], f.fill_keys[0, HEAP]
        if f.fill_keys[at, GROWING] == 0:
            size -= 1
            _sift(f, size, f.fill[size, LEVEL], f.fill_keys[size, HEAP])
            continue
        room = f.fill[at, SPARE]
        now = room / f.fill[at, DEMAND] if room > 0 else 0.0
        if now > level:
            _sift(f, size, now, at)
            continue
        while next_cap < capped and not f.waits[f.keys[next_cap] & 0xFFFFFFFF]:
            next_cap += 1
        lowest = int(f.keys[next_cap] & 0xFFFFFFFF) if next_cap < capped else -1
        if lowest >= 0 and f.limits[f.part[lowest, 2], 0] <= level:
            left -= _hold(f, lowest, f.limits[f.part[lowest, 2], 0])
            continue
        for user in range(f.fill_keys[at, FIRST_USER], f.fill_keys[at + 1, FIRST_USER]):
            left -= _hold(f, f.users[user, 0], level)


@part
def _measure(f: Fluid, count: int) -> tuple[int, bool]:
    """Number the links of the component, add up what they are asked for.

    Returns how many there are, and whether all rows can run as fast as each can by itself.
    """
    f.state[STAMP] += 1
    stamp, links, fit = f.state[STAMP], 0, True
    for row in range(count):
        flow = f.part[row, 2]
        limit = f.limits[flow, 0]
        if limit == np.inf:
            fit = False
        for e in range(f.indptr[flow], f.indptr[flow + 1]):
            link = f.links[e]
            if f.heads[link, PLACED] != stamp:
                f.heads[link, PLACED], f.heads[link, PLACE] = stamp, links
                f.fill[links, DEMAND], f.fill[links, AT_LIMITS] = 0.0, 0.0
                f.fill[links, SPARE] = f.capacity[link]
                f.fill_keys[links, LINK], f.fill_keys[links, GROWING] = link, 0
                links += 1
            at = f.heads[link, PLACE]
            f.fill[at, DEMAND] += f.loads[e]
            f.fill_keys[at, GROWING] += 1
            if fit:
                f.fill[at, AT_LIMITS] += f.loads[e] * limit
    for at in range(links):
        fit = fit and f.fill[at, AT_LIMITS] <= f.fill[at, SPARE]
    return links, fit


@part
def _list_users(f: Fluid, count: int, links: int) -> None:
    """List the rows on each link, in their order, each with the place of its load."""
    total = 0
    for at in range(links):
        f.fill_keys[at, FIRST_USER] = total
        total += f.fill_keys[at, GROWING]
    f.fill_keys[links, FIRST_USER] = total
    for at in range(links):
        f.fill_keys[at, HEAP] = f.fill_keys[at, FIRST_USER]
    for row in range(count):
        flow = f.part[row, 2]
        for e in range(f.indptr[flow], f.indptr[flow + 1]):
            at = f.heads[f.links[e], PLACE]
            f.users[f.fill_keys[at, HEAP], 0] = row
            f.users[f.fill_keys[at, HEAP], 1] = e
            f.fill_keys[at, HEAP] += 1


@part
def _heap_of_levels(f: Fluid, links: int) -> int:
    """Make the heap of (level, link); return its size."""
    for at in range(links):
        level = f.fill[at, SPARE] / f.fill[at, DEMAND]
        spot = at
        while spot > 0:
            up = (spot - 1) >> 1
            if _before(f, f.fill[up, LEVEL], f.fill_keys[up, HEAP], level, at):
                break
            f.fill[spot, LEVEL], f.fill_keys[spot, HEAP] = (
                f.fill[up, LEVEL],
                f.fill_keys[up, HEAP],
            )
            spot = up
        f.fill[spot, LEVEL], f.fill_keys[spot, HEAP] = level, at
    return links


@part
def _before(f: Fluid, level: float, at: int, other: float, other_at: int) -> bool:
    """Tell which of two links fills first; of equal levels the lower link."""
    if level != other:
        return level < other
    return bool(f.fill_keys[at, LINK] < f.fill_keys[other_at, LINK])


@part
def _sift(f: Fluid, size: int, level: float, at: int) -> None:
    """Put a link in the place of the heap's first, in a heap of `size`."""
    spot = 0
    while True:
        down = 2 * spot + 1
        if down >= size:
            break
        if down + 1 < size and _before(
            f,
            f.fill[down + 1, LEVEL],
            f.fill_keys[down + 1, HEAP],
            f.fill[down, LEVEL],
            f.fill_keys[down, HEAP],
        ):
            down += 1
        if _before(f, level, at, f.fill[down, LEVEL], f.fill_keys[down, HEAP]):
            break
        f.fill[spot, LEVEL], f.fill_keys[spot, HEAP] = (
            f.fill[down, LEVEL],
            f.fill_keys[down, HEAP],
        )
        spot = down
    f.fill[spot, LEVEL], f.fill_keys[spot, HEAP] = level, at


@part
def _hold(f: Fluid, row: int, level: float) -> int:
    """Give a row its rate and take it off its links; return whether it was still growing."""
    if not f.waits[row]:
        return 0
    f.waits[row] = 0
    f.levels[row] = level
    flow = f.part[row, 2]
    for e in range(f.indptr[flow], f.indptr[flow + 1]):
        at = f.heads[f.links[e], PLACE]
        f.fill_keys[at, GROWING] -= 1
        f.fill[at, SPARE] -= f.loads[e] * level
        rest = f.fill[at, DEMAND] - f.loads[e]
        if rest <= 0 and f.fill_keys[at, GROWING] > 0:  # lost in rounding: add up anew
            rest = 0.0
            for user in range(f.fill_keys[at, FIRST_USER], f.fill_keys[at + 1, FIRST_USER]):
                if f.waits[f.users[user, 0]]:
                    rest += f.loads[f.users[user, 1]]
        f.fill[at, DEMAND] = rest
    return 1
