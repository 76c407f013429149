"""What a transformer (or a hybrid) is made of, and how many parameters that gives.

In:  the numbers of a model card or a `config.json`.
Out: `Model`, a list of `Block` kinds, parameter counts, FLOPs of a token.
Left out: weights, tokenizers, quality; how the model is cut over accelerators (see `plan`,
`layers`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from rackmodel.workload.architecture import Architecture
from rackmodel.workload.blocks import Block
from rackmodel.workload.trained import Trained
from rackmodel.workload.variants import joined_parameters, stream_parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Architecture):
    """One architecture, and what it counts up to: parameters, FLOPs of a token, keys seen.

    Fields: those of `Architecture`.
    """

    def _repr_html_(self) -> str:
        """Show sizes and what they count up to in a notebook."""
        from rackmodel.columns import table_html

        known = {one.name: getattr(self, one.name) for one in fields(self)}
        known |= {name: getattr(self, name) for name in ("parameters", "active_parameters")}
        rows = [
            (name, f"{value:,}" if type(value) is int else str(value))
            for name, value in known.items()
            if value and isinstance(value, int | float | str)
        ]
        return table_html(self.name, ("field", "value"), rows)

    @property
    def moe_layers(self) -> int:
        """Layers with experts, without MTP layers."""
        return sum(block.feed == "moe" for block in self.blocks)

    @property
    def parameters(self) -> int:
        """All parameters of the main model; MTP layers are left out, as in print."""
        return sum(map(self.block_parameters, self.blocks)) + self._outside_layers()

    @property
    def active_parameters(self) -> int:
        """Parameters that one token meets: `topk` of the experts, both embedding and head."""
        layers = sum(self.block_parameters(block, active=True) for block in self.blocks)
        return layers + self._outside_layers()

    @property
    def mtp_parameters(self) -> int:
        """Parameters of the MTP layers; embedding and head are shared with the main model."""
        joint = 2 * self.hidden * self.hidden + 3 * self.norm_parameters
        joint += joined_parameters(self.streams, self.hidden)
        return self.mtp_layers * (sum(map(self.block_parameters, self.mtp_blocks)) + joint)

    @property
    def norm_parameters(self) -> int:
        """Parameters of one norm over the hidden width."""
        return self.hidden * (2 if self.norm == "layernorm" else 1)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token embedding (and the same again in an untied head)."""
        return self.vocab * self.hidden

    def _outside_layers(self) -> int:
        positions = self.learned_positions * self.hidden
        norms = self.norm_parameters * (2 if self.embedding_norm else 1)
        head = 0 if self.tied else self.embedding_parameters
        joined = joined_parameters(self.streams, self.hidden)
        return self.embedding_parameters + head + positions + norms + joined

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
        heads = self.heads_of(block)
        if self.shared_block is not None and block.use:
            shared = self.shared_block
            return total + shared.held(h, heads, self.ffn) + shared.used(h, heads, self.ffn)
        return total + heads.matrices(h) + h * self.compressed_columns(block)

    def compressed_columns(self, block: Block) -> int:
        """Columns of the projections to compressed keys and their gates."""
        if self.compression is None or not block.rate:
            return 0
        return self.compression.columns(self.head_dim, chosen=bool(block.index))

    @property
    def index_query(self) -> int:
        """The width that an indexer's queries come from."""
        return (self.mla.q_lora if self.mla else self.query_rank) or self.hidden

    @property
    def stream_parameters(self) -> int:
        """Parameters that mix the residual streams around one sub-layer."""
        return stream_parameters(self.streams, self.hidden)

    def mixer_parameters(self, block: Block) -> int:
        """Parameters of the mixer with its norms."""
        if block.mixer == "none":
            return 0
        total = self._mixer_matrices(block) + self.norm_parameters * (1 + self.post_norms)
        total += self.stream_parameters
        if (kind := self.recurrent(block)) is not None:
            total += kind.vectors
        if block.use and self.shared_block is not None:
            heads, norms = self.heads_of(block), 3 * self.norm_parameters
            held = self.shared_block.held(self.hidden, heads, self.ffn)
            return total + (norms if block.use == "first" else -held)
        return total + self._attention_vectors(block) if block.attends else total

    def _attention_vectors(self, block: Block) -> int:
        """Biases, norms and sinks of attention."""
        heads = self.heads_of(block)
        total = self.index.vectors if self.index is not None and block.index == "own" else 0
        if self.mla is not None:
            return total + self.mla.vectors
        qkv = heads.heads * heads.head_dim + heads.kv_width
        total += qkv * (self.bias or self.qkv_bias) + self.hidden * self.bias
        if self.compression is not None and block.rate:
            total += self.compression.vectors(self.head_dim, chosen=bool(block.index))
        norms = self.query_rank + heads.head_dim if self.one_kv else 2 * heads.head_dim
        return total + norms * self.qk_norm + heads.heads * self.attention_sinks

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
        total += self.stream_parameters
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

    def seen(self, block: Block, length: float) -> float:
        """Keys that a query sees after so many tokens. [tokens]"""
        most = block.window if block.rate else self.kept_window(block)
        near = min(length, float(most)) if most else length
        return near + self._compressed_keys(block, length)

    def _compressed_keys(self, block: Block, length: float) -> float:
        """Compressed keys among those."""
        if not block.rate:
            return 0.0
        chosen = self.index is not None and block.index
        keys = length / block.rate
        return min(keys, float(self.index.topk)) if chosen and self.index else keys

    def kv_span(self, block: Block, seq_len: int, *, causal: bool) -> float:
        """Keys that a query sees on average, by the convention asked for. [tokens]"""
        if block.rate:
            most = float(self.index.topk) if self.index is not None and block.index else 0.0
            near = _mean_keys(float(block.window), float(seq_len), causal)
            return near + _mean_keys(most, seq_len / block.rate, causal)
        return _mean_keys(float(self.kept_window(block)), float(seq_len), causal)

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
        rows.append((after, "head", self.mtp_layers * 2.0 * h * h * (1 + self.streams)))
        many = [*enumerate(self.blocks), *((after, b) for b in self.mtp_blocks * self.mtp_layers)]
        for layer, block in many:
            rows.append((layer, "attention", 2.0 * self._mixer_matrices(block)))
            feed = 2.0 * self._feed_matrices(block, self.topk)
            routed = 2.0 * (self._feed_matrices(block, self.topk) - self._feed_matrices(block, 0))
            rows.append((layer, "experts", routed if block.feed == "moe" else 0.0))
            rows.append((layer, "mlp", feed - routed if block.feed == "moe" else feed))
            mixed = (block.mixer != "none") + (block.feed != "none")
            core = 2.0 * mixed * self.stream_parameters
            if block.attends:
                span, heads = self.kv_span(block, seq_len, causal=causal), self.heads_of(block)
                core += 2.0 * heads.heads * (heads.head_dim + heads.value_dim) * span
            if self.index is not None and block.index == "own":
                keys = ((seq_len + 1) / 2 if causal else float(seq_len)) / max(1, self.index.rate)
                core += self.index.flops(keys)
            if (kind := self.recurrent(block)) is not None:
                core += kind.flops()
            rows.append((layer, "", core))
        return rows

    def matmul_parameters(self, block: Block) -> int:
        """Parameters of one layer that a token is multiplied with: no norms, no biases."""
        return self._mixer_matrices(block) + self._feed_matrices(block, self.topk)


def _mean_keys(most: float, length: float, causal: bool) -> float:
    """Keys of `length` that a query sees on average, at most so many (0: all)."""
    if most and most < length:
        return most - most * (most - 1) / (2 * length) if causal else most
    return (length + 1) / 2 if causal else length
