"""Files that a command reads: whether they are there, before anything heavy is imported.

In:  words that may be paths.
Out: the same, checked.
Left out: how files are read (`rackmodel.files`); files that are written (`output`).
"""

from __future__ import annotations

import re
from pathlib import Path

from rackmodel import files
from rackmodel.errors import InvalidInput

_FILE_SUFFIXES = {".toml", ".json", ".graphml", ".xml", ".csv"}
_OF_A_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")  # owner/model: the name may be one that ships


def check_file(path: Path, where: str) -> Path:
    """Return `path` if it is a readable file of text; else raise `InvalidInput`."""
    return files.check_file(path, where=where)


def name_or_file(word: str, where: str) -> str:
    """Return `word`; where it looks like a path, make sure that it can be read."""
    if not word.strip():
        raise InvalidInput(f"{where}: wanted a name or a file; got nothing")
    a_file = Path(word[-300:]).suffix.lower() in _FILE_SUFFIXES or files.is_file(Path(word))
    if a_file or "\\" in word or ("/" in word and not _OF_A_HUB.fullmatch(word)):
        if _ships(Path(word)) and not files.is_file(Path(word)):
            raise InvalidInput(
                f"{where}: {word}: no such file; give the machine that ships"
                f" as {Path(word).stem!r}, without {Path(word).suffix}"
            )
        if not files.is_file(Path(word) / "config.json"):
            check_file(Path(word), where)  # a directory of a model is named by what it holds
    elif "\0" in word:
        raise InvalidInput(f"{where}: a name can't hold a null character; give one without")
    return word


def _ships(path: Path) -> bool:
    from rackmodel.topology.names import topology_names

    return path.suffix.lower() == ".toml" and path.stem in topology_names()
