"""DualPipe: micro-batches enter at both ends, every rank holds two stages; DualPipeV, half of it.

In:  pipeline ranks and micro-batches (both even for DualPipe).
Out: the `Action`s of one rank; chunk 0 is its own stage (direction 0), chunk 1 the mirrored one, of
     DualPipeV the stage on the way back.
Left out: transfers.

Source: DeepSeek-V3, arXiv:2412.19437, section 3.2.1, and the eight phases of deepseek-ai/DualPipe,
whose DualPipeV cuts the mirrored half off: p ranks do what 2p do there, without their copies.
"""

from __future__ import annotations

from rackmodel.workload.schedules.schedule import Action, schedule, twice


class _Rank:
    """Hands out micro-batches per direction and holds back weight gradients."""

    def __init__(self, mirrored: bool) -> None:
        self.mirrored = mirrored
        self.forwards = [0, 0]
        self.backwards = [0, 0]
        self.weights: list[tuple[int, int]] = []
        self.out: list[Action] = []

    def _chunk(self, phase: int) -> int:
        return phase ^ self.mirrored

    def _next_forward(self, phase: int) -> tuple[int, int]:
        chunk = self._chunk(phase)
        self.forwards[chunk] += 1
        return chunk, self.forwards[chunk] - 1

    def _next_backward(self, phase: int) -> tuple[int, int]:
        chunk = self._chunk(phase)
        self.backwards[chunk] += 1
        return chunk, self.backwards[chunk] - 1

    def forward(self, phase: int) -> None:
        self.out.append(Action("F", *self._next_forward(phase)))

    def backward(self, phase: int, *, split: bool = False) -> None:
        done = self._next_backward(phase)
        self.out.append(Action("B", *done))
        if split:
            self.weights.append(done)
        else:
            self.out.append(Action("W", *done))

    def weight(self) -> None:
        self.out.append(Action("W", *self.weights.pop(0)))

    def both(self, forward: int, backward: int) -> None:
        self.out.append(Action("FB", *self._next_forward(forward), *self._next_backward(backward)))


def bubble(p: int, m: int, v: int) -> float:
    """Return (p/2 - 1)(F&B + B - 3W)/(3 m) with F = B_input = W = 1, B = 2, F&B = 3.

    Source: arXiv:2412.19437, table 2.
    """
    return (p / 2 - 1) * (3 + 2 - 3) / (3 * m)


def two(p: int) -> int:
    """Return 2: a micro-batch enters at each end."""
    return 2


@schedule(
    "dualpipe",
    bubble,
    source="arXiv:2412.19437",
    splits_weights=True,
    directions=2,
    unit=two,
    least=twice,
    hides_exchanges=True,
    quick=True,
)
def dualpipe(p: int, m: int, v: int, rank: int) -> list[Action]:
    """Return the passes of one rank; m counts both directions together.

    "B" here is the input's gradient only; "W" its weight gradients, at once or held back; "FB" has
    all.
    """
    half = p // 2
    return _passes(half, min(rank, p - 1 - rank), m // 2, mirrored=rank >= half)


def bubble_v(p: int, m: int, v: int) -> float:
    """Return (p - 1)(F&B + B - 3W)/(6 m), as of DualPipe with 2 p ranks."""
    return bubble(2 * p, 2 * m, v)


@schedule(
    "dualpipev",
    bubble_v,
    source="deepseek-ai/DualPipe",
    chunks=(2, 2),
    splits_weights=True,
    folds_back=True,
    least=twice,
    hides_exchanges=True,
    quick=True,
)
def dualpipev(p: int, m: int, v: int, rank: int) -> list[Action]:
    """Return the passes of one rank, as those of the first half of DualPipe's 2 p."""
    return _passes(p, rank, m, mirrored=False)


def _passes(half: int, half_rank: int, batches: int, *, mirrored: bool) -> list[Action]:
    """Return the eight phases. half : ranks from an end to the middle, batches : of one end."""
    r, middle = _Rank(mirrored), half_rank == half - 1
    for _ in range((half - half_rank - 1) * 2):
        r.forward(0)
    for _ in range(half_rank + 1):
        r.forward(0)
        r.forward(1)
    for _ in range(half - half_rank - 1):
        r.backward(1, split=True)
        r.weight()
        r.forward(1)
    for i in range(batches - 2 * half + half_rank + 1):
        if i == 0 and middle:
            r.forward(0)
            r.backward(1)
        else:
            r.both(0, 1)
        r.both(1, 0)
    for _ in range(half - half_rank - 1):
        r.backward(1)
        r.both(1, 0)
    split = False
    for i in range(half_rank + 1):
        if i == (half_rank + 1) // 2 and half_rank % 2 == 1:
            split = True
        r.backward(1, split=split)
        if i == (half_rank + 1) // 2 and half_rank % 2 == 0:
            split = True
        r.backward(0, split=split)
    for _ in range(half - half_rank - 1):
        r.weight()
        r.backward(0, split=True)
    while r.weights:
        r.weight()
    return r.out
