"""What the entries of a log say besides their times: rows of kernels and of exchanges.

In:  the program of a pipeline rank, seconds of its kernels, bytes that ranks send.
Out: `Layouts`: templates of rows, worked out once for each kind of entry, as arrays.
Left out: times (`timeline`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from rackmodel.columns import Floats, Ints
from rackmodel.engine.rank_logs import KINDS
from rackmodel.engine.script import Lockstep
from rackmodel.kernels.operand_bytes import Traffic
from rackmodel.workload.operations import (
    Collective,
    Compute,
    Program,
    Recv,
    Segment,
    Send,
    Transfer,
    Wait,
    content_of,
    operations_of,
    without_batch,
)

Seconds: TypeAlias = Mapping[int, float]  # by id of a Compute

WORDS = ("kind", "stream", "phase", "axis", "name", "precision")
AMOUNTS = ("flops", "hbm_bytes", "bare_hbm_s", "wire_bytes")
KERNELS, WAITING, BYTES = 0, 1, 2  # what a part of a template is


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
    bare_hbm_s: float = 0.0  # HBM is full and no kernel has arithmetic
    wire_bytes: float = 0.0


Span: TypeAlias = tuple[Row, float, float]  # with its start and end


@dataclass(slots=True, eq=False)
class Table:
    """Distinct rows and templates, numbered; shared by the layouts of all pipeline ranks.

    What is known of a segment is so for all ranks that run it.
    """

    rows: dict[Row, int] = field(default_factory=dict)
    contents: dict[object, int] = field(default_factory=dict)  # what items do
    numbers: dict[tuple[int, int, str, str], int] = field(default_factory=dict)
    parts: list[tuple[int, list[tuple[int, int, float, float]]]] = field(default_factory=list)
    locksteps: dict[tuple[int, Hashable], Any] = field(default_factory=dict)
    # By ids of the `Compute`s of a run; equal layers run the same ones.
    runs: dict[tuple[int, ...], list[tuple[int, int, float, float]]] = field(default_factory=dict)
    # By what an exchange is, before anything is made of it; equal layers have equal ones.
    exchanges: dict[tuple[object, ...], list[tuple[int, int, float, float]]] = field(
        default_factory=dict
    )
    closed: dict[int, bool] = field(default_factory=dict)  # by id of an item
    _templates: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    _columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def number(self, row: Row) -> int:
        """Return the number of a row."""
        return self.rows.setdefault(row, len(self.rows))

    def amounts(self, name: str) -> Floats:
        """Return what each row computes or moves; name : of `AMOUNTS`."""
        known = self._columns.get(name)
        if known is None or len(known) < len(self.rows):
            known = np.array([getattr(row, name) for row in self.rows], dtype=float)
            self._columns[name] = known
        return known

    def merged(self) -> Ints:
        """Return the row that each row becomes where those of its kind are put together."""
        known = self._columns.get("merged")
        if known is None or len(known) < len(self.rows):
            found = [self.number(_of_kind(row)) for row in list(self.rows)]
            found += range(len(found), len(self.rows))  # what they become stays
            known = self._columns["merged"] = np.array(found, dtype=np.int64)
        return known

    def templates(self) -> dict[str, npt.NDArray[Any]]:
        """Return all templates: place, first and count of each; role, row, low, high of its
        parts."""
        if len(self._templates.get("place", ())) < len(self.parts) or not self._templates:
            count = np.array([len(parts) for _, parts in self.parts], dtype=np.int64)
            flat = np.array([part for _, parts in self.parts for part in parts], dtype=float)
            role, row, low, high = flat.reshape(-1, 4).T
            self._templates = {
                "place": np.array([place for place, _ in self.parts], dtype=np.int64),
                "count": count,
                "first": np.cumsum(count) - count,
                "role": role.astype(np.int64),
                "row": row.astype(np.int64),
                "low": low,
                "high": high,
            }
        return self._templates

    def streams(self) -> Ints:
        """Return the number of the stream of each row."""
        known = self._columns.get("streams")
        if known is None or len(known) < len(self.rows):
            numbers: dict[str, int] = {}
            found = [numbers.setdefault(row.stream, len(numbers)) for row in self.rows]
            known = self._columns["streams"] = np.array(found, dtype=np.int64)
        return known


def _of_kind(row: Row) -> Row:
    name = row.phase if row.kind == "compute" else row.axis
    return Row(row.kind, row.stream, row.phase, row.axis, name, row.precision)


@dataclass(slots=True, eq=False)
class Layouts:
    """Rows for what rank classes of one pipeline rank log.

    whole : bool per item, True for segments whose collectives all end inside them. content : what
    each item does; unless the rows are fine, one transfer is like that of any other micro-batch.
    """

    program: Program
    seconds: Seconds
    traffic: Traffic  # of kernels through HBM
    fine: bool
    wire_bytes: Mapping[tuple[str, float], float]  # bytes sent per rank, by (axis, bytes)
    silent: frozenset[int]  # ids of operations that leave no trace: collectives of one rank
    table: Table = field(default_factory=Table)
    whole: npt.NDArray[np.bool_] = field(init=False)
    content: Ints = field(init=False)

    def __post_init__(self) -> None:
        """Look which segments are whole; equal items are looked at once."""
        numbers = self.table.contents
        contents = (item.id if self.fine else content_of(item) for item in self.program.items)
        self.content = np.array([numbers.setdefault(one, len(numbers)) for one in contents])
        known = self.table.closed
        for item in self.program.items:
            if item.id not in known:
                known[item.id] = isinstance(item, Segment) and self._closed(item)
        self.whole = np.array([known[item.id] for item in self.program.items], dtype=bool)

    def _closed(self, segment: Segment) -> bool:
        open_: set[str] = set()
        for operation in segment.operations:
            match operation:
                case Send() | Recv():
                    return False
                case Wait() if operation.id not in self.silent:
                    if operation.token not in open_:
                        return False
                    open_.remove(operation.token)
                case Collective(token=str(token)) if operation.id not in self.silent:
                    open_.add(token)
        return not open_

    def template(self, item: int, place: int, kind: str, axis: str) -> int:
        """Return the number of the template of a kind of entry."""
        key = (int(self.content[item]), place, kind, axis)
        number = self.table.numbers.get(key)
        if number is None:
            number = self.table.numbers[key] = len(self.table.parts)
            self.table.parts.append((place, self._template(item, place, kind, axis)))
        return number

    def templates_of(self, words: npt.NDArray[np.int32], axes: Sequence[str]) -> Ints:
        """Return the number of the template of each entry.

        words : of a `RankLog`, kind, item, place, number among `axes` or -1.
        """
        kind, item, place, axis = words[:, :4].T.astype(np.int64)
        key = self.content[item] * (int(place.max(initial=0)) + 1) + place
        key = (key * len(KINDS) + kind) * (len(axes) + 1) + axis + 1
        _, first, which = np.unique(key, return_index=True, return_inverse=True)
        told = np.stack([item, place, kind, axis], axis=1)[np.sort(first)].tolist()
        names = (*axes, "")
        found = np.empty(len(first), dtype=np.int64)
        found[np.argsort(first, kind="stable")] = [
            self.template(i, p, KINDS[k], names[a]) for i, p, k, a in told
        ]
        return found[which.reshape(-1)]

    def lockstep(self, steady: Lockstep, item: int, work: Callable[..., Any]) -> Any:
        """Return what `work` makes of a lockstep; done once."""
        key = (self.program.items[item].id, steady.key)
        known = self.table.locksteps
        if key not in known:
            known[key] = work(steady, item, self)
        return known[key]

    def _template(
        self, item: int, place: int, kind: str, axis: str
    ) -> list[tuple[int, int, float, float]]:
        if kind == "run":
            return self._kernels(item, place)
        operation = operations_of(self.program.items[item])[place]
        # Rows of a whole segment are put together by axis: their names would be gone.
        named = self.fine or not self.whole[item]
        key = (
            kind,
            axis,
            getattr(operation, "stream", "pp") if kind == "async" else "compute",
            getattr(operation, "phase", "other"),
            getattr(operation, "name", getattr(operation, "token", "")) if named else axis,
            getattr(operation, "bytes", 0.0),
            isinstance(operation, Transfer | Wait) and not self.fine,
        )
        known = self.table.exchanges.get(key)
        if known is None:
            known = self.table.exchanges[key] = self._exchange(*key)
        return known

    def _exchange(
        self, kind: str, axis: str, stream: str, phase: str, name: str, size: float, passing: bool
    ) -> list[tuple[int, int, float, float]]:
        """Return the template of a collective, a send, or a wait for one.

        passing : whether the name tells a micro-batch that has to be left out.
        """
        row = Row(
            kind="send" if axis == "pp" else "collective",
            stream=stream,
            phase=phase,
            axis=axis,
            name=without_batch(name).rstrip() if passing else name,
            wire_bytes=0.0 if kind == "hold" else self.wire_bytes.get((axis, size), 0.0),
        )
        parts = [(BYTES, self.table.number(row), 0.0, 1.0)]
        if stream == "compute":
            waiting = row._replace(kind="wait", wire_bytes=0.0)
            parts.insert(0, (WAITING, self.table.number(waiting), 0.0, 1.0))
        return parts

    def _kernels(self, item: int, place: int) -> list[tuple[int, int, float, float]]:
        """Return the template of the kernels of an item that begin at `place`, over [0, 1)."""
        blocks: list[Compute] = []
        operations = operations_of(self.program.items[item])
        for at in range(place, len(operations)):
            operation = operations[at]
            if isinstance(operation, Compute):
                blocks.append(operation)
            elif operation.id not in self.silent:
                break
        key = tuple(block.id for block in blocks)
        if key not in self.table.runs:
            spans: list[Span] = []
            now = 0.0
            for block in blocks:
                end = now + self.seconds[block.id]
                spans += _stretched(self._formats(block), now, end)
                now = end
            spans = _stretched(spans, 0.0, 1.0 / (now or 1.0))
            spans = spans if self.fine else _together(spans)
            self.table.runs[key] = [
                (KERNELS, self.table.number(row), low, high) for row, low, high in spans
            ]
        return self.table.runs[key]

    def _formats(self, compute: Compute) -> list[Span]:
        """Return one row per number format, each with its share of [0, 1)."""
        sums: dict[str, list[float]] = {}  # flops, hbm_bytes, bare_hbm_s
        for kernel in compute.kernels:
            moved, bare = self.traffic.moved_bytes(kernel), self.traffic.bare_s(kernel)
            own = sums.setdefault(kernel.precision, [0.0] * 3)
            for i, value in enumerate((kernel.flops, moved, bare)):
                own[i] += value * kernel.count
        if self.fine or len(sums) < 2:
            main = max(sums, key=lambda form: sums[form][0], default="")
            sums = {main: [sum(own[i] for own in sums.values()) for i in range(3)]}
        # 100 FLOPs per byte: only a share
        weight = {form: own[0] + 100.0 * own[1] for form, own in sums.items()}
        total = sum(weight.values())
        spans: list[Span] = []
        now = 0.0
        for form, (flops, moved, bare) in sums.items():
            end = now + (weight[form] / total if total else 1.0 / len(sums))
            row = Row("compute", "compute", compute.phase, "", compute.name, form)
            row = row._replace(flops=flops, hbm_bytes=moved, bare_hbm_s=bare)
            spans.append((row, now, end))
            now = end
        return spans


def _stretched(spans: list[Span], begin: float, stop: float) -> list[Span]:
    width = stop - begin
    return [(row, begin + start * width, begin + end * width) for row, start, end in spans]


def _together(spans: list[Span]) -> list[Span]:
    """Put kernels of the same kind together, one kind after the other; totals are kept."""
    sums: dict[Row, list[float]] = {}
    for row, start, end in spans:
        totals = sums.setdefault(_of_kind(row), [0.0] * 4)
        for i, value in enumerate((end - start, row.flops, row.hbm_bytes, row.bare_hbm_s)):
            totals[i] += value
    merged: list[Span] = []
    now = 0.0
    for row, (width, flops, moved, bare) in sums.items():
        done = row._replace(flops=flops, hbm_bytes=moved, bare_hbm_s=bare)
        merged.append((done, now, now + width))
        now += width
    return merged
