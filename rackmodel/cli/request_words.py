"""The options of requests as events.

In:  --rate, --trace, --requests and their kin.
Out: parameters of `serve`; the words of `rackmodel.serve_requests`.
Left out: the served job itself (`groups`).
"""

from __future__ import annotations

from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path

from rackmodel.cli.files import check_file
from rackmodel.cli.options import Words, fields_options
from rackmodel.errors import InvalidInput
from rackmodel.fields import setting

EVENTS = ("rate", "trace", "requests", "slo", "together")
_ABOUT_THEM = ("cv", "lengths", "spread", "balance")


@dataclass(frozen=True, kw_only=True)
class RequestWords:
    """Requests that are served; none is given by default."""

    rate: float | None = setting(None, "Requests per second.", 12.5, option="--rate")
    trace: Path | None = setting(
        None,
        "A CSV file with arrival_s, isl, osl and, if wanted, prefix (tokens at the start of the "
        "prompt that others share) and prefix_id (which ones).",
        option="--trace",
    )
    requests: int | None = setting(
        None,
        "Requests that are measured; with --users alone those of a closed loop.",
        option="--requests",
    )
    slo: str | None = setting(
        None,
        "What requests have to keep: ttft, tpot, e2e.",
        "ttft=1s,tpot=50ms",
        unit="name=time,...",
        option="--slo",
    )
    together: bool = setting(
        False,
        "Users of a closed loop set out at once, as benchmarks let them; all requests count.",
        option="--together",
    )
    cv: float | None = setting(
        None,
        "Gaps between requests, standard deviation over mean: 1 for a Poisson process, 0 evenly "
        "spaced, above 1 in bursts.",
        option="--cv",
    )
    lengths: str | None = setting(
        None,
        "Lengths of prompts and answers: all alike; uniform; exponential answers; or as these "
        "services had them.",
        choices=("fixed", "uniform", "exponential", "azure-code", "azure-conversation"),
        option="--lengths",
    )
    spread: float | None = setting(
        None,
        "With --lengths uniform: half the range over the mean; 0.8 is 0.2 to 1.8 times the mean.",
        option="--spread",
    )
    balance: str | None = setting(
        None,
        "Which worker gets a request: the one with the fewest, each in turn, or one that holds its "
        "prefix.",
        choices=("least", "round-robin", "prefix"),
        option="--balance",
    )


def request_options(only: tuple[str, ...] = (*EVENTS, *_ABOUT_THEM)) -> list[Parameter]:
    """Return the options of requests."""
    return fields_options(RequestWords, "Requests one by one (percentiles)", only, left_out="open")


def request_words(words: Words) -> Words:
    """Check the words of requests; where none is given, refuse what only acts on them."""
    if "trace" in words:
        words["trace"] = check_file(words["trace"], "--trace")
    if not words.get("together"):
        words.pop("together", None)
    if not words.keys() & set(EVENTS):
        for name in _ABOUT_THEM:
            if name in words:
                raise InvalidInput(f"--{name}: about single requests; give --rate or --requests")
        for name in ("users", "isl", "osl"):
            if name not in words:
                raise InvalidInput(f"--{name}: missing; give it, or requests by --rate or --trace")
    return words
