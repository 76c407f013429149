"""Typed access to a config.json that remembers what was read.

In:  the mapping that a config.json holds.
Out: whole numbers, flags, lists, words; an error that names the key; keys that nobody read.
Left out: what the keys mean (`parts`, `families`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from rackmodel import gate
from rackmodel.errors import InvalidInput
from rackmodel.workload.architecture import MOST_WIDE


@cache
def _shipped(name: str) -> dict[str, Any]:
    text = (files("rackmodel.workload") / "data" / name).read_text(encoding="utf-8")
    return tomllib.loads(text)


def class_values(family: str, *, sizes: bool) -> dict[str, Any]:
    """What the class of a family takes where a file leaves keys out, with its sizes or without.

    >>> class_values("gemma2", sizes=False)
    {'num_key_value_heads': 4}
    """
    row = _shipped("config_defaults.toml").get(family, {})
    return {**(row.get("sizes", {}) if sizes else {}), **row.get("other", {})}


@cache
def _meanings() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What names of keys look like that change shapes, and of those, names that change none."""
    words = _shipped("config_keys.toml")
    harmless = [start for group in words["harmless"].values() for start in group]
    shapes = re.compile("|".join(words["shapes"]), re.IGNORECASE)
    return shapes, re.compile("|".join(harmless))


class Keys:
    """A config, or a table inside it; `read` holds the keys that were asked for."""

    def __init__(self, config: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> None:
        self.config = {key: value for key, value in config.items() if value is not None}
        # Null is not the class's value: the class works one out from other keys.
        self.defaults = {key: value for key, value in defaults.items() if key not in config}
        self.name = name
        self.read: set[str] = set()
        self.tables: list[Keys] = []

    def get(self, *keys: str) -> Any:
        """The first of `keys` that is there and not null, else the class's; all count as read."""
        self.read.update(keys)
        known = self._given(keys)
        return self.config.get(known, self.defaults.get(known))

    def where(self, key: str) -> str:
        """How errors name a key."""
        return f"config of {gate.shown(self.name)}: {key}"

    def refuse(self, why: str) -> InvalidInput:
        """The error that says why a config can't be read."""
        return InvalidInput(f"config of {gate.shown(self.name)}: {why}")

    def whole(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is there and not null, as a whole number."""
        value = self.get(*keys)
        if value is not None:
            return self.size(self._given(keys), value)
        if default is None:
            raise self.refuse(
                f"key {keys[0]!r} is missing; add it, as the config.json of the model's page has it"
            )
        return default

    def size(self, key: str, value: object) -> int:
        """A value of `key` as a whole number."""
        return gate.whole(value, self.where(key), least=0, most=MOST_WIDE, words=False)

    def flag(self, *keys: str, default: bool = False) -> bool:
        """A true or false."""
        value = self.get(*keys)
        return default if value is None else gate.flag(value, self.where(self._given(keys)))

    def text(self, *keys: str, default: str = "") -> str:
        """A word."""
        value = self.get(*keys)
        return default if value is None else gate.text(value, self.where(self._given(keys)))

    def sequence(self, *keys: str) -> list[Any]:
        """A list; empty where there is none."""
        value = self.get(*keys)
        return [] if value is None else gate.members(value, self.where(self._given(keys)))

    def _given(self, keys: Iterable[str]) -> str:
        """The first of the keys that the file gives, else the class; the first where none does."""
        names = tuple(keys)
        known = (key for values in (self.config, self.defaults) for key in names if key in values)
        return next(known, names[0])

    def table(self, key: str) -> Keys:
        """A table inside the config."""
        inner = Keys(gate.table(self.get(key), self.where(key)), f"{self.name}.{key}", {})
        self.tables.append(inner)
        return inner

    def spell(self, key: str, letters: Mapping[str, str], layers: int) -> str:
        """A list of words, one a layer, as letters."""
        words = self.sequence(key)
        if not words:
            return ""
        if unknown := [word for word in words if str(word) not in letters]:
            raise InvalidInput(
                f"{self.where(key)} has layers of kind {unknown[0]!r:.60}, which is not modelled"
                f" (known: {', '.join(letters)})"
            )
        if len(words) < layers:
            raise InvalidInput(f"{self.where(key)} names {len(words)} of {layers} layers; give all")
        return "".join(letters[str(word)] for word in words[:layers])

    def unread(self) -> list[str]:
        """Keys that nobody read and that seem to change the shape of the model."""
        found = [key for key, value in self.config.items() if self._matters(key, value)]
        return sorted(found) + [f"{t.name}: {key}" for t in self.tables for key in t.unread()]

    def _matters(self, key: str, value: Any) -> bool:
        shapes, harmless = _meanings()
        if key in self.read or _empty(value) or not shapes.search(key) or harmless.match(key):
            return False
        words = isinstance(value, str) and not value.strip("0123456789, ")
        spelled = isinstance(value, str) and "pattern" in key
        if isinstance(value, float):
            return bool(re.search(r"ratio|expan|ffn.*mult|mlp.*mult", key))
        return not isinstance(value, str) or words or spelled


def _empty(value: Any) -> bool:
    """Whether a value says that there is nothing of what its key names."""
    value = gate.plain(value)  # a mapping of Python may hold numpy's
    if isinstance(value, Mapping) or (isinstance(value, Iterable) and not isinstance(value, str)):
        return all(
            _empty(item) for item in (value.values() if isinstance(value, Mapping) else value)
        )
    return value is None or value is False or value == 0 or value == ""
