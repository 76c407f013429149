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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

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


class Row(NamedTuple):
    """What a row of the frame says besides its times."""

    kind: str
    stream: str
    phase: str
    axis: str
    name: str
    precision: str = ""
    flops: float = 0.0
    hbm_bytes: float = 0.0
    wire_bytes: float = 0.0


Span: TypeAlias = tuple[Row, float, float]  # with its start and end


@dataclass(slots=True)
class Layouts:
    """Rows for what rank classes of one pipeline rank log; worked out once for each kind of
    entry."""

    program: Program
    seconds: Seconds
    fine: bool
    wire_bytes: Mapping[tuple[str, float], float]  # bytes sent per rank, by (axis, bytes)
    silent: frozenset[int]  # ids of operations that leave no trace: collectives of one rank
    _spans: dict[Visit, list[Span]] = field(default_factory=dict)

    def of(self, entry: Logged) -> tuple[Visit, list[Span]]:
        """Return which kind of visit a run of kernels or a lockstep is, and its rows.

        Kernels over [0, 1), locksteps in seconds from their start.
        """
        steady = entry.lockstep
        visit = (
            self.program.items[entry.item].id,
            entry.place if steady is None else steady.key,
        )
        if visit not in self._spans:
            self._spans[visit] = (
                self._kernels(entry.item, entry.place)
                if steady is None
                else self._lockstep(entry.item, steady)
            )
        return visit, self._spans[visit]

    def exchange(self, item: int, place: int, kind: str, axis: str) -> Row:
        """Return the row of a collective, a send, or a wait for one."""
        operation = self._operations(item)[place]
        size = getattr(operation, "bytes", 0.0)
        return Row(
            kind="send" if axis == "pp" else "collective",
            stream=getattr(operation, "stream", "pp") if kind == "async" else "compute",
            phase=getattr(operation, "phase", "other"),
            axis=axis,
            name=getattr(operation, "name", getattr(operation, "token", "")),
            wire_bytes=0.0 if kind == "hold" else self.wire_bytes.get((axis, size), 0.0),
        )

    def exchanged(self, entry: Logged) -> list[Span]:
        """Return the rows of an exchange as it was logged: waiting for others, then its bytes."""
        row = self.exchange(entry.item, entry.place, entry.kind, entry.axis)
        begin = min(max(entry.begin_s, entry.start_s), entry.end_s)
        spans: list[Span] = []
        if begin - entry.start_s > ROUNDING_S and row.stream == "compute":
            wait = row._replace(kind="wait", wire_bytes=0.0)
            spans.append((wait, entry.start_s, begin))
        if entry.end_s - begin > ROUNDING_S or row.wire_bytes:
            spans.append((row, begin, entry.end_s))
        return spans

    def _operations(self, item: int) -> tuple[Operation, ...]:
        what = self.program.items[item]
        return what.operations if isinstance(what, Segment) else (what,)

    def _kernels(self, item: int, place: int) -> list[Span]:
        """Return the rows of the kernels of an item that begin at `place`, over [0, 1)."""
        spans: list[Span] = []
        now = 0.0
        for operation in self._operations(item)[place:]:
            if isinstance(operation, Compute):
                end = now + self.seconds[operation.id]
                spans += _stretched(self._formats(operation), now, end)
                now = end
            elif operation.id not in self.silent:
                break
        spans = _stretched(spans, 0.0, 1.0 / (now or 1.0))
        return spans if self.fine else _merged(spans)

    def _formats(self, compute: Compute) -> list[Span]:
        """Return one row per number format, each with its share of [0, 1)."""
        flops: dict[str, float] = {}
        moved: dict[str, float] = {}
        for kernel in compute.kernels:
            form = kernel.precision
            flops[form] = flops.get(form, 0.0) + kernel.flops * kernel.count
            both = (kernel.read_bytes + kernel.write_bytes) * kernel.count
            moved[form] = moved.get(form, 0.0) + both
        if self.fine or len(flops) < 2:
            main = max(flops, key=flops.__getitem__, default="")
            flops, moved = {main: sum(flops.values())}, {main: sum(moved.values())}
        # 100 FLOPs per byte: only a share
        weight = {form: flops[form] + 100.0 * moved[form] for form in flops}
        total = sum(weight.values())
        spans: list[Span] = []
        now = 0.0
        for form in flops:
            end = now + (weight[form] / total if total else 1.0 / len(flops))
            row = Row("compute", "compute", compute.phase, "", compute.name, form)
            spans.append((row._replace(flops=flops[form], hbm_bytes=moved[form]), now, end))
            now = end
        return spans

    def _lockstep(self, item: int, steady: Lockstep) -> list[Span]:
        """Return the rows of a lockstep, in seconds from its start."""
        spans: list[Span] = []
        for entry in steady.entries:
            if entry.kind == "run":
                kernels = self._kernels(item, entry.place)
                spans += _stretched(kernels, entry.start_s, entry.end_s)
            elif entry.end_s > entry.start_s:
                row = self.exchange(item, entry.place, entry.kind, entry.axis)
                spans.append((row, entry.start_s, entry.end_s))
        return spans if self.fine else _merged(spans)


def _stretched(spans: Sequence[Span], begin: float, stop: float) -> list[Span]:
    width = stop - begin
    return [(row, begin + start * width, begin + end * width) for row, start, end in spans]


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Put rows of the same kind together, one after the other per stream; totals are kept."""
    sums: dict[tuple[str, str, str, str, str], list[float]] = {}
    clock: dict[str, float] = {}
    for row, start, end in spans:
        key = (row.kind, row.stream, row.phase, row.axis, row.precision)
        totals = sums.setdefault(key, [0.0] * 4)
        for i, value in enumerate((end - start, row.flops, row.hbm_bytes, row.wire_bytes)):
            totals[i] += value
        clock[row.stream] = min(start, clock.get(row.stream, start))
    merged: list[Span] = []
    for (kind, stream, phase, axis, precision), (width, *totals) in sums.items():
        start = clock[stream]
        clock[stream] = start + width
        name = phase if kind == "compute" else axis
        merged.append(
            (Row(kind, stream, phase, axis, name, precision, *totals), start, start + width)
        )
    return merged


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

    numbers: dict[Row, int] = {}
    parts = [
        _spliced(_columns(log, layouts[stage], numbers), splice)
        for log, stage in zip(logs, stages, strict=True)
    ]
    if outside is not None:
        lost = Row("wait", "compute", "other", "", "outside the kernels")
        last = numbers.setdefault(lost, len(numbers))
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
        codes, words = pd.factorize(np.array([getattr(r, name) for r in numbers], dtype=object))
        if name == "precision":  # nothing but kernels has one
            codes = np.where(np.array(words == "")[codes], -1, codes)
        columns[name] = pd.Categorical.from_codes(codes[row], categories=pd.Index(words))
    for name in ("start_s", "end_s", "micro_batch"):
        columns[name] = np.concatenate([part[name] for part in parts])
    for name in ("flops", "hbm_bytes", "wire_bytes"):
        columns[name] = np.array([getattr(r, name) for r in numbers], dtype=float)[row]
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


def _columns(log: Sequence[Logged], layouts: Layouts, numbers: dict[Row, int]) -> dict[str, Column]:
    """Return row numbers, starts, ends and micro-batches of what a rank class logged.

    numbers : of distinct rows; added to.
    """
    visits: dict[Visit, tuple[list[Span], list[tuple[float, float, int]]]] = {}
    loose: list[tuple[int, float, float, int]] = []
    for entry in log:
        batch = layouts.program.micro_batches[entry.item]
        if entry.kind in ("run", "lockstep"):
            visit, spans = layouts.of(entry)
            scale = 1.0 if entry.lockstep is not None else entry.end_s - entry.start_s
            visits.setdefault(visit, (spans, []))[1].append((entry.start_s, scale, batch))
            continue
        for row, start, end in layouts.exchanged(entry):
            loose.append((numbers.setdefault(row, len(numbers)), start, end, batch))
    parts: list[tuple[Column, ...]] = []
    for spans, times in visits.values():
        number = [numbers.setdefault(row, len(numbers)) for row, _, _ in spans]
        within = np.array([span[1:] for span in spans]).reshape(-1, 2)
        begin, length, batches = np.array(times).T[:, :, None]
        starts, ends = (begin + length * edge for edge in within.T)
        batch_of = np.repeat(batches.ravel(), len(spans))
        parts.append((np.tile(number, len(times)), starts.ravel(), ends.ravel(), batch_of))
    parts.append(tuple(np.array(loose).reshape(-1, 4).T))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return {
        "row": joined[0].astype(np.int64),
        "start_s": joined[1],
        "end_s": joined[2],
        "micro_batch": joined[3].astype(np.int64),
    }
