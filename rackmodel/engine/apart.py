"""Rank classes that are apart while micro-batches repeat: they neither meet nor share a link.

In:  a simulation, and the items of its programs that repeat.
Out: `independent_parts`.
Left out: whether what each part does recurs (`recurrence`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from rackmodel.engine.exchanges import key_of
from rackmodel.engine.quotient import MeetingKind
from rackmodel.engine.simulation import Simulation
from rackmodel.network.arrays import components
from rackmodel.workload.operations import Recv, operations_of


def independent_parts(run: Simulation, repeating: Sequence[range]) -> list[tuple[int, ...]]:
    """Return sets of rank classes, apart from each other in some items of their programs.

    Links are classes, too: one that two parts load stands for links that flows of both cross, since
    links that are crossed by other flows are of other classes.

    repeating : the items, for each pipeline rank.
    """
    classes, loads = len(run.stages), run.quotient.loads
    channels = [_channels(run, stage, items) for stage, items in enumerate(repeating)]
    joined: set[tuple[int, int]] = set()  # classes with each other, and with the links they load
    seen: set[tuple[int, int]] = set()
    for number, stage in enumerate(run.stages):
        for place, kind in _meetings(run, number, channels[stage]):
            joined.update((number, member) for member in kind.members)
            if place in seen:  # by another that meets there, and so is joined to its links
                continue
            seen.add(place)
            flows = {flow for pairs in kind.rounds for flow, _ in pairs}
            joined.update((number, classes + link) for flow in flows for link, _ in loads[flow])
    ends = np.array([*joined], dtype=np.int64).reshape(-1, 2)
    name = components(max(classes, int(ends.max(initial=-1)) + 1), ends[:, 0], ends[:, 1])
    parts: dict[int, list[int]] = {}
    for number, part in enumerate(name[:classes].tolist()):
        parts.setdefault(part, []).append(number)
    return sorted(map(tuple, parts.values()))


def _channels(run: Simulation, stage: int, items: range) -> list[tuple[int, bool]]:
    """Return the channels that a pipeline rank uses in some items, and whether it receives."""
    program = run.programs[stage].items
    distinct = {program[place].id: program[place] for place in items}
    used = set()
    for operation in chain.from_iterable(map(operations_of, distinct.values())):
        key = key_of(operation, stage)
        channel = None if key is None else run.system.index.get(key)
        if channel is not None:
            used.add((channel, isinstance(operation, Recv)))
    return sorted(used)


def _meetings(
    run: Simulation, number: int, channels: Sequence[tuple[int, bool]]
) -> Iterator[tuple[tuple[int, int], MeetingKind]]:
    """Yield what a rank class exchanges on some channels, and where `quotient.meetings` has it."""
    q = run.quotient
    for channel, receives in channels:
        index = (q.received if receives else q.joined)[channel].get(number)
        if index is not None:
            yield (channel, index), q.meetings[channel][index]
