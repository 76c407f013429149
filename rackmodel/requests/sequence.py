"""A request in a worker: what of its prompt has run, what of its answer is made.

In:  a request; the decode steps that its tokens take (`drafts`).
Out: `Sequence`, and how many tokens it has after any number of decode steps.
Left out: what a worker does with it (`replica`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rackmodel.requests.arrivals import Request
from rackmodel.requests.drafts import BLOCK_TOKENS


@dataclass(slots=True, eq=False)
class Sequence:
    """A request in a worker.

    prompt : tokens to run before the next token comes; left : of them, not yet run. made : tokens
    of the answer so far. blocks : taken from the pool, those of a shared prefix not among them.
    late_s : that its prompt has been in the stages of a pipeline beyond its steps.
    steps : decode steps of each block of tokens that is still to come, from the turn `begin` on;
    entry : its place among the ends of its worker, -1 while it does not decode.
    """

    request: Request
    prompt: int
    left: int = 0
    made: int = 0
    since_s: float = 0.0
    first_s: float = -1.0
    blocks: int = 0
    late_s: float = 0.0
    begin: int = 0
    entry: int = -1
    steps: list[int] = field(default_factory=list)

    @property
    def context(self) -> int:
        """Tokens in the cache once the prompt has run."""
        return self.request.isl + self.made

    def made_at(self, turn: int) -> int:
        """Return the tokens of the answer after so many decode steps of the worker."""
        tokens, at, rest = self.made, self.begin, self.request.osl - self.made
        for steps in self.steps:
            block = min(BLOCK_TOKENS, rest)
            if at + steps > turn:
                return tokens + block * (turn - at) // steps
            tokens, at, rest = tokens + block, at + steps, rest - block
        return tokens
