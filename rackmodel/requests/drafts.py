"""How many steps tokens take where some are drafted: drawn with a seed.

In:  tokens drafted in a step, the probability that each is right.
Out: `Drafts`: steps for a block of tokens, for a few tokens.
Left out: the time of a step.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BLOCK_TOKENS = 16  # of a KV block: vLLM's default (docs.vllm.ai, --block-size)
_DRAWS = 1 << 15


class Drafts:
    """A stream of steps; without drafts every step makes one token."""

    def __init__(self, drafted: int, acceptance: float, rng: np.random.Generator) -> None:
        self.drafted, self.acceptance, self._rng = drafted, acceptance, rng
        self._singles: list[int] = []
        self._blocks: list[int] = []

    def steps(self, tokens: int) -> list[int]:
        """Return the steps of each whole block of an answer's tokens, then those of the rest."""
        whole, rest = divmod(tokens, BLOCK_TOKENS)
        if not self.drafted:
            return [BLOCK_TOKENS] * whole + [rest] * bool(rest)
        while len(self._blocks) < whole:
            self._draw_blocks()
        found = [self._blocks.pop() for _ in range(whole)]
        steps = 0
        while rest > 0:
            if not self._singles:
                self._singles = self._draw().tolist()
            rest -= self._singles.pop()
            steps += 1
        return found + [steps] * bool(steps)

    def _draw(self) -> npt.NDArray[np.int64]:
        """Return tokens of steps: one, and drafted ones as long as each is right."""
        right = self._rng.random((_DRAWS, self.drafted)) < self.acceptance
        return np.asarray(1 + np.cumprod(right, axis=1).sum(axis=1), dtype=np.int64)

    def _draw_blocks(self) -> None:
        """Cut a stream of steps where each block is full; what is too much begins the next."""
        made = np.cumsum(self._draw())
        full = np.searchsorted(made, np.arange(BLOCK_TOKENS, made[-1], BLOCK_TOKENS))
        self._blocks += np.diff(full, prepend=-1).tolist()
