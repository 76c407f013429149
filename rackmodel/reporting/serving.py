"""Pictures of serving.

In:  payloads as `rackmodel serve --json` prints them.
Out: matplotlib axes.
Left out: computing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def breakdown_figure(rows: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Draw where the time of a token goes, one bar a result."""
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(7, 1.2 + 0.6 * len(rows)), layout="constrained")
    names = list(rows[0]["breakdown_s"])
    labels = [f"{row['topology']}, {row['users']:,} users" for row in rows]
    left = [0.0] * len(rows)
    for name in names:
        widths = [row["breakdown_s"].get(name, 0.0) * 1e3 for row in rows]
        ax.barh(labels, widths, left=left, label=name)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ax.set_xlabel("time per token (ms)")
    ax.invert_yaxis()
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=4, frameon=False)
    return ax


def validation_scatter(rows: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Draw predicted against measured times per token, both axes logarithmic."""
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(6.5, 6.0), layout="constrained")
    good = [row for row in rows if row.get("predicted_tpot_s") and row.get("measured_tpot_s")]
    names = sorted({str(row.get("software")) for row in good})
    for name in names:
        mine = [row for row in good if str(row.get("software")) == name]
        measured = [row["measured_tpot_s"] * 1e3 for row in mine]
        predicted = [row["predicted_tpot_s"] * 1e3 for row in mine]
        ax.plot(measured, predicted, ".", alpha=0.6, label=name)
    ends = [min((row["measured_tpot_s"] for row in good), default=1e-3) * 1e3]
    ends.append(max((row["measured_tpot_s"] for row in good), default=1.0) * 1e3)
    ax.plot(ends, ends, color="grey", linewidth=0.9)
    ax.set(xscale="log", yscale="log", xlabel="measured (ms)", ylabel="predicted (ms)")
    ax.legend(frameon=False)
    return ax


def front_figure(rows: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Draw tokens/s per accelerator against tokens/s per user, one line a machine."""
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(figsize=(7.5, 5.0), layout="constrained")
    for name in dict.fromkeys(str(row["topology"]) for row in rows):
        mine = [row for row in rows if row["topology"] == name]
        ax.plot(
            [row["tokens_per_s_per_user"] for row in mine],
            [row["tokens_per_s_per_gpu"] for row in mine],
            "o-",
            markersize=4,
            label=f"{name} ({mine[0]['gpus']:,} accelerators)",
        )
    ax.set(xlabel="tokens/s per user", ylabel="tokens/s per accelerator", yscale="log")
    ax.legend(frameon=False)
    return ax


def domains_figure(found: Mapping[str, Any]) -> Axes:
    """Draw tokens/s per accelerator (bars) and USD per million tokens (line) of each domain."""
    import matplotlib.pyplot as plt

    rows = [row for row in found["rows"] if "reason" not in row]
    labels = [str(row["domain_accelerators"]) for row in rows]
    _, ax = plt.subplots(figsize=(8.5, 4.6), layout="constrained")
    bars = ax.bar(labels, [row["tokens_per_s_per_gpu"] for row in rows], width=0.6)
    ax.bar_label(bars, fmt="%.0f", padding=2)
    ax.set(xlabel="accelerators of a scale-up domain", ylabel="tokens/s per accelerator")
    ax.set_title(f"{found['model']}: {found['finding']}", loc="left", fontsize=9, wrap=True)
    right = ax.twinx()
    right.plot(labels, [row["usd_per_mtoken"] for row in rows], "o-", color="tab:red")
    right.set_ylabel("USD per million tokens", color="tab:red")
    right.set_ylim(bottom=0.0)
    return ax
