"""Python's collector of cycles, held while much is built that lives on anyway.

In:  a function that builds many objects and few cycles.
Out: `uncollected`, around it.
Left out: what is freed without the collector, which is nearly all.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for cycles after what is done inside, not a hundred times meanwhile.

    Each look goes through all that was imported: a third of the seconds of a small step.
    """
    if not gc.isenabled():  # so wanted by whoever asks
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
