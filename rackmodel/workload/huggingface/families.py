"""Which parts each family of config.json files has: one row a family.

In:  a `model_type`.
Out: a `Family`: the parts that read its keys, fields that all its models have, and the values that
     its class takes where a file leaves keys out (files are published without what is default).
Left out: what the parts read (`parts`).

Fields of keys: the configuration classes of huggingface/transformers 5.x, or the file that comes
with the weights, by `model_type`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rackmodel.workload.huggingface import own, parts as p, states
from rackmodel.workload.huggingface.deepseek_v4 import deepseek_v4

Fields = p.Fields
_TIED: Fields = {"tie_word_embeddings": True}


@dataclass(frozen=True, slots=True)
class Family:
    """How the configs of one family are read."""

    parts: tuple[p.Part, ...]
    always: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _of(*parts: p.Part, defaults: Fields | None = None, **always: Any) -> Family:
    return Family(parts, always, defaults or {})


def _gemma(defaults: Fields, *parts: p.Part, **always: Any) -> Family:
    return _of(p.dense, *parts, defaults=_TIED | {"head_dim": 256} | defaults, **always)


_GLM = (p.dense, p.experts, p.qk_norm, p.mtp)
_BAILING = (p.dense, p.experts, p.qk_norm, p.mtp, own.qwen_window)
_DEEPSEEK = (p.dense, p.experts, p.mtp, p.latent)
_COHERE = ("layer_switch", "use_embedding_sharing", "use_gated_activation", "use_parallel_block")
_ROPE_64: Fields = {"qk_rope_head_dim": 64}

FAMILIES: dict[str, Family] = {
    # Llama and what has its shape.
    "llama": _of(p.dense),
    "mistral": _of(p.dense, p.window_everywhere),
    "ministral": _of(p.dense, p.layer_kinds),
    "mistral3": _of(p.dense, p.layer_kinds),
    "ministral3": _of(p.dense, p.layer_kinds),
    "mixtral": _of(p.dense, p.window_everywhere, p.mixtral_experts),
    "granite": _of(p.dense),
    "smollm3": _of(p.dense, p.layer_kinds, own.no_window, defaults=_TIED),
    "seed_oss": _of(p.dense),
    "internlm": _of(p.dense),
    "internlm2": _of(p.dense),
    "internlm3": _of(p.dense),
    "baichuan": _of(p.dense),
    "minicpm": _of(p.dense, defaults=_TIED),
    "helium": _of(p.dense),
    "orion": _of(p.dense, norm="layernorm"),
    "ernie4_5": _of(p.dense, defaults=_TIED),
    "ernie4_5_moe": _of(p.dense, own.ernie, p.mtp, defaults=_TIED),
    "exaone4": _of(p.dense, p.layer_kinds, p.untouched("reorder_and_qk_norm"), qk_norm=True),
    "apertus": _of(p.dense, p.untouched("qk_norm", "post_norm"), gated_ffn=False, qk_norm=True),
    "arcee": _of(p.dense, gated_ffn=False),
    "nemotron": _of(p.dense, gated_ffn=False, norm="layernorm"),
    "olmo": _of(p.dense, p.untouched("clip_qkv")),
    "olmo2": _of(p.dense, qk_norm=True),
    "olmo3": _of(p.dense, p.layer_kinds, qk_norm=True, defaults={"sliding_window_pattern": 4}),
    "olmoe": _of(p.dense, p.mixtral_experts, qk_norm=True),
    "cwm": _of(p.dense, p.layer_kinds),
    "exaone": _of(p.dense),
    "bitnet": _of(p.dense, gated_ffn=True),
    "iquestcoder": _of(p.dense),
    "granite_swa": _of(p.dense, p.layer_kinds, defaults=_TIED),
    "hyperclovax": _of(p.dense, own.post_norms),
    "jais2": _of(p.dense, gated_ffn=False, norm="layernorm"),
    "nanochat": _of(p.dense, gated_ffn=False),
    "glm": _of(p.dense),
    "glm4": _of(p.dense, post_norms=True),
    "chatglm": _of(p.dense, own.chatglm, defaults={"hidden_act": "swiglu"}),
    "stablelm": _of(p.dense, own.stablelm, p.qk_norm, norm="layernorm"),
    "hunyuan_v1_dense": _of(p.dense, p.qk_norm, own.cross_layer, own.hunyuan_dense),
    # Experts.
    "phimoe": _of(p.dense, p.window_everywhere, p.mixtral_experts, norm="layernorm"),
    "exaone_moe": _of(p.dense, p.experts, p.layer_kinds, p.mtp, qk_norm=True),
    "afmoe": _of(
        *(p.dense, p.experts, p.layer_kinds),
        qk_norm=True,
        post_norms=True,
        attention_gate=True,
    ),
    "hy_v3": _of(p.dense, p.experts, p.mtp, qk_norm=True),
    "mellum": _of(p.dense, p.experts, p.layer_kinds, qk_norm=True),
    "solar_open": _of(p.dense, p.experts, defaults={"intermediate_size": 0}),
    "sarvam_moe": _of(p.dense, p.experts, p.qk_norm, p.mtp),
    "granitemoe_swa": _of(p.dense, p.mixtral_experts, p.layer_kinds),
    "granitemoe": _of(p.dense, p.mixtral_experts),
    "granitemoeshared": _of(p.dense, p.mixtral_experts),
    "minimax_m2": _of(
        p.dense,
        p.mixtral_experts,
        p.mtp,
        p.qk_norm,
        p.untouched("attn_type_list", "mlp_intermediate_size"),
        qk_norm=True,
    ),
    "minimax_m3_vl": _of(p.dense, p.mixtral_experts, own.minimax_m3, p.mtp, qk_norm=True),
    "dots1": _of(p.dense, p.experts, qk_norm=True),
    "bailing_moe": _of(*_BAILING),
    "bailing_moe_v2": _of(*_BAILING),
    "flex_olmo": _of(p.dense, p.mixtral_experts, qk_norm=True),
    "hunyuan_v1_moe": _of(p.dense, own.hunyuan_experts, p.qk_norm, own.cross_layer),
    "hunyuan": _of(p.dense, own.hunyuan_experts, p.qk_norm, own.cross_layer),
    "step3": _of(p.dense, own.step3, qk_norm=False),
    "mimo_v2_flash": _of(p.dense, p.experts, own.mimo_heads, attention_sinks=True),
    "grok": _of(p.dense, own.grok, post_norms=True),
    "dbrx": _of(own.dbrx),
    "gpt_oss": _of(
        *(p.dense, p.layer_kinds, p.mixtral_experts),
        bias=True,
        attention_sinks=True,
        defaults={"sliding_window_pattern": 2},
    ),
    "llama4": _of(p.dense, own.llama4),
    "glm4_moe": _of(*_GLM),
    "deepseek": _of(p.dense, p.experts),
    "deepseek_v2": _of(*_DEEPSEEK),
    "deepseek_v3": _of(*_DEEPSEEK),
    "kimi_k2": _of(*_DEEPSEEK),
    "glm4_moe_lite": _of(*_DEEPSEEK),
    "axk1": _of(*_DEEPSEEK),
    "sarvam_mla": _of(*_DEEPSEEK, defaults=_ROPE_64),
    "minicpm3": _of(p.dense, p.latent, defaults=_TIED),
    "youtu": _of(p.dense, p.latent, defaults=_TIED),
    "kimi_linear": _of(*_DEEPSEEK, states.kimi_delta, rotary=False),
    "deepseek_v32": _of(*_DEEPSEEK, p.indexer, defaults=_ROPE_64),
    "glm_moe_dsa": _of(*_DEEPSEEK, p.indexer, defaults=_ROPE_64),
    "deepseek_v4": _of(deepseek_v4, p.mtp),
    # Qwen.
    "qwen": _of(p.dense, own.qwen1, qkv_bias=True, bias=False),
    "qwen2": _of(p.dense, own.qwen_window, qkv_bias=True),
    "qwen2_moe": _of(
        *(p.dense, own.qwen_window, own.qwen_experts, p.untouched("qkv_bias")), qkv_bias=True
    ),
    "qwen3": _of(p.dense, own.qwen_window, qk_norm=True),
    "qwen3_moe": _of(p.dense, own.qwen_window, p.experts, qk_norm=True),
    "qwen3_next": _of(p.dense, own.qwen_experts, states.delta, p.mtp, own.no_window, qk_norm=True),
    "olmo_hybrid": _of(p.dense, states.delta, qk_norm=True, attention_gate=False),
    "qwen3_5": _of(p.dense, states.delta, p.mtp, qk_norm=True),
    "qwen3_5_moe": _of(
        *(p.dense, own.qwen_experts, states.delta, p.mtp),
        qk_norm=True,
        defaults={"intermediate_size": 0},
    ),
    "mimo": _of(p.dense, own.qwen_window, p.mtp, qkv_bias=True),
    # Gemma and other windows.
    "gemma": _gemma({}),
    "gemma2": _gemma(
        {"sliding_window": 4096, "sliding_window_pattern": 2}, p.layer_kinds, post_norms=True
    ),
    "vaultgemma": _gemma({"sliding_window": 4096, "sliding_window_pattern": 2}, p.layer_kinds),
    "gemma3": _gemma(
        {
            **{"sliding_window": 4096, "sliding_window_pattern": 6, "vocab_size": 262_208},
            **{"num_attention_heads": 8, "num_key_value_heads": 4},
        },
        p.layer_kinds,
        post_norms=True,
        qk_norm=True,
    ),
    "gemma4": _gemma(
        {"sliding_window": 512, "sliding_window_pattern": 6, "vocab_size": 262_144},
        *(p.layer_kinds, own.gemma4),
        post_norms=True,
        qk_norm=True,
    ),
    "phi3": _of(p.dense, p.window_everywhere),
    "starcoder2": _of(
        *(p.dense, p.window_everywhere), gated_ffn=False, norm="layernorm", defaults=_TIED
    ),
    "cohere": _of(p.dense, p.qk_norm, defaults=_TIED, parallel_blocks=True, norm="layernorm"),
    "cohere2": _of(
        *(p.dense, p.layer_kinds, p.untouched(*_COHERE)),
        parallel_blocks=True,
        norm="layernorm",
        defaults=_TIED | {"sliding_window": 4096, "sliding_window_pattern": 4},
    ),
    # GPT and its kin: two matrices, layer norm.
    "gpt2": _of(p.four_times, p.learned, bias=True, dropout=True, defaults=_TIED),
    "gpt_bigcode": _of(p.four_times, p.learned, own.bigcode, bias=True, defaults=_TIED),
    "gpt_neo": _of(p.four_times, p.learned, own.neo, defaults=_TIED),
    "persimmon": _of(p.four_times, p.qk_norm, bias=True),
    "gptj": _of(p.four_times, parallel_blocks=True),
    "codegen": _of(p.four_times, parallel_blocks=True),
    "gpt_neox": _of(p.four_times, own.neox),
    "opt": _of(p.four_times, own.opt, bias=True, defaults=_TIED),
    "bloom": _of(p.four_times, bias=True, rotary=False, embedding_norm=True, defaults=_TIED),
    "mpt": _of(p.four_times, own.mpt, defaults=_TIED),
    "falcon": _of(p.four_times, own.falcon, defaults=_TIED),
    "phi": _of(p.four_times, p.qk_norm, bias=True, parallel_blocks=True),
    # States.
    "mamba": _of(states.only_layers("S"), states.mamba1_alone, defaults=_TIED),
    "falcon_mamba": _of(states.only_layers("S"), states.mamba1_alone, defaults=_TIED),
    "mamba2": _of(states.only_layers("M"), states.mamba2_alone),
    "nemotron_h": _of(p.dense, states.nemotron_h, states.mamba2, gated_ffn=False, rotary=False),
    "zamba2": _of(states.zamba2, defaults=_TIED),
    "jamba": _of(p.dense, states.jamba),
    "bamba": _of(p.dense, states.bamba),
    "granitemoehybrid": _of(p.dense, states.granite_hybrid),
    "falcon_h1": _of(
        p.dense, states.mamba2, p.untouched("projectors_bias", "mlp_expansion_factor"), mixers="H"
    ),
    "lfm2": _of(p.dense, states.lfm2, qk_norm=True, defaults=_TIED),
    "lfm2_moe": _of(p.dense, states.lfm2, qk_norm=True, defaults=_TIED),
}

# Other names of the same shapes: the text parts of models that see and hear, and remote code.
ALIASES: dict[str, str] = {
    **{
        "qwen2_vl": "qwen2",
        "qwen2_5_vl": "qwen2",
        "qwen3_vl": "qwen3",
        "qwen3_vl_moe": "qwen3_moe",
    },
    **{
        "grok-1": "grok",
        "grok1": "grok",
        "ernie4_5_moe_vl": "ernie4_5_moe",
        "glm4v_moe": "glm4_moe",
    },
    **{"refinedweb": "falcon", "refinedwebmodel": "falcon", "step3_vl": "step3", "glm4v": "glm4"},
    **{
        "kimi_k25": "kimi_k2",
        "kimi_vl": "deepseek_v3",
        "minimax_m3": "minimax_m3_vl",
        "xverse": "llama",
        "yi": "llama",
    },
    **{"hunyuan_dense": "hunyuan_v1_dense", "hunyuan_moe": "hunyuan_v1_moe", "aquila": "llama"},
    **{"skywork": "llama", "stablelm_epoch": "stablelm", "phi4mm": "phi3"},
    **{"smollm": "llama", "mimo_v2": "mimo_v2_flash", "deepseek_vl_v2": "deepseek_v2"},
}

# Families whose layers are of no kind that is modelled, and which.
BEYOND: dict[str, str] = {
    "zamba": "blocks that layers share",
    "gemma3n": "per-layer embeddings and alternating updates",
    "minimax": "lightning attention",
    "minimax_text_01": "lightning attention",
    "minimax_m1": "lightning attention",
    "bailing_moe_linear": "lightning attention",
    "bailing_hybrid": "lightning attention",
    "recurrent_gemma": "the recurrence of Griffin",
    "rwkv": "the recurrence of RWKV",
    "rwkv5": "the recurrence of RWKV",
    "rwkv6": "the recurrence of RWKV",
    "rwkv7": "the recurrence of RWKV",
    "xlstm": "the memory cells of xLSTM",
    "openelm": "widths that differ from layer to layer",
    "deci": "widths that differ from layer to layer",
    "nemotron-nas": "widths that differ from layer to layer",
    "arctic": "a dense part with a norm of its own beside the experts",
    "evabyte": "attention over chunks with control variates",
    "diffllama": "differential attention",
    "mllama": "cross attention to images in some layers",
    "longcat_flash": "two attentions a layer and experts that do nothing",
}
