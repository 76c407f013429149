"""What joins the accelerators of a unit: planes of switch chips, all pairs, or a torus.

In:  the part of a machine that is asked for.
Out: groups of switches and links.
Left out: hosts (`elements`), NICs and the fabric (`scale_out`).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

from rackmodel.columns import Ints
from rackmodel.topology.kinds import Kind, Tier
from rackmodel.topology.nodes_and_links import Asked, Links, Nodes, pairs
from rackmodel.topology.shapes import Mesh, Switched, Torus


def domain_groups(asked: Asked, first: int) -> Iterator[Nodes | Links]:
    """Yield the switches and links of all units; `first` is the number of a first node."""
    match asked.machine.scale_up:
        case Switched() as switched:
            yield from _planes(asked, switched, first)
        case Mesh() as mesh:
            yield _mesh(asked, mesh)
        case Torus() as torus:
            yield from _torus(asked, torus)


def _planes(asked: Asked, s: Switched, first: int) -> Iterator[Nodes | Links]:
    """Yield switch chips in one or two tiers; bundled, a node is all chips of a group or tier."""
    units, kind, delay_s = asked.units, Kind.SCALE_UP_SWITCH, s.switch_latency_s
    chips = 1 if asked.bundled else len(s.links)
    each = len(s.links) // chips
    tops = min(s.spines, 1) if asked.bundled else s.spines  # nodes above a chip of each group
    per_tray = -(-len(s.links) // s.trays)

    def number(unit: Ints, group: Ints | int, chip: Ints) -> Ints:
        return first + unit * chips * (s.groups + tops) + group * chips + chip

    def facts(unit: Ints, group: Ints, chip: Ints) -> dict[str, Ints | int]:
        rack = asked.rack(unit * asked.size + group * s.group_accelerators)
        places = {"rack": rack, "tray": chip // per_tray, "domain": unit}
        return {"tier": 1, "count": each, **places}

    def inner(start: int, unit: Ints, group: Ints, chip: Ints, i: Ints) -> tuple[Ints, Ints]:
        accelerator = unit * asked.size + group * s.group_accelerators + i
        return accelerator, number(unit, group, start + chip)

    sizes = (units, s.groups, chips)
    yield Nodes(kind, s.switch, Tier.SCALE_UP, sizes, "switch-{}-{}-{}", number, facts, each)
    start = 0
    for links, run in itertools.groupby([sum(s.links)] if asked.bundled else s.links):
        many = len(list(run))
        grid, ends = (units, s.groups, many, s.group_accelerators), functools.partial(inner, start)
        yield Links(Tier.SCALE_UP, s.wire, grid, ends, links, down_s=delay_s)
        start += many
    if s.upper is None:
        return
    low, high = pairs(s.groups)

    def across(unit: Ints, chip: Ints, pair: Ints) -> tuple[Ints, Ints]:
        return number(unit, low[pair], chip), number(unit, high[pair], chip)

    def top(unit: Ints, chip: Ints, spine: Ints) -> Ints:
        return number(unit, s.groups, chip * tops + spine)

    def top_facts(unit: Ints, chip: Ints, spine: Ints) -> dict[str, Ints | int]:
        return {"tier": 2, "count": each, "rack": asked.rack(unit * asked.size), "domain": unit}

    def upward(unit: Ints, chip: Ints, spine: Ints, group: Ints) -> tuple[Ints, Ints]:
        return number(unit, group, chip), top(unit, chip, spine)

    tier, wire, delays = Tier.SCALE_UP_TOP, s.upper, (delay_s, delay_s)
    if s.cross_links:
        cross = s.cross_links * each
        yield Links(tier, wire, (units, chips, len(low)), across, cross, *delays)
    if tops:
        each *= s.spines // tops
        sizes = (units, chips, tops)
        yield Nodes(kind, s.switch, tier, sizes, "switch-{}-top-{}-{}", top, top_facts, each)
        yield Links(tier, wire, (*sizes, s.groups), upward, s.spine_links * each, *delays)


def _mesh(asked: Asked, mesh: Mesh) -> Links:
    low, high = pairs(mesh.accelerators)

    def ends(unit: Ints, pair: Ints) -> tuple[Ints, Ints]:
        return unit * asked.size + low[pair], unit * asked.size + high[pair]

    return Links(Tier.SCALE_UP, mesh.wire, (asked.units, len(low)), ends, mesh.links)


def _torus(asked: Asked, torus: Torus) -> Iterator[Links]:
    """Yield the links that leave each place of a dimension; the last dimension runs fastest.

    A dimension of length 2 has one link between the two; wrap-around needs `wrap_multiple`.
    Links between cubes and wrap-arounds leave the cube by `far`, where the pod has one.
    """
    assert asked.shape is not None

    stride = asked.size
    for dimension, (length, wire) in enumerate(zip(asked.shape, torus.wires, strict=True)):
        stride //= length
        for place in range(length if torus.wraps(asked.shape, dimension) else length - 1):
            last = place == length - 1
            leaves = last or (torus.cube and (place + 1) % torus.cube == 0)
            step = -place * stride if last else stride
            sizes = (asked.present // (length * stride), stride)
            join = functools.partial(_ring, length * stride, place * stride, step)
            yield Links(Tier.SCALE_UP, torus.far or wire if leaves else wire, sizes, join)


def _ring(around: int, first: int, step: int, line: Ints, inner: Ints) -> tuple[Ints, Ints]:
    """Join accelerators to those `step` further; `around` lie between two lines."""
    low = line * around + first + inner
    return low, low + step
