"""How far a long computation is: told by whoever computes, shown by whoever listens.

In:  words of packages, `tell("plans simulated", 3)`.
Out: `listening`, under which a function hears them; elsewhere telling costs nothing.
Left out: how they are shown (`cli.waiting`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int | None], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


def tell(stage: str, done: int = 0, total: int | None = None) -> None:
    """Tell that `done` of `total` of a stage are done; None where the total is not known."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(stage, done, total)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let a function hear what is told inside.

    >>> heard = []
    >>> with listening(lambda *words: heard.append(words)):
    ...     tell("runs", 2, 5)
    >>> heard
    [('runs', 2, 5)]
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
