"""Parts of your own, in a file of your own: one registering line beside each.

In:  a Python file that you name (`rackmodel --extend FILE.py`, `RACKMODEL_EXTEND`, `load(FILE)`),
     or an installed package with an entry point of the group "rackmodel.extensions".
Out: what the file registers is known to `list`, `search`, `--help`, errors and worker processes, as
     if it had come with rackmodel.
Left out: accelerators and other parts, models, machines of known shapes: they are data, in TOML
     files (`--catalog FILE.toml`, a path in place of a name).

An extension is code and runs with your rights: name only files that you would run yourself.

Examples
--------
>>> from rackmodel import extend
>>> @extend.schedule("back-to-back", bubble=lambda p, m, v: p - 1.0)
... def back_to_back(p, m, v, rank):
...     for batch in range(m):
...         yield extend.Action("F", 0, batch)
...         yield extend.Action("B", 0, batch)
...         yield extend.Action("W", 0, batch)
>>> extend.software("my-trainer", aliases=["my-trainer"], like="torchtitan", gradients="bf16")
"""

from __future__ import annotations

import functools
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel.errors import InvalidInput, RackModelError
from rackmodel.files import check_file, is_file, is_folder
from rackmodel.shipped import kept

if TYPE_CHECKING:
    from rackmodel.assess.extra import assessment as assessment
    from rackmodel.network.collectives.registry import algorithm as collective
    from rackmodel.software.stack import register as software
    from rackmodel.topology.builders import builder as builder
    from rackmodel.workload.schedules.schedule import Action as Action, schedule as schedule

GROUP = "rackmodel.extensions"
VARIABLE = "RACKMODEL_EXTEND"  # files, separated as in PATH; worker processes read it too
_HOME = {
    "assessment": ("rackmodel.assess.extra", "assessment"),
    "collective": ("rackmodel.network.collectives.registry", "algorithm"),
    "builder": ("rackmodel.topology.builders", "builder"),
    "software": ("rackmodel.software.stack", "register"),
    "schedule": ("rackmodel.workload.schedules.schedule", "schedule"),
    "Action": ("rackmodel.workload.schedules.schedule", "Action"),
}
__all__ = [
    "Action",
    "assessment",
    "builder",
    "collective",
    "load",
    "load_all",
    "schedule",
    "software",
]
_loaded: set[str] = set()


def __getattr__(name: str) -> Any:
    """Import what registers a kind of part when it is first used: commands start light."""
    if name not in _HOME:
        raise AttributeError(f"module 'rackmodel.extend' has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)


def load(file: str | Path) -> None:
    """Run an extension file once in this process, and in every worker that it starts.

    Raises
    ------
    InvalidInput
        If there is no such file, or it fails; with the line of the file.
    """
    path = Path(file).resolve()
    if str(path) in _loaded:
        return
    if path.suffix != ".py" or not is_file(path):
        raise InvalidInput(f"extension {str(file)!r:.200}: expected a Python file that exists")
    check_file(path, where="extension")
    import runpy

    _loaded.add(str(path))
    named = os.environ.get(VARIABLE, "")
    if str(path) not in named.split(os.pathsep):
        os.environ[VARIABLE] = os.pathsep.join(filter(None, [named, str(path)]))
    try:
        runpy.run_path(str(path))
    except RackModelError as error:
        raise InvalidInput(f"extension {file}: {error}") from error
    except Exception as error:  # a user's code may fail in any way; the line tells where
        line = _line_in(error, str(path))
        raise InvalidInput(f"extension {file}{line}: {type(error).__name__}: {error}") from error


def load_all() -> None:
    """Load the files that the environment names, and the entry points of installed packages."""
    for file in os.environ.get(VARIABLE, "").split(os.pathsep):
        if file:
            load(file)
    for name, value in _points():
        if value not in _loaded:
            from importlib.metadata import EntryPoint

            _loaded.add(value)
            EntryPoint(name, value, GROUP).load()


@functools.cache
def _points() -> list[list[str]]:
    """Return name and value of the extensions of installed packages.

    Looking through all packages takes 40 ms: not again until one comes or goes.
    """

    def look() -> list[list[str]]:
        from importlib.metadata import entry_points

        return [[point.name, point.value] for point in entry_points(group=GROUP)]

    folders = [path for path in map(Path, sys.path) if is_folder(path)]
    found: list[list[str]] = kept("extensions", folders, look)
    return found


def _line_in(error: BaseException, path: str) -> str:
    """Return ":line" of the last frame of a traceback that is in a file."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            found = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return found
