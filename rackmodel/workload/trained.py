"""What of a model is trained: all of it, all but frozen parts, or low-rank adapters (LoRA).

In:  a job's `freeze`, `lora` and `lora_targets`; the steps of a layer or of an end of the model.
Out: `Trained`: which parts of which layer learn; steps with adapters and without gradients of
     frozen weights; where gradients stop.
Left out: dropout of the input of adapters; activations that only gradients of frozen weights would
     need, which stay counted.

A weight that is frozen has no gradient, no state, no reduction and no product for its gradient; the
gradient of its input is still needed down to the first layer that learns. An adapter adds x A B to
x W (Hu et al. 2021, arXiv:2106.09685, equation 3): A as wide as the input, B as the output, both in
the base format; where W is split over tp, so are both, with the traffic of `adapters`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rackmodel import gate
from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.fields import setting
from rackmodel.workload.blocks import Block
from rackmodel.workload.choices import FROZEN_PARTS, LORA_TARGETS, OPTIMIZERS

_LAYERS = re.compile(r"layers:(\d{1,6})(?:-(\d{1,6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Which parts learn.

    parts : frozen everywhere, of `FROZEN_PARTS`. layers : frozen as a whole, by number. lora : rank
    of adapters (0: none). targets : parts that have them; all else is frozen then.
    """

    parts: frozenset[str] = frozenset()
    layers: frozenset[int] = frozenset()
    lora: int = 0
    targets: frozenset[str] = frozenset()

    @classmethod
    def of(cls, freeze: Sequence[str], lora: int, targets: Sequence[str], layers: int) -> Trained:
        """Read the words of a job on a model of so many layers.

        >>> sorted(Trained.of(["embedding", "layers:0-1"], 0, (), 32).layers)
        [0, 1]

        Raises
        ------
        InvalidInput, UnknownName
        """
        parts, numbers = set[str](), set[int]()
        for word in freeze:
            if word in FROZEN_PARTS:
                parts.add(word)
                continue
            found = _LAYERS.fullmatch(word)
            if found is None:
                raise UnknownName.among("part to freeze", word, (*FROZEN_PARTS, "layers:0-15"))
            first, last = int(found[1]), int(found[2] or found[1])
            if not first <= last < layers:
                raise InvalidInput(f"freeze: {word}: give first and last of 0 to {layers - 1}")
            numbers |= set(range(first, last + 1))
        if lora and freeze:
            raise InvalidInput("lora freezes everything but its adapters; leave freeze out")
        if targets and not lora:
            raise InvalidInput("lora_targets need lora; give the rank of the adapters, such as 16")
        if lora:
            parts = set(FROZEN_PARTS)
        return cls(
            parts=frozenset(parts),
            layers=frozenset(numbers),
            lora=lora,
            targets=frozenset(targets or LORA_TARGETS[:2]) if lora else frozenset(),
        )

    @property
    def whole(self) -> bool:
        """Whether every weight learns."""
        return not (self.parts or self.layers or self.lora)

    def first_layer(self, blocks: Sequence[Block]) -> int:
        """Return the first layer with a weight that learns; -1: the embedding does.

        The number of layers where only what comes after them does.
        """
        if self.learns("embedding"):
            return -1
        for layer, block in enumerate(blocks):
            if any(self.learns(part, layer) for part in ("attention", "norms")):
                return layer
            feed = ("router", "experts", "mlp") if block.feed == "moe" else ("mlp",)
            if any(self.learns(part, layer) or part in self.targets for part in feed):
                return layer
            if "attention" in self.targets:
                return layer
        return len(blocks)

    def learns(self, part: str, layer: int | None = None) -> bool:
        """Whether the weights of a part (of a layer, by number) learn."""
        return part not in self.parts and layer not in self.layers


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)
class Learning:
    """How the weights of a job learn: what updates them, and which of them it does."""

    optimizer: str = setting(
        "adam", "What updates weights.", choices=tuple(OPTIMIZERS), option="--optimizer"
    )
    lora: int = setting(
        0,
        "Rank of low-rank adapters; all other weights are frozen. 0: none.",
        16,
        unit="rank",
        option="--lora",
        most=65536,
    )
    lora_targets: tuple[str, ...] = setting(
        (),
        "Parts whose linear layers have adapters. Default: attention and mlp.",
        "attention",
        choices=LORA_TARGETS,
        unit="parts",
        option="--lora-targets",
    )
    freeze: tuple[str, ...] = setting(
        (),
        f"What does not learn: {', '.join(FROZEN_PARTS)}, layers:0-15.",
        "embedding,layers:0-15",
        unit="parts",
        option="--freeze",
    )

    def __post_init__(self) -> None:
        """Take lists for tuples; refuse what is no list."""
        for name, example in (("lora_targets", '["mlp"]'), ("freeze", '["embedding"]')):
            if type(value := getattr(self, name)) is not tuple:
                members = map(gate.plain, gate.members(value, name, example))
                object.__setattr__(self, name, tuple(members))
