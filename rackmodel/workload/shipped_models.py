"""The models that ship, as their files have them, and the names that others write for them.

In:  `data/models/*.toml`.
Out: {name: fields}; the name of a model that another spelling means.
Left out: what the fields count up to (`catalog`).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from rackmodel.shipped import shipped_toml


@cache
def shipped_models() -> dict[str, dict[str, Any]]:
    """Return {name: fields}, those of its family filled in."""
    folder = Path(__file__).parent / "data" / "models"
    families = shipped_toml(folder / "families.toml")
    return {
        key: {**families.get(value.get("family", ""), {}), **value}
        for name in ("dense.toml", "experts.toml")
        for key, value in shipped_toml(folder / name).items()
    }


def name_spelled(text: str) -> str | None:
    """Return the model that a name means: llama3_8b, Meta-Llama-3-8B, Llama31Config405B.

    >>> name_spelled("meta-llama/Meta-Llama-3-8B"), name_spelled("Llama31Config405B")
    ('llama3-8b', 'llama3.1-405b')
    >>> name_spelled("Qwen/Qwen9") is None
    True
    """
    plain = {_plain(name): name for name in shipped_models()}
    word = text.rpartition("/")[2].removeprefix("Meta-")
    return plain.get(_plain(word)) or plain.get(_plain(word.replace("Config", "")))


def _plain(name: str) -> str:
    """A name without punctuation."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
