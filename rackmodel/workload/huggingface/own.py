"""Parts of config.json files that one family has for itself.

In:  the keys of a config.
Out: fields of `Model`, as a mapping.
Left out: what several families share (`parts`), layers with a state (`states`).
"""

from __future__ import annotations

from collections.abc import Mapping

from rackmodel import gate
from rackmodel.workload.attention_kinds import Heads, Indexer
from rackmodel.workload.huggingface.keys import Keys
from rackmodel.workload.huggingface.parts import (
    FFN,
    HEADS,
    HIDDEN,
    LAYERS,
    MIXERS,
    Fields,
    ends,
    experts,
    mixtral_experts,
)


def qwen_window(keys: Keys) -> Fields:
    """Windows in the layers from `max_window_layers` on, where `use_sliding_window` says so."""
    on, window = keys.flag("use_sliding_window"), keys.whole("sliding_window", default=0)
    layers = keys.whole(*LAYERS)
    first = min(keys.whole("max_window_layers", default=layers), layers)
    kinds = keys.spell("layer_types", MIXERS, layers)
    if not on or not window:
        return {}
    return {"mixers": kinds or "*" * first + "W" * (layers - first), "window": window}


def no_window(keys: Keys) -> Fields:
    """Families without windows whose class has the keys of them."""
    if keys.flag("use_sliding_window"):
        raise keys.refuse("use_sliding_window is not a key of its family")
    keys.get("sliding_window", "max_window_layers")
    return {}


def qwen_experts(keys: Keys) -> Fields:
    """Experts of Qwen; a shared one has a gate of its own."""
    values = experts(keys)
    return values | {"shared_expert_gate": bool(values.get("shared_expert_ffn"))}


def llama4(keys: Keys) -> Fields:
    """Llama 4: a shared expert beside each routed one, dense layers between, chunked attention."""
    width, layers = keys.whole("intermediate_size"), keys.whole(*LAYERS)
    rope = keys.sequence("no_rope_layers")
    keys.get("use_qk_norm", "moe_layers", "no_rope_layer_interval")
    kinds = keys.spell("layer_types", MIXERS, layers)
    if not kinds and rope:
        kinds = "".join("W" if one else "*" for one in rope[:layers])
    chunk = keys.whole("attention_chunk_size", default=0)
    return {
        **mixtral_experts(keys),
        "ffn": keys.whole("intermediate_size_mlp", default=width),
        "shared_expert_ffn": width,
        "window": chunk,
        # No rotary and no chunks in every fourth layer.
        "mixers": (kinds or "WWW*") if chunk else "",
    }


def gemma4(keys: Keys) -> Fields:
    """Gemma 4: wider heads and one projection for key and value in full layers; a dense part beside
    the experts, which is what a shared expert is.
    """
    if keys.whole("hidden_size_per_layer_input", default=0):
        raise keys.refuse("per-layer embeddings (hidden_size_per_layer_input) are not modelled")
    if keys.whole("num_kv_shared_layers", default=0):
        raise keys.refuse(
            "layers that share keys and values (num_kv_shared_layers) are not modelled"
        )
    heads = keys.whole(*HEADS)
    moe = keys.flag("enable_moe_block")
    ffn = keys.whole(*FFN) * (2 if keys.flag("use_double_wide_mlp") else 1)
    routed = experts(keys) if moe else {}
    return {
        **routed,
        "ffn": ffn,
        **({"shared_expert_ffn": ffn} if moe else {}),
        "full_heads": Heads(
            heads=heads,
            kv_heads=keys.whole("num_global_key_value_heads", "num_key_value_heads", default=heads),
            head_dim=keys.whole("global_head_dim", "head_dim"),
            shared_kv=keys.flag("attention_k_eq_v"),
        ),
    }


def mimo_heads(keys: Keys) -> Fields:
    """MiMo-V2: windowed layers have key-value heads of their own; a list says which they are."""
    layers = keys.whole(*LAYERS)
    pattern = keys.sequence("hybrid_layer_pattern")
    kinds = keys.spell("layer_types", MIXERS, layers)
    if not kinds and not pattern:
        raise keys.refuse("it needs hybrid_layer_pattern, which says which layers have a window")
    full = Heads(
        heads=keys.whole(*HEADS),
        kv_heads=keys.whole("num_key_value_heads"),
        head_dim=keys.whole("head_dim"),
        v_dim=keys.whole("v_head_dim", default=0),
    )
    keys.get(
        "attention_chunk_size",
        "add_swa_attention_sink_bias",
        "add_full_attention_sink_bias",
        "hybrid_block_size",
    )
    return {
        "mixers": kinds or "".join("W" if one else "*" for one in pattern[:layers]),
        "window": keys.whole("sliding_window", "sliding_window_size"),
        "heads": keys.whole("swa_num_attention_heads", *HEADS),
        "kv_heads": keys.whole("swa_num_key_value_heads", "num_key_value_heads"),
        "head_dim": keys.whole("swa_head_dim", "head_dim"),
        "v_head_dim": keys.whole("swa_v_head_dim", "v_head_dim", default=0),
        "full_heads": full,
    }


def minimax_m3(keys: Keys) -> Fields:
    """MiniMax-M3: sparse layers whose indexer chooses blocks of keys, dense ones by a list."""
    layers = keys.whole(*LAYERS)
    if isinstance(keys.get("sparse_attention_config"), Mapping):
        sizes = keys.table("sparse_attention_config")
        freq = sizes.sequence("sparse_attention_freq")
        kinds = "".join("I" if one else "*" for one in freq[:layers])
        sizes.get("sparse_local_block", "use_sparse_attention", "sparse_init_block")
    else:
        sizes = keys
        words = {"minimax_m3_sparse": "I", "full_attention": "*"}
        kinds = keys.spell("layer_types", words, layers)
    keys.get("index_local_blocks", "layer_types")
    block = sizes.whole("index_block_size", "sparse_block_size", default=128)
    index = Indexer(
        heads=sizes.whole("index_n_heads", "sparse_num_index_heads", default=4),
        head_dim=sizes.whole("index_head_dim", "sparse_index_dim", default=128),
        topk=block * sizes.whole("index_topk_blocks", "sparse_topk_blocks", default=16),
    )
    return {
        "ffn": keys.whole("dense_intermediate_size", default=12_288),
        "mixers": kinds,
        "index": index if "I" in kinds else None,
    }


def step3(keys: Keys) -> Fields:
    """Step-3: queries of low rank, one key-value head, experts in the layers that a list names."""
    layers = keys.whole(*LAYERS)
    chosen = keys.get("moe_layers_enum")
    keys.get("use_moe", "moe_every_n_layer", "moe_layer_offset")
    if isinstance(chosen, list):
        chosen = ",".join(map(str, chosen))
    said = [] if chosen is None else gate.text(chosen, keys.where("moe_layers_enum")).split(",")
    if unknown := [word for word in said if word.strip() and not word.strip().isdecimal()]:
        raise keys.refuse(f"moe_layers_enum has {unknown[0]!r:.60}; give numbers of layers")
    named = {int(word) for word in said if word.strip()}
    routed = experts(keys)
    return {
        **routed,
        "feeds": "".join("E" if n in named else "-" for n in range(layers)) if named else "",
        "kv_heads": keys.whole("num_attention_groups", "num_key_value_heads", default=1),
        "query_rank": keys.whole("share_q_dim"),
    }


def falcon(keys: Keys) -> Fields:
    """Falcon: one key-value head, or a number of them in the new architecture."""
    heads = keys.whole(*HEADS)
    # Files older than the class (RefinedWeb) say key-value heads only where there are several.
    new = keys.flag("new_decoder_architecture", default="n_head_kv" in keys.config)
    one = keys.flag("multi_query", default=True)
    stated = keys.whole("num_kv_heads", "n_head_kv", "num_key_value_heads", default=heads)
    beside = keys.flag("parallel_attn", default=True)
    keys.get("num_ln_in_parallel_attn")
    return {
        "kv_heads": stated if new or not one else 1,
        "parallel_blocks": new or beside,
        "bias": keys.flag("bias"),
        "rotary": not keys.flag("alibi"),
    }


def bigcode(keys: Keys) -> Fields:
    """StarCoder: one key-value head."""
    heads = keys.whole(*HEADS)
    return {"kv_heads": 1 if keys.flag("multi_query", default=True) else heads}


def opt(keys: Keys) -> Fields:
    """OPT: two rows of positions more than tokens."""
    hidden = keys.whole(*HIDDEN)
    if keys.whole("word_embed_proj_dim", default=hidden) != hidden:
        raise keys.refuse(
            "an embedding narrower than the model (word_embed_proj_dim) is not modelled"
        )
    keys.get("do_layer_norm_before", "enable_bias", "layer_norm_elementwise_affine")
    return {
        "learned_positions": keys.whole("max_position_embeddings", default=2048) + 2,
        "rotary": False,
    }


def mpt(keys: Keys) -> Fields:
    """MPT: widths by a ratio, ALiBi or learned positions."""
    hidden, alibi = keys.whole(*HIDDEN), False
    heads = keys.whole(*HEADS)
    if keys.get("attn_config") is not None:
        inner = keys.table("attn_config")
        alibi = inner.flag("alibi")
        if inner.whole("kv_n_heads", default=heads) != heads:
            raise keys.refuse("grouped queries (kv_n_heads) are not modelled for mpt")
        inner.get("attn_type", "attn_impl", "qk_ln", "prefix_lm", "attn_uses_sequence_id")
    return {
        "ffn": hidden * keys.whole("expansion_ratio", default=4),
        "bias": not keys.flag("no_bias", default=True),
        "learned_positions": 0 if alibi else keys.whole("max_seq_len", default=2048),
        "rotary": False,
    }


def dbrx(keys: Keys) -> Fields:
    """DBRX: attention and experts in tables of their own."""
    heads, hidden = keys.whole(*HEADS), keys.whole(*HIDDEN)
    inner, feed = keys.table("attn_config"), keys.table("ffn_config")
    for table in (inner, feed):
        table.get("model_type")
    return {
        **ends(keys),
        "heads": heads,
        "kv_heads": inner.whole("kv_n_heads", default=1),
        "head_dim": hidden // max(1, heads),
        "ffn": 0,
        "experts": feed.whole("moe_num_experts"),
        "topk": feed.whole("moe_top_k"),
        "moe_ffn": feed.whole("ffn_hidden_size"),
        "norm": "layernorm",
    }


def chatglm(keys: Keys) -> Fields:
    """ChatGLM: key-value groups only where `multi_query_attention` says so."""
    heads, groups = keys.whole(*HEADS), keys.whole("multi_query_group_num", default=1)
    keys.get("add_bias_linear", "interleaved_qkv", "post_layer_norm", "rmsnorm")
    return {
        "kv_heads": groups if keys.flag("multi_query_attention") else heads,
        "qkv_bias": keys.flag("add_qkv_bias", "add_bias_linear"),
    }


def ernie(keys: Keys) -> Fields:
    """ERNIE 4.5: experts from one layer to another, in every n-th of the model's."""
    layers = keys.whole(*LAYERS)
    first = keys.whole("moe_layer_start_index", default=0)
    last = keys.get("moe_layer_end_index")
    last = layers if last in (None, -1) else keys.size("moe_layer_end_index", last)
    every = max(1, keys.whole("moe_layer_interval", default=1))
    chosen = [first <= n <= last and (n + 1) % every == 0 for n in range(layers)]
    return experts(keys) | {"feeds": "".join("E" if one else "-" for one in chosen)}


def neo(keys: Keys) -> Fields:
    """GPT-Neo: windows in the layers that a list names, biases but for query, key and value."""
    layers, window = keys.whole(*LAYERS), keys.whole("window_size", default=256)
    kinds = keys.spell("attention_layers", MIXERS, layers)
    if not kinds:
        said = keys.sequence("attention_types") or [[["global", "local"], layers // 2]]
        words = [word for group in said for word in list(group[0]) * int(group[1])]
        kinds = "".join(MIXERS.get(str(word), "?") for word in words)
    keys.get("attention_types")
    return {"mixers": kinds, "window": window, "bias": True}


def post_norms(keys: Keys) -> Fields:
    """HyperCLOVA X: norms after attention and feed-forward part by a flag."""
    return {"post_norms": keys.flag("use_post_norm")}


def grok(keys: Keys) -> Fields:
    """Grok: experts; in Grok-2 a dense part beside them, which is what a shared expert is."""
    routed, beside = experts(keys, as_dense=True), keys.flag("residual_moe")
    return routed | {"shared_expert_ffn": keys.whole(*FFN) if beside else 0}


def neox(keys: Keys) -> Fields:
    """GPT-NeoX: biases, attention and feed-forward side by side."""
    return {
        "bias": keys.flag("attention_bias", default=True),
        "parallel_blocks": keys.flag("use_parallel_residual", default=True),
    }


def stablelm(keys: Keys) -> Fields:
    """StableLM: LayerNorm, gated, biases of query, key and value by a flag."""
    return {
        "qkv_bias": keys.flag("use_qkv_bias"),
        "parallel_blocks": keys.flag("use_parallel_residual"),
    }


def hunyuan_experts(keys: Keys) -> Fields:
    """Hunyuan: experts as wide as the dense part where no width is given."""
    return experts(keys, as_dense=True)


def cross_layer(keys: Keys) -> Fields:
    """Hunyuan: refuses keys and values that layers share."""
    shared = keys.flag("use_cla") and keys.whole("cla_share_factor", default=1) > 1
    if shared:
        raise keys.refuse("keys and values shared between layers (use_cla) are not modelled")
    keys.get("cla_share_factor", "use_mixed_mlp_moe", "attention_head_dim", "norm_type")
    return {}


def hunyuan_dense(keys: Keys) -> Fields:
    """Hunyuan's dense models are published with the keys of one expert that nothing reads."""
    if keys.whole("num_experts", default=1) > 1:
        raise keys.refuse("num_experts: a dense model has 1; give model_type hunyuan_v1_moe")
    keys.get("moe_topk", "num_shared_expert", "moe_intermediate_size", "moe_layer_num_skipped")
    keys.get("org_vocab_size")
    return {}


def qwen1(keys: Keys) -> Fields:
    """The first Qwen counts both sides of the gated feed-forward part in one width."""
    keys.get("no_bias")
    return {"ffn": keys.whole(*FFN) // 2}
