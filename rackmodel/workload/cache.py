"""What a model keeps of a sequence while it decodes: keys and values, latents, states.

In:  a model, tokens of a sequence, ranks of tensor parallelism, bytes of an element.
Out: elements per layer kind, bytes of a sequence on one rank.
Left out: pages and their waste, prefixes that sequences share, draft models.

Attention keeps a key and a value of each key-value head and token; within a window of the last
tokens only. Latent attention keeps the compressed key-value and the rope part of a key, once for
all heads (DeepSeek-V2, arXiv:2405.04434, section 2.1.2), so every tensor-parallel rank holds all of
it. An indexer keeps one key a token (DeepSeek-V3.2, arXiv:2512.02556, section 2.1). Layers with a
state keep that, however long the sequence is.
"""

from __future__ import annotations

from dataclasses import dataclass

from rackmodel.workload.blocks import Block
from rackmodel.workload.models import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """What one layer keeps of one sequence on one rank.

    per_token : elements kept for each token. [elements/token]
    window : tokens that are kept at most; 0: all of them.
    compressed_per_token : elements of compressed keys, for every token. [elements/token]
    index_per_token : elements of an indexer's key, of every token. [elements/token]
    per_sequence : elements of the state, whatever the length. [elements]
    """

    per_token: float = 0.0
    window: int = 0
    compressed_per_token: float = 0.0
    index_per_token: float = 0.0
    per_sequence: float = 0.0

    def tokens(self, length: float) -> float:
        """Tokens that are kept of a sequence of that length."""
        return min(length, float(self.window)) if self.window else length


def cache_of(model: Model, block: Block, *, tp: int = 1) -> Cache:
    """Return what one layer of that kind keeps of a sequence on one of `tp` ranks.

    Examples
    --------
    >>> from rackmodel.workload import load_model
    >>> v3 = load_model("deepseek-v3")
    >>> cache_of(v3, v3.blocks[0], tp=8).per_token
    576.0
    """
    per_token = index = 0.0
    if block.attends and model.mla is not None:
        per_token = float(model.mla.kv_lora + model.mla.qk_rope)
    elif block.attends:
        wide = model.heads_of(block)
        per_token = max(1.0, wide.kv_heads / tp) * wide.kept_width
    if model.index is not None and block.index == "own":
        index = model.index.head_dim / max(1, model.index.rate)
    kind = model.recurrent(block)
    return Cache(
        per_token=per_token,
        window=block.window,
        compressed_per_token=model.head_dim / block.rate if block.rate else 0.0,
        index_per_token=index,
        per_sequence=kind.kept_elements / tp if kind is not None else 0.0,
    )


def cache_bytes(
    model: Model,
    length: float,
    *,
    tp: int = 1,
    element_bytes: float = 2.0,
    state_bytes: float = 4.0,
) -> float:
    """Return the bytes that all layers keep of a sequence of that length on one of `tp` ranks.

    Parameters
    ----------
    length : tokens of the sequence so far.
    tp : ranks of tensor parallelism; pipeline stages share the layers out.
    element_bytes : of a key, value or latent. An indexer's key has one (fp8 as published).
    state_bytes : of a state (fp32, as Mamba and the delta rule keep theirs). [bytes]

    Examples
    --------
    >>> from rackmodel.workload import load_model
    >>> llama = load_model("llama3.1-70b")
    >>> (cache_bytes(llama, 1001) - cache_bytes(llama, 1000)) / 2**10  # KiB a token
    320.0
    """
    total = 0.0
    for block in dict.fromkeys(model.blocks):
        kept = cache_of(model, block, tp=tp)
        each = kept.tokens(length) * kept.per_token * element_bytes
        each += length * kept.compressed_per_token * element_bytes
        each += length * kept.index_per_token + kept.per_sequence * state_bytes
        total += model.blocks.count(block) * each
    return total
