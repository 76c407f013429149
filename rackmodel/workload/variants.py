"""What newer models put around mixers: keys summed into one, blocks used again, several residuals.

In:  the widths that a `config.json` gives.
Out: parameters of each, by the width of the model.
Left out: their steps (`variant_steps`), mixers themselves (`mixers`).
"""

from __future__ import annotations

from dataclasses import dataclass

from rackmodel.workload.attention_kinds import Heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """Keys of `rate` tokens summed into one by a learned softmax, attended to beside a window.

    Lightly compressed layers overlap their windows, so that each token gives two keys and two
    gates, and an indexer chooses of them; heavily compressed ones see all.
    Source: DeepSeek-V4, sections 2.3.1 and 2.3.2, as in transformers 5.24 (modeling_deepseek_v4).
    """

    rate: int
    heavy_rate: int

    def columns(self, width: int, *, chosen: bool) -> int:
        """Columns of the projections to keys of that width and their gates."""
        return (4 if chosen else 2) * width

    def vectors(self, width: int, *, chosen: bool) -> int:
        """Biases of the places in a window, and the norm of a key."""
        return (2 * self.rate if chosen else self.heavy_rate) * width + width


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedBlock:
    """Blocks of attention and feed-forward part whose weights several layers use (Zamba2).

    They take the hidden state beside the embedding; what they give passes a projection of each
    layer's own. Each use has adapters of its own on the feed-forward part, and on query, key and
    value where `attention_adapters`. Source: arXiv:2411.15242, section 2, and transformers 5.24
    (modeling_zamba2).
    """

    adapter_rank: int
    attention_adapters: bool = False

    def held(self, hidden: int, heads: Heads, ffn: int) -> int:
        """Parameters of one block without its norms."""
        into = 2 * hidden * (heads.query_width + heads.kv_width)
        return into + heads.heads * heads.value_dim * hidden + 3 * hidden * ffn

    def used(self, hidden: int, heads: Heads, ffn: int) -> int:
        """Parameters that each use has of its own."""
        adapters = self.adapter_rank * (hidden + 2 * ffn)
        if self.attention_adapters:
            columns = heads.query_width + heads.kv_width
            adapters += self.adapter_rank * (3 * 2 * hidden + columns)
        return adapters + hidden * hidden


def stream_parameters(streams: int, hidden: int) -> int:
    """Parameters that mix the residual streams around one sub-layer; one stream needs none.

    Source: manifold-constrained hyper-connections, arXiv:2512.24880, section 4.

    >>> stream_parameters(1, 4096), stream_parameters(4, 4096)
    (0, 393243)
    """
    columns = streams * (streams + 2)
    return columns * (streams * hidden + 1) + 3 if streams > 1 else 0


def joined_parameters(streams: int, hidden: int) -> int:
    """Parameters that make one residual of several before the head."""
    return streams * (streams * hidden + 1) + 1 if streams > 1 else 0
