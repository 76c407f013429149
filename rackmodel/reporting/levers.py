"""What would make a job faster, as bars: resources, changes of its plan, time that is lost.

In:  rows of `sensitivity`, `advise` and `goodput`.
Out: `tornado`, the largest lever on top; `changes`; `lost_time`.
Left out: working them out (`study.shadow_prices`, `planning.advice`, `assess.availability`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rackmodel.reporting.style import COLOURS, INK, QUIET, Axes, Rows, dress, look, own_axes
from rackmodel.reporting.words import part_name, percent, seconds, signed


def tornado(rows: Rows, ax: Axes | None = None) -> Axes:
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
        named_bars(ax, [_named(row) for row in ordered])
        ax.margins(x=0.16)
        if any(row.get("loss") is not None for row in rows):
            handles, labels = ax.get_legend_handles_labels()
            unique = dict(zip(labels, handles, strict=True))
            ax.legend(unique.values(), unique.keys(), loc="lower right", frameon=False)
        gains = sorted((row for row in rows if row.get("gain")), key=lambda row: -row["gain"])
        named = [f"{_named(row)} {signed(row['gain'])}" for row in gains[:2] if row["gain"] > 0.0]
        title = f"Doubling: {', '.join(named)}" if named else "Doubling gains nothing"
        return dress(ax, title=title, x="change of tokens/s [%]", grid="x")


def _named(row: Mapping[str, Any]) -> str:
    return str(row.get("label") or part_name(str(row["resource"])))


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


def changes(
    rows: Rows, ax: Axes | None = None, *, found: Mapping[str, Any], longest: int = 44
) -> Axes:
    """Draw the step as given, after each single change of the plan, and of the best plan.

    rows : each with step_s, flags and gain (None: the plan is refused). found : step_s (None:
    refused), best_step_s and times_as_fast.
    """
    given, best = found["step_s"], found["best_step_s"]
    bars: list[tuple[str, float, str, float | None]] = []
    if given is not None:
        bars.append(("as given", given, QUIET, None))
    for row in sorted(rows, key=lambda row: -row["step_s"]):
        text = str(row["flags"] or row["choice"])
        text = text if len(text) <= longest else f"{text[: longest - 3]}..."
        bars.append((text, row["step_s"], COLOURS[0], row["gain"]))
    whole = None if given is None else found["times_as_fast"] - 1.0
    bars = [*bars, ("best plan found", best, COLOURS[2], whole)][::-1]
    ax = own_axes(ax, 8.0, 1.4 + 0.42 * len(bars))
    with look():
        for index, (_, step_s, colour, gain) in enumerate(bars):
            ax.barh(index, step_s, 0.62, color=colour, edgecolor="white")
            text = seconds(step_s) + ("" if gain is None else f"  ({signed(gain, 0)} tokens/s)")
            told(ax, text, step_s, index)
        named_bars(ax, [name for name, *_ in bars])
        ax.margins(x=0.25)
        title = "The plan is refused; what would run"
        if whole is not None:
            most = max((row["gain"] for row in rows if row["gain"] is not None), default=0.0)
            title = f"One change gains up to {signed(most, 0)}, the best plan {signed(whole, 0)}"
        return dress(ax, title=title, x="step [s]", grid="x")


def lost_time(rows: Rows, ax: Axes | None = None, *, found: Mapping[str, Any]) -> Axes:
    """Draw what keeps time from advancing the job, each part that fails with its restarts.

    rows : parts, each with its share of the interruptions. found : shares of the time.
    """
    shares = found["shares"]
    bars = [(name, 100 * shares[name], 0.0) for name in ("checkpoints", "planned stops")]
    both = 100 * shares["restarts"], 100 * shares["work lost"]
    bars += [(row["part"], both[0] * row["share"], both[1] * row["share"]) for row in rows]
    least = 0.01 * max(one + more for _, one, more in bars)  # less can't be seen
    bars = [bar for bar in bars if bar[1] + bar[2] > least]
    bars.sort(key=lambda bar: bar[1] + bar[2])
    ax = own_axes(ax, 8.0, 1.6 + 0.42 * len(bars))
    with look():
        names, first, second = zip(*bars, strict=True) if bars else ((), (), ())
        places = range(len(bars))
        ax.barh(places, first, 0.62, color=COLOURS[0], edgecolor="white", label="stopped")
        ax.barh(
            places,
            second,
            0.62,
            left=first,
            color=COLOURS[1],
            hatch="//",
            edgecolor="white",
            label="work done again",
        )
        for index, (one, more) in enumerate(zip(first, second, strict=True)):
            told(ax, f"{one + more:.2f}%", one + more, index)
        named_bars(ax, names)
        ax.margins(x=0.16)
        ax.legend(loc="lower right", frameon=False)
        title = f"{percent(shares['advances'], 1)} of the time advances the job; the rest:"
        return dress(ax, title=title, x="share of the time [%]", grid="x")


def told(ax: Axes, text: str, at: float, index: float) -> None:
    """Write beside the end of a bar."""
    ax.annotate(
        text, (at, index), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5
    )


def named_bars(ax: Axes, names: Sequence[str]) -> None:
    """Name the bars, without a line on their left."""
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
