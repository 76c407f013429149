"""Tables about many simulations: errors, sweeps, sensitivities, verdicts.

In:  payloads as `--json` prints them.
Out: things that rich can print.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rackmodel.cli.tables import grid
from rackmodel.cli.tables_catalog import cell
from rackmodel.reporting.summary import error_groups
from rackmodel.reporting.words import (
    MISSING,
    known,
    part_name,
    percent,
    seconds,
    signed,
    three,
    whole,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_ROWS = 60  # of a table for people; --csv has all


def validation_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield predicted beside measured, then the errors by group."""
    rows: Sequence[Mapping[str, Any]] = payload["rows"]
    table = grid("run", "measured", "predicted", "error", "80% band")
    table.add_column("why not predicted")
    for row in rows[:MOST_ROWS]:
        low, high = row.get("step_s_low"), row.get("step_s_high")
        table.add_row(
            str(row.get("id")),
            seconds(row.get("measured_step_s")),
            seconds(row.get("predicted_step_s")),
            signed(row.get("error")),
            f"{seconds(low)} - {seconds(high)}" if known(low) and known(high) else "",
            str(row.get("reason") or ""),
        )
    yield table
    if len(rows) > MOST_ROWS:
        yield f"... {len(rows) - MOST_ROWS:,} more rows: --csv has all"
    yield ""
    yield from summary_table(payload.get("summary") or {})


def summary_table(summary: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the errors of each group of runs."""
    table = grid("group", "runs", "MAPE", "median", "p90", "bias", "in band", "failed")
    for name, group in error_groups(summary):
        table.add_row(
            name,
            whole(group.get("rows")),
            percent(group.get("mape"), 1),
            percent(group.get("median"), 1),
            percent(group.get("p90"), 1),
            signed(group.get("bias")),
            percent(group.get("inside_band")),
            whole(group.get("failures")),
        )
    yield table


def sweep_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the rows of a sweep, columns that never change left out."""
    rows: Sequence[Mapping[str, Any]] = payload["rows"]
    columns = [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if len({str(row.get(key)) for row in rows}) > 1 or len(rows) == 1
    ][:12]
    table = grid(*(column.replace("_", " ") for column in columns))
    for row in rows[:MOST_ROWS]:
        table.add_row(*(cell(column, row.get(column)) for column in columns))
    yield table
    if len(rows) > MOST_ROWS:
        yield f"... {len(rows) - MOST_ROWS:,} more rows: --csv has all"
    yield ""
    failed = sum(row.get("status") not in (None, "done") for row in rows)
    yield f"{len(rows):,} jobs, {failed:,} of them can't run"


def sensitivity_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield what doubling and halving each resource does to tokens/s, and what it is worth."""
    table = grid("resource", "double it", "halve it", "elasticity", "worth, $", "worth, W")
    table.add_column("why not")
    for row in payload["rows"]:
        elasticity = row.get("elasticity")
        table.add_row(
            part_name(str(row.get("resource"))),
            signed(row.get("gain")),
            signed(row.get("loss")),
            f"{elasticity:.2f}" if known(elasticity) else MISSING,
            whole(row.get("worth_usd")),
            whole(row.get("worth_w")),
            str(row.get("reason") or ""),
        )
    yield table
    for line in payload.get("notes") or ():
        yield str(line)
    ratio = payload.get("ratio")
    if ratio:
        yield ""
        yield (
            f"{payload.get('topology')} over {ratio['against']}, tokens/s: {ratio['value']:.3f} "
            f"(80% band {ratio['low']:.3f} - {ratio['high']:.3f})"
        )
        table = grid("uncertain constant", "range", "share of the variance", "with interactions")
        for row in ratio["rows"]:
            table.add_row(
                str(row["constant"]),
                f"x {row['low']:g} - {row['high']:g}",
                f"{row['first']:.2f} +- {row['first_error']:.2f}",
                f"{row['total']:.2f} +- {row['total_error']:.2f}",
            )
        yield table
        yield f"Sobol indices, by a surface that errs by {ratio['surface_error']:.2%}"


def claims_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield one verdict a claim, with its number and band."""
    table = grid("claim", "verdict", "value", "band")
    table.add_column("unit")
    table.add_column("what was claimed", ratio=1)
    for row in payload["rows"]:
        low, high = row.get("low"), row.get("high")
        table.add_row(
            str(row.get("id")),
            str(row.get("verdict")),
            _figure(row.get("value")),
            f"{_figure(low)} - {_figure(high)}" if known(low) and known(high) else "",
            str(row.get("unit") or ""),
            str(row.get("claim") or ""),
        )
    yield table


def _figure(value: Any) -> str:
    return three(float(value)) if known(value) else str(value if value is not None else MISSING)
