"""What runs in a hall: a SPEC.toml, or the same as a mapping.

In:  a machine, jobs with their racks and the words of `simulate` or `serve`.
Out: `HallSpec`.
Left out: what the words of a job mean (`api`, `serving`).

::

    machine = "dgx-h100"
    steps = 3                      # of the job with the longest ones

    [[jobs]]
    name = "pretraining"
    racks = "0-3"                  # "0-3", "0,2" or a list
    model = "gpt3-13b"             # words of `rackmodel.simulate`
    global_batch = 128
    plan = {tp = 2, pp = 2}

    [[jobs]]
    name = "chat"
    racks = [4]
    model = "llama3.1-70b"         # users: words of `rackmodel.serve`
    users = 64
    isl = 1024
    osl = 512
    tp = 8
    prefill_gpus = 8               # if wanted: prompts on workers of their own
    prefill = {tp = 8}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rackmodel import gate
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.files import read_toml

MOST_JOBS = 32
MOST_RACKS = 100_000
MOST_STEPS = 1000
_KEYS = ("machine", "steps", "set", "jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class HallJob:
    """One job: its racks by number, and the words that describe it."""

    name: str
    racks: tuple[int, ...]
    words: Mapping[str, Any]

    @property
    def served(self) -> bool:
        """Whether users are served; else a model is trained."""
        return "users" in self.words


@dataclass(frozen=True, slots=True, kw_only=True)
class HallSpec:
    """A machine and what runs on it. changes : of the machine's file, as `--set topology.`."""

    machine: str
    jobs: tuple[HallJob, ...]
    steps: int = 3
    changes: Mapping[str, Any]


def read_hall(given: str | Path | Mapping[str, Any]) -> HallSpec:
    """Return what a file or a mapping says.

    Raises
    ------
    InvalidInput, UnknownName
        For keys that there are not, jobs without racks, racks that two jobs have.
    """
    where = "hall" if isinstance(given, Mapping) else str(given)
    table = gate.table(given if isinstance(given, Mapping) else read_toml(Path(given)), where)
    for key in table:
        UnknownName.check(f"key of {where}", key, _KEYS)
    if "machine" not in table:
        raise InvalidInput(f'{where}: no machine; write machine = "dgx-h100"')
    rows = gate.members(table.get("jobs", []), f"{where}, jobs", "[[jobs]]")
    if not 1 <= len(rows) <= MOST_JOBS:
        raise InvalidInput(f"{where}: expected 1 to {MOST_JOBS} [[jobs]], found {len(rows)}")
    jobs = tuple(_job(gate.table(row, f"{where}, job {n}"), n) for n, row in enumerate(rows))
    taken: dict[int, str] = {}
    for job in jobs:
        if job.name in taken.values():
            raise InvalidInput(f"{where}: two jobs are called {job.name!r}; rename one")
        for rack in job.racks:
            if rack in taken:
                raise InvalidInput(
                    f"{where}: rack {rack} is given to {taken[rack]!r} and to {job.name!r};"
                    " choose another for one of them"
                )
            taken[rack] = job.name
    return HallSpec(
        machine=gate.text(table["machine"], f"{where}, machine"),
        jobs=jobs,
        steps=gate.whole(table.get("steps", 3), f"{where}, steps", most=MOST_STEPS),
        changes=gate.table(table.get("set", {}), f"{where}, set"),
    )


def _job(row: Mapping[str, Any], number: int) -> HallJob:
    name = gate.text(row.get("name", f"job {number}"), f"job {number}, name", longest=60)
    if "racks" not in row:
        raise InvalidInput(f'{name}: no racks; write racks = "0-3"')
    words = {key: value for key, value in row.items() if key not in ("name", "racks")}
    return HallJob(name=name, racks=_racks(row["racks"], f"{name}, racks"), words=words)


def _racks(value: object, where: str) -> tuple[int, ...]:
    """Return the numbers of racks, in the order given.

    >>> _racks("0-2,5", "a")
    (0, 1, 2, 5)
    """
    if not isinstance(value, str):
        members = value if isinstance(value, list | tuple) else [value]
        found = list(gate.wholes(members, where, least=0, most=MOST_RACKS))
    else:
        found = []
        for part in value.split(","):
            ends = [gate.whole(end, where, least=0, most=MOST_RACKS) for end in part.split("-", 1)]
            if ends[-1] < ends[0]:
                raise InvalidInput(
                    f"{where}: {part.strip()!r} runs backwards; give the lower end first"
                )
            found += range(ends[0], ends[-1] + 1)
    if not found or len(set(found)) < len(found):
        raise InvalidInput(f'{where}: expected numbers of racks, each once, as in "0-3"')
    return tuple(found)
