"""Fields that users set: what each means, and records made of users' words, checked.

In:  dataclasses whose fields carry `about(...)`; mappings of what a user gave.
Out: `about` (metadata that manual, options of the command line and JSON Schema are made from),
     `record` (an instance, or an error that says what to write instead).
Left out: what several fields together allow (`workload.check`, `assess.site.check_site`).
"""

from __future__ import annotations

import functools
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, field, fields
from typing import Any, NamedTuple, TypeVar

from rackmodel import gate
from rackmodel.errors import InvalidInput, UnknownName

Kind = TypeVar("Kind")

_PLAIN: dict[object, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
MOST, MOST_WHOLE, MOST_RANKS = 1e15, 10**9, 10_000_000
"""No number that users set of a job or a site is larger; ranks, layers and other parts."""
PLAN_PANEL = "Plan (what is left out is searched)"
_MOST_OF = {"": MOST_RANKS, "seed": 2**32 - 1}  # by unit


def about(
    description: str | Callable[[], str],
    example: object = None,
    *,
    unit: str = "",
    choices: Sequence[str] = (),
    option: str = "",
    panel: str = "",
    least: float | None = None,
    most: float | None = None,
) -> dict[str, Any]:
    """Return the metadata of a field that users set.

    Parameters
    ----------
    description, example : for the manual. `description` and `examples` also reach JSON Schema. A
        function is asked when the manual is read, when extensions have registered their parts.
    unit : dimension of a number, as in `rackmodel.units`, or what is counted.
    choices : the words that it may be, where they are a closed list.
    option : its name on the command line, where it has an option of its own: "--tp". panel : the
        heading that it stands under there, where that is not the same for all fields.
    least, most : bounds of a number, included. Left out: see `bounds` for whole numbers, others
        finite.
    """
    return {
        "description": description,
        "examples": [] if example is None else [example],
        "unit": unit,
        "choices": tuple(choices),
        "option": option,
        "panel": panel,
        "least": least,
        "most": most,
    }


def described(told: Mapping[str, Any]) -> str:
    """Return the description in the metadata of a field, as of now."""
    text = told["description"]
    return str(text() if callable(text) else text)


def bounds(one: Field[Any]) -> tuple[float, float]:
    """Return the least and the most of a field of whole numbers.

    Left out: from 1, or 0 where that is the default (none, or as usual), to 1e9 (1e7 parts, which
    have no unit).
    """
    told = one.metadata
    least, most, unit = told.get("least"), told.get("most"), told.get("unit", "")
    least = (0 if one.default == 0 else 1) if least is None else least
    return least, _MOST_OF.get(unit, MOST_WHOLE) if most is None else most


def setting(
    default: Any, description: str | Callable[[], str], example: object = None, **more: Any
) -> Any:
    """Return a field of a dataclass with its default and what `about` says of it."""
    told = about(description, example, **more)
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=told)
    return field(default=default, metadata=told)


def record(kind: Callable[..., Kind], words: Mapping[str, Any], what: str) -> Kind:
    """Return a `kind` of what a user gave, every name and value checked.

    what : what the record is to the user, for messages: "plan".

    Raises
    ------
    UnknownName
        For a field that there is not, with the nearest one; for a word that is no choice.
    InvalidInput
        For a value of another type.
    """
    known = kinds_of(kind)
    for name in gate.table(words, what):
        UnknownName.check(f"field of the {what}", name, known)
    made = kind(**{name: gate.plain(value) for name, value in words.items()})
    check_values(made)
    return made


def check_values(made: Any) -> None:
    """Refuse values of another type than their field has, and words that are no choice.

    Raises
    ------
    InvalidInput, UnknownName
    """
    kind: Any = type(made)
    for rule in _rules(kind):
        value = getattr(made, rule.name)
        if rule.members:  # a mapping of one plain type to another
            of_key = rule._replace(least=0)
            for key, member in gate.table_of(value, rule.name).items():
                _check_plain(f"{rule.name}: key {gate.shown(key)}", key, rule.members[0], of_key)
                _check_plain(f"{rule.name}: {gate.shown(key)}", member, rule.members[1], rule)
            continue
        for word in value if isinstance(value, tuple) else (value,):
            _check_plain(rule.name, word, rule.plain, rule)
            if rule.choices and word not in rule.choices:
                raise UnknownName.among(rule.name.replace("_", " "), str(word), rule.choices)


def _check_plain(where: str, value: Any, plain: tuple[type, ...], rule: _Rule) -> None:
    """Refuse a value of another type, or out of its bounds; `plain` () allows anything."""
    if not plain:
        return
    flag = isinstance(value, bool) and bool not in plain  # true is no number
    wrong = flag or not isinstance(value, plain)
    wanted = _WORDS[plain[0]]
    if int in plain or float in plain:
        ints = float not in plain
        least = rule.least if rule.least is not None else 1 if ints else -MOST
        most = rule.most if rule.most is not None else MOST_WHOLE if ints else MOST
        counted = isinstance(value, int | float) and not isinstance(value, bool)
        wrong = wrong or (counted and not least <= value <= most)
        if least > -MOST or ints:
            wanted += f" from {least:,} to {most:,}" if ints else span(least, most)
    if wrong:
        raise InvalidInput(f"{where}: expected {wanted}, found {gate.shown(value)}")


def span(least: float, most: float) -> str:
    """Return the bounds of a number in words."""
    return f" from {least:g} to {most:g}" if most < MOST else f" of {least:g} or more"


def options_of_record(made: Any, names: Sequence[str]) -> list[str]:
    """Return words of the command line for fields of a plan: its option, else `--plan name=value`.

    None and empty lists are what leaving them out says.
    """
    said, found = {one.name: one.metadata["option"] for one in fields(made)}, []
    for name in names:
        value = getattr(made, name)
        if value is None or value in ((), ""):
            continue
        words = value if isinstance(value, tuple) else (value,)
        text = ",".join(
            str(word).lower() if word is True or word is False else str(word) for word in words
        )
        found += [said[name], text] if said[name] else ["--plan", f"{name}={text}"]
    return found


@functools.cache
def kinds_of(kind: Any) -> dict[str, Any]:
    """Return {name: type} of the fields of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


class _Rule(NamedTuple):
    """What a field may hold: types (of keys and of values for a mapping), choices, bounds."""

    name: str
    plain: tuple[type, ...]
    members: tuple[tuple[type, ...], tuple[type, ...]] | None
    choices: tuple[str, ...]
    least: float | None
    most: float | None


@functools.cache
def _rules(kind: Any) -> list[_Rule]:
    """Return what each field may hold, its default among the choices."""
    kinds, found = kinds_of(kind), []
    for one in fields(kind):
        hint = kinds[one.name]
        hints = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        plain: tuple[type, ...] = next((_PLAIN[each] for each in hints if each in _PLAIN), ())
        members, origin, inside = None, typing.get_origin(hint), typing.get_args(hint)
        if origin is tuple and inside[0] in _PLAIN:
            plain = _PLAIN[inside[0]]
        elif origin is abc.Mapping and all(each in _PLAIN for each in inside):
            members = (_PLAIN[inside[0]], _PLAIN[inside[1]])
        if plain and types.NoneType in hints:
            plain = (*plain, types.NoneType)
        told = one.metadata
        choices = tuple(told.get("choices", ()))
        if choices and isinstance(one.default, str) and one.default not in choices:
            choices = (*choices, one.default)  # as "", which leaves it to the software
        least, most = told.get("least"), told.get("most")
        if int in plain and float not in plain:
            least, most = bounds(one)
        found.append(_Rule(one.name, plain, members, choices, least, most))
    return found
