"""Which stretch of a segment goes in lockstep: what nobody outside its team can disturb.

In:  segments cut for rank classes, the folded system, seconds of every exchange by itself.
Out: `Locking`: a `Lockstep` that is worked out beforehand, or a `Stretch` whose first visit tells.
Left out: how ranks meet and go on (`ranks`, `gathering`, `compiled`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt

from rackmodel.engine.quotient import MeetingKind, Quotient
from rackmodel.engine.script import Cut, Lockstep, Played, Turns, meeting_points, play
from rackmodel.engine.stretches import UNLOCKED, Lock, Stretch


@dataclass(slots=True, eq=False)
class Locking:
    """The locksteps of one simulation.

    kinds : of accelerator, of each rank class. alone_of : seconds of a channel's exchange that a
    rank class joins. conflicts, overlap_share : of each channel.
    """

    quotient: Quotient
    kinds: npt.NDArray[np.int64]
    alone_of: Callable[[int, int], float]
    conflicts: Sequence[frozenset[int]]
    overlap_share: Sequence[float]
    _played: dict[tuple[float, ...], tuple[Played, Turns]] = field(default_factory=dict)
    _used: dict[int, tuple[int, ...] | None] = field(default_factory=dict)  # by id of a cut
    _teams: dict[tuple[tuple[int, ...], int], tuple[int, ...]] = field(default_factory=dict)
    _locks: dict[tuple[int, tuple[int, ...]], Lock] = field(default_factory=dict)
    _users: dict[int, set[int]] = field(default_factory=dict)  # by class of links

    def of(self, cut_up: Cut, number: int) -> Lock:
        """Return how a segment may go as a whole, the same for its whole team.

        Worked out beforehand is the longest tail that only the team can disturb, if it is longer
        than its pieces.
        """
        used = self._used_by(cut_up)
        if used is None:
            return UNLOCKED
        team = self._team(number, used)
        key = (cut_up.id, team)
        if key not in self._locks:
            self._locks[key] = self._lock_of(cut_up, number, team, used)
        return self._locks[key]

    def _lock_of(
        self, cut_up: Cut, number: int, team: tuple[int, ...], used: tuple[int, ...]
    ) -> Lock:
        kinds = {(c, self.quotient.joined[c][member]) for c in used for member in team}
        shared = [place for place in kinds if not self._meeting(place).private]
        if not all(self._loaded_by(place) <= set(team) for place in shared):
            return UNLOCKED
        steady = None if shared else self._lockstep_of(cut_up, number, team, used)
        after = -1 if steady is None else steady.begin
        return Lock(steady, Stretch.of(cut_up, team, self._beside(used), after))

    def _meeting(self, place: tuple[int, int]) -> MeetingKind:
        return self.quotient.meetings[place[0]][place[1]]

    def _loaded_by(self, place: tuple[int, int]) -> set[int]:
        """Return the rank classes that load links of a kind of meeting, at any time.

        Where all of them are a team at one point, none of them with anything in flight, nothing is
        in flight on these links.
        """
        if not self._users:
            for kind in chain.from_iterable(self.quotient.meetings):
                for link in self._links(kind):
                    self._users.setdefault(link, set()).update(kind.members)
        return set().union(*(self._users[link] for link in self._links(self._meeting(place))))

    def _links(self, kind: MeetingKind) -> set[int]:
        flows = {flow for pairs in kind.rounds for flow, _ in pairs}
        return {link for flow in flows for link, _ in self.quotient.loads[flow]}

    def _beside(self, used: tuple[int, ...]) -> frozenset[int]:
        """Return these channels and all that share a link with one of them."""
        return frozenset(used).union(*(self.conflicts[c] for c in used))

    def _used_by(self, cut_up: Cut) -> tuple[int, ...] | None:
        """Return the channels of a cut's collectives; None if it sends, too."""
        if cut_up.id not in self._used:
            used = {join.channel for _, join in cut_up.joins}
            self._used[cut_up.id] = None if cut_up.passes else tuple(sorted(used))
        return self._used[cut_up.id]

    def _lockstep_of(
        self, cut_up: Cut, number: int, team: tuple[int, ...], used: tuple[int, ...]
    ) -> Lockstep | None:
        pieces, joins, conflicts = cut_up.pieces, cut_up.joins, self.conflicts
        if not self._alike(team, used):
            return None
        begin = 0
        if len(team) > 1:
            meets = (
                place + 1
                for place, join in meeting_points(pieces)
                if self.quotient.kind_of(join.channel, number).members == team
            )
            begin = next(meets, len(pieces))
        if begin >= len(pieces) - 1:
            return None
        alone = {c: self.alone_of(c, number) for c in used}
        key = (cut_up.id, begin, *alone.values())
        if key not in self._played:
            played = play(
                pieces[begin:],
                lambda channel: (alone[channel], self.overlap_share[channel]),
                conflicts.__getitem__,
            )
            turns = Counter((join.axis, join.stream) for i, join in joins if i >= begin)
            self._played[key] = played, tuple((*way, times) for way, times in turns.items())
        played, turns_of = self._played[key]
        if not played.closed:
            return None
        return Lockstep(
            key=key,
            begin=begin,
            total_s=played.end_s,
            entries=played.entries,
            channels=self._beside(used),
            joins=turns_of,
            team=team,
        )

    def _team(self, number: int, channels: tuple[int, ...]) -> tuple[int, ...]:
        """Return the rank classes that these channels tie together, this one included."""
        known = self._teams.get((channels, number))
        if known is not None:
            return known
        team, queue = {number}, [number]
        while queue:
            member = queue.pop()
            for channel in channels:
                new = set(self.quotient.kind_of(channel, member).members) - team
                team |= new
                queue += new
        together = tuple(sorted(team))
        self._teams.update({(channels, member): together for member in together})
        return together

    def _alike(self, team: tuple[int, ...], channels: tuple[int, ...]) -> bool:
        """Return whether all of a team take the same time."""
        kinds = self.kinds[list(team)]
        return bool((kinds == kinds[0]).all()) and all(
            self.alone_of(channel, member) == self.alone_of(channel, team[0])
            for channel in channels
            for member in team
        )
