"""The errors that a user can cause, each with the exit code that the command line gives it.

A message is one line that says what was wanted, what was found, and what to try. Anything that is
not a `RackModelError` is a bug in rackmodel and is allowed to stop the program.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

_MOST_COMPARED = 5000  # names; comparing more with a misspelt one takes seconds


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was most likely meant; None where none is near.

    One that differs in capitals and hyphens alone, else the shortest that holds the name, else the
    nearest by its letters.

    >>> names = ["dgx-b200", "gb200-nvl72", "gb200-nvl72-ib800", "nvl576"]
    >>> nearest("nvl72", names), nearest("GB200_NVL72", names), nearest("dgx-b20", names)
    ('gb200-nvl72', 'gb200-nvl72', 'dgx-b200')
    """
    names, wanted = sorted(known), _letters(name)
    if len(names) > _MOST_COMPARED:
        return None
    same = [one for one in names if _letters(one) == wanted]
    holding = [one for one in names if wanted in _letters(one)] if len(wanted) > 2 else []
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.62)
    found = same or sorted(holding, key=len) or near
    return found[0] if found else None


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


class RackModelError(Exception):
    """Base of all errors that come from the input rather than from a bug."""

    exit_code = 2


class InvalidInput(RackModelError):
    """A file, a graph, a value or an option is not what it has to be."""


class UnknownName(InvalidInput):
    """A name that no catalog, folder or table holds."""

    @classmethod
    def among(cls, what: str, name: str, known: Iterable[str]) -> UnknownName:
        """Say that `name` is unknown, with the nearest known names.

        >>> print(UnknownName.among("accelerator", "gb20", ["gb200", "h100"]))
        no accelerator 'gb20'; did you mean 'gb200'? (known: gb200, h100)
        """
        names = sorted(filter(None, known))  # an empty word means: left open
        name = name if len(name) <= 80 else name[:77] + "..."
        near = nearest(name, names)
        hint = f"; did you mean {near!r}?" if near else ""
        shown = ", ".join(names[:12]) + (f", ... {len(names)} in all" if len(names) > 12 else "")
        return cls(f"no {what} {name!r}{hint} (known: {shown})")

    @classmethod
    def check(cls, what: str, name: str, known: Collection[str]) -> None:
        """Refuse a name that is not `among` those that are known."""
        if name not in known:
            raise cls.among(what, name, known)


class NoRoute(InvalidInput):
    """Two nodes that have to exchange bytes are not joined by links."""


class CannotRun(RackModelError):
    """The input is well formed, but the job can't run on this machine."""

    exit_code = 3


class InvalidPlan(CannotRun):
    """The plan does not divide the model, the batch or the machine."""


class DoesNotFit(CannotRun):
    """A rank needs more HBM than its accelerator has.

    users : of a serving job, how many would fit; -1 where that is not the matter.
    """

    def __init__(self, message: str, users: int = -1) -> None:
        super().__init__(message)
        self.users = users


def shown(value: object, longest: int = 60) -> str:
    """Return a value for a message, in one line and short, whatever it is.

    >>> shown("x" * 100, 10)
    "'xxxxxx..."
    """
    try:
        text = repr(value)
    except Exception:  # an integer of thousands of digits, an object of someone's own
        text = f"a {type(value).__name__} that can't be shown"
    return text if len(text) <= longest else text[: longest - 3] + "..."
