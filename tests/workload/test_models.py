import json
import math
from dataclasses import replace

import pytest

from rackmodel.errors import InvalidInput, RackModelError, UnknownName
from rackmodel.workload import describe, load_model, model_from_columns, model_names, model_rows

LLAMA = {
    "model_type": "llama",
    "num_hidden_layers": 126,
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_attention_heads": 128,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
CONFIGS = {
    "llama3.1-405b": LLAMA,
    "mixtral-8x7b": {
        "model_type": "mixtral",
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "sliding_window": None,
        "vocab_size": 32000,
    },
    "deepseek-v3": {
        "model_type": "deepseek_v3",
        "num_hidden_layers": 61,
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "num_attention_heads": 128,
        "num_key_value_heads": 128,
        "n_routed_experts": 256,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "first_k_dense_replace": 3,
        "moe_layer_freq": 1,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "num_nextn_predict_layers": 1,
        "vocab_size": 129280,
    },
    "kimi-k2": {
        "model_type": "kimi_k2",
        "num_hidden_layers": 61,
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "num_attention_heads": 64,
        "num_key_value_heads": 64,
        "n_routed_experts": 384,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "num_nextn_predict_layers": 0,
        "vocab_size": 163840,
    },
    "qwen3-235b-a22b": {
        "model_type": "qwen3_moe",
        "num_hidden_layers": 94,
        "hidden_size": 4096,
        "head_dim": 128,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "num_attention_heads": 64,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "decoder_sparse_step": 1,
        "vocab_size": 151936,
    },
    "gpt-oss-120b": {
        "model_type": "gpt_oss",
        "num_hidden_layers": 36,
        "hidden_size": 2880,
        "head_dim": 64,
        "intermediate_size": 2880,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "num_local_experts": 128,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * 18,
        "vocab_size": 201088,
        "attention_bias": True,
    },
    "llama4-maverick": {
        "model_type": "llama4",
        "text_config": {
            "model_type": "llama4_text",
            "num_hidden_layers": 48,
            "hidden_size": 5120,
            "head_dim": 128,
            "intermediate_size": 8192,
            "intermediate_size_mlp": 16384,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "num_local_experts": 128,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "vocab_size": 202048,
            "attention_chunk_size": 8192,
        },
    },
    "bloom-176b": {
        "model_type": "bloom",
        "n_layer": 70,
        "hidden_size": 14336,
        "n_head": 112,
        "vocab_size": 250880,
    },
    "mpt-7b": {
        "model_type": "mpt",
        "n_layers": 32,
        "d_model": 4096,
        "n_heads": 32,
        "expansion_ratio": 4,
        "max_seq_len": 2048,
        "vocab_size": 50368,
        "no_bias": True,
        "attn_config": {"alibi": False},
    },
    "nemotron-340b": {
        "model_type": "nemotron",
        "num_hidden_layers": 96,
        "hidden_size": 18432,
        "head_dim": 192,
        "intermediate_size": 73728,
        "num_attention_heads": 96,
        "num_key_value_heads": 8,
        "vocab_size": 256000,
    },
    "nemotron-h-8b": {
        "model_type": "nemotron_h",
        "num_hidden_layers": 52,
        "hidden_size": 4096,
        "attention_head_dim": 128,
        "intermediate_size": 21504,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "mamba_num_heads": 128,
        "mamba_head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": 8,
        "conv_kernel": 4,
        "vocab_size": 131072,
        "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_json_gives_the_model_of_the_catalog(name, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIGS[name]))
    read, known = load_model(str(path)), load_model(name)
    assert read.parameters == known.parameters
    assert read.active_parameters == known.active_parameters
    assert read.model_flops(4096) == known.model_flops(4096)


def test_a_toml_file_is_a_model(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[model]\nlayers = 2\nhidden = 64\nffn = 256\nheads = 4\nvocab = 1000\n")
    assert load_model(path).name == "mine"
    assert load_model(path).kv_heads == 4


def test_every_catalog_model_has_a_source_and_lists():
    rows = {row["name"]: row for row in model_rows()}
    assert set(rows) == set(model_names())
    assert all(row["source"] for row in rows.values())
    known = describe(load_model("deepseek-v3"))
    assert known["mla"]["kv_lora"] == 512
    assert known["mtp_parameters"] == pytest.approx(
        11.5e9, rel=0.02
    )  # the MTP module, its own weights


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"layers": 2, "hidden": 64, "heads": 3, "vocab": 10, "ffn": 8, "kv_heads": 2}, "kv_heads"),
        ({"layers": 2, "hidden": 64, "heads": 4, "vocab": 10, "ffm": 8}, "ffm"),
        ({"layers": 2, "hidden": math.nan, "heads": 4, "vocab": 10}, "hidden"),
        ({"layers": -2, "hidden": 64, "heads": 4, "vocab": 10}, "layers"),
        ({"layers": 10**12, "hidden": 64, "heads": 4, "vocab": 10}, "layers"),
        ({"layers": 2, "heads": 4, "vocab": 10}, "hidden"),
        ({"layers": 2, "hidden": 64, "heads": 4, "vocab": 10, "ffn": 8, "norm": "batch"}, "norm"),
        ({**LLAMA, "hidden_size": "wide"}, "hidden_size"),
        ({**LLAMA, "model_type": "lama"}, "llama"),
        ({"model_type": "llama", "num_hidden_layers": 2}, "missing"),
    ],
)
def test_bad_models_are_refused_by_name(data, word):
    with pytest.raises(RackModelError, match=word):
        load_model(data)


def test_experts_stand_in_every_nth_layer_and_n_is_at_least_one():
    with pytest.raises(RackModelError, match="moe_every must be at least 1"):
        replace(load_model("mixtral-8x7b"), moe_every=0)


def test_unknown_and_unreadable_models(tmp_path):
    with pytest.raises(UnknownName, match="did you mean 'gpt3-175b'"):
        load_model("gpt-175b")
    with pytest.raises(InvalidInput, match="no such file"):
        load_model("nowhere.toml")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(InvalidInput, match=r"not valid JSON|not text|not UTF-8|directory"):
        load_model(broken)
    broken.write_text("[1]")
    with pytest.raises(InvalidInput, match="table"):
        load_model(broken)


def test_columns_of_a_run_give_what_they_say_and_the_rest_from_the_nearest_model():
    row = {
        "model": "label",
        "layers": 61,
        "hidden": 7168,
        "ffn": 18432.0,
        "heads": 128,
        "kv_heads": 128,
        "head_dim": 128,
        "gated_ffn": 1,
        "vocab": 129280,
        "experts": 256.0,
        "topk": 8,
        "moe_ffn": 2048,
        "shared_expert_ffn": 2048,
        "dense_layers": 3,
    }
    model = model_from_columns(row)
    assert model.parameters == load_model("deepseek-v3").parameters
    assert model.mtp_layers == 0  # not stated in these columns
    assert model_from_columns(row | {"mtp_layers": 1}).mtp_layers == 1
    shorter = model_from_columns(row | {"layers": 30})
    assert shorter.layers == 30
    assert shorter.mla == model.mla
    windowed = model_from_columns(row | {"attention_window": "128 alternating"})
    assert {block.window for block in windowed.blocks} == {0, 128}
    assert model_from_columns(row | {"attention_window": "  "}).window == 0
    five = model_from_columns(row | {"layers": 12, "attention_window": "1024 5:1"})
    assert [block.window for block in five.blocks] == [*[1024] * 5, 0] * 2


def test_columns_of_an_unknown_model():
    row = {
        "layers": 4,
        "hidden": 64,
        "heads": 4,
        "vocab": 1000,
        "gated_ffn": 0,
        "experts": math.nan,
    }
    model = model_from_columns(row)
    assert (model.ffn, model.norm, model.experts) == (256, "layernorm", 0)
    for words in ("sometimes", "128 sometimes", "128 0:1", "128 5:1 more"):
        with pytest.raises(InvalidInput, match="attention_window"):
            model_from_columns(row | {"attention_window": words})
    with pytest.raises(InvalidInput, match="hidden"):
        model_from_columns(row | {"hidden": ""})
