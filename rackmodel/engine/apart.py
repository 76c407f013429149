"""Rank classes that are apart while micro-batches repeat: they neither meet nor share a link.

In:  a simulation, and the items of its programs that repeat.
Out: `independent_parts`.
Left out: whether what each part does recurs (`recurrence`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rackmodel.engine.exchanges import key_of
from rackmodel.workload.operations import Operation, Recv, Segment

if TYPE_CHECKING:
    from rackmodel.engine.quotient import MeetingKind
    from rackmodel.engine.simulation import Simulation


def independent_parts(run: Simulation, repeating: Sequence[range]) -> list[tuple[int, ...]]:
    """Return sets of rank classes, apart from each other in some items of their programs.

    Links are classes, too: one that two parts load stands for links that flows of both cross, since
    links that are crossed by other flows are of other classes.

    repeating : the items, for each pipeline rank.
    """
    from networkx.utils import UnionFind  # takes 0.1 s to load

    parts, user = UnionFind(range(len(run.stages))), dict[int, int]()
    for number, stage in enumerate(run.stages):
        for kind in _meetings(run, number, stage, repeating[stage]):
            parts.union(number, *kind.members)
            for flow, _ in (pair for flows in kind.rounds for pair in flows):
                for link, _ in run.quotient.loads[flow]:
                    parts.union(number, user.setdefault(link, number))
    return sorted(tuple(sorted(part)) for part in parts.to_sets())


def _meetings(run: Simulation, number: int, stage: int, items: range) -> Iterator[MeetingKind]:
    """Return whatever a rank class exchanges in some items, each kind once."""
    program = run.programs[stage].items
    distinct = {program[place].id: program[place] for place in items}
    operations: list[Operation] = []
    for item in distinct.values():
        operations += item.operations if isinstance(item, Segment) else (item,)
    met = set()
    for operation in operations:
        key = key_of(operation, stage)
        channel = None if key is None else run.system.index.get(key)
        if channel is None:
            continue
        q = run.quotient
        table = q.received if isinstance(operation, Recv) else q.joined
        index = table[channel].get(number)
        if index is not None:
            met.add((channel, index))
    for channel, index in sorted(met):
        yield run.quotient.meetings[channel][index]
