"""How likely a search missed a better plan, by how far estimates were off in those it simulated.

In:  logarithms of simulated over estimated steps with their families; what waits, put right.
Out: `Spreads`; `better_chance`.
Left out: which plan comes next, what puts estimates right (`candidates.Queue`).

Plans of a kind are misjudged alike, and kinds of a family (the same sharding and schedule) more
alike than others: `candidates._kinds` says which is which.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from rackmodel.columns import Floats, Ints

# Standard deviations of ln(simulated over estimated step) within a search: measured on 27 of the
# best 300 plans of each of ten (13 B to 1 T parameters on H100, B200, v5p, GB200 in domains of 8 to
# 576) by `python -m benchmarks.search.spread`: behind switches 0.4 to 1.7% of a search, on the
# torus 5.7; mixtures under ZeRO-3 without a pipeline (three plans, 7 to 14% slower than estimated)
# left out. What families are off by in the mean spreads more than plans of one family: measured by
# `python -m benchmarks.search.chance`, whose plans of a family spread by 0.8%. Each counts as much
# as PRIOR plans, or families, of the search at hand (assumed).
SPREAD, SPREAD_ON_TORUS = 0.010, 0.057
SPREAD_OF_FAMILIES = 0.016
PRIOR = 3.0
COUNTED = 0.01  # a plan is said to be better where it gains more than this share

Family: TypeAlias = tuple[int, ...]


class Spreads(NamedTuple):
    """Standard deviations of ln(simulated over estimated): in a family, of what families mean.

    seen : how many plans of each family were simulated.
    """

    within: float
    between: float
    seen: Mapping[Family, int]

    @classmethod
    def of(cls, told: Sequence[float], families: Sequence[Family], usual: float) -> Spreads:
        """Return what these simulated plans say, and `PRIOR` more that spread as usual.

        told : ln(simulated over estimated) of each. families : theirs. usual : within a family.
        """
        groups: dict[Family, list[float]] = {}
        for one, family in zip(told, families, strict=True):
            groups.setdefault(family, []).append(one)
        means = [float(np.mean(part)) for part in groups.values()]
        return cls(
            _deviation(groups.values(), usual),
            _deviation([means], SPREAD_OF_FAMILIES),
            {family: len(part) for family, part in groups.items()},
        )

    @property
    def overall(self) -> float:
        """Of plans of a family that none was simulated of."""
        return math.hypot(self.within, self.between)

    def around(self, family: Family) -> float:
        """Of a plan around what those simulated of its family mean, or around its estimate."""
        seen = self.seen.get(family, 0)
        return self.within * math.sqrt(1.0 + 1.0 / seen) if seen else self.overall


def _deviation(parts: Collection[Sequence[float]], usual: float) -> float:
    """Return the standard deviation within parts, with `PRIOR` more values that spread as usual."""
    squares = sum(len(part) * float(np.var(part)) for part in parts)
    free = sum(map(len, parts)) - len(parts)
    return math.sqrt((PRIOR * usual**2 + squares) / (PRIOR + free))


def better_chance(better: float, likely: Floats, kinds: Ints, spreads: Spreads) -> float:
    """Chance that one of these plans comes out below `better`.

    Each kind counts once, by its best plan, and spreads as its family does.

    likely : what each is likely to spend, [N]. kinds : theirs, [N, 4], of which the first two are
    the family.
    """
    order = np.argsort(likely, kind="stable")
    first = order[np.unique(kinds[order], axis=0, return_index=True)[1]]
    none = 1.0
    for value, kind in zip(likely[first].tolist(), kinds[first].tolist(), strict=True):
        far = math.log(better / value) / spreads.around(tuple(kind[:2]))
        none *= 0.5 * math.erfc(far / math.sqrt(2.0))
    return 1.0 - none
