"""The options about the site that a machine stands in: power cap, coolant, cables, prices.

In:  words of the command line.
Out: one `Annotated` type per option, and the fields of `rackmodel.assess.site.Site`.
Left out: what the options do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import typer

from rackmodel.cli.values import clip
from rackmodel.errors import InvalidInput

_SITE = "Site"


def _option(name: str, metavar: str, text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        name, metavar=metavar, help=text, rich_help_panel=_SITE, show_default=False
    )
    return option


PowerCapOption: TypeAlias = Annotated[
    str | None,
    _option(
        "--power-cap",
        "POWER",
        "Cap of an accelerator, such as 500W; a job above it slows down. Default: its own.",
    ),
]
MediumOption: TypeAlias = Annotated[
    list[str] | None,
    _option(
        "--medium",
        "TIER=MEDIUM[:LENGTH]",
        "Swap what links of a tier are made of: scale-up=pluggable, scale-out=aec:5m. Repeatable.",
    ),
]
SupplyOption: TypeAlias = Annotated[
    str | None, _option("--supply-c", "DEGC", "Coolant that racks get, or air. Default: theirs.")
]
RiseOption: TypeAlias = Annotated[
    str | None, _option("--rise-k", "K", "Rise of coolant or air across a rack. Default: its own.")
]
FlowOption: TypeAlias = Annotated[
    str | None,
    _option("--flow-lpm", "L/MIN", "Coolant flow of a rack; its rise then follows from its heat."),
]
PueOption: TypeAlias = Annotated[
    str | None, _option("--pue", "RATIO", "Power of the hall over power of its racks.")
]
UsdPerKwhOption: TypeAlias = Annotated[
    str | None, _option("--usd-per-kwh", "USD", "Price of power. Default: the catalog's.")
]
RunTokensOption: TypeAlias = Annotated[
    str | None,
    _option(
        "--tokens",
        "T",
        "Also tell days, MWh and dollars of a whole run of so many tokens, such as 15T.",
    ),
]


def site_fields(
    *,
    power_cap: str | None = None,
    medium: Sequence[str] | None = None,
    supply_c: str | None = None,
    rise_k: str | None = None,
    flow_lpm: str | None = None,
    pue: str | None = None,
    usd_per_kwh: str | None = None,
    run_tokens: str | None = None,
) -> dict[str, Any]:
    """Return the fields of `Site` that were given.

    Raises
    ------
    InvalidInput
        If a word is not a quantity of its kind.
    """
    from rackmodel.units import parse

    given: dict[str, Any] = {}
    if power_cap is not None:
        given["power_cap_w"] = parse(_plain(power_cap), "w", where="--power-cap", positive=True)
    if flow_lpm is not None and rise_k is not None:
        raise InvalidInput(
            "--flow-lpm: give a flow or --rise-k, not both; each follows from the other"
        )
    numbers = {
        "supply_c": ("--supply-c", supply_c, "32"),
        "rise_k": ("--rise-k", rise_k, "10"),
        "flow_lpm": ("--flow-lpm", flow_lpm, "150"),
        "facility_pue": ("--pue", pue, "1.15"),
        "usd_per_kwh": ("--usd-per-kwh", usd_per_kwh, "0.08"),
    }
    for name, (option, word, example) in numbers.items():
        if word is not None:
            given[name] = _number(word, option, example)
    if medium:
        given["media"], given["lengths_m"] = _media(medium)
    if run_tokens is not None:
        given["run_tokens"] = _run_tokens(run_tokens)
    return given


def _plain(word: str) -> str | float:
    """Return a bare number as a number: watts."""
    try:
        return float(word)
    except ValueError:
        return word


def _number(word: str, where: str, example: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e9:
        raise InvalidInput(f"{where}: wanted a number such as {example}; got {clip(word)!r}")
    return number


def _media(words: Sequence[str]) -> tuple[dict[str, str], dict[str, float]]:
    """Return {tier: medium} and {tier: length} of `--medium TIER=MEDIUM[:LENGTH]`."""
    from rackmodel.units import parse

    media: dict[str, str] = {}
    lengths: dict[str, float] = {}
    for word in words:
        tier, equals, rest = (part.strip() for part in word.partition("="))
        medium, colon, length = (part.strip() for part in rest.partition(":"))
        if not equals or not tier or not medium or (colon and not length):
            raise InvalidInput(
                f"--medium: wanted TIER=MEDIUM or TIER=MEDIUM:LENGTH; got {clip(word)!r}"
            )
        if tier in media:
            raise InvalidInput(f"--medium: {clip(tier)} is given twice")
        media[tier] = medium
        if colon:
            lengths[tier] = parse(_plain(length), "m", where=f"--medium {tier}", positive=True)
    return media, lengths


def _run_tokens(word: str) -> int:
    """Return the tokens of a whole run; K, M, B (or G) and T are powers of a thousand."""
    scale = {"K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}.get(word.strip()[-1:].upper())
    digits = word.strip()[:-1] if scale else word
    try:
        number = float(digits.replace(",", "").replace("_", "")) * (scale or 1)
    except ValueError:
        number = -1.0
    if not 1 <= number <= 1e18:
        raise InvalidInput(f"--tokens: wanted a number of tokens such as 15T; got {clip(word)!r}")
    return round(number)
