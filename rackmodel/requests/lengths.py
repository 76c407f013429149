"""Lengths of prompts and answers as services saw them: published medians, drawn log-normally.

In:  a name, a seed.
Out: `Lengths.drawer`.
Left out: how the two depend on one another; when requests come.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Log-normal lengths, cut at `most`.

    isl, osl : medians. isl_sigma, osl_sigma : standard deviations of the logarithms.
    """

    isl: int
    osl: int
    isl_sigma: float
    osl_sigma: float
    most_isl: int
    most_osl: int
    source: str

    def drawer(self, rng: np.random.Generator) -> Callable[[int], tuple[list[int], list[int]]]:
        """Return what draws the lengths of so many requests."""

        def drawn(count: int) -> tuple[list[int], list[int]]:
            pairs = (
                (self.isl, self.isl_sigma, self.most_isl),
                (self.osl, self.osl_sigma, self.most_osl),
            )
            isl, osl = (
                np.clip(np.rint(rng.lognormal(math.log(median), sigma, count)), 1, most)
                for median, sigma, most in pairs
            )
            return [int(x) for x in isl], [int(x) for x in osl]

        return drawn

    @property
    def means(self) -> tuple[int, int]:
        """Mean lengths of prompts and answers, before they are cut."""
        return (
            round(self.isl * math.exp(self.isl_sigma**2 / 2.0)),
            round(self.osl * math.exp(self.osl_sigma**2 / 2.0)),
        )


_SPLITWISE = (
    "medians: Patel et al., Splitwise, arXiv:2311.18677, section III.A (Azure, November 2023);"
    " log-normal spread and cuts: assumed"
)
LENGTHS = {
    "azure-code": Lengths(
        isl=1500,
        osl=13,
        isl_sigma=0.8,
        osl_sigma=1.2,
        most_isl=8192,
        most_osl=2048,
        source=_SPLITWISE,
    ),
    "azure-conversation": Lengths(
        isl=1020,
        osl=129,
        isl_sigma=0.5,
        osl_sigma=1.0,
        most_isl=8192,
        most_osl=2048,
        source=_SPLITWISE,
    ),
}
