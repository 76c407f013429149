"""How sure a figure is that others make up: common draws, and what both sides of a ratio share.

In:  results, or rows of them; figures with their bands.
Out: (value, low, high) of a ratio or of a figure drawn from others; a change as people write it.
Left out: what follows for a claim (`verdicts.verdict`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from rackmodel.columns import Floats
from rackmodel.result.result import Result

Band: TypeAlias = tuple[float, float, float]  # value, low, high
NETWORK_ERROR = 0.30  # share by which exposed communication may be wrong, both ways

DRAWS = 4000
NINETY = 1.2816  # standard deviations from the middle to where a tenth lies outside


def drawn(figure: Callable[..., Any], *bands: Band) -> Band:
    """Return a figure of independent others with its band: where 80% of common draws lie.

    Parameters
    ----------
    figure : of arrays, one for each of `bands`, such as a product.
    bands : (value, low, high), of which 80% lie inside: drawn from two halves of a normal
        distribution in the logarithm, as wide as either end is away.

    Examples
    --------
    >>> value, low, high = drawn(lambda days, rate: days * rate, (10, 8, 12.5), (2.0, 1.6, 2.5))
    >>> value, round(low, 1), round(high, 1)
    (20.0, 14.6, 27.4)
    """
    rng = np.random.default_rng(0)
    parts: list[Floats] = []
    for value, low, high in bands:
        normal = rng.standard_normal(DRAWS) / NINETY
        parts.append(value * np.where(normal < 0, value / low, high / value) ** normal)
    low, high = np.quantile(np.asarray(figure(*parts), dtype=float), (0.1, 0.9))
    middle = figure(*(band[0] for band in bands))
    return middle, min(float(low), middle), max(float(high), middle)


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
    return _alike(value, _exposed(ours), _exposed(theirs))


def record_ratio(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Band:
    """Tokens/s per accelerator of one result over another, as `Result.to_dict` gives them.

    On the same accelerator, format and software errors of kernels are common to both and cancel, as
    in `like_ratio`; else the bands of both are independent and add in quadrature of logarithms.
    """
    value = float(ours["tokens_per_s_per_gpu"]) / float(theirs["tokens_per_s_per_gpu"])
    if all(ours.get(key) == theirs.get(key) for key in ("accelerator", "precision", "stack")):
        return _alike(value, *(row["exposed_s"] / row["step_s"] for row in (ours, theirs)))
    pairs = (("step_s_low", "step_s_high"), ("step_s_high", "step_s_low"))
    down, up = (
        math.hypot(
            *(math.log(row[end] / row["step_s"]) for row, end in zip(sides, ends, strict=True))
        )
        for sides, ends in (((theirs, ours), both) for both in pairs)
    )
    return value, value * math.exp(-down), value * math.exp(up)


def _alike(value: float, ours: float, theirs: float) -> Band:
    """A ratio whose only error is that of communication; ours, theirs : shares of it."""
    ends = [
        value * (1.0 + error * theirs) / (1.0 + error * ours)
        for error in (-NETWORK_ERROR, NETWORK_ERROR)
    ]
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


def cheapest(rows: Mapping[int, Mapping[str, Any]]) -> str:
    """Say which domain has the cheapest tokens, and which at either end of what its links cost.

    rows : by accelerators of a domain.

    >>> ends = ("usd_per_mtoken", "usd_per_mtoken_links_low", "usd_per_mtoken_links_high")
    >>> cheapest({8: dict.fromkeys(ends, 1.0), 576: dict(zip(ends, (1.1, 0.9, 1.2)))})
    '8 (576 with links at their low price)'
    """
    found = {
        end: min(rows, key=lambda size: float(rows[size][f"usd_per_mtoken{end}"]))
        for end in ("", "_links_low", "_links_high")
    }
    usual = found.pop("")
    others = [
        f"{size} with links at their {end.rsplit('_', 1)[1]} price"
        for end, size in found.items()
        if size != usual
    ]
    return f"{usual} ({', '.join(others)})" if others else str(usual)


def dollars_by_links(ours: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """Return by how much a token costs more than another, by the ends of what its links cost."""
    usual = float(base["usd_per_mtoken"])
    ends = [float(ours[f"usd_per_mtoken_links_{end}"]) / usual - 1.0 for end in ("low", "high")]
    return " to ".join(percent(end) for end in ends) if ends[0] != ends[1] else percent(ends[0])
