"""A recorded step: what ran on each stream of each rank, what it waited for.

In:  events with their times, work and groups, from a reader.
Out: `Recorded`: arrays of operations with what each waits for; `Recorder` that readers fill.
Left out: files (`kineto`, `chakra`), other machines (`run`).

A trace without dependencies has them inferred: an operation waits for the one before it on its
stream, and for those on other streams that ended right when it began. What never made anyone wait
while it was recorded is not known, so that on slower links the replay is a lower bound.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import networkx as nx
import numpy as np

from rackmodel.columns import Floats, Ints
from rackmodel.errors import InvalidInput

SLACK_S = 20e-6  # what a launch or an event between streams takes at most: assumed
MOST_MEMBERS = 512  # of a group that are looked at; formulas keep its true size
RECENT = 64  # operations of a stream that may be under way at once, at most
ROUNDING_S = 2e-9  # times in files are whole nanoseconds or worse


class Exchange(NamedTuple):
    """What ranks exchange, as nccl-tests count its bytes; 0 where the trace does not say.

    ranks : the first `MOST_MEMBERS` of the group; size : how many it has.
    """

    op: str
    bytes: float
    ranks: tuple[int, ...]
    size: int


class Work(NamedTuple):
    """What a kernel does; without FLOPs and bytes only whether it uses matrix units."""

    matrix: bool
    flops: float = 0.0
    hbm_bytes: float = 0.0
    precision: str = "bf16"


Doing: TypeAlias = Exchange | Work | None  # None: of the host, which stays as long


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Operations in the order in which they can be played.

    doing : index into `works`, int[N]. seconds : of itself, for an exchange once all are there.
    waits, first : the operations that operation i waits for are waits[first[i]:first[i + 1]].
    gap_s : what passes between their end and its start, in which nothing is known to run.
    meeting : operations of several ranks that start together share a number; else -1.
    machine : that it was recorded on, "" if the file does not say. steps : in the trace.
    accelerators : of the machine. step_s : as recorded; 0: the file says who waits for whom, not
    when. outside_s : of it, after all operations.
    """

    doing: Ints
    works: tuple[Doing, ...]
    seconds: Floats
    waits: Ints
    first: Ints
    gap_s: Floats
    meeting: Ints
    machine: str
    steps: int
    accelerators: int
    step_s: float
    outside_s: float = 0.0
    notes: tuple[str, ...] = ()

    def play(self, seconds: Floats) -> float:
        """Return how long a step takes where operations take `seconds`, float[N]. [s]

        >>> one = Recorder()
        >>> for rank in (0, 1):
        ...     _ = one.add(rank, rank, 0.0, 1.0 + rank, Work(True))
        ...     _ = one.add(rank, rank, 2.0, 0.5, Exchange("all-reduce", 8.0, (0, 1), 2), 7)
        >>> step = one.recorded()
        >>> step.play(step.seconds), step.play(step.seconds * 2)
        (2.5, 5.0)
        """
        # Views give plain numbers one at a time: lists of millions would take gigabytes.
        takes, gaps = np.ascontiguousarray(seconds).data, self.gap_s.data
        waits, first, meeting = self.waits.data, self.first.data, self.meeting.data
        ends = array("d", bytes(8 * len(takes)))
        missing = np.bincount(self.meeting[self.meeting >= 0]).tolist()
        ready: dict[int, float] = {}
        members: dict[int, list[int]] = {}
        for place in range(len(takes)):
            begin = 0.0
            for at in range(first[place], first[place + 1]):
                if ends[waits[at]] > begin:
                    begin = ends[waits[at]]
            group = meeting[place]
            if group < 0:
                ends[place] = begin + gaps[place] + takes[place]
                continue
            ready[group] = max(ready.get(group, 0.0), begin)
            members.setdefault(group, []).append(place)
            if len(members[group]) == missing[group]:
                for one in members.pop(group):
                    ends[one] = ready[group] + gaps[one] + takes[one]
        return max(ends, default=0.0) / self.steps + self.outside_s


@dataclass(slots=True)
class Recorder:
    """Takes events as readers find them; `recorded` puts them in order.

    Only numbers are kept of each event, and what it does once for all that do the same.
    """

    rank: array[int] = field(default_factory=lambda: array("q"))
    lane: array[int] = field(default_factory=lambda: array("q"))
    start_s: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    doing: array[int] = field(default_factory=lambda: array("q"))
    meeting: array[int] = field(default_factory=lambda: array("q"))
    works: dict[Doing, int] = field(default_factory=dict)
    waits: dict[int, list[int]] = field(default_factory=dict)  # that the file says, by number
    sends: dict[str, list[int]] = field(default_factory=dict)  # by name: of each kind of rank one
    arrivals: list[tuple[int, str]] = field(default_factory=list)  # who waits for such a send
    lanes: int = 0
    machine: str = ""
    steps: int = 1
    accelerators: int = 0
    outside_s: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        rank: int,
        lane: int,
        start_s: float,
        seconds: float,
        doing: Doing,
        meeting: object = None,
    ) -> int:
        """Take an event; return its number. meeting : equal for those that start together."""
        self.rank.append(rank)
        self.lane.append(lane)
        self.start_s.append(start_s)
        self.seconds.append(seconds)
        self.doing.append(self.works.setdefault(doing, len(self.works)))
        self.meeting.append(-1 if meeting is None else hash(meeting) & (1 << 62) - 1)
        return len(self.rank) - 1

    def recorded(self, shown: str = "trace") -> Recorded:
        """Return the step, dependencies inferred where the files gave none.

        Raises
        ------
        InvalidInput
            If nothing ran, or something waits for what came later.
        """
        if not self.rank:
            raise InvalidInput(
                f"{shown}: no kernel and no collective in it; start one that records them"
            )
        start, meeting = np.array(self.start_s), _numbered(np.array(self.meeting))
        start -= start.min()
        end = start + np.array(self.seconds)
        begin, over = _together(start, meeting, np.maximum), _together(end, meeting, np.minimum)
        order = _sorted(self.waits, meeting) if self.waits else np.lexsort((start, begin))
        if len(order) < len(start):
            raise InvalidInput(
                f"{shown}: operations wait for one another in a circle; write it again"
            )
        waits, first = self._waits(start, end, order)
        owner = np.repeat(np.arange(len(order)), np.diff(first))
        if (waits >= owner).any():
            raise InvalidInput(
                f"{shown}: an operation waits for a later one: clocks of its ranks differ; align"
                " them, or give one rank"
            )
        gap = np.zeros(len(order))
        if not self.waits:
            np.maximum.at(gap, owner, end[order][waits])
            gap = begin[order] - _together(gap, meeting[order], np.maximum)
            gap[gap < ROUNDING_S] = 0.0
        steps = max(1, self.steps)
        return Recorded(
            doing=np.array(self.doing)[order],
            works=tuple(self.works),
            seconds=np.array(self.seconds)[order]
            if self.waits
            else np.maximum(over - begin, 0.0)[order],
            waits=waits,
            first=first,
            gap_s=gap,
            meeting=meeting[order],
            machine=self.machine,
            steps=steps,
            accelerators=max(self.accelerators, max(self.rank) + 1),
            step_s=0.0 if self.waits else float(end.max()) / steps + self.outside_s,
            outside_s=self.outside_s,
            notes=tuple(self.notes),
        )

    def _waits(self, start: Floats, end: Floats, order: Ints) -> tuple[Ints, Ints]:
        """Return what each operation waits for, in places of `order`, and where its own begin."""
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        found, first = array("q"), array("q", [0])
        if self.waits:
            for one in order.tolist():
                found.extend(int(place[other]) for other in self.waits.get(one, ()))
                first.append(len(found))
        else:
            sends = {
                at: max(sent, key=end.__getitem__)  # the one that it waited for ended last
                for at, name in self.arrivals
                if (
                    sent := [s for s in self.sends.get(name, ()) if end[s] < start[at] + ROUNDING_S]
                )
            }
            _infer(self.rank, self.lane, start, end, (order, place), (found, first), sends)
        return np.array(found, dtype=np.int64), np.array(first, dtype=np.int64)


def _sorted(waits: Mapping[int, Sequence[int]], meeting: Ints) -> Ints:
    """Return operations so that each comes after those that it, or its meeting, waits for."""
    graph: nx.DiGraph[int] = nx.DiGraph()
    count = len(meeting)
    whole = np.where(meeting < 0, np.arange(count), count + meeting)
    graph.add_nodes_from(whole.tolist())
    for one, others in waits.items():
        graph.add_edges_from((int(whole[other]), int(whole[one])) for other in others)
    places: dict[int, list[int]] = {}
    for one, key in enumerate(whole.tolist()):
        places.setdefault(key, []).append(one)
    try:
        ordered = list(nx.topological_sort(graph))
    except nx.NetworkXUnfeasible:
        return np.zeros(0, dtype=np.int64)
    return np.array([one for key in ordered for one in places[key]], dtype=np.int64)


def _numbered(meeting: Ints) -> Ints:
    """Return meetings counted from 0; those of one operation are none."""
    _, number, count = np.unique(meeting, return_inverse=True, return_counts=True)
    lone = (count[number] < 2) | (meeting < 0)
    found = np.full(len(meeting), -1, dtype=np.int64)
    found[~lone] = np.unique(number[~lone], return_inverse=True)[1]
    return found


def _together(values: Floats, meeting: Ints, fold: np.ufunc) -> Floats:
    """Return values, those of a meeting replaced by the fold of all of them."""
    known = meeting >= 0
    spread = values.copy()
    if known.any():
        least = fold.identity if fold.identity is not None else np.inf
        found = np.full(int(meeting.max()) + 1, -np.inf if fold is np.maximum else least)
        fold.at(found, meeting[known], values[known])
        spread[known] = found[meeting[known]]
    return spread


def _infer(
    rank: array[int],
    lane: array[int],
    start: Floats,
    end: Floats,
    places: tuple[Ints, Ints],
    into: tuple[array[int], array[int]],
    known: Mapping[int, int],
) -> None:
    """Add what each operation waits for; see the head of the file."""
    order, place = places
    found, first = into
    starts, ends, at = start.data, end.data, place.data
    lanes: dict[int, dict[int, list[tuple[float, int]]]] = {}  # the last few of each, by their end
    for one in order.data:
        mine, begin, own = lanes.setdefault(rank[one], {}), starts[one], lane[one]
        before = _last(mine.get(own, ()), begin)
        least = begin - SLACK_S
        if before is not None:
            found.append(at[before[1]])
            least = max(least, before[0])
        for other, ended in mine.items():
            last = _last(ended, begin) if other != own else None
            if last is not None and last[0] >= least - ROUNDING_S:
                found.append(at[last[1]])
        if one in known:
            found.append(at[known[one]])
        elif before is None or max(ends[order[i]] for i in found[first[-1] :]) < begin - ROUNDING_S:
            found.extend(_remote(lanes, rank[one], begin, at))
        first.append(len(found))
        recent = mine.setdefault(own, [])
        bisect.insort(recent, (ends[one], one))
        if len(recent) > RECENT:
            del recent[0]


def _remote(
    lanes: Mapping[int, Mapping[int, Sequence[tuple[float, int]]]],
    rank: int,
    begin: float,
    at: Sequence[int],
) -> list[int]:
    """Return what ended on other ranks just when something began that nothing nearer explains."""
    found = []
    for other, theirs in lanes.items():
        for ended in theirs.values() if other != rank else ():
            last = _last(ended, begin)
            if last is not None and last[0] >= begin - ROUNDING_S:
                found.append(at[last[1]])
    return found


def _last(ended: Sequence[tuple[float, int]], begin: float) -> tuple[float, int] | None:
    """Return the last that had ended when something began."""
    place = bisect.bisect_right(ended, (begin + ROUNDING_S, 1 << 62))
    return ended[place - 1] if place else None
