"""Tables about a plan: what it wastes, what each change gains; a recorded step elsewhere.

In:  the payloads of `advise` and `replay`.
Out: things that rich can print; the answer first, then why.
Left out: ranked plans (`tables_step`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rackmodel.cli.tables import RenderableType, filled
from rackmodel.reporting.words import MISSING, counted, part_name, seconds, signed, three

LEAST_GAIN = 0.005  # of the step: what gains less stands in one line


def advice_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the answer in one line, the changes, what is wasted."""
    rows = payload["rows"]
    what = (
        f"{payload['model']} on {counted(payload['gpus'], 'accelerator')} of {payload['topology']}"
    )
    best = f"{seconds(payload['best_step_s'])} a step: {payload['flags']}"
    if payload["refusal"]:
        yield f"{what}: refused: {payload['refusal']}"
        yield ""
        yield f"best: {best}"
        shown = rows
    else:
        shown = [row for row in rows if row["gain"] >= LEAST_GAIN]
        yield f"{what}: {seconds(payload['step_s'])} a step as given"
        yield ""
        if payload["times_as_fast"] < 1 + LEAST_GAIN:
            yield "no plan was found that is faster"
        else:
            yield f"{payload['times_as_fast']:.2f} times as fast: {best}"
    if shown:
        titles = ("one change, the rest as given", "step", "gain")
        table = [
            (_change(row), seconds(row["step_s"]), signed(row["gain"], 0), row["flags"])
            for row in shown
        ]
        yield ""
        yield filled(titles, table, "flags")
    if len(shown) < len(rows):
        idle = ", ".join(row["choice"] for row in rows if row not in shown)
        yield f"nothing to gain from {idle} alone"
    for part in payload["wasted"]:
        longer = seconds(part["given_s"] - part["best_s"])
        yield f"wasted: {part_name(part['part'])}, {longer} of {seconds(part['given_s'])}"


def replay_tables(payload: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the answer in one line, then what became of each kind of operation."""
    before, after = payload["recorded_s"], payload["step_s"]
    yield (
        f"{seconds(after)} a step on {payload['topology']}, {seconds(before)} as recorded on "
        f"{payload['recorded_on']}: {before / after:.2f} times as fast"
    )
    yield ""
    yield filled(
        ("operations, sums over all ranks", "", "recorded", "here", "times as long"),
        [
            (
                row["what"],
                f"{row['operations']:,}",
                seconds(row["recorded_s"]),
                seconds(row["seconds"]),
                three(row["times"]),
            )
            for row in payload["rows"]
        ],
    )
    yield from payload["notes"]


def _change(row: Mapping[str, Any]) -> str:
    words = [
        f"{name.replace('_', ' ')} {_value(old)} -> {_value(row['new'][name])}"
        for name, old in row["given"].items()
    ]
    return ", ".join(words)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return MISSING if value is None or value == "" else str(value)
