"""Scale-up against scale-out: the same accelerator, and one thing varied at a time.

`python -m benchmarks.scale_up_vs_scale_out.study --out runs/study [--workers 2] [--quick]`

In:  the specs beside this file; `rackmodel.argument.scale_up.point` turns a job into a row.
Out: a directory with one CSV per spec, pictures (PNG and SVG), answers.md.
Left out: verdicts on claims (`rackmodel claims`).

Specs share points: where two ask for the same one it is looked at once, in a single sweep over
whatever is not there yet.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rackmodel.argument.answers import markdown
from rackmodel.argument.scale_up import FIELDS, point, whole
from rackmodel.argument.trade_offs import with_gains
from rackmodel.reporting.scale_up import pictures
from rackmodel.reporting.style import save
from rackmodel.sweeps.api import sweep
from rackmodel.sweeps.jobs import code_digest
from rackmodel.sweeps.run import progress_lines
from rackmodel.sweeps.spec import FlatJob, SweepSpec, read_spec
from rackmodel.sweeps.store import canonical

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).parent
FULL = (
    "domain",
    "precision",
    "strong",
    "batch",
    "generations",
    "budget",
    "nics",
    "distance",
    "wires",
    "fabric",
    "ecmp",
    "media",
    "hbm",
    "sequence",
    "groups",
    "giant",
)


def points(names: Sequence[str]) -> dict[str, list[FlatJob]]:
    """The jobs of each spec, with every field of the study."""
    return {
        name: [whole(job) for job in read_spec(HERE / f"{name}.toml", FIELDS).jobs()]
        for name in names
    }


def run(names: Sequence[str], out: Path, workers: int) -> dict[str, pd.DataFrame]:
    """Run the points of all these specs, or what is left of them; one frame per spec."""
    wanted = points(names)
    unlike = {canonical(job): job for jobs in wanted.values() for job in jobs}
    columns = {field: tuple(job[field] for job in unlike.values()) for field in FIELDS}
    spec = SweepSpec({}, (columns,), (), "study", "Scale-up against scale-out")
    progress = progress_lines() if sys.stderr.isatty() else None
    rows = sweep(
        spec,
        out / "points",
        point,
        salt=code_digest(),
        workers=workers,
        resume=(out / "points").exists(),
        progress=progress,
    )
    place = {name: number for number, name in enumerate(unlike)}
    frames = {}
    for name, jobs in wanted.items():
        own = rows.iloc[[place[canonical(job)] for job in jobs]].reset_index(drop=True)
        own.to_csv(out / f"{name}.csv", index=False)
        frames[name] = own
    return frames


def draw(frames: Mapping[str, pd.DataFrame], out: Path) -> None:
    """Every picture of the study, as PNG and SVG."""
    for name, ax, _ in pictures(with_gains(frames)):
        for form in ("png", "svg"):
            save(ax.figure, out / f"{name}.{form}", form)


def main() -> None:
    parser = argparse.ArgumentParser(description="Scale-up against scale-out.")
    parser.add_argument("--out", type=Path, default=Path("runs/scale_up_vs_scale_out"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="six points, under a minute")
    parser.add_argument("--only", nargs="*", choices=FULL, default=FULL)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    started_s = time.perf_counter()
    frames = run(("quick",) if options.quick else options.only, options.out, options.workers)
    draw(frames, options.out)
    text = markdown(frames)
    (options.out / "answers.md").write_text(text, encoding="utf-8")
    print(text)
    print(
        f"{sum(map(len, frames.values()))} points in {time.perf_counter() - started_s:.0f} s; "
        f"tables and pictures in {options.out}"
    )


if __name__ == "__main__":
    main()
