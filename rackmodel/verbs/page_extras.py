"""What a report shows beyond the results themselves: plans, collectives, a rack, sensitivities.

In:  the fastest machine's result; a directory that the study wrote.
Out: more content for `rackmodel.reporting.html.page`.
Left out: the results, assumptions and errors (`page_parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rackmodel.errors import CannotRun, InvalidInput
from rackmodel.files import is_file, read_csv
from rackmodel.stages import tell

if TYPE_CHECKING:
    from rackmodel.hardware import Catalog
    from rackmodel.result.result import Result
    from rackmodel.topology import Topology

SIZES = tuple(float(2**power) for power in range(13, 35, 2))
STUDY = (
    "domain",
    "precision",
    "batch",
    "strong",
    "generations",
    "budget",
    "nics",
    "distance",
    "wires",
    "fabric",
    "media",
    "hbm",
    "sequence",
    "groups",
    "giant",
    "quick",
)


def closer_look(
    result: Result, parts: Catalog | None, *, gains: bool, note: Callable[[str], None]
) -> dict[str, Any]:
    """Return what only the fastest machine is asked: plans, collectives, its rack, its gains."""
    machine = result.machine
    content: dict[str, Any] = {"closer": result.topology}
    looks: list[tuple[str, Callable[[], Any]]] = [
        ("plan_map", lambda: plan_map(machine, result, parts)),
        ("collectives", lambda: _collectives(machine, result)),
        ("rack", lambda: _rack(result)),
    ]
    if gains:
        looks.append(("gains", lambda: _gains(machine, result, parts)))
    for name, look in looks:
        tell(f"{result.topology}: {name.replace('_', ' ')}")
        try:
            content[name] = look()
        except CannotRun as reason:
            note(f"  left out: {reason}")
    return content


def plan_map(machine: Topology, result: Result, parts: Catalog | None) -> list[dict[str, Any]]:
    """MFU of the best plan for every tp and pp; that of the result is among the simulated ones."""
    from rackmodel.planning.best import search_job
    from rackmodel.planning.candidates import Effort
    from rackmodel.workload import Plan

    job = result.step.job
    found = search_job(
        machine,
        job.replace(plan=Plan()),
        job.gpus,
        catalog=parts,
        effort=Effort(most=1),
    )
    cells = found.heat_map()
    won = (cells["tp"] == job.plan.tp) & (cells["pp"] == job.plan.pp)
    cells.loc[won, ["mfu", "step_s"]] = result.mfu, result.step_s
    cells["simulated"] |= won
    return [{str(name): value for name, value in cell.items()} for cell in cells.to_dict("records")]


def _collectives(machine: Topology, result: Result) -> list[dict[str, Any]]:
    """Bus bandwidth by size, inside a domain and over all accelerators of the job."""
    from rackmodel.network import run_collective

    inside = min(machine.domain_accelerators, result.step.job.gpus)
    whole = result.step.job.gpus
    cases = [("all-reduce", inside), ("all-to-all", inside)]
    cases += [("all-reduce", whole)] if whole > inside else []
    return [row for op, gpus in cases for row in run_collective(machine, op, SIZES, gpus)]


def _rack(result: Result) -> dict[str, Any]:
    """The hottest rack: trays, its power over a step, its limits."""
    from rackmodel.verbs.power import heat

    found = heat(result, windows=True)
    return {"trays": found["rows"], **found.words}


def _gains(machine: Topology, result: Result, parts: Catalog | None) -> list[dict[str, Any]]:
    """What doubling and halving each resource does."""
    from rackmodel.study.shadow_prices import sensitivity

    rows = sensitivity(machine, result.step.job, catalog=parts)["rows"]
    return [row for row in rows if row["gain"] is not None]


def heat_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return heat of the hottest rack of each machine with the size of its domain."""
    rows = []
    for result in results:
        rack = max(result.assessment["racks"], key=lambda one: one["heat_w"])
        rows.append(
            {
                "domain": result.machine.domain_accelerators,
                "label": result.topology,
                "liquid_share": rack["liquid_w"] / rack["heat_w"],
                **{key: rack.get(key) for key in ("heat_w", "heat_w_low", "heat_w_high")},
            }
        )
    return rows


def study_parts(folder: Path) -> dict[str, Any]:
    """Return the frames and answers of a study that was written into a directory.

    Raises
    ------
    InvalidInput
        If the directory holds none of the study's tables.
    """
    import pandas as pd

    from rackmodel.argument.answers import answers
    from rackmodel.argument.titles import titles
    from rackmodel.argument.trade_offs import with_gains

    frames: dict[str, pd.DataFrame] = {}
    for name in STUDY:
        path = folder / f"{name}.csv"
        if is_file(path):
            frames[name] = _frame(path)
    if not frames:
        raise InvalidInput(
            f"--study: {folder} holds none of {', '.join(f'{name}.csv' for name in STUDY)}; "
            "rackmodel study --out DIR writes them"
        )
    found: list[Mapping[str, Any]] = [
        {"name": a.name, "question": a.question, "sentences": a.sentences, "rows": a.rows}
        for a in answers(frames)
    ]
    points = sum(len(frame) for frame in frames.values())
    whole = with_gains(frames)
    return {
        "study": {
            "answers": found,
            "frames": whole,
            "titles": titles(whole),
            "points": points,
        }
    }


def _frame(path: Path) -> Any:
    frame = read_csv(path, where="--study")
    needed = {"model", "domain", "tokens_per_s_per_gpu", "usd_per_mtoken", "energy_j_per_token"}
    if missing := sorted(needed - set(frame.columns)):
        raise InvalidInput(f"--study: {path} has no column {missing[0]!r}; was it cut?")
    return frame
