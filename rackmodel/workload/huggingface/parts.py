"""Parts that families of config.json files are put together from: each reads some keys.

In:  the keys of a config.
Out: fields of `Model`, as a mapping.
Left out: which family has which parts (`families`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from rackmodel.workload.attention_kinds import Indexer, Mla
from rackmodel.workload.huggingface.keys import Keys

Fields: TypeAlias = dict[str, Any]
Part: TypeAlias = Callable[[Keys], Fields]

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HIDDEN = ("hidden_size", "n_embd", "d_model", "n_embed", "dim")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
FFN = ("intermediate_size", "block_ff_dim", "ffn_hidden_size", "ffn_dim", "n_inner", "d_ff")
EXPERTS = ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
TOPK = (
    *("num_experts_per_tok", "experts_per_token", "num_experts_per_token", "moe_topk", "moe_k"),
    *("moe_top_k", "top_k_experts", "moe_router_topk"),
)
WIDTH = ("moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size")
# Words of `layer_types` and lists like it.
MIXERS = {
    **dict.fromkeys(("full_attention", "attention", "global", "global_attention"), "*"),
    **dict.fromkeys(("sliding_attention", "chunked_attention", "local", "local_attention"), "W"),
    **{"linear_attention": "D", "mamba": "M", "mamba2": "M", "conv": "C"},
}
SUB_LAYERS = {
    **{"mamba": "M", "linear_attention": "M", "attention": "*", "full_attention": "*"},
    **{"mlp": "-", "moe": "E"},
}


def ends(keys: Keys) -> Fields:
    """What every model has: layers, width, vocabulary, whether the embedding is the head."""
    return {
        "layers": keys.whole(*LAYERS, default=len(keys.sequence("layers_block_type")) or None),
        "hidden": keys.whole(*HIDDEN),
        "vocab": keys.whole("vocab_size", "padded_vocab_size"),
        "tied": keys.flag("tie_word_embeddings", "tie_embedding"),
    }


def attention(keys: Keys) -> Fields:
    """Heads, key-value heads (grouped queries) and their width."""
    heads, hidden = keys.whole(*HEADS), keys.whole(*HIDDEN)
    groups = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")
    return {
        "heads": heads,
        "kv_heads": keys.whole(*groups, default=heads),
        "head_dim": keys.whole(
            "head_dim", "attention_head_dim", "kv_channels", default=hidden // max(1, heads)
        ),
    }


def dense(keys: Keys) -> Fields:
    """Grouped queries and a gated feed-forward part, as Llama has them, with their biases."""
    bias = keys.flag("attention_bias", "attention_qkv_bias", "add_qkv_bias", "use_qkv_bias")
    every = keys.flag("use_bias", "bias", "add_bias_linear")
    keys.get("attention_out_bias", "o_bias", "lm_head_bias")  # a row each, none beside the rest
    return {
        **ends(keys),
        **attention(keys),
        "ffn": keys.whole(*FFN),
        "bias": every or (keys.flag("mlp_bias") and bias),
        "qkv_bias": bias,
    }


def four_times(keys: Keys) -> Fields:
    """A feed-forward part of two matrices, four times as wide as the model unless it is said."""
    hidden = keys.whole(*HIDDEN)
    return {
        **ends(keys),
        **attention(keys),
        "ffn": keys.whole(*FFN, default=4 * hidden),
        "gated_ffn": False,
        "norm": "layernorm",
    }


def learned(keys: Keys) -> Fields:
    """A learned table of positions in place of rotary ones."""
    rows = keys.whole("n_positions", "n_ctx", "max_position_embeddings", "max_seq_len", default=0)
    return {"learned_positions": rows, "rotary": False}


def window_everywhere(keys: Keys) -> Fields:
    """A sliding window in all layers, where one is given."""
    return {"window": keys.whole("sliding_window", "window_size", default=0)}


def layer_kinds(keys: Keys) -> Fields:
    """`layer_types`, or how often a layer attends fully; a window for the others."""
    layers = keys.whole(*LAYERS)
    window = keys.whole("sliding_window", "attention_chunk_size", default=0)
    mixers = keys.spell("layer_types", MIXERS, layers)
    names = ("sliding_window_pattern", "_sliding_window_pattern", "full_attention_interval")
    every = keys.get(*names, "global_attn_every_n_layers")
    if isinstance(every, str):
        mixers = mixers or "".join("W" if letter == "L" else "*" for letter in every)
        every = 0
    if not mixers and every:
        mixers = last_of(keys.size("sliding_window_pattern", every), "W")
    if not window:
        mixers = mixers.replace("W", "*")
    return {"mixers": mixers, "window": window} if "W" in mixers else {"mixers": mixers}


def last_of(every: int, others: str) -> str:
    """A pattern of `others` with full attention at its end."""
    return others * (max(1, every) - 1) + "*"


def experts(keys: Keys, *, as_dense: bool = False) -> Fields:
    """Routed experts: how many, how wide each, which layers have them; shared experts beside.

    Without experts, nothing. as_dense : those without a width are as wide as the dense part.
    """
    topk = _alike(keys, "the number of experts a token", keys.get(*TOPK))
    width = _alike(keys, "the width of experts", keys.get(*WIDTH))
    where = _where_experts(keys)
    said = any(key in keys.config for key in (*TOPK, *WIDTH))
    count = keys.whole(*EXPERTS, default=None if said and (topk or width) else 0)
    if count < 2:
        return {}
    if width is None:
        width = keys.whole(*FFN) if as_dense else keys.whole(*WIDTH)
    one = keys.size(WIDTH[0], width)
    return {
        "experts": count,
        "topk": keys.size(TOPK[0], topk or 0),
        "moe_ffn": one,
        **_groups(keys),
        "shared_expert_ffn": _shared(keys, one),
        **where,
    }


def _groups(keys: Keys) -> Fields:
    """Groups of experts that a token may choose from, where it may not choose from all."""
    groups = keys.whole("n_group", "num_expert_group", default=1)
    limit = keys.whole("topk_group", "num_limited_groups", default=groups)
    if groups < 2 or limit >= groups:
        return {}
    return {"routing_groups": groups, "routing_group_limit": limit}


def _alike(keys: Keys, what: str, value: Any) -> Any:
    """The one value of a list with an entry a layer."""
    if not isinstance(value, list):
        return value
    if any(one != value[0] for one in value) or not value:
        raise keys.refuse(
            f"{what} differs from layer to layer, which is not modelled; give one value"
        )
    return value[0]


def _shared(keys: Keys, one: int) -> int:
    """Width of all shared experts together."""
    stated = keys.whole(
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
        "share_expert_dim",
        default=0,
    )
    number = _alike(
        keys,
        "the number of shared experts",
        keys.get(
            "n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert"
        ),
    )
    return stated or one * keys.size("n_shared_experts", number or 0)


def _where_experts(keys: Keys) -> Fields:
    """Which layers have experts: leading dense ones, every n-th, or a list."""
    layers = keys.whole(*LAYERS, default=0)
    words = {"dense": "-", "sparse": "E", "moe": "E", "hash_moe": "E"}
    feeds = keys.spell("mlp_layer_types", words, layers)
    freq = keys.get("moe_layer_freq")
    if isinstance(freq, list):
        feeds = "".join("E" if one else "-" for one in freq[:layers])
    plain = keys.sequence("mlp_only_layers")
    if plain and plain != list(range(len(plain))):
        feeds = "".join("-" if layer in plain else "E" for layer in range(layers))
    if feeds:
        keys.get("first_k_dense_replace", "decoder_sparse_step")
        return {"feeds": feeds}
    first = keys.whole(
        "first_k_dense_replace", "moe_layer_start_index", "num_dense_layers", default=0
    )
    every = (
        "decoder_sparse_step",
        "moe_layer_freq",
        "moe_layer_interval",
        "interleave_moe_layer_step",
    )
    return {"dense_layers": len(plain) or first, "moe_every": keys.whole(*every, default=1)}


def mtp(keys: Keys) -> Fields:
    """Layers that predict more tokens."""
    names = (
        "num_nextn_predict_layers",
        "mtp_num_hidden_layers",
        "num_mtp_modules",
        "mtp_num_layers",
    )
    on = keys.flag("use_mtp", default=True)
    keys.get("mtp_transformer_layers")
    return {"mtp_layers": keys.whole(*names, default=0) if on else 0}


def qk_norm(keys: Keys) -> Fields:
    """Norms of query and key, where a flag says so."""
    flags = ("use_qk_norm", "qk_layernorm", "use_qk_layernorm", "attention_qk_norm")
    keys.get("qk_norm_type")
    return {"qk_norm": keys.flag(*flags)}


def latent(keys: Keys) -> Fields:
    """Latent attention (DeepSeek-V2 and after)."""
    rope = keys.get("qk_rope_head_dim")
    whole = keys.whole("qk_head_dim", default=0)
    nope = keys.whole("qk_nope_head_dim")
    width = keys.whole("v_head_dim")
    return {
        "head_dim": width,
        "mla": Mla(
            q_lora=keys.whole("q_lora_rank", default=0),
            kv_lora=keys.whole("kv_lora_rank"),
            qk_nope=nope,
            qk_rope=keys.whole("qk_rope_head_dim", default=0) if rope else max(0, whole - nope),
            v_dim=width,
        ),
    }


def indexer(keys: Keys) -> Fields:
    """Sparse attention: an indexer in every layer, or in those that `indexer_types` calls full."""
    layers = keys.whole(*LAYERS)
    every, skip = (
        keys.whole("index_topk_freq", default=1),
        keys.whole("index_skip_topk_offset", default=0),
    )
    mixers = keys.spell("indexer_types", {"full": "I", "shared": "i"}, layers)
    if not mixers:
        own = [n < skip or (n - skip + 1) % every == 0 or every == 1 for n in range(layers)]
        mixers = "".join("I" if one else "i" for one in own)
    kinds = keys.spell("layer_types", {"indexed_attention": "I", "full_attention": "*"}, layers)
    if "*" in kinds:
        mixers = "".join(a if b == "I" else "*" for a, b in zip(mixers, kinds, strict=True))
    return {
        "mixers": mixers,
        "index": Indexer(
            heads=keys.whole("index_n_heads"),
            head_dim=keys.whole("index_head_dim"),
            topk=keys.whole("index_topk"),
        ),
    }


def mixtral_experts(keys: Keys) -> Fields:
    """Experts as wide as `intermediate_size`, in every layer."""
    return experts(keys, as_dense=True) | {"moe_ffn": keys.whole(*FFN)}


def untouched(*names: str) -> Part:
    """A part that reads keys which say what the family has anyway."""

    def part(keys: Keys) -> Fields:
        keys.get(*names)
        return {}

    return part
