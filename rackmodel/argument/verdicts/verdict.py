"""What a test of a claim gives back, and how bands are carried.

In:  the claims' texts (claims.toml), simulated results.
Out: `Verdict`, `claim`, ratios with their bands.
Left out: the tests themselves.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias

import pandas as pd

from rackmodel.argument.ratios import (
    NETWORK_ERROR as NETWORK_ERROR,
    Band as Band,
    drawn as drawn,
    like_ratio as like_ratio,
    percent as percent,
    unlike_ratio as unlike_ratio,
)
from rackmodel.errors import UnknownName
from rackmodel.planning.job_words import command_words
from rackmodel.result.result import Result

Word: TypeAlias = Literal["supported", "consistent", "refuted", "depends"]
WIDE = 0.25  # a band wider than this to either side can't support a number, only agree with it


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one claim.

    value, low, high : the figure that decides, in `unit`, with its band. words : one sentence that
    says what was found. frame : the rows behind it. commands : how to repeat it. steps : that were
    simulated for it; points that claims share are simulated for the first of them.
    """

    id: str
    claim: str
    verdict: Word
    value: float
    low: float
    high: float
    unit: str
    words: str
    frame: pd.DataFrame = field(repr=False, compare=False)
    commands: tuple[str, ...] = ()
    steps: int = field(default=0, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `rackmodel claims --json` prints them."""
        text = claim(self.id)
        return {
            "id": self.id,
            "topic": text["topic"],
            "claim": self.claim,
            "verdict": self.verdict,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "words": self.words,
            "quantity": text["quantity"],
            "claimed_low": text.get("low"),
            "claimed_high": text.get("high"),
            "claimed_unit": text["unit"],
            "source": text["source"],
            "command": "; ".join(self.commands),
            "steps_simulated": self.steps,
        }

    def rows(self) -> list[dict[str, Any]]:
        """The frame's rows without NaN, which JSON does not know."""
        return [
            {
                str(key): None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in row.items()
            }
            for row in self.frame.to_dict("records")
        ]


@lru_cache(maxsize=1)
def claim_texts() -> Mapping[str, Mapping[str, Any]]:
    """All claims by id, in the order of the file."""
    text = files(__package__).joinpath("claims.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def claim(name: str) -> Mapping[str, Any]:
    """One claim: topic, claim, quantity, low and high (where it names any), unit, source.

    Raises
    ------
    UnknownName
        If there is no such claim.

    Examples
    --------
    >>> claim("nvl72-structure")["low"]
    72
    """
    known = claim_texts()
    UnknownName.check("claim", name, known)
    return known[name]


def answer(
    name: str,
    verdict: Word,
    figure: Band,
    unit: str,
    words: str,
    rows: Sequence[Mapping[str, Any]],
    commands: Sequence[str] = (),
) -> Verdict:
    """Put a verdict together; `figure` is (value, low, high)."""
    value, low, high = (float(number) for number in figure)
    return Verdict(
        name,
        str(claim(name)["claim"]),
        verdict,
        value,
        min(low, high, value),
        max(low, high, value),
        unit,
        words,
        pd.DataFrame([dict(row) for row in rows]),
        tuple(commands),
    )


def overlaps(figure: Band, low: float, high: float) -> Word:
    """Judge a figure against the claimed bounds.

    Supported if the value lies within them (a single claimed number: if it lies within the band),
    or only consistent with them where the band goes further than a quarter to either side; refuted
    if the band does not touch them, else it depends.

    >>> overlaps((5.0, 4.0, 6.0), 4.5, 5.5), overlaps((5.0, 4.0, 6.0), 5.5, 7.0)
    ('supported', 'depends')
    >>> overlaps((5.0, 4.0, 6.0), 5.9, 5.9), overlaps((5.0, 4.0, 6.0), 12.0, 12.0)
    ('supported', 'refuted')
    >>> overlaps((5.0, 3.0, 7.0), 5.9, 5.9)
    'consistent'
    """
    value, least, most = figure
    if low <= value <= high or (low == high and least <= low <= most):
        narrow = value * (1 - WIDE) <= least and most <= value * (1 + WIDE)
        return "supported" if narrow else "consistent"
    return "refuted" if most < low or least > high else "depends"


def claimed(name: str) -> tuple[float, float]:
    """Low and high that a claim names itself."""
    text = claim(name)
    return float(text["low"]), float(text["high"])


def as_claimed(name: str, figure: Band, unit: float = 1.0) -> Word:
    """Judge a figure against what its claim names, which is so many times `unit`."""
    low, high = claimed(name)
    return overlaps(figure, low / unit, high / unit)


def decided(supported: bool, refuted: bool) -> Word:
    """What follows from two tests; neither: it depends."""
    return "supported" if supported else "refuted" if refuted else "depends"


def over_cases(bands: Sequence[Band]) -> Band:
    """Mean of several cases between the least low end and the largest high one, in per cent."""
    values, lows, highs = zip(*bands, strict=True)
    return 100 * sum(values) / len(values), 100 * min(lows), 100 * max(highs)


def geometric_mean(values: Sequence[float]) -> float:
    """Mean of ratios."""
    return math.exp(sum(map(math.log, values)) / len(values))


def simulate_line(result: Result) -> str:
    """Return the command that simulates a result's plan again, on a machine that ships.

    The plan is given whole, so nothing is searched.
    """
    job = result.step.job
    words = [
        f"rackmodel simulate {result.topology} --model {job.model.name} --gpus {job.gpus}",
        f"--global-batch {job.global_batch} --seq-len {job.seq_len} --precision {job.precision}",
        f"--stack {job.stack}",
        *command_words(job.plan),
    ]
    return " ".join(words)


def banded(row: Mapping[str, Any], name: str, unit: float = 1.0) -> Band:
    """A figure of a row with those that end in _low and _high."""
    return row[name] / unit, row[f"{name}_low"] / unit, row[f"{name}_high"] / unit
