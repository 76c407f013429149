"""What a serving software does beside the kernels of its steps.

In:  its times and ways (`kernels/data/serving.toml`, software).
Out: `Habits`.
Left out: users and what they wait for (`steady`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What the software does.

    host_s : between two steps. request_s : with a request before its first step. alternates : a
    prompt has the worker to itself.
    sequences : that a data-parallel rank runs at once, at most, where nobody sets another limit.
    reserves : a request takes the KV blocks of its whole answer before it begins.
    """

    host_s: float = 0.0
    request_s: float = 0.0
    alternates: bool = False
    sequences: int = 2048
    reserves: bool = False

    def first_token_s(
        self, decode_s: float, mixed_s: float, mixed: float, pieces: int, every: float = 1.0
    ) -> float:
        """Return the time to the first token where prompts run beside decode. [s]

        A request waits for the next step that admits some, one of `every`, then for prompts that
        came before it, then runs piece by piece.
        """
        alone_s, mean_s = pieces * mixed_s, decode_s * (1.0 - mixed) + mixed_s * mixed
        busy = min(0.95, mixed * (mixed_s - decode_s) / max(mean_s, 1e-12))
        waited_s = alone_s * busy / (2.0 * (1.0 - busy))
        return self.request_s + alone_s + every * decode_s / 2.0 + waited_s
