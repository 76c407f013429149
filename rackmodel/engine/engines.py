"""Which engine walks through a step: SimPy, or the same in compiled code.

In:  what the rank classes of a step do, what they exchange.
Out: about how many events that is; whether compiled code repays its loading.
Left out: the engines; they differ in nothing but seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rackmodel.engine.quotient import Quotient
from rackmodel.engine.script import Cut
from rackmodel.engine.stretches import UNLOCKED, Walker

# Events from which on compiled code repays its loading: SimPy takes 5 to 20 microseconds for each,
# compiled code 1 to 2 with all that is written for it, loading it 0.1 s, and compiling it half a
# minute, once. Measured from a thousand to 10 million events.
LARGE, HUGE = 8_000, 2_000_000
SMALL = 1_500  # with fewer, writing tables takes as long as SimPy
_walked = [0.0]  # events of this process under SimPy: many small steps repay loading, too


def expected_events(classes: Sequence[Walker], quotient: Quotient) -> Iterator[float]:
    """Yield about how many events each rank class adds: one for each piece and flow it has.

    A lockstep is one piece, of a stretch with its meeting two after its first visit; where what is
    in flight keeps ranks from it, more come (once 8 times).
    """
    visits: dict[int, Counter[int]] = {}
    cuts: dict[int, dict[int, Cut]] = {}
    for number, key, items, locks in classes:
        if key not in visits:
            visits[key] = Counter(cut.id for _, cut in items)
            cuts[key] = {cut.id: cut for _, cut in items}
        flows: dict[int, float] = {}
        expected = 0.0
        for cut in cuts[key].values():
            steady, stretch = locks.get(cut.id, UNLOCKED)
            end = len(cut.pieces) if steady is None else steady.begin + 1
            events = float(end)
            for at, join in cut.joins:
                if at < end:
                    if join.channel not in flows:
                        kind = quotient.kind_of(join.channel, number)
                        flows[join.channel] = sum(map(len, kind.rounds)) / len(kind.members)
                    events += flows[join.channel]
            later = events if stretch is None else 2.0
            expected += events + (visits[key][cut.id] - 1) * min(events, later)
        yield expected


def compiling_repays(events: Iterable[float]) -> bool:
    """Return whether compiled code is quicker for so many events, with what it takes to load.

    Where it has not been compiled yet, only for very many, with those that the process has had.
    Counts no further than the answer needs.
    """
    counted, enough = 0.0, LARGE
    for more in events:
        counted += more
        while counted >= SMALL and _walked[0] + counted >= enough:
            if enough == HUGE or _is_compiled():
                return True
            enough = HUGE
    _walked[0] += counted
    return False


def _is_compiled() -> bool:
    """Return whether compiled code of these sources is there, or kept from an earlier run."""
    from rackmodel.engine.compiled import run

    return run.is_loaded or run.is_kept()
