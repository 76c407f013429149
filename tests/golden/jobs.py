"""The golden jobs, as data: command lines and calls of `rackmodel.simulate`.

In:  jobs.toml, quick jobs first.
Out: `JOBS`, {name: Job}, and `figures_of(job)`: nested figures as they are stored.
Left out: comparing, storing.

Nothing here reads a private name of the package: only its command line and its front door.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.golden.frames import summary

HERE = Path(__file__).parent
NUMBERS = ("step_s", "mfu", "hfu", "exposed_s", "breakdown_s", "compute_shares")
CLOCK_AND_VERSION = frozenset({"wall_s", "engine", "version", "catalog", "date", "created", "git"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A command line (`words`), or a call (`call`: keywords of `rackmodel.simulate`)."""

    name: str
    words: str = ""
    call: Mapping[str, Any] = field(default_factory=dict)


def read_jobs(path: Path = HERE / "jobs.toml") -> dict[str, Job]:
    """Return the jobs of a file in its order."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    jobs = {name: Job(name=name, words=words) for name, words in table["command"].items()}
    calls = {name: Job(name=name, call=call) for name, call in table["call"].items()}
    if twice := sorted(set(jobs) & set(calls)):
        raise ValueError(f"{path.name}: names given twice: {twice}")
    return jobs | calls


JOBS = read_jobs()


def figures_of(job: Job) -> Any:
    """Run a job in this process; return its figures without clock time and version."""
    return without_clock(called(job.call) if job.call else commanded(job.words))


def commanded(words: str) -> Any:
    """Return what the command prints as JSON; where it refuses, its exit code and message."""
    with tempfile.TemporaryDirectory() as scratch:
        code, out, err = run_command(shlex.split(words.replace("SCRATCH", scratch)))
        out, err = (text.replace(scratch, "SCRATCH") for text in (out, err))
    if code:
        return {"exit": code, "message": err.strip()}
    return json.loads(out)


def run_command(argv: list[str]) -> tuple[int, str, str]:
    """Run `rackmodel` with these words from this directory: exit code, stdout, stderr."""
    from rackmodel.__main__ import main

    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(HERE),
        as_argv(argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = int(leaving.code or 0)
    return code, out.getvalue(), err.getvalue()


@contextlib.contextmanager
def as_argv(words: list[str]) -> Iterator[None]:
    """Let `sys.argv` be these words for a while."""
    before = sys.argv
    sys.argv = ["rackmodel", *words]
    try:
        yield
    finally:
        sys.argv = before


def called(call: Mapping[str, Any]) -> Any:
    """Return the sums of every frame of a result of `rackmodel.simulate`."""
    import rackmodel

    words = dict(call)
    if slow := words.pop("slow", None):  # keys of TOML are strings
        words["slow"] = {int(rank): factor for rank, factor in slow.items()}
    result = rackmodel.simulate(words.pop("topology"), **words)
    told = {name: getattr(result, name) for name in NUMBERS}
    return told | summary(result)


def without_clock(figures: Any) -> Any:
    """Drop what differs from run to run, at any depth."""
    if isinstance(figures, dict):
        return {
            key: without_clock(value)
            for key, value in figures.items()
            if key.rpartition(".")[2] not in CLOCK_AND_VERSION
        }
    if isinstance(figures, list):
        return [without_clock(value) for value in figures]
    return figures
