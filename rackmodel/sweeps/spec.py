"""What a sweep runs: a SPEC.toml (or the same as a dict) read, checked and spread out into jobs.

In:  base job, axes (lists or ranges), zips (columns that walk together), filters.
Out: `SweepSpec`, whose jobs are flat dicts in a fixed order: first axis slowest, zips last.
Left out: running (api.py), what a job means (jobs.py).

::

    filters = ["tp * pp <= gpus", "schedule != 'gpipe' or pp <= 4"]

    [base]
    model = "gpt3-175b"
    global_batch = 2048

    [axes]
    topology = ["gb200-nvl72", "dgx-h100"]
    seq_len = {from = 2048, to = 131072, times = 2}     # 2048, 4096, ... 131072
    micro_batch = {from = 1, to = 8, step = 1}          # 1, 2, ... 8

    [axes.set]                                          # any value of catalog or topology
    "accelerators.gb200.hbm_bytes_per_s" = ["8 TB/s", "16 TB/s"]

    [[zips]]
    gpus = [512, 1024]
    tp = [4, 8]
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from rackmodel import gate
from rackmodel.errors import InvalidInput, RackModelError, UnknownName
from rackmodel.files import read_toml
from rackmodel.sweeps.filters import Filter, Value, parse_filter

Kind: TypeAlias = Literal["int", "float", "str", "bool", "any"]
FlatJob: TypeAlias = dict[str, Value]
Check: TypeAlias = Callable[[str, Value], None]

MOST_JOBS = 2_000_000
MOST_FILE_BYTES = 4_000_000
LARGEST = 1e15
_PARTS = ("title", "filters", "base", "axes", "zips")
_RANGE = ("from", "to", "step", "times")


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A base job, the columns that vary, and the filters."""

    base: FlatJob
    axes: tuple[dict[str, tuple[Value, ...]], ...]  # each: columns that walk together
    filters: tuple[Filter, ...]
    source: str  # file, or "spec"
    title: str = ""

    @property
    def combinations(self) -> int:
        """Jobs before the filters."""
        return math.prod(len(next(iter(axis.values()))) for axis in self.axes)

    def jobs(self) -> Iterator[FlatJob]:
        """Jobs that pass the filters, in order."""
        steps = [
            [dict(zip(axis, values, strict=True)) for values in zip(*axis.values(), strict=True)]
            for axis in self.axes
        ]
        for combination in itertools.product(*steps):
            job = dict(self.base)
            for part in combination:
                job.update(part)
            if all(test.keeps(job) for test in self.filters):
                yield job


def read_spec(
    source: Path | str | Mapping[str, object],
    fields: Mapping[str, Kind],
    *,
    check: Check | None = None,
    name: str = "spec",
) -> SweepSpec:
    """Read and check a spec.

    Parameters
    ----------
    source : a TOML file, or its content as a dict.
    fields : every name that a job may have, with its kind; ``set.`` names are free.
    check : asked of every (name, value); raises what is wrong with it.
    name : of the source in messages, if it is a dict.

    Raises
    ------
    InvalidInput
        With the file, the key path, the value and the remedy.

    Examples
    --------
    >>> spec = read_spec({"base": {"tp": 2}, "axes": {"pp": {"from": 1, "to": 8, "times": 2}},
    ...                   "filters": ["tp * pp < 16"]}, {"tp": "int", "pp": "int"})
    >>> [job["pp"] for job in spec.jobs()]
    [1, 2, 4]
    """
    if isinstance(source, Mapping):
        content = dict(source)
    else:
        content = read_toml(Path(source), most=MOST_FILE_BYTES)
        name = str(source)
    reader = _Reader(name, fields, check)
    for key in content:
        if key not in _PARTS:
            raise UnknownName(f"{name}: {UnknownName.among('part of a sweep', key, _PARTS)}")
    title = content.get("title", "")
    if not isinstance(title, str):
        raise InvalidInput(f"{name}: title = {gate.shown(title)} has to be text")
    base = {
        key: reader.value(f"base.{key}", key, value)
        for key, value in reader.flat("base", content.get("base", {}))
    }
    axes: list[dict[str, tuple[Value, ...]]] = [
        {key: reader.column(f"axes.{key}", key, values)}
        for key, values in reader.flat("axes", content.get("axes", {}))
    ]
    zips = content.get("zips", [])
    if not isinstance(zips, list):
        raise InvalidInput(f"{name}: zips has to be a list of tables; write [[zips]]")
    axes += [reader.zipped(f"zips[{number}]", part) for number, part in enumerate(zips)]
    seen = dict.fromkeys(base, "base")
    for number, axis in enumerate(axes):
        for key in axis:
            if key in seen:
                raise InvalidInput(
                    f"{name}: {key} stands in {seen[key]} and again among axes or zips; keep one"
                )
            seen[key] = "axes" if number < len(axes) - len(zips) else "zips"
    texts = content.get("filters", [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InvalidInput(f"{name}: filters = {gate.shown(texts)} has to be a list of texts")
    filters = tuple(
        parse_filter(text, seen, where=f"{name}: filters[{number}]")
        for number, text in enumerate(texts)
    )
    spec = SweepSpec(base, tuple(axes), filters, name, title)
    if not seen:
        raise InvalidInput(f"{name}: holds no job; write [base] and [axes]")
    if spec.combinations > MOST_JOBS:
        raise InvalidInput(
            f"{name}: the axes make {spec.combinations:,} jobs, the limit is {MOST_JOBS:,}; "
            "shorten an axis"
        )
    return spec


class _Reader:
    """Values of one spec, each checked where it stands."""

    def __init__(self, name: str, fields: Mapping[str, Kind], check: Check | None) -> None:
        self.name, self.fields, self.check = name, fields, check
        self.checked: set[tuple[str, type, Value]] = set()

    def flat(self, where: str, part: object) -> Iterator[tuple[str, object]]:
        """(name, value) of a table; [plan] is only a heading, [set] keeps its prefix."""
        if not isinstance(part, dict):
            raise InvalidInput(
                f"{self.name}: {where} = {gate.shown(part)} has to be a table; write [{where}]"
            )
        for key, value in part.items():
            if key == "plan" and isinstance(value, dict):
                yield from value.items()
            elif key == "set":
                if not isinstance(value, dict):
                    raise InvalidInput(
                        f"{self.name}: {where}.set has to be a table; write [{where}.set]"
                    )
                yield from gate.leaves(
                    value, "set.", lambda one: bool(one) and set(one) <= set(_RANGE)
                )
            else:
                yield key, value

    def value(self, where: str, key: str, value: object) -> Value:
        """One value of one job."""
        where = f"{self.name}: {where}"
        if key.startswith("set."):
            kind: Kind = "any"
        elif key in self.fields:
            kind = self.fields[key]
        else:
            raise UnknownName(f"{where}: {UnknownName.among('field of a job', key, self.fields)}")
        if not isinstance(value, bool | int | float | str):
            raise InvalidInput(
                f"{where} = {gate.shown(value)} has to be a single number, text or true/false"
            )
        if isinstance(value, str) and (len(value) > 1000 or not value.strip()):
            raise InvalidInput(f"{where} = {value[:40]!r} has to be 1 to 1,000 characters")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(f"{where} = {value} has to be a finite number")
        if not isinstance(value, str) and abs(value) > LARGEST:
            raise InvalidInput(
                f"{where} = {value} is beyond {LARGEST:g}, at most which is allowed; check the unit"
            )
        if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        wanted = {"int": int, "float": float, "str": str, "bool": bool}.get(kind, object)
        if not isinstance(value, wanted) or (kind == "int" and isinstance(value, bool)):
            names = {"int": "a whole number", "float": "a number", "str": "text"}
            raise InvalidInput(
                f"{where} = {gate.shown(value)} has to be {names.get(kind, 'true or false')}"
            )
        if kind == "int" and isinstance(value, int) and value < 1:
            raise InvalidInput(f"{where} = {value} has to be 1 or more")
        if self.check is not None and (key, type(value), value) not in self.checked:
            try:
                self.check(key, value)
            except RackModelError as error:
                raise InvalidInput(f"{where} = {gate.shown(value)}: {error}") from None
            self.checked.add((key, type(value), value))
        return value

    def column(self, where: str, key: str, values: object) -> tuple[Value, ...]:
        """The values of one axis: a list, or a range."""
        if isinstance(values, dict):
            values = self.spread(where, values)
        if not isinstance(values, list):
            raise InvalidInput(
                f"{self.name}: {where} = {gate.shown(values)} has to be a list or a range "
                "{from = 1, to = 8, step = 1}; a single value belongs in [base]"
            )
        if not values:
            raise InvalidInput(
                f"{self.name}: {where} is an empty list; leave it out or give it values"
            )
        if len(values) > MOST_JOBS:
            raise InvalidInput(
                f"{self.name}: {where} has {len(values):,} values; at most {MOST_JOBS:,}"
            )
        return tuple(
            self.value(f"{where}[{number}]", key, value) for number, value in enumerate(values)
        )

    def spread(self, where: str, part: dict[str, object]) -> list[int | float]:
        """Values of a range, both ends included."""
        for key in part:
            if key not in _RANGE:
                raise UnknownName(
                    f"{self.name}: {where}: {UnknownName.among('part of a range', key, _RANGE)}"
                )
        ends: dict[str, int | float] = {}
        for key, value in part.items():
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not abs(value) <= LARGEST
            ):
                raise InvalidInput(
                    f"{self.name}: {where}.{key} = {gate.shown(value)} has to be a finite number"
                    f" of at most {LARGEST:g}"
                )
            ends[key] = value
        if not {"from", "to"} <= set(ends) or len({"step", "times"} & set(ends)) != 1:
            raise InvalidInput(
                f"{self.name}: {where} = {gate.shown(part)} needs from, to and one of step"
                " (added) or "
                "times (multiplied)"
            )
        first, last = ends["from"], ends["to"]
        step, times = ends.get("step", 0), ends.get("times", 1)
        if (
            last < first
            or ("step" in ends and step <= 0)
            or ("times" in ends and (times <= 1 or first <= 0))
        ):
            raise InvalidInput(
                f"{self.name}: {where} = {gate.shown(part)} never arrives; wanted from <= to, and "
                "step > 0 or (times > 1 and from > 0)"
            )
        room = (
            math.log(last / first) / math.log(times) if "times" in ends else (last - first) / step
        )
        if room > MOST_JOBS:
            raise InvalidInput(
                f"{self.name}: {where} = {gate.shown(part)} has over {MOST_JOBS:,} values;"
                " enlarge the step"
            )
        count = math.floor(room * (1 + 1e-12) + 1e-12) + 1
        if "times" in ends:
            return [first * times**number for number in range(count)]
        return [first + step * number for number in range(count)]

    def zipped(self, where: str, part: object) -> dict[str, tuple[Value, ...]]:
        """Columns that walk together."""
        columns = {
            key: self.column(f"{where}.{key}", key, values)
            for key, values in self.flat(where, part)
        }
        if not columns:
            raise InvalidInput(f"{self.name}: {where} is empty; leave it out or give it lists")
        lengths = {key: len(values) for key, values in columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{key} {length}" for key, length in lengths.items())
            raise InvalidInput(
                f"{self.name}: {where} walks columns of unlike length ({told}); make them equal"
            )
        return columns
