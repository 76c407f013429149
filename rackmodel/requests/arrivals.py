"""When requests come and how long they are: processes with a seed, or a trace.

In:  a rate, lengths, a seed; a CSV file with arrival_s, isl, osl and maybe prefix, prefix_id.
Out: iterators of `Request`, in order of their arrival; no list of them is kept.
Left out: what becomes of them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from rackmodel.errors import InvalidInput
from rackmodel.files import check_file
from rackmodel.requests.lengths import LENGTHS

Drawn: TypeAlias = Callable[[int], tuple[list[int], list[int]]]  # of so many requests
DRAWN = ("fixed", "uniform", "exponential")
BLOCK = 1024  # requests that are drawn at once
COLUMNS = ("arrival_s", "isl", "osl")
MOST_TOKENS = 10**8


@dataclass(slots=True, eq=False)
class Request:
    """One prompt and its answer.

    prefix_tokens : of the prompt's beginning, the same in all requests of this `prefix`. user : who
    sends the next one when it is answered; -1 for nobody.
    """

    number: int
    arrival_s: float
    isl: int
    osl: int
    prefix: str = ""
    prefix_tokens: int = 0
    user: int = -1


def lengths_of(
    name: str, isl: int, osl: int, rng: np.random.Generator, spread: float = 0.8
) -> Drawn:
    """Return what draws lengths: "fixed" takes isl and osl as they are.

    "uniform" spreads both, each way by `spread` of the mean, "exponential" answers only (at least
    one token), a name of `LENGTHS` draws both from published quantiles whatever isl and osl are.
    """
    if name == "fixed":
        return lambda count: ([isl] * count, [osl] * count)
    if name == "uniform":

        def uniform(mean: int, count: int) -> list[int]:
            low = max(1, round(mean * (1.0 - spread)))
            return [int(x) for x in rng.integers(low, 2 * mean - low, count, endpoint=True)]

        return lambda count: (uniform(isl, count), uniform(osl, count))
    if name == "exponential":
        return lambda count: (
            [isl] * count,
            [int(x) for x in rng.geometric(1.0 / osl, count)],
        )
    return LENGTHS[name].drawer(rng)


def renewals(rate: float, cv: float, drawn: Drawn, rng: np.random.Generator) -> Iterator[Request]:
    """Yield requests without end whose gaps are gamma-distributed.

    rate : requests per second. cv : standard deviation of the gaps over their mean; 1 is a Poisson
    process, 0 a clock.
    """
    now, number = 0.0, 0
    while True:
        gaps = [1.0 / rate] * BLOCK
        if cv > 0.0:
            gaps = rng.gamma(1.0 / cv**2, cv**2 / rate, BLOCK).tolist()
        for gap, isl, osl in zip(gaps, *drawn(BLOCK), strict=True):
            now += gap
            yield Request(number, now, isl, osl)
            number += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A file of requests, read once to check it.

    isl, osl : means. largest : tokens of the longest prompt with its answer.
    """

    path: Path
    requests: int
    begin_s: float
    rate: float
    isl: float
    osl: float
    largest: int

    def __iter__(self) -> Iterator[Request]:
        """Read the requests again, times from the first one on."""
        for request in _rows(self.path):
            if request.number == self.requests:
                return
            request.arrival_s -= self.begin_s
            yield request


def read_trace(path: str | Path, most: int | None = None) -> Trace:
    """Return a trace, checked; the first `most` of its requests.

    Raises
    ------
    InvalidInput
        For a file without requests, a row that is none, or arrivals that run backwards.
    """
    where = Path(path)
    count = inputs = outputs = largest = 0
    begin = last = 0.0
    for one in _rows(where):
        if count == most:
            break
        if not count:
            begin = last = one.arrival_s
        if one.arrival_s < last:
            raise InvalidInput(
                f"{where}: row {count + 2} comes at {one.arrival_s:g} s, before the row above it"
                f" ({last:g} s); sort it by arrival_s"
            )
        count, last = count + 1, one.arrival_s
        inputs, outputs = inputs + one.isl, outputs + one.osl
        largest = max(largest, one.isl + one.osl)
    if not count:
        raise InvalidInput(f"{where}: no requests; expected rows of arrival_s, isl, osl")
    length = last - begin
    return Trace(
        path=where,
        requests=count,
        begin_s=begin,
        rate=(count - 1) / length if length > 0.0 else 0.0 if count == 1 else float("inf"),
        isl=inputs / count,
        osl=outputs / count,
        largest=largest,
    )


def _rows(path: Path) -> Iterator[Request]:
    with check_file(path).open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        for name in COLUMNS:
            if name not in (rows.fieldnames or ()):
                raise InvalidInput(f"{path}: no column {name}; expected {', '.join(COLUMNS)}")
        for number, row in enumerate(rows):
            where = f"{path}: row {number + 2}"
            isl, osl = (_whole(row[name], f"{where}, {name}", least=1) for name in COLUMNS[1:])
            shared = _whole(row.get("prefix") or "0", f"{where}, prefix", least=0)
            if shared > isl:
                raise InvalidInput(
                    f"{where}: a prefix of {shared} is longer than the prompt, {isl}; lower it"
                )
            name = row.get("prefix_id") or ("shared" if shared else "")
            yield Request(number, _seconds(row["arrival_s"], where), isl, osl, name, shared)


def _whole(text: str | None, where: str, *, least: int) -> int:
    try:
        value = float(text or "")
    except ValueError:
        value = -1.0
    if value != value // 1 or not least <= value <= MOST_TOKENS:
        raise InvalidInput(f"{where}: expected tokens, found {(text or '')[:40]!r}")
    return int(value)


def _seconds(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e12:
        raise InvalidInput(f"{where}, arrival_s: expected seconds, found {(text or '')[:40]!r}")
    return value
