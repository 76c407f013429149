"""How likely a search missed a better plan, by how far estimates were off in those it simulated.

In:  logarithms of simulated over estimated steps with their families; what waits, put right.
Out: `Spreads`; `better_chance`.
Left out: which plan comes next, what puts estimates right (`candidates.Queue`).

Plans of a kind are misjudged alike, and kinds of a family (the same sharding and schedule) more
alike than others: `candidates._kinds` says which is which.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from rackmodel.columns import Floats, Ints

# Standard deviation of ln(simulated over estimated step) within a search: measured on 27 of the
# best 300 plans of each of ten (13 B to 1 T parameters on H100, B200, v5p, GB200 in domains of 8 to
# 576) by `python -m benchmarks.search.spread`: behind switches 0.4 to 1.7% of a search, on the
# torus 5.7; mixtures under ZeRO-3 without a pipeline (three plans, 7 to 14% slower than estimated)
# left out. It counts as much as PRIOR plans of the search at hand (assumed).
SPREAD, SPREAD_ON_TORUS = 0.010, 0.057
PRIOR = 3.0
COUNTED = 0.01  # a plan is said to be better where it gains more than this share

Family: TypeAlias = tuple[int, ...]


class Spreads(NamedTuple):
    """Standard deviations of ln(simulated over estimated): within families, and of all plans."""

    within: float
    overall: float

    @classmethod
    def of(cls, told: Sequence[float], families: Sequence[Family], usual: float) -> Spreads:
        """Return what these simulated plans say, and `PRIOR` more that spread as usual.

        told : ln(simulated over estimated) of each. families : theirs.
        """
        groups: dict[Family, list[float]] = {}
        for one, family in zip(told, families, strict=True):
            groups.setdefault(family, []).append(one)

        def deviation(parts: Collection[Sequence[float]]) -> float:
            seen = sum(len(part) * float(np.var(part)) for part in parts)
            return math.sqrt((PRIOR * usual**2 + seen) / (PRIOR + len(told) - len(parts)))

        return cls(deviation(groups.values()), deviation([told]))


def better_chance(
    better: float, likely: Floats, kinds: Ints, known: Collection[Family], spreads: Spreads
) -> float:
    """Chance that one of these plans comes out below `better`.

    Each kind counts once, by its best plan. Where one of a family was simulated, which put the rest
    right, estimates spread as within families, else as all do.

    likely : what each is likely to spend, [N]. kinds : theirs, [N, 4], of which the first two are
    the family. known : families of which one was simulated.
    """
    order = np.argsort(likely, kind="stable")
    first = order[np.unique(kinds[order], axis=0, return_index=True)[1]]
    none = 1.0
    for value, kind in zip(likely[first].tolist(), kinds[first].tolist(), strict=True):
        spread = spreads.within if tuple(kind[:2]) in known else spreads.overall
        none *= 0.5 * math.erfc(math.log(better / value) / spread / math.sqrt(2.0))
    return 1.0 - none
