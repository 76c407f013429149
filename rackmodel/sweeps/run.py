"""The jobs of a sweep on their way through workers: handed out, kept, killed and resumed at will.

In:  jobs by key, the store of their rows, a function that turns a job into a row, workers.
Out: every job's row in the store; `Progress` on the way.
Left out: which jobs (`api.sweep`), what a job means (jobs.py), how rows are kept (store.py).

Only the process that called `sweep` writes; workers hand their rows back. Any number of such
processes may fill the same directory: each starts at another place and skips what the others have
finished.
"""

from __future__ import annotations

import hashlib
import os
import queue
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TypeAlias

from rackmodel.errors import CannotRun, RackModelError
from rackmodel.sweeps.filters import Value
from rackmodel.sweeps.spec import FlatJob
from rackmodel.sweeps.store import Row, Store, canonical
from rackmodel.sweeps.workers import Workers

JobFunction: TypeAlias = Callable[[FlatJob], Mapping[str, Value]]

TELL_EVERY_S = 0.5
LOOK_EVERY_S = 1.0  # for rows of other writers in the same directory


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is."""

    done: int  # rows there are, earlier ones included
    total: int
    earlier: int  # rows that were there at the start
    misfits: int  # of those done: jobs that can't run
    elapsed_s: float

    @property
    def rate_per_s(self) -> float:
        """Jobs per second since the start of this run."""
        return (self.done - self.earlier) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float:
        """Time left at this rate; infinite before the first job has ended."""
        rate = self.rate_per_s
        return (self.total - self.done) / rate if rate > 0 else float("inf")


def job_key(job: Mapping[str, Value], salt: str = "") -> str:
    """Name of a job by its content: equal jobs share it, on every machine.

    >>> job_key({"tp": 1, "pp": 2}) == job_key({"pp": 2, "tp": 1})
    True
    """
    return hashlib.blake2b((salt + canonical(dict(job))).encode(), digest_size=16).hexdigest()


@dataclass(slots=True)
class Run:
    """Jobs handed to workers, and their rows kept; deaths of workers and other writers outlived."""

    jobs: Mapping[str, FlatJob]
    store: Store
    act: JobFunction
    progress: Callable[[Progress], None] | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    misfits: int = 0
    # Were running when a worker died: tried again one at a time.
    suspects: deque[str] = field(default_factory=deque)
    alone: set[str] = field(default_factory=set)
    running: dict[Future[Row], str] = field(default_factory=dict)
    ended: queue.SimpleQueue[Future[Row]] = field(default_factory=queue.SimpleQueue)

    def add(self, key: str, row: Row) -> None:
        """Know a row, whoever finished it."""
        if key in self.jobs and self.rows.get(key, {}).get("status", "lost") == "lost":
            self.rows[key] = row
            self.misfits += row["status"] != "done"

    def left(self) -> list[str]:
        """Jobs that the store has no row of; those whose worker died may live another time."""
        for key, row in self.store.fresh():
            self.add(key, row)
        for key in [key for key, row in self.rows.items() if row["status"] == "lost"]:
            del self.rows[key]
            self.misfits -= 1
        return [key for key in self.jobs if key not in self.rows]

    def work(self, left: list[str], crew: Workers) -> None:
        """Run the jobs that are left."""
        started_s = told_s = looked_s = time.monotonic()
        earlier = len(self.rows)
        # Several sweeps of one directory start at unlike places; alone, one keeps the spec's order.
        start = os.getpid() % len(left) if self.store.others() else 0
        waiting = deque(left[start:] + left[:start])

        def tell() -> None:
            if self.progress is not None:
                elapsed_s = time.monotonic() - started_s
                now = Progress(len(self.rows), len(self.jobs), earlier, self.misfits, elapsed_s)
                self.progress(now)

        while waiting or self.suspects or self.running:
            self._hand_out(waiting, crew)
            if self.running:
                self._take_in(crew)
            now_s = time.monotonic()
            if now_s - looked_s > LOOK_EVERY_S:
                looked_s = now_s
                for key, row in self.store.fresh():
                    self.add(key, row)
            if now_s - told_s > TELL_EVERY_S:
                told_s = now_s
                tell()
        tell()

    def _hand_out(self, waiting: deque[str], crew: Workers) -> None:
        while waiting or self.suspects:
            if len(self.running) >= (1 if self.suspects or self.alone else crew.window):
                return
            key = self.suspects.popleft() if self.suspects else waiting.popleft()
            if key in self.rows:  # another writer was faster
                self.alone.discard(key)
                continue
            begun = crew.submit(attempt, self.act, self.jobs[key])
            self.running[begun] = key
            begun.add_done_callback(self.ended.put)

    def _take_in(self, crew: Workers) -> None:
        """Keep the row of a job that has ended, if one ends soon."""
        try:
            future = self.ended.get(timeout=LOOK_EVERY_S)
        except queue.Empty:
            return
        key = self.running.pop(future, "")
        if not key:
            return
        try:
            self._keep(key, future.result())
            self.alone.discard(key)
        except BrokenProcessPool:
            crew.renew()
            broken = [key, *self.running.values()]
            self.running.clear()
            self.ended = queue.SimpleQueue()
            if key in self.alone:
                self._keep(key, _lost(self.jobs[key]))
                self.alone.discard(key)
                broken.remove(key)
            self.suspects.extend(broken)
            self.alone.update(broken)
        except Exception as error:  # whoever is not to blame raises it again
            if not crew.blames_job(error):
                raise
            self._keep(key, _lost(self.jobs[key]))

    def _keep(self, key: str, row: Row) -> None:
        self.store.append(key, row)
        self.add(key, row)


def attempt(job: JobFunction, flat: FlatJob) -> Row:
    """One job's row; runs in the worker."""
    row: Row = dict(flat)
    try:
        found = job(dict(flat))
    except RackModelError as error:
        status = "infeasible" if isinstance(error, CannotRun) else "invalid"
        return row | {"status": status, "reason": " ".join(str(error).split())}
    return row | {"status": "done", "reason": None} | dict(found)


def _lost(flat: FlatJob) -> Row:
    return dict(flat) | {"status": "lost", "reason": "its worker died twice; --resume tries again"}


def progress_lines() -> Callable[[Progress], None]:
    """A progress callback that rewrites one line on stderr."""

    def show(now: Progress) -> None:
        left = (
            f"{now.left_s:,.0f} s left" if now.left_s < float("inf") else "time left not known yet"
        )
        end = "\n" if now.done == now.total else ""
        line = f"{now.done:,} of {now.total:,} jobs, {now.rate_per_s:,.1f}/s, {left}"
        line += f", {now.misfits:,} can't run"
        print(f"\r{line:<79}", end=end, file=sys.stderr, flush=True)

    return show
