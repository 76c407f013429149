"""What SimPy has no public word for, in one place.

In:  SimPy's clock and an event of it.
Out: the event happens after a delay, or after all else at its instant; the number of events so far.
Left out: everything that SimPy offers by itself.

`Event.succeed` knows neither delays nor priorities, so each exchange and each new sharing of links
would cost a second event; a SimPy event counts as triggered by the two fields that are set here,
as its own `Timeout` does it.
"""

from __future__ import annotations

from typing import Any

from rackmodel.annotations import Environment, Event

NORMAL: Any = 1
LATE: Any = 2  # a priority after SimPy's URGENT (0) and NORMAL


def trigger(env: Environment, event: Event, *, delay_s: float = 0.0, late: bool = False) -> None:
    """Let `event` happen after a delay; `late`: after everything else at that instant."""
    event._ok, event._value = True, None
    env.schedule(event, LATE if late else NORMAL, delay_s)


def events_so_far(env: Environment) -> int:
    """Return how many events the clock has scheduled; call it once, at the end of a run."""
    return next(env._eid)
