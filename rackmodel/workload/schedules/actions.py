"""In which order one pipeline rank runs forwards and backwards.

In:  the name of a schedule, pipeline ranks p, micro-batches m, chunks per rank v.
Out: for one rank a list of `Action`s: ("F" | "B" | "W" | "FB", ...).
Left out: what an action consists of, transfers (`programs`).

"F" is a forward pass, "B" a backward pass ("W" split off in zero-bubble schedules: weight
gradients), "FB" one of each, interleaved so that one's all-to-all hides under the other's compute.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple


class Action(NamedTuple):
    """One pass of one chunk for one micro-batch; for "FB" also a backward of `chunk_b`,
    `batch_b`.
    """

    kind: str
    chunk: int
    batch: int
    chunk_b: int = -1
    batch_b: int = -1


Actions = tuple[Action, ...]


@lru_cache(maxsize=128)
def actions(schedule: str, p: int, m: int, v: int, rank: int, *, paired: bool = False) -> Actions:
    """Return the passes of one pipeline rank, in order.

    Parameters
    ----------
    schedule : "gpipe", "1f1b", "interleaved", "zb-h1" or "dualpipe".
    p, m, v : pipeline ranks, micro-batches, chunks per rank.
    rank : pipeline rank, 0 to p-1.
    paired : pair a forward with the backward of another micro-batch ("FB"), for all-to-all overlap.

    Examples
    --------
    >>> [f"{a.kind}{a.batch}" for a in actions("1f1b", 2, 3, 1, 0)]
    ['F0', 'F1', 'B0', 'F2', 'B1', 'B2']
    """
    if schedule == "dualpipe":
        from rackmodel.workload.schedules.dualpipe import dualpipe_actions

        return dualpipe_actions(p, m, rank)
    if schedule == "gpipe":
        return tuple([Action("F", 0, i) for i in range(m)] + [Action("B", 0, i) for i in range(m)])
    if schedule == "zb-h1":
        return _zero_bubble(p, m, rank)
    forwards, backwards = _orders(p, m, v)
    if schedule == "interleaved" and p > 1:
        # Narayanan et al. 2021, section 2.2; Megatron-LM
        # forward_backward_pipelining_with_interleaving.
        warmup = (p - rank - 1) * 2 + (v - 1) * p
    else:
        warmup = p - rank - 1
    warmup = min(warmup + (1 if paired else 0), m * v)
    out = [Action("F", *forwards[i]) for i in range(warmup)]
    for i in range(m * v - warmup):
        if paired:
            out.append(Action("FB", *forwards[warmup + i], *backwards[i]))
        else:
            out.append(Action("F", *forwards[warmup + i]))
            out.append(Action("B", *backwards[i]))
    out += [Action("B", *backwards[i]) for i in range(m * v - warmup, m * v)]
    return tuple(out)


def _orders(p: int, m: int, v: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Order of (chunk, micro-batch) in forward and backward: p micro-batches through each chunk in
    turn.
    """
    forwards = [
        (chunk, batch)
        for start in range(0, m, p)
        for chunk in range(v)
        for batch in range(start, min(m, start + p))
    ]
    if v == 1:
        forwards = [(0, batch) for batch in range(m)]
    backwards = [
        (v - 1 - chunk, batch)
        for start in range(0, m, p)
        for chunk in range(v)
        for batch in range(start, min(m, start + p))
    ]
    return forwards, backwards if v > 1 else [(0, batch) for batch in range(m)]


def _zero_bubble(p: int, m: int, rank: int) -> Actions:
    """ZB-H1: 1F1B in which rank r holds back the weight gradients of r micro-batches.

    The memory of 1F1B and a third of its bubble. Source: Qi et al. 2023, arXiv:2401.10241, section
    2.
    """
    warmup = min(p - rank - 1, m)
    out = [Action("F", 0, i) for i in range(warmup)]
    done = 0  # weight gradients so far
    for i in range(m):
        if warmup + i < m:
            out.append(Action("F", 0, warmup + i))
        out.append(Action("B", 0, i))
        if i >= rank:
            out.append(Action("W", 0, done))
            done += 1
    out += [Action("W", 0, i) for i in range(done, m)]
    return tuple(out)


def bubble_fraction(schedule: str, p: int, m: int, v: int = 1) -> float:
    """Idle time over ideal compute time when all stages are equal and transfers are free.

    With F, B and W of equal length for the schedules that split them.

    >>> bubble_fraction("1f1b", 8, 64), bubble_fraction("interleaved", 8, 64, 4)
    (0.109375, 0.02734375)
    """
    if schedule == "interleaved":
        return (p - 1) / (v * m)
    if schedule == "zb-h1":
        return (p - 1) / (3 * m)
    if schedule == "dualpipe":
        # (p/2 - 1)(F&B + B - 3W) with F = B_input = W = 1, full B = 2: F&B = 3. arXiv:2412.19437,
        # table 2.
        return (p / 2 - 1) * (3 + 2 - 3) / (3 * m)
    return (p - 1) / m
