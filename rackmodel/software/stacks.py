"""Which kernels a software stack has: its name -> family and date -> factors.

In:  a `stack` string such as "megatron-bridge-26.04", "mpt" or "mlperf-v5.0-nvidia";
     data/stacks.toml.
Out: an `Era`: attention kernels, launch cost, factors by kernel family.
Left out: anything that depends on a model, a size or a single run.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rackmodel.software.constant_files import read_constants


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """What the software of a family had reached at a date.

    `known` is False where no rule recognised the name and the default stands in: predictions are
    then less certain.
    """

    stack: str
    family: str
    date: float  # year with fraction
    known: bool
    attention: str  # generation of attention kernels: a key of attention.efficiency in kernels.toml
    launch_s: float  # host time to launch one kernel
    wave: float  # least share of a part-filled wave that costs a whole one, in the library's GEMMs
    factors: Mapping[str, float]  # kernel family -> time factor, 1 for the latest kernels


@lru_cache(maxsize=1)
def stack_table() -> dict[str, Any]:
    """Return data/stacks.toml as a dictionary."""
    return tomllib.loads(read_constants("stacks.toml"))


def interpolate(points: Sequence[Sequence[float]], date: float) -> float:
    """Follow straight lines through (date, value) points, flat beyond both ends.

    >>> interpolate([[2020.0, 2.0], [2024.0, 1.0]], 2022.0)
    1.5
    """
    if date <= points[0][0]:
        return float(points[0][1])
    for (d0, v0), (d1, v1) in itertools.pairwise(points):
        if date <= d1:
            return float(v0 + (v1 - v0) * (date - d0) / (d1 - d0))
    return float(points[-1][1])


def _date_in(name: str, table: Mapping[str, Any], match: re.Match[str] | None) -> float | None:
    """Read the date that a name itself carries: an MLPerf round, 26.04, 2407, 2024-12, 202412."""
    if match is not None and "round" in match.groupdict():
        rounds: Mapping[str, float] = table["mlperf_rounds"]
        known = rounds.get(match.group("round"))
        if known is not None:
            return known
        try:  # two rounds a year since v3.0 in mid 2023
            return 2023.45 + (float(match.group("round")) - 3.0)
        except ValueError:
            return None
    for pattern in (
        r"(?<![0-9])20([12][0-9])[-._]?(0[1-9]|1[0-2])(?![0-9])",
        r"(?<![0-9.])([12][0-9])\.(0[1-9]|1[0-2])(?![0-9])",
        r"(?<![0-9])([12][0-9])(0[1-9]|1[0-2])(?![0-9])",
    ):
        found = re.search(pattern, name)
        if found:
            return 2000.0 + int(found.group(1)) + (int(found.group(2)) - 0.5) / 12.0
    found = re.search(r"(?<![0-9])(20[12][0-9])(?![0-9])", name)
    return float(found.group(1)) + 0.5 if found else None


@lru_cache(maxsize=512)
def read_stack(stack: str) -> Era:
    """Return the era of a stack by its name; an unknown name gets the latest software.

    >>> read_stack("megatron-bridge-26.04").family, read_stack("default").attention
    ('megatron', 'flash4')
    >>> read_stack("my own trainer").known
    False
    """
    return era_from(stack, stack_table())


def era_from(stack: str, table: Mapping[str, Any]) -> Era:
    """Return the era of a stack by the rules of `table` (the content of a stacks.toml)."""
    name = stack.strip().lower()
    family, date = str(table["default"]["family"]), float(table["default"]["date"])
    known = name in ("", "default", "latest")
    if not known:
        for rule in table["rule"]:
            match = re.search(rule["pattern"], name)
            if match:
                family, known = str(rule["family"]), True
                date = _date_in(name, table, match) or float(rule.get("date", date))
                break
        else:
            date = _date_in(name, table, None) or date
    kind = family.split("-")[0]

    def row(section: Mapping[str, Any]) -> Any:
        return next(section[key] for key in (family, kind, "other") if key in section)

    def aged(law: Mapping[str, float]) -> float:
        years = max(0.0, float(table["default"]["date"]) - date)
        return float(law["latest"] * law["per_year"] ** years)

    generation = [g for d, g in row(table["attention"]) if d <= date]
    return Era(
        stack=stack,
        family=family,
        date=date,
        known=known,
        attention=generation[-1] if generation else row(table["attention"])[0][1],
        launch_s=aged(row(table["launch_s"])),
        wave=interpolate(table["wave"]["points"], date),
        factors={k: aged(row(v)) for k, v in table["factor"].items()},
    )
