"""The KV cache of one worker in blocks, prefixes that requests share among them.

In:  blocks of the worker.
Out: `Pool`: blocks that are taken, given back, shared.
Left out: bytes (`workload.serving.memory`); which rank holds a block.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from rackmodel.requests.drafts import BLOCK_TOKENS


@dataclass(slots=True)
class Shared:
    """A prefix that is cached: its blocks, the sequences that read it, whether it is computed."""

    blocks: int
    readers: int = 0
    ready: bool = False


@dataclass(slots=True)
class Pool:
    """Blocks of one worker. `used` counts those of sequences and of prefixes that are read."""

    blocks: int
    used: int = 0
    idle: int = 0  # of prefixes that nobody reads: given up when blocks run out
    shared: OrderedDict[str, Shared] = field(default_factory=OrderedDict)

    @property
    def room(self) -> int:
        """Blocks that can be taken."""
        return self.blocks - self.used

    def take(self, blocks: int) -> None:
        """Take blocks, those of prefixes that nobody reads too: the ones unread for longest."""
        self.used += blocks
        while self.used + self.idle > self.blocks:
            name = next(name for name, one in self.shared.items() if not one.readers)
            self.idle -= self.shared.pop(name).blocks

    def give(self, blocks: int) -> None:
        """Give blocks back."""
        self.used -= blocks

    def known(self, prefix: str) -> int:
        """Return the tokens of a prefix that are computed already."""
        one = self.shared.get(prefix)
        return one.blocks * BLOCK_TOKENS if one is not None and one.ready else 0

    def needed(self, prefix: str, tokens: int) -> int:
        """Return the blocks that reading a prefix takes from the room."""
        one = self.shared.get(prefix)
        if one is None:
            return tokens // BLOCK_TOKENS
        return 0 if one.readers else one.blocks

    def read(self, prefix: str, tokens: int) -> int:
        """Begin to read a prefix; return its blocks, which the sequence need not take."""
        one = self.shared.get(prefix)
        if one is None:
            one = self.shared[prefix] = Shared(tokens // BLOCK_TOKENS, readers=1)
            self.take(one.blocks)
        else:
            self.shared.move_to_end(prefix)
            one.readers += 1
            if one.readers == 1:
                self.idle -= one.blocks
                self.take(one.blocks)
        return one.blocks

    def computed(self, prefix: str) -> None:
        """Note that a prefix is computed: others need not do it again."""
        self.shared[prefix].ready = True

    def leave(self, prefix: str) -> None:
        """Stop to read a prefix; it stays until its blocks are needed."""
        one = self.shared[prefix]
        one.readers -= 1
        if one.readers:
            return
        self.give(one.blocks)
        if one.ready:
            self.idle += one.blocks
        else:
            del self.shared[prefix]


def blocks_of(tokens: int) -> int:
    """Return the blocks that hold so many tokens.

    >>> blocks_of(16), blocks_of(17)
    (1, 2)
    """
    return -(-tokens // BLOCK_TOKENS)
