"""Designs of hardware: the front of those that no other one beats.

In:  rows of a design search.
Out: a figure.
Left out: the search (`rackmodel.sweeps.design_search`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rackmodel.reporting.study import pareto
from rackmodel.reporting.style import Axes, Figure, Rows, compact, new_figure
from rackmodel.reporting.words import three


def design_front(
    rows: Rows,
    ax: Axes | None = None,
    *,
    objectives: Mapping[str, str],
    knobs: Sequence[str] = (),
) -> Figure | Axes:
    """Draw the first objective against each of the others, the front joined by a line.

    ax : for the first of the others alone.

    rows : designs, with allowed and pareto. objectives : {figure: "max" or "min"}. knobs : what
    varies; the topology, else the first of them, has the colours.
    """
    wanted = list(objectives.items())
    others = wanted[1:] or wanted
    rows = [row for row in rows if row["allowed"]]
    group = next((name for name in ("topology", *knobs) if name in knobs), "")
    figure, axes = new_figure(6.5 * len(others), 5.0, columns=len(others))
    axes = axes if ax is None else [ax]
    words = {"max": "high", "min": "low"}
    for place, (name, sense) in zip(axes, others, strict=False):
        pareto(
            rows,
            place,
            x=wanted[0][0],
            y=name,
            group=group,
            labels=(_label(wanted[0][0]), _label(name)),
            better=(words[wanted[0][1]], words[sense]),
        )
        short, _, unit = _label(name).rstrip("]").partition(" [")
        reached = [row[name] for row in rows if row.get(name) is not None]
        best = three((max if sense == "max" else min)(reached)) if reached else "none"
        title = f"{short[0].upper()}{short[1:]}, at best {best} {unit}".rstrip()
        place.set_title(title, loc="left", fontsize=11, fontweight="bold")
        place.xaxis.set_major_formatter(
            lambda value, _: f"{value:,.4g}" if value < 1e4 else compact(value)
        )
    return figure if ax is None else ax


def _label(column: str) -> str:
    units = {
        "tokens_per_s": "tokens/s",
        "tokens_per_s_per_gpu": "tokens/s per accelerator",
        "cost.usd_per_mtoken": "cost [$ per million tokens]",
        "energy_j_per_token": "energy [J per token]",
        "cost.capital_usd": "capital [$]",
        "rack_peak_w": "peak of the hottest rack [W]",
        "step_s": "step [s]",
    }
    return units.get(column, column)
