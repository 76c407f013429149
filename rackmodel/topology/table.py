"""Read one table of a file key by key, so that every slip is named where it stands.

In:  a mapping from TOML or JSON, the file's name and the key path of the table.
Out: checked values in SI; `finish` refuses keys that nobody asked for.
Left out: what the keys mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from rackmodel import units
from rackmodel.errors import InvalidInput

MOST = 1_000_000
"""No shape has more of anything in one unit; a larger number is a slip."""


class Table:
    """One table of a file; every getter marks its key as known."""

    def __init__(self, data: object, file: str, path: str = "") -> None:
        if not isinstance(data, Mapping):
            raise InvalidInput(
                f"{file}: {path or 'the file'}: expected a table, found {data!r:.60}"
            )
        self.data: Mapping[str, object] = data
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
        if default is None or key in self.data:
            value = self.need(key, f'"{choices[0] if choices else "..."}"')
        else:
            value = default
        self.known.add(key)
        if not isinstance(value, str) or len(value) > 2000:
            raise InvalidInput(f"{self.where(key)}: expected a text, found {value!r:.60}")
        if choices and value not in choices:
            near = difflib.get_close_matches(value, choices, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(choices)
            raise InvalidInput(f"{self.where(key)}: unknown {value!r}{hint} (known: {known})")
        return value

    def number(self, key: str, dimension: str, default: float | None = None) -> float:
        """Return a quantity in SI, never zero."""
        if default is not None and not self.has(key):
            return default
        value = self.need(key, "a number with its unit")
        return units.parse(value, dimension, where=self.where(key), positive=True)

    def count(
        self, key: str, default: int | None = None, *, least: int = 1, most: int = MOST
    ) -> int:
        """Return a whole number within bounds."""
        if default is not None and not self.has(key):
            return default
        return self._whole(self.need(key, str(max(least, 8))), key, least, most)

    def counts(self, key: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        if default is not None and not self.has(key):
            return tuple(default)
        value = self.need(key, "[4, 4, 4]")
        if not isinstance(value, list) or not value or len(value) > 4096:
            found = f"{value!r:.60}"
            raise InvalidInput(
                f"{self.where(key)}: expected a list such as [4, 4, 4], found {found}"
            )
        return tuple(self._whole(v, f"{key}[{i}]", 1, MOST) for i, v in enumerate(value))

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.data.get(key, default)
        self.known.add(key)
        if not isinstance(value, bool):
            raise InvalidInput(f"{self.where(key)}: expected true or false, found {value!r:.60}")
        return value

    def _whole(self, value: object, key: str, least: int, most: int) -> int:
        number = units.parse(value, "1", where=self.where(key))
        if number != int(number):
            raise InvalidInput(f"{self.where(key)}: expected a whole number, found {value!r:.60}")
        if not least <= number <= most:
            raise InvalidInput(f"{self.where(key)}: {value!r:.60} is outside {least:,} to {most:,}")
        return int(number)

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
