"""The log of a simulation as frames: one row for each stretch of a rank class's time.

In:  what each rank class logged, and what its operations compute and move.
Out: the events frame (coarse: a few rows per segment; fine: one per operation).
Left out: watts, dollars, links; the sums of it (`breakdown`).

A segment that was worked out once appears in every visit as the same rows, shifted: they are laid
out once and repeated by numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rackmodel.engine.ranks import Logged
from rackmodel.engine.recurrence import Splice
from rackmodel.engine.script import Lockstep
from rackmodel.workload.operations import Compute, Operation, Program, Segment

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Column: TypeAlias = npt.NDArray[Any]
Seconds: TypeAlias = Mapping[int, float]  # by id of a Compute
# Id of an item, and a place of it where kernels begin or the key of a lockstep.
Visit: TypeAlias = tuple[int, int | tuple[float, ...]]

COLUMNS = {
    "kind": "compute, collective (bytes move), wait (for others), send (pipeline bytes move)",
    "stream": "compute, or the communication stream of an asynchronous collective",
    "phase": "forward, backward, recompute, optimizer, other",
    "axis": "the group of a collective or send: tp, cp, ep, dp, pp, ...",
}

ROUNDING_S = 1e-12  # shorter stretches are rounding, not waiting


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the frame, relative to the start of what was logged."""

    kind: str
    stream: str
    phase: str
    axis: str
    name: str
    precision: str
    start: float
    end: float
    flops: float = 0.0
    hbm_bytes: float = 0.0
    wire_bytes: float = 0.0


@dataclass(slots=True)
class Layouts:
    """Rows for what rank classes of one pipeline rank log; worked out once for each kind of
    entry."""

    program: Program
    seconds: Seconds
    fine: bool
    wire_bytes: Mapping[tuple[str, float], float]  # bytes sent per rank, by (axis, bytes)
    silent: frozenset[int]  # ids of operations that leave no trace: collectives of one rank
    _kernels: dict[int, tuple[Row, ...]] = field(default_factory=dict)
    _known: dict[Visit, tuple[Row, ...]] = field(default_factory=dict)

    def operations(self, item: int) -> tuple[Operation, ...]:
        """Return the operations of an item of the program."""
        what = self.program.items[item]
        return what.operations if isinstance(what, Segment) else (what,)

    def run_of(self, item: int, place: int) -> tuple[Row, ...]:
        """Return the rows of the kernels of an item that begin at `place`, over [0, 1)."""
        key = (self.program.items[item].id, place)
        if key not in self._known:
            self._known[key] = self.run(self.operations(item), place)
        return self._known[key]

    def run(self, operations: Sequence[Operation], place: int) -> tuple[Row, ...]:
        """Return the rows of the kernels that begin at `place`, stretched over [0, 1)."""
        run: list[Compute] = []
        for operation in operations[place:]:
            if not isinstance(operation, Compute):
                if self._silent(operation):
                    continue
                break
            run.append(operation)
        total = sum(self.seconds[c.id] for c in run) or 1.0
        rows: list[Row] = []
        now = 0.0
        for compute in run:
            share = self.seconds[compute.id] / total
            rows.extend(_stretched(self._compute(compute), now, now + share))
            now += share
        return tuple(rows) if self.fine else _merge(rows)

    def _silent(self, operation: Operation) -> bool:
        """Return whether an operation left no trace: a collective of one, or a wait for it."""
        return operation.id in self.silent

    def _compute(self, compute: Compute) -> tuple[Row, ...]:
        """Return one row per number format, each with its share of [0, 1)."""
        known = self._kernels.get(compute.id)
        if known is not None:
            return known
        rows: tuple[Row, ...]
        flops: dict[str, float] = {}
        moved: dict[str, float] = {}
        for kernel in compute.kernels:
            name = kernel.precision
            flops[name] = flops.get(name, 0.0) + kernel.flops * kernel.count
            both = (kernel.read_bytes + kernel.write_bytes) * kernel.count
            moved[name] = moved.get(name, 0.0) + both
        if self.fine or len(flops) < 2:
            main = max(flops, key=lambda f: flops[f], default="")
            rows = (_kernel_row(compute, main, 0.0, 1.0, sum(flops.values()), sum(moved.values())),)
        else:
            weight = {f: flops[f] + 100.0 * moved[f] for f in flops}  # FLOPs per byte: only a share
            total = sum(weight.values()) or 1.0
            now, parts = 0.0, []
            for name in flops:
                end = now + weight[name] / total
                parts.append(_kernel_row(compute, name, now, end, flops[name], moved[name]))
                now = end
            rows = tuple(parts)
        self._kernels[compute.id] = rows
        return rows

    def lockstep(self, item: int, steady: Lockstep) -> tuple[Row, ...]:
        """Return the rows of a lockstep, in seconds from its start."""
        key = (self.program.items[item].id, steady.key)
        if key not in self._known:
            self._known[key] = self._lockstep(item, steady)
        return self._known[key]

    def _lockstep(self, item: int, steady: Lockstep) -> tuple[Row, ...]:
        operations = self.operations(item)
        rows: list[Row] = []
        for entry in steady.entries:
            if entry.kind == "run":
                kernels = self.run_of(item, entry.place)
                rows.extend(_stretched(kernels, entry.start_s, entry.end_s))
            elif entry.kind in ("join", "async", "hold") and entry.end_s > entry.start_s:
                rows.append(self.exchange(operations, entry.place, entry.kind, entry.axis))
                rows[-1] = _moved(rows[-1], entry.start_s, entry.end_s)
        return tuple(rows) if self.fine else _merge(rows)

    def exchange(self, operations: Sequence[Operation], place: int, kind: str, axis: str) -> Row:
        """Return the row of a collective, a send, or a wait for one, over [0, 1)."""
        operation = operations[place]
        size = getattr(operation, "bytes", 0.0)
        stream = getattr(operation, "stream", "pp") if kind == "async" else "compute"
        return Row(
            kind="send" if axis == "pp" else "collective",
            stream=stream,
            phase=getattr(operation, "phase", "other"),
            axis=axis,
            name=getattr(operation, "name", getattr(operation, "token", "")),
            precision="",
            start=0.0,
            end=1.0,
            wire_bytes=0.0 if kind == "hold" else self.wire_bytes.get((axis, size), 0.0),
        )


def _kernel_row(
    compute: Compute, precision: str, start: float, end: float, flops: float, moved: float
) -> Row:
    return Row(
        "compute", "compute", compute.phase, "", compute.name, precision, start, end, flops, moved
    )


def _moved(row: Row, start: float, end: float) -> Row:
    from dataclasses import replace

    return replace(row, start=start, end=end)


def _stretched(rows: Sequence[Row], start: float, end: float) -> list[Row]:
    width = end - start
    return [_moved(r, start + r.start * width, start + r.end * width) for r in rows]


def _merge(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Put rows of the same kind together, one after the other per stream; totals are kept."""
    sums: dict[tuple[str, str, str, str, str], list[float]] = {}
    for r in rows:
        entry = sums.setdefault((r.stream, r.kind, r.phase, r.axis, r.precision), [0.0] * 4)
        for i, value in enumerate((r.end - r.start, r.flops, r.hbm_bytes, r.wire_bytes)):
            entry[i] += value
    clock: dict[str, float] = {}
    merged = []
    for (stream, kind, phase, axis, precision), (width, flops, moved, wire) in sums.items():
        start = clock.get(stream, min(r.start for r in rows if r.stream == stream))
        clock[stream] = start + width
        name = phase if kind == "compute" else axis
        merged.append(
            Row(
                kind, stream, phase, axis, name, precision, start, start + width, flops, moved, wire
            )
        )
    return tuple(merged)


def frame(
    logs: Sequence[Sequence[Logged]],
    stages: Sequence[int],
    layouts: Sequence[Layouts],
    splice: Splice | None = None,
    outside: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """Return the events of all rank classes, in order of class and start.

    logs : one per rank class. stages : its pipeline rank. layouts : one per pipeline rank. splice :
    the stretch that recurs, if the logs are those of a shorter step. outside : (start, end) of what
    every rank waits for after its last operation.
    """
    import pandas as pd

    rows = _Rows()
    parts = [
        _spliced(rows.of_class(log, layouts[stage]), splice)
        for log, stage in zip(logs, stages, strict=True)
    ]
    if outside is not None:
        last = rows.number(Row("wait", "compute", "other", "", "outside the kernels", "", 0.0, 1.0))
        for part in parts:
            for name, value in zip(part, (last, *outside, -1), strict=True):
                part[name] = np.append(part[name], value)
    row = np.concatenate([part["row"] for part in parts])
    sizes = [len(part["row"]) for part in parts]
    columns: dict[str, Any] = {
        "rank_class": np.repeat(np.arange(len(parts)), sizes),
        "stage": np.repeat(np.array(stages, dtype=np.int64), sizes),
    }
    for name in ("kind", "stream", "phase", "axis", "name", "precision"):
        codes, known = pd.factorize(
            np.array([getattr(r, name) for r in rows.distinct], dtype=object)
        )
        if name == "precision":  # nothing but kernels has one
            codes = np.where(np.array(known == "")[codes], -1, codes)
        columns[name] = pd.Categorical.from_codes(codes[row], categories=pd.Index(known))
    for name in ("start_s", "end_s", "micro_batch"):
        columns[name] = np.concatenate([part[name] for part in parts])
    for name in ("flops", "hbm_bytes", "wire_bytes"):
        columns[name] = np.array([getattr(r, name) for r in rows.distinct], dtype=float)[row]
    table = pd.DataFrame(columns)
    return table.sort_values(["rank_class", "start_s"], kind="stable", ignore_index=True)


def _spliced(table: dict[str, Column], splice: Splice | None) -> dict[str, Column]:
    """Put the stretch that recurs in as often as it does; what comes later shifts."""
    if splice is None:
        return table
    start = table["start_s"] + 1e-12 * splice.at_s  # rows at a seam belong to what follows
    order = np.arange(len(start))
    begin = splice.at_s - splice.period_s
    again = order[(start >= begin) & (start < splice.at_s)]
    later = order[start >= splice.at_s]
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
    for name in ("start_s", "end_s"):
        spliced[name] = spliced[name] + turn * splice.period_s
    numbered = spliced["micro_batch"] >= 0
    spliced["micro_batch"] = spliced["micro_batch"] + np.where(numbered, turn * splice.batches, 0)
    return spliced


@dataclass(slots=True)
class _Rows:
    """Rows that differ in more than time, each kept once."""

    distinct: list[Row] = field(default_factory=list)
    _number: dict[Row, int] = field(default_factory=dict)
    _exchanges: dict[tuple[int, int, str, str], tuple[Row, Row]] = field(default_factory=dict)
    _known: dict[Visit, tuple[Column, Column, Column]] = field(default_factory=dict)

    def number(self, row: Row) -> int:
        number = self._number.get(row)
        if number is None:
            number = self._number[row] = len(self.distinct)
            self.distinct.append(row)
        return number

    def of_class(self, log: Sequence[Logged], layouts: Layouts) -> dict[str, Column]:
        """Return row numbers, starts, ends and micro-batches of what a rank class logged."""
        visits: dict[Visit, tuple[tuple[Row, ...], list[tuple[float, float, int]]]] = {}
        loose: list[tuple[int, float, float, int]] = []
        for entry in log:
            batch = layouts.program.micro_batches[entry.item]
            item = layouts.program.items[entry.item].id
            if entry.lockstep is not None:
                key = entry.lockstep.key
                if (item, key) not in visits:
                    visits[item, key] = (layouts.lockstep(entry.item, entry.lockstep), [])
                visits[item, key][1].append((entry.start_s, 1.0, batch))
            elif entry.kind == "run":
                if (item, entry.place) not in visits:
                    rows = layouts.run_of(entry.item, entry.place)
                    visits[item, entry.place] = (rows, [])
                length = entry.end_s - entry.start_s
                visits[item, entry.place][1].append((entry.start_s, length, batch))
            else:
                self._exchange(entry, layouts, batch, loose)
        parts = [self._repeated(visit, *both) for visit, both in visits.items()]
        parts.append(tuple(np.array(column) for column in zip(*loose, strict=True)) or _nothing())
        names = ("row", "start_s", "end_s", "micro_batch")
        joined = [np.concatenate([part[i] for part in parts]) for i in range(4)]
        joined[0], joined[3] = joined[0].astype(np.int64), joined[3].astype(np.int64)
        return dict(zip(names, joined, strict=True))

    def _exchange(
        self,
        entry: Logged,
        layouts: Layouts,
        batch: int,
        loose: list[tuple[int, float, float, int]],
    ) -> None:
        key = (layouts.program.items[entry.item].id, entry.place, entry.kind, entry.axis)
        known = self._exchanges.get(key)
        if known is None:
            operations = layouts.operations(entry.item)
            row = layouts.exchange(operations, entry.place, entry.kind, entry.axis)
            wait = Row("wait", row.stream, row.phase, row.axis, row.name, "", 0.0, 1.0)
            known = self._exchanges[key] = (row, wait)
        row, wait = known
        begin = min(max(entry.begin_s, entry.start_s), entry.end_s)
        if begin - entry.start_s > ROUNDING_S and row.stream == "compute":
            loose.append((self.number(wait), entry.start_s, begin, batch))
        if entry.end_s - begin > ROUNDING_S or row.wire_bytes:
            loose.append((self.number(row), begin, entry.end_s, batch))

    def _repeated(
        self, visit: Visit, rows: tuple[Row, ...], visits: list[tuple[float, float, int]]
    ) -> tuple[Column, ...]:
        if not rows:
            return _nothing()
        times = np.array(visits)
        start, scale = times[:, :1], times[:, 1:2]
        numbers, starts, ends = self._columns(visit, rows)
        return (
            np.tile(numbers, len(visits)),
            (start + scale * starts).ravel(),
            (start + scale * ends).ravel(),
            np.repeat(times[:, 2], len(rows)),
        )

    def _columns(self, visit: Visit, rows: tuple[Row, ...]) -> tuple[Column, Column, Column]:
        if visit not in self._known:
            self._known[visit] = (
                np.array([self.number(r) for r in rows]),
                np.array([r.start for r in rows]),
                np.array([r.end for r in rows]),
            )
        return self._known[visit]


def _nothing() -> tuple[Column, ...]:
    return tuple(np.zeros(0) for _ in range(4))
