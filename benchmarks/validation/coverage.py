"""Errors and bands on software that the fit saw, and on software that it did not.

    python -m benchmarks.validation.coverage [RUNS.csv] [--every 4] [--write] [--table]
        [--cases FILE] [--workers 2]

In:  a table of published runs (those that ship); parameters.toml; the constants as they stand.
Out: a table by kind of software, in Markdown; with --write between the marks of README.md. Below
it the widths that hold 80% of the runs, by kind of band: what the table `band` of kernels.toml is
set by. Its terms are what is missing in quadrature: of unknown software beside known one, of
settings that were filled in beside stated ones.
Left out: choosing the widths; they are rounded by hand from what this prints.

On software that it was not fitted on: all runs of a family are left out, the constants are fitted
again without them from their priors, and the runs are predicted as unknown software of their date,
without the family's aliases, dates and habits. A row is simulated twice, once under each name; how
far the constants of a fold move it is told by derivatives (`fit.py`). With --every N only each
N-th run of a stack is predicted as unknown software (all are fitted). With --table the simulations
under the runs' own names also make the error table and the record of the gate, as `table.py
--write` would again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.validation.cases import Case, cases, every_nth, read_rows
from benchmarks.validation.fit import Fit
from benchmarks.validation.table import written
from rackmodel.engine.certainty import FILLED
from rackmodel.hardware import accelerator
from rackmodel.software import software_of, stack_or_unknown
from rackmodel.software.stack import month
from rackmodel.validation.accuracy import RUNS
from rackmodel.validation.errors import compared
from rackmodel.validation.published_runs import machine_of

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"
BAND = ("step_s_low", "step_s_high")
KINDS = {"megatron": "Megatron, NeMo", "fsdp": "FSDP, DeepSpeed", "jax": "JAX"}


def unseen(row: dict) -> dict:
    """Return a row as it is if nobody knew its software: an unknown name with its date."""
    year = accelerator(machine_of(row).accelerator).year
    date = month(software_of(stack_or_unknown(str(row["stack"]), year=year)).date)
    return {**row, "stack": f"unseen-{date}"}


def family_of(row: dict) -> str:
    """Return the family of a row's software; of software that no table knows, its own name."""
    software = software_of(stack_or_unknown(str(row["stack"])))
    return software.family if software.known else str(row["stack"])


def errors(seen: list[Case], hidden: list[Case]) -> pd.DataFrame:
    """Return a row a run: errors and whether the band holds it, on known and unknown software.

    Runs that are not among the hidden ones have no figures on unknown software.
    """
    fit, other = Fit(seen), Fit(hidden)
    families = np.array([family_of(c.row) for c in seen])
    known, place = fit.solve(np.arange(len(seen))), {c.row["id"]: i for i, c in enumerate(hidden)}
    out = np.full(len(seen), np.nan)
    for family in sorted(set(families)):
        inside, outside = np.where(families == family)[0], np.where(families != family)[0]
        inside = np.array([i for i in inside if seen[i].row["id"] in place], dtype=int)
        of_hidden = np.array([place[seen[i].row["id"]] for i in inside], dtype=int)
        out[inside] = other.errors(fit.solve(outside, known), of_hidden)
    frame = pd.DataFrame([c.row for c in seen])[["id", "tier", "stack", "topology"]]
    frame["kind"] = [kind_of(c) for c in seen]
    frame["band"], frame["family"] = [c.band for c in seen], families
    frame["filled"] = [bool({*FILLED["settings"]} & {*c.filled}) for c in seen]
    frame["fitted"], frame["not fitted"] = fit.errors(known, np.arange(len(seen))), out
    held = [_holds(*both) for both in zip(seen, frame["fitted"], strict=True)]
    frame["fitted inside"], frame["not fitted inside"] = np.array(held, dtype=float), np.nan
    for i in np.flatnonzero(~np.isnan(out)):
        holds = _holds(hidden[place[frame.loc[i, "id"]]], out[i])
        frame.loc[i, "not fitted inside"] = float(holds)
    return frame


def kind_of(case: Case) -> str:
    """Return the kind of software as readers know it."""
    kind = software_of(case.stack).kind.split("-")[0]
    if not software_of(case.stack).known:
        return "in no table"
    return KINDS.get(kind, "others")


def _holds(case: Case, error: float) -> bool:
    step_s, low_s, high_s = (case.answer[name] for name in ("predicted_step_s", *BAND))
    return low_s / step_s <= 1.0 / (1.0 + error) <= high_s / step_s


def lines(frame: pd.DataFrame) -> Iterator[str]:
    """Yield the table by kind of software.

    What is left out is a family, so that the next software is one too: the last column counts each
    family once, however many runs of it were published, the one before it each stack.
    """
    titles = (
        "on software it was fitted on",
        "inside",
        "number",
        "on software it was not",
        "inside",
        "inside, each stack once",
        "each family once",
    )
    yield f"| runs | number | {' | '.join(titles)} |"
    yield f"| --- | {' | '.join(['---:'] * (1 + len(titles)))} |"
    groups = {
        "core": frame[frame.tier == "core"],
        "wide": frame[frame.tier != "core"],
        "with experts": frame[frame.band == "experts"],
        "collected later": frame[frame.id.astype(str).str.startswith("f2-")],
        **{str(kind): group for kind, group in frame.groupby("kind")},
    }
    for name, group in groups.items():
        if group.empty:
            continue
        cells = [
            f"{group[column].count()} | {group[column].abs().mean():.1%}"
            f" | {group[f'{column} inside'].mean():.0%}"
            for column in ("fitted", "not fitted")
        ]
        cells += [
            f"{group.groupby(alike)['not fitted inside'].mean().mean():.0%}"
            for alike in ("stack", "family")
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def quantiles(frame: pd.DataFrame) -> Iterator[str]:
    """Yield what holds 80% of the runs of a kind: how far ln(measured / predicted) is at both ends.

    The 10th and 90th percentile with all runs alike, with each stack counted once and with each
    family once, and their mean. By kind of band, and by whether settings were filled in.
    """
    columns = [frame["fitted"].rename("known"), frame["not fitted"].rename("unknown")]
    for column in columns:
        runs = frame.assign(ln=-np.log1p(column))[column.notna()]
        for (band, filled), group in runs.groupby(["band", "filled"]):
            ends = [_percentiles(group, by) for by in (["id"], ["stack"], ["family"])]
            cells = [f"{low:+.3f} {high:+.3f}" for low, high in (*ends, np.mean(ends, axis=0))]
            what = "settings filled in" if filled else "settings stated"
            yield f"{column.name:8s} {band:8s} {what:18s} {len(group):4d}  {'  '.join(cells)}"


def _percentiles(runs: pd.DataFrame, alike: list[str]) -> np.ndarray:
    """Return the 10th and 90th percentile of `ln`, with runs that are alike counted as one."""
    weights = 1.0 / runs.groupby(alike)["ln"].transform("size")
    runs = runs.assign(weight=weights / weights.sum()).sort_values("ln")
    return np.interp((0.1, 0.9), runs.weight.cumsum() - runs.weight / 2.0, runs["ln"])


def main() -> None:
    """Simulate, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=RUNS)
    parser.add_argument("--cases", type=Path, help="a file that keeps what was simulated")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--table", action="store_true", help="also what `table --write` writes")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    rows, kept = read_rows(arguments.runs), arguments.cases
    seen = {c.row["id"]: c for c in cases(rows, arguments.workers, kept)}
    if arguments.table:
        refused = {"predicted_step_s": None, "reason": "see above"}
        answers = [seen[r["id"]].answer if r["id"] in seen else refused for r in rows]
        written(compared(rows, answers)[1])
    some = [unseen(row) for row in every_nth(rows, arguments.every) if row["id"] in seen]
    frame = errors(list(seen.values()), cases(some, arguments.workers, kept))
    text = "\n".join(lines(frame))
    print(text, *quantiles(frame), sep="\n")
    if arguments.write:
        head, rest = README.read_text("utf-8").split(BEGIN)
        README.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
