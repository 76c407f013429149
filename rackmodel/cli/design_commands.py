"""The command that searches over hardware: design.

In:  a SPEC.toml with a base job, what may vary, objectives and constraints.
Out: every design with its figures, those on the Pareto front marked.
Left out: the search itself (`rackmodel.sweeps.design_search`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rackmodel.cli import groups
from rackmodel.cli.files import check_file
from rackmodel.cli.study_commands import WorkersOption
from rackmodel.cli.tables import grid
from rackmodel.cli.tables_catalog import cell
from rackmodel.files import check_folder
from rackmodel.stages import tell

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_ROWS = 30


def design(
    spec: Annotated[
        Path,
        typer.Argument(
            metavar="SPEC.toml",
            help="As of a sweep (base, axes, zips, filters), with objectives and constraints.",
            show_default=False,
        ),
    ],
    output: groups.FolderOptions,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Keep the rows there, as a sweep does; run again, it goes on.",
            show_default=False,
        ),
    ] = None,
    workers: WorkersOption = 1,
) -> None:
    """Search over hardware: which designs does no other one beat, within watts and dollars?

    \b
    Example:
      rackmodel design racks.toml --plot front.png

    \b
    racks.toml:
      constraints = \\["rack_peak_w <= 140e3", "cost.capital_usd <= 12e6"]
      objectives = {tokens_per_s = "max", "cost.usd_per_mtoken" = "min"}
      base = {model = "gpt3-13b", gpus = 144, global_batch = 288}
      axes.topology = \\["gb200-nvl72", "dgx-b200"]
      axes.set.accelerators.b200.hbm_bytes = \\["180 GB", "288 GB"]

    Knobs: any field of a job, any value of catalog (set.accelerators...) or topology
    (set.topology.shape.accelerators, .nics.per_host, .fabric.oversubscription ...). Every design
    has its best plan. Columns are those of a sweep; --json has all of them.
    """
    check_file(spec, "SPEC.toml")
    if out is not None:
        check_folder(out, "--out")
    from rackmodel.verbs.studies import design as search_designs

    found = search_designs(
        spec, out=out, workers=workers, progress=lambda now: tell("designs", now.done, now.total)
    )
    output.draw(found.plot)
    output.write(found.to_dict(), _tables)


def _tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the front, then what else meets the constraints, then how many did not."""
    rows: Sequence[Mapping[str, Any]] = payload["rows"]
    first, sense = next(iter(payload["objectives"].items()))
    allowed = [row for row in rows if row["allowed"]]
    shown = sorted(
        allowed,
        key=lambda row: (not row["pareto"], row[first] * (-1.0 if sense == "max" else 1.0)),
    )
    figures = [*payload["objectives"], "rack_peak_w", "cost.capital_usd"]
    columns = [*payload["knobs"], *dict.fromkeys(figures)]
    table = grid("front", *(column.removeprefix("set.").replace("_", " ") for column in columns))
    for row in shown[:MOST_ROWS]:
        table.add_row(
            "*" if row["pareto"] else "",
            *(cell(column.split(".")[-1], row.get(column)) for column in columns),
            style="bold" if row["pareto"] else "",
        )
    yield table
    if len(shown) > MOST_ROWS:
        yield f"... {len(shown) - MOST_ROWS:,} more: --csv has all"
    yield ""
    broken = sum(row["status"] == "done" and not row["allowed"] for row in rows)
    failed = sum(row["status"] != "done" for row in rows)
    yield (
        f"{len(rows):,} of {payload['combinations']:,} designs simulated; "
        f"{sum(bool(row['pareto']) for row in rows)} on the front (*: no other design is at least "
        f"as good in {', '.join(payload['objectives'])} and better in one); "
        f"{broken} break a constraint, {failed} can't run"
    )
    reasons = [str(row["reason"]) for row in rows if row["status"] != "done"]
    if reasons:
        yield f"why the first of them can't: {reasons[0]}"
