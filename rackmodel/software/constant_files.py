"""Where the constants of kernels and software are read from: the package's own files, or a folder.

In:  data/kernels.toml, data/stacks.toml, or a folder with files of the same names.
Out: their text.
Left out: what they mean (kernel_constants, stacks).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

HOMES = {"kernels.toml": "rackmodel.kernels", "stacks.toml": "rackmodel.software"}
_folder: Path | None = None


def read_constants(name: str) -> str:
    """Return the text of one of the files of `HOMES`."""
    if _folder is not None:
        return (_folder / name).read_text("utf-8")
    return home(name).read_text("utf-8")


def home(name: str) -> Path:
    """Return where the shipped file of that name is."""
    return Path(str(resources.files(HOMES[name]).joinpath("data", name)))


def use_constants(folder: Path | None) -> None:
    """Read constants from a folder in this process from now on; None: the shipped ones.

    For calibration, before the first job of a process: what was worked out with other constants
    and kept is not worked out again.
    """
    from rackmodel.kernels.kernel_constants import kernel_constants
    from rackmodel.software.stacks import read_stack, stack_table

    global _folder
    _folder = folder
    for cached in (kernel_constants, stack_table, read_stack):
        cached.cache_clear()
