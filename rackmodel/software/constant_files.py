"""Where the constants of kernels and software are read from: the package's own files, or a folder.

In:  kernels.toml, stacks.toml, or a folder with files of the same names.
Out: what they say; `kept`, for functions that depend on it.
Left out: what they mean (rackmodel.kernels, rackmodel.software).
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from rackmodel.shipped import shipped_toml

HOMES = {"kernels.toml": "rackmodel.kernels", "stacks.toml": "rackmodel.software"}
P = ParamSpec("P")
T = TypeVar("T")
_folder: Path | None = None
_kept: list[Any] = []


def home(name: str) -> Path:
    """Return where the shipped file of that name is."""
    return Path(str(resources.files(HOMES[name]).joinpath("data", name)))


def read_constants(name: str) -> dict[str, Any]:
    """Return the content of one of the files of `HOMES`."""
    if _folder is None:
        return shipped_toml(home(name))
    return tomllib.loads((_folder / name).read_text("utf-8"))


def kept(function: Callable[P, T], most: int = 512) -> Callable[P, T]:
    """Keep what a function works out from constants until others are used, `most` results."""
    cached = lru_cache(maxsize=most)(function)
    _kept.append(cached)
    return cast(Callable[P, T], cached)  # lru_cache forgets the parameters


def use_constants(folder: Path | None) -> None:
    """Read constants from a folder in this process from now on; None: the shipped ones.

    For calibration, before the first job of a process: what was worked out with other constants
    and kept elsewhere is not worked out again.
    """
    global _folder
    _folder = folder
    forget()


def forget() -> None:
    """Let everything that is `kept` be worked out again."""
    for cached in _kept:
        cached.cache_clear()
