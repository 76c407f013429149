"""Tables about many simulations: errors, sweeps, sensitivities, verdicts.

In:  payloads as `--json` prints them.
Out: things that rich can print.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rackmodel.cli.tables import filled, grid
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
    yield filled(
        ("run", "measured", "predicted", "error", "80% band"),
        [
            (
                str(row["id"]),
                seconds(row["measured_step_s"]),
                seconds(row["predicted_step_s"]),
                signed(row["error"]),
                _band(row["step_s_low"], row["step_s_high"], seconds),
                str(row["reason"] or ""),
            )
            for row in rows[:MOST_ROWS]
        ],
        "why not predicted",
    )
    if len(rows) > MOST_ROWS:
        yield f"... {len(rows) - MOST_ROWS:,} more rows: --csv has all"
    yield ""
    yield from summary_table(payload.get("summary") or {})


def summary_table(summary: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the errors of each group of runs."""
    yield filled(
        ("group", "runs", "MAPE", "median", "p90", "bias", "in band", "failed"),
        [
            (
                name,
                whole(group["rows"]),
                *(percent(group[key], 1) for key in ("mape", "median", "p90")),
                signed(group["bias"]),
                percent(group["inside_band"]),
                whole(group["failures"]),
            )
            for name, group in error_groups(summary)
        ],
    )


def _band(low: Any, high: Any, text: Callable[[Any], str]) -> str:
    return f"{text(low)} - {text(high)}" if known(low) and known(high) else ""


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
    yield filled(
        ("resource", "double it", "halve it", "elasticity", "worth, $", "worth, W"),
        [
            (
                part_name(str(row["resource"])),
                signed(row["gain"]),
                signed(row["loss"]),
                f"{row['elasticity']:.2f}" if known(row["elasticity"]) else MISSING,
                whole(row["worth_usd"]),
                whole(row["worth_w"]),
                str(row["reason"] or ""),
            )
            for row in payload["rows"]
        ],
        "why not",
    )
    yield from map(str, payload["notes"])
    ratio = payload.get("ratio")
    if ratio:
        yield ""
        yield (
            f"{payload['topology']} over {ratio['against']}, tokens/s: {ratio['value']:.3f} "
            f"(80% band {ratio['low']:.3f} - {ratio['high']:.3f})"
        )
        yield filled(
            ("uncertain constant", "range", "share of the variance", "with interactions"),
            [
                (
                    str(row["constant"]),
                    f"x {row['low']:g} - {row['high']:g}",
                    f"{row['first']:.2f} +- {row['first_error']:.2f}",
                    f"{row['total']:.2f} +- {row['total_error']:.2f}",
                )
                for row in ratio["rows"]
            ],
        )
        yield f"Sobol indices, by a surface that errs by {ratio['surface_error']:.2%}"


def claims_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield one verdict a claim, with its number and band."""
    table = grid("claim", "verdict", "value", "band")
    table.add_column("unit")
    table.add_column("what was claimed", ratio=1)
    for row in payload["rows"]:
        table.add_row(
            *(str(row[key]) for key in ("id", "verdict")),
            _figure(row["value"]),
            _band(row["low"], row["high"], _figure),
            *(str(row[key] or "") for key in ("unit", "claim")),
        )
    yield table
    steps = sum(row["steps_simulated"] for row in payload["rows"])
    yield f"{steps:,} steps simulated"


def _figure(value: Any) -> str:
    return three(float(value)) if known(value) else str(value if value is not None else MISSING)
