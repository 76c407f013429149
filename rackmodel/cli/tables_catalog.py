"""Tables about what there is: lists, and one thing with sources and grades.

In:  rows as `--json` prints them.
Out: things that rich can print.
Left out: where the rows come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rackmodel.cli.tables import RenderableType, grid
from rackmodel.reporting.words import MISSING, known, part_name, scaled, seconds, three

#: How a column is shown, by the unit that ends its name: (unit, divide by, heading).
_SHOWN = (
    ("flops_per_s", "FLOP/s"),
    ("bytes_per_s", "B/s"),
    ("_bytes", "B"),
    ("_w", "W"),
    ("_j", "J"),
    ("_m", "m"),
)
_SAID = (*(ending for ending, _ in _SHOWN), "_s")


def cell(name: str, value: Any) -> str:
    """Return a value of a column with the unit that its name says.

    >>> cell("hbm_bytes_per_s", 8e12), cell("latency_s", 5e-7), cell("year", 2024)
    ('8 TB/s', '500 ns', '2024')
    >>> cell("racks[0].by_part_w.memory", 240.0)
    '240 W'
    """
    if value is None or value == "" or value != value:
        return MISSING
    said = (re.sub(r"\[[^]]*\]|_low$|_high$", "", part) for part in reversed(name.split(".")))
    name = next((part for part in said if part.endswith(_SAID)), name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not known(value):
        return part_name(str(value)) if name == "bound_by" else str(value)
    if name == "year":
        return str(int(value))
    if name.startswith("flops_per_s") or name.endswith("flops_per_s"):
        return scaled(value, "FLOP/s")
    for ending, unit in _SHOWN:
        if name.endswith(ending):
            return scaled(value, unit) if unit != "m" else f"{three(value)} m"
    if name.endswith("_s") and "_per_s" not in name:
        return seconds(value)
    if name in ("mean_error", "inside_band", "mfu", "hfu"):
        return f"{100 * value:.1f}%"
    if name in ("parameters", "active_parameters"):
        return scaled(value, "", " kMBT").replace(" ", "")
    return three(value) if isinstance(value, float) else f"{value:,}"


def heading(name: str) -> str:
    """Return a column's name in words, without the unit that its cells show.

    >>> heading("accelerators.gb200.hbm_bytes_per_s"), heading("peak_w"), heading("tokens_per_s")
    ('accelerators.gb200.hbm bandwidth', 'peak', 'tokens/s')
    """
    units = (f"_{ending.removeprefix('_')}" for ending in _SAID if not name.endswith("_per_s"))
    shown = next((name.removesuffix(unit) for unit in units if name.endswith(unit)), name)
    shown = shown.removeprefix("flops_per_s.").removeprefix("cost.")
    shown = shown.replace("_bytes_per_s", " bandwidth").removesuffix("_flops_per_s")
    return shown.replace("_per_s", "/s").replace("_per_", "/").replace("_", " ")


def listing_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield one row a thing; columns where no row has a value are left out."""
    rows: Sequence[Mapping[str, Any]] = payload["rows"]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [key for key in columns if any(row.get(key) not in (None, "") for row in rows)]
    table = grid(*map(heading, columns))
    for key, column in zip(columns, table.columns, strict=True):
        numeric = all(known(row.get(key)) or row.get(key) in (None, "") for row in rows)
        column.justify = "right" if numeric else "left"
    for row in rows:
        table.add_row(*(cell(key, row.get(key)) for key in columns))
    yield table
    yield ""
    if payload["kind"] == "stacks":
        yield (
            f"{len(rows)} families of software; error and band on the published runs that ship "
            "(`rackmodel validate`). For software of a date that is not here say unknown-2024-06."
        )
        return
    if payload["kind"] == "schedules":
        yield (
            "in flight: micro-batches whose activations wait on the fullest rank; that and idle"
            " over busy time with pp 8, 64 micro-batches and the fewest chunks, all passes alike."
        )
    if payload["kind"] in ("schedules", "collectives", "builders"):
        yield f"{len(rows)} {payload['kind']}; docs/extending.md says how to add your own."
        return
    yield (
        f"{len(rows)} {payload['kind']}; "
        "peaks are dense, bandwidths one direction, prefixes decimal. "
        "`rackmodel show NAME` has the sources."
    )


def facts_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield everything known about one thing: value, grade, source, note."""
    yield f"{payload['name']}  ({payload['kind']})"
    for line in payload.get("lines") or ():
        yield str(line)
    rows = payload["rows"]
    if not rows:
        return
    yield ""
    table = grid("field", "value", "grade", "source", "note")
    for column in table.columns:
        column.justify = "left"
    with_notes = any(row.get("note") for row in rows)
    for row in rows:
        table.add_row(
            str(row["field"]),
            str(row["value"]),
            str(row.get("grade") or ""),
            str(row.get("source") or ""),
            str(row.get("note") or "") if with_notes else "",
        )
    yield table
    sources: Mapping[str, Any] = payload.get("sources") or {}
    if sources:
        yield ""
        yield "sources"
        for key, text in sources.items():
            yield f"  {key}: {text}"


def difference_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield inputs that differ, then figures that moved."""
    rows = payload["rows"]
    if not rows:
        yield "the results are the same"
    for part, title in (("input", "inputs"), ("output", "figures")):
        found = [row for row in rows if row["part"] == part]
        if not found:
            continue
        table = grid(title, "before", "after", "change")
        for row in found:
            name = str(row["field"])
            change = row["change"]
            table.add_row(
                row["field"],
                cell(name, row["before"]),
                cell(name, row["after"]),
                f"{100 * change:+.1f}%" if change is not None and part == "output" else "",
            )
        yield table
