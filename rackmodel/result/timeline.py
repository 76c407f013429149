"""The log of a simulation as frames: one row for each stretch of a rank class's time.

In:  what each rank class logged, and what its operations compute and move (`layouts`).
Out: the events as columns (coarse: a few rows per visit of a segment; fine: one per operation).
Left out: watts, dollars, links; the sums of it (`breakdown`).

In the coarse frame whatever a rank does in one visit of a segment is put together by kind, one kind
after the other on each stream. This is so however the visit was simulated, in lockstep or operation
by operation: else figures that are not linear in it (power is not) would depend on folding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Columns, Floats, Ints, Words, each_once
from rackmodel.engine.rank_logs import RankLog
from rackmodel.engine.recurrence import Splice
from rackmodel.engine.script import Lockstep
from rackmodel.engine.step import Step
from rackmodel.errors import CannotRun
from rackmodel.kernels.operand_bytes import Traffic
from rackmodel.result.layouts import AMOUNTS, BYTES, KERNELS, WAITING, WORDS, Layouts, Row, Table
from rackmodel.result.link_usage import sent_bytes
from rackmodel.stages import tell

Column: TypeAlias = npt.NDArray[Any]
MOST_ROWS = 30_000_000  # of one rank class: 3 GB of columns
Rows: TypeAlias = dict[str, Column]  # row (in the table), item, place, start_s, end_s, AMOUNTS

COLUMNS = {
    "kind": "compute, collective (bytes move), wait (for others), send (pipeline bytes move)",
    "stream": "compute, or the communication stream of an asynchronous collective",
    "phase": "forward, backward, recompute, optimizer, other",
    "axis": "the group of a collective or send: tp, cp, ep, dp, pp, ...",
}

ROUNDING_S = 1e-12  # shorter stretches are rounding, not waiting


def stretches(
    step: Step,
    traffic: Traffic,
    *,
    fine: bool = False,
    outside: tuple[float, float] | None = None,
) -> Columns:
    """Return the events of all rank classes, in order of class and start.

    traffic : what kernels move through HBM. fine : one row per operation. outside : (start, end) of
    what every rank waits for after its last operation.
    """
    tell("where the time goes")
    table, sent = Table(), sent_bytes(step)
    layouts = [
        Layouts(program, step.seconds, traffic, fine, sent, step.silent, table)
        for program in step.programs
    ]
    stages = step.rank_stage.tolist()
    parts = [
        _spliced(_rows(step.logs[number], layouts[stage]), step.splice_of(number))
        for number, stage in enumerate(stages)
    ]
    if outside is not None:
        lost = table.number(Row("wait", "compute", "other", "", "outside the kernels"))
        last = dict.fromkeys(AMOUNTS, 0.0) | {"row": lost, "micro_batch": -1}
        last |= dict(zip(("start_s", "end_s"), outside, strict=True))
        parts = [{k: np.append(v, last[k]) for k, v in part.items()} for part in parts]
    order = [np.argsort(part["start_s"], kind="stable") for part in parts]
    together = {
        name: np.concatenate([part[name][at] for part, at in zip(parts, order, strict=True)])
        for name in parts[0]
    }
    sizes = [len(at) for at in order]
    columns: Columns = {
        "rank_class": np.repeat(np.arange(len(parts)), sizes),
        "stage": np.repeat(step.rank_stage, sizes),
    }
    row = together["row"].astype(np.int64)
    for name in WORDS:
        words = Words.of([getattr(r, name) for r in table.rows])
        codes = words.codes
        if name == "precision":  # nothing but kernels has one
            codes = np.where(words.among(""), -1, codes)
        columns[name] = Words(codes[row], words.names)
    for name in ("start_s", "end_s", "micro_batch", *AMOUNTS):
        columns[name] = together[name]
    return columns


def _spliced(table: Rows, splice: Splice | None) -> Rows:
    """Put the stretch that recurs in as often as it does; what comes later shifts."""
    if splice is None:
        return table
    start = table["start_s"] + 1e-12 * splice.at_s  # rows at a seam belong to what follows
    order = np.arange(len(start))
    begin = splice.at_s - splice.period_s
    again = order[(start >= begin) & (start < splice.at_s)]
    later = order[start >= splice.at_s]
    if (rows := len(again) * (splice.times + 1)) > MOST_ROWS:
        raise CannotRun(
            f"the timeline has {rows:,} rows, at most {MOST_ROWS:,} are held: the same "
            f"micro-batches {splice.times:,} times; give a lower global batch"
        )
    turns = np.arange(splice.times + 1)
    pick = np.concatenate([order[start < begin], np.tile(again, len(turns)), later])
    turn = np.concatenate(
        [
            np.zeros(int((start < begin).sum()), dtype=np.int64),
            np.repeat(turns, len(again)),
            np.full(len(later), splice.times),
        ]
    )
    spliced = {name: column[pick] for name, column in table.items()}
    spliced |= {name: spliced[name] + turn * splice.period_s for name in ("start_s", "end_s")}
    numbered = spliced["micro_batch"] >= 0
    spliced["micro_batch"] = spliced["micro_batch"] + np.where(numbered, turn * splice.batches, 0)
    return spliced


def _rows(log: RankLog, layouts: Layouts) -> Rows:
    """Return the rows of what a rank class logged, with their micro-batches."""
    steady = log.words[:, 4]
    single = np.flatnonzero(steady < 0)
    kinds = layouts.templates_of(log.words[single], log.axes)
    parts = [_laid_out(kinds, log.item[single], log.times[single], layouts)]
    apart: list[Rows] = []
    for number in each_once(steady[steady >= 0]).tolist():
        at = np.flatnonzero(steady == number)
        one, first = log.locksteps[number], int(log.item[at[0]])
        spread = _repeated(
            layouts.lockstep(one, first, _lockstep_rows), log.item[at], log.start_s[at]
        )
        (parts if one.begin or layouts.fine else apart).append(spread)
    rows = _joined(parts)
    if not layouts.fine:
        rows = _joined([_merged(rows, layouts), *apart])
    batches = np.array(layouts.program.micro_batches, dtype=np.int64)
    rows["micro_batch"] = batches[rows["item"]]
    del rows["item"], rows["place"]
    return rows


def _lockstep_rows(steady: Lockstep, item: int, layouts: Layouts) -> Rows:
    """Return the rows of a lockstep, in seconds from its start."""
    kinds = [layouts.template(item, e.place, e.kind, e.axis) for e in steady.entries]
    times = np.array([(e.start_s, e.end_s, e.begin_s) for e in steady.entries]).reshape(-1, 3)
    rows = _laid_out(np.array(kinds, dtype=np.int64), np.full(len(kinds), item), times, layouts)
    return rows if layouts.fine else _merged(rows, layouts)


def _repeated(rows: Rows, items: Ints, starts: Floats) -> Rows:
    """Return the rows of a lockstep for each of its visits."""
    count = len(rows["row"])
    spread = {name: np.tile(column, len(items)) for name, column in rows.items()}
    spread["item"] = np.repeat(items.astype(np.int64), count)
    return spread | {name: spread[name] + np.repeat(starts, count) for name in ("start_s", "end_s")}


def _joined(parts: Sequence[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _laid_out(kind: Ints, item: Ints, times: Floats, layouts: Layouts) -> Rows:
    """Return the rows of entries: their templates, items, (start, end, when bytes set off).

    Kernels fill their run in proportion; an exchange is a wait for others, then its bytes.
    """
    start, end, begin = times.T
    begin = np.clip(begin, start, end)
    templates = layouts.table.templates()
    first, count = templates["first"][kind], templates["count"][kind]
    entry = np.repeat(np.arange(len(kind)), count)
    spread = np.arange(len(entry)) - np.repeat(np.cumsum(count) - count, count)
    part = first[entry] + spread
    width = (end - start)[entry]
    low = start[entry] + templates["low"][part] * width
    high = start[entry] + templates["high"][part] * width
    role = templates["role"][part]
    low = np.where(role == BYTES, begin[entry], low)
    high = np.where(role == WAITING, begin[entry], high)
    row = templates["row"][part]
    amounts = {name: layouts.table.amounts(name)[row] for name in AMOUNTS}
    kept = (role == KERNELS) | (high - low > ROUNDING_S) | (amounts["wire_bytes"] > 0)
    found = {
        "row": row,
        "item": item[entry],
        "place": templates["place"][kind][entry],
        "start_s": low,
        "end_s": high,
        **amounts,
    }
    return {name: column[kept] for name, column in found.items()}


def _merged(rows: Rows, layouts: Layouts) -> Rows:
    """Put the rows of each visit of a segment together by kind, one kind after another.

    Segments whose collectives outlast them stay as they are. Totals are kept.
    """
    inside = layouts.whole[rows["item"]]
    loose = {name: column[~inside] for name, column in rows.items()}
    rows = {name: column[inside] for name, column in rows.items()}
    order = np.lexsort((rows["start_s"], rows["place"], rows["item"]))
    rows = {name: column[order] for name, column in rows.items()}
    kinds, streams = layouts.table.merged(), layouts.table.streams()
    kind = kinds[rows["row"]]
    most = int(kinds.max(initial=0)) + 1
    _, first, where = np.unique(rows["item"] * most + kind, return_index=True, return_inverse=True)
    where = where.reshape(-1)
    width = np.bincount(where, rows["end_s"] - rows["start_s"], minlength=len(first))
    found = {name: np.bincount(where, rows[name], minlength=len(first)) for name in AMOUNTS}
    begin = np.full(len(first), np.inf)
    np.minimum.at(begin, where, rows["start_s"])
    item, row = rows["item"][first], kinds[rows["row"][first]]
    # on each stream of a visit one after the other, in the order in which they first appear
    lane = item * (int(streams.max(initial=0)) + 1) + streams[rows["row"][first]]
    order = np.lexsort((first, lane))
    lane, width, begin = lane[order], width[order], begin[order]
    heads = np.flatnonzero(np.diff(lane, prepend=-1))
    run = np.cumsum(width)
    offset = run - width
    reach = np.repeat(np.arange(len(heads)), np.diff(np.append(heads, len(lane))))
    low = np.zeros(0) if not len(heads) else np.minimum.reduceat(begin, heads)[reach]
    start = low + offset - offset[heads][reach]
    together = {
        "row": row[order],
        "item": item[order],
        "place": rows["place"][first][order],
        "start_s": start,
        "end_s": start + width,
        **{name: column[order] for name, column in found.items()},
    }
    return _joined([loose, together])
