"""Which layer of a model is of which kind, spelled by letters.

In:  letters, or a window and how often experts and full attention come.
Out: `Block`s, first to last.
Left out: widths (`models`), what a kind costs (`mixers`, `layers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from rackmodel.errors import InvalidInput

Mixer = Literal["attention", "mamba", "selective", "delta", "conv", "both", "none"]
Feed = Literal["dense", "moe", "none"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer's kind: mixer and feed-forward part; `window` [tokens] is 0 for full attention.

    "both" is attention and Mamba-2 side by side. `index`: attention is sparse, over keys that an
    indexer of its own chose or that of an earlier layer.
    """

    mixer: Mixer = "attention"
    feed: Feed = "dense"
    window: int = 0
    index: Literal["", "own", "shared"] = ""

    @property
    def attends(self) -> bool:
        """Whether it has attention."""
        return self.mixer in ("attention", "both")


# What a letter of `Model.mixers` stands for; W takes the model's window.
MIXERS: dict[str, Block] = {
    "*": Block(),
    "W": Block(window=1),
    "I": Block(index="own"),
    "i": Block(index="shared"),
    "M": Block(mixer="mamba"),
    "S": Block(mixer="selective"),
    "D": Block(mixer="delta"),
    "C": Block(mixer="conv"),
    "H": Block(mixer="both"),
}
FEEDS: dict[str, Feed] = {"-": "dense", "E": "moe"}
# Letters of `Model.pattern`: one sub-layer each.
SUB_LAYERS: dict[str, Block] = {
    "M": Block(mixer="mamba", feed="none"),
    "S": Block(mixer="selective", feed="none"),
    "*": Block(feed="none"),
    "-": Block(mixer="none"),
    "E": Block(mixer="none", feed="moe"),
}


def sub_layers(what: str, letters: str, window: int) -> tuple[Block, ...]:
    """Blocks of one sub-layer a letter; attention has the window."""
    kinds = [_of(what, letter, SUB_LAYERS) for letter in letters]
    return tuple(replace(kind, window=window) if kind.attends else kind for kind in kinds)


def cycled(what: str, letters: str, kinds: Mapping[str, _T], layers: int) -> list[_T]:
    """The kind of each layer; letters fewer than layers are said again from the first."""
    if len(letters) > layers:
        raise InvalidInput(
            f"{what} spells {len(letters)} layers, the model has {layers}; give as many"
        )
    each = [_of(what, letter, kinds) for letter in letters]
    return [each[layer % len(each)] for layer in range(layers)]


def _of(what: str, letter: str, kinds: Mapping[str, _T]) -> _T:
    if letter not in kinds:
        raise InvalidInput(f"{what} must be of the letters {' '.join(kinds)}, found {letter!r}")
    return kinds[letter]
