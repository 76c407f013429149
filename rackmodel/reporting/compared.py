"""Two results as bars: what differs between them, and what another machine makes of a trace.

In:  rows of `diff` and of `replay`.
Out: `moved`, the largest change on top; `kinds`, recorded beside replayed.
Left out: finding the differences (`difference`), playing the trace (`traces.run`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rackmodel.reporting.levers import named_bars, told
from rackmodel.reporting.style import COLOURS, INK, QUIET, Axes, Rows, dress, look, own_axes
from rackmodel.reporting.words import seconds, signed


def moved(rows: Rows, ax: Axes | None = None, *, most: int = 16) -> Axes:
    """Draw by how much figures moved, in the order of the rows; inputs that differ are grey.

    rows : each with part, field and change (relative; None of what is no figure).
    """
    drawn = [row for row in rows if row["change"] is not None][:most][::-1]
    ax = own_axes(ax, 8.0, 1.4 + 0.42 * max(1, len(drawn)))
    with look():
        for index, row in enumerate(drawn):
            change = 100 * row["change"]
            colour = QUIET if row["part"] == "input" else COLOURS[0 if change > 0 else 1]
            ax.barh(index, change, 0.62, color=colour, edgecolor="white")
            told(ax, _by(row), max(change, 0.0), index)
        named_bars(ax, [str(row["field"]) for row in drawn])
        ax.axvline(0, color=INK, linewidth=0.9)
        ax.margins(x=0.2)
        ends = [*drawn[-1:], *sorted(drawn, key=lambda row: abs(row["change"]))[-1:]]
        names = dict.fromkeys(f"{row['field']} {_by(row)}" for row in ends)
        return dress(ax, title=", ".join(names) or "No figure moved", x="change [%]", grid="x")


def _by(row: Mapping[str, Any]) -> str:
    return signed(row["change"]) if abs(row["change"]) >= 5e-4 else "under 0.1%"


def kinds(rows: Rows, ax: Axes | None = None, *, found: Mapping[str, Any]) -> Axes:
    """Draw the seconds of each kind of operation, as recorded and on the other machine.

    rows : each with what, recorded_s and seconds. found : topology, recorded_on, step_s, as_read_s.
    """
    bars = [*rows][::-1]
    ax = own_axes(ax, 8.0, 1.6 + 0.62 * max(1, len(bars)))
    names = (str(found["recorded_on"]), str(found["topology"]))
    with look():
        for shift, key, colour, name in (
            (0.2, "recorded_s", QUIET, f"recorded on {names[0]}"),
            (-0.2, "seconds", COLOURS[0], f"on {names[1]}"),
        ):
            places = [index + shift for index in range(len(bars))]
            ax.barh(places, [row[key] for row in bars], 0.38, color=colour, label=name)
            for place, row in zip(places, bars, strict=True):
                told(ax, seconds(row[key]), row[key], place)
        named_bars(ax, [str(row["what"]) for row in bars])
        ax.margins(x=0.2)
        ax.legend(loc="lower right", frameon=False)
        title = f"A step of {seconds(found['as_read_s'])} takes {seconds(found['step_s'])}"
        return dress(ax, title=title, x="seconds of all operations in a step [s]", grid="x")
