"""What a transformer (or a hybrid) is made of, and how many parameters that gives.

In:  the numbers of a model card or a `config.json`.
Out: `Model`, a list of `Block` kinds, parameter counts, FLOPs of a token.
Left out: weights, tokenizers, quality; how the model is cut over accelerators (see `plan`,
`layers`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NoReturn

from rackmodel.errors import InvalidInput
from rackmodel.workload.blocks import FEEDS, MIXERS, Block, cycled, sub_layers
from rackmodel.workload.mixers import (
    Convolution,
    Delta,
    Heads,
    Indexer,
    Mamba,
    Mla,
    Recurrent,
    Selective,
)
from rackmodel.workload.trained import Trained

MOST = {"layers": 10_000, "mtp_layers": 1_000, "experts": 100_000}  # each one costs time
MOST_WIDE = 10**9
"""No dimension of a model comes near it: absurd sizes are stopped early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One architecture as its authors print it; unpadded vocabulary, counts per whole model.

    A layer is a mixer plus a feed-forward part. `mixers` spells the first, one letter a layer, said
    again from the first where the layers are more: * (attention), W (within the window), I (sparse,
    with an indexer), i (sparse, with the keys of the layer before), M (Mamba-2), S (Mamba-1), D
    (gated delta rule), C (short convolution), H (attention and Mamba-2 side by side). `feeds`
    spells the second: - (dense), E (experts). In models whose layers are one of the two, `pattern`
    spells one sub-layer a letter: M, *, - and E.
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
        return _blocks(self)

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
        )

    def recurrent(self, block: Block) -> Recurrent | None:
        """The part of a layer that keeps a state, if it has one."""
        kind = _RECURRENT.get(block.mixer)
        found: Recurrent | None = getattr(self, kind) if kind else None
        return found

    @property
    def moe_layers(self) -> int:
        """Layers with experts, without MTP layers."""
        return sum(block.feed == "moe" for block in self.blocks)

    @property
    def parameters(self) -> int:
        """All parameters of the main model; MTP layers are left out, as in print."""
        return sum(map(self.block_parameters, self.blocks)) + self._outside_layers(active=False)

    @property
    def active_parameters(self) -> int:
        """Parameters that one token meets: `topk` of the experts, both embedding and head."""
        layers = sum(self.block_parameters(block, active=True) for block in self.blocks)
        return layers + self._outside_layers(active=True)

    @property
    def mtp_parameters(self) -> int:
        """Parameters of the MTP layers; embedding and head are shared with the main model."""
        joint = 2 * self.hidden * self.hidden + 3 * self.norm_parameters
        return self.mtp_layers * (sum(map(self.block_parameters, self.mtp_blocks)) + joint)

    @property
    def norm_parameters(self) -> int:
        """Parameters of one norm over the hidden width."""
        return self.hidden * (2 if self.norm == "layernorm" else 1)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token embedding (and the same again in an untied head)."""
        return self.vocab * self.hidden

    def _outside_layers(self, *, active: bool) -> int:
        positions = self.learned_positions * self.hidden
        norms = self.norm_parameters * (2 if self.embedding_norm else 1)
        head = 0 if self.tied else self.embedding_parameters
        return self.embedding_parameters + head + positions + norms

    def _mixer_matrices(self, block: Block) -> int:
        """Parameters of the mixer that a token is multiplied with."""
        h, kind, total = self.hidden, self.recurrent(block), 0
        if kind is not None:
            total += kind.matrices(h)
        if not block.attends:
            return total
        if self.index is not None and block.index == "own":
            total += self.index.matrices(h, self.index_query)
        if self.mla is not None:
            return total + self.mla.matrices(h, self.heads)
        return total + self.heads_of(block).matrices(h)

    @property
    def index_query(self) -> int:
        """The width that an indexer's queries come from."""
        return (self.mla.q_lora if self.mla else 0) or self.hidden

    def mixer_parameters(self, block: Block) -> int:
        """Parameters of the mixer with its norms."""
        if block.mixer == "none":
            return 0
        total = self._mixer_matrices(block) + self.norm_parameters * (1 + self.post_norms)
        if (kind := self.recurrent(block)) is not None:
            total += kind.vectors
        return total + self._attention_vectors(block) if block.attends else total

    def _attention_vectors(self, block: Block) -> int:
        """Biases, norms and sinks of attention."""
        heads = self.heads_of(block)
        total = self.index.vectors if self.index is not None and block.index == "own" else 0
        if self.mla is not None:
            return total + self.mla.vectors
        qkv = heads.heads * heads.head_dim + heads.kv_width
        total += qkv * (self.bias or self.qkv_bias) + self.hidden * self.bias
        return total + 2 * heads.head_dim * self.qk_norm + heads.heads * self.attention_sinks

    def _feed_matrices(self, block: Block, experts: int) -> int:
        """Parameters of the feed-forward part with that many experts, without biases and norm."""
        matrices, h = 3 if self.gated_ffn else 2, self.hidden
        if block.feed == "moe":
            routed = matrices * (self.moe_latent or h) * experts * self.moe_ffn
            shared = matrices * h * self.shared_expert_ffn
            return routed + shared + h * self.experts + 2 * h * self.moe_latent
        return matrices * h * self.ffn if block.feed == "dense" else 0

    def feed_parameters(self, block: Block, *, experts: int | None = None) -> int:
        """Parameters of the feed-forward part with its norms and that many experts (None: all)."""
        if block.feed == "none":
            return 0
        used = self.experts if experts is None else experts
        total, sides = self._feed_matrices(block, used), 2 if self.gated_ffn else 1
        if not self.parallel_blocks or block.mixer == "none":
            total += self.norm_parameters * (1 + self.post_norms)
        if block.feed == "dense":
            return total + (sides * self.ffn + self.hidden) * self.bias
        biases = self.experts + used * (sides * self.moe_ffn + self.hidden)
        return total + self.hidden * self.shared_expert_gate + biases * self.bias

    def block_parameters(self, block: Block, *, active: bool = False) -> int:
        """Parameters of one layer; with `active`, of its routed experts only `topk`."""
        experts = self.topk if active else None
        return self.mixer_parameters(block) + self.feed_parameters(block, experts=experts)

    def kept_window(self, block: Block) -> int:
        """Keys that a query attends to at most: the window, or what its indexer chooses; 0: all."""
        return self.index.topk if self.index is not None and block.index else block.window

    def kv_span(self, block: Block, seq_len: int, *, causal: bool) -> float:
        """Keys that a query sees on average, by the convention asked for. [tokens]"""
        w = self.kept_window(block)
        if w and w < seq_len:
            return w - w * (w - 1) / (2 * seq_len) if causal else float(w)
        return (seq_len + 1) / 2 if causal else float(seq_len)

    def model_flops(
        self, seq_len: int, *, causal: bool = True, trained: Trained | None = None
    ) -> float:
        """FLOPs that training needs for one token: forward once, backward twice, no recompute.

        Parameters
        ----------
        seq_len : tokens of a sequence.
        causal : count only the keys that the causal mask leaves (the work that must be done, so
            that MFU can't pass 1); False counts all keys, as PaLM (arXiv:2204.02311, appendix B)
            and Megatron (arXiv:2104.04473, eq. 3, without its recompute) do.
        trained : what learns; None for all. Weights that do not have no gradient, and below the
            first layer with one that does nothing has.

        Returns
        -------
        6 per multiplied parameter, plus attention scores and their weighted sum. [FLOP/token]
        """
        rows = self._forward_flops(seq_len, causal)
        if trained is None or trained.whole:
            return 3.0 * sum(flops for *_, flops in rows)
        first = trained.first_layer(self.blocks)
        total = 0.0
        for layer, part, flops in rows:
            back = flops if layer >= first else 0.0
            own = layer if layer < self.layers else None
            grown = flops if trained.learns(part, own) else 0.0 if part else back
            total += flops + back + grown
        return total

    def _forward_flops(self, seq_len: int, causal: bool) -> list[tuple[int, str, float]]:
        """Layer, part ("" where no weight is in it) and FLOPs of all that one token passes."""
        h, after = self.hidden, self.layers  # what comes after the layers
        rows = [(after, "head", 2.0 * h * self.vocab * (1 + self.mtp_layers))]
        rows.append((after, "head", self.mtp_layers * 4.0 * h * h))
        many = [*enumerate(self.blocks), *((after, b) for b in self.mtp_blocks * self.mtp_layers)]
        for layer, block in many:
            rows.append((layer, "attention", 2.0 * self._mixer_matrices(block)))
            feed = 2.0 * self._feed_matrices(block, self.topk)
            routed = 2.0 * (self._feed_matrices(block, self.topk) - self._feed_matrices(block, 0))
            rows.append((layer, "experts", routed if block.feed == "moe" else 0.0))
            rows.append((layer, "mlp", feed - routed if block.feed == "moe" else feed))
            core = 0.0
            if block.attends:
                span, heads = self.kv_span(block, seq_len, causal=causal), self.heads_of(block)
                core += 2.0 * heads.heads * (heads.head_dim + heads.value_dim) * span
            if self.index is not None and block.index == "own":
                core += self.index.flops((seq_len + 1) / 2 if causal else float(seq_len))
            if (kind := self.recurrent(block)) is not None:
                core += kind.flops()
            rows.append((layer, "", core))
        return rows

    def matmul_parameters(self, block: Block) -> int:
        """Parameters of one layer that a token is multiplied with: no norms, no biases."""
        return self._mixer_matrices(block) + self._feed_matrices(block, self.topk)


@cache
def _blocks(model: Model) -> tuple[Block, ...]:
    where, layers = f"model {model.name!r}: ", model.layers
    if model.pattern:
        if len(model.pattern) != layers:
            raise InvalidInput(
                f"{where}pattern must spell {layers} layers, found {len(model.pattern)}"
            )
        return sub_layers(f"{where}pattern", model.pattern, model.window)
    every, first = model.full_attention_every, model.dense_layers
    if model.mixers:
        mixers = cycled(f"{where}mixers", model.mixers, MIXERS, layers)
    else:
        full = [not model.window or (every > 0 and (i + 1) % every == 0) for i in range(layers)]
        mixers = [MIXERS["*" if fully else "W"] for fully in full]
    if model.feeds:
        feeds = cycled(f"{where}feeds", model.feeds, FEEDS, layers)
    else:
        moe = range(first + model.moe_every - 1, layers, model.moe_every) if model.experts else ()
        feeds = ["moe" if layer in moe else "dense" for layer in range(layers)]
    return tuple(
        replace(mixer, feed=feed, window=model.window if mixer.window else 0)
        for mixer, feed in zip(mixers, feeds, strict=True)
    )


# The field of `Model` that holds the sizes of a mixer with a state.
_RECURRENT = {
    "mamba": "mamba",
    "both": "mamba",
    "selective": "selective",
    "delta": "delta",
    "conv": "conv",
}
