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
    counts : steps from one that admits prompts to the next (`admit_every`) are counted from the
    first prompt that waits, in workers whose ranks share attention.
    reserves : a request takes the KV blocks of its whole answer before it begins.
    Where prompts run on workers of their own: asks : a worker that decodes hears of a request when
    its prompt has run, and fetches its cache then. repeats : it makes the first token itself.
    """

    host_s: float = 0.0
    request_s: float = 0.0
    alternates: bool = False
    sequences: int = 2048
    reserves: bool = False
    counts: bool = False
    asks: bool = False
    repeats: bool = False

    def first_token_s(
        self, decode_s: float, mixed_s: float, mixed: float, pieces: int, turn: float = 0.5
    ) -> float:
        """Return the time to the first token where prompts run beside decode. [s]

        A request waits `turn` steps for one that admits some, then for prompts that came before it,
        then runs piece by piece.
        """
        alone_s, mean_s = pieces * mixed_s, decode_s * (1.0 - mixed) + mixed_s * mixed
        busy = min(0.95, mixed * (mixed_s - decode_s) / max(mean_s, 1e-12))
        waited_s = alone_s * busy / (2.0 * (1.0 - busy))
        return self.request_s + alone_s + turn * decode_s + waited_s

    def taken_up_s(self, moved_s: float, decode_s: float, busy: float) -> float:
        """Return the time from the end of a prompt to its first token, where it decodes elsewhere.

        A worker that decodes looks at what came between two of its steps: half a step later on
        average, and, if it has to ask for the cache, once more when that is here: at the end of the
        first step at the earliest. busy : chance that it decodes for others. moved_s : of a cache.
        """
        looked_s = max(decode_s, moved_s + decode_s / 2.0) if self.asks else moved_s
        own_s = decode_s if self.repeats else 0.0
        return own_s + moved_s + busy * (looked_s + decode_s / 2.0 - moved_s)
