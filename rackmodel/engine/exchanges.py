"""Kinds of exchange: what ranks of a job will ever send each other, by operation, axis and size.

In:  the programs of the pipeline ranks.
Out: one `Key` per kind of exchange, with the pipeline ranks that take part.
Left out: who they are (`drafts`), over which links (`system`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rackmodel.columns import Bools
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Operation,
    Program,
    Recv,
    Segment,
    Send,
    Transfer,
    Wait,
    operations_of,
)

IDLE = (Compute, Wait, Recv)  # exchange nothing, or what the sender's end tells


class Key(NamedTuple):
    """What tells one kind of exchange from another."""

    op: str
    axis: str  # for a send: "pp", with the two pipeline ranks
    bytes: float
    stages: tuple[int, int] | None = None


@lru_cache(maxsize=4)  # as many as `workload.programs` keeps
def exchanges(programs: tuple[Program, ...]) -> Mapping[Key, Bools]:
    """Return every kind of exchange, with the pipeline ranks that take part in it (bool[pp])."""
    used_by: dict[Key, Bools] = {}
    inside: dict[int, dict[Key, None]] = {}  # by id of a segment whose exchanges name no stage
    for program in programs:
        stage = program.pipeline_rank
        known: set[tuple[type[object], int, float]] = set()  # kinds of transfers of this rank
        for item in {item.id: item for item in program.items}.values():
            if isinstance(item, Transfer):  # most items, of very few kinds
                way = type(item), item.peer, item.bytes
                if way in known:
                    continue
                known.add(way)
            keys = inside.get(item.id)
            if keys is None:
                active = (one for one in operations_of(item) if type(one) not in IDLE)
                found = {key_of(one, stage): None for one in active}
                keys = {key: None for key in found if key is not None}
                if isinstance(item, Segment) and all(key.stages is None for key in keys):
                    inside[item.id] = keys
            for key in keys:
                if key not in used_by:
                    used_by[key] = np.zeros(len(programs), dtype=bool)
                used_by[key][stage] = True
    return used_by


def key_of(operation: Operation, stage: int) -> Key | None:
    """Return the kind of exchange that an operation of pipeline rank `stage` takes part in."""
    match operation:
        case Collective():
            return Key(operation.op, operation.axis, operation.bytes)
        case Send():
            ends = (stage, operation.peer)
        case Recv():
            ends = (operation.peer, stage)
        case _:
            return None
    return Key("send", "pp", operation.bytes, ends)
