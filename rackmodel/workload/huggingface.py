"""Hugging Face `config.json` to `Model`, each family by its own keys.

In:  the mapping that a config.json holds.
Out: a `Model`.
Left out: weights and tokenizers; vision towers (their text part is read).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rackmodel.errors import InvalidInput, UnknownName
from rackmodel.workload.mixers import Mamba, Mla
from rackmodel.workload.models import Model, whole_number

_PLAIN_NORM: dict[str, Any] = {"gated_ffn": False, "norm": "layernorm"}
_TEXT_PART = ("text_config", "language_config", "llm_config")


def model_from_config(config: Mapping[str, Any], *, name: str = "model") -> Model:
    """Return the model that a Hugging Face config describes.

    Raises
    ------
    UnknownName
        If `model_type` is of no family that is known here.
    InvalidInput
        If a key that the family needs is missing or not a whole number.

    Examples
    --------
    >>> gpt2 = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12,
    ...         "vocab_size": 50257, "n_positions": 1024}
    >>> round(model_from_config(gpt2).parameters / 1e6, 1)
    124.4
    """
    for part in _TEXT_PART:
        inner = config.get(part)
        if isinstance(inner, Mapping) and "num_hidden_layers" in inner:
            return model_from_config({"model_type": config.get("model_type"), **inner}, name=name)
    family = str(config.get("model_type", "")).lower()
    if family not in _READERS:
        raise UnknownName.among("Hugging Face model_type", family or "(none)", _READERS)
    reader, more = _READERS[family]
    source = f"config.json, model_type {family}"
    return Model(name=name, source=source, **(reader(_Keys(config, name)) | more))


class _Keys:
    """Typed access to a config; errors name the key."""

    def __init__(self, config: Mapping[str, Any], name: str) -> None:
        self.config = config
        self.name = name

    def whole(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is there and not null, as a whole number."""
        for key in keys:
            value = self.config.get(key)
            if value is not None:
                return whole_number(f"config of {self.name!r}: {key}", value)
        if default is None:
            raise InvalidInput(f"config of {self.name!r}: key {keys[0]!r} is missing")
        return default

    def flag(self, key: str, default: bool) -> bool:
        """A true or false."""
        value = self.config.get(key)
        return default if value is None else bool(value)

    def text(self, key: str, default: str = "") -> str:
        """A word."""
        value = self.config.get(key)
        return default if value is None else str(value)


def _llama(keys: _Keys) -> dict[str, Any]:
    """Llama, Mistral, Qwen2/3: RMSNorm, rotary, gated feed-forward, grouped queries."""
    heads = keys.whole("num_attention_heads")
    hidden = keys.whole("hidden_size")
    return {
        "layers": keys.whole("num_hidden_layers"),
        "hidden": hidden,
        "ffn": keys.whole("intermediate_size"),
        "heads": heads,
        "kv_heads": keys.whole("num_key_value_heads", default=heads),
        "head_dim": keys.whole("head_dim", default=hidden // max(1, heads)),
        "vocab": keys.whole("vocab_size"),
        "tied": keys.flag("tie_word_embeddings", False),
        "bias": keys.flag("mlp_bias", False) and keys.flag("attention_bias", False),
        "qkv_bias": keys.flag("attention_bias", False),
    }


def _mistral(keys: _Keys) -> dict[str, Any]:
    return _llama(keys) | {"window": keys.whole("sliding_window", default=0)}


def _mixtral(keys: _Keys) -> dict[str, Any]:
    return _mistral(keys) | _routed(keys, "num_local_experts", "intermediate_size")


def _routed(keys: _Keys, experts: str, width: str) -> dict[str, Any]:
    """Routed experts: how many, and how wide each, by the family's keys."""
    return {
        "experts": keys.whole(experts, "num_local_experts"),
        "topk": keys.whole("num_experts_per_tok", "experts_per_token"),
        "moe_ffn": keys.whole(width),
    }


def _no_window(keys: _Keys) -> dict[str, Any]:
    """As `_llama`; refuses what Qwen's configs can say but no published one does: windows in the
    last layers.
    """
    if keys.flag("use_sliding_window", False):
        raise InvalidInput(
            f"config of {keys.name!r}: use_sliding_window with max_window_layers is not modelled;"
            " write the model as TOML with window and full_attention_every"
        )
    return _llama(keys)


def _qwen_moe(keys: _Keys) -> dict[str, Any]:
    """Qwen2-MoE (shared expert with a gate) and Qwen3-MoE (none)."""
    second = keys.text("model_type") == "qwen2_moe"
    values = _no_window(keys)
    dense = keys.config.get("mlp_only_layers") or []
    if dense != list(range(len(dense))):
        raise InvalidInput(
            f"config of {keys.name!r}: mlp_only_layers {dense!r:.60} are not the first layers,"
            " which is all that is modelled"
        )
    return {
        **values,
        **_routed(keys, "num_experts", "moe_intermediate_size"),
        "dense_layers": len(dense),
        "moe_every": keys.whole("decoder_sparse_step", default=1),
        "shared_expert_ffn": keys.whole("shared_expert_intermediate_size", default=0),
        "shared_expert_gate": second,
        "qk_norm": not second,
        "qkv_bias": second,
    }


def _glm_moe(keys: _Keys) -> dict[str, Any]:
    """GLM-4.5: grouped queries with biases, fine experts, shared experts, MTP."""
    routed = _routed(keys, "n_routed_experts", "moe_intermediate_size")
    return {
        **_llama(keys),
        **routed,
        "qk_norm": keys.flag("use_qk_norm", False),
        "shared_expert_ffn": routed["moe_ffn"] * keys.whole("n_shared_experts", default=0),
        "dense_layers": keys.whole("first_k_dense_replace", default=0),
        "mtp_layers": keys.whole("num_nextn_predict_layers", default=0),
    }


def _deepseek(keys: _Keys) -> dict[str, Any]:
    """DeepSeek-V2/V3 and Kimi-K2: latent attention, fine experts, shared experts, MTP."""
    return _glm_moe(keys) | {
        "head_dim": keys.whole("v_head_dim"),
        "moe_every": keys.whole("moe_layer_freq", default=1),
        "mla": Mla(
            q_lora=keys.whole("q_lora_rank", default=0),
            kv_lora=keys.whole("kv_lora_rank"),
            qk_nope=keys.whole("qk_nope_head_dim"),
            qk_rope=keys.whole("qk_rope_head_dim"),
            v_dim=keys.whole("v_head_dim"),
        ),
    }


def _gpt_oss(keys: _Keys) -> dict[str, Any]:
    kinds = keys.config.get("layer_types") or ["sliding_attention", "full_attention"]
    return {
        **_mixtral(keys),
        "full_attention_every": 1 + kinds.index("full_attention")
        if "full_attention" in kinds
        else 0,
        "bias": True,
        "attention_sinks": True,
    }


def _llama4(keys: _Keys) -> dict[str, Any]:
    routed = _routed(keys, "num_local_experts", "intermediate_size")
    return {
        **_llama(keys),
        **routed,
        "ffn": keys.whole("intermediate_size_mlp", default=routed["moe_ffn"]),
        "shared_expert_ffn": routed["moe_ffn"],
        "moe_every": keys.whole("interleave_moe_layer_step", default=1),
        "window": keys.whole("attention_chunk_size", default=0),
        "full_attention_every": 4,  # no rotary and no chunks in every fourth layer
    }


def _gpt(keys: _Keys, layers: int, hidden: int, heads: int) -> dict[str, Any]:
    """GPT-2 and what follows it: LayerNorm, no gate, every head its own keys, tied."""
    return {
        "layers": layers,
        "hidden": hidden,
        "ffn": 4 * hidden,
        "heads": heads,
        "kv_heads": heads,
        "head_dim": hidden // max(1, heads),
        "vocab": keys.whole("vocab_size"),
        "gated_ffn": False,
        "norm": "layernorm",
        "rotary": False,
        "tied": True,
    }


def _gpt2(keys: _Keys) -> dict[str, Any]:
    hidden = keys.whole("n_embd", "hidden_size")
    layers = keys.whole("n_layer", "num_hidden_layers")
    return _gpt(keys, layers, hidden, keys.whole("n_head")) | {
        "ffn": keys.whole("n_inner", default=4 * hidden),
        "bias": True,
        "dropout": True,
        "learned_positions": keys.whole("n_positions", "n_ctx", default=0),
    }


def _bloom(keys: _Keys) -> dict[str, Any]:
    hidden, layers = (
        keys.whole("hidden_size", "n_embed"),
        keys.whole("n_layer", "num_hidden_layers"),
    )
    heads = keys.whole("n_head", "num_attention_heads")
    return _gpt(keys, layers, hidden, heads) | {"bias": True, "embedding_norm": True}


def _mpt(keys: _Keys) -> dict[str, Any]:
    hidden = keys.whole("d_model")
    attention = keys.config.get("attn_config")
    alibi = isinstance(attention, Mapping) and bool(attention.get("alibi"))
    return _gpt(keys, keys.whole("n_layers"), hidden, keys.whole("n_heads")) | {
        "ffn": hidden * keys.whole("expansion_ratio", default=4),
        "bias": not keys.flag("no_bias", True),
        "learned_positions": 0 if alibi else keys.whole("max_seq_len", default=2048),
    }


def _gpt_neox(keys: _Keys) -> dict[str, Any]:
    return {
        **_llama(keys),
        **_PLAIN_NORM,
        "bias": True,
        "qkv_bias": False,
        "parallel_blocks": keys.flag("use_parallel_residual", True),
    }


def _nemotron_h(keys: _Keys) -> dict[str, Any]:
    values = _llama(keys)
    pattern = keys.text("hybrid_override_pattern")
    if "E" in pattern:
        values |= _routed(keys, "n_routed_experts", "moe_intermediate_size")
        shared = keys.whole("moe_shared_expert_intermediate_size", default=0)
        values["shared_expert_ffn"] = shared
    return values | {
        "head_dim": keys.whole("attention_head_dim", "head_dim", default=values["head_dim"]),
        "gated_ffn": False,
        "rotary": False,
        "pattern": pattern,
        "mamba": Mamba(
            heads=keys.whole("mamba_num_heads"),
            head_dim=keys.whole("mamba_head_dim"),
            state=keys.whole("ssm_state_size"),
            groups=keys.whole("n_groups", "mamba_n_groups"),
            conv=keys.whole("conv_kernel", default=4),
        ),
    }


# Family -> how it is read, and what all of its models have.
_READERS: dict[str, tuple[Callable[[_Keys], dict[str, Any]], dict[str, Any]]] = {
    "llama": (_llama, {}),
    "mistral": (_mistral, {}),
    "mixtral": (_mixtral, {}),
    "granite": (_llama, {}),
    "phi3": (_mistral, {}),
    "glm4_moe": (_glm_moe, {}),
    "qwen2": (_no_window, {"qkv_bias": True}),
    "qwen3": (_no_window, {"qk_norm": True}),
    "qwen2_moe": (_qwen_moe, {}),
    "qwen3_moe": (_qwen_moe, {}),
    "deepseek_v2": (_deepseek, {}),
    "deepseek_v3": (_deepseek, {}),
    "kimi_k2": (_deepseek, {}),
    "gpt_oss": (_gpt_oss, {}),
    "llama4": (_llama4, {}),
    "llama4_text": (_llama4, {}),
    "gpt2": (_gpt2, {}),
    "gpt_neox": (_gpt_neox, {}),
    "bloom": (_bloom, {}),
    "mpt": (_mpt, {}),
    "nemotron": (_llama, _PLAIN_NORM),
    "nemotron_h": (_nemotron_h, {}),
}
