"""Scale-up against scale-out: the same accelerator, and one thing varied at a time.

In:  the specs in `rackmodel/argument/data`; `rackmodel.argument.scale_up.point` turns a job into a
     row.
Out: a directory with one CSV per spec, pictures (PNG and SVG), answers.md.
Left out: verdicts on claims (`rackmodel claims`).

Specs share points: where two ask for the same one it is looked at once, in a single sweep over
whatever is not there yet.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rackmodel import files
from rackmodel.annotations import DataFrame
from rackmodel.argument import scale_up
from rackmodel.argument.answers import markdown
from rackmodel.argument.scale_up import FIELDS, UNSURE, machine_key, point, whole
from rackmodel.argument.titles import titles
from rackmodel.argument.trade_offs import with_gains
from rackmodel.errors import CannotRun
from rackmodel.planning.missed import COUNTED
from rackmodel.reporting.scale_up import pictures
from rackmodel.reporting.style import save
from rackmodel.stages import tell
from rackmodel.sweeps.api import sweep
from rackmodel.sweeps.jobs import code_digest
from rackmodel.sweeps.run import progress_lines
from rackmodel.sweeps.spec import FlatJob, SweepSpec, read_spec
from rackmodel.sweeps.store import canonical

SPECS = Path(scale_up.__file__).with_name("data")
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
    "micro",
    "ecmp",
    "media",
    "hbm",
    "sequence",
    "groups",
    "giant",
)


def points(names: Sequence[str]) -> dict[str, list[FlatJob]]:
    """Return the jobs of each spec, with every field of the study."""
    return {
        name: [whole(job) for job in read_spec(SPECS / f"{name}.toml", FIELDS).jobs()]
        for name in names
    }


def run(names: Sequence[str], out: Path, workers: int) -> dict[str, DataFrame]:
    """Run the points of all these specs, or what is left of them; one frame per spec.

    Raises
    ------
    CannotRun
        If none of the points ran.
    """
    wanted = points(names)
    every = sorted((job for jobs in wanted.values() for job in jobs), key=_order)
    unlike = {canonical(job): job for job in every}
    columns = {field: tuple(job[field] for job in unlike.values()) for field in FIELDS}
    spec = SweepSpec({}, (columns,), (), "study", "Scale-up against scale-out")
    progress = progress_lines() if sys.stderr.isatty() else None
    rows = sweep(
        spec,
        out / "points",
        point,
        salt=code_digest(),
        workers=workers,
        resume=any(out.glob("points/*")),
        progress=progress,
    )
    if not (rows["status"] == "done").any():
        why = rows["reason"].iloc[0]
        raise CannotRun(f"no point ran of {len(rows)} ({why}); the same command tries again")
    place = {name: number for number, name in enumerate(unlike)}
    frames = {}
    for name, jobs in wanted.items():
        own = rows.iloc[[place[canonical(job)] for job in jobs]].reset_index(drop=True)
        own.to_csv(out / f"{name}.csv", index=False)
        frames[name] = own
    return frames


def _order(job: FlatJob) -> tuple[Any, ...]:
    """Points of one machine one after another; of these those that others begin with first."""
    return (*machine_key(job), job["routing"] != "spray")


def draw(frames: Mapping[str, DataFrame], out: Path) -> None:
    """Draw every picture of the study, as PNG and SVG."""
    tell("drawing")
    whole = with_gains(frames)
    for name, ax, _ in pictures(whole, titles(whole)):
        figure: Any = ax.figure
        for form in ("png", "svg"):
            save(figure, out / f"{name}.{form}", form)


def write_study(names: Sequence[str], out: Path, workers: int) -> tuple[str, str]:
    """Run the specs, or what is left of them; write tables, pictures and answers.md.

    Returns
    -------
    The answers, and in words what they rest on.
    """
    out.mkdir(parents=True, exist_ok=True)
    frames = run(names, out, workers)
    draw(frames, out)
    text = markdown(frames)
    files.write_whole(out / "answers.md", text.encode("utf-8"), "--out")
    return text, rests_on(frames)


def rests_on(frames: Mapping[str, DataFrame]) -> str:
    """Return how many points there are, how many plans they took, and how sure their searches are.

    Points that several specs ask for count once.
    """
    every = [row for frame in frames.values() for row in frame.to_dict("records")]
    rows = {canonical({name: row[name] for name in FIELDS}): row for row in every}.values()
    done = [row for row in rows if row.get("status", "done") == "done"]
    plans = sum(int(row["plans_simulated"]) for row in done)
    unsure = sum(float(row["better_chance"]) > UNSURE for row in done)
    return (
        f"{len(rows)} points, {plans} plans simulated; of {unsure} points a plan that was not is"
        f" better by more than {COUNTED:.0%} with a chance above {UNSURE:.0%}"
    )
