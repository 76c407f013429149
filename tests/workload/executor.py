"""A pure-Python executor of programs: unit times, rendezvous, tokens. Proves that schedules
complete."""

from __future__ import annotations

from collections.abc import Callable

from rackmodel.workload import Collective, Compute, Program, Recv, Segment, Send, Wait


def run(programs: tuple[Program, ...], segment_s: Callable[[Segment], float]) -> list[float]:
    """Run programs with free transfers; return the end of each pipeline rank. Raises on deadlock.

    A transfer ends when both sides have reached it; collectives and lone computes are free.
    """
    ranks = len(programs)
    clock, position = [0.0] * ranks, [0] * ranks
    reached: dict[tuple[int, int, str], float] = {}  # (sender, receiver, name) -> one side's time
    sides: dict[tuple[int, int, str], set[str]] = {}
    ended: dict[tuple[int, int, str], float] = {}
    tokens: list[dict[str, tuple[int, int, str]]] = [{} for _ in range(ranks)]
    moved = True
    while moved:
        moved = False
        for rank, program in enumerate(programs):
            while position[rank] < len(program.items):
                item = program.items[position[rank]]
                if isinstance(item, Send | Recv):
                    pair = (rank, item.peer) if isinstance(item, Send) else (item.peer, rank)
                    key = (*pair, item.name)
                    side = type(item).__name__
                    assert side not in sides.get(key, set()), f"{side} {key} posted twice"
                    sides.setdefault(key, set()).add(side)
                    reached[key] = max(reached.get(key, 0.0), clock[rank])
                    if len(sides[key]) == 2:
                        ended[key] = reached[key]
                    assert item.token is not None
                    tokens[rank][item.token] = key
                elif isinstance(item, Wait):
                    transfer = tokens[rank].get(item.token)
                    if transfer is not None:
                        if transfer not in ended:
                            break
                        clock[rank] = max(clock[rank], ended[transfer])
                elif isinstance(item, Segment):
                    clock[rank] += segment_s(item)
                else:
                    assert isinstance(item, Compute | Collective)
                position[rank] += 1
                moved = True
    stuck = [rank for rank, program in enumerate(programs) if position[rank] < len(program.items)]
    assert not stuck, f"deadlock: ranks {stuck} at {[position[r] for r in stuck]}"
    assert all(len(side) == 2 for side in sides.values()), "a transfer has only one side"
    return clock
