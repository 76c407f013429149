"""What a transformer (or a hybrid) is made of, and how many parameters that gives.

In:  the numbers of a model card or a `config.json`.
Out: `Model`, a list of `Block` kinds, parameter counts, FLOPs of a token.
Left out: weights, tokenizers, quality; how the model is cut over accelerators (see `plan`,
`layers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NoReturn

from rackmodel.errors import InvalidInput

Mixer = Literal["attention", "mamba", "none"]
Feed = Literal["dense", "moe", "none"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba:
    """A Mamba-2 mixer: inner width is `heads * head_dim`. Source: arXiv:2405.21060, section 7."""

    heads: int
    head_dim: int
    state: int
    groups: int
    conv: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer's kind: mixer and feed-forward part; `window` [tokens] is 0 for full attention."""

    mixer: Mixer = "attention"
    feed: Feed = "dense"
    window: int = 0


MOST = {"layers": 10_000, "mtp_layers": 1_000, "experts": 100_000}  # each one costs time


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One architecture as its authors print it; unpadded vocabulary, counts per whole model.

    A layer is attention plus feed-forward, except in hybrids, where `pattern` spells one sub-layer
    per letter: M (Mamba), * (attention), - (feed-forward), E (experts).
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
    moe_ffn: int = 0  # width of one expert
    shared_expert_ffn: int = 0  # width of all shared experts together
    shared_expert_gate: bool = False
    dense_layers: int = 0  # leading layers without experts
    moe_every: int = 1  # of the layers after those, every n-th has experts
    mla: Mla | None = None
    mamba: Mamba | None = None
    pattern: str = ""
    mtp_layers: int = 0  # multi-token-prediction layers after the last, not in `layers`
    window: int = 0  # sliding or chunked attention [tokens]; 0 is full
    full_attention_every: int = 0  # with a window: every n-th layer attends fully (0: none does)
    tied: bool = False  # one matrix for embedding and head
    parallel_blocks: bool = False  # attention and feed-forward side by side, one norm
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    rotary: bool = True
    learned_positions: int = 0  # rows of a learned position table
    bias: bool = False  # every linear layer has one
    qkv_bias: bool = False  # only query, key and value have one
    qk_norm: bool = False
    attention_sinks: bool = False  # one learned logit per head
    embedding_norm: bool = False  # a norm right after the embedding (BLOOM)
    dropout: bool = False
    assumed: str = ""  # what is not from print
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse numbers that can't be a model."""
        self._positive("layers", "hidden", "vocab")
        for field, most in MOST.items():
            if (found := getattr(self, field)) > most:
                self._refuse(f"{field} must be at most {most:,}, found {found:,}")
        parts = {part for block in self.blocks for part in (block.mixer, block.feed)}
        if "attention" in parts:
            self._positive("heads", "kv_heads", "head_dim")
            if self.heads % self.kv_heads:
                self._refuse(
                    f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}; give"
                    " kv_heads that divide the heads"
                )
        if "dense" in parts:
            self._positive("ffn")
        if "moe" in parts:
            self._positive("topk", "moe_ffn", "moe_every")
            if self.topk > self.experts:
                self._refuse(f"topk {self.topk} is more than its {self.experts} experts")
        if "mamba" in parts and self.mamba is None:
            self._refuse("pattern has 'M' but no [mamba] is given")

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
    def mtp_block(self) -> Block:
        """The kind of an MTP layer: that of the last layer."""
        return self.blocks[-1]

    @property
    def qk_dim(self) -> int:
        """Width of one query or key head in the attention core."""
        return self.mla.qk_nope + self.mla.qk_rope if self.mla else self.head_dim

    @property
    def v_dim(self) -> int:
        """Width of one value head in the attention core."""
        return self.mla.v_dim if self.mla else self.head_dim

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
        return self.mtp_layers * (self.block_parameters(self.mtp_block) + joint)

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
        """Parameters of the attention or Mamba part that a token is multiplied with."""
        h, m, a = self.hidden, self.mamba, self.mla
        if block.mixer == "none":
            return 0
        if block.mixer == "mamba":
            assert m is not None
            inner = m.heads * m.head_dim
            return h * (2 * inner + 2 * m.groups * m.state + m.heads) + inner * h
        if a is None:
            return h * 2 * (self.heads + self.kv_heads) * self.head_dim
        down = h * (a.q_lora + a.kv_lora + a.qk_rope)
        query = (a.q_lora or h) * self.heads * self.qk_dim
        return down + query + self.heads * (a.kv_lora * (a.qk_nope + a.v_dim) + a.v_dim * h)

    def mixer_parameters(self, block: Block) -> int:
        """Parameters of the attention or Mamba part with its norm."""
        m, a = self.mamba, self.mla
        if block.mixer == "none":
            return 0
        total = self._mixer_matrices(block) + self.norm_parameters
        if block.mixer == "mamba":
            assert m is not None
            inner = m.heads * m.head_dim
            return total + (inner + 2 * m.groups * m.state) * (m.conv + 1) + 3 * m.heads + inner
        if a is not None:
            return total + a.q_lora + a.kv_lora  # norms of the latent query, key and value
        qkv = (self.heads + 2 * self.kv_heads) * self.head_dim
        total += qkv * (self.bias or self.qkv_bias) + self.hidden * self.bias
        return total + 2 * self.head_dim * self.qk_norm + self.heads * self.attention_sinks

    def _feed_matrices(self, block: Block, experts: int) -> int:
        """Parameters of the feed-forward part with that many experts, without biases and norm."""
        matrices = 3 if self.gated_ffn else 2
        if block.feed == "moe":
            width = experts * self.moe_ffn + self.shared_expert_ffn
            return matrices * self.hidden * width + self.hidden * self.experts
        return matrices * self.hidden * self.ffn if block.feed == "dense" else 0

    def feed_parameters(self, block: Block, *, experts: int | None = None) -> int:
        """Parameters of the feed-forward part with its norm and that many experts (None: all)."""
        if block.feed == "none":
            return 0
        used = self.experts if experts is None else experts
        total, sides = self._feed_matrices(block, used), 2 if self.gated_ffn else 1
        if not self.parallel_blocks or block.mixer == "none":
            total += self.norm_parameters
        if block.feed == "dense":
            return total + (sides * self.ffn + self.hidden) * self.bias
        biases = self.experts + used * (sides * self.moe_ffn + self.hidden)
        return total + self.hidden * self.shared_expert_gate + biases * self.bias

    def block_parameters(self, block: Block, *, active: bool = False) -> int:
        """Parameters of one layer; with `active`, of its routed experts only `topk`."""
        experts = self.topk if active else None
        return self.mixer_parameters(block) + self.feed_parameters(block, experts=experts)

    def kv_span(self, block: Block, seq_len: int, *, causal: bool) -> float:
        """Keys that a query sees on average, by the convention asked for. [tokens]"""
        if block.window and block.window < seq_len:
            w = block.window
            return w - w * (w - 1) / (2 * seq_len) if causal else float(w)
        return (seq_len + 1) / 2 if causal else float(seq_len)

    def model_flops(self, seq_len: int, *, causal: bool = True) -> float:
        """FLOPs that training needs for one token: forward once, backward twice, no recompute.

        Parameters
        ----------
        seq_len : tokens of a sequence.
        causal : count only the keys that the causal mask leaves (the work that must be done, so
            that MFU can't pass 1); False counts all keys, as PaLM (arXiv:2204.02311, appendix B)
            and Megatron (arXiv:2104.04473, eq. 3, without its recompute) do.

        Returns
        -------
        6 per multiplied parameter, plus attention scores and their weighted sum. [FLOP/token]
        """
        forward = 2.0 * self.hidden * self.vocab * (1 + self.mtp_layers)
        blocks = self.blocks + (self.mtp_block,) * self.mtp_layers
        for block in blocks:
            forward += 2.0 * self.matmul_parameters(block)
            if block.mixer == "attention":
                span = self.kv_span(block, seq_len, causal=causal)
                forward += 2.0 * self.heads * (self.qk_dim + self.v_dim) * span
            elif block.mixer == "mamba":
                forward += self.scan_flops()
        forward += self.mtp_layers * 4.0 * self.hidden * self.hidden
        return 3.0 * forward

    def matmul_parameters(self, block: Block) -> int:
        """Parameters of one layer that a token is multiplied with: no norms, no biases."""
        return self._mixer_matrices(block) + self._feed_matrices(block, self.topk)

    def scan_flops(self) -> float:
        """FLOPs of the state-space scan for one token and layer, forward.

        Chunks of 256 tokens: scores inside a chunk (half masked), then states in and out.
        Source: arXiv:2405.21060, section 6.
        """
        assert self.mamba is not None
        m, chunk = self.mamba, 256
        inside = chunk * m.groups * m.state + chunk * m.heads * m.head_dim
        return inside + 4.0 * m.state * m.heads * m.head_dim


def whole_number(where: str, value: Any) -> int:
    """Return a number of a model as it was given, `where` for messages; refuse what is none.

    No dimension of a model comes near 1e9: absurd sizes are stopped early.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 10**9:
        raise InvalidInput(f"{where} must be a whole number from 0 to 1e9, found {value!r:.60}")
    return value


@cache
def _blocks(model: Model) -> tuple[Block, ...]:
    if model.pattern:
        kinds = {
            "M": Block(mixer="mamba", feed="none"),
            "*": Block(mixer="attention", feed="none", window=model.window),
            "-": Block(mixer="none", feed="dense"),
            "E": Block(mixer="none", feed="moe"),
        }
        if len(model.pattern) != model.layers or set(model.pattern) - set(kinds):
            raise InvalidInput(
                f"model {model.name!r}: pattern must spell {model.layers} layers with M, *, -"
                f" and E; found {len(model.pattern)} of {''.join(sorted(set(model.pattern)))!r}"
            )
        return tuple(kinds[letter] for letter in model.pattern)
    blocks, every = [], model.full_attention_every
    for index in range(model.layers):
        after = index - model.dense_layers
        moe = model.experts > 0 and after >= 0 and (after + 1) % model.moe_every == 0
        full = not model.window or (every > 0 and (index + 1) % every == 0)
        blocks.append(Block(feed="moe" if moe else "dense", window=0 if full else model.window))
    return tuple(blocks)
