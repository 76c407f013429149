"""What a model is made of: the numbers of its print, and the kind of each layer.

In:  the numbers of a model card or a `config.json`.
Out: `Architecture`, the fields of `Model`, checked; its blocks, their heads and states.
Left out: what all that counts up to (`models`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NoReturn

from rackmodel.errors import InvalidInput
from rackmodel.workload.attention_kinds import Heads, Indexer, Mla
from rackmodel.workload.blocks import Block, Spelling, blocks_of, sub_layers
from rackmodel.workload.mixers import Convolution, Delta, Mamba, Recurrent, Selective
from rackmodel.workload.variants import Compression, SharedBlock

MOST = {"layers": 10_000, "mtp_layers": 1_000, "experts": 100_000}  # each one costs time
MOST_WIDE = 10**9
"""No dimension of a model comes near it: absurd sizes are stopped early."""


@dataclass(frozen=True, slots=True, kw_only=True, init=False, repr=False, eq=False)
class Architecture:
    """One architecture as its authors print it; unpadded vocabulary, counts per whole model.

    A layer is a mixer plus a feed-forward part. `mixers` spells the first, one letter a layer, said
    again from the first where the layers are more: * (attention), W (within the window), I (sparse,
    with an indexer), i (sparse, with the keys of the layer before), M (Mamba-2), S (Mamba-1), D
    (gated delta rule), C (short convolution), H (attention and Mamba-2 side by side), Z and z
    (within the window, and over keys compressed lightly, with an indexer, or heavily). `feeds`
    spells the second: - (dense), E (experts). In models whose layers are one of the two, `pattern`
    spells one sub-layer a letter: M, *, -, E, X (a shared block, then Mamba-2; x: used again).
    """

    name: str
    layers: int
    hidden: int
    ffn: int  # width of a dense feed-forward part
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    gated_ffn: bool = True
    experts: int = 0
    topk: int = 0
    routing_groups: int = 1  # equal groups of experts, of which a token may choose from
    routing_group_limit: int = 1  # so many
    moe_ffn: int = 0  # width of one expert
    shared_expert_ffn: int = 0  # width of all shared experts together
    shared_expert_gate: bool = False
    moe_latent: int = 0  # experts work on that many columns, between two projections of all tokens
    dense_layers: int = 0  # leading layers without experts
    moe_every: int = 1  # of the layers after those, every n-th has experts
    mla: Mla | None = None
    mamba: Mamba | None = None
    selective: Selective | None = None
    delta: Delta | None = None
    conv: Convolution | None = None
    index: Indexer | None = None
    compression: Compression | None = None
    shared_block: SharedBlock | None = None
    mixers: str = ""
    feeds: str = ""
    pattern: str = ""
    mtp_layers: int = 0  # multi-token-prediction layers after the last, not in `layers`
    mtp_pattern: str = ""  # sub-layers of one of them; none: as the last layer
    window: int = 0  # sliding or chunked attention [tokens]; 0 is full
    full_attention_every: int = 0  # with a window: every n-th layer attends fully (0: none does)
    full_heads: Heads | None = None  # heads of layers that attend fully, where they are others
    v_head_dim: int = 0  # width of a value head, where it is not that of a key
    query_rank: int = 0  # the query projection goes through that many columns
    attention_gate: bool = False  # the query projection also gives a gate on the output
    one_kv: bool = False  # key and value are the same numbers
    out_groups: int = 0  # groups of heads whose output goes through `out_rank` columns each
    out_rank: int = 0
    streams: int = 1  # residual streams that hyper-connections mix around every sub-layer
    tied: bool = False  # one matrix for embedding and head
    parallel_blocks: bool = False  # attention and feed-forward side by side, one norm
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    rotary: bool = True
    learned_positions: int = 0  # rows of a learned position table
    bias: bool = False  # every linear layer has one
    qkv_bias: bool = False  # only query, key and value have one
    qk_norm: bool = False
    post_norms: bool = False  # a norm after attention and feed-forward too (Gemma)
    attention_sinks: bool = False  # one learned logit per head
    embedding_norm: bool = False  # a norm right after the embedding (BLOOM)
    dropout: bool = False
    published_format: str = ""  # of the weights as published, where narrower than bf16
    assumed: str = ""  # what is not from print
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse numbers that can't be a model."""
        self._positive("layers", "hidden", "vocab", "moe_every")
        for field, most in MOST.items():
            if (found := getattr(self, field)) > most:
                self._refuse(f"{field} must be at most {most:,}, found {found:,}")
        parts = {part for block in self.blocks for part in (block.mixer, block.feed)}
        if any(block.attends for block in self.blocks):
            self._positive("heads", "kv_heads", "head_dim")
            if self.heads % self.kv_heads:
                self._refuse(
                    f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; give"
                    " kv_heads that divide the heads"
                )
        if "dense" in parts:
            self._positive("ffn")
        if "moe" in parts:
            self._positive("topk", "moe_ffn")
            if self.topk > self.experts:
                self._refuse(
                    f"topk {self.topk} is more than its {self.experts} experts; give fewer"
                )
            self._check_groups()
        for block in dict.fromkeys(self.blocks):
            self._needs(block)

    def _check_groups(self) -> None:
        """Refuse groups that experts do not divide into, or that hold too few for a token."""
        self._positive("routing_groups", "routing_group_limit")
        groups, limit = self.routing_groups, self.routing_group_limit
        if self.experts % groups or limit > groups:
            self._refuse(f"{limit} of {groups} routing_groups of its {self.experts} experts")
        if limit * (self.experts // groups) < self.topk:
            self._refuse(f"{limit} of {groups} routing_groups hold fewer than topk {self.topk}")

    def _needs(self, block: Block) -> None:
        """Refuse a kind of layer whose sizes are not given."""
        if block.mixer in _RECURRENT and self.recurrent(block) is None:
            self._refuse(f"it has {block.mixer} layers but no [{_RECURRENT[block.mixer]}] is given")
        if block.use and self.shared_block is None:
            self._refuse("it has shared blocks but no [shared_block] is given")
        if block.mixer == "attention" and "z" in self.mixers.lower() and not self.compression:
            self._refuse("it has compressed layers but no [compression] is given")
        if block.index and self.index is None:
            self._refuse("it has sparse layers but no [index] is given")
        if block.index == "shared" and not any(other.index == "own" for other in self.blocks):
            self._refuse("no layer has the indexer that its sparse layers share")

    def _positive(self, *names: str) -> None:
        for name in names:
            if (found := getattr(self, name)) < 1:
                self._refuse(f"{name} must be at least 1, found {found}")

    def _refuse(self, why: str) -> NoReturn:
        raise InvalidInput(f"model {self.name!r}: {why}")

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The kind of each layer, first to last, without MTP layers."""
        kept = self.compression
        return blocks_of(
            Spelling(
                self.name,
                self.layers,
                self.pattern,
                self.mixers,
                self.feeds,
                self.window,
                self.full_attention_every,
                self.experts,
                self.dense_layers,
                self.moe_every,
                (kept.rate, kept.heavy_rate) if kept else (0, 0),
            )
        )

    @property
    def mtp_blocks(self) -> tuple[Block, ...]:
        """The kinds of an MTP layer: as spelled, or that of the last layer."""
        if self.mtp_pattern:
            return sub_layers(f"model {self.name!r}: mtp_pattern", self.mtp_pattern, self.window)
        return (self.blocks[-1],)

    def heads_of(self, block: Block) -> Heads:
        """The heads of the attention core of a layer.

        Latent attention expands to as many key-value heads as query heads; where it is sparse,
        every query head works on the latent key-value itself, shared by all (DeepSeek-V3.2,
        arXiv:2512.02556, section 2.1: MQA mode), since each query gathers keys of its own.
        """
        a = self.mla
        if a is not None and block.index:
            wide = a.kv_lora + a.qk_rope
            return Heads(heads=self.heads, kv_heads=1, head_dim=wide, v_dim=a.kv_lora)
        if a is not None:
            return Heads(heads=self.heads, kv_heads=self.heads, head_dim=a.qk_dim, v_dim=a.v_dim)
        if self.full_heads is not None and not block.window:
            return self.full_heads
        return Heads(
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            v_dim=self.v_head_dim,
            gate=self.attention_gate,
            q_rank=self.query_rank,
            one_kv=self.one_kv,
            out_groups=self.out_groups,
            out_rank=self.out_rank,
        )

    def recurrent(self, block: Block) -> Recurrent | None:
        """The part of a layer that keeps a state, if it has one."""
        kind = _RECURRENT.get(block.mixer)
        found: Recurrent | None = getattr(self, kind) if kind else None
        return found


# The field of `Model` that holds the sizes of a mixer with a state.
_RECURRENT = {
    "mamba": "mamba",
    "both": "mamba",
    "shared": "mamba",
    "selective": "selective",
    "delta": "delta",
    "conv": "conv",
}
