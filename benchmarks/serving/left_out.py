"""Errors of serving runs whose source or software is left out whole of the fit.

    python -m benchmarks.serving.left_out [--each 4] [--write]

In:  the serving runs that ship with the package, some of every kind, core and wide.
Out: per source and per software: errors and what bands hold, in fold and left out; with --write the
same between the marks of docs/serving.md.
Left out: runs that do not state their plan or their drafts.

The constants are fitted again without a group, by derivatives (`fit`). They are held near those
that ship, which knew the group: what no other run decides stays. Software that is left out is
predicted with the habits of software that nobody knows.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.serving.fit import APART, NOISE, SOFTWARE, Run, prepared, refitted, slopes
from rackmodel.serving.run import band_of
from rackmodel.validation.accuracy import SERVED
from rackmodel.validation.serving_errors import UNSTATED, widened

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
BEGIN, END = "<!-- serving left out: begin -->", "<!-- serving left out: end -->"
KINDS = ("source", "system", "software", "model", "weights_precision", "mode")
MODES = ("aggregated", "disaggregated", "offline")
SOURCES = ("InferenceX", "MLPerf", "Dynamo", "TensorRT-LLM", "Google", "AWS")  # how names begin
WIDE = NOISE / math.hypot(NOISE, UNSTATED)  # weight of runs that leave open what they hang on
FEWEST = 8  # runs of a group that has a line of its own


def kept(path: str | Path, each: int) -> pd.DataFrame:
    """Return `each` runs of every kind."""
    frame = pd.read_csv(path, low_memory=False)
    plain = ~frame["quality"].fillna("").str.contains("|".join(APART))
    printed = frame["tpot_ms"].notna() | frame["tokens_per_s_per_gpu"].notna()
    frame = frame[plain & printed & frame["mode"].isin(MODES) & (frame["mtp"] != "unknown")]
    return frame.groupby(list(KINDS), group_keys=False, dropna=False)[list(frame)].apply(
        lambda runs: runs.sample(min(len(runs), each), random_state=3)
    )


def source_of(run: Run) -> str:
    """Return the source of a run, all tables of one publisher together."""
    name = str(run.row["source"])
    return next((word for word in SOURCES if name.startswith(word)), name)


def software_of(run: Run) -> str:
    """Return the software of a run, "" for such without habits of its own."""
    return next((name for name in SOFTWARE if name in str(run.row["software"])), "")


def width(run: Run) -> float:
    """Return the logarithm of the half width of its band; NaN where no time is printed."""
    if math.isnan(run.row["tpot_ms"]):
        return math.nan
    name = software_of(run) or run.case.job.stack
    low, high = band_of(run.case.job.replace(stack=name), run.part)
    found = widened({"tpot_s": 1.0, "tpot_s_low": low, "tpot_s_high": high}, run.row)
    return math.log(found["tpot_s_high"])


def residuals(runs: Sequence[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Return logarithms of measured over predicted seconds, and slopes of the predicted ones."""
    base, slope = slopes(list(runs))
    return np.log([run.measured_s for run in runs]) - base, slope


def left_out(
    runs: Sequence[Run], again: Sequence[Run], group: Callable[[Run], str]
) -> Iterator[tuple[str, Run, float, float]]:
    """Yield name, run, error in fold and left out (logarithms), of each group.

    again : the same runs, as those of a group that is left out are predicted.
    """
    known, slope = residuals(runs)
    start, unseen = residuals(again)
    names = [group(run) for run in runs]
    sure = np.array([1.0 if run.row["tier"] == "core" else WIDE for run in runs])
    for name in sorted({*names} - {""}):
        mine = np.array([one == name for one in names])
        if mine.sum() < FEWEST:
            continue
        moves = refitted((sure * known)[~mine], (sure[:, None] * slope)[~mine])
        out = start[mine] - unseen[mine] @ moves
        for number, error in zip(np.flatnonzero(mine).tolist(), out, strict=True):
            yield name, runs[number], known[number], error


def lines(title: str, rows: Iterator[tuple[str, Run, float, float]]) -> Iterator[str]:
    """Yield a line of the table for each group."""
    table = pd.DataFrame(
        [(name, one, out, width(run)) for name, run, one, out in rows],
        columns=["name", "known", "out", "width"],
    )
    for name, part in [*table.groupby("name"), ("all of these", table)]:
        cells = [f"{title}: {name}", f"{len(part)}"]
        for column in ("known", "out"):
            size, held = np.expm1(-part[column]).abs(), part[part["width"].notna()]
            inside = (held[column].abs() <= held["width"]).mean() if len(held) else math.nan
            cells += [f"{size.median():.1%}", f"{size.mean():.1%}"]
            cells.append("–" if math.isnan(inside) else f"{inside:.0%}")
        yield f"| {' | '.join(cells)} |"


def table(each: int) -> str:
    """Return the whole table."""
    frame = kept(SERVED, each)
    known = prepared(frame)
    ids = [run.row["id"] for run in known]
    frame = frame.set_index("id", drop=False).loc[ids]
    unknown = prepared(frame, stack="default")
    shown = [
        "| left out | runs | in fold, median | mean | inside | left out, median | mean | inside |",
        "| --- |" + " ---: |" * 7,
        *lines("source", left_out(known, known, source_of)),
        *lines("software", left_out(known, unknown, software_of)),
    ]
    return "\n".join(shown)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=4, help="runs of every kind")
    parser.add_argument("--write", action="store_true", help="also into docs/serving.md")
    words = parser.parse_args()
    found = table(words.each)
    print(found)
    if words.write:
        head, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        text = f"{head}{BEGIN}\n{found}\n{END}{rest.split(END)[1]}"
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
