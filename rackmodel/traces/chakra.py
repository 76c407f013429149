"""Chakra execution traces: read into operations, written of a simulated step.

In:  a .et file of mlcommons' Chakra; a simulated step.
Out: operations of a `Recorder` with the dependencies that the file gives; one .et file a stage.
Left out: tensors, storage and batch nodes; the PyPI package named chakra, which is another thing.

Such a file is length-delimited protobuf: GlobalMetadata, then one Node after another. Source:
mlcommons/chakra, schema/protobuf/et_def.proto (field numbers below).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from rackmodel.errors import InvalidInput
from rackmodel.files import open_stream
from rackmodel.traces.recorded import MOST_MEMBERS, Doing, Exchange, Recorder, Work
from rackmodel.workload.operations import Collective, Send, Transfer

COMPUTE, SEND, RECV, COLLECTIVE = 4, 5, 6, 7  # enum NodeType
OPS = ("all-reduce", "", "all-gather", "", "", "broadcast", "all-to-all", "reduce-scatter")
LONGEST = 1 << 26  # bytes of a message
Fields = dict[int, list[Any]]


def is_chakra(path: Path) -> bool:
    """Tell whether a file is named as Chakra names its traces."""
    return path.suffix.lower() == ".et"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: int | float | str | bytes) -> bytes:
    """Return a field: whole numbers as varints, floats as doubles, the rest by its length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 1) + struct.pack("<d", value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _attribute(name: str, value: int | float | str | list[int]) -> bytes:
    """Return an AttributeProto: whole numbers as int64 and Int64List, else double or string."""
    if isinstance(value, list):
        packed = b"".join(map(_varint, value))
        return _field(1, name) + _field(10, _field(1, packed))
    number = 9 if isinstance(value, int) else 3 if isinstance(value, float) else 29
    return _field(1, name) + _field(number, value)


class Writer:
    """Writes the nodes of one rank."""

    def __init__(
        self, rank: int, facts: Mapping[str, Any], groups: Mapping[str, list[int]]
    ) -> None:
        self.rank, self.nodes = rank, 0
        self.parts: list[bytes] = []
        told: dict[str, Any] = {
            "rank": rank,
            "topology": facts["topology"],
            "world_size": facts["accelerators"],
            "outside_s": float(facts["outside_s"]),
            **groups,
        }
        head = _field(1, "0.0.4")
        head += b"".join(_field(2, _attribute(name, value)) for name, value in told.items())
        self._message(head)

    def content(self) -> bytes:
        """Return the file."""
        return b"".join(self.parts)

    def compute(
        self,
        name: str,
        waits: list[int],
        seconds: float,
        *,
        flops: float,
        moved: float,
        precision: str,
    ) -> int:
        """Write kernels; return the number of their node."""
        told = {"num_ops": round(flops), "tensor_size": round(moved), "precision": precision}
        return self._node(COMPUTE, name, waits, seconds, told)

    def collective(self, one: Collective, waits: list[int], seconds: float) -> int:
        """Write a collective."""
        exchange = {"dispatch": "all-to-all", "combine": "all-to-all"}.get(one.op, one.op)
        told = {
            "comm_type": OPS.index(exchange),
            "comm_size": round(one.bytes),
            "pg_name": one.axis,
        }
        return self._node(COLLECTIVE, one.name, waits, seconds, told)

    def transfer(self, end: Transfer, waits: list[int], peer: int, seconds: float) -> int:
        """Write one end of a transfer between stages."""
        sends = isinstance(end, Send)
        told = {
            "comm_src": self.rank if sends else peer,
            "comm_dst": peer if sends else self.rank,
            "comm_size": round(end.bytes),
            "comm_tag": zlib.crc32(end.name.encode()),
        }
        return self._node(SEND if sends else RECV, end.name, waits, seconds, told)

    def _node(
        self, kind: int, name: str, waits: list[int], seconds: float, told: Mapping[str, Any]
    ) -> int:
        node = _field(1, self.nodes) + _field(2, name) + _field(3, kind)
        node += b"".join(_field(5, one) for one in waits)
        node += _field(7, round(seconds * 1e6))
        told = {"is_cpu_op": 0, **({"duration_s": seconds} if seconds else {}), **told}
        node += b"".join(_field(10, _attribute(key, value)) for key, value in told.items())
        self._message(node)
        self.nodes += 1
        return self.nodes - 1

    def _message(self, body: bytes) -> None:
        self.parts += [_varint(len(body)), body]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise IndexError


def _fields(data: bytes) -> Fields:
    """Return {number: values} of a message; those by length as bytes."""
    found: Fields = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        value: Any
        if kind == 0:
            value, at = _read_varint(data, at)
        elif kind in (1, 5):
            wide = 8 if kind == 1 else 4
            value = struct.unpack("<d" if kind == 1 else "<f", data[at : at + wide])[0]
            at += wide
        elif kind == 2:
            size, at = _read_varint(data, at)
            if at + size > len(data):
                raise IndexError
            value = data[at : at + size]
            at += size
        else:
            raise IndexError
        found.setdefault(key >> 3, []).append(value)
    return found


def _messages(stream: IO[bytes], shown: str) -> Iterator[Fields]:
    """Yield the messages of a file, one at a time."""
    broken = InvalidInput(
        f"{shown}: no whole Chakra trace: it ends in the middle or holds something else; copy it"
        " whole, or give the .et file of mlcommons' Chakra"
    )
    while head := stream.read(1):
        while head[-1] & 0x80 and len(head) < 6:
            head += stream.read(1) or b"\0\0\0\0\0\0"
        try:
            size, _ = _read_varint(head, 0)
            data = stream.read(size) if size <= LONGEST else b""
            if len(data) != size:
                raise IndexError
            yield _fields(data)
        except (IndexError, struct.error):
            raise broken from None


def _attributes(node: Fields) -> dict[str, Any]:
    """Return {name: value} of the attributes of a node; lists of whole numbers as lists."""
    found: dict[str, Any] = {}
    for raw in node.get(10, ()):
        one = _fields(raw)
        name = one.get(1, [b""])[0].decode("utf-8", "replace")
        value = next((values[0] for number, values in one.items() if number > 2), None)
        number = next((number for number in one if number > 2), 0)
        if number == 29:
            value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        elif isinstance(value, bytes):
            value = _numbers(_fields(value).get(1, []))
        found[name] = value
    return found


def _numbers(values: list[Any]) -> list[int]:
    """Return repeated whole numbers, packed or not."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
        elif isinstance(value, bytes):
            at = 0
            while at < len(value):
                number, at = _read_varint(value, at)
                found.append(number)
    return found


def read_chakra(path: Path, recorder: Recorder, rank: int) -> None:
    """Add the nodes of an execution trace, those of the host as time that stays.

    rank : of the file, where it does not say.

    Raises
    ------
    InvalidInput
        If the file can't be read, ends in the middle, or is no such trace.
    """
    shown = f"TRACE {path.name}"
    with open_stream(path, where="TRACE") as stream:
        messages = _messages(stream, shown)
        head = next(messages, None)
        if head is None or 3 in head or not isinstance(head.get(1, [b""])[0], bytes):
            raise InvalidInput(f"{shown}: no Chakra trace: it has to begin with its metadata")
        told = _attributes({10: head.get(2, [])})
        rank = int(told.get("rank", rank))
        recorder.machine = recorder.machine or str(told.get("topology", ""))
        groups = {k: v for k, v in told.items() if isinstance(v, list)}
        recorder.accelerators = max(recorder.accelerators, int(told.get("world_size", 0)))
        recorder.outside_s = float(told.get("outside_s", 0.0))
        _Nodes(recorder, rank, groups).read(messages, shown)


class _Nodes:
    """Nodes of a file, each started once those that it waits for have ended."""

    def __init__(self, recorder: Recorder, rank: int, groups: Mapping[str, list[int]]) -> None:
        self.recorder, self.rank, self.groups = recorder, rank, groups
        self.numbers: dict[int, int] = {}  # of an id in the file
        self.counts: dict[object, int] = {}

    def read(self, messages: Iterator[Fields], shown: str) -> None:
        """Add all of them; a node may wait for one that stands later in the file.

        Raises
        ------
        InvalidInput
            If one waits for a node that is not there.
        """
        recorder, wanted = self.recorder, dict[int, list[int]]()
        lane = recorder.lanes
        recorder.lanes += 1
        for node in messages:
            told = _attributes(node)
            seconds = float(told.get("duration_s", float(node.get(7, [0])[0]) / 1e6))
            doing, meeting = self._doing(node.get(3, [0])[0], told)
            number = recorder.add(self.rank, lane, 0.0, seconds, doing, meeting)
            wanted[number] = [*_numbers(node.get(4, [])), *_numbers(node.get(5, []))]
            self.numbers[node.get(1, [0])[0]] = number
        for number, ids in wanted.items():
            if missing := [one for one in ids if one not in self.numbers]:
                raise InvalidInput(
                    f"{shown}: a node waits for node {missing[0]}, which is not in the file; give"
                    " the whole trace"
                )
            recorder.waits[number] = [self.numbers[one] for one in ids]

    def _doing(self, kind: int, told: Mapping[str, Any]) -> tuple[Doing, object]:
        if kind == COLLECTIVE:
            number = int(told.get("comm_type", 0))
            op = OPS[number] if number < len(OPS) and OPS[number] else "all-reduce"
            group = str(told.get("pg_name", ""))
            ranks = tuple(self.groups.get(group) or range(max(2, self.recorder.accelerators)))
            ranks = ranks[:MOST_MEMBERS]
            turn = self.counts[group] = self.counts.get(group, 0) + 1
            size = float(told.get("comm_size", 0))
            return Exchange(op, size, ranks, len(ranks)), (group, ranks, turn)
        if kind in (SEND, RECV):
            ends = int(told.get("comm_src", self.rank)), int(told.get("comm_dst", self.rank))
            tag = told.get("comm_tag", 0)
            return Exchange("send", float(told.get("comm_size", 0)), ends, 2), (ends, tag)
        if kind == COMPUTE and not told.get("is_cpu_op"):
            flops, moved = float(told.get("num_ops", 0)), float(told.get("tensor_size", 0))
            return Work(flops > 0, flops, moved, str(told.get("precision", "bf16"))), None
        return None, None
