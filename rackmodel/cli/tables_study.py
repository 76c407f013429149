"""Tables about many simulations: errors, sweeps, sensitivities, verdicts, domains, designs.

In:  payloads as `--json` prints them.
Out: things that rich can print.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rackmodel.cli.tables import MOST_ROWS, RenderableType, filled, grid, left_out
from rackmodel.cli.tables_catalog import cell, heading
from rackmodel.reporting.summary import error_groups
from rackmodel.reporting.words import (
    MISSING,
    counted,
    known,
    part_name,
    percent,
    seconds,
    signed,
    three,
    whole,
)


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
    yield from left_out(rows)
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


#: What the table of a sweep shows of each row.
SWEPT = {
    "step_s": "step",
    "step_s_low": "low",
    "step_s_high": "high",
    "tokens_per_s_per_gpu": "tokens/s per accelerator",
    "mfu": "MFU",
    "bound_by": "what binds",
    "energy_j_per_token": "J per token",
    "cost.usd_per_mtoken": "$ per Mtoken",
    "reason": "why not",
}


def sweep_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield what varies, then what came of it; `--csv` has every field."""
    rows: Sequence[Mapping[str, Any]] = payload["rows"]
    keys = list(dict.fromkeys(key for row in rows for key in row))
    inputs = keys[: keys.index("status")] if "status" in keys else []
    varied = [key for key in inputs if len({str(row.get(key)) for row in rows}) > 1]
    found = [key for key in SWEPT if any(row.get(key) not in (None, "") for row in rows)]
    columns = [*(varied or inputs[:8]), *found]
    table = grid(*(SWEPT.get(column, heading(column)) for column in columns))
    for row in rows[:MOST_ROWS]:
        table.add_row(*(cell(column, row.get(column)) for column in columns))
    yield table
    yield from left_out(rows)
    yield ""
    failed = sum(row.get("status") not in (None, "done") for row in rows)
    yield f"{counted(len(rows), 'job')}, {failed:,} can't run"


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


def domains_tables(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield what was found, a row for each domain, then what it rests on."""
    yield (
        f"{found['model']} on {found['gpus']:,} {found['accelerator']}, {found['precision']}: "
        f"{found['finding']}"
    )
    yield ""
    rows = [row for row in found["rows"] if "reason" not in row]
    yield filled(
        (
            "domain",
            "tokens/s/GPU",
            "gain (band)",
            "MFU",
            "tp",
            "ep",
            "pp",
            "dp",
            "bubble",
            "HBM full",
            "HBM busy",
            "kW a rack",
            "J/token",
            "USD/Mtoken",
            "tokens/s/MW",
            "idle",
        ),
        [_domain_cells(row) for row in rows],
        "plan",
    )
    for row in found["rows"]:
        if "reason" in row:
            yield f"domain {row['domain_accelerators']}: {row['reason']}"
    yield ""
    if found["copper_ends"]:
        yield f"copper ends at {found['copper_ends']}"
    yield from found["notes"]
    yield (
        "tp, ep, pp, dp: % of a step that waits for them; J of IT power, MW of facility power "
        "that is provided; idle: accelerators of the domains in use that the plan leaves as spares"
    )


def _domain_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    hbm = row["hbm"]
    full = sum(hbm["used_bytes"].values()) / hbm["capacity_bytes"]
    band = f"{signed(row['gain_low'])} {signed(row['gain_high'])}" if row["gain"] else ""
    return (
        str(row["domain_accelerators"]),
        three(row["tokens_per_s_per_gpu"]),
        f"{signed(row['gain'])} ({band})" if band else "",
        percent(row["mfu"], 1),
        *(percent(row["exposed"][axis], 1) for axis in ("tp", "ep", "pp", "dp")),
        percent(row["bubble_share"], 1),
        percent(full),
        percent(hbm["bandwidth_utilisation"]),
        three(row["heat_w_per_rack"] / 1e3),
        three(row["energy_j_per_token"]),
        three(row["usd_per_mtoken"]),
        three(row["tokens_per_s_per_mw"]),
        percent(row["idle_share"]),
        row["plan"],
    )


def design_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
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
    titles = (SWEPT.get(column, heading(column.removeprefix("set."))) for column in columns)
    table = grid("front", *titles)
    for row in shown[:MOST_ROWS]:
        table.add_row(
            "*" if row["pareto"] else "",
            *(cell(column.split(".")[-1], row.get(column)) for column in columns),
            style="bold" if row["pareto"] else "",
        )
    yield table
    yield from left_out(shown)
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
