"""Stretches of segments that take the same time at every visit, told by their first one.

In:  a segment that nobody outside its team disturbs; what its rank classes logged.
Out: `Stretch` and its `Record`s; `gather`, by which a team finds under SimPy that it is together.
Left out: which segments these are (`locking`), logs (`rank_logs`).

Where collectives in flight together share links, no clock of its own tells how long kernels and
bytes take (`script.play`). But if a whole team is at the same point of a segment at the same
instant, with nothing in flight that could disturb it, what follows is the same at every visit: it
depends on nothing else. The first such visit is walked through piece by piece and kept; if none of
the team ends while another still exchanges, so that what comes next disturbs nobody, later ones
take as long. Where a team is apart at one point of a segment, it may be together at the next: after
every wait it is asked again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import simpy

from rackmodel.engine.script import Cut, Hold, Join, KernelRun, Lockstep, Turns
from rackmodel.network.simpy_private import trigger

FEWEST = 4  # pieces that a stretch has at least: what a shorter one saves, its meeting takes


@dataclass(slots=True, eq=False)
class Stretch:
    """A segment that only its team can disturb, from any of its `starts` on.

    channels : that it uses or that share a link with one that it uses. records : by piece where
    they begin. apart : one ended while another exchanged, and always will.
    """

    cut: Cut
    team: tuple[int, ...]
    channels: frozenset[int]
    starts: frozenset[int]
    records: dict[int, Record] = field(default_factory=dict)
    apart: bool = False

    @classmethod
    def of(
        cls, cut: Cut, team: tuple[int, ...], channels: frozenset[int], after: int = -1
    ) -> Stretch | None:
        """Return the stretch of a cut that begins after a piece; None if there is none.

        What the cut begins it has to wait for, and for nothing else.
        """
        begun, starts = set[str](), [0]
        for place, piece in enumerate(cut.pieces):
            if isinstance(piece, Join) and piece.token is not None:
                begun.add(piece.token)
                continue
            if isinstance(piece, Hold):
                if piece.token not in begun:
                    return None
                begun.remove(piece.token)
            often = (
                len(team) == 1 or place + 1 >= 2 * starts[-1]
            )  # to be asked in vain costs events
            if isinstance(piece, Hold | Join) and often:
                starts.append(place + 1)
        last = len(cut.pieces) - FEWEST
        found = frozenset(start for start in starts if after < start <= last)
        return cls(cut, team, channels, found) if found and not begun else None


class Lock(NamedTuple):
    """How a segment may go as a whole: as worked out beforehand, else as its first visit did."""

    steady: Lockstep | None = None
    stretch: Stretch | None = None


UNLOCKED = Lock()
Items: TypeAlias = list[tuple[int, Cut]]  # of a program, by place


class Walker(NamedTuple):
    """What a rank class does: (place, cut) of its items, the lockstep of each cut that has one.

    key : equal for classes with the same items.
    """

    number: int
    key: int
    items: Items
    locks: dict[int, Lock]


@dataclass(slots=True, eq=False)
class Record:
    """One stretch from a piece on, as the visit in an `item` of the program that began it found it.

    turns : of collectives that a rank class joins. total_s : of each of the team that has ended.
    least_s, heard_s : when the first ended, and the last of their collectives. known : all have,
    and may go through it as a whole from now on.
    """

    stretch: Stretch
    piece: int
    item: int
    start_s: float
    turns: Turns
    total_s: dict[int, float] = field(default_factory=dict)
    least_s: float = math.inf
    heard_s: float = 0.0
    known: bool = False

    @classmethod
    def at(cls, stretch: Stretch, piece: int, item: int, now: float) -> Record:
        """Return what is known of a stretch from a piece on; new if this visit is the first."""
        known = stretch.records.get(piece)
        if known is None:
            ways = ((one.axis, one.stream) for at, one in stretch.cut.joins if at >= piece)
            turns = tuple((*way, times) for way, times in Counter(ways).items())
            known = stretch.records[piece] = cls(stretch, piece, item, now, turns)
        return known

    @property
    def place(self) -> int:
        """Place of its first operation in the segment."""
        first = self.stretch.cut.pieces[self.piece]
        return first.first if isinstance(first, KernelRun) else first.place

    def ends(self, number: int, now: float, heard_s: float) -> None:
        """Note that one of the team has come to the end, its last collective at `heard_s`."""
        self.total_s[number] = now - self.start_s
        self.least_s, self.heard_s = min(self.least_s, now), max(self.heard_s, heard_s)
        if len(self.total_s) == len(self.stretch.team):
            self.known = self.heard_s <= self.least_s
            self.stretch.apart |= not self.known


@dataclass(slots=True, eq=False)
class Gathering:
    """Those of a team that are at one point at one instant; whether all are, once it is over."""

    over: simpy.Event
    item: int
    piece: int
    came: int = 0
    found: Record | None = None


def gather(
    env: simpy.Environment,
    gatherings: dict[Stretch, Gathering],
    stretch: Stretch,
    piece: int,
    item: int,
) -> Generator[simpy.Event, Any, Record | None]:
    """Wait for the rest of a team to the end of this instant; return what is known if all came.

    gatherings : of each stretch, the last.
    """
    if stretch.apart:
        return None
    if len(stretch.team) == 1:
        return Record.at(stretch, piece, item, env.now)
    one = gatherings.get(stretch)
    if one is None or one.over.processed:
        one = gatherings[stretch] = Gathering(simpy.Event(env), item, piece)
        trigger(env, one.over, late=True)
    elif (one.item, one.piece) != (item, piece):
        return None
    one.came += 1
    yield one.over
    if one.found is None and one.came == len(stretch.team):
        one.found = Record.at(stretch, piece, item, env.now)
    return one.found
