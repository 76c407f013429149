"""Errors of published runs by group, as text; and the groups that are left out of a fit.

In:  rows of a table of published runs, signed relative errors.
Out: printed lines; names of groups by row.
Left out: the errors themselves (`fit.py`, `folds.py`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

CONFIGURATION = ["topology", "model", "gpus", "tp", "pp", "ep", "precision"]


def groups(rows: list[dict]) -> dict[str, np.ndarray]:
    """Return, per way of leaving out, the group of every row."""
    frame = pd.DataFrame(rows)
    keys = frame[CONFIGURATION].fillna(-1).astype(str).agg("|".join, axis=1).to_numpy()
    order = np.random.default_rng(0).permutation(sorted(set(keys)))
    fold = {key: number % 5 for number, key in enumerate(order)}
    return {
        "five random folds over configurations": np.array([fold[key] for key in keys]),
        "one topology": frame.topology.to_numpy(),
        "one stack": frame["stack"].to_numpy(),
        "one model": frame.model.str.split(r"[ _-]").str[0].str.lower().to_numpy(),
    }


def line(errors: np.ndarray) -> str:
    """Return the figures of a group in one line."""
    size = np.abs(errors) * 100
    if not len(size):
        return "none"
    return (
        f"{len(size):4d} rows  MAPE {size.mean():5.1f}  median {np.median(size):5.1f}"
        f"  p90 {np.quantile(size, 0.9):5.1f}  bias {100 * errors.mean():+5.1f}"
    )


def masks(rows: list[dict]) -> dict[str, np.ndarray]:
    """Return the groups that every report shows, as masks over rows."""
    frame = pd.DataFrame(rows)
    core, moe = (frame.tier == "core").to_numpy(), (frame.experts.fillna(0) > 0).to_numpy()
    rack = frame.topology.isin(["gb200-nvl72", "gb300-nvl72"]).to_numpy()
    return {
        "core": core,
        "wide": ~core,
        "core dense": core & ~moe,
        "core MoE": core & moe,
        "core NVL72": core & rack,
        "core >= 1,000": core & (frame.gpus >= 1000).to_numpy(),
    }


def report(rows: list[dict], errors: np.ndarray, title: str, *, full: bool = False) -> None:
    """Print errors by group."""
    print(title)
    for name, mask in masks(rows).items():
        print(f"  {name:14s} {line(errors[mask])}")
    frame = pd.DataFrame(rows)
    for column in ("stack", "topology") if full else ():
        for name in sorted(frame[column].unique()):
            print(f"  {name:24s} {line(errors[(frame[column] == name).to_numpy()])}")
