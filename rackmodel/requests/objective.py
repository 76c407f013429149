"""What requests have to keep, from words: "ttft=1s,tpot=50ms".

In:  a text or a mapping.
Out: `Objective`.
Left out: who keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields

from rackmodel import gate
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.requests.cluster import Objective

NAMES = tuple(one.name.removesuffix("_s") for one in fields(Objective))


def objective_of(words: str | Mapping[str, float | str] | None) -> Objective:
    """Return what words ask for; nothing asks for nothing.

    Raises
    ------
    InvalidInput, UnknownName
        For other words than ttft, tpot and e2e, or times that are none.

    Examples
    --------
    >>> objective_of("ttft=1s, tpot=50ms").tpot_s
    0.05
    """
    pairs: list[tuple[str, float | str]] = []
    if isinstance(words, str):
        for part in words.split(","):
            name, equals, text = (piece.strip() for piece in part.partition("="))
            if not equals or not text:
                raise InvalidInput(
                    f"slo: wanted NAME=TIME such as ttft=1s,tpot=50ms; got {gate.shown(words)}"
                )
            if re.fullmatch(r"[0-9.,_e+]+", text):
                raise InvalidInput(f"slo {name}: {text:.20} has no unit; give 500ms or 1s")
            pairs.append((name, text))
    elif words is not None:
        pairs = list(gate.table(words, "slo").items())
    found: dict[str, float] = {}
    for name, value in pairs:
        UnknownName.check("time of an slo", name, NAMES)
        if f"{name}_s" in found:
            raise InvalidInput(f"slo: {name} is given twice; give it once")
        found[f"{name}_s"] = gate.number(value, "s", f"slo {name}", positive=True)
    return Objective(**found)
