"""Rows of a sweep in a directory that any number of writers may fill at once.

In:  finished rows, each under the key of its job.
Out: all rows that were ever finished, each once; a table in CSV and Parquet.
Left out: what a job is (spec.py), who runs it (run.py).

Layout of the directory::

    sweep.json           what the rows are of; replaced atomically
    rows/*.jsonl         one file per writer, append-only, one row per line with its checksum
    results.csv, .parquet   the table in the order of the spec, replaced atomically

A line goes out in one write. A writer that is killed leaves at most one torn line; it fails its
checksum or lacks its end, and is skipped: the row counts as unfinished. Nobody ever writes to
another one's file.
"""

from __future__ import annotations

import json
import os
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from rackmodel.errors import InvalidInput
from rackmodel.sweeps.filters import Value

Row = dict[str, Value]

SYNC_EVERY_S = 1.0  # a killed process loses nothing without it; a power cut loses at most this much
LATELY_S = 600.0


def canonical(value: object) -> str:
    """JSON in one spelling, so that equal values have equal text; floats to their last bit.

    >>> canonical({"b": 1.5, "a": None})
    '{"a":null,"b":1.5}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` whole or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Store:
    """The rows in one directory.

    Parameters
    ----------
    folder : made if it does not exist.
    resume : False refuses a directory that already holds rows.

    Raises
    ------
    InvalidInput
        If the directory holds something else, or rows that nobody asked to resume.
    """

    def __init__(self, folder: Path, *, resume: bool = False) -> None:
        self.folder = folder
        self._rows_folder = folder / "rows"
        self._offsets: dict[Path, int] = {}
        self._file: int | None = None
        self._own: Path | None = None
        self._synced_s = time.monotonic()
        self.torn = 0  # lines that a killed writer left behind
        if folder.exists() and not folder.is_dir():
            raise InvalidInput(f"{folder} is a file; give a directory for the sweep")
        manifest = folder / "sweep.json"
        found = [item.name for item in folder.iterdir()] if folder.is_dir() else []
        # A sweep killed at its start may have made rows/ and nothing else.
        others = [name for name in found if name != "rows" and not name.startswith(".sweep")]
        if others and not manifest.exists():
            raise InvalidInput(f"{folder} is not empty and holds no sweep; give another directory")
        if not resume and self._rows_folder.is_dir() and any(self._rows_folder.glob("*.jsonl")):
            raise InvalidInput(
                f"{folder} already holds rows of a sweep; add --resume to go on, or give "
                "another directory"
            )
        try:
            self._rows_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"can't write to {folder}: {error.strerror}") from None

    def describe(self, facts: Mapping[str, object]) -> None:
        """Write down what the rows are of."""
        text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
        write_atomically(self.folder / "sweep.json", text.encode() + b"\n")

    def append(self, key: str, row: Mapping[str, Value]) -> None:
        """Add one finished row; once this returns, killing the process can't lose it."""
        text = json.dumps(row, separators=(",", ":"), allow_nan=False)
        line = (
            f'{{"key":"{key}","check":{zlib.crc32((key + text).encode())},"row":{text}}}\n'.encode()
        )
        if self._file is None:
            self._own = self._rows_folder / f"{os.getpid()}-{uuid.uuid4().hex}.jsonl"
            self._file = os.open(
                self._own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666
            )
        written = os.write(self._file, line)
        if written != len(line):  # disk full: the torn line is skipped by readers
            raise OSError(f"{self._own}: only {written} of {len(line)} bytes fit on the disk")
        if time.monotonic() - self._synced_s > SYNC_EVERY_S:
            os.fsync(self._file)
            self._synced_s = time.monotonic()

    def fresh(self) -> Iterator[tuple[str, Row]]:
        """Rows that were added, by anyone, since this was last asked."""
        for part in sorted(self._rows_folder.glob("*.jsonl")):
            start = self._offsets.get(part, 0)
            if part.stat().st_size <= start:
                continue
            with open(part, "rb") as file:
                file.seek(start)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # still being written, or torn for ever
                    start += len(line)
                    found = _read_line(line)
                    if found is None:
                        self.torn += 1
                    else:
                        yield found
            self._offsets[part] = start

    def others(self) -> bool:
        """Whether someone else may be writing here now: a file not ours that changed lately."""
        now_s = time.time()
        return any(
            part != self._own and now_s - part.stat().st_mtime < LATELY_S
            for part in self._rows_folder.glob("*.jsonl")
        )

    def close(self) -> None:
        """Push everything to the disk."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write_tables(self, frame: pd.DataFrame, *, parquet: bool) -> list[Path]:
        """Write results.csv and, where asked, results.parquet."""
        paths = [self.folder / "results.csv"]
        write_atomically(paths[0], frame.to_csv(index=False, lineterminator="\n").encode())
        if parquet:
            paths.append(self.folder / "results.parquet")
            content: Any = frame.to_parquet(None, index=False, engine="pyarrow")
            write_atomically(paths[1], content)
        return paths


def _read_line(line: bytes) -> tuple[str, Row] | None:
    """Key and row of a line, or None where the line is torn or changed."""
    try:
        entry = json.loads(line)
        key, row = entry["key"], entry["row"]
        text = json.dumps(row, separators=(",", ":"), allow_nan=False)
        if entry["check"] != zlib.crc32((key + text).encode()):
            return None
    except (ValueError, KeyError, TypeError):
        return None
    return key, row


def table(rows: Mapping[str, Row], keys: list[str]) -> pd.DataFrame:
    """Rows as a frame in the order of `keys`; a job without a row yet is left out.

    Columns stand in the order in which they first appear along `keys`, so the frame does not depend
    on who finished first.
    """
    present = [rows[key] for key in keys if key in rows]
    columns = dict.fromkeys(column for row in present for column in row)
    return pd.DataFrame(
        {column: _column([row.get(column) for row in present]) for column in columns},
        columns=list(columns),
    )


def _column(values: list[Value]) -> Any:
    """Values of one column; whole numbers stay whole where some are missing."""
    kinds = {type(value) for value in values}
    if kinds == {int, type(None)}:
        return pd.Series(values, dtype="Int64")
    if kinds == {bool, type(None)}:
        return pd.Series(values, dtype="boolean")
    return values
