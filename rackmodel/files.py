"""Files: what stands in them, or one line that says why they can't be read or written.

In:  a path; the option or kind of file, for messages.
Out: bytes, text, the content of TOML, JSON and CSV; files that are written whole or not at all.
Left out: what the content means (`gate`, the readers).

Only regular files are read: a pipe or device may never end.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import stat
import tempfile
import tomllib
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rackmodel.annotations import DataFrame
from rackmodel.errors import InvalidInput

MOST_BYTES = 2_000_000_000


@contextlib.contextmanager
def _told(shown: str, why: Callable[[str, OSError], str]) -> Iterator[None]:
    """Say in one line what the system refuses."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(why(shown, error)) from None
    except ValueError:
        raise InvalidInput(f"{shown}: a file name can't hold a null character; give one") from None


def read_bytes(path: Path, *, where: str = "", most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a regular file of at most `most` bytes.

    Raises
    ------
    InvalidInput
        If there is none, it is something else, too large, or can't be read.
    """
    shown = _shown(path, where)
    with _told(shown, _unreadable):
        _check(path, shown, most)
        return path.read_bytes()


def check_file(path: Path, *, where: str = "", most: int = MOST_BYTES) -> Path:
    """Return `path` if it is a readable regular file that begins as text.

    Raises
    ------
    InvalidInput
        As `read_bytes` and `as_text`.
    """
    shown = _shown(path, where)
    with _told(shown, _unreadable):
        _check(path, shown, most)
        with path.open("rb") as file:
            head = file.read(65536)
    last = max(head.rfind(b"\n"), 0) if len(head) == 65536 else len(head)
    as_text(head[:last], shown)
    return path


def _check(path: Path, shown: str, most: int) -> None:
    facts = path.stat()
    if stat.S_ISDIR(facts.st_mode):
        raise InvalidInput(f"{shown} is a directory; give a file")
    if not stat.S_ISREG(facts.st_mode):
        raise InvalidInput(f"{shown} is a pipe or a device; save what it holds and give the file")
    if not facts.st_size:
        raise InvalidInput(f"{shown} is empty; give the file with what belongs in it")
    if facts.st_size > most:
        raise InvalidInput(
            f"{shown} has {facts.st_size:,} bytes, expected at most {most:,}; is it another file?"
        )


@contextlib.contextmanager
def open_stream(path: Path, *, where: str) -> Iterator[io.BufferedReader]:
    """Open a regular file of any size to be read piece by piece.

    Raises
    ------
    InvalidInput
        If there is none, it is something else, or can't be read.
    """
    shown = _shown(path, where)
    with _told(shown, _unreadable):
        _check(path, shown, 1 << 50)
        with path.open("rb") as file:
            yield file


def as_text(content: bytes, shown: str) -> str:
    """Return bytes as text, without a byte-order mark.

    Raises
    ------
    InvalidInput
        If they are not UTF-8, or hold null bytes.
    """
    if b"\0" in content:
        raise InvalidInput(f"{shown} is not text (it holds null bytes); give a text file")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{shown} is not UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from None


def read_text(path: Path, *, where: str = "", most: int = MOST_BYTES) -> str:
    """Return the text of a file; raises `InvalidInput` as `read_bytes` and `as_text`."""
    return as_text(read_bytes(path, where=where, most=most), _shown(path, where))


def toml_of(text: str, shown: str) -> dict[str, Any]:
    """Return the content of a TOML text; raises `InvalidInput` if it is none."""
    found: dict[str, Any] = _parsed(tomllib.loads, text, shown, "TOML")
    return found


def json_of(text: str, shown: str, *, finite: bool = True) -> Any:
    """Return the content of a JSON text; raises `InvalidInput` if it is none.

    finite : refuse NaN and Infinity, which Python writes (Hugging Face's files hold them) and JSON
        does not know.
    """

    def refuse(constant: str) -> float:
        raise InvalidInput(f"{shown}: {constant} is no JSON number; write a finite one")

    parse = partial(json.loads, parse_constant=refuse if finite else None)
    return _parsed(parse, text, shown, "JSON")


def yaml_of(text: str, shown: str) -> Any:
    """Return what a YAML text holds: plain data; references, which can blow up, are refused."""
    import yaml

    def parse(text: str) -> Any:
        try:
            if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
                raise InvalidInput(
                    f"{shown}: YAML references (*name) are refused; write what they stand for"
                )
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(" ".join(str(error).split())) from None

    return _parsed(parse, text, shown, "YAML")


def _parsed(parse: Callable[[str], Any], text: str, shown: str, what: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:  # TOMLDecodeError, and integers of thousands of digits, too
        raise InvalidInput(
            f"{shown}: not valid {what}: {str(error)[:120]}; mend it there"
        ) from None
    except RecursionError:
        raise InvalidInput(
            f"{shown}: not valid {what}: nested too deeply; write few levels"
        ) from None


def read_toml(path: Path, *, where: str = "", most: int = 10_000_000) -> dict[str, Any]:
    """Return the content of a TOML file; raises `InvalidInput` with what is wrong with it."""
    return toml_of(read_text(path, where=where, most=most), _shown(path, where))


def read_json(path: Path, *, where: str = "", most: int = MOST_BYTES, finite: bool = True) -> Any:
    """Return the content of a JSON file; raises `InvalidInput` with what is wrong with it."""
    return json_of(read_text(path, where=where, most=most), _shown(path, where), finite=finite)


def read_csv(path: Path, *, where: str = "", **how: Any) -> DataFrame:
    """Return a table of a CSV file, read by pandas with the options `how`.

    Raises
    ------
    InvalidInput
        With what is wrong with it.
    """
    import pandas as pd

    content = read_bytes(path, where=where)
    if content[:2] == b"\x1f\x8b":
        content = _unzipped(content, _shown(path, where))
    text = as_text(content, _shown(path, where))
    try:
        frame: DataFrame = pd.read_csv(io.StringIO(text), **{"low_memory": False, **how})
        return frame
    except (ValueError, OverflowError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        why = " ".join(str(error).split())[:120]
        raise InvalidInput(
            f"{_shown(path, where)}: not a CSV table ({why}); give every row as many cells as the"
            " first, in quotes where they hold commas"
        ) from None


def _unzipped(content: bytes, shown: str) -> bytes:
    """Return what is in a gzip file, if it is not absurdly much."""
    try:
        reader = zlib.decompressobj(wbits=31)
        found = reader.decompress(content, MOST_BYTES)
    except zlib.error as error:
        raise InvalidInput(f"{shown}: not valid gzip ({error}); give it unpacked") from None
    if reader.unconsumed_tail or not reader.eof:
        raise InvalidInput(f"{shown}: not whole, or above {MOST_BYTES:,} bytes; give it unpacked")
    return found


def check_writable(path: Path, where: str) -> None:
    """Refuse a path that can't become a file.

    Raises
    ------
    InvalidInput
    """
    shown = _shown(path, where)
    with _told(shown, _unwritable):
        if path.is_dir():
            raise InvalidInput(f"{shown} is a directory; give a file to write")
        folder = path.absolute().parent
        if not folder.is_dir():
            raise InvalidInput(
                f"{shown}: no such directory to write into; make it, or give another"
            )
        if path.is_symlink() and not path.exists():
            raise InvalidInput(f"{shown} is a link to nowhere; remove it, or give another file")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise InvalidInput(f"{shown}: no permission to write it; give another file")


def check_folder(path: Path, where: str) -> None:
    """Refuse a path that is no directory and can't become one; raises `InvalidInput`."""
    shown = _shown(path, where)
    with _told(shown, _unwritable):
        try:
            there = path.lstat()
        except FileNotFoundError:
            return
        if not path.is_dir():
            what = "a link to nowhere" if stat.S_ISLNK(there.st_mode) else "a file"
            raise InvalidInput(f"{shown} is {what}; give a directory")


def write_whole(path: Path, data: bytes, where: str = "", *, sync: bool = False) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part."""
    with whole_file(path, where) as part, part.open("wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def whole_file(path: Path, where: str = "") -> Iterator[Path]:
    """Yield a path to write to, which takes the name `path` only if the body succeeds.

    Devices and pipes (/dev/null, /dev/stdout) are written to as they are.

    Raises
    ------
    InvalidInput
        If it can't be written: no space, no permission, too long a name.
    """
    check_writable(path, where)
    part = None
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            yield path
            return
        target = path.resolve()  # a symbolic link stays one
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name[:40]}.", suffix="".join(target.suffixes[-2:])
        )
        os.close(handle)
        part = Path(name)
        yield part
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(stat.S_IMODE(target.stat().st_mode) if target.exists() else 0o666 & ~mask)
        part.replace(target)
    except OSError as error:
        raise InvalidInput(_unwritable(_shown(path, where), error)) from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def safe_cell(value: object) -> object:
    """Return a cell of a table; a text that a spreadsheet would run stands behind an apostrophe.

    >>> safe_cell("=1+1"), safe_cell("-5"), safe_cell(-5.0), safe_cell(None)
    ("'=1+1", '-5', -5.0, '')
    """
    if value is None:
        return ""
    if not isinstance(value, str) or value[:1] not in ("=", "+", "-", "@", "\t", "\r"):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value


def csv_text(frame: DataFrame) -> str:
    """Return a frame as CSV, every text as `safe_cell` has it."""
    safe = frame.copy()
    for column in safe.select_dtypes(exclude="number").columns:
        safe[column] = safe[column].map(safe_cell, na_action="ignore")
    safe.columns = [str(safe_cell(str(column))) for column in safe.columns]
    return safe.to_csv(index=False, lineterminator="\n")


def is_file(path: Path) -> bool:
    """Say whether there is a regular file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Say whether there is a directory; a name that none can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _shown(path: Path, where: str) -> str:
    text = str(path)
    text = text if len(text) <= 200 else text[:197] + "..."
    text = text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return f"{where}: {text}" if where else text


def _unwritable(shown: str, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{shown}: no space left to write it; free some, or give another place"
    return f"{shown}: can't be written ({error.strerror or error}); give another file"


def _unreadable(shown: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{shown}: no such file; check the name and its directory, or give another"
    return f"{shown}: can't be read ({error.strerror or error}); give another file"
