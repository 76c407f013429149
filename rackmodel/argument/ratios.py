"""How sure the ratio of two predictions is: what both share cancels.

In:  results, or rows of them.
Out: (value, low, high) of a ratio; a change as people write it.
Left out: what follows for a claim (`verdicts.verdict`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from rackmodel.result.result import Result

Band: TypeAlias = tuple[float, float, float]  # value, low, high
NETWORK_ERROR = 0.30  # share by which exposed communication may be wrong, both ways


def unlike_ratio(ours: Result, theirs: Result) -> Band:
    """Tokens/s per accelerator of `ours` over `theirs`, machines with different accelerators.

    The bands of both predictions, added in quadrature.
    """
    value = ours.tokens_per_s_per_gpu / theirs.tokens_per_s_per_gpu
    width = math.hypot(*(math.log(r.step_s_high / r.step_s) for r in (ours, theirs)))
    return value, value * math.exp(-width), value * math.exp(width)


def like_ratio(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Band:
    """Tokens/s per accelerator of one row over another, machines with the same accelerator.

    Errors of kernels cancel; exposed communication may be `NETWORK_ERROR` more or less in both.
    Rows as `scale_up.row_of` makes them.
    """
    value = float(ours["tokens_per_s_per_gpu"]) / float(theirs["tokens_per_s_per_gpu"])
    ends = []
    for error in (-NETWORK_ERROR, NETWORK_ERROR):
        times = [1.0 + error * _exposed(row) for row in (ours, theirs)]
        ends.append(value * times[1] / times[0])
    return value, min(*ends, value), max(*ends, value)


def _exposed(row: Mapping[str, Any]) -> float:
    """Share of a step in which communication is waited for."""
    return sum(float(row[f"{axis}_share"]) for axis in ("tp", "cp", "ep", "pp", "dp"))


def percent(share: float) -> str:
    """A change as people write it.

    >>> percent(0.034), percent(-0.2)
    ('+3.4%', '-20%')
    """
    return f"{100 * share:+.1f}%" if abs(share) < 0.1 else f"{100 * share:+.0f}%"
