"""Tables about halls.

In:  the payload of `rackmodel hall --json`.
Out: things that rich can print.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rackmodel.cli.tables import RenderableType, filled
from rackmodel.reporting.words import seconds, three, whole


def hall_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the jobs, who slows them, what their racks draw."""
    titles = ("job", "what", "GPUs", "step alone", "with others", "slower", "tokens/s", "kW")
    rows = []
    for row in payload["rows"]:
        mine = [rack["mean_w"] for rack in payload["racks"] if rack["job"] == row["job"]]
        rows.append(
            (
                row["job"],
                row["kind"],
                whole(row["gpus"]),
                seconds(row["step_alone_s"]),
                seconds(row["step_s"]),
                f"{row['slowdown']:.3f}x",
                three(row["tokens_per_s"]),
                three(sum(mine) / 1e3),
                ", ".join(f"{name} {by:.3f}x" for name, by in row["slowed_by"].items()),
            )
        )
    table = filled(titles, rows, "slowed by")
    table.columns[titles.index("what")].justify = "left"
    yield table
    yield ""
    for row in payload["rows"]:
        if phases := row.get("phases"):
            parts = (
                f"{name} {seconds(one['alone_s'])} alone, {one['slowdown']:.3f}x"
                for name, one in phases.items()
            )
            yield f"{row['job']}: {'; '.join(parts)}"
        if times := row.get("requests"):
            first, token = times["ttft_s"], times["tpot_s"]
            yield (
                f"{row['job']}: first token p50 {seconds(first['p50'])}, p99"
                f" {seconds(first['p99'])}; per token p50 {seconds(token['p50'])}, p99"
                f" {seconds(token['p99'])}"
            )
    mean, peak = payload["racks_mean_w"] / 1e3, payload["racks_peak_w"] / 1e3
    yield (
        f"{payload['topology']}, {seconds(payload['window_s'])}: {three(mean)} kW in all racks of"
        f" jobs, up to {three(peak)}. Steps and power over time: add --json or --plot."
    )
