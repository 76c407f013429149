"""Tables about the network: collectives as nccl-tests prints them, and flows.

In:  payloads as `--json` prints them.
Out: things that rich can print.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rackmodel.cli.tables import RenderableType, filled, grid
from rackmodel.reporting.words import MISSING, counted, known, percent, scaled, seconds, whole

MOST_FLOWS = 40  # rows of a table for people; --csv has all


def collective_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield size, time, algbw and busbw beside the physical bound and what binds."""
    from rackmodel.network.collectives.costs import POSTED

    rows = payload["rows"]
    yield f"{payload['op']}  {payload['topology']}  {counted(payload['gpus'], 'accelerator')}"
    yield ""
    table = grid("size (B)", "time (us)", "algbw (GB/s)", "busbw (GB/s)", "bound (us)", "of bound")
    table.columns[0].justify = "right"
    table.add_column("algorithm")
    table.add_column("what binds")
    for row in rows:
        time, bound = row["time_s"], row["bound_s"]
        reached = percent(bound / time) if known(bound) and known(time) and time else MISSING
        table.add_row(
            whole(row["bytes"]),
            _fixed(time, 1e6, 1),
            _fixed(row["algbw_bytes_per_s"], 1e-9, 2),
            _fixed(row["busbw_bytes_per_s"], 1e-9, 2),
            _fixed(bound, 1e6, 1),
            reached,
            str(row["algorithm"]),
            str(row.get("binds") or row["bound_by"]),
        )
    yield table
    yield ""
    yield "GB = 1e9 bytes; bound: bytes through the tightest cut over its capacity; none is faster."
    if any(row.get("binds") == POSTED for row in rows):
        yield (
            f"{POSTED}: between domains that span hosts NCCL sends to each partner by itself, "
            "128 KB a post, whatever the rate of the NICs (GB300 over two racks, NCCL 2.28.7: less "
            "than a tenth of the 670 GB/s of one). --algorithm rail gathers over the rack first."
        )


def _fixed(value: Any, scale: float, digits: int) -> str:
    return f"{value * scale:,.{digits}f}" if known(value) else MISSING


def flows_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the flows in their order (the first of many), then the whole in one line."""
    rows = payload["rows"]
    yield filled(
        ("source", "target", "bytes", "start", "finish", "mean GB/s", "hops"),
        [
            (
                str(row["source"]),
                str(row["target"]),
                scaled(row["bytes"], "B"),
                seconds(row["start_s"]),
                seconds(row["finish_s"]),
                _fixed(row["mean_bytes_per_s"], 1e-9, 2),
                whole(row["hops"]),
                str(row["bottleneck"]),
            )
            for row in rows[:MOST_FLOWS]
        ],
        "bottleneck",
    )
    if len(rows) > MOST_FLOWS:
        yield f"... {len(rows) - MOST_FLOWS:,} more rows: --csv has all"
    if rows:
        last = max(row["finish_s"] for row in rows)
        moved = sum(row["bytes"] for row in rows)
        yield ""
        yield f"{len(rows):,} flows, {scaled(moved, 'B')}, the last ends at {seconds(last)}"
