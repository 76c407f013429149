"""Which layer of a model is of which kind, spelled by letters.

In:  letters, or a window and how often experts and full attention come.
Out: `Block`s, first to last.
Left out: widths (`models`), what a kind costs (`mixers`, `layers`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple, TypeVar

from rackmodel.errors import InvalidInput

Mixer = Literal["attention", "mamba", "selective", "delta", "conv", "both", "shared", "none"]
Feed = Literal["dense", "moe", "none"]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer's kind: mixer and feed-forward part; `window` [tokens] is 0 for full attention.

    "both" is attention and Mamba-2 side by side, "shared" a block that layers share before Mamba-2.
    `index`: attention is sparse, over keys that an indexer of its own chose or that of an earlier
    layer. `rate`: beside the window it sees keys that sum up so many tokens each. `use`: of a
    shared block, whether its weights stand here or were used before.
    """

    mixer: Mixer = "attention"
    feed: Feed = "dense"
    window: int = 0
    index: Literal["", "own", "shared"] = ""
    rate: int = 0
    use: Literal["", "first", "again"] = ""

    @property
    def attends(self) -> bool:
        """Whether it has attention."""
        return self.mixer in ("attention", "both", "shared")


# What a letter of `Model.mixers` stands for; W, Z and z take the model's window and rates.
MIXERS: dict[str, Block] = {
    "*": Block(),
    "W": Block(window=1),
    "I": Block(index="own"),
    "i": Block(index="shared"),
    "Z": Block(index="own", window=1, rate=1),
    "z": Block(window=1, rate=2),
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
    "X": Block(mixer="shared", feed="none", use="first"),
    "x": Block(mixer="shared", feed="none", use="again"),
    "-": Block(mixer="none"),
    "E": Block(mixer="none", feed="moe"),
}


class Spelling(NamedTuple):
    """How a model says which layer is of which kind: fields of `Model`; rates of "Z" and "z"."""

    name: str
    layers: int
    pattern: str
    mixers: str
    feeds: str
    window: int
    full_attention_every: int
    experts: int
    dense_layers: int
    moe_every: int
    rates: tuple[int, int]


@cache
def blocks_of(said: Spelling) -> tuple[Block, ...]:
    """Return the kind of each layer, first to last.

    Raises
    ------
    InvalidInput
        For letters that are none, or more or fewer than layers.
    """
    where, layers = f"model {said.name!r}: ", said.layers
    if said.pattern:
        if len(said.pattern) != layers:
            raise InvalidInput(
                f"{where}pattern must spell {layers} layers, found {len(said.pattern)}"
            )
        return sub_layers(f"{where}pattern", said.pattern, said.window)
    every, first = said.full_attention_every, said.dense_layers
    if said.mixers:
        mixers = cycled(f"{where}mixers", said.mixers, MIXERS, layers)
    else:
        full = [not said.window or (every > 0 and (i + 1) % every == 0) for i in range(layers)]
        mixers = [MIXERS["*" if fully else "W"] for fully in full]
    if said.feeds:
        feeds = cycled(f"{where}feeds", said.feeds, FEEDS, layers)
    else:
        moe = range(first + said.moe_every - 1, layers, said.moe_every) if said.experts else ()
        feeds = ["moe" if layer in moe else "dense" for layer in range(layers)]
    rates = (0, *said.rates)
    return tuple(
        replace(mixer, feed=feed, window=said.window if mixer.window else 0, rate=rates[mixer.rate])
        for mixer, feed in zip(mixers, feeds, strict=True)
    )


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
