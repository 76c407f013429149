"""V-Half and V-Min: two chunks a rank, there and back, in half or a third of 1F1B's memory.

In:  pipeline ranks and micro-batches.
Out: the actions of one rank; (p + 2)//2 or (p + 4)//3 micro-batches in flight.
Left out: transfers; passes of unlike length, which the paper's blocks are shaped for as well.

A micro-batch's passes on all ranks make a block that is repeated every six passes, so that a rank
is always busy; how long a chunk's activations wait in the block is the memory. Weight gradients run
where a rank would wait.

Source: Qi et al. 2024, arXiv:2405.15362, section 3; bounds of memory and bubbles as its authors
state them at huggingface.co/spaces/sail/pipeline-parallelism-with-controllable-memory.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from rackmodel.workload.schedules.schedule import Action, Actions, schedule, twice

INTERVAL = 6  # passes of a micro-batch on a rank: F, B and W of two chunks


class _Leg(NamedTuple):
    """Forward or backward of all first or all second chunks, one rank after the other."""

    kind: str
    chunk: int
    hop: int  # passes from the beginning on one rank to that on the next


# Hops of one pass each are the least memory; alternating with two, half of 1F1B's.
BLOCKS = {
    name: (_Leg("F", 0, hop), _Leg("F", 1, 1), _Leg("B", 1, hop), _Leg("B", 0, 1))
    for name, hop in (("v-min", 1), ("v-half", 2))
}


def _begins(legs: tuple[_Leg, ...], turns: tuple[int, ...], p: int) -> list[list[int]]:
    """Return when each leg begins on each rank; turns : passes between leg and leg."""
    begins, clock = [], 0
    for leg, turn in zip(legs, (0, *turns), strict=True):
        clock += turn
        own = [clock + leg.hop * place for place in range(p)]
        clock = own[-1]
        begins.append(own if leg.kind + str(leg.chunk) in ("F0", "B1") else own[::-1])
    return begins


@lru_cache(maxsize=64)
def _block(name: str, p: int) -> list[list[int]]:
    """Return the shortest block whose repetitions run no two passes of a rank at once."""
    legs, least = BLOCKS[name], range(1, INTERVAL + 1)
    for turns in sorted(product(least, repeat=3), key=sum):
        begins = _begins(legs, turns, p)
        ticks = ({when % INTERVAL for when in own} for own in zip(*begins, strict=True))
        if all(len(own) == len(legs) for own in ticks):
            return begins
    raise AssertionError(f"no block of {name} for {p} ranks")


class _Rank:
    """Forwards and backwards in the block's order; weight gradients where nothing else can run."""

    def __init__(self, name: str, p: int, m: int, rank: int) -> None:
        self.stages = rank, 2 * p - 1 - rank
        rows = zip(BLOCKS[name], (own[rank] for own in _block(name, p)), strict=True)
        every = ((at + INTERVAL * i, leg, i) for leg, at in rows for i in range(m))
        self.todo = deque(Action(leg.kind, leg.chunk, i) for _, leg, i in sorted(every))
        self.weights: deque[Action] = deque()
        self.held = 0
        self.out: list[Action] = []

    def next(self, done: dict[tuple[str, int, int], int], clock: int, most: int) -> Action | None:
        """Return what runs now. done : when passes have ended, by kind, stage, micro-batch."""
        if self.todo and self._ready(self.todo[0], done, clock, most):
            return self.todo.popleft()
        return self.weights.popleft() if self.weights else None

    def _ready(
        self, action: Action, done: dict[tuple[str, int, int], int], clock: int, most: int
    ) -> bool:
        kind, chunk, batch = action[:3]
        stage, last = self.stages[chunk], sum(self.stages)
        if kind == "F":
            needs = ("F", stage - 1, batch) if stage else None
            if self.held == most:
                return False
        else:
            needs = ("B", stage + 1, batch) if stage < last else ("F", stage, batch)
        return needs is None or done.get(needs, clock + 1) <= clock

    def ran(self, action: Action) -> None:
        self.out.append(action)
        self.held += (action.kind == "F") - (action.kind == "W")
        if action.kind == "B":
            self.weights.append(action._replace(kind="W"))


@lru_cache(maxsize=64)
def _all_ranks(name: str, most: int, p: int, m: int) -> tuple[Actions, ...]:
    """Return the passes of all ranks, each one tick long. most : chunks whose input waits."""
    ranks = [_Rank(name, p, m, rank) for rank in range(p)]
    done: dict[tuple[str, int, int], int] = {}
    clock, left = 0, 2 * len("FBW") * m * p
    while left:
        for rank in ranks:
            if (action := rank.next(done, clock, most)) is not None:
                rank.ran(action)
                done[action.kind, rank.stages[action.chunk], action.batch] = clock + 1
                left -= 1
        clock += 1
    return tuple(tuple(rank.out) for rank in ranks)


def bubble_min(p: int, m: int, v: int) -> float:
    """Return about 2p/3 over m; a turn of p = 0 mod 3 takes two passes longer."""
    return (4 * p - (5 if p % 3 else 3)) / (6 * m)


def bubble_half(p: int, m: int, v: int) -> float:
    """Return about p/2 over m."""
    return max(3, 3 * p - 4) / (6 * m)


def _facts(source: str = "arXiv:2405.15362") -> dict[str, object]:
    return {
        "source": source,
        "chunks": (2, 2),
        "splits_weights": True,
        "folds_back": True,
        "settles": twice,
    }


@schedule("v-half", bubble_half, **_facts())
def v_half(p: int, m: int, v: int, rank: int) -> Actions:
    """Return the passes of one rank: half of 1F1B's memory."""
    return _all_ranks("v-half", (p + 2) // 2 * 2, p, m)[rank]


@schedule("v-min", bubble_min, **_facts())
def v_min(p: int, m: int, v: int, rank: int) -> Actions:
    """Return the passes of one rank: a third of 1F1B's memory."""
    return _all_ranks("v-min", (p + 4) // 3 * 2, p, m)[rank]
