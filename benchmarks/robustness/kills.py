"""Sweeps that are killed, starved of disk and robbed of workers: every row once, as it would be.

In:  a seed, how many kills.
Out: what was lost, doubled or changed, by number of the sweep; `faults`, one line each.
Left out: what a job is; a cheap one stands for all.

A sweep runs in a forked process that is killed at a random moment, alone or with another on the
same directory, until one comes to its end; then its table must be that of a sweep left in peace.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rackmodel.errors import CannotRun, RackModelError
from rackmodel.sweeps.api import sweep
from rackmodel.sweeps.filters import Value
from rackmodel.sweeps.spec import FlatJob, SweepSpec, read_spec

JOBS = 60
PAUSE_S = 0.002  # of a job: room for a kill
MISFIT = 17  # every so many jobs can't run
FIELDS = {"a": "int", "flags": "str"}


def job(flat: FlatJob) -> dict[str, Value]:
    """Return a row that tells a changed bit; some jobs can't run, one kills its worker once."""
    number, flags = int(str(flat["a"])), flat.get("flags")
    if isinstance(flags, str) and number == 5:
        flag = Path(flags)
        if flag.name == "always" or not flag.exists():
            flag.parent.mkdir(exist_ok=True)
            flag.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(PAUSE_S)
    if number % MISFIT == 0:
        raise CannotRun(f"job {number} can't run; take another")
    return {"third": number / 3, "text": f"row {number}, é", "even": number % 2 == 0}


def spec(last: int = JOBS, **base: Value) -> SweepSpec:
    """Return a sweep over so many jobs."""
    return read_spec({"base": base, "axes": {"a": {"from": 1, "to": last, "step": 1}}}, FIELDS)


def rows_of(folder: Path) -> dict[str, str]:
    """Return {key: row as written} of whole lines."""
    found: dict[str, str] = {}
    for part in (folder / "rows").glob("*.jsonl"):
        for line in part.read_bytes().splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                found[entry["key"]] = json.dumps(entry["row"])
    return found


def _begin(folder: Path, workers: int) -> int:
    """Fork a process that runs the sweep; it leaves with 0 where it comes to its end."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # of what killing leaves
        sweep(spec(), folder, job, workers=workers, resume=True)
        code = 0
    finally:
        os._exit(code)


def killed(number: int, root: Path, whole: bytes) -> tuple[int, list[str]]:
    """Kill a sweep until it ends. Return the kills, and what is wrong with the rows."""
    dice, folder = random.Random(f"kill {number}"), root / str(number)
    workers = 2 if dice.random() < 0.03 else 1
    kills, seen, wrong = 0, dict[str, str](), []
    while True:
        crew = [_begin(folder, workers) for _ in range(2 if dice.random() < 0.2 else 1)]
        longest_s = (0.25 if workers == 1 else 2.0) * (1 + kills / 10)  # a busy machine: longer
        time.sleep(dice.uniform(0.0, longest_s))
        ended = []
        for child in crew:
            gone, status = os.waitpid(child, os.WNOHANG)
            if not gone:
                kills += 1
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            elif status == 0:
                ended.append(child)
            else:
                wrong.append(f"sweep {number}: a run left with {status}")
        if (folder / "rows").is_dir():
            now = rows_of(folder)
            wrong += [f"sweep {number}: row {k} lost" for k in seen if k not in now]
            wrong += [
                f"sweep {number}: row {k} changed" for k in seen if now.get(k, seen[k]) != seen[k]
            ]
            seen = now
        if ended or wrong:
            break
        if kills > 200:
            wrong.append(f"sweep {number}: never ends")
            break
    table = folder / "results.csv"
    if not wrong and (not table.exists() or table.read_bytes() != whole):
        wrong.append(f"sweep {number}: another table")
    return kills, wrong


@contextlib.contextmanager
def _largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def _mounted(folder: Path, *options: str) -> Iterator[bool]:
    """Mount a tiny disk in memory, where this user may; yields whether it is there."""
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    try:
        there = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        there = False
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def _refused(act: Callable[[], object], says: str) -> str:
    """Return what is wrong with how a fault is told: "" where it is one line that says `says`."""
    try:
        act()
    except RackModelError as error:
        line = str(error)
        return "" if says in line and "\n" not in line else f"says {line[:80]!r}"
    except Exception as error:  # any other error is what the table shows, not the one line
        return f"{type(error).__name__}: {error}"
    return "not refused"


def faults(root: Path, whole: bytes) -> list[str]:
    """Return what is wrong with how faults are met."""
    wrong = []

    def told(name: str, found: str) -> None:
        if found:
            wrong.append(f"{name}: {found}")

    def ends(name: str, folder: Path) -> None:
        sweep(spec(), folder, job, resume=True)
        told(name, "" if (folder / "results.csv").read_bytes() == whole else "another table")

    full = root / "full"
    with _largest_file(2000):
        told("largest file", _refused(lambda: sweep(spec(), full, job), "--resume goes on"))
    ends("after the largest file", full)
    disk = root / "disk"
    with _mounted(disk, "size=8k") as there:
        if there:
            told("full disk", _refused(lambda: sweep(spec(), disk / "s", job), "no space left"))
            leftover = [path.name for path in (disk / "s").iterdir() if path.name[:1] == "."]
            told("full disk", f"leaves {leftover}" if leftover else "")
    with _mounted(root / "still", "size=200k", "ro") as there:
        if there:
            told("read-only", _refused(lambda: sweep(spec(), root / "still" / "s", job), "can't"))
    once = sweep(spec(12, flags=str(root / "flags" / "once")), root / "once", job, workers=2)
    told("a worker killed once", "" if set(once["status"]) == {"done"} else "a row is lost")
    flags = str(root / "flags" / "always")
    always = sweep(spec(12, flags=flags), root / "always", job, workers=2)
    lost = always.loc[always["status"] != "done", "a"].tolist()
    told("a worker killed always", "" if lost == [5] else f"rows {lost} are not done")
    return wrong


def campaign(kills: int, first: int = 0) -> tuple[int, list[str]]:
    """Return how many kills there were, and all that is wrong; sweeps are numbered from `first`."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="kills") as name:
        root = Path(name)
        sweep(spec(), root / "whole", job)
        whole = (root / "whole" / "results.csv").read_bytes()
        done, number = 0, first
        while done < kills:
            more, found = killed(number, root, whole)
            done, number = done + more, number + 1
            wrong += found
        wrong += faults(root, whole)
    return done, wrong


if __name__ == "__main__":
    number_of_kills, what = campaign(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    print(f"{number_of_kills} kills, {len(what)} wrong", *what, sep="\n")
    sys.exit(bool(what))
