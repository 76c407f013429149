"""Frames of a result as a few sums, so that every operation is pinned in little space.

In:  a result of `rackmodel.simulate`.
Out: {frame: {rows, columns: {column: sum and sum of squares, or how often each word occurs},
     seconds: {kind, axis and name: their start and end times, summed}}}.
Left out: the order of the rows, which may change without any operation moving.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

FRAMES = (
    "events",
    "operations",
    "memory",
    "memory_timeline",
    "contention",
    "links",
    "racks",
    "hbm_bandwidth",
)
MANY_WORDS = 40  # more different words than these are told by their number only


def summary(result: Any) -> dict[str, Any]:
    """Return the sums of every frame."""
    return {name: frame_summary(getattr(result, name)) for name in FRAMES}


def frame_summary(frame: pd.DataFrame) -> dict[str, Any]:
    """Return rows, columns and, for operations, times by what they do."""
    told: dict[str, Any] = {
        "rows": len(frame),
        "columns": {str(column): column_summary(frame[column]) for column in frame},
    }
    if {"start_s", "end_s", "name"} <= set(frame.columns):
        told["seconds"] = times_by_name(frame)
    return told


def column_summary(column: pd.Series[Any]) -> dict[str, Any]:
    """Return sum and sum of squares of numbers; how often each word occurs otherwise.

    The squares notice seconds that move from one row to another.
    """
    if pd.api.types.is_numeric_dtype(column):
        values = column.astype(float)
        return {"sum": float(values.sum()), "squares": float((values**2).sum())}
    words = column.dropna().astype(str).value_counts()  # a missing word is none
    if len(words) > MANY_WORDS:
        return {"different": len(words)}
    return {word: int(words[word]) for word in sorted(words.index)}


def times_by_name(frame: pd.DataFrame) -> dict[str, list[float]]:
    """Return [rows, start_s, end_s], summed by kind, phase and name without its numbers."""
    names = frame["name"].astype(str).str.replace(r"\d+", "#", regex=True)
    keys = frame["kind"].astype(str) + " " + frame["phase"].astype(str) + " " + names
    sums = frame[["start_s", "end_s"]].groupby(keys, observed=True).agg(["count", "sum"])
    return {
        str(key): [int(row["start_s", "count"]), row["start_s", "sum"], row["end_s", "sum"]]
        for key, row in sums.sort_index().iterrows()
    }
