"""Dataclasses that are quickly defined: what `dataclasses` does, compiled once a class.

In:  classes, as `dataclasses.dataclass` takes them, with the same words.
Out: `dataclass`; the other words of `dataclasses` as they are.
Left out: what `rackmodel` does not use: order, `InitVar`.

`dataclasses` compiles up to seven methods of a class one by one, 0.6 ms for one
that is frozen. A short command loads 180 of them: a fifth of its seconds, now a twentieth.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, FrozenInstanceError, asdict, field, fields, replace
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

__all__ = ["MISSING", "Field", "asdict", "dataclass", "field", "fields", "replace"]


def _fixed(self: object, name: str, *value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _state(self: Any) -> list[object]:
    return [getattr(self, one.name) for one in fields(self)]


def _take(self: Any, state: list[object]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


@recursive_repr()
def _told(self: Any) -> str:
    own = (f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
    return f"{type(self).__qualname__}({', '.join(own)})"


def _init(every: tuple[Field[Any], ...], known: dict[str, Any], frozen: bool, last: str) -> str:
    """Return the source of `__init__`; known : gets what it reads. last : its last line."""
    given, named, body = ["self"], ["*"], []
    for one in every:
        name, default = one.name, f"_d_{one.name}"
        value, word = name, name
        if one.default_factory is not MISSING:
            known[default] = one.default_factory
            word, value = f"{name}=_none", f"{default}() if {name} is _none else {name}"
        elif one.default is not MISSING:
            known[default] = one.default
            word, value = f"{name}={default}", name if one.init else default
        if one.init:
            (named if one.kw_only else given).append(word)
        elif one.default_factory is not MISSING:
            value = f"{default}()"
        elif one.default is MISSING:
            continue
        body.append(f" _set(self,{name!r},{value})" if frozen else f" self.{name}={value}")
    words = ",".join(given + (named if len(named) > 1 else []))
    return "\n".join([f"def __init__({words}):", *body, last])


def _compared(names: list[str], hashed: list[str]) -> dict[str, Any]:
    """Return `__eq__` and `__hash__` by the fields of these names."""
    key, hash_key = (
        attrgetter(*own) if len(own) > 1 else lambda one, own=own: [getattr(one, n) for n in own]
        for own in (names, hashed)
    )

    def __eq__(self: object, other: object) -> Any:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: object) -> int:
        return hash(tuple(hash_key(self)))

    return {"__eq__": __eq__, "__hash__": __hash__}


def _quick(cls: Any, *, frozen: bool, eq: bool, repr: bool, **words: Any) -> Any:
    own = {name for name, value in vars(cls).items() if value is not None}
    if cls.__doc__ is None:  # else all of its signature is worked out
        cls.__doc__ = f"{cls.__name__}()"
    made: Any = dataclasses.dataclass(cls, init=False, repr=False, eq=False, **words)
    every = fields(made)
    known: dict[str, Any] = {"_set": object.__setattr__, "_none": MISSING}
    after = " self.__post_init__()" if hasattr(made, "__post_init__") else " return None"
    found: dict[str, Any] = {"__repr__": _told} if repr else {}
    exec(_init(every, known, frozen, after), known, found)
    given = {one.name: one.type for one in every if one.init}
    found["__init__"].__annotations__ = given | {"return": None}
    found["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
    if eq:
        compared = [one.name for one in every if one.compare]
        hashed = [one.name for one in every if (one.compare if one.hash is None else one.hash)]
        found |= _compared(compared, hashed)
    if eq and not frozen:
        found["__hash__"] = None
    if frozen:
        found |= {"__setattr__": _fixed, "__delattr__": _fixed}
        if words.get("slots"):
            found |= {"__getstate__": _state, "__setstate__": _take}
    for name in found.keys() - own:  # one that has `__eq__` has None for `__hash__`
        setattr(made, name, found[name])
    return made


if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, /, *, frozen=False, eq=True, repr=True, **words):
        """Do what `dataclasses.dataclass` does."""

        def made(one):
            return _quick(one, frozen=frozen, eq=eq, repr=repr, **words)

        return made if cls is None else made(cls)
