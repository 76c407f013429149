"""Values as people write them on a command line, checked before anything heavy is imported.

In:  words such as "1,024", "8k", "1GB", "8:8G:x2", "mfu>=0.4", "accelerators.gb200.hbm_bytes=1TB".
Out: numbers and small records; a bad word raises with what was wanted and what was found.
Left out: units with dimensions, which `rackmodel.units` reads.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rackmodel.errors import InvalidInput
from rackmodel.fields import MOST, MOST_RANKS, MOST_WHOLE, span
from rackmodel.units import parse

_THOUSANDS = {"": 1, "k": 1_000, "m": 1_000_000}
_TOKENS = {"": 1, "k": 1024, "m": 1024**2}
_NUMBER = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e\+?[0-9]{1,2})?)\s*([a-z]*)", re.IGNORECASE)


def _count(text: str, where: str, suffixes: Mapping[str, int], bounds: tuple[float, float]) -> int:
    """Return a whole number within bounds; see `count`."""
    least, most = bounds
    match = _NUMBER.fullmatch(text.strip()) if len(text) <= 40 else None
    bare = re.fullmatch(r"-?[0-9.]{1,40}", text)  # shown as Python has it
    wanted = f"{where}: expected a whole number from {least:,} to {most:,}, found "
    wanted += text if bare else repr(clip(text))
    if match is None or match[2].lower() not in suffixes:
        raise InvalidInput(wanted)
    plain = "." in match[1] and "e" not in match[1].lower() and not match[2]
    number = float(match[1].replace(",", "").replace("_", "")) * suffixes[match[2].lower()]
    if plain or number != math.floor(number) or not least <= number <= most:
        raise InvalidInput(wanted)
    return int(number)


def count(text: str, where: str, limit: float = MOST_WHOLE, least: float = 1) -> int:
    """Return a whole number from `least` to `limit`; k is a thousand and M a million.

    >>> [count(word, "--gpus") for word in ("1,024", "98_304", "1e6", "100k")]
    [1024, 98304, 1000000, 100000]
    """
    return _count(text, where, _THOUSANDS, (least, limit))


def tokens(text: str, where: str, limit: float = MOST_WHOLE, least: float = 1) -> int:
    """Return a sequence length; k is 1,024 as in "an 8k context".

    >>> tokens("8k", "--seq-len")
    8192
    """
    return _count(text, where, _TOKENS, (least, limit))


def counter(option: str, limit: int = MOST_RANKS) -> Callable[[object], int]:
    """Return a typer parser of whole numbers above 0 that names its option in errors."""

    def parse(word: object) -> int:
        return word if isinstance(word, int) else count(str(word), option, limit)

    return parse


def number(
    text: str, where: str, like: str = "32", least: float = -MOST, limit: float = MOST
) -> float:
    """Return a plain number from `least` to `limit`, below 1e9."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not abs(found) < 1e9:
        raise InvalidInput(f"{where}: wanted a number below 1e9 such as {like}; got {clip(text)!r}")
    if not least <= found <= limit:
        raise InvalidInput(f"{where}: expected a number{span(least, limit)}, found {text}")
    return found


def quantity(dimension: str) -> Callable[[str, str], float]:
    """Return a reader of numbers with a unit; a bare number is in SI, but for times: `4` may be
    hours."""

    def read(text: str, where: str) -> float:
        if dimension == "s" and re.fullmatch(r"[0-9.,_e+]+", text.strip()) and text.strip() != "0":
            raise InvalidInput(f"{where}: {clip(text)} of what? It needs a unit: 4s, 4min, 4h, 4d")
        return parse(text, dimension, where=where, positive=True)

    return read


def run_tokens(word: str, where: str) -> int:
    """Return the tokens of a whole run; K, M, B (or G) and T are powers of a thousand.

    >>> run_tokens("15T", "--tokens")
    15000000000000
    """
    scale = {"K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}.get(word.strip()[-1:].upper())
    digits = word.strip()[:-1] if scale else word
    try:
        found = float(digits.replace(",", "").replace("_", "")) * (scale or 1)
    except ValueError:
        found = -1.0
    if not 1 <= found <= 1e18:
        raise InvalidInput(f"{where}: wanted a number of tokens such as 15T; got {clip(word)!r}")
    return round(found)


def medium(word: str, where: str) -> tuple[str, str, float | None]:
    """Return (tier, medium, length) of TIER=MEDIUM[:LENGTH]. [m]

    >>> medium("scale-out=aec:5m", "--medium")
    ('scale-out', 'aec', 5.0)
    """
    tier, equals, rest = (part.strip() for part in word.partition("="))
    name, colon, length = (part.strip() for part in rest.partition(":"))
    if not equals or not tier or not name or (colon and not length):
        raise InvalidInput(f"{where}: wanted TIER=MEDIUM or TIER=MEDIUM:LENGTH; got {clip(word)!r}")
    return tier, name, quantity("m")(length, f"{where} {tier}") if colon else None


#: Words of --smooth: field, dimension of its value ("" for a plain number), what follows the unit.
SMOOTHING = {
    "floor": ("floor", "", ""),
    "ramp": ("ramp_w_per_s", "w", "/s"),
    "capacitors": ("capacitors_j", "j", ""),
    "battery": ("battery_j", "j", ""),
}


def smoothing(word: str, where: str) -> tuple[str, float]:
    """Return (field, value) of HOW=VALUE.

    >>> smoothing("ramp=20 kW/s", "--smooth"), smoothing("capacitors=65J", "--smooth")
    (('ramp_w_per_s', 20000.0), ('capacitors_j', 65.0))
    """
    name, equals, text = (part.strip() for part in word.partition("="))
    if not equals or name not in SMOOTHING or not text:
        known = ", ".join(f"{key}=VALUE" for key in SMOOTHING)
        raise InvalidInput(f"{where}: wanted {known}; got {clip(word)!r}")
    field, dimension, after = SMOOTHING[name]
    if after and not text.endswith(after):
        raise InvalidInput(f"{where} {name}: wanted a rate such as 20kW/s; got {clip(text)!r}")
    where = f"{where} {name}"
    if not dimension:
        return field, number(text, where, "0.8")
    return field, quantity(dimension)(text.removesuffix(after), where)


def assignments(words: Sequence[str]) -> dict[str, str]:
    """Return {dotted key: value as written} of words KEY=VALUE.

    >>> assignments(["accelerators.gb200.power_w=1.1 kW"])
    {'accelerators.gb200.power_w': '1.1 kW'}
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals or not value.strip() or not re.fullmatch(r"[\w-]+(\.[\w-]+)+", key):
            raise InvalidInput(
                f"--set: wanted KEY=VALUE such as accelerators.gb200.hbm_bytes_per_s='10 TB/s'; "
                f"got {clip(word)!r}"
            )
        if key in found:
            raise InvalidInput(f"--set: {key} is given twice")
        found[key] = value.strip()
    return found


def mappings(words: Sequence[str]) -> dict[str, str]:
    """Return {key of rackmodel, or links.NAME: expression} of words KEY=EXPR of --map.

    >>> mappings(["bytes_per_s=LinkSpeedRaw/8", "links.pcie=64 GB/s"])
    {'bytes_per_s': 'LinkSpeedRaw/8', 'links.pcie': '64 GB/s'}
    """
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = (part.strip() for part in word.partition("="))
        known = key in MAPPED or (key.startswith("links.") and len(key) > len("links."))
        if not equals or not value or not known:
            raise InvalidInput(
                f"--map: wanted KEY=EXPR such as bytes_per_s=LinkSpeedRaw/8, with a key of"
                f" {', '.join(MAPPED)} or links.NAME; got {clip(word)!r}"
            )
        if key in found:
            raise InvalidInput(f"--map: {key} is given twice")
        found[key] = value
    return found


MAPPED = (
    *("bytes_per_s", "latency_s", "count", "medium", "kind", "rack", "index", "part"),
    *("accelerator", "chassis"),
)


_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}


class Threshold(NamedTuple):
    """What `--assert` demands of a result: a dotted field, a comparison, a number in SI units."""

    field: str
    comparison: str
    value: float

    def met_by(self, number: float) -> bool:
        """Tell whether `number` is on the right side."""
        return _OPERATORS[self.comparison](number, self.value)


def thresholds(words: Sequence[str]) -> list[Threshold]:
    """Return the demands of `--assert`.

    >>> thresholds(["mfu>=0.4"])
    [Threshold(field='mfu', comparison='>=', value=0.4)]
    """
    found = []
    for word in words:
        match = re.fullmatch(r"\s*([\w-]+(?:\.[\w-]+)*)\s*(>=|<=|==|>|<)\s*(\S+)\s*", word[:200])
        try:
            value = float(match[3]) if match else math.nan
        except ValueError:
            value = math.nan
        if match is None or not math.isfinite(value):
            raise InvalidInput(
                f"--assert: wanted FIELD>=NUMBER in SI units, such as 'mfu>=0.4' or 'step_s<20'; "
                f"got {clip(word)!r}"
            )
        found.append(Threshold(match[1], match[2], value))
    return found


def numbers_at(payload: Any, path: str) -> list[tuple[str, float]]:
    """Return (where, number) for every number that the dotted `path` names in a result.

    A path that does not start at the top is looked up in every row of `rows`, and a list along the
    path stands for all its members: "racks.heat_w" is the heat of every kind of rack.
    """
    keys = path.split(".")
    if isinstance(payload, Mapping) and keys[0] not in payload and "rows" in payload:
        payload = {"rows": payload["rows"]}
        keys = ["rows", *keys]
    found = [("", payload)]
    for key in keys:
        nearer: list[tuple[str, Any]] = []
        for where, value in found:
            many = enumerate(value) if isinstance(value, list) and not key.isdecimal() else ()
            for index, member in many:
                if isinstance(member, Mapping) and key in member:
                    nearer.append((f"{where}[{index}].{key}", member[key]))
            if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
                nearer.append((f"{where}[{key}]", value[int(key)]))
            elif isinstance(value, Mapping) and key in value:
                nearer.append((f"{where}.{key}", value[key]))
        found = nearer
    plain: list[tuple[str, float]] = []
    for where, value in found:
        listed = isinstance(value, list)
        for index, member in enumerate(value if listed else [value]):
            if isinstance(member, int | float) and not isinstance(member, bool):
                label = f"{where}[{index}]" if listed else where
                plain.append((label.removeprefix("."), float(member)))
    return plain


def clip(text: str, length: int = 60) -> str:
    """Return `text` short enough for one line.

    >>> clip("x" * 100, 5)
    'xxxx…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"
