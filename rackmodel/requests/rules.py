"""What a worker does, and when prompts may come in.

In:  settings of the software.
Out: `Rules`; `Gate`, which opens every so many decode steps.
Left out: the worker (`replica`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

SPREAD = 2654435761  # Knuth's multiplier: which rank a request falls to, as if at random


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a worker does.

    chunk : most tokens of one prompt in a step; budget : of all. cached : share of prompts that
    every worker has cached. alternates : prompts have steps of their own, before any decode step.
    sequences : that run at once, at most; None for any number. reserves : blocks of whole answers
    are taken before a prompt begins. fetches : the caches of prompts come from other workers.
    hands_over : to other workers. asks, repeats : as in `Habits`. rate : tokens of a sequence in a
    decode step, mean. every : decode steps from one that admits prompts to the next, or until each
    of `ranks` has one; counts : from the first one that waits.
    stages : of a pipeline; as many batches are under way.
    """

    chunk: int
    budget: int
    cached: float = 0.0
    alternates: bool = False
    sequences: int | None = None
    reserves: bool = False
    fetches: bool = False
    hands_over: bool = False
    asks: bool = False
    repeats: bool = False
    rate: float = 1.0
    every: int = 1
    ranks: int = 1
    counts: bool = False
    stages: int = 1


@dataclass(slots=True)
class Gate:
    """Lets those who wait come in every `every` decode steps, or as soon as all ranks have one."""

    every: int = 1
    ranks: int = 1
    counts: bool = False  # from the first one that waits
    turn: int = 0  # from where on it is open
    _came: int = 0
    _waiting: set[int] = field(default_factory=set)  # ranks

    def comes(self, turn: int, *, alone: bool) -> None:
        """Note that somebody comes after so many decode steps; alone : nobody else waits."""
        if alone:
            before = turn if self.counts else turn // self.every * self.every
            self.turn = before + self.every
            self._waiting.clear()
        self._came += 1
        self._waiting.add(self._came * SPREAD % 2**32 % self.ranks)

    def is_open(self, turn: int) -> bool:
        """Return whether those who wait may come in after so many decode steps."""
        alike = self.ranks > 1 and len(self._waiting) == self.ranks
        return self.every == 1 or turn >= self.turn or alike
