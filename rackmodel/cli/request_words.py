"""The options of requests as events.

In:  --rate, --trace, --requests and their kin.
Out: parameters of `serve`; the words of `rackmodel.serve_requests`.
Left out: the served job itself (`groups`).
"""

from __future__ import annotations

from inspect import Parameter
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from rackmodel.cli.files import check_file
from rackmodel.cli.options import Words, parameter
from rackmodel.cli.values import counter, number
from rackmodel.errors import InvalidInput
from rackmodel.fields import MOST_WHOLE

_PANEL = "Requests one by one (percentiles)"
EVENTS = ("rate", "trace", "requests", "slo", "together")
_ALL = (*EVENTS, "cv", "lengths", "spread", "balance")

Users: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--users",
        metavar="N",
        parser=counter("--users", MOST_WHOLE),
        help="Requests in flight, over all accelerators. Example: --users 256",
        rich_help_panel="Job",
        show_default=False,
    ),
]
Rate: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="R",
        help="Requests per second. Example: --rate 12.5",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Trace: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="A CSV file with arrival_s, isl, osl and, if wanted, prefix (tokens at the begin of "
        "the prompt that others share) and prefix_id (which ones).",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Requests: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--requests",
        metavar="N",
        parser=counter("--requests"),
        help="Requests that are measured; with --users alone those of a closed loop.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Slo: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--slo",
        metavar="NAME=TIME,...",
        help="What requests have to keep: ttft, tpot, e2e. Example: --slo ttft=1s,tpot=50ms",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Cv: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--cv",
        metavar="X",
        help="Of the gaps at a rate, standard deviation over mean: 1 Poisson, 0 a clock, more in "
        "bursts.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Lengths: TypeAlias = Annotated[
    Literal["fixed", "uniform", "exponential", "azure-code", "azure-conversation"] | None,
    typer.Option(
        "--lengths",
        help="Of prompts and answers: all alike; uniform; exponential answers; as these services "
        "saw them.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Spread: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--spread",
        metavar="X",
        help="Of uniform lengths, half the width over the mean: 0.8, a fifth to nine fifths.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Together: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--together",
        help="Users of a closed loop set out at once, as benchmarks let them; all requests count.",
        rich_help_panel=_PANEL,
    ),
]
Balance: TypeAlias = Annotated[
    Literal["least", "round-robin", "prefix"] | None,
    typer.Option(
        "--balance",
        help="Who gets a request: the worker with fewest, each in turn, one that has its prefix.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]


def request_options() -> list[Parameter]:
    """Return the options of requests, none of them given by default."""
    kinds = (Rate, Trace, Requests, Slo, Together, Cv, Lengths, Spread, Balance)
    return [
        parameter(name, kind, False if kind is Together else None)
        for name, kind in zip(_ALL, kinds, strict=True)
    ]


def request_words(words: Words) -> Words:
    """Read the words of requests; where none is given, refuse what only acts on them."""
    if not words.get("together"):
        words.pop("together", None)
    for name in ("rate", "cv", "spread"):
        if name in words:
            words[name] = number(words[name], f"--{name}")
    if "trace" in words:
        words["trace"] = check_file(words["trace"], "--trace")
    if not words.keys() & set(EVENTS):
        for name in _ALL[len(EVENTS) :]:
            if name in words:
                raise InvalidInput(f"--{name}: about single requests; give --rate or --requests")
        for name in ("users", "isl", "osl"):
            if name not in words:
                raise InvalidInput(f"--{name}: missing; give it, or requests by --rate or --trace")
    return words
