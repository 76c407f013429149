"""Runs the command lines of the page, in a process that can be stopped.

In:  the words of a command line of `commands`.
Out: `answer`, what the page shows; `Worker`, the process, which is replaced when a job is stopped.
Left out: how the page looks.
"""

from __future__ import annotations

import contextlib
import functools
import io
import multiprocessing
import shlex
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import typer

from rackmodel.cli.options import expanded
from rackmodel.cli.output import plain
from rackmodel.cli.page.commands import COMMANDS, Answer
from rackmodel.cli.runner import UsageError, usage_line
from rackmodel.errors import InvalidInput, RackModelError

LARGEST = 20_000  # characters of a command line


@functools.cache
def _command(name: str) -> Any:
    from rackmodel.cli.page.drafts import draft  # not in the server's own process

    alone = typer.Typer(add_completion=False)
    alone.command(name)(expanded(draft if name == "draft" else COMMANDS[name]))
    return typer.main.get_command(alone)


def answer(words: Sequence[str]) -> Answer:
    """Run a command line of the page; what is wrong is told in the line that a terminal shows."""
    begin = time.perf_counter()
    said = io.StringIO()
    shown = f"rackmodel {shlex.join(words)}"
    try:
        if not words or words[0] not in COMMANDS or sum(map(len, words)) > LARGEST:
            raise InvalidInput(
                f"the page runs {' and '.join(COMMANDS)} alone; start others in a shell"
            )
        with contextlib.redirect_stderr(said):
            command = _command(words[0])
            found = command.main(
                list(words[1:]), prog_name=f"rackmodel {words[0]}", standalone_mode=False
            )
        if not isinstance(found, dict):
            raise InvalidInput("nothing to show; leave out options that write files")
    except RackModelError as error:
        return {"ok": False, "code": error.exit_code, "message": str(error), "command": shown}
    except UsageError as error:
        return {"ok": False, "code": 2, "message": usage_line(error), "command": shown}
    notes = [line.removeprefix("rackmodel: ") for line in said.getvalue().splitlines()]
    found["notes"] = list(dict.fromkeys([*notes, *found["notes"]]))
    took = time.perf_counter() - begin
    return {"ok": True, "command": shown, "took_s": took, **plain(found)}


def estimated(words: Sequence[str]) -> Answer:
    """Estimate the step of a command line whose plan is held; {} where that is not to be had."""
    if words[:1] != ["simulate"] or sum(map(len, words)) > LARGEST:
        return {}
    try:
        found = _command("draft").main(
            list(words[1:]), prog_name="rackmodel simulate", standalone_mode=False
        )
    except (RackModelError, UsageError):  # the simulation tells what is wrong
        return {}
    return {**plain(found)} if isinstance(found, dict) else {}


def work(pipe: Connection, drafts: Connection) -> None:
    """Answer command lines, and estimate others meanwhile, until the pipes are closed."""
    from rackmodel.assess.kept_steps import keeping
    from rackmodel.cli.page.form import form

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when to stop
    threading.Thread(target=_estimate, args=(drafts,), daemon=True).start()
    fields = form()  # while the browser opens
    with keeping(), contextlib.suppress(EOFError):
        while True:
            words = pipe.recv()
            pipe.send(fields if words == ["form"] else answer(words))


def _estimate(pipe: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(estimated(pipe.recv()))


class Worker:
    """A process that runs one command line at a time, and can be stopped."""

    def __init__(self) -> None:
        self._lock, self._busy = threading.Lock(), False
        self._draft_lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._drafts, apart = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, apart), daemon=True)
        self._process.start()
        theirs.close()
        apart.close()

    def ask(self, words: Sequence[str]) -> Answer:
        """Return the answer to a command line; {"stopped": True} where it was stopped."""
        with self._lock:
            if not self._process.is_alive():
                self._begin()
            self._busy = True
            try:
                self._pipe.send(list(words))
                found: Answer = self._pipe.recv()
                return found
            except (EOFError, OSError):
                self._begin()
                return {"ok": False, "stopped": True, "message": "stopped"}
            finally:
                self._busy = False

    def estimate(self, words: Sequence[str]) -> Answer:
        """Return what the closed form says of a command line; {} where it says nothing."""
        with self._draft_lock, contextlib.suppress(EOFError, OSError):
            self._drafts.send(list(words))
            found: Answer = self._drafts.recv()
            return found
        return {}

    def stop(self) -> None:
        """Stop the command line that runs; nothing where none does."""
        if self._busy:
            self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def working() -> Iterator[Worker]:
    """Give a worker, and end it."""
    worker = Worker()
    try:
        yield worker
    finally:
        worker.close()
