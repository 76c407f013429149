"""The kinds of attention: heads, latent attention, the indexer of sparse attention.

In:  the widths that a model card or a `config.json` gives.
Out: parameters and FLOPs of each, by the width of the model.
Left out: how a kind is cut over ranks (`layers`), kinds that keep a state (`mixers`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """Attention heads of one kind of layer: how many, how wide, and what they share.

    `v_dim` 0: values are as wide as keys. `shared_kv`: one projection gives key and value (Gemma
    4's full layers, `attention_k_eq_v`). `gate`: the query projection is twice as wide, for a
    sigmoid on the output (Qwen3-Next). `q_rank`: the query goes through that many columns (Step-3's
    multi-matrix factorization attention, arXiv:2507.19427, section 3). `one_kv`: key and value are
    the same numbers. `out_rank`: the output passes so many columns in each of `out_groups` groups
    of heads (both DeepSeek-V4).
    """

    heads: int
    kv_heads: int
    head_dim: int
    v_dim: int = 0
    shared_kv: bool = False
    gate: bool = False
    q_rank: int = 0
    one_kv: bool = False
    out_groups: int = 0
    out_rank: int = 0

    @property
    def value_dim(self) -> int:
        """Width of one value head."""
        return self.v_dim or self.head_dim

    @property
    def kv_width(self) -> int:
        """Columns of the key and value projections together."""
        one = self.shared_kv or self.one_kv
        return self.kv_heads * (self.head_dim + (0 if one else self.value_dim))

    @property
    def kept_width(self) -> int:
        """Elements that the cache keeps of one key-value head and token."""
        return self.head_dim + (0 if self.one_kv else self.value_dim)

    def out_matrices(self, hidden: int) -> int:
        """Parameters of the output projection."""
        inner = self.heads * self.value_dim
        if self.out_rank:
            return self.out_rank * (inner + self.out_groups * hidden)
        return inner * hidden

    @property
    def query_width(self) -> int:
        """Columns of the query projection with its gate."""
        return self.heads * self.head_dim * (2 if self.gate else 1)

    def matrices(self, hidden: int) -> int:
        """Parameters of query, key, value and output projections."""
        rank = self.q_rank
        query = rank * (hidden + self.query_width) if rank else hidden * self.query_width
        return query + hidden * self.kv_width + self.out_matrices(hidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mla:
    """Multi-head latent attention: ranks of the compressed query and key/value, and head widths.

    Source: DeepSeek-V2, arXiv:2405.04434, section 2.1. `q_lora` 0 means an uncompressed query.
    """

    q_lora: int
    kv_lora: int
    qk_nope: int
    qk_rope: int
    v_dim: int

    @property
    def qk_dim(self) -> int:
        """Width of one query or key head."""
        return self.qk_nope + self.qk_rope

    @property
    def vectors(self) -> int:
        """Norms of the latent query and key-value."""
        return self.q_lora + self.kv_lora

    def matrices(self, hidden: int, heads: int) -> int:
        """Parameters of the projections down, up and out."""
        down = hidden * (self.q_lora + self.kv_lora + self.qk_rope)
        query = (self.q_lora or hidden) * heads * self.qk_dim
        return (
            down
            + query
            + heads * (self.kv_lora * (self.qk_nope + self.v_dim) + self.v_dim * hidden)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """The lightning indexer of sparse attention: which `topk` keys a query attends to.

    `heads` narrow query heads from the latent query (from the hidden state where it is not
    compressed), one key of `head_dim` a token, one weight a head. Source: DeepSeek-V3.2,
    arXiv:2512.02556, section 2.1. With a `rate` keys of so many tokens are summed into one, as
    those of attention are (DeepSeek-V4, section 2.3.1).
    """

    heads: int
    head_dim: int
    topk: int
    rate: int = 0

    @property
    def key_columns(self) -> int:
        """Columns of the projection to keys, summed ones with their gates."""
        return (4 if self.rate else 1) * self.head_dim

    @property
    def vectors(self) -> int:
        """The norm of the key, with its bias or with those of places in a window."""
        return (2 * self.rate + 1 if self.rate else 2) * self.head_dim

    def matrices(self, hidden: int, query: int) -> int:
        """Parameters; `query` is the width that its queries come from."""
        return query * self.heads * self.head_dim + hidden * (self.key_columns + self.heads)

    def flops(self, span: float) -> float:
        """FLOPs of scoring `span` keys for one token: a product a head, weighted and summed."""
        return 2.0 * self.heads * (self.head_dim + 1) * span
