"""Tables of flows and of weights, read and checked value by value.

In:  CSV files of users.
Out: a frame, an array.
Left out: simulating them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rackmodel.annotations import DataFrame
from rackmodel.cli.values import clip
from rackmodel.errors import InvalidInput
from rackmodel.files import read_csv

FLOW_COLUMNS = ("source", "target", "bytes", "start_s")
MOST = {"bytes": 1e24, "start_s": 1e12}  # more is a slip, and sums would lose the small flows


def read_weights(split: Path, gpus: int) -> Any:
    """Return N x N shares of what ranks send to each other, over that of the fullest rank.

    Raises
    ------
    InvalidInput
        If the table is not N x N weights.
    """
    import numpy as np

    try:
        weights = read_csv(split, where="--split", header=None).to_numpy(dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        why = clip(str(error), 120)
        raise InvalidInput(
            f"--split: {split}: expected {gpus} x {gpus} weights as plain numbers ({why})"
        ) from None
    if weights.shape != (gpus, gpus) or not np.isfinite(weights).all() or (weights < 0).any():
        shape = " x ".join(map(str, weights.shape))
        raise InvalidInput(
            f"{split}: wanted {gpus} x {gpus} weights of 0 or more (--gpus {gpus}), got {shape}"
        )
    fullest = float(weights.sum(axis=1).max(initial=0.0))
    if fullest <= 0:
        raise InvalidInput(f"{split}: all weights are 0; give one above 0 to whoever sends")
    return weights / fullest


def read_flows(path: Path) -> DataFrame:
    """Return the table of flows, every value checked; other columns and the order are kept.

    Raises
    ------
    InvalidInput
        With the file, the row and the value.
    """
    import numpy as np
    import pandas as pd

    frame = read_csv(
        path,
        where="FLOWS.csv",
        header=None,  # pandas would rename a column that stands twice
        dtype=str,  # other columns come out as they went in: 007 stays 007
        keep_default_na=False,
    )
    if not isinstance(frame.index, pd.RangeIndex):
        raise InvalidInput(
            f"{path}: the rows have more fields than the first line names; name them all"
        )
    heads, frame = frame.iloc[0], frame.iloc[1:].reset_index(drop=True)
    frame.columns = [str(column).strip() for column in heads]
    missing = [column for column in FLOW_COLUMNS[:3] if column not in frame]
    if missing:
        raise InvalidInput(
            f"{path}: wanted columns {', '.join(FLOW_COLUMNS)}; missing {', '.join(missing)} "
            f"(found: {clip(', '.join(frame.columns), 120)})"
        )
    if frame.columns.duplicated().any():
        raise InvalidInput(f"{path}: two columns have the same name; rename one")
    if "start_s" not in frame:
        frame["start_s"] = "0"
    for column in ("bytes", "start_s"):
        values = frame[column].map(_number).astype(float)
        good = (values.to_numpy() >= 0) & (values.to_numpy() <= MOST[column])
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            raise InvalidInput(
                f"{path}: row {row + 2}: {column} has to be a number from 0 to "
                f"{MOST[column]:g}; "
                f"got {clip(str(frame[column].iloc[row]))!r}"
            )
        frame[column] = values
    for column in ("source", "target"):
        frame[column] = frame[column].str.strip()
    return frame


def _number(word: object) -> float:
    """Return a number to its last bit, NaN where it is none."""
    try:
        text = str(word)
        return float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        return float("nan")
