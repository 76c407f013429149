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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields
from typing import Any, TypeVar

from rackmodel.errors import InvalidInput, UnknownName

Kind = TypeVar("Kind")

_PLAIN: dict[object, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a word"),
}


def about(
    description: str,
    example: object = None,
    *,
    unit: str = "",
    choices: Sequence[str] = (),
    option: str = "",
) -> dict[str, Any]:
    """Return the metadata of a field that users set.

    Parameters
    ----------
    description, example : for the manual. `description` and `examples` also reach JSON Schema.
    unit : dimension of a number, as in `rackmodel.units`, or what is counted.
    choices : the words that it may be, where they are a closed list.
    option : its name on the command line, where it has an option of its own: "--tp".
    """
    return {
        "description": description,
        "examples": [] if example is None else [example],
        "unit": unit,
        "choices": tuple(choices),
        "option": option,
    }


def setting(default: Any, description: str, example: object = None, **more: Any) -> Any:
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
    if not isinstance(words, Mapping):
        raise InvalidInput(f"{what}: expected a mapping of fields to values, found {words!r:.60}")
    known = kinds_of(kind)
    for name in words:
        if name not in known:
            raise UnknownName.among(f"field of the {what}", str(name), known)
    values = {name: value.item() if _is_scalar(value) else value for name, value in words.items()}
    made = kind(**values)
    check_values(made)
    return made


def check_values(made: Any) -> None:
    """Refuse values of another type than their field has, and words that are no choice.

    Raises
    ------
    InvalidInput, UnknownName
    """
    kind: Any = type(made)
    for name, plain, wanted, choices in _rules(kind):
        value = getattr(made, name)
        flag = isinstance(value, bool) and bool not in plain  # true is no number
        if plain and (flag or not isinstance(value, plain)):
            raise InvalidInput(f"{name} must be {wanted}, found {value!r:.60}")
        for word in value if isinstance(value, tuple) else (value,):
            if choices and word not in choices:
                raise UnknownName.among(name.replace("_", " "), str(word), choices)


@functools.cache
def kinds_of(kind: Any) -> dict[str, Any]:
    """Return {name: type} of the fields of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind)}


@functools.cache
def _rules(kind: Any) -> list[tuple[str, tuple[type, ...], str, tuple[str, ...]]]:
    """Return (name, types that it may have, in words, choices with the default) of each field."""
    kinds, found = kinds_of(kind), []
    for one in fields(kind):
        hint = kinds[one.name]
        hints = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        plain, words = next((_PLAIN[one] for one in hints if one in _PLAIN), ((), ""))
        if plain and types.NoneType in hints:
            plain = (*plain, types.NoneType)
        choices = tuple(one.metadata.get("choices", ()))
        if choices and isinstance(one.default, str) and one.default not in choices:
            choices = (*choices, one.default)  # as "", which leaves it to the software
        found.append((one.name, plain, words, choices))
    return found


def _is_scalar(value: object) -> bool:
    """Whether a value is one of numpy's numbers."""
    return hasattr(value, "item") and getattr(value, "ndim", 1) == 0
