"""Quantities as people write them, to and from SI.

In:  "900 GB/s", "400 Gb/s", "1.8 TB/s bidirectional", "120 kW", "5 us", "12 T", or a plain number.
Out: a float in SI (or in the unit that the dimension's name says, such as "lpm"), and text again.
Left out: arithmetic with units; inside rackmodel every number is SI with its unit in the name.

Prefixes are decimal (GB = 1e9 bytes) unless written with an i (GiB = 2**30). Upper and lower case
matter: "GB" is gigabytes, "Gb" gigabits. Bandwidths count one direction: a word such as
"bidirectional" halves.
"""

from __future__ import annotations

import functools
import math
import numbers
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from rackmodel.errors import InvalidInput, shown

_SMALL = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3}
_LARGE = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_COUNT = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12, "P": 1e15, "%": 1e-2}
_COUNT |= {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_PER_S = ("/s", "ps", "/sec", " per second")

LARGEST = 1e36
"""No quantity of a machine or a training run comes near it; a larger number is a slip."""

LEAST_BARE = 1e6  # no rate or memory of a machine is smaller: such text has lost its unit
_RATES = {"bytes_per_s": (1e-12, 1e27), "flops_per_s": (1e-12, 1e30)}


class _Dimension(NamedTuple):
    what: str  # for messages
    example: str
    bases: Mapping[str, float]  # spelling -> size in the base unit, without prefix
    prefixes: Mapping[str, float]
    unit: str = ""  # base unit of `show`
    steps: tuple[tuple[str, float], ...] = ()  # prefixes that `show` may use, largest first
    zero: bool = True  # whether nothing at all is a sensible amount
    pint: str = ""  # base unit for unusual spellings; "" where pint has none


def _rates(stems: Mapping[str, float]) -> dict[str, float]:
    return {stem + per: size for stem, size in stems.items() for per in _PER_S}


_BYTES = {"B": 1.0, "byte": 1.0, "bytes": 1.0, "b": 0.125, "bit": 0.125, "bits": 0.125}
_FLOP = {"FLOP": 1.0, "FLOPs": 1.0, "flop": 1.0, "flops": 1.0, "OP": 1.0, "OPs": 1.0}
_FLOP_RATE = _rates({**_FLOP, "F": 1.0}) | {"FLOPS": 1.0, "OPS": 1.0, "F": 1.0, "flops": 1.0}
_JOULE = {"J": 1.0, "Wh": 3600.0, "joule": 1.0, "joules": 1.0}
_UP = (*((p, _LARGE[p]) for p in "EPTGMk"), ("", 1.0))
_WIDE = (*_UP, ("m", 1e-3), ("u", 1e-6), ("n", 1e-9), ("p", 1e-12))
_DOWN = (("", 1.0), ("m", 1e-3), ("u", 1e-6), ("n", 1e-9), ("p", 1e-12))
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0}
_TIMES = {"min": 60.0, "minutes": 60.0, "h": 3600.0, "hours": 3600.0, "d": 86400.0, "days": 86400.0}
_USD = {"USD": 1.0, "usd": 1.0, "dollar": 1.0, "dollars": 1.0, "$": 1.0}
_PER_BYTE = {"J/byte": 1.0, "J/B": 1.0, "J/bit": 8.0, "J/b": 8.0}
_PER_BIT = {"J/bit": 1.0, "J/b": 1.0, "J/byte": 0.125, "J/B": 0.125}
_PER_FLOP = {"J/FLOP": 1.0, "J/flop": 1.0, "J": 1.0}
_LITRES = ("lpm", "LPM", "L/min", "l/min")
_FLOW = {
    **dict.fromkeys(_LITRES, 1.0),
    "L/s": 60.0,
    "l/s": 60.0,
    "m3/h": 1000 / 60,
    "m³/h": 1000 / 60,
}
_ALL = {**_SMALL, **_LARGE}

_DIMENSIONS: dict[str, _Dimension] = {
    "bytes": _Dimension("a size", "80 GB", _BYTES, {**_LARGE, **_BINARY}, "B", _UP, pint="byte"),
    "bytes_per_s": _Dimension(
        "a bandwidth",
        "900 GB/s",
        _rates(_BYTES),
        {**_LARGE, **_BINARY},
        "B/s",
        _UP,
        False,
        "byte/second",
    ),
    "flops": _Dimension("a count of FLOPs", "6 PFLOP", _FLOP, _LARGE, "FLOP", _UP, pint="flop"),
    "flops_per_s": _Dimension(
        "an arithmetic rate", "2.5 PFLOP/s", _FLOP_RATE, _LARGE, "FLOP/s", _UP, False, "flop/second"
    ),
    "s": _Dimension("a time", "5 us", _SECONDS | _TIMES, _SMALL, "s", _DOWN, pint="second"),
    "w": _Dimension(
        "a power", "120 kW", {"W": 1.0, "watt": 1.0, "watts": 1.0}, _ALL, "W", _WIDE, pint="watt"
    ),
    "j": _Dimension("an energy", "65 J", _JOULE, _ALL, "J", _WIDE, pint="joule"),
    "j_per_byte": _Dimension(
        "an energy per byte", "42 pJ/byte", _PER_BYTE, _ALL, "J/byte", _DOWN, pint="joule/byte"
    ),
    "j_per_bit": _Dimension(
        "an energy per bit", "5 pJ/bit", _PER_BIT, _ALL, "J/bit", _DOWN, pint="joule/bit"
    ),
    "j_per_flop": _Dimension(
        "an energy per FLOP", "0.48 pJ/FLOP", _PER_FLOP, _ALL, "J/FLOP", _DOWN, pint="joule/flop"
    ),
    "usd": _Dimension(
        "an amount of money", "$30,000", _USD, {**_COUNT, "%": math.nan}, "USD", pint=""
    ),
    "m": _Dimension(
        "a length",
        "2 m",
        {"m": 1.0, "metre": 1.0, "metres": 1.0, "meter": 1.0, "cm": 0.01, "ft": 0.3048},
        _ALL,
        "m",
        (("k", 1e3), ("", 1.0), ("m", 1e-3)),
        pint="meter",
    ),
    "c": _Dimension("a temperature", "32 C", {"C": 1.0, "°C": 1.0, "degC": 1.0}, {}, "°C"),
    "k": _Dimension("a temperature difference", "10 K", {"K": 1.0, "kelvin": 1.0}, {}, "K"),
    "k_per_w": _Dimension(
        "a thermal resistance",
        "0.03 K/W",
        {"K/W": 1.0, "C/W": 1.0, "°C/W": 1.0},
        _SMALL,
        "K/W",
        pint="kelvin/watt",
    ),
    "hz": _Dimension("a frequency", "1.83 GHz", {"Hz": 1.0}, _ALL, "Hz", _UP, False, "hertz"),
    "lpm": _Dimension("a flow", "172 L/min", _FLOW, {}, "L/min", pint="liter/minute"),
    "pa": _Dimension(
        "a pressure",
        "140 kPa",
        {"Pa": 1.0, "bar": 1e5, "psi": 6894.757},
        _ALL,
        "Pa",
        _UP,
        pint="pascal",
    ),
    "kg": _Dimension(
        "a mass",
        "1360 kg",
        {"kg": 1.0, "g": 1e-3, "t": 1e3, "lb": 0.45359237},
        {},
        "kg",
        pint="kilogram",
    ),
    "per_hour": _Dimension(
        "a failure rate",
        "1e-6 /h",
        {"/h": 1.0, "per hour": 1.0, "FIT": 1e-9, "/year": 1 / 8760, "/month": 12 / 8760},
        {},
        "/h",
    ),
    "1": _Dimension("a number", "2.5", {"": 1.0, "tokens": 1.0, "token": 1.0}, _COUNT),
}

_NUMBER = re.compile(
    r"\s*(\$?)\s*([-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][-+]?\d+)?)(.*)", re.DOTALL
)
_BOTH = re.compile(
    r"[\s,(]*\b(?:bi-?directional|bi-?dir|both directions|full[ -]duplex)\b[\s)]*$", re.I
)
_ONE = re.compile(
    r"[\s,(]*\b(?:uni-?directional|per direction|one direction|one way|dense)\b[\s)]*$", re.I
)
_UNUSUAL = re.compile(r"[A-Za-zµμ°]+(?:\^?-?[1-3])?(?:\s*[*/ ]\s*[A-Za-zµμ°]+(?:\^?-?[1-3])?){0,4}")


def dimensions() -> list[str]:
    """Return the names of all dimensions that `parse` and `show` know."""
    return list(_DIMENSIONS)


@functools.cache
def dimension_of(field: str) -> str:
    """Return the dimension that a field's name states by its suffix; "1" where it states none.

    A dotted path is read from its end: in "e_flop_j.bf16" the parent says the unit.

    >>> dimension_of("hbm_bytes_per_s"), dimension_of("flops_per_s.bf16"), dimension_of("radix")
    ('bytes_per_s', 'flops_per_s', '1')
    """
    for name in reversed(field.split(".")):
        if name in _NAMED:
            return _NAMED[name]
        for suffix in _SUFFIXES:
            if name == suffix or name.endswith("_" + suffix):
                compound = "_per_" in name and "_per_" not in suffix and suffix != "per_hour"
                return "1" if compound else suffix  # "usd_per_kwh": the name states the unit
    return "1"


_NAMED = {
    "e_flop_j": "j_per_flop",
    "joule_per_bit_per_end": "j_per_bit",
    "usd_per_end": "usd",
    "watts_fixed": "w",
}
_SUFFIXES = sorted((name for name in _DIMENSIONS if name != "1"), key=len, reverse=True)


@functools.cache
def _factors(dimension: str) -> dict[str, float]:
    """Return {spelling without spaces: size in the base unit} of one dimension."""
    kind = _DIMENSIONS[dimension]
    table = {base.replace(" ", ""): size for base, size in kind.bases.items()}
    for prefix, scale in kind.prefixes.items():
        for base, size in kind.bases.items():
            if math.isfinite(scale):
                table.setdefault((prefix + base).replace(" ", ""), scale * size)
    if dimension == "usd":  # "$3M", "1.2 million"
        table |= {prefix: scale for prefix, scale in kind.prefixes.items() if prefix != "%"}
    return table


def parse(value: object, dimension: str, *, where: str, positive: bool = False) -> float:
    """Return `value` in SI.

    Parameters
    ----------
    value : a number (already SI), or text: a number with a unit of the dimension.
    dimension : one of `dimensions()`, such as "bytes_per_s"; "1" is a plain number or count.
    where : what the value is for (file and key path, or option), for the message.
    positive : refuse zero; zero rates (bandwidth, FLOP/s, Hz) are refused in any case.

    Raises
    ------
    InvalidInput
        If it is not a number, not finite, negative, zero where that is meaningless,
        absurdly large, or of another dimension.

    Examples
    --------
    >>> parse("400 Gb/s", "bytes_per_s", where="--nic")
    50000000000.0
    >>> parse("1.8 TB/s bidirectional", "bytes_per_s", where="--nvlink")
    900000000000.0
    >>> parse("1.5k", "1", where="--gpus"), parse(80e9, "bytes", where="hbm_bytes")
    (1500.0, 80000000000.0)
    """
    kind = _DIMENSIONS[dimension]
    if isinstance(value, str):
        number = _parse_text(value, dimension, where)
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    else:
        raise _wrong(value, dimension, where)

    lowest = -273.15 if dimension == "c" else 0.0
    if math.isnan(number):
        raise InvalidInput(
            f"{where}: expected {kind.what}, found {shown(value)}, which is not a number"
        )
    if number > LARGEST:
        raise InvalidInput(
            f"{where}: {shown(value)} is too large for {kind.what}; expected one such as"
            f" {kind.example!r}"
        )
    least, most = _RATES.get(dimension, (0.0, LARGEST))
    if 0 < number < least or number > most:
        size = "small" if number < least else "large"
        raise InvalidInput(
            f"{where}: {shown(value)} is too {size} for {kind.what} (outside {least:g} to {most:g})"
        )
    if number < lowest:
        reason = "below absolute zero" if dimension == "c" else "negative"
        raise InvalidInput(
            f"{where}: {shown(value)} is {reason}; expected {kind.what} such as {kind.example!r}"
        )
    if number == 0 and (positive or not kind.zero):
        raise InvalidInput(
            f"{where}: {kind.what} of zero makes no sense; expected one such as {kind.example!r}"
        )
    return number


def _wrong(value: object, dimension: str, where: str, remedy: str = "") -> InvalidInput:
    kind = _DIMENSIONS[dimension]
    return InvalidInput(
        f"{where}: expected {kind.what} such as {kind.example!r}, found {shown(value)}{remedy}"
    )


def _parse_text(text: str, dimension: str, where: str) -> float:
    """Return the value of a number with a unit."""
    if len(text) > 200:
        raise _wrong(text, dimension, where)
    bare = text.strip()
    if bare.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise _wrong(text, dimension, where, ", which is not a finite number")
    if re.search(r"\b(sparse|sparsity)\b", bare, re.I):
        raise _wrong(text, dimension, where, "; give the dense rate (usually half)")

    share = 1.0
    if dimension in _RATES:
        bare, both_ways = _BOTH.subn("", bare)
        bare, share = _ONE.sub("", bare).strip(), 0.5 if both_ways else 1.0
    match = _NUMBER.fullmatch(bare)
    assert match is not None  # every part of the pattern may be empty
    dollar, digits, unit = match.group(1), match.group(2), match.group(3).strip()
    try:
        number = float(digits.replace(",", ""))
    except ValueError:
        raise _wrong(text, dimension, where) from None
    if dollar and dimension != "usd":
        raise _wrong(text, dimension, where)
    if not unit:
        if dimension in _RATES and 0.0 < number < LEAST_BARE:
            raise _wrong(text, dimension, where, ", which has no unit")
        return number * share
    if dimension == "c" and unit in ("K", "kelvin"):
        return number - 273.15
    factor = _factors(dimension).get(re.sub(r"\s+", "", unit))
    if factor is None:
        factor = _unusual(unit, dimension)
    if factor is None:
        raise _wrong(text, dimension, where, _remedy(unit, dimension))
    return number * factor * share


def _remedy(unit: str, dimension: str) -> str:
    """Say what the unit is instead, or which one was probably meant."""
    spelling = re.sub(r"\s+", "", unit)
    for other, kind in _DIMENSIONS.items():
        if other not in (dimension, "1") and spelling in _factors(other):
            return f", which is {kind.what}"
    near = sorted({u for u in _factors(dimension) if u.lower() == spelling.lower()})
    if near:
        return f"; write {' or '.join(near)} (case matters: B is bytes, b is bits)"
    return f"; unknown unit {unit!r}" if len(unit) <= 30 else ""


def _unusual(unit: str, dimension: str) -> float | None:
    """Return the size of a rare spelling by pint, None if it is not of this dimension."""
    base = _DIMENSIONS[dimension].pint
    known_elsewhere = re.sub(r"\s+", "", unit).lower() in _known_lower()
    if not base or known_elsewhere or len(unit) > 40 or not _UNUSUAL.fullmatch(unit):
        return None
    try:
        registry = _registry()
        return float(registry.Quantity(1.0, registry.parse_units(unit)).to(base).magnitude)
    except Exception:  # pint raises a dozen kinds, down to AttributeError and TypeError
        return None


@functools.cache
def _known_lower() -> frozenset[str]:
    """Return all spellings in lower case; what only differs in case is a slip, not a rare unit."""
    return frozenset(unit.lower() for name in _DIMENSIONS for unit in _factors(name))


@functools.cache
def _registry() -> Any:
    """Return a pint registry in which bits and FLOPs are dimensions of their own."""
    import pint

    registry: Any = pint.UnitRegistry(on_redefinition="ignore")
    registry.define("bit = [information]")  # by default pint counts bits as plain numbers
    registry.define("byte = 8 * bit = B = octet")
    registry.define("flop = [operation] = FLOP")
    registry._build_cache()  # else byte keeps the dimension that it was loaded with
    return registry


def show(value: float, dimension: str, *, digits: int = 4) -> str:
    """Return `value` (SI) as people write it.

    >>> show(900e9, "bytes_per_s"), show(5e-6, "s"), show(131900, "w"), show(3e6, "usd")
    ('900 GB/s', '5 us', '131.9 kW', '$3,000,000')
    """
    kind = _DIMENSIONS[dimension]
    if dimension == "usd":
        places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
        return f"${value:,.0f}" if abs(value) >= 1000 else f"${round(value, places):g}"
    if dimension == "1":
        large = abs(value) >= 10**digits and value == int(value)
        return f"{value:,.0f}" if large else f"{value:.{digits}g}"
    steps = kind.steps or (("", 1.0),)
    # what is smaller than the smallest prefix stays in that one; nothing at all needs none
    fitting = [step for step in steps if abs(float(f"{value / step[1]:.{digits}g}")) >= 1]
    prefix, size = fitting[0] if fitting else steps[-1] if value else ("", 1.0)
    return f"{_plain(value / size, digits)} {prefix}{kind.unit}"


def _plain(value: float, digits: int) -> str:
    """Return digits without an exponent where a person would write none."""
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text and abs(value) < 1e6 else text
