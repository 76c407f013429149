"""Pictures of what was held against print: predicted and measured steps, errors, verdicts.

In:  rows, each with measured_step_s and predicted_step_s (None: not drawn), or of a claim.
Out: axes, or a figure of both.
Left out: predicting.
"""

from __future__ import annotations

from rackmodel.reporting.style import (
    COLOURS,
    MARKERS,
    QUIET,
    Axes,
    Figure,
    Rows,
    dress,
    look,
    new_figure,
    own_axes,
    plain_ticks,
)

GRID_BAND = "#dfe7ee"


VERDICTS = ("supported", "consistent", "depends", "refuted")  # a colour each
FEW = 5  # runs, of which no spread is drawn


def validation_scatter(rows: Rows, ax: Axes | None = None, *, group: str = "") -> Axes:
    """Draw predicted against measured step times with the +-10% band, both axes logarithmic.

    rows : each with measured_step_s, predicted_step_s (None: not drawn) and `group`.
    """
    ax = own_axes(ax, 6.5, 6.0)
    good = [row for row in rows if row.get("predicted_step_s") and row.get("measured_step_s")]
    with look():
        values = [row[key] for row in good for key in ("measured_step_s", "predicted_step_s")]
        low, high = min(values, default=1.0) / 1.5, max(values, default=1.0) * 1.5
        ax.fill_between(
            [low, high],
            [0.9 * low, 0.9 * high],
            [1.1 * low, 1.1 * high],
            color=GRID_BAND,
            linewidth=0,
            label="within 10%",
        )
        ax.plot([low, high], [low, high], color=QUIET, linewidth=0.9)
        names = list(dict.fromkeys(str(row.get(group, "")) for row in good))
        for index, name in enumerate(names):
            members = [row for row in good if str(row.get(group, "")) == name]
            ax.plot(
                [row["measured_step_s"] for row in members],
                [row["predicted_step_s"] for row in members],
                MARKERS[index % 8],
                color=COLOURS[index % len(COLOURS)],
                markersize=4.5,
                alpha=0.75,
                label=name or "published runs",
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(low, high)
        ax.set_ylim(low, high)
        ax.set_aspect("equal")
        plain_ticks(ax, "x", "y")
        errors = [abs(row["predicted_step_s"] / row["measured_step_s"] - 1) for row in good]
        text = f"{len(good):,} runs"
        if errors:
            inside = sum(error <= 0.1 for error in errors) / len(errors)
            text += f", mean error {sum(errors) / len(errors):.1%}, {inside:.0%} in the band"
        ax.legend(loc="upper left", frameon=False, fontsize=8.5)
        return dress(
            ax,
            title=f"Predicted against measured\n{text}",
            x="measured step [s]",
            y="predicted step [s]",
            grid="both",
        )


def error_bars(rows: Rows, ax: Axes | None = None, *, group: str = "topology") -> Axes:
    """Draw the spread of signed errors for each group: middle half thick, middle 80% thin.

    A group of few runs has a dot for each.
    """
    import numpy as np

    ax = own_axes(ax)
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row.get("predicted_step_s") and row.get("measured_step_s"):
            error = 100 * (row["predicted_step_s"] / row["measured_step_s"] - 1)
            groups.setdefault(str(row.get(group, "")), []).append(error)
    ordered = sorted(groups.items(), key=lambda item: len(item[1]))[-14:]
    with look():
        ax.axvspan(-10, 10, color=GRID_BAND, linewidth=0)
        ax.axvline(0, color=QUIET, linewidth=0.9)
        for index, (_, errors) in enumerate(ordered):
            if len(errors) < FEW:
                ax.plot(errors, [index] * len(errors), "o", color=COLOURS[0], ms=5, alpha=0.75)
                continue
            p10, p25, p50, p75, p90 = np.percentile(errors, [10, 25, 50, 75, 90])
            ax.plot([p10, p90], [index, index], color=COLOURS[0], linewidth=1.2)
            ax.plot([p25, p75], [index, index], color=COLOURS[0], linewidth=6, alpha=0.75)
            ax.plot(p50, index, "|", color="white", markersize=9, markeredgewidth=2)
        ax.set_yticks(
            range(len(ordered)), [f"{name or 'all'} ({len(errors)})" for name, errors in ordered]
        )
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.7, len(ordered) - 0.3)
        return dress(
            ax, title=f"Error by {group}", x="(predicted - measured) / measured [%]", grid="x"
        )


def validation_figure(rows: Rows, ax: Axes | None = None) -> Figure | Axes:
    """Return predicted against measured beside the errors by topology; on `ax` the first alone."""
    if ax is not None:
        return validation_scatter(rows, ax)
    figure, (left, right) = new_figure(13.5, 6.2, columns=2, widths=(1, 1))
    validation_scatter(rows, left)
    error_bars(rows, right)
    return figure


def verdict_bars(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw how many claims of each topic have which verdict.

    rows : with `topic` and `verdict`, one a claim.
    """
    ax = own_axes(ax)
    topics = list(dict.fromkeys(str(row["topic"]) for row in rows))[::-1]
    with look():
        before = dict.fromkeys(topics, 0)
        for verdict in dict.fromkeys(str(row["verdict"]) for row in rows):
            found = [row["topic"] for row in rows if row["verdict"] == verdict]
            counts = [found.count(topic) for topic in topics]
            color = COLOURS[VERDICTS.index(verdict)]
            ax.barh(topics, counts, left=list(before.values()), color=color, label=verdict)
            before = {
                topic: before[topic] + count for topic, count in zip(topics, counts, strict=True)
            }
        ax.legend(frameon=False)
        return dress(ax, title="Verdicts by topic", x="claims", grid="x")
