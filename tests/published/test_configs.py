"""Hugging Face config.json files as their makers publish them, against printed parameter counts.

The keys are those of the files (weights' dtype, token ids and the like left out); the counts those
of model cards and papers, with the tolerance of the print.
"""

import json

import pytest

from rackmodel.errors import InvalidInput
from rackmodel.workload import load_model

DEEPSEEK = {
    "attention_bias": False,
    "hidden_act": "silu",
    "moe_layer_freq": 1,
    "n_group": 8,
    "norm_topk_prob": True,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000,
    "tie_word_embeddings": False,
    "ep_size": 1,
    "pretraining_tp": 1,
}
V3 = DEEPSEEK | {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "first_k_dense_replace": 3,
    "q_lora_rank": 1536,
    "num_nextn_predict_layers": 1,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "vocab_size": 129280,
    "quantization_config": {"fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
}
QWEN3 = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "attention_bias": False,
    "attention_dropout": 0.0,
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "hidden_act": "silu",
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_key_value_heads": 4,
    "rope_scaling": None,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
GPT_OSS = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "attention_bias": True,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_key_value_heads": 8,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "vocab_size": 201088,
}
LLAMA4 = {
    "model_type": "llama4_text",
    "attention_bias": False,
    "attention_chunk_size": 8192,
    "for_llm_compressor": False,
    "head_dim": 128,
    "hidden_size": 5120,
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16384,
    "num_attention_heads": 40,
    "num_experts_per_tok": 1,
    "num_hidden_layers": 48,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
    "use_qk_norm": True,
    "vocab_size": 202048,
}
MIXTRAL = {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "num_experts_per_tok": 2,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "output_router_logits": False,
    "sliding_window": None,
    "tie_word_embeddings": False,
}
NEMOTRON_H = {
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "attention_bias": False,
    "attention_head_dim": 128,
    "conv_kernel": 4,
    "mamba_hidden_act": "silu",
    "expand": 2,
    "mamba_head_dim": 64,
    "mamba_proj_bias": False,
    "mlp_bias": False,
    "mlp_hidden_act": "relu2",
    "n_groups": 8,
    "num_key_value_heads": 8,
    "residual_in_fp32": False,
    "tie_word_embeddings": False,
    "use_bias": False,
    "use_conv_bias": True,
    "vocab_size": 131072,
}
LLAMA3 = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "hidden_act": "silu",
    "mlp_bias": False,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rope_scaling": {"factor": 8.0, "rope_type": "llama3"},
    "tie_word_embeddings": False,
    "vocab_size": 128256,
}

# (config, printed billions in all, printed billions active, tolerances in billions, source)
PRINTED = {
    "deepseek-v3": (V3, 671.03, 37.55, 0.005, 0.005),  # arXiv:2412.19437: 671B, 37B
    "deepseek-r1": (V3, 671, 37, 0.5, 0.6),  # model card: the same architecture
    "deepseek-v2": (
        DEEPSEEK
        | {
            "architectures": ["DeepseekV2ForCausalLM"],
            "model_type": "deepseek_v2",
            "num_hidden_layers": 60,
            "hidden_size": 5120,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "n_routed_experts": 160,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
            "q_lora_rank": 1536,
            "vocab_size": 102400,
        },
        236,
        21,
        0.5,
        0.5,
    ),
    "deepseek-v2-lite": (
        DEEPSEEK
        | {
            "architectures": ["DeepseekV2ForCausalLM"],
            "model_type": "deepseek_v2",
            "num_hidden_layers": 27,
            "hidden_size": 2048,
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
            "q_lora_rank": None,
            "vocab_size": 102400,
        },
        15.7,
        2.4,
        0.05,
        0.3,  # card: 15.7B, 2.4B (without the embedding)
    ),
    "kimi-k2": (
        V3
        | {
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "kimi_k2",
            "num_attention_heads": 64,
            "num_key_value_heads": 64,
            "n_routed_experts": 384,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "num_nextn_predict_layers": 0,
            "vocab_size": 163840,
        },
        1040,
        32,
        15,
        1.0,  # arXiv:2507.20534: 1.04T, 32B
    ),
    "qwen3-235b-a22b": (
        QWEN3
        | {
            "num_hidden_layers": 94,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_attention_heads": 64,
        },
        235.09,
        22.19,
        0.005,
        0.005,
    ),
    "qwen3-30b-a3b": (
        QWEN3
        | {
            "num_hidden_layers": 48,
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "moe_intermediate_size": 768,
            "num_attention_heads": 32,
        },
        30.5,
        3.3,
        0.05,
        0.06,
    ),
    "qwen2-57b-a14b": (
        {
            "architectures": ["Qwen2MoeForCausalLM"],
            "model_type": "qwen2_moe",
            "decoder_sparse_step": 1,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "mlp_only_layers": [],
            "moe_intermediate_size": 2560,
            "num_attention_heads": 28,
            "num_experts": 64,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 28,
            "num_key_value_heads": 4,
            "shared_expert_intermediate_size": 20480,
            "sliding_window": 65536,
            "tie_word_embeddings": False,
            "use_sliding_window": False,
            "vocab_size": 151936,
        },
        57.4,
        14.2,
        0.05,
        0.1,
    ),
    "gpt-oss-120b": (
        GPT_OSS
        | {
            "num_hidden_layers": 36,
            "num_local_experts": 128,
            "layer_types": ["sliding_attention", "full_attention"] * 18,
        },
        116.83,
        5.13,
        0.005,
        0.005,  # arXiv:2508.10925, table 1: the embedding is not active
    ),
    "gpt-oss-20b": (
        GPT_OSS
        | {
            "num_hidden_layers": 24,
            "num_local_experts": 32,
            "layer_types": ["sliding_attention", "full_attention"] * 12,
        },
        20.91,
        3.61,
        0.006,
        0.005,
    ),
    "llama4-scout": (
        {
            "architectures": ["Llama4ForConditionalGeneration"],
            "model_type": "llama4",
            "text_config": LLAMA4 | {"interleave_moe_layer_step": 1, "num_local_experts": 16},
            "vision_config": {"model_type": "llama4_vision_model", "num_hidden_layers": 34},
        },
        109,
        17,
        1.5,
        0.5,  # card: 109B with the vision tower, which is not read
    ),
    "llama4-maverick": (
        {
            "architectures": ["Llama4ForConditionalGeneration"],
            "model_type": "llama4",
            "text_config": LLAMA4 | {"interleave_moe_layer_step": 2, "num_local_experts": 128},
            "vision_config": {"model_type": "llama4_vision_model", "num_hidden_layers": 34},
        },
        400,
        17,
        1.0,
        0.5,
    ),
    "mixtral-8x7b": (
        MIXTRAL
        | {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "vocab_size": 32000,
        },
        46.7,
        12.9,
        0.05,
        0.05,
    ),
    "mixtral-8x22b": (
        MIXTRAL
        | {
            "hidden_size": 6144,
            "intermediate_size": 16384,
            "num_attention_heads": 48,
            "num_hidden_layers": 56,
            "vocab_size": 32768,
        },
        141,
        39,
        0.5,
        0.5,
    ),
    "nemotron-h-8b": (
        NEMOTRON_H
        | {
            "hidden_size": 4096,
            "intermediate_size": 21504,
            "mamba_num_heads": 128,
            "num_attention_heads": 32,
            "num_hidden_layers": 52,
            "ssm_state_size": 128,
            "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
        },
        8.1,
        8.1,
        0.05,
        0.05,
    ),
    "nemotron-3-nano-30b-a3b": (
        NEMOTRON_H
        | {
            "head_dim": 128,
            "hidden_size": 2688,
            "intermediate_size": 1856,
            "mamba_num_heads": 64,
            "n_routed_experts": 128,
            "n_shared_experts": 1,
            "num_experts_per_tok": 6,
            "moe_intermediate_size": 1856,
            "moe_shared_expert_intermediate_size": 3712,
            "num_attention_heads": 32,
            "num_hidden_layers": 52,
            "num_key_value_heads": 2,
            "ssm_state_size": 128,
            "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
        },
        31.6,
        3.2,
        0.05,
        0.4,  # card: 31.6B, 3.2B (3.6B with embeddings)
    ),
    "llama3.1-405b": (
        LLAMA3
        | {
            "hidden_size": 16384,
            "intermediate_size": 53248,
            "num_attention_heads": 128,
            "num_hidden_layers": 126,
        },
        405.853,
        405.853,
        0.0005,
        0.0005,
    ),
    "llama3.1-8b": (
        LLAMA3
        | {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
        },
        8.030,
        8.030,
        0.0005,
        0.0005,
    ),
    "mistral-7b": (
        {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 8,
            "sliding_window": 4096,
            "tie_word_embeddings": False,
            "vocab_size": 32000,
        },
        7.242,
        7.242,
        0.0005,
        0.0005,
    ),
    "qwen2-7b": (
        {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "max_window_layers": 28,
            "num_attention_heads": 28,
            "num_hidden_layers": 28,
            "num_key_value_heads": 4,
            "sliding_window": 131072,
            "tie_word_embeddings": False,
            "use_sliding_window": False,
            "vocab_size": 152064,
        },
        7.616,
        7.616,
        0.0005,
        0.0005,
    ),
    "glm-4.5": (
        {
            "architectures": ["Glm4MoeForCausalLM"],
            "model_type": "glm4_moe",
            "attention_bias": True,
            "first_k_dense_replace": 3,
            "head_dim": 128,
            "hidden_size": 5120,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "n_routed_experts": 160,
            "n_shared_experts": 1,
            "num_attention_heads": 96,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 92,
            "num_key_value_heads": 8,
            "num_nextn_predict_layers": 1,
            "partial_rotary_factor": 0.5,
            "tie_word_embeddings": False,
            "use_qk_norm": True,
            "vocab_size": 151552,
        },
        355,
        32,
        4.0,
        1.0,  # arXiv:2508.06471: 355B, 32B
    ),
    "phi-3-mini": (
        {
            "architectures": ["Phi3ForCausalLM"],
            "model_type": "phi3",
            "attention_bias": False,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_attention_heads": 32,
            "num_hidden_layers": 32,
            "num_key_value_heads": 32,
            "sliding_window": 2047,
            "tie_word_embeddings": False,
            "vocab_size": 32064,
        },
        3.821,
        3.821,
        0.0005,
        0.0005,
    ),
}
# Prints that count the head but not the embedding among what a token meets.
HEAD_ONLY = ("gpt-oss-120b", "gpt-oss-20b", "deepseek-v2-lite", "glm-4.5")


def read(name, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PRINTED[name][0]))
    return load_model(path)


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_of_a_config_are_those_in_print(name, tmp_path):
    _, billions, active, within, active_within = PRINTED[name]
    model = read(name, tmp_path)
    assert model.parameters / 1e9 == pytest.approx(billions, abs=within)
    met = model.active_parameters
    met -= model.embedding_parameters if name in HEAD_ONLY else 0
    assert met / 1e9 == pytest.approx(active, abs=active_within)


@pytest.mark.parametrize(
    "name", [name for name in PRINTED if name.startswith(("gpt-oss", "llama", "mixtral", "kimi"))]
)
def test_a_config_is_the_model_of_the_catalog(name, tmp_path):
    found, known = read(name, tmp_path), load_model(name)
    assert found.parameters == known.parameters
    assert found.model_flops(16384) == known.model_flops(16384)  # windows included


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"moe_latent_size": 1024}, "moe_latent_size"),
        ({"layer_types": ["state_space"] * 48, "use_sliding_window": True}, "state_space"),
        ({"num_experts": "many"}, "num_experts: expected a whole number"),
        ({"model_type": "qwen4_moe"}, "did you mean 'qwen"),
    ],
)
def test_a_key_that_is_not_modelled_is_refused(change, word, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PRINTED["qwen3-30b-a3b"][0] | change))
    with pytest.raises(InvalidInput, match=word):
        load_model(path)


def test_leading_dense_layers_of_a_config_are_dense(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(PRINTED["qwen3-30b-a3b"][0] | {"mlp_only_layers": [0, 1]}))
    assert [block.feed for block in load_model(path).blocks[:3]] == ["dense", "dense", "moe"]
