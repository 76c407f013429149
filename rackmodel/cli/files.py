"""Files that a command reads: whether they are there, and text.

In:  words that may be paths.
Out: the same, checked.
Left out: what the files hold; files that are written (`output`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rackmodel.cli.values import clip
from rackmodel.errors import InvalidInput

_FILE_SUFFIXES = {".toml", ".json", ".graphml", ".xml", ".csv"}
MAX_FILE_BYTES = 2_000_000_000


def check_file(path: Path, where: str) -> Path:
    """Return `path` if it is a readable file of text; else raise `InvalidInput`."""
    shown = clip(str(path), 200)
    if "\0" in str(path):
        raise InvalidInput(f"{where}: a file name can't hold a null character")
    try:
        if path.is_dir():
            raise InvalidInput(f"{where}: wanted a file; {shown} is a directory")
        if not path.exists():
            raise InvalidInput(f"{where}: no file {shown}")
        if path.is_file() and path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidInput(f"{where}: {shown} is larger than 2 GB")
        with path.open("rb") as file:
            head = file.read(65536)
    except OSError as error:
        raise InvalidInput(f"{where}: can't read {shown} ({error.strerror})") from error
    if b"\0" in head:
        raise InvalidInput(f"{where}: {shown} is not text (it holds null bytes)")
    try:
        head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.end < len(head) - 4 or len(head) < 65536:  # not merely cut inside a character
            raise InvalidInput(
                f"{where}: {shown} is not UTF-8 text (byte {error.start})"
            ) from error
    return path


def name_or_file(word: str, where: str) -> str:
    """Return `word`; where it looks like a path, make sure that it can be read."""
    if not word.strip():
        raise InvalidInput(f"{where}: wanted a name or a file; got nothing")
    if "/" in word or "\\" in word or Path(word[:300]).suffix.lower() in _FILE_SUFFIXES:
        check_file(Path(word), where)
    elif "\0" in word:
        raise InvalidInput(f"{where}: a name can't hold a null character")
    return word


def read_json(path: Path, option: str) -> dict[str, Any]:
    """Return a JSON object with `rows`, as the other commands write it."""
    check_file(path, option)
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{option}: {path} is not JSON ({clip(str(error), 120)})") from None
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise InvalidInput(f"{option}: {path} has no list `rows`; was it written with --json?")
    if not all(isinstance(row, dict) for row in found["rows"]):
        raise InvalidInput(f"{option}: {path}: every member of `rows` has to be an object")
    return found
