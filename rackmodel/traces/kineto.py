"""Kineto and Chrome traces, read as a stream: torch.profiler's, and those that we write.

In:  a .json or .json.gz file with `traceEvents`, of any size.
Out: a `Recorder` with the kernels, copies and collectives in it.
Left out: the host's operations, but for the shapes of matrix products and the marks of steps.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from rackmodel.errors import InvalidInput
from rackmodel.files import open_stream
from rackmodel.traces.recorded import MOST_MEMBERS, Doing, Exchange, Recorder, Work

CHUNK = 1 << 20  # characters read at a time
_ID = (1 << 62) - 1  # external ids are kept in 64 bits
LONGEST_HEAD = 64 << 20  # characters before the first event
# Kinds of events, lower case; the second words are those of PyTorch before 1.13.
DEVICE = {"kernel", "gpu_memcpy", "gpu_memset", "memcpy", "memset"}
HOST = {"cpu_op", "operator"}
MATRIX = re.compile(r"gemm|cutlass|nvjet|xmma|cublas|wgmma|flash|fmha|conv|attention|Cijk", re.I)
PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"}
BYTES_OF = {
    "double": 8,
    "long": 8,
    "float": 4,
    "int": 4,
    "bfloat16": 2,
    "half": 2,
    "byte": 1,
    "char": 1,
    "bool": 1,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}
#: Names of collectives as c10d and NCCL write them, letters only.
OPS = {
    "allreduce": "all-reduce",
    "reducescatter": "reduce-scatter",
    "allgather": "all-gather",
    "alltoall": "all-to-all",
    "broadcast": "broadcast",
    "sendrecv": "send",
    "send": "send",
    "recv": "send",
    "barrier": "all-reduce",
    "reduce": "reduce-scatter",
}


def read_kineto(path: Path, shown: str, recorder: Recorder) -> None:
    """Add what a trace recorded to `recorder`.

    Raises
    ------
    InvalidInput
        If the file can't be read, ends before its end, or is no such trace.
    """
    with _text(path, shown) as stream:
        pieces = _Pieces(stream, shown)
        head = pieces.head()
        reader = _Reader.of(head, recorder)
        for event in pieces.events():
            reader.take(event)
    reader.finish()


@contextmanager
def _text(path: Path, shown: str) -> Iterator[IO[str]]:
    with open_stream(path, where="TRACE") as raw:
        zipped = raw.peek(2)[:2] == b"\x1f\x8b"
        try:
            yield io.TextIOWrapper(
                io.BufferedReader(gzip.GzipFile(fileobj=raw)) if zipped else raw,
                encoding="utf-8",
                errors="replace",
            )
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise _truncated(shown) from None
        except RecursionError:
            raise InvalidInput(f"{shown}: nested too deeply; give a trace of few levels") from None


def _truncated(shown: str) -> InvalidInput:
    return InvalidInput(
        f"{shown}: the trace ends in the middle; start a new one, or name a whole copy"
    )


class _Pieces:
    """Objects of a long JSON array, one after another, however long it is."""

    def __init__(self, stream: IO[str], shown: str) -> None:
        self.stream, self.shown = stream, shown
        self.text, self.at = "", 0

    def more(self) -> bool:
        piece = self.stream.read(CHUNK)
        self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    def head(self) -> Mapping[str, Any]:
        """Return the keys before the events; stop at the first event."""
        begin = re.compile(r'"traceEvents"\s*:\s*\[')
        while True:
            bare = re.match(r"\s*\[", self.text)
            found = bare or begin.search(self.text)
            if found:
                break
            if re.match(r'\s*\{\s*"schema"\s*:\s*"[^"]*chakra', self.text):
                raise InvalidInput(
                    f"{self.shown}: PyTorch's execution trace, which has no times; give the .et"
                    " file that chakra_trace_link and chakra_converter make of it and the profile"
                )
            foreign = self.text.strip() and not self.text.lstrip().startswith("{")
            if foreign or len(self.text) > LONGEST_HEAD or not self.more():
                raise InvalidInput(
                    f"{self.shown}: no trace: wanted JSON with traceEvents (torch.profiler, Chrome)"
                    " or a Chakra .et file"
                )
        before = "" if bare else self.text[: found.start()].rstrip().rstrip(",")
        self.at = found.end()
        try:
            head = json.loads(f"{before}}}") if before else {}
        except json.JSONDecodeError:
            raise InvalidInput(
                f"{self.shown}: no trace: what stands before its events has to be JSON"
            ) from None
        return head if isinstance(head, dict) else {}

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events."""
        decode = json.JSONDecoder(strict=False).raw_decode  # names may hold control characters
        blank = re.compile(r"[\s,]*")
        while True:
            match = blank.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.text[self.at : self.at + 1] == "]":
                return
            try:
                event, after = decode(self.text, self.at)
            except json.JSONDecodeError:
                if len(self.text) - self.at > LONGEST_HEAD or not self.more():
                    raise _truncated(self.shown) from None
                continue
            self.at = after
            if isinstance(event, dict):
                yield event


@dataclass(slots=True)
class _Reader:
    """Makes operations of events."""

    recorder: Recorder
    ours: Mapping[str, Any]
    rank: int | None
    lanes: dict[tuple[int, str], int] = field(default_factory=dict)
    counts: dict[object, int] = field(default_factory=dict)
    # Products of the host and their work, kernels and their product, by external id: of millions of
    # events numbers alone are kept.
    products: array[int] = field(default_factory=lambda: array("q"))
    product_work: array[int] = field(default_factory=lambda: array("q"))
    open_kernels: array[int] = field(default_factory=lambda: array("q"))
    open_products: array[int] = field(default_factory=lambda: array("q"))
    marks: set[str] = field(default_factory=set)
    unsized: int = 0

    @classmethod
    def of(cls, head: Mapping[str, Any], recorder: Recorder) -> _Reader:
        """Return a reader for a trace with these keys."""
        ours = head.get("rackmodel")
        ours = ours if isinstance(ours, dict) else {}
        told = head.get("distributedInfo")
        told = told if isinstance(told, dict) else {}
        recorder.machine = recorder.machine or str(ours.get("topology", ""))
        size = ours.get("accelerators", told.get("world_size"))
        recorder.accelerators = max(recorder.accelerators, size if isinstance(size, int) else 0)
        rank = told.get("rank")
        return cls(recorder, ours, rank if isinstance(rank, int) and not ours else None)

    def take(self, event: dict[str, Any]) -> None:
        """Take an event, if it is one that counts."""
        if event.get("ph") != "X":
            return
        kind, name = str(event.get("cat", "")).lower(), str(event.get("name", ""))
        args = event.get("args")
        args = args if isinstance(args, dict) else {}
        if name.startswith("ProfilerStep#") and kind == "user_annotation":
            if float(event.get("dur") or 0.0) > 1.0:  # ours ends with an empty one
                self.marks.add(name)
        elif kind in HOST and name in PRODUCTS and isinstance(args.get("External id"), int):
            works = self.recorder.works
            self.product_work.append(works.setdefault(_product(args), len(works)))
            self.products.append(args["External id"] & _ID)
        elif kind in DEVICE:
            try:
                self._device(event, kind, name, args)
            except (TypeError, ValueError, KeyError):
                return  # an event that lacks a time or has words for numbers is none

    def _device(self, event: dict[str, Any], kind: str, name: str, args: Mapping[str, Any]) -> None:
        pid = self.rank if self.rank is not None else int(event["pid"])
        start, seconds = float(event["ts"]) / 1e6, float(event.get("dur") or 0.0) / 1e6
        lane = self._lane(pid, event.get("tid"))
        doing: Doing
        meeting = None
        if name.lower().startswith(("nccl", "rccl", "ncclx")):
            if args.get("exposed"):  # of ours: a wait for what another stream or rank moves
                if "SendRecv" in name:
                    at = self.recorder.add(pid, lane, start + seconds, 0.0, None)
                    self.recorder.arrivals.append((at, name))
                return
            doing, meeting = (
                self._our_exchange(event, name, args) if self.ours else self._exchange(name, args)
            )
        elif self.ours:
            doing = Work(
                bool(args.get("flops")),
                float(args.get("flops", 0.0)),
                float(args.get("hbm_bytes", 0.0)),
                str(args.get("precision", "bf16")),
            )
        else:
            doing = Work(kind == "kernel" and bool(MATRIX.search(name)))
        number = self.recorder.add(pid, lane, start, seconds, doing, meeting)
        if self.ours and "SendRecv" in name:
            self.recorder.sends.setdefault(name, []).append(number)
        external = args.get("External id")
        open_product = isinstance(doing, Work) and doing.matrix and not doing.flops
        if open_product and isinstance(external, int):
            self.open_kernels.append(number)
            self.open_products.append(external & _ID)

    def _lane(self, pid: int, thread: object) -> int:
        key = pid, str(thread)
        if key not in self.lanes:
            self.lanes[key] = self.recorder.lanes
            self.recorder.lanes += 1
        return self.lanes[key]

    def _our_exchange(
        self, event: Mapping[str, Any], name: str, args: Mapping[str, Any]
    ) -> tuple[Exchange, object]:
        """Return an exchange of our own trace, with what it is one meeting with."""
        words = name.replace("_SendRecv", "").split(" ", 2)
        axis = words[1] if len(words) > 1 else ""
        known = self.ours.get("exchanges", {})
        rest = words[2] if len(words) > 2 else axis
        key = f"{axis} {rest} {args.get('phase', '')}"
        turns = known.get(key) or known.get(axis)
        if not turns:
            raise ValueError(name)
        turn = key, event.get("pid")
        at = self.counts[turn] = self.counts.get(turn, -1) + 1
        facts = turns[at % len(turns)]
        ranks, size = self.ours["groups"][f"{axis} {int(args.get('stage', 0))}"]
        made = Exchange(str(facts[0]), float(facts[1]), tuple(map(int, ranks)), int(size))
        return made, (name, event["ts"], event.get("dur"), made.ranks)

    def _exchange(self, name: str, args: Mapping[str, Any]) -> tuple[Exchange, object]:
        """Return an exchange of torch.profiler's trace, with what it is one meeting with."""
        said = str(args.get("Collective name") or name)
        letters = re.sub("[^a-z]", "", said.lower())
        op = next((OPS[word] for word in OPS if word in letters), "all-reduce")
        width = BYTES_OF.get(str(args.get("dtype", "")).lower(), 4)
        which = "Out msg nelems" if op == "all-gather" else "In msg nelems"
        size = float(args.get(which) or 0.0) * width
        if not size:
            self.unsized += 1
        ranks = _ranks(args, self.recorder.accelerators)
        group = str(args.get("Process Group Name", "")), ranks, op
        turn = self.counts[group] = self.counts.get(group, 0) + 1
        key = (*group, args.get("Seq", turn))
        return Exchange(op, size, ranks[:MOST_MEMBERS], len(ranks)), key

    def finish(self) -> None:
        """Add what only the whole file tells."""
        recorder = self.recorder
        recorder.steps = max(recorder.steps, len(self.marks))
        if self.products and self.open_products:
            known, wanted = np.array(self.products), np.array(self.open_products)
            order = np.argsort(known, kind="stable")  # of several with one id the last counts
            place = np.searchsorted(known[order], wanted, side="right") - 1
            said = known[order[place]] == wanted  # before the first: -1, which is no match either
            doing = np.array(self.product_work)[order[place]]
            for number, work in zip(np.array(self.open_kernels)[said], doing[said], strict=True):
                recorder.doing[number] = int(work)
        recorder.outside_s = float(self.ours.get("outside_s", 0.0))
        if self.ours.get("summary"):
            recorder.notes.append(
                "the trace shows operations put together: what overlaps on another machine is not"
                " known; write an .et file for that"
            )
        if self.unsized:
            recorder.notes.append(
                f"{self.unsized:,} collectives do not say their bytes: their times move as those of"
                " large ones"
            )


def _product(args: Mapping[str, Any]) -> Work:
    """Return the work of a matrix product from the shapes of its operands."""
    dims = [one for one in args.get("Input Dims", ()) if isinstance(one, list) and len(one) >= 2]
    if len(dims) < 2 or not all(isinstance(n, int) for one in dims for n in one):
        return Work(True)
    (*many, m, k), (*_, n) = dims[-2], dims[-1]
    batch = 1
    for one in many:
        batch *= one
    kinds = str(args.get("Input type", "")).lower()
    wide = "bfloat16" not in kinds and "half" not in kinds
    moved = batch * (m * k + k * n + m * n) * (4 if wide else 2)
    return Work(True, 2.0 * batch * m * n * k, float(moved), "tf32" if wide else "bf16")


def _ranks(args: Mapping[str, Any], world: int) -> tuple[int, ...]:
    """Return the ranks of a group; long lists are written as [0, 1, ..., 7]."""
    size = int(args.get("Group size") or world or 1)
    told = args.get("Process Group Ranks")
    if isinstance(told, list):
        return tuple(map(int, told))
    numbers = [int(one) for one in re.findall(r"\d+", str(told or ""))]
    if len(numbers) == size:
        return tuple(numbers)
    if len(numbers) >= 2:  # shortened: from the first two in equal steps
        return tuple(
            range(
                numbers[0], numbers[0] + size * (numbers[1] - numbers[0]), numbers[1] - numbers[0]
            )
        )
    return tuple(range(size))
