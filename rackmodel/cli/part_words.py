"""Words for parts of a machine: slow, broken, another accelerator; how ranks are placed.

In:  words such as "rack1=1.2", "gpu17,nic-3", "rack1=h200", "64,32".
Out: pairs and tuples, and the words of the front door that they make.
Left out: whether the machine has such parts (`engine.defects`).
"""

from __future__ import annotations

import itertools
from typing import Any

from rackmodel.cli.values import clip, count, number
from rackmodel.errors import InvalidInput
from rackmodel.fields import MOST_RANKS


def collected(words: dict[str, Any]) -> dict[str, Any]:
    """Return options with what was given several times put together."""
    tables = {"slow", "mixed"} & words.keys()
    lists = {"broken", "placement", "lora_targets", "freeze"} & words.keys()
    return {
        **words,
        **{name: dict(words[name]) for name in tables},
        **{name: tuple(itertools.chain.from_iterable(words[name])) for name in lists},
    }


def slow(word: str, where: str) -> tuple[str, float]:
    """Return (part, factor) of PART=FACTOR.

    >>> slow("rack1=1.2", "--slow")
    ('rack1', 1.2)
    """
    part, text = _of_part(word, where, "PART=FACTOR such as 3=1.2, rack1=1.2 or nic-3=2")
    return part, number(text, where)


def mixed(word: str, where: str) -> tuple[str, str]:
    """Return (part, accelerator) of PART=ACCELERATOR.

    >>> mixed("rack1=h200", "--mixed")
    ('rack1', 'h200')
    """
    return _of_part(word, where, "PART=ACCELERATOR such as rack1=h200")


def _of_part(word: str, where: str, wanted: str) -> tuple[str, str]:
    part, equals, text = (each.strip() for each in word.partition("="))
    if not equals or not part or not text:
        raise InvalidInput(f"{where}: wanted {wanted}; got {clip(word)!r}")
    return part, text


def names(word: str, where: str) -> tuple[str, ...]:
    """Return the names of a list with commas.

    >>> names("gpu17, nic-3", "--broken")
    ('gpu17', 'nic-3')
    """
    found = tuple(part.strip() for part in word.split(","))
    if not all(found):
        raise InvalidInput(f"{where}: wanted names such as gpu17,nic-3; got {clip(word)!r}")
    return found


def counts(word: str, where: str) -> tuple[int, ...]:
    """Return whole numbers, 0 too, with commas between them.

    >>> counts("64,32", "--placement"), counts("1,0,2", "--placement")
    ((64, 32), (1, 0, 2))
    """
    return tuple(count(part, where, MOST_RANKS, least=0) for part in names(word, where))
