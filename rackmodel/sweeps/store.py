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

import contextlib
import errno
import json
import os
import stat
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd

from rackmodel.errors import InvalidInput
from rackmodel.files import check_folder, csv_text, is_file, is_folder, write_whole
from rackmodel.sweeps.filters import Value

Row = dict[str, Value]

SYNC_EVERY_S = 1.0  # a killed process loses nothing without it; a power cut loses at most this much
LATELY_S = 600.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PLAIN = bool | int | float | str


def canonical(value: object) -> str:
    """JSON in one spelling, so that equal values have equal text; floats to their last bit.

    >>> canonical({"b": 1.5, "a": None})
    '{"a":null,"b":1.5}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


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
        check_folder(folder, "")
        try:
            self._open(resume=resume)
        except OSError as error:
            raise InvalidInput(
                f"{folder}: can't be used ({error.strerror}); give another directory"
            ) from None

    def _open(self, *, resume: bool) -> None:
        folder, manifest = self.folder, self.folder / "sweep.json"
        found = [item.name for item in folder.iterdir()] if is_folder(folder) else []
        # A sweep killed at its start may have made rows/ and nothing else.
        others = [name for name in found if name != "rows" and not name.startswith(".sweep")]
        if others and not is_file(manifest):
            raise InvalidInput(f"{folder} is not empty and holds no sweep; give another directory")
        if not resume and any(self._parts()):
            raise InvalidInput(
                f"{folder} already holds rows of a sweep; add --resume to go on, or give "
                "another directory"
            )
        self._rows_folder.mkdir(parents=True, exist_ok=True)

    def _parts(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Files of rows with their facts; directories and links to nowhere are none."""
        for part in sorted(self._rows_folder.glob("*.jsonl")):
            try:
                facts = part.stat()
            except OSError:
                continue
            if stat.S_ISREG(facts.st_mode):
                yield part, facts

    def describe(self, facts: Mapping[str, object]) -> None:
        """Write down what the rows are of."""
        text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
        write_whole(self.folder / "sweep.json", text.encode() + b"\n", sync=True)

    def append(self, key: str, row: Mapping[str, Value]) -> None:
        """Add one finished row; once this returns, killing the process can't lose it."""
        text = json.dumps(row, separators=(",", ":"), allow_nan=False)
        line = (
            f'{{"key":"{key}","check":{zlib.crc32((key + text).encode())},"row":{text}}}\n'.encode()
        )
        try:
            self._write(line)
        except OSError as error:
            why = "no space left" if error.errno in _FULL else error.strerror or str(error)
            raise InvalidInput(
                f"{self.folder}: {why} for the next row; the rows before are kept: mend that, then"
                " --resume goes on"
            ) from None

    def _write(self, line: bytes) -> None:
        if self._file is None:
            self._own = self._rows_folder / f"{os.getpid()}-{uuid.uuid4().hex}.jsonl"
            self._file = os.open(
                self._own, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666
            )
        before = os.fstat(self._file).st_size
        written = os.write(self._file, line)
        if written != len(line):  # disk full: no torn line stays, and readers would skip it
            os.ftruncate(self._file, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if time.monotonic() - self._synced_s > SYNC_EVERY_S:
            os.fsync(self._file)
            self._synced_s = time.monotonic()

    def fresh(self) -> Iterator[tuple[str, Row]]:
        """Rows that were added, by anyone, since this was last asked."""
        for part, facts in self._parts():
            start = self._offsets.get(part, 0)
            if facts.st_size <= start:
                continue
            with part.open("rb") as file:
                file.seek(start)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # still being written, or torn for ever
                    start += len(line)
                    if (found := _read_line(line)) is not None:  # else a killed writer left it
                        yield found
            self._offsets[part] = start

    def others(self) -> bool:
        """Whether someone else may be writing here now: a file not ours that changed lately."""
        now_s = time.time()
        return any(
            part != self._own and now_s - facts.st_mtime < LATELY_S for part, facts in self._parts()
        )

    def close(self) -> None:
        """Push everything to the disk."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: the rows are as safe as can be
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
        write_whole(paths[0], csv_text(frame).encode(), sync=True)
        if parquet:
            paths.append(self.folder / "results.parquet")
            content: Any = frame.to_parquet(None, index=False, engine="pyarrow")
            write_whole(paths[1], content, sync=True)
        return paths


def _read_line(line: bytes) -> tuple[str, Row] | None:
    """Key and row of a line, or None where the line is torn, changed, or of something else."""
    try:
        entry = json.loads(line)
        key, row = entry["key"], entry["row"]
        text = json.dumps(row, separators=(",", ":"), allow_nan=False)
        if entry["check"] != zlib.crc32((key + text).encode()):
            return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    whole = isinstance(row, dict) and isinstance(row.get("status"), str)
    plain = whole and all(isinstance(one, _PLAIN | None) for one in row.values())
    return (key, row) if plain else None


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
