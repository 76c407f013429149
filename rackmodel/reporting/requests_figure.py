"""Pictures of requests as events.

In:  payloads as `rackmodel serve --rate --json` prints them.
Out: a matplotlib figure.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rackmodel.reporting.style import (
    COLOURS,
    INK,
    Axes,
    Figure,
    dress,
    look,
    new_figure,
    plain_ticks,
)
from rackmodel.reporting.words import percent, seconds, three


def requests_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw requests, cache and power over time, and the times that requests take."""
    row = rows[0]
    over = row["over_time"]
    figure, (queue, cache, power, times) = new_figure(10.0, 7.0, columns=2, rows=2)
    with look():
        for name, colour in (("running", COLOURS[0]), ("waiting", COLOURS[1])):
            queue.plot(over["time_s"], over[name], color=colour, label=name)
        queue.legend()
        dress(queue, title="Requests", x="time [s]", y="requests", grid="both")
        share = [100.0 * value for value in over["kv_used_share"]]
        cache.plot(over["time_s"], share, color=COLOURS[2])
        cache.set_ylim(bottom=0.0)
        dress(cache, title="KV blocks in use", x="time [s]", y="of all blocks [%]", grid="both")
        watts = [value / 1e3 for value in over["power_w"]]
        power.plot(over["time_s"], watts, color=COLOURS[3])
        power.set_ylim(bottom=0.0)
        dress(power, title="Power of racks and fabric", x="time [s]", y="power [kW]", grid="both")
        request_times(row, times)
        kept = f", {percent(row['within_slo'])} within the slo" if any(row["slo"].values()) else ""
        figure.suptitle(
            f"{row['model']} on {row['gpus']:,} of {row['topology']}:"
            f" {three(row['requests_per_s'])} requests/s, first token"
            f" {seconds(row['ttft_s']['p99'])} (p99){kept}",
            x=0.01,
            ha="left",
            fontweight="bold",
            color=INK,
        )
    return figure


def request_times(row: Mapping[str, Any], ax: Axes) -> Axes:
    """Draw percentiles of the times that requests take."""
    labels = ("p50", "p90", "p99")
    parts = (("ttft_s", "first token"), ("tpot_s", "per token"), ("e2e_s", "whole answer"))
    with look():
        for place, (key, name) in enumerate(parts):
            values = [row[key][label] * 1e3 for label in labels]
            spots = [place * 4 + number for number in range(len(labels))]
            bars = ax.bar(spots, values, color=COLOURS[place], label=name)
            ax.bar_label(bars, labels, padding=2, fontsize=8)
        ax.set_yscale("log")
        plain_ticks(ax, "y")
        ax.set_xticks([])
        ax.legend()
        return dress(ax, title="Times of requests", y="time [ms]", grid="y")
