"""How a command ends: one clear line and an exit code for everything that a user can cause.

In:  the typer application.
Out: `OneLineGroup`, a command group whose errors are one line on stderr.
Left out: bugs; an exception that is not ours is shown with its traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from rackmodel.cli.light_options import LightGroup
from rackmodel.cli.waiting import clear, waiting
from rackmodel.errors import RackModelError, UnknownName

#: Typer vendors click or imports it, by version; the base of its usage errors is found either way.
UsageError: type[Exception] = next(
    cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "UsageError"
)
FIRST = "rackmodel simulate gb200-nvl72 --model llama3-70b --gpus 72 --global-batch 144"
#: What people write for a word of ours that looks nothing like it.
USERS_WORDS = {
    "machines": "topologies",
    "racks": "topologies",
    "gpus": "accelerators",
    "chips": "accelerators",
}
ASSERTION_MISSED = 4
INTERRUPTED = 130
LONGEST = 260  # characters of a word in a message
BROKEN_PIPE = 141  # what a shell reports for SIGPIPE


class AssertionMissed(RackModelError):
    """A threshold that `--assert` states was not met."""

    exit_code = ASSERTION_MISSED


class Interrupted(Exception):
    """Ctrl-C, renamed so that typer does not swallow it without a word."""


def complain(message: str) -> None:
    """Print one line `rackmodel: ...` on stderr, whatever line breaks `message` holds."""
    words = str(message).split()
    text = " ".join(word if len(word) <= LONGEST else word[: LONGEST - 1] + "…" for word in words)
    clear()
    try:
        sys.stderr.write(f"rackmodel: {text}\n")
        sys.stderr.flush()
    except UnicodeEncodeError:
        sys.stderr.write(f"rackmodel: {text.encode('ascii', 'backslashreplace').decode()}\n")
    except OSError:
        pass  # nobody listens


def _fault(error: OSError) -> str:
    """Return what a file or the system refused as one line: it comes from outside, always."""
    what = error.filename or "the result"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left to write {what}; free some, or write to another place"
    return f"{what}: {error.strerror or error}; give another file, or mend what refuses it"


def usage_line(error: Any) -> str:
    """Return a usage error as one line that ends with where to find help."""
    message = " ".join(error.format_message().split()).replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "rackmodel"
    if not message or message.startswith("Missing command"):
        return f"which command? Begin with '{FIRST}'; see '{path} --help' for all of them"
    choice = re.search(r"'-*([^']+)'[^']*'([^']*)' is not one of (.*)", message)
    if choice:  # the words that the same mistake gives in Python
        name = choice[1].replace("-", " ").lower() if choice[1][0].isalpha() else "word"
        word, choices = choice[2], re.findall(r"'([^']+)'", choice[3])
        told = str(UnknownName.among(name, word, choices))
        if (meant := USERS_WORDS.get(word, "")) in choices:
            before, _, after = told.partition(" (known")
            told = f"{before.partition(';')[0]}; did you mean {meant!r}? (known{after}"
        return told
    written = re.search(r"unexpected extra argument\S* \((\S+\.\w+)\)", message)
    if (
        written
        and context is not None
        and any("--out" in one.opts for one in context.command.params)
    ):
        message = f"{message.rstrip('.')}; to write to a file say --out {written[1]}"
    return f"{message.rstrip('.')}; see '{path} --help'"


def _leave_quietly() -> NoReturn:
    """Leave after the reader of stdout has gone: nothing more may be flushed to it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(BROKEN_PIPE)


class OneLineGroup(LightGroup):
    """A group of commands whose errors are one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C becomes `Interrupted`, even where C code made an error of it."""
        pressed: list[int] = []

        def press(number: int, _: object) -> NoReturn:
            pressed.append(number)
            raise KeyboardInterrupt

        in_main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, press) if in_main else None
        try:
            with waiting():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Interrupted from stop
        except Exception as error:  # C code may turn Ctrl-C into any error
            if pressed:
                raise Interrupted from error
            raise
        finally:
            if in_main:
                signal.signal(signal.SIGINT, before)

    def main(  # type: ignore[override]  # fewer named words than click's: always run as a program
        self, args: Sequence[str] | None = None, **extra: Any
    ) -> Any:
        """Run with `args` and leave by `SystemExit` with the exit code."""
        extra["standalone_mode"] = False
        try:
            code = super().main(args, **extra)
            sys.stdout.flush()
        except RackModelError as error:
            complain(str(error) or type(error).__name__)
            sys.exit(error.exit_code)
        except UsageError as error:
            complain(usage_line(error))
            sys.exit(2)
        except (Interrupted, KeyboardInterrupt):
            complain("interrupted; nothing more was written")
            sys.exit(INTERRUPTED)
        except typer.Abort:
            complain("interrupted; nothing more was written")
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            _leave_quietly()
        except OSError as error:
            if error.errno == errno.EPIPE:
                _leave_quietly()
            complain(_fault(error))
            sys.exit(2)
        sys.exit(code if isinstance(code, int) else 0)
