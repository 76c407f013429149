"""One line on a terminal while something takes long: stage, count, time; nothing when piped.

In:  what packages tell (`rackmodel.stages`).
Out: `waiting`, around a command; `clear`, before anything else is printed.
Left out: who tells what.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rackmodel.stages import listening

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

AFTER_S = 2.0  # what is quicker says nothing
LEAST_COUNTED = 8  # done before the rest is estimated from them


class Waiting:
    """The line: what was told last with its count, then the stage inside it."""

    def __init__(self, console: Console | None = None, after_s: float = AFTER_S) -> None:
        self._console, self._after_s = console, after_s
        self._begin_s = time.monotonic()
        self._outer: tuple[str, int, int] | None = None
        self._outer_s, self._stage = self._begin_s, ""
        self._live: Live | None = None
        self._lock = threading.Lock()
        self._over = False
        self._later()

    def hear(self, stage: str, done: int, total: int | None) -> None:
        """Take what is told."""
        if total is None:
            self._stage = f"{stage} {done:,}" if done else stage
            return
        if self._outer is None or self._outer[0] != stage:
            self._outer_s = time.monotonic()
        self._outer, self._stage = (stage, done, total), ""

    def line(self) -> str:
        """Return the line as of now; the rest is estimated only from enough that is done."""
        now = time.monotonic()
        parts = []
        if self._outer is not None:
            stage, done, total = self._outer
            parts.append(f"{stage} {done:,} of {total:,}")
        if self._stage:
            parts.append(self._stage)
        parts.append(f"{now - self._begin_s:,.0f} s")
        if self._outer is not None and LEAST_COUNTED <= self._outer[1] < self._outer[2]:
            left_s = (now - self._outer_s) * (self._outer[2] / self._outer[1] - 1)
            parts.append(f"about {left_s:,.0f} s left at this pace")
        return ", ".join(parts)

    def _later(self) -> None:
        self._timer = threading.Timer(self._after_s, self._show)
        self._timer.daemon = True
        self._timer.start()

    def _show(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        with self._lock:
            if self._over or self._live is not None:
                return
            self._live = Live(
                console=self._console or Console(stderr=True),
                get_renderable=lambda: Text(self.line(), overflow="ellipsis", no_wrap=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def clear(self, *, over: bool = False) -> None:
        """Take the line away; it comes back later, unless the command is over."""
        self._timer.cancel()
        with self._lock:
            self._over = over
            if self._live is not None:
                self._live.stop()
                self._live = None
        if not over:
            self._later()


_SHOWN: list[Waiting] = []


def clear() -> None:
    """Take the line away before something else is printed."""
    for one in _SHOWN:
        one.clear()


@contextmanager
def waiting() -> Iterator[None]:
    """Show the line while a command runs, on a terminal."""
    if not sys.stderr.isatty() or _SHOWN:
        yield
        return
    _SHOWN.append(one := Waiting())
    try:
        with listening(one.hear):
            yield
    finally:
        _SHOWN.remove(one)
        one.clear(over=True)
