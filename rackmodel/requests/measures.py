"""What is kept of many requests in little memory: quantiles, and levels over time.

In:  values one by one; levels that change.
Out: `Quantiles` to 0.1%, `Levels` in a fixed number of bins.
Left out: single requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

WIDTH = math.log1p(0.002)  # of a bin: a quantile is told to half of it
BINS = 256  # of time; twice as many while it is not known how long it will be


@dataclass(slots=True)
class Quantiles:
    """Counts in bins of equal ratio: memory does not grow with the number of values."""

    count: int = 0
    total: float = 0.0
    largest: float = 0.0
    bins: dict[int, int] = field(default_factory=dict)

    def add(self, value: float) -> None:
        """Count a value of at least 0."""
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)
        where = math.floor(math.log(value) / WIDTH) if value > 0.0 else -(10**9)
        self.bins[where] = self.bins.get(where, 0) + 1

    def at(self, share: float) -> float:
        """Return the value that `share` of all are not above; 0 of none."""
        rank, seen = share * self.count, 0
        for where in sorted(self.bins):
            seen += self.bins[where]
            if seen >= rank:
                return min(self.largest, math.exp((where + 0.5) * WIDTH))
        return 0.0

    @property
    def mean(self) -> float:
        """The mean; 0 of none."""
        return self.total / self.count if self.count else 0.0

    def to_dict(self) -> dict[str, float]:
        """Return mean, p50, p90, p99 and the largest."""
        return {
            "mean": self.mean,
            **{f"p{share}": self.at(share / 100.0) for share in (50, 90, 99)},
            "most": self.largest,
        }


class Levels:
    """Integrals of several levels over time, in bins that widen as time goes on."""

    def __init__(self, names: int, bin_s: float) -> None:
        self.bin_s = bin_s
        self.bins: list[list[float]] = [[0.0] * names for _ in range(2 * BINS)]
        self.end_s = 0.0
        self._names = names

    def add(self, name: int, begin_s: float, end_s: float, level: float) -> None:
        """Note that a level stood from one instant to another."""
        if end_s <= begin_s:
            return
        while end_s >= self.bin_s * len(self.bins):
            self._widen()
        self.end_s = max(self.end_s, end_s)
        width = self.bin_s
        first, last = int(begin_s / width), int(end_s / width)
        if first == last:
            self.bins[first][name] += level * (end_s - begin_s)
            return
        self.bins[first][name] += level * ((first + 1) * width - begin_s)
        for number in range(first + 1, last):
            self.bins[number][name] += level * width
        self.bins[last][name] += level * (end_s - last * width)

    def _widen(self) -> None:
        pairs = zip(self.bins[::2], self.bins[1::2], strict=True)
        joined = [[a + b for a, b in zip(left, right, strict=True)] for left, right in pairs]
        self.bins = joined + [[0.0] * self._names for _ in range(BINS)]
        self.bin_s *= 2.0

    def means(self) -> npt.NDArray[np.float64]:
        """Return the mean level in each bin, [bins, names]; the last bin may be part-filled."""
        used = max(1, math.ceil(self.end_s / self.bin_s))
        found = np.array(self.bins[:used]) / self.bin_s
        found[-1] *= self.bin_s / max(self.end_s - (used - 1) * self.bin_s, 1e-300)
        return found
