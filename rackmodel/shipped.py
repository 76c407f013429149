"""What the package's own files say, read once and kept in the user's cache folder.

In:  files that ship with the package, a function that reads them.
Out: what it returns, plain data; the next process takes it from the cache. Files of bytes that are
     whole or not there: `keep`, `unchanged`; of many versions the newest ones: `keep_newest`.
Left out: users' own files, which are always read.

The cache has a file for each name and installation: a checksum, then JSON. It is taken only if it
is whole and was made of the same files (size, time of change) by the same version; otherwise it is
made again. Of each name the files of the installations that wrote last are kept. Nothing fails
where it can't be read or written. RACKMODEL_CACHE names another folder; "off" keeps nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).with_name("__init__.py")  # it has the version
DIGITS = 12  # of the digest that stands for an installation
MOST_INSTALLS = 16  # have their file of a name kept; environments come and go


def kept(name: str, files: Sequence[Path], read: Callable[[], Any]) -> Any:
    """Return what `read` returns, plain data, from the cache if `files` are as they were then.

    Parameters
    ----------
    name : of the file in the cache. files : all that the result depends on, code included.
    """
    where = folder()
    if where is None:
        return read()
    install = hashlib.sha256(str(PACKAGE).encode()).hexdigest()[:DIGITS]
    path, key = where / f"{name}-{install}.json", _key(files)
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        stored = json.loads(unchanged(path) or b"")
        if stored["key"] == key:
            return stored["value"]
    value = read()
    with suppress(ValueError, TypeError, RecursionError):
        keep(path, json.dumps({"key": key, "value": value}, separators=(",", ":")).encode())
        keep_newest(where.glob(f"{name}-{'?' * DIGITS}.json"), MOST_INSTALLS)
    return value


def shipped_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file that ships with the package."""
    name = "-".join(path.with_suffix("").parts[-3:])
    found: dict[str, Any] = kept(name, [path], lambda: tomllib.loads(path.read_text("utf-8")))
    return found


def folder() -> Path | None:
    """Return the cache folder; None where nothing is to be kept."""
    given = os.environ.get("RACKMODEL_CACHE", "")
    if given == "off":
        return None
    if given:
        return Path(given)
    home = os.environ.get("XDG_CACHE_HOME", "")
    with suppress(RuntimeError):  # nobody's home
        return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "rackmodel"
    return None


def _key(files: Sequence[Path]) -> list[Any]:
    facts = [(str(path), path.stat()) for path in (PACKAGE, *files)]
    return [[path, one.st_size, one.st_mtime_ns] for path, one in facts]


def unchanged(path: Path) -> bytes | None:
    """Return what `keep` wrote; None where that is not there, or not as it was."""
    with suppress(OSError):
        content = path.read_bytes()
        if content[:64] == hashlib.sha256(content[65:]).hexdigest().encode():
            return content[65:]
    return None


def keep(path: Path, body: bytes) -> None:
    """Write a file in one go, so that other processes find all of it or nothing."""
    draft = ""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
        with os.fdopen(number, "wb") as file:
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        os.replace(draft, path)
        draft = ""
    if draft:
        with suppress(OSError):
            os.unlink(draft)


def keep_newest(files: Iterable[Path], number: int) -> None:
    """Remove all of these files but the newest ones.

    Whoever reads one meanwhile has all of it, whoever comes later finds nothing and makes it anew.
    """
    with suppress(OSError):  # another process removes them, too
        newest = sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in newest[number:]:
            path.unlink(missing_ok=True)
