"""What every answer of the study is made of: an `Answer`, and how rows of a frame are read.

In:  frames of rows as `scale_up.point` makes them.
Out: `Answer`; rows, gains with their bands, values in words.
Left out: the questions (`answers`, `trade_offs`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rackmodel.argument.ratios import like_ratio, percent

Frames = Mapping[str, pd.DataFrame]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, what the figures say to it, and the figures."""

    name: str
    question: str
    sentences: tuple[str, ...]
    rows: tuple[Row, ...]


def finished(frames: Frames) -> dict[str, pd.DataFrame]:
    """Return frames without the points that could not run."""
    return {
        name: frame[frame["status"] == "done"] if "status" in frame else frame
        for name, frame in frames.items()
    }


def models(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each model and its part of a frame, in the frame's order."""
    for model, part in frame.groupby("model", sort=False):
        yield str(model), part


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a frame's rows."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def gain(ours: Row, base: Row) -> float:
    """Return what tokens/s of one row gain over another's."""
    return like_ratio(ours, base)[0] - 1


def banded(ours: Row, base: Row) -> str:
    """Return a gain with its band in words."""
    value, low, high = (number - 1 for number in like_ratio(ours, base))
    if high - low < 0.005:
        return percent(value)
    return f"{percent(value)} ({100 * low:+.0f} to {100 * high:+.0f})"


def value_words(value: Any) -> str:
    """Return a value that varies in words.

    >>> value_words(18432), value_words("cpo")
    ('18,432', 'cpo')
    """
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:,.10g}"
    return str(value)
