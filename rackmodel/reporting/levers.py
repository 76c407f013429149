"""What doubling and halving each resource does to tokens/s, as a picture.

In:  rows of `sensitivity`.
Out: a tornado of bars, the largest lever on top.
Left out: working them out (`study.shadow_prices`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rackmodel.reporting.style import COLOURS, INK, dress, look, own_axes
from rackmodel.reporting.words import part_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]


def tornado(rows: Rows, ax: Axes | None = None, *, title: str = "What doubling gains") -> Axes:
    """Draw what doubling (and halving) each resource does to tokens/s, the largest on top.

    rows : each with `resource`, `gain` (relative, doubled) and where known `loss` (halved).
    """
    ordered = sorted(
        rows, key=lambda row: max(abs(row.get("gain") or 0), abs(row.get("loss") or 0))
    )
    ax = own_axes(ax, 8.0, 1.4 + 0.42 * max(1, len(ordered)))
    with look():
        for index, row in enumerate(ordered):
            for key, colour, hatch in (("gain", COLOURS[0], ""), ("loss", COLOURS[1], "//")):
                change = row.get(key)
                if change is None:
                    continue
                ax.barh(
                    index,
                    100 * change,
                    0.62,
                    color=colour,
                    hatch=hatch,
                    edgecolor="white",
                    label={"gain": "doubled", "loss": "halved"}[key],
                )
            for text, at, right in _changes(row.get("gain"), row.get("loss")):
                ax.annotate(
                    text,
                    (at, index),
                    xytext=(4 if right else -4, 0),
                    textcoords="offset points",
                    ha="left" if right else "right",
                    va="center",
                    fontsize=8.5,
                )
        ax.axvline(0, color=INK, linewidth=0.9)
        ax.set_yticks(
            range(len(ordered)),
            [str(row.get("label") or part_name(str(row["resource"]))) for row in ordered],
        )
        ax.tick_params(axis="y", length=0)
        ax.margins(x=0.16)
        ax.spines["left"].set_visible(False)
        if any(row.get("loss") is not None for row in rows):
            handles, labels = ax.get_legend_handles_labels()
            unique = dict(zip(labels, handles, strict=True))
            ax.legend(unique.values(), unique.keys(), loc="lower right", frameon=False)
        return dress(ax, title=title, x="change of tokens/s [%]", grid="x")


def _changes(*changes: float | None) -> list[tuple[str, float, bool]]:
    """Return text, place in percent and whether it stands to the right, for the bars of a resource.

    Of two bars on one side the shorter has its text on the other side of the axis; two equal texts
    are one.

    >>> _changes(0.25, -0.37)
    [('+25.0%', 25.0, True), ('-37.0%', -37.0, False)]
    >>> _changes(0.0, 0.002)
    [('+0.2%', 0.2, True), ('+0.0%', 0.0, False)]
    >>> _changes(0.0, -0.0)
    [('0.0%', 0.0, True)]
    """
    known = sorted((one for one in changes if one is not None), key=abs, reverse=True)
    texts = [f"{100 * one:+.1f}%" for one in known]
    if {text.strip("+-") for text in texts} == {"0.0%"}:
        return [("0.0%", 0.0, True)]
    sides = [one >= 0 for one in known]
    found = list(zip(texts, (100 * one for one in known), sides, strict=True))
    if len(known) == 2 and sides[0] == sides[1]:
        found[1] = (texts[1], 0.0, not sides[1])
    return sorted(found, key=lambda one: not one[2])
