"""One look for every picture: readable in grey, units on axes, one colour for one thing.

In:  axes.
Out: styled axes, figures, files (PNG, SVG, PDF) without a date, so that equal input gives equal
     bytes.
Left out: what is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from rackmodel.annotations import Axes as Axes, Figure as Figure

#: What pictures are drawn from: rows with the keys of `--json`.
Rows: TypeAlias = Sequence[Mapping[str, Any]]
INK, QUIET, GRID = "#1b1f24", "#5b6470", "#d9dde2"
#: In order of use; the lightness alternates so that neighbours differ in grey as well.
COLOURS = ("#1f4e79", "#e69f00", "#2a9d8f", "#b5543c", "#8fb8de", "#6a4c93", "#c9c27a", "#7f8a96")
WARN = "#b3261e"
LIQUID, AIR = "#2f6f9f", "#e8b36a"
#: Behind a label that may lie on a line.
HALO: dict[str, Any] = {"facecolor": "white", "alpha": 0.8, "pad": 0.8, "linewidth": 0}
#: Of a legend that may lie on a line.
BOXED: dict[str, Any] = {"frameon": True, "framealpha": 0.85, "edgecolor": "none"}

#: Parts of a step: label, colour, hatch. The order is that of the stack, from the bottom.
STEP_PARTS: dict[str, tuple[str, str, str]] = {
    "compute": ("compute", "#1f4e79", ""),
    "matrix": ("matrix units", "#1f4e79", ""),
    "hbm": ("HBM-bound kernels", "#7fb0d8", ""),
    "host": ("host-bound", "#39424d", "++"),
    "recompute": ("recomputed", "#a9c4dd", "++"),
    "optimizer": ("optimizer", "#2a9d8f", "--"),
    "tp": ("tp exposed", "#e69f00", ""),
    "cp": ("cp exposed", "#f2cf7f", "xx"),
    "ep": ("ep exposed", "#b5543c", ""),
    "pp": ("pp exposed", "#d9a5b3", "\\\\"),
    "dp": ("dp exposed", "#6a4c93", ""),
    "dp_cp": ("dp exposed", "#6a4c93", ""),
    "edp": ("expert dp exposed", "#a58bc0", "//"),
    "embedding": ("tied embeddings", "#59636e", ""),
    "world": ("gradient norm", "#a7b0ba", "xx"),
    "bubble": ("pipeline bubble", "#e4e7eb", "//"),
    "overhead": ("outside kernels", "#9aa3ad", ".."),
    "jitter": ("waiting for slow ranks", "#c9c27a", "oo"),
}
_SPARE = ("#59636e", "#a7b0ba", "#c9c27a", "#8d6e63")

_RC: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": None,  # set in `look`
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "hatch.linewidth": 0.6,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "none",  # text stays text: it can be found, copied and read aloud
    "svg.hashsalt": "rackmodel",
    "path.simplify": True,
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")


@contextmanager
def look() -> Iterator[None]:
    """Draw in the look of rackmodel inside the `with`; the user's own settings come back after."""
    import matplotlib as mpl
    from cycler import cycler

    with mpl.rc_context(_RC | {"axes.prop_cycle": cycler(color=COLOURS)}):
        yield


def new_figure(
    width: float = 8.0,
    height: float = 4.5,
    *,
    columns: int = 1,
    rows: int = 1,
    widths: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of `width` x `height` inches and its axes, row by row.

    It belongs to no window and no pyplot state, so nothing has to be closed.
    """
    from matplotlib.figure import Figure

    with look():
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, width_ratios=widths)
    return figure, [axes for row in grid for axes in row]


def own_axes(ax: Axes | None, width: float = 8.0, height: float = 4.5) -> Axes:
    """Return `ax`, or the axes of a new figure."""
    return ax if ax is not None else new_figure(width, height)[1][0]


def dress(ax: Axes, *, title: str = "", x: str = "", y: str = "", grid: str = "y") -> Axes:
    """Give axes their title, labels (with units) and grid lines."""
    if title:
        ax.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=10, color=INK)
    ax.set_xlabel(x, color=INK)
    ax.set_ylabel(y, color=INK)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(QUIET)
    ax.set_axisbelow(True)
    for axis in (ax.xaxis, ax.yaxis):  # 16,000; years stay 2024
        if axis.get_scale() == "linear" and 3e3 < max(map(abs, axis.get_view_interval())) < 1e6:
            axis.set_major_formatter("{x:,.10g}")
    if grid:
        ax.grid(True, axis=cast(Literal["both", "x", "y"], grid), color=GRID, linewidth=0.7)
    return ax


def part_look(key: str, number: int = 0) -> tuple[str, str, str]:
    """Return (label, colour, hatch) of a part of a step; unknown ones get a spare colour."""
    if key in STEP_PARTS:
        return STEP_PARTS[key]
    return key.replace("_", " "), _SPARE[number % len(_SPARE)], "xx"


def legend_outside(ax: Axes) -> None:
    """Put the legend to the right of the axes, where it hides nothing, in the order of a stack."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        ax.legend(
            handles[::-1],
            labels[::-1],
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            borderaxespad=0.0,
            frameon=False,
            fontsize=9,
        )


def save(figure: Figure, path: Path | str, form: str = "png") -> None:
    """Write a figure as png, svg or pdf; equal figures give equal bytes."""
    undated = {
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None},
    }
    with look():
        figure.savefig(path, format=form, dpi=160, metadata=undated.get(form, {"Software": None}))


def svg(figure: Figure, prefix: str = "") -> str:
    """Return a figure as an <svg> element for a page, without the XML heading.

    It has no fixed size, so that it shrinks to a phone; `prefix` keeps the ids of several
    figures on one page apart.
    """
    buffer = io.BytesIO()
    with look():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r'href="#', f'href="#{prefix}', text)
    text = text.replace("url(#", f"url(#{prefix}")
    head, rest = text[: text.index(">")], text[text.index(">") :]
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return head + ' role="img"' + rest


def plain_ticks(ax: Axes, *names: str) -> None:
    """Write 2,000 and not 2 x 10^3 on logarithmic axes; at 1, 2 and 5 where few decades show."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for name in names:
        axis = ax.xaxis if name == "x" else ax.yaxis
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1e3 * low else (1.0,)))
        axis.set_major_formatter(
            lambda value, _: f"{value:,.0f}" if 1e3 <= value < 1e6 else compact(value)
        )
        axis.set_minor_formatter(NullFormatter())


def compact(value: float) -> str:
    """Return a number for a label: three figures, k, M, G, T.

    >>> [compact(x) for x in (0.123, 8, 512, 98304, 1.5e9)]
    ['0.123', '8', '512', '98.3k', '1.5G']
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
