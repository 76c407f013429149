"""How far this version is from print, as recorded: what the accuracy gate holds.

In:  the summary of a validation of the shipped runs; data/accuracy.json.
Out: the recorded figures; what of a new summary is worse than recorded, by more than a margin.
Left out: predicting (`errors`), who writes the record (benchmarks/validation/table.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from rackmodel.software.stack import families, software_of, stack_or_unknown

#: Published runs with their sources, the default table of `rackmodel validate`.
RUNS = Path(str(resources.files("rackmodel.validation").joinpath("data", "runs.csv.gz")))
RECORD = Path(str(resources.files("rackmodel.validation").joinpath("data", "accuracy.json")))
#: Published serving runs, the table of `rackmodel validate --serving`; the record also holds the
#: errors of every `EVERY`th row ("sample"), which the gate predicts.
SERVED = Path(str(resources.files("rackmodel.validation").joinpath("data", "serving.csv.gz")))
SERVED_RECORD = SERVED.with_name("serving_accuracy.json")
EVERY = 8
HELD = ("core", "wide")
MORE_ERROR = 0.001  # of a group's mean error: what another machine's rounding may do, and no more
LESS_INSIDE = 0.005  # of the share of runs inside the band


def recorded(path: Path = RECORD) -> dict[str, Any]:
    """Return the recorded summary: {core: {rows, mape, inside_band, ...}, by_stack: {...}, ...}."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def record(summary: Mapping[str, Any]) -> str:
    """Return the text of a record: the figures of every group, rounded to 1e-5."""

    def rounded(part: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: rounded(value)
            if isinstance(value, Mapping)
            else round(value, 5)
            if isinstance(value, float)
            else value
            for key, value in part.items()
        }

    return json.dumps(rounded(summary), indent=1) + "\n"


def worse(summary: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each held figure that is worse than recorded by more than its margin."""
    for name in HELD:
        now, then = summary[name], before[name]
        if now["mape"] > then["mape"] + MORE_ERROR:
            yield f"{name}: mean error {now['mape']:.2%}, recorded {then['mape']:.2%}"
        if now["inside_band"] < then["inside_band"] - LESS_INSIDE:
            yield (
                f"{name}: {now['inside_band']:.1%} of the runs inside the band, "
                f"recorded {then['inside_band']:.1%}"
            )
        if now["failures"] > then["failures"]:
            yield f"{name}: {now['failures']} runs not predicted, recorded {then['failures']}"


def stack_rows() -> list[dict[str, Any]]:
    """Return the families of software, each with its recorded error on the shipped runs."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for stack, group in recorded()["by_stack"].items():
        runs.setdefault(software_of(stack_or_unknown(stack)).family, []).append(group)
    rows = []
    for family in families():
        groups = [group for group in runs.get(family["name"], ()) if group["mape"] is not None]
        count = sum(group["rows"] - group["failures"] for group in groups)

        def mean(figure: str, groups: Any = groups, count: int = count) -> float | None:
            total = sum(g[figure] * (g["rows"] - g["failures"]) for g in groups)
            return total / count if count else None

        errors = {"runs": count, "mean_error": mean("mape"), "inside_band": mean("inside_band")}
        rows.append({**family, **errors})
    return rows
