"""The one gate: a value from outside becomes what it has to be, or is refused where it stands.

In:  values of files, tables, graphs, options and scripts; the file and key path that they stand at.
Out: numbers in SI, whole numbers, texts, flags, lists; `Table`, which reads a mapping key by key.
     What has passed is never looked at again: a text can't be met where a number is meant.
Left out: which keys there are and what they mean; how files are read (`files`).

A refusal says where, what was expected, what was found and what to write instead.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from rackmodel import units
from rackmodel.errors import InvalidInput, UnknownName, shown as shown

MOST = 1_000_000
"""No shape has more of anything in one unit; a larger number is a slip."""
LONGEST_TEXT = 2000
LONGEST_LIST = 4096
Words = ParamSpec("Words")
Answer = TypeVar("Answer")


def check_call(verb: Callable[..., Any], args: Sequence[Any], words: Mapping[str, Any]) -> None:
    """Refuse words that a function does not have, has twice or lacks, as Python would.

    Raises
    ------
    InvalidInput, UnknownName
    """
    parameters, name = inspect.signature(verb).parameters, verb.__name__
    by_place = [key for key, one in parameters.items() if one.kind is not one.KEYWORD_ONLY]
    if len(args) > len(by_place):
        named = [key for key in parameters if key not in by_place]
        raise InvalidInput(
            f"{name} takes {' and '.join(by_place) or 'nothing'} by place; "
            + (f"name the other words, as in {named[0]}=..." if named else "leave the rest out")
        )
    placed = by_place[: len(args)]
    for word in words:
        if word in placed:
            raise InvalidInput(f"{word} is given twice, by place and by name; give it once")
        UnknownName.check(f"word of {name}", word, parameters)
    for word, one in parameters.items():
        if one.default is one.empty and word not in (*placed, *words):
            raise InvalidInput(f"{name} needs {word}; see help({name})")
    for word, value in {**dict(zip(placed, args, strict=True)), **words}.items():
        wanted = str(parameters[word].annotation)
        if not _may_be(value, wanted):
            listed = wanted.startswith("Sequence") and not isinstance(value, list | tuple)
            kind = "a list" if listed else "a path" if "Path" in wanted else "a word"
            raise InvalidInput(f"{name}: {word}: expected {kind}, found {shown(value)}; give one")


def _may_be(value: object, wanted: str) -> bool:
    """Whether a value may be what an annotation says, where that is a text, files or a list.

    >>> [_may_be(value, "Path | str") for value in (1, [], b"", None, "a.toml")]
    [False, False, False, False, True]
    >>> [_may_be(value, "Sequence[str | Path]") for value in (["a"], [1], 1)]
    [True, False, False]
    """
    many = "Sequence" in wanted
    if wanted == "str":
        return isinstance(value, str)
    if value is None and (many or "Path" in wanted):
        return "None" in wanted
    if wanted.startswith("Sequence[") and not isinstance(value, Iterable):
        return False
    if not re.search(r"\bPath\b", wanted) or isinstance(value, str | os.PathLike):
        return True
    if isinstance(value, Mapping):
        return "Mapping" in wanted
    if isinstance(value, list | tuple):
        inner = wanted.partition("Sequence[")[2].rpartition("]")[0]
        return many and all(_may_be(one, inner) for one in value)
    named = set(re.findall(r"\w+", wanted)) - {"Path", "str", "None", "Any", "Mapping", "Sequence"}
    return bool(named) and type(value).__module__ != "builtins"


def called(verb: Callable[Words, Answer]) -> Callable[Words, Answer]:
    """Make a function refuse, in one line, words that it does not have or lacks."""

    @functools.wraps(verb)
    def call(*args: Words.args, **words: Words.kwargs) -> Answer:
        check_call(verb, args, words)
        return verb(*args, **words)

    return call


def is_empty(value: object) -> bool:
    """Return whether a cell of a table says nothing."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def leaves(
    part: Mapping[str, Any],
    prefix: str = "",
    whole: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of nested tables; one that is `whole` stays a value.

    >>> dict(leaves({"plan": {"tp": 8}, "mfu": 0.4}))
    {'plan.tp': 8, 'mfu': 0.4}
    """
    for key, value in part.items():
        if isinstance(value, Mapping) and not (whole and whole(value)):
            yield from leaves(value, f"{prefix}{key}.", whole)
        else:
            yield f"{prefix}{key}", value


def plain(value: object) -> Any:
    """Return one of numpy's scalars as Python's own; all else as it is."""
    item = getattr(value, "item", None)  # numpy is not imported to ask for its type
    return item() if item is not None and getattr(value, "ndim", 1) == 0 else value


def number(
    value: object,
    dimension: str,
    where: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    positive: bool = False,
) -> float:
    """Return a quantity in SI.

    Parameters
    ----------
    value : a number, or text with a unit of the dimension (see `units.parse`).
    where : file and key path, or option.
    least, most : bounds, included. positive : zero is refused.

    Raises
    ------
    InvalidInput

    Examples
    --------
    >>> number("400 Gb/s", "bytes_per_s", "nics.link_bytes_per_s")
    50000000000.0
    """
    found = units.parse(plain(value), dimension, where=where, positive=positive)
    if not least <= found <= most:
        low, high = (
            units.show(end, dimension) if math.isfinite(end) else "" for end in (least, most)
        )
        bounds = f"{low} to {high}" if high else f"at least {low}"
        raise InvalidInput(f"{where}: expected {bounds}, found {shown(value)}")
    return found


def whole(
    value: object, where: str, *, least: int = 1, most: int = MOST, words: bool = True
) -> int:
    """Return a whole number from `least` to `most`.

    words : text such as "8" or "1k" counts too.

    Raises
    ------
    InvalidInput

    Examples
    --------
    >>> whole("1k", "fabric.rails"), whole(8.0, "host.cpus")
    (1000, 8)
    """
    value = plain(value)
    wanted = f"{where}: expected a whole number from {least:,} to {most:,}, found {shown(value)}"
    if isinstance(value, str):
        if not words:
            raise InvalidInput(wanted + _unquoted(value))
        value = units.parse(value, "1", where=where)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(wanted)
    try:
        found = int(value)
    except (OverflowError, ValueError):  # infinity, not a number
        raise InvalidInput(wanted) from None
    if found != value or not least <= found <= most:
        raise InvalidInput(wanted)
    return found


def _unquoted(value: str) -> str:
    """Return what to write in place of a number in quotes; "" where the text is none."""
    try:
        number = units.parse(value, "1", where="")
    except InvalidInput:
        return ""
    return f"; write {number:.0f} without quotes" if number.is_integer() else ""


def text(
    value: object, where: str, *, choices: Sequence[str] = (), longest: int = LONGEST_TEXT
) -> str:
    """Return a text, one of `choices` if there are any.

    Raises
    ------
    InvalidInput, UnknownName
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{where}: expected a text, found {shown(value)}")
    if len(value) > longest:
        raise InvalidInput(
            f"{where}: expected a text of at most {longest:,} characters, found {len(value):,}"
        )
    if choices and value not in choices:
        raise UnknownName(f"{where}: {UnknownName.among('choice', value, choices)}")
    return value


def flag(value: object, where: str) -> bool:
    """Return true or false; 1 and 0 count, texts do not.

    Raises
    ------
    InvalidInput
    """
    value = plain(value)
    if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise InvalidInput(f"{where}: expected true or false, found {shown(value)}")


def members(value: object, where: str, example: str = "[4, 4, 4]") -> list[Any]:
    """Return the members of a list.

    Raises
    ------
    InvalidInput
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list | tuple) or len(value) > LONGEST_LIST:
        raise InvalidInput(f"{where}: expected a list such as {example}, found {shown(value)}")
    return list(value)


def wholes(value: object, where: str, *, least: int = 1, most: int = MOST) -> tuple[int, ...]:
    """Return a list of whole numbers.

    Raises
    ------
    InvalidInput
    """
    found = enumerate(members(value, where))
    return tuple(whole(one, f"{where}[{i}]", least=least, most=most) for i, one in found)


def table(value: object, where: str) -> Mapping[str, Any]:
    """Return a mapping whose keys are texts.

    Raises
    ------
    InvalidInput
    """
    found = table_of(value, where)
    for key in found:
        text(key, f"{where}: key {shown(key)}", longest=200)
    return found


def table_of(value: object, where: str) -> Mapping[Any, Any]:
    """Return a mapping, whatever its keys are.

    Raises
    ------
    InvalidInput
    """
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{where}: expected a table of keys and values, found {shown(value)}")
    return value


class Table:
    """One table of a file; every getter marks its key as known."""

    def __init__(self, data: object, file: str, path: str = "") -> None:
        self.data = table(data, f"{file}: {path or 'the file'}")
        self.file = file
        self.path = path
        self.known: set[str] = set()

    def where(self, key: str) -> str:
        """Return the file and key path, for messages."""
        return f"{self.file}: {self.path + '.' if self.path else ''}{key}"

    def table(self, key: str) -> Table:
        """Return the table under `key`; an absent one is empty."""
        self.known.add(key)
        path = f"{self.path}.{key}" if self.path else key
        return Table(self.data.get(key, {}), self.file, path)

    def has(self, key: str) -> bool:
        """Say whether the file gives `key`."""
        self.known.add(key)
        return key in self.data

    def need(self, key: str, example: str) -> object:
        """Return the bare value of `key`, which has to be there."""
        self.known.add(key)
        if key not in self.data:
            near = difflib.get_close_matches(key, set(self.data) - self.known, n=1, cutoff=0.6)
            hint = f" (found {near[0]!r}: a slip?)" if near else ""
            raise InvalidInput(
                f"{self.where(key)}: missing{hint}; add for example {key} = {example}"
            )
        return self.data[key]

    def text(self, key: str, default: str | None = None, choices: Sequence[str] = ()) -> str:
        """Return a text, one of `choices` if there are any."""
        if default is not None and not self.has(key):
            value: object = default
        else:
            value = self.need(key, f'"{choices[0] if choices else "..."}"')
        return text(value, self.where(key), choices=choices)

    def number(self, key: str, dimension: str, default: float | None = None) -> float:
        """Return a quantity in SI, never zero."""
        if default is not None and not self.has(key):
            return default
        value = self.need(key, "a number with its unit")
        return number(value, dimension, self.where(key), positive=True)

    def count(
        self, key: str, default: int | None = None, *, least: int = 1, most: int = MOST
    ) -> int:
        """Return a whole number within bounds."""
        if default is not None and not self.has(key):
            return default
        return whole(self.need(key, str(max(least, 8))), self.where(key), least=least, most=most)

    def counts(self, key: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return a list of whole numbers that is not empty."""
        if default is not None and not self.has(key):
            return tuple(default)
        value = self.need(key, "[4, 4, 4]")
        found = wholes(value, self.where(key))
        if not found:
            raise InvalidInput(f"{self.where(key)}: expected a list such as [4, 4, 4], found []")
        return found

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        return flag(self.data[key], self.where(key)) if self.has(key) else default

    def finish(self) -> None:
        """Refuse keys that no getter asked for."""
        for key in self.data:
            if key not in self.known:
                near = difflib.get_close_matches(str(key), self.known, n=1, cutoff=0.5)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                known = ", ".join(sorted(self.known))
                raise InvalidInput(
                    f"{self.where(str(key)[:60])}: unknown key{hint} (known: {known})"
                )
