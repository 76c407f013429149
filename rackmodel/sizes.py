"""Sizes of messages as people write them: one, a list, or a range as nccl-tests sweeps it.

In:  "1GB", "1MB,1GB", "8:8G:x2", "1MB:4MB:+1MB".
Out: bytes, ascending as written.
Left out: every other quantity (`units`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from rackmodel.errors import InvalidInput, shown
from rackmodel.units import parse

MAX_SIZES = 1_000
MAX_BYTES = 1e18
_BINARY = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def sizes(text: str, where: str = "bytes") -> list[float]:
    """Return one size or a sweep of sizes in bytes, ascending as written.

    "1GB" is 1e9; "8:8G:x2" doubles from 8 B to 8 GiB as nccl-tests does (a bare K, M or G
    is binary there); "1MB:4MB:+1MB" adds; "1MB,1GB" lists.

    >>> sizes("1GB"), len(sizes("8:8G:x2")), sizes("1MB:3MB:+1MB")
    ([1000000000.0], 31, [1000000.0, 2000000.0, 3000000.0])
    """
    values: list[float] = []
    for part in _split_list(text):
        ends = part.split(":")
        if len(ends) == 1:
            values.append(size(part, where))
        elif len(ends) in (2, 3):
            values.extend(_span(ends, text, where))
        else:
            raise InvalidInput(f"{where}: wanted SIZE or FROM:TO:xFACTOR; got {shown(text)}")
        if len(values) > MAX_SIZES:
            raise InvalidInput(f"{where}: wanted at most {MAX_SIZES:,} sizes; got {shown(text)}")
    return values


def _split_list(text: str) -> list[str]:
    """Split at commas, but not at those that only group digits ("1,048,576")."""
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+[a-zA-Z]*", text.strip()):
        return [text.strip().replace(",", "")]
    return [part.strip() for part in text.split(",")]


def _span(ends: Sequence[str], text: str, where: str) -> Iterator[float]:
    """Yield the sizes of "FROM:TO" (doubling), "FROM:TO:xFACTOR" or "FROM:TO:+STEP"."""
    first, last = size(ends[0], where), size(ends[1], where)
    step = ends[2].strip() if len(ends) == 3 else "x2"
    adds = step[:1] == "+"
    try:
        by = size(step[1:], where) if adds else float(step[1:])
    except ValueError:
        by = math.nan
    if step[:1] not in ("x", "*", "+") or not (0 if adds else 1) < by < math.inf:
        raise InvalidInput(
            f"{where}: the step has to be xFACTOR above 1 (x2) or +SIZE (+1MB); got {shown(text)}"
        )
    if first > last:
        raise InvalidInput(f"{where}: the sweep {shown(text)} ends before it begins; give FROM:TO")
    number = (last - first) / by if adds else math.log(last / first) / math.log(by)
    if number > MAX_SIZES:
        raise InvalidInput(f"{where}: wanted at most {MAX_SIZES:,} sizes; got {shown(text)}")
    for index in range(math.floor(number + 1e-9) + 1):
        yield first + index * by if adds else first * by**index


def size(text: str, where: str) -> float:
    """Return one size in bytes, above 0 and at most 1e18."""
    word = text.strip()
    match = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e\+?[0-9]{1,3})?)\s*([kmgt]?)", word, re.IGNORECASE)
    if match is not None and len(word) <= 40:
        value = float(match[1]) * _BINARY[match[2].lower()]
    else:
        value = parse(word[:80], "bytes", where=where)
    if not 0 < value <= MAX_BYTES:
        raise InvalidInput(f"{where}: wanted a size from 1 B to 1 EB; got {shown(text)}")
    return value
