"""A pipeline schedule as data: the passes of every rank in their order, and a few facts.

In:  functions that yield the `Action`s of one pipeline rank, registered by `schedule`.
Out: `Schedule`s by name, `actions`; what follows from the actions: passes in flight, the bubble.
Left out: what a pass consists of and how long it takes (`passes`), transfers (`programs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from rackmodel.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Action(NamedTuple):
    """One pass of one chunk for one micro-batch.

    kind : "F" a forward, "B" a backward pass (of the inputs only where weight gradients are
    split off), "W" weight gradients, "FB" a forward and a whole backward pass of `chunk_b`,
    `batch_b`, one's all-to-all under the other's compute where the plan says so.
    """

    kind: str
    chunk: int
    batch: int
    chunk_b: int = -1
    batch_b: int = -1

    def passes(self) -> tuple[tuple[str, int, int], ...]:
        """Return (kind, chunk, batch) of the one or two passes."""
        if self.kind == "FB":
            return ("F", self.chunk, self.batch), ("B", self.chunk_b, self.batch_b)
        return ((self.kind, self.chunk, self.batch),)

    def last_use(self, *, split: bool) -> str:
        """Return the kind of pass after which a micro-batch's activations are gone.

        split : weight gradients are passes of their own (except where two passes run as one).
        """
        return "W" if split and self.kind != "FB" else "B"


Actions = tuple[Action, ...]
Ints: TypeAlias = "npt.NDArray[np.int64]"
KINDS = "FBW"
Order = Callable[[int, int, int, int], Iterable[Action]]  # of p, m, v, rank


def one(p: int) -> int:
    """Return 1, for whatever number of pipeline ranks."""
    return 1


def twice(p: int) -> int:
    """Return 2 p."""
    return 2 * p


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The order of passes, and what has to be known besides it.

    order : the actions of one rank, from pipeline ranks p, micro-batches m, chunks per rank v and
    the rank. chunks : least and most model chunks per rank. needs_pipeline : no use with p = 1.
    splits_weights : its actions have "W". directions : 2 where micro-batches enter at both ends, so
    that rank r holds stages r and p-1-r (chunks 0 and 1), each with half of the micro-batches.
    folds_back : the second chunks stand in reverse, stages r and 2p-1-r on rank r (a V), so that
    the last rank hands itself its chunk's output and embedding and head share the first rank.
    unit : micro-batches after which the order repeats, as a function of p; they divide m. repeats :
    whether it ever does. least : micro-batches at least, as a function of p. settles : so many fill
    the pipeline, more go on as these. batched : transfers go as Megatron's batched
    send-and-receive, both sides waiting, unless the plan overlaps them. hides_exchanges : two
    passes stand side by side in a full pipeline, so that one's all-to-all may hide under the other.
    bubble : idle over ideal time by print, of p, m, v, in a step that all ranks end together. usual
    : what is searched where nobody names a schedule, and taken by itself for so many chunks. quick
    : waits least of its kind, and is searched too where machines are compared.
    """

    name: str
    order: Order
    bubble: Callable[[int, int, int], float]
    source: str = ""
    chunks: tuple[int, int] = (1, 1)
    needs_pipeline: bool = True
    splits_weights: bool = False
    directions: int = 1
    folds_back: bool = False
    unit: Callable[[int], int] = one
    least: Callable[[int], int] = one
    settles: Callable[[int], int] = int
    repeats: bool = True
    batched: bool = False
    hides_exchanges: bool = False
    usual: bool = False
    quick: bool = False

    def refuses(self, p: int, m: int, v: int) -> str:
        """Say what of a pipeline does not go with the schedule; "" if all does."""
        least, most = self.chunks
        if v > most:
            usual_first = sorted(schedules().values(), key=lambda s: not s.usual)
            able = [s.name for s in usual_first if s.chunks[0] <= v <= s.chunks[1]]
            return f"vpp {v} needs schedule {' or '.join(able)}, found {self.name!r}"
        if v < least or (least > 1 and p == 1):
            wanted = f"pp above 1 and vpp {least}" if least == most else "pp and vpp above 1"
            return f"schedule {self.name} needs {wanted}, found pp {p} and vpp {v}"
        if self.needs_pipeline and p == 1:
            return f"schedule {self.name} needs pp above 1; use {default_schedule(1)}"
        unit, fewest = self.unit(p), self.least(p)
        if m % unit:
            return (
                f"schedule {self.name} runs groups of {unit} micro-batches; {m} micro-batches are"
                " not a multiple; change global_batch, dp, micro_batch or the schedule"
            )
        if p % self.directions or m < fewest:
            return (
                f"schedule {self.name} needs a multiple of {self.directions} pipeline ranks, and"
                f" micro-batches at least {fewest}; found pp {p} and {m} micro-batches"
            )
        return ""

    def told(self, p: int) -> tuple[int, int]:
        """Return two numbers of micro-batches; all larger ones go on as from one to the other."""
        unit = self.unit(p)
        some = -(-max(self.settles(p), self.least(p)) // unit) * unit
        return some, some + -(-p // unit) * unit

    def placement(self, p: int, v: int) -> list[list[int]]:
        """Return the stage, 0 ... p v - 1 along the model, that each chunk of each rank is.

        >>> schedules()["interleaved"].placement(2, 2), schedules()["zb-v"].placement(2, 2)
        ([[0, 2], [1, 3]], [[0, 3], [1, 2]])
        """
        if self.directions == 2:
            return [[rank, p - 1 - rank] for rank in range(p)]
        if self.folds_back:
            return [[rank, 2 * p - 1 - rank] for rank in range(p)]
        return [[rank + chunk * p for chunk in range(v)] for rank in range(p)]


_KNOWN: dict[str, Schedule] = {}


def schedule(
    name: str, bubble: Callable[[int, int, int], float], **facts: Any
) -> Callable[[Order], Order]:
    """Register a function of (p, m, v, rank) that yields `Action`s as a schedule.

    Parameters
    ----------
    name : as plans call it. bubble, facts : the other fields of `Schedule`.

    Raises
    ------
    InvalidInput
        If there is a schedule of this name.

    Examples
    --------
    >>> @schedule("one-by-one", lambda p, m, v: p - 1.0, needs_pipeline=True)
    ... def one_by_one(p, m, v, rank):
    ...     for batch in range(m):
    ...         yield Action("F", 0, batch)
    ...         yield Action("B", 0, batch)
    >>> [f"{a.kind}{a.batch}" for a in actions("one-by-one", 4, 2, 1, 0)]
    ['F0', 'B0', 'F1', 'B1']
    >>> del _KNOWN["one-by-one"]
    """

    def register(order: Order) -> Order:
        if name in _KNOWN:
            raise InvalidInput(f"there is a schedule {name!r} already; give yours another name")
        _KNOWN[name] = Schedule(name=name, order=order, bubble=bubble, **facts)
        return order

    return register


def schedules() -> dict[str, Schedule]:
    """Return all schedules by name, in the order in which they were registered."""
    return dict(_KNOWN)


def schedule_of(name: str) -> Schedule:
    """Return the schedule of this name.

    Raises
    ------
    UnknownName
        With what was probably meant.
    """
    if name not in _KNOWN:
        raise UnknownName.among("schedule", name, _KNOWN)
    return _KNOWN[name]


def default_schedule(v: int) -> str:
    """Return the usual schedule for so many chunks per rank.

    >>> default_schedule(1), default_schedule(4)
    ('1f1b', 'interleaved')
    """
    return next(s.name for s in _KNOWN.values() if s.usual and s.chunks[0] <= v <= s.chunks[1])


@lru_cache(maxsize=128)
def actions(name: str, p: int, m: int, v: int, rank: int, *, paired: bool = False) -> Actions:
    """Return the passes of one pipeline rank, in order.

    Parameters
    ----------
    name : a schedule. p, m, v : pipeline ranks, micro-batches, chunks per rank.
    rank : pipeline rank, 0 to p-1.
    paired : run a forward and the backward of another micro-batch as one ("FB"), for all-to-all
        overlap; a schedule that does so by itself stays as it is.

    Examples
    --------
    >>> [f"{a.kind}{a.batch}" for a in actions("1f1b", 2, 3, 1, 0)]
    ['F0', 'F1', 'B0', 'F2', 'B1', 'B2']
    """
    found = tuple(schedule_of(name).order(p, m, v, rank))
    if not paired or any(action.kind == "FB" for action in found):
        return found
    return tuple(_paired(found))


@lru_cache(maxsize=512)
def passes(name: str, p: int, m: int, v: int, *, paired: bool = False) -> Ints:
    """Return the passes of all ranks as numbers, int[p, actions, 2, 3].

    The last axis is the kind (its place in `KINDS`), chunk and micro-batch of the one or two
    passes of an action; -1 where there is none, as beyond the last of a rank that has fewer.
    """
    import numpy as np

    ranks = [actions(name, p, m, v, rank, paired=paired) for rank in range(p)]
    distinct = dict.fromkeys(chain.from_iterable(ranks))  # ranks do the same in another order
    rows = [
        ((KINDS.index(kind[0]), chunk, batch), (KINDS.index("B"), chunk_b, batch_b))
        if kind == "FB"
        else ((KINDS.index(kind), chunk, batch), (-1, -1, -1))
        for kind, chunk, batch, chunk_b, batch_b in distinct
    ]
    number_of = dict(zip(distinct, range(len(rows)), strict=True)).__getitem__
    longest = max(map(len, ranks))
    idle = len(rows)
    every = [[*map(number_of, own), *[idle] * (longest - len(own))] for own in ranks]
    table: Ints = np.array([*rows, ((-1, -1, -1),) * 2])[np.array(every)]
    return table


@lru_cache(maxsize=512)
def beginnings(name: str, p: int, m: int, v: int, *, paired: bool = False) -> Ints:
    """Return what each rank runs while its chunks begin, int[p, len(KINDS), chunks].

    How many passes of each kind and chunk up to the first forward of the chunk that comes last
    (included), while weights can still be gathered.
    """
    import numpy as np

    table = passes(name, p, m, v, paired=paired)
    kind, chunk = table[..., 0], table[..., 1]  # [p, actions, 2]
    chunks, place = int(chunk.max()) + 1, np.arange(kind.shape[1])
    own = chunk[..., None] == np.arange(chunks)  # [p, actions, 2, chunks]
    uses = (own & (kind == KINDS.index("F"))[..., None]).any(axis=2)
    first = np.where(uses, place[:, None], len(place)).min(axis=1).max(axis=1)
    inside = place <= first[:, None]
    one = [(kind == number)[..., None] & own for number in range(len(KINDS))]
    every = np.stack(one, axis=2).sum(axis=3)  # [p, actions, kinds, chunks]
    return np.asarray((every * inside[..., None, None]).sum(axis=1))


def _paired(found: Actions) -> Iterator[Action]:
    """Join each forward after the warm-up with the backward that no longer waits for it."""
    forwards = [action for action in found if action.kind == "F"]
    backwards = [action for action in found if action.kind == "B"]
    lead = next((i for i, action in enumerate(found) if action.kind != "F"), len(found))
    yield from forwards[:lead]
    rest = forwards[lead:]
    for front, back in zip(rest, backwards, strict=False):
        yield Action("FB", front.chunk, front.batch, back.chunk, back.batch)
    yield from backwards[len(rest) :]
