"""Pictures of serving.

In:  payloads as `rackmodel serve --json` and its like print them.
Out: matplotlib axes.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from rackmodel.reporting.style import (
    COLOURS,
    QUIET,
    WARN,
    Axes,
    Rows,
    dress,
    look,
    own_axes,
    plain_ticks,
)
from rackmodel.reporting.words import counted


def breakdown_figure(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw where the time of a token goes, one bar a result."""
    ax = own_axes(ax, 8.0, 2.4 + 0.6 * len(rows))
    labels = [f"{row['topology']}, {row['users']:,} users" for row in rows]
    left = [0.0] * len(rows)
    with look():
        for number, name in enumerate(rows[0]["breakdown_s"]):
            widths = [row["breakdown_s"].get(name, 0.0) * 1e3 for row in rows]
            if not any(widths):
                continue
            colour = COLOURS[number % len(COLOURS)]
            ax.barh(labels, widths, left=left, label=name, color=colour, edgecolor="white")
            left = [a + b for a, b in zip(left, widths, strict=True)]
        ax.invert_yaxis()
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=4)
        title = f"A token takes {rows[0]['tpot_s'] * 1e3:.3g} ms"
        return dress(ax, title=title, x="time per token [ms]", grid="x")


def validation_scatter(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw predicted against measured times per token, a dot for each run."""
    ax = own_axes(ax, 7.0, 6.2)
    good = [row for row in rows if row.get("predicted_tpot_s") and row.get("measured_tpot_s")]
    ends = [row["measured_tpot_s"] * 1e3 for row in good] or [1.0]
    with look():
        for number, name in enumerate(sorted({str(row.get("software")) for row in good})):
            mine = [row for row in good if str(row.get("software")) == name]
            ax.plot(
                [row["measured_tpot_s"] * 1e3 for row in mine],
                [row["predicted_tpot_s"] * 1e3 for row in mine],
                ".",
                alpha=0.7,
                color=COLOURS[number % len(COLOURS)],
                label=name,
            )
        line = (min(ends), max(ends))
        ax.plot(line, line, color=QUIET, linewidth=0.9)
        ax.set(xscale="log", yscale="log")
        plain_ticks(ax, "x", "y")
        ax.legend()
        errors = [abs(row["predicted_tpot_s"] / row["measured_tpot_s"] - 1) for row in good]
        title = f"Time per token of {len(good):,} runs"
        title += f": median error {median(errors):.1%}" if errors else ""
        words = {"x": "measured time per token [ms]", "y": "predicted [ms]"}
        return dress(ax, title=title, grid="both", **words)


def front_figure(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw tokens/s per accelerator against tokens/s per user, one line a machine."""
    ax = own_axes(ax, 8.0, 5.2)
    markers = "os^Dv"
    with look():
        for number, name in enumerate(dict.fromkeys(str(row["topology"]) for row in rows)):
            mine = [row for row in rows if row["topology"] == name]
            ax.plot(
                [row["tokens_per_s_per_user"] for row in mine],
                [row["tokens_per_s_per_gpu"] for row in mine],
                f"{markers[number % len(markers)]}-",
                color=COLOURS[number % len(COLOURS)],
                markersize=4,
                label=f"{name} ({counted(mine[0]['gpus'], 'accelerator')})",
            )
        ax.set_yscale("log")
        ax.set_xlim(left=0.0)
        plain_ticks(ax, "y")
        ax.legend()
        words = {"x": "tokens/s per user", "y": "tokens/s per accelerator"}
        return dress(ax, title=_at_one_speed(rows), grid="both", **words)


def _at_one_speed(rows: Rows) -> str:
    """Say what machines give at half the speed that all of them reach: the best, and the last.

    >>> _at_one_speed([{"topology": "a", "tokens_per_s_per_user": 80.0,
    ...                 "tokens_per_s_per_gpu": 1200.0}])
    'At 40+ tokens/s a user: a 1,200 tokens/s an accelerator'
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        one = row["tokens_per_s_per_user"], row["tokens_per_s_per_gpu"]
        points.setdefault(str(row["topology"]), []).append(one)
    speed = float(f"{0.5 * min(max(own)[0] for own in points.values()):.2g}")
    given = {name: max(y for x, y in own if x >= speed) for name, own in points.items()}
    ranked = sorted(given, key=lambda name: -given[name])
    shown = ", ".join(
        f"{name} {given[name]:,.0f}" for name in dict.fromkeys((ranked[0], ranked[-1]))
    )
    return f"At {speed:g}+ tokens/s a user: {shown} tokens/s an accelerator"


def domains_picture(rows: Rows, ax: Axes | None = None, *, found: Mapping[str, Any]) -> Axes:
    """Draw `domains_figure` of a finding, of which `rows` are the rows."""
    return domains_figure(found, ax)


def domains_figure(found: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Draw tokens/s per accelerator (bars) and USD per million tokens (line) of each domain."""
    rows = [row for row in found["rows"] if "reason" not in row]
    labels = [str(row["domain_accelerators"]) for row in rows]
    ax = own_axes(ax, 9.0, 5.0)
    with look():
        rates = [row["tokens_per_s_per_gpu"] for row in rows]
        bars = ax.bar(labels, rates, width=0.6, color=COLOURS[0])
        inside: Any = {"label_type": "center", "color": "white", "fontweight": "bold"}
        ax.bar_label(bars, fmt="{:,.0f}", **inside)
        right = ax.twinx()
        prices = [row["usd_per_mtoken"] for row in rows]
        right.plot(labels, prices, "o-", color=WARN)
        right.set_ylabel("$ per million tokens", color=WARN)
        right.set_ylim(0.0, max(prices, default=1.0) * 1.1)
        words = {"x": "accelerators of a scale-up domain", "y": "tokens/s per accelerator"}
        dress(ax, **words)
        title = f"{found['model']}: {found['finding']}"
        ax.set_title(title, loc="left", fontsize=10, fontweight="bold", wrap=True)
    return ax
